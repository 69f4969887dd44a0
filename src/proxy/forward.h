/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way of a transaction's request out (RFC 3261 16.6 steps 7 to 11): one target
 * after the other or all at once, CANCEL, and what a failure means.
 *
 * Ownership: these may end the transaction, which is gone then. Threads: the worker's own.
 * Errors: a request that cannot be sent is answered.
 */
#pragma once

#include "tieline/net.h"

struct tl_txn;
struct tl_branch;

/* Sends the transaction's request to its next target, or answers when none is left. M and BODY: the
 * request when it is at hand, NULL: from the saved one. */
void tl_forward_next(struct tl_txn *txn, const struct tl_msg *m, const struct tl_body *body);
/* B's request has reached nobody (16.9): as if STATUS had come. Frees B. */
void tl_forward_failed(struct tl_branch *b, unsigned status);
/* B's request, which is under way, is awaited no longer: as if STATUS had come. An INVITE is
 * cancelled, and kept for what may still come (given_up.h); else frees B. */
void tl_forward_gave_up(struct tl_branch *b, unsigned status);
/* TXN has been cancelled. */
void tl_forward_cancel(struct tl_txn *txn);
/* Sends CANCEL for B, now or after its first provisional response. */
void tl_forward_cancel_branch(struct tl_branch *b);
