/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a request's source may assert what stands in From and P-Asserted-Identity.
 *
 * Ownership: none; verdicts are cached in the source. Threads: the worker's own.
 * Errors: none.
 */
#pragma once

#include "tieline/net.h"

struct tl_proxy;
struct tl_source;
struct tl_plan;

/* NULL, or the reason phrase of the 403 that M deserves; counted and logged. */
const char *tl_identity_check(struct tl_proxy *p, struct tl_source *s, const struct tl_flow *from,
                              const struct tl_conn *c, const struct tl_msg *m,
                              const struct tl_plan *plan);
