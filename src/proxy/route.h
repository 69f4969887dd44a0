/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routing: from a request to a plan (RFC 3261 16.4, 16.5). Sends nothing.
 *
 * Ownership: the plan is the caller's; it refers to p->net.view. Threads: the worker's own.
 * Errors: TL_EAGAIN: the next hop's name must be resolved first (target.h); TL_ENOTFOUND:
 * refuse the request.
 */
#pragma once

#include "plan.h"

struct tl_source;
struct tl_conn;

/* Fills PLAN for M, up to its targets. TL_ENOTFOUND: refuse with *OUT_STATUS. */
int tl_route_plan(struct tl_proxy *p, const struct tl_flow *from, struct tl_conn *c,
                  const struct tl_msg *m, struct tl_plan *plan, unsigned *out_status);
/* NULL if the request of PLAN from S (NULL: not known) may take R, the Ith route; else a phrase. */
const char *tl_route_why_not(const struct tl_conf_route *r, uint32_t number,
                             const struct tl_plan *plan, struct tl_source *s,
                             const struct tl_identity *id);
