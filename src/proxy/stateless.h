/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Forwarding without a transaction (RFC 3261 16.11): ACKs for a 2xx, requests of a
 * stateless route, and the responses to those.
 *
 * Ownership: nothing is kept; what must be known again stands in the branch, under our
 * keys. Threads: the worker's own. Errors: codes of err.h; responses that are not for us are
 * counted and dropped.
 */
#pragma once

#include "plan.h"

struct tl_req;

/* Sends the request as its plan says. */
int tl_stateless_forward(const struct tl_req *req);
/* The same, and the end of it: a failure is answered or, of an ACK, counted; the transaction in
 * which an ACK has waited is freed. */
void tl_stateless_send(struct tl_req *req);
/* The response M has a branch of ours which says that its request came on CONN (0: none). False: it
 * is forged. */
bool tl_stateless_response(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m,
                           const struct tl_body *body, tl_conn_id conn);
