/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reloads, and what they tell.
 *
 * Ownership: JSON that is returned is the caller's. Threads: the control thread's.
 * Errors: in struct tl_answer; the configuration in force then stays.
 */
#pragma once

#include "control/command.h"
#include "tieline/view.h"

/* How to drain the connections of changed domains. */
struct tl_reload_how {
  enum tl_reload_drain mode;
  uint32_t within_ms;
};
/* Loads the configuration and publishes it, for ctl, SIGHUP and watch_files; HOW NULL: drain as
 * configured. Returns how many replaced domains may still have connections: their outcome is known
 * when the next run of the ledger has ended. */
size_t tl_reload_conf(struct tl_control *c, const struct tl_reload_how *how, struct tl_answer *a);
/* The same where nobody waits for an answer: the log says how it went. */
void tl_reload_unasked(struct tl_control *c);
/* The differences between two snapshots, as the reply shows them. */
json_t *tl_reload_diff(const struct tl_view *before, const struct tl_view *after);
