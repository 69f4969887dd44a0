/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash table of objects that hold their node in it. It compares hashes alone;
 * the caller compares what he looks for. Chains, because objects leave as often as
 * they come; it grows with what is in it and never shrinks. Tables in which one entry
 * takes the place of another, and those that are built once, are of another kind.
 *
 * Ownership: objects are the caller's. Threads: one at a time. Errors: TL_ENOMEM.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct tl_hash_node {
  struct tl_hash_node *next;
  uint64_t hash;
};

/* All zero: empty. */
struct tl_hash_table {
  struct tl_hash_node **bucket;
  uint32_t mask, n;
};

/* HASH is spread over its low bits; several objects may have the same. TL_ENOMEM only for the first
 * one: without memory to grow the chains get longer. */
int tl_hash_add(struct tl_hash_table *t, struct tl_hash_node *node, uint64_t hash);
/* NODE is in T. */
void tl_hash_remove(struct tl_hash_table *t, struct tl_hash_node *node);
/* Frees what the table itself takes. */
void tl_hash_free(struct tl_hash_table *t);

static inline struct tl_hash_node *tl_hash_from(struct tl_hash_node *node, uint64_t hash) {
  while (node && node->hash != hash) node = node->next;
  return node;
}

/* The objects with HASH, last added first: the first one, and the one after NODE. */
static inline struct tl_hash_node *tl_hash_first(const struct tl_hash_table *t, uint64_t hash) {
  return t->bucket ? tl_hash_from(t->bucket[hash & t->mask], hash) : NULL;
}
static inline struct tl_hash_node *tl_hash_next(const struct tl_hash_node *node) {
  return tl_hash_from(node->next, node->hash);
}

/* All objects: the one after NODE, NULL for the first. Ask before NODE is removed. */
struct tl_hash_node *tl_hash_walk(const struct tl_hash_table *t, const struct tl_hash_node *node);
