/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Responses that come in (RFC 3261 16.7, 17.1).
 *
 * Ownership: M and BODY are the caller's. Threads: the worker's own. Errors: a response
 * that is not ours to forward is counted and dropped.
 */
#pragma once

#include "tieline/net.h"

struct tl_proxy;
struct tl_origin;

void tl_response_handle(struct tl_proxy *p, const struct tl_origin *origin, const struct tl_msg *m,
                        const struct tl_body *body);
