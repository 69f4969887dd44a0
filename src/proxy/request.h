/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that come in (RFC 3261 16.3, 16.10, 17.2.3): they pass the stages of stage.h.
 *
 * Ownership: M and BODY are the caller's. Threads: the worker's own. Errors: what cannot be
 * taken is answered, or counted and dropped.
 */
#pragma once

#include "tieline/net.h"

struct tl_proxy;
struct tl_origin;

void tl_request_handle(struct tl_proxy *p, const struct tl_origin *origin, const struct tl_msg *m,
                       const struct tl_body *body);
