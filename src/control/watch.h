/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch_files: reloads when a file of the configuration has changed and then been
 * quiet for a while.
 *
 * Ownership: part of struct tl_control. Threads: the control thread's. Errors: a
 * directory that cannot be watched is logged and left out.
 */
#pragma once

#include "control/control_internal.h"

struct tl_watch;

/* ON_CHANGE is called when files have changed and a reload is due. */
int tl_watch_init(struct tl_control *c, void (*on_change)(struct tl_control *c));
void tl_watch_exit(struct tl_control *c);
/* From now on watches the files that CONF names, or nothing if it does not say watch_files. */
void tl_watch_conf(struct tl_control *c, const struct tl_conf *conf);
/* The descriptor to poll, -1: none. */
int tl_watch_fd(const struct tl_control *c);
/* READABLE: poll reported events. Reloads when it is time, else lowers *TIMEOUT_MS to when. */
void tl_watch_turn(struct tl_control *c, bool readable, uint64_t now_ms, int *timeout_ms);
