/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that wait: a stage needs an answer before the request can go on. Its transaction is
 * parked under a cookie; whatever mail brings that cookie resumes it, unless it has ended
 * meanwhile (CANCEL, the deadline), and then the mail finds nobody. At most max_waiting of one
 * worker wait; what an answer means only its stage knows.
 *
 * A stage after validate waits by "return tl_wait_for(req, &its_waiter);".
 *
 * Ownership: what is known of the sender is kept here, so that a request goes on by it whether
 * the connection it came on lives or not. Threads: the worker's own. Errors: without room, or
 * without an answer in time, the request is refused with 503.
 */
#pragma once

#include "stage.h"

struct tl_mail;

/* How one stage waits. */
struct tl_waiter {
  /* Asks for the answer, which is to come with COOKIE. Not 0: it will not come. */
  int (*ask)(struct tl_req *req, uint64_t cookie);
  /* ANSWER has come: says where the request goes on, TL_STAGE_GO_ON: with the next stage. Until
   * then REQ has its transaction, but no connection. */
  enum tl_stage_result (*resume)(struct tl_req *req, const struct tl_mail *answer);
  uint32_t deadline_ms;
};

/* Parks REQ, with a transaction if it has none yet, and asks. */
enum tl_stage_result tl_wait_for(struct tl_req *req, const struct tl_waiter *waiter);
/* ANSWER, which stays the caller's, has come with COOKIE. */
void tl_wait_resume(struct tl_proxy *p, uint64_t cookie, const struct tl_mail *answer);
