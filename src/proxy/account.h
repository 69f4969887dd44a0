/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log of calls, if it is configured.
 *
 * Ownership: none. Threads: the worker's own. Errors: none; what the log loses, it counts.
 */
#pragma once

#include "tieline/net.h"

struct tl_proxy;
struct tl_txn;

/* TXN has its final response; its working set is still there. */
void tl_account_done(struct tl_txn *txn, unsigned status);
/* M was refused without a transaction. */
void tl_account_refused(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m,
                        unsigned status);
void tl_account_exit(struct tl_proxy *p);
