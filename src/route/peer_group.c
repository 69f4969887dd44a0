/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order in which the members of a group are tried, one member at a time. It knows
 * nothing of whether a member is there: who does not want it asks for the next.
 */
#include "tieline/peer_group.h"

#include <math.h>

#include "tieline/index_map.h"

const char *const tl_group_method_names[] = {[TL_GROUP_ORDER] = "order",
                                             [TL_GROUP_WEIGHT] = "weight",
                                             [TL_GROUP_ROUND_ROBIN] = "round-robin",
                                             [TL_GROUP_RANDOM] = "random",
                                             [TL_GROUP_LEAST_CALLS] = "least-calls",
                                             [TL_GROUP_HASH_CALL_ID] = "hash-call-id",
                                             [TL_GROUP_HASH_FROM] = "hash-from",
                                             [TL_GROUP_HASH_TO] = "hash-to",
                                             [TL_GROUP_HASH_REQUEST_URI] = "hash-request-uri",
                                             NULL};

/* splitmix64: the next number of a row, from the one before. */
static uint64_t next_draw(uint64_t *state) { return tl_index_mix(*state += 0x9e3779b97f4a7c15u); }

/* [from, to): the members of the first priority of which some have not had their turn. */
struct level {
  size_t from, to;
};

static bool has_had_turn(const struct tl_group_turn *t, size_t i) { return t->tried >> i & 1; }

static bool find_level(const struct tl_peer_group *g, const struct tl_group_turn *t,
                       struct level *out) {
  for (out->from = 0; out->from < g->n; out->from = out->to) {
    bool left = false;
    for (out->to = out->from;
         out->to < g->n && g->member[out->to].priority == g->member[out->from].priority; out->to++)
      left |= !has_had_turn(t, out->to);
    if (left) return true;
  }
  return false;
}

/* The first that has not had its turn, from START on and round. */
static size_t first_from(const struct level *l, const struct tl_group_turn *t, size_t start) {
  size_t i = start;
  while (has_had_turn(t, i)) i = i + 1 < l->to ? i + 1 : l->from;
  return i;
}

/* WEIGHTED: by their weights, and those of weight 0 when no others are left. */
static size_t draw_member(const struct tl_peer_group *g, const struct level *l,
                          struct tl_group_turn *t, bool weighted) {
  uint64_t sum = 0;
  for (size_t i = l->from; i < l->to; i++)
    if (!has_had_turn(t, i)) sum += weighted ? g->member[i].weight : 1;
  if (sum == 0) return draw_member(g, l, t, false);
  uint64_t at = (uint64_t)(((unsigned __int128)next_draw(&t->draw) * sum) >> 64);
  for (size_t i = l->from;; i++) {
    uint64_t share = has_had_turn(t, i) ? 0 : weighted ? g->member[i].weight : 1;
    if (at < share) return i;
    at -= share;
  }
}

static size_t next_in_turn(struct tl_peer_group *g, const struct level *l,
                           const struct tl_group_turn *t) {
  uint32_t turn = atomic_fetch_add_explicit(&g->turns, t->dry ? 0 : 1, memory_order_relaxed);
  return first_from(l, t, l->from + turn % (l->to - l->from));
}

static uint64_t calls_of(const struct tl_group_member *m) {
  return atomic_load_explicit(&m->peer->state->calls.now, memory_order_relaxed);
}

/* Calls and one more for its weight, compared without division. Equal ones are drawn: else the
 * first would get whatever comes while no call is up. */
static size_t least_calls(const struct tl_peer_group *g, const struct level *l,
                          struct tl_group_turn *t) {
  size_t best = l->to, equal = 0;
  uint64_t best_calls = 0;
  for (size_t i = l->from; i < l->to; i++) {
    const struct tl_group_member *m = &g->member[i];
    if (has_had_turn(t, i)) continue;
    uint64_t calls = calls_of(m);
    unsigned __int128 here = 0, there = 0;
    if (best < l->to) {
      here = (unsigned __int128)(calls + 1) * g->member[best].weight;
      there = (unsigned __int128)(best_calls + 1) * m->weight;
    }
    if (best < l->to && here > there) continue;
    equal = best < l->to && here == there ? equal + 1 : 1;
    if (equal > 1 && next_draw(&t->draw) % equal) continue;
    best = i;
    best_calls = calls;
  }
  return best;
}

/* Rendezvous hashing: each member draws a lot from the hash, the least wins. When a member goes,
 * only its own share goes to others. A lot is exponentially distributed with the weight as its
 * rate, so that members win in proportion to their weights. */
static double lot_of(const struct tl_group_member *m, uint64_t hash) {
  uint64_t x = tl_index_mix(hash ^ tl_index_mix(m->peer->id));
  double u = ((double)(x >> 11) + 0.5) / 9007199254740992.0; /* 2^53: neither 0 nor 1 */
  return -log(u) / (m->weight ? (double)m->weight : 1e-9);
}

static size_t hashed_member(const struct tl_peer_group *g, const struct level *l,
                            const struct tl_group_turn *t) {
  size_t best = l->to;
  double best_lot = 0;
  for (size_t i = l->from; i < l->to; i++) {
    if (has_had_turn(t, i)) continue;
    double lot = lot_of(&g->member[i], t->hash);
    if (best < l->to && lot >= best_lot) continue;
    best = i;
    best_lot = lot;
  }
  return best;
}

const struct tl_conf_peer *tl_group_next(struct tl_peer_group *g, struct tl_group_turn *t) {
  struct level l;
  size_t i;
  if (!find_level(g, t, &l)) return NULL;
  switch (g->method) {
  case TL_GROUP_WEIGHT: i = draw_member(g, &l, t, true); break;
  case TL_GROUP_ROUND_ROBIN: i = next_in_turn(g, &l, t); break;
  case TL_GROUP_RANDOM: i = draw_member(g, &l, t, false); break;
  case TL_GROUP_LEAST_CALLS: i = least_calls(g, &l, t); break;
  case TL_GROUP_HASH_CALL_ID:
  case TL_GROUP_HASH_FROM:
  case TL_GROUP_HASH_TO:
  case TL_GROUP_HASH_REQUEST_URI: i = hashed_member(g, &l, t); break;
  default: i = first_from(&l, t, l.from);
  }
  t->tried |= 1ull << i;
  return g->member[i].peer;
}
