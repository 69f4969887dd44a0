/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Responses made here (RFC 3261 8.2.6).
 *
 * Ownership: a final response ends the transaction's working set and may free it.
 * Threads: the worker's own. Errors: counted; what cannot be answered is dropped.
 */
#pragma once

#include "tieline/net.h"

struct tl_proxy;
struct tl_txn;

/* Answers M without a transaction. */
void tl_local_answer(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m,
                     unsigned status, struct tl_str reason, struct tl_str extra);
/* Answers the request of TXN; a final response moves it on. */
void tl_local_txn_answer(struct tl_txn *txn, unsigned status, struct tl_str reason,
                         struct tl_str extra);
