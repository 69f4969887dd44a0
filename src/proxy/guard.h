/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses that a URI in a message cannot make us send to, and the refusals that
 * follow from it.
 *
 * Ownership: none. Threads: the worker's own. Errors: none.
 */
#pragma once

#include "plan.h"
#include "tieline/log.h"

struct tl_req;

/* NULL if a request from FROM may go to TO although only a URI in it names TO; else why not, to
 * follow "not sent there: ". */
const char *tl_guard_refusal(const struct tl_conf *conf, const struct tl_addr *to,
                             const struct tl_addr *from);
/* Is TO an address of ours, on any transport? */
bool tl_guard_is_listener(const struct tl_conf *conf, const struct tl_addr *to);
/* Refuses the plan with REASON, the phrase of the answer (NULL: that of the status), and logs
 * SENTENCE at LEVEL. */
void tl_guard_deny(const struct tl_req *req, const char *reason, enum tl_log_level level,
                   const char *sentence);
/* Removes from the plan what its relay must not lead to. False: nothing is left; the status and the
 * plan's refusal say why. */
bool tl_guard_relay(struct tl_req *req);
