/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What others ask of routing (RFC 3261 16.5); the stage itself is in stage.h.
 *
 * Ownership: none. Threads: the worker's own. Errors: TL_EAGAIN: the next hop's name must be
 * resolved first (target.h); TL_ENOTFOUND: refuse the request.
 */
#pragma once

#include "plan.h"
#include "tieline/route_index.h"

struct tl_req;
struct tl_source;
struct tl_identity;

/* RC of the search for targets, or TL_ENOTFOUND with a status if the request is a sips: one, or one
 * for a TLS-only peer, and has targets none of which is secure. */
int tl_route_secure(struct tl_req *req, int rc);
/* The first route of T that ACCEPT takes, of those whose peer, domain and prefix the request of
 * PLAN from S (NULL: not known) may fit; TL_ROUTE_NONE. Others ACCEPT does not see. */
uint32_t tl_route_search(const struct tl_route_table *t, const struct tl_plan *plan,
                         const struct tl_source *s, tl_route_accept_fn accept, void *arg);
/* NULL if the request of PLAN from S (NULL: not known) may take route NUMBER of T; else a phrase.
 */
const char *tl_route_why_not(const struct tl_route_table *t, uint32_t number,
                             const struct tl_plan *plan, struct tl_source *s,
                             const struct tl_identity *id);
