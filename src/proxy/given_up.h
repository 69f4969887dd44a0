/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Branches whose INVITE is awaited no longer although its target may still answer: it was silent
 * until a timer ended, did not answer our CANCEL, or lost its connection. A 2xx of such a target
 * is never dropped, for a call exists then that somebody pays for: within 64*T1 it is passed on if
 * the client has no final response yet, else it is ended (late.h). A provisional response is
 * answered by a CANCEL, another final one by an ACK; both go no further.
 *
 * Ownership: a branch stays its transaction's, which lives on as long as it has such branches.
 * Threads: the worker's own. Errors: of too many the oldest are forgotten, and counted.
 */
#pragma once

#include <stdbool.h>

struct tl_branch;
struct tl_msg;

#define TL_GIVEN_UP_MAX 8192u /* of a worker */

/* B is given up from here on, for 64*T1. False: nothing can come of it, or nothing be done about
 * what comes: it is no INVITE, was not kept, or the worker ends. */
bool tl_given_up_keep(struct tl_branch *b);
/* B, if it is given up, has had its time or an answer; its next state is the caller's to set. */
void tl_given_up_leave(struct tl_branch *b);
/* The same before either. */
void tl_given_up_forget(struct tl_branch *b);
/* M, a 2xx to B, which is given up, is being passed on. */
void tl_given_up_passed_on(struct tl_branch *b, const struct tl_msg *m);
