/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that come in (RFC 3261 16.3, 16.10, 17.2.3).
 *
 * Ownership: M and BODY are the caller's. Threads: the worker's own. Errors: what cannot be
 * taken is answered, or counted and dropped.
 */
#pragma once

#include "tieline/net.h"

struct tl_proxy;
struct tl_resolve;

/* C: the connection that M came on; NULL: a datagram, or passed on by another worker. */
void tl_request_handle(struct tl_proxy *p, const struct tl_flow *from, struct tl_conn *c,
                       const struct tl_msg *m, const struct tl_body *body);
/* The answer to the look-up of a waiting transaction's next hop; its cookie is the key. */
extern const struct tl_mail_kind tl_request_resolved;
