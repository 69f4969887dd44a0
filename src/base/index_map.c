/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index map: open addressing over keys that are hashes already, and one array
 * of list nodes. Filling is here, reading is inline in the header.
 */
#include "tieline/index_map.h"

#include <stdlib.h>

#include "tieline/err.h"

#define SLOTS_MIN 16u

static struct tl_index_slot *slot_of(struct tl_index_slot *slots, uint32_t mask, uint64_t key) {
  uint32_t at = (uint32_t)key & mask;
  while (slots[at].key && slots[at].key != key) at = (at + 1) & mask;
  return &slots[at];
}

/* At most half of the slots are taken, so that a key that is absent costs about one probe. */
static int grow_slots(struct tl_index_map *m) {
  uint32_t n = m->mask ? 2 * (m->mask + 1) : SLOTS_MIN;
  if (m->n_key < n / 4 && m->mask) return TL_OK;
  struct tl_index_slot *slots = n ? calloc(n, sizeof(*slots)) : NULL;
  if (!slots) return TL_ENOMEM;
  for (uint32_t i = 0; m->mask && i <= m->mask; i++)
    if (m->slots[i].key) *slot_of(slots, n - 1, m->slots[i].key) = m->slots[i];
  free(m->slots);
  m->slots = slots;
  m->mask = n - 1;
  return TL_OK;
}

static int grow_nodes(struct tl_index_map *m) {
  if (m->n_node < m->cap_node) return TL_OK;
  uint32_t cap = m->cap_node ? 2 * m->cap_node : SLOTS_MIN;
  struct tl_index_node *nodes = cap ? realloc(m->nodes, cap * sizeof(*nodes)) : NULL;
  if (!nodes) return TL_ENOMEM;
  m->nodes = nodes;
  m->cap_node = cap;
  return TL_OK;
}

int tl_index_map_add(struct tl_index_map *m, uint64_t key, uint32_t value) {
  key += !key;
  if (grow_slots(m) || grow_nodes(m)) return TL_ENOMEM;
  struct tl_index_slot *s = slot_of(m->slots, m->mask, key);
  m->nodes[m->n_node++] = (struct tl_index_node){.value = value};
  if (s->key) {
    m->nodes[s->last - 1].next = m->n_node;
  } else {
    *s = (struct tl_index_slot){.key = key, .first = m->n_node};
    m->n_key++;
  }
  s->last = m->n_node;
  return TL_OK;
}

bool tl_index_map_each(const struct tl_index_map *m, uint64_t key, tl_index_map_fn fn, void *arg) {
  const struct tl_index_node *at;
  for (uint32_t node = tl_index_map_first(m, key); node; node = at->next) {
    at = tl_index_map_node(m, node);
    if (!fn(arg, at->value)) return false;
  }
  return true;
}

/* FNV-1a with a final mix. */
uint64_t tl_index_name_id(const char *name) {
  uint64_t h = 0xcbf29ce484222325u;
  for (; *name; name++) h = (h ^ (unsigned char)*name) * 0x100000001b3u;
  h ^= h >> 33;
  h *= 0xff51afd7ed558ccdu;
  return h ^ (h >> 33);
}

/* A letter and the character 32 above it that is not a letter hash alike, which costs a
 * comparison. */
uint64_t tl_index_host(struct tl_str host) {
  uint64_t h = 0xcbf29ce484222325u;
  host = tl_host_without_dot(host);
  for (size_t i = 0; i < host.n; i++) h = (h ^ ((unsigned char)host.p[i] | 0x20)) * 0x100000001b3u;
  return h;
}

void tl_index_map_clear(struct tl_index_map *m) {
  free(m->slots);
  free(m->nodes);
  *m = (struct tl_index_map){.mask = 0};
}
