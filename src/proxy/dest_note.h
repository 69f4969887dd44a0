/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens to requests on their way tells how the destinations are that they went to: here it
 * is noted in their health, and people are told when one goes down or comes back.
 *
 * Ownership: none; a branch's destination is there as long as its transaction has its view, and is
 * looked for in the present one after that. Threads: any worker. Errors: none.
 */
#pragma once

#include "branch.h"
#include "txn.h"

/* E came to pass at D, of PEER; see tl_dest_note. */
void tl_dest_happened(struct tl_dest_state *d, const struct tl_conf_peer *peer,
                      enum tl_dest_event e, enum tl_dest_cause cause, unsigned status,
                      uint64_t now_ms);

void tl_dest_heard_slow(struct tl_branch *b, const struct tl_msg *m);
/* B gets the response M, its first final one or one before that. */
static inline void tl_dest_heard(struct tl_branch *b, const struct tl_msg *m) {
  if (!b->target.dest) return;
  if (m->status >= 300 || !b->txn->view || !tl_dest_is_plain(&b->target.dest->health))
    tl_dest_heard_slow(b, m);
}
/* B got no answer in its time. */
void tl_dest_silent(struct tl_branch *b);
/* TXN's request could not be sent to T for RC. */
void tl_dest_unsent(struct tl_txn *txn, const struct tl_target *t, int rc);
/* C ends for RC, with branches that wait for an answer on it. */
void tl_dest_conn_lost(struct tl_proxy *p, struct tl_conn *c, int rc);
