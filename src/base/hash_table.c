/* SPDX-License-Identifier: Apache-2.0 */
/* The intrusive hash table; looking up is inline in the header. */
#include "tieline/hash_table.h"

#include <stdbool.h>
#include <stdlib.h>

#include "tieline/err.h"

#define LEAST_BUCKETS 64u

static void put_in(struct tl_hash_table *t, struct tl_hash_node *node) {
  struct tl_hash_node **bucket = &t->bucket[node->hash & t->mask];
  node->next = *bucket;
  *bucket = node;
}

/* Each old bucket falls into two, in which its objects keep their order. */
static int grow_buckets(struct tl_hash_table *t) {
  const struct tl_hash_table old = *t;
  const uint32_t size = old.bucket ? 2 * (old.mask + 1) : LEAST_BUCKETS;
  struct tl_hash_node **bucket = size ? calloc(size, sizeof(struct tl_hash_node *)) : NULL;
  if (!bucket) return TL_ENOMEM;
  t->bucket = bucket;
  t->mask = size - 1;
  for (uint32_t i = 0; old.bucket && i <= old.mask; i++) {
    struct tl_hash_node **end[2] = {&bucket[i], &bucket[i + old.mask + 1]};
    for (struct tl_hash_node *node = old.bucket[i]; node; node = node->next) {
      const bool upper = node->hash & (old.mask + 1);
      *end[upper] = node;
      end[upper] = &node->next;
    }
    *end[0] = *end[1] = NULL;
  }
  free(old.bucket);
  return TL_OK;
}

int tl_hash_add(struct tl_hash_table *t, struct tl_hash_node *node, uint64_t hash) {
  if ((!t->bucket || t->n > t->mask) && grow_buckets(t) && !t->bucket) return TL_ENOMEM;
  node->hash = hash;
  put_in(t, node);
  t->n++;
  return TL_OK;
}

void tl_hash_remove(struct tl_hash_table *t, struct tl_hash_node *node) {
  struct tl_hash_node **at = &t->bucket[node->hash & t->mask];
  while (*at != node) at = &(*at)->next;
  *at = node->next;
  t->n--;
}

void tl_hash_free(struct tl_hash_table *t) {
  free(t->bucket);
  *t = (struct tl_hash_table){.n = 0};
}

struct tl_hash_node *tl_hash_walk(const struct tl_hash_table *t, const struct tl_hash_node *node) {
  if (node && node->next) return node->next;
  if (!t->bucket) return NULL;
  for (uint64_t i = node ? (node->hash & t->mask) + 1 : 0; i <= t->mask; i++)
    if (t->bucket[i]) return t->bucket[i];
  return NULL;
}
