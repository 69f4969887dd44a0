/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A map from 64-bit keys to lists of numbers: the ground of the indexes over what
 * a configuration names. It keeps keys only, not what was hashed into them, so a list
 * may hold a number too many; the caller checks each against the thing itself.
 *
 * Ownership: the caller's, filled once and then only read. Threads: one fills,
 * any number read. Errors: TL_ENOMEM.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "tieline/str.h"

/* So many things are compared one by one faster than they are looked up. */
#define TL_INDEX_FEW 8u

struct tl_index_slot {
  uint64_t key;         /* 0: free */
  uint32_t first, last; /* nodes of its list, by number from 1 */
};

struct tl_index_node {
  uint32_t value, next; /* next: a node by number, 0: the end */
};

struct tl_index_map {
  struct tl_index_slot *slots;
  struct tl_index_node *nodes; /* nodes[0] is the first, number 1 */
  uint32_t mask;               /* of slots; 0: none yet */
  uint32_t n_key, n_node, cap_node;
};

/* Puts VALUE after what KEY has already, so that values added in ascending order are found so.
 * Amortised constant time. TL_ENOMEM: M is as before. */
int tl_index_map_add(struct tl_index_map *m, uint64_t key, uint32_t value);
/* Called with each value of KEY, in the order in which they were added; false: no more. Returns
 * false if it was ended so. */
typedef bool (*tl_index_map_fn)(void *arg, uint32_t value);
bool tl_index_map_each(const struct tl_index_map *m, uint64_t key, tl_index_map_fn fn, void *arg);
/* Frees what M holds; M is empty then. */
void tl_index_map_clear(struct tl_index_map *m);

/* The same NAME gives the same id in every table of the process. */
uint64_t tl_index_name_id(const char *name);

/* The same for hosts that differ in case or in a dot at the end only, and for few others. */
uint64_t tl_index_host(struct tl_str host);

/* Spreads X over all 64 bits. */
static inline uint64_t tl_index_mix(uint64_t x) {
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93u;
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93u;
  return x ^ x >> 32;
}

/* The number of KEY's first node, 0 if it has none. */
static inline uint32_t tl_index_map_first(const struct tl_index_map *m, uint64_t key) {
  if (!m->mask) return 0;
  key += !key;
  for (uint32_t at = (uint32_t)key & m->mask; m->slots[at].key; at = (at + 1) & m->mask)
    if (m->slots[at].key == key) return m->slots[at].first;
  return 0;
}

/* The node of that number. */
static inline const struct tl_index_node *tl_index_map_node(const struct tl_index_map *m,
                                                            uint32_t number) {
  return &m->nodes[number - 1];
}
