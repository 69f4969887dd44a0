/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of our own: transactions like any other, but without a client. Their response ends here,
 * with their user.
 *
 * Ownership: the transaction is the worker's. Threads: the worker's own. Errors: NULL: there is no
 * room for one, or the text is not a request.
 */
#pragma once

#include "stage.h"
#include "txn.h"

/* A transaction for REQ, whose message is TEXT and is kept; REQ has it, its plan, which is empty,
 * and the kept message then. USER hears of its end, with DATA. */
struct tl_txn *tl_own_request_begin(struct tl_req *req, struct tl_str text,
                                    const struct tl_txn_user *user, void *data);
