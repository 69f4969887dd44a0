/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way back of responses whose request came on a connection that has ended.
 *
 * Ownership: everything is copied. Threads: the worker's own; a response may pass from
 * worker to worker by mail. Errors: codes of err.h.
 */
#pragma once

#include "tieline/net.h"

struct tl_proxy;
struct tl_txn;
struct tl_edit;

/* Has the connection that brought TXN ended, or nearly? */
bool tl_back_needed(const struct tl_txn *txn);
/* Sends what E makes of a response to TXN by another connection of its sender, or by a new one. */
int tl_back_send(struct tl_txn *txn, const struct tl_edit *e, const struct tl_body *body);
/* The same for a complete response, for which nothing is dialled. */
int tl_back_bytes(struct tl_txn *txn, const void *data, size_t n);
void tl_back_exit(struct tl_proxy *p);
