/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The targets of a plan: the addresses of a peer or of a URI, in the order in which
 * they are tried (RFC 3261 16.5, 16.6 step 7).
 *
 * Ownership: the plan is the caller's. Threads: the worker's own. Errors: TL_EAGAIN: a
 * name must be resolved first; TL_ENOTFOUND: there is none, and the plan may say why.
 */
#pragma once

#include "plan.h"

struct tl_req;
struct tl_resolve;

/* What targets are looked for with. */
struct tl_target_search {
  struct tl_proxy *p;
  const struct tl_view *view;
  struct tl_plan *plan;
  const struct tl_peer_group *group; /* of the peer that is looked at, NULL: none */
  bool dry;                          /* nothing is counted */
};

struct tl_target_search tl_target_search_of(const struct tl_req *req);
/* Counts ID, if it is traffic. */
void tl_target_count(const struct tl_target_search *s, enum tl_counter id);
/* The same for targets that may be the same (16.5). */
uint64_t tl_target_key(const struct tl_target *t);

/* Adds the address that the plan's next URI names. */
int tl_target_of_uri(const struct tl_req *req);
/* The K-th address of PEER, as the plan's route reaches it. */
struct tl_dest_state *tl_target_dest(const struct tl_target_search *s,
                                     const struct tl_conf_peer *peer, size_t k);
/* Adds DEST, which is one of those. TRIAL: it must be claimed. */
void tl_target_add(const struct tl_target_search *s, const struct tl_conf_peer *peer,
                   struct tl_dest_state *dest, bool trial);
/* Fills the empty plan of a request of our own, to one address of PEER. It has no target where that
 * is ours, or may not be reached so. */
void tl_target_to_address(const struct tl_req *req, const struct tl_conf_peer *peer,
                          enum tl_transport t, const struct tl_addr *addr);
/* Asks the resolver for the plan's next hop; ANSWER, with COOKIE, comes back to this worker. */
int tl_target_resolve(const struct tl_req *req, uint64_t cookie, const struct tl_mail_kind *answer);
/* Adds what the look-up gave. */
void tl_target_resolved(const struct tl_req *req, const struct tl_resolve *r);
/* RFC 3261 18.1.1: a request near the path MTU goes by TCP first where UDP was meant, unless TCP
 * could not connect there recently. */
void tl_target_prefer_tcp(struct tl_proxy *p, struct tl_plan *plan);
