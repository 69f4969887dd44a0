/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The best response of a transaction's branches (RFC 3261 16.7 steps 6 and 7), and
 * the way of responses up to the client.
 *
 * Ownership: tl_best_settle may end the transaction, which is gone then. Threads: the
 * worker's own. Errors: none; a response that has no way back is counted.
 */
#pragma once

#include "tieline/net.h"

struct tl_txn;

/* Would STATUS be a better response than OLD (0: none)? */
bool tl_best_is_better(unsigned status, unsigned old);
/* Is another target to be tried? */
bool tl_best_wants_next(struct tl_txn *txn);
/* Keeps M, a final response that is not forwarded at once, if it is the best so far. */
void tl_best_keep(struct tl_txn *txn, const struct tl_msg *m, const struct tl_body *body);
/* No branch is left that could still answer: the next target, or the best response. */
void tl_best_settle(struct tl_txn *txn);
/* Sends M up to the client, without our Via. */
void tl_best_forward(struct tl_txn *txn, const struct tl_msg *m, const struct tl_body *body);
