/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which routes may take a request: an index over what a route demands of the
 * number, the domain and the peer, so that a request costs the same with ten
 * routes and with a million. Routes are numbered in the order in which they are
 * tried. Everything else that a route demands, and the exact text behind a hash,
 * is the caller's to check for each route that is offered.
 *
 * Ownership: the caller's, filled once and then only read; it keeps nothing of
 * what it is given. Threads: one fills, any number read. Errors: TL_ENOMEM.
 */
#pragma once

#include <stdbool.h>

#include "tieline/index_map.h"
#include "tieline/str.h"

#define TL_ROUTE_NONE UINT32_MAX

struct tl_route_index {
  struct tl_index_map groups;   /* peer and domain: a number into lengths */
  struct tl_index_map prefixes; /* peer, domain and prefix: routes */
  uint64_t *lengths;            /* of each group: bit N, it has prefixes of N characters */
  uint32_t n_length, cap_length;
  uint8_t kinds;   /* bit of each kind of group that exists, see route_index.c */
  uint8_t longest; /* prefix, in characters; those after 63 do not count */
};

/* What a route demands. */
struct tl_route_key {
  struct tl_str prefix;      /* of the user part, n 0: any */
  char *const *domains;      /* hosts, in any case, NULL-terminated; NULL: any */
  bool of_next_hop;          /* the domains are those of the next hop, not of the Request-URI */
  const uint64_t *from_peer; /* ids of peers */
  size_t n_from;             /* 0: any source, a stranger too */
};

/* What a request brings. */
struct tl_route_query {
  struct tl_str user; /* of the Request-URI, escapes as they came */
  struct tl_str host, next_host;
  uint64_t peer; /* id of the source, 0: no peer */
};

/* Do some routes of X ask for the host of the next hop? If not, a query needs none. */
bool tl_route_index_asks_next_hop(const struct tl_route_index *x);

/* Is the route of that number the one? */
typedef bool (*tl_route_accept_fn)(void *arg, uint32_t route);

/* Adds route NUMBER; numbers ascend. After TL_ENOMEM X can only be cleared. */
int tl_route_index_add(struct tl_route_index *x, uint32_t number, const struct tl_route_key *key);
void tl_route_index_clear(struct tl_route_index *x);

/* The lowest number that ACCEPT takes of those that Q may fit, else TL_ROUTE_NONE. Looks at no
 * route that is above one already taken. No allocation; constant time but for the routes that share
 * peer, domain and prefix. */
uint32_t tl_route_index_find(const struct tl_route_index *x, const struct tl_route_query *q,
                             tl_route_accept_fn accept, void *arg);
