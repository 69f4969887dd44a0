/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups of peers that share requests: which member is the next to be tried. Members
 * of the lowest priority share by the group's method; those of the next one serve
 * when all before have been tried or passed over.
 *
 * Ownership: a group is its route table's; a turn is the request's. Threads: any; a
 * group never changes but for its counter, which is atomic. Errors: none.
 */
#pragma once

#include <stdatomic.h>

#include "tieline/peer_table.h"

#define TL_GROUP_MEMBERS_MAX 64

enum tl_group_method {
  TL_GROUP_ORDER,        /* as they are written */
  TL_GROUP_WEIGHT,       /* drawn, in proportion to their weights */
  TL_GROUP_ROUND_ROBIN,  /* in turn */
  TL_GROUP_RANDOM,       /* drawn, all alike */
  TL_GROUP_LEAST_CALLS,  /* who has the fewest calls for its weight */
  TL_GROUP_HASH_CALL_ID, /* the same member for the same Call-ID ... */
  TL_GROUP_HASH_FROM,
  TL_GROUP_HASH_TO,
  TL_GROUP_HASH_REQUEST_URI,
};

struct tl_group_options {
  enum tl_group_method method;
};

struct tl_member_options {
  uint32_t priority, weight;
};

struct tl_group_member {
  const struct tl_conf_peer *peer; /* of the route table's set */
  uint32_t priority, weight;       /* weight 0: tried only after the others of its priority */
  uint32_t written;                /* its place in the block */
};

struct tl_peer_group {
  char *name;
  enum tl_group_method method;
  size_t n;
  struct tl_group_member *member; /* by priority, then as they are written */
  _Atomic uint32_t turns;         /* of round-robin, in the whole process */
};

/* How far one request has come in a group. */
struct tl_group_turn {
  uint64_t tried; /* bit N: member N has had its turn */
  uint64_t draw;  /* what is random about it: the same number gives the same order */
  uint64_t hash;  /* of what the method says, see tl_group_is_hashed */
  bool dry;       /* asked only: round-robin stays where it is */
};

/* As an operator writes them, by enum tl_group_method; NULL-terminated. */
extern const char *const tl_group_method_names[];
static inline bool tl_group_is_hashed(const struct tl_peer_group *g) {
  return g->method >= TL_GROUP_HASH_CALL_ID;
}
/* Does it give each copy of a request the same order? */
static inline bool tl_group_is_steady(const struct tl_peer_group *g) {
  return g->method != TL_GROUP_ROUND_ROBIN && g->method != TL_GROUP_LEAST_CALLS;
}

/* The member whose turn it is in T, which notes that; NULL: all have had theirs. Drawn one after
 * the other, those who are passed over leave their shares to the others in proportion. */
const struct tl_conf_peer *tl_group_next(struct tl_peer_group *g, struct tl_group_turn *t);
