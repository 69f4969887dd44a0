/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hunt: targets of a route's peers, one peer after the other and each only when it is needed,
 * so that a request may try more of them than a plan has room for (RFC 3261 16.5, 16.6). A route
 * bounds it by max_attempts and setup_timeout.
 *
 * Ownership: the plan is the caller's. Threads: the worker's own. Errors: as target.h; where memory
 * is short the hunt is over.
 */
#pragma once

#include "target.h"

struct tl_req;
struct tl_txn;

/* Begins it: the first targets of the plan's route. TL_EAGAIN: the name of one of its peers must be
 * resolved first; TL_ENOTFOUND: there are none, and the plan may say why. */
int tl_hunt_begin(const struct tl_req *req);
/* Puts further targets in place of those that PLAN has at hand, which have been tried; false:
 * there are none. */
bool tl_hunt_more(const struct tl_target_search *s);
/* May there be targets beyond those that PLAN has at hand? */
static inline bool tl_hunt_has_more(const struct tl_plan *plan) {
  return plan->hunt.on && !plan->hunt.over &&
         (plan->hunt.next_dest < plan->route->n_dest || plan->hunt.held || plan->hunt.left);
}
/* Has it targets at hand or beyond? */
static inline bool tl_hunt_has_next(const struct tl_plan *plan) {
  return !plan->hunt.over && (plan->at < plan->n_target || tl_hunt_has_more(plan));
}
/* An attempt of TXN's at PEER (NULL: at none of ours) has ended by OUTCOME: a final status, or one
 * of outcome.h. None may follow where that is so configured. */
void tl_hunt_ended(struct tl_txn *txn, const struct tl_conf_peer *peer, unsigned outcome);
/* May another attempt follow, if this one at PEER ended by OUTCOME? */
bool tl_hunt_follows(const struct tl_txn *txn, const struct tl_conf_peer *peer, unsigned outcome);
/* May TXN's request be sent to another target? Where the route's bounds forbid that, it is counted.
 * True also where only tl_hunt_next finds that there is none. */
bool tl_hunt_may_go_on(struct tl_txn *txn);
/* The target that TXN's request is to be sent to now; NULL: there is none. */
const struct tl_target *tl_hunt_next(struct tl_txn *txn);
/* How long TXN's request may still look for a target that answers; UINT32_MAX: no bound. */
uint32_t tl_hunt_left_ms(const struct tl_txn *txn);
