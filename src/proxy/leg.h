/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The legs of a dialog: whom a Record-Route token of ours admits, and where to.
 *
 * Ownership: none. Threads: the worker's own. Errors: none; a token that is not valid is
 * counted by its cause.
 */
#pragma once

#include "plan.h"

struct tl_req;

/* What the token is to say of M, which came from FROM as PLAN says and goes to TO; T: the target,
 * NULL: a flow. STAYS: the neighbour at FROM is part of the dialog. */
struct tl_route_token tl_leg_token(struct tl_proxy *p, const struct tl_plan *plan,
                                   const struct tl_msg *m, const struct tl_target *t,
                                   const struct tl_flow *from, const struct tl_flow *to,
                                   bool stays);
/* Notes in the plan, for tl_leg_token, whom the request comes from. */
void tl_leg_source(const struct tl_req *req);
/* SAYS was read from the request. Is it valid: a request of the dialog, young enough, from where
 * that leg is? If not that is counted, and the request is to be judged as an initial one. */
bool tl_leg_counts(const struct tl_req *req, const struct tl_route_token *says);
/* A request that went out and came back through others shows one token of ours after the other.
 * Does NEXT stand for the leg after that of SAYS, in the same dialog? */
bool tl_leg_follows(const struct tl_route_token *says, const struct tl_route_token *next);
/* Removes from the plan, in a dialog, the targets that the next leg never was and that the dialog's
 * route would not allow. False: none of those it had is left. */
bool tl_leg_bound(const struct tl_req *req);
