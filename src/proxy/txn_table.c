/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions by key: linear probing, and a removal closes the gap, so that no tombstones
 * lengthen later look-ups. Not base's hash table, whose chains may cost a cache miss for each link:
 * every message looks here, and adjacent keys decide without touching a transaction.
 */
#include "txn.h"

#include <stdlib.h>

#include "tieline/pages.h"

#define LEAST_SLOTS 128u /* small while there are few, to stay in the nearest cache */

static void put_slot(struct tl_txn_table *t, uint64_t key, struct tl_txn *txn) {
  uint32_t i = (uint32_t)key & t->mask;
  while (t->key[i]) i = (i + 1) & t->mask;
  t->key[i] = key;
  t->txn[i] = txn;
}

static int grow_table(struct tl_txn_table *t) {
  uint32_t had = t->key ? t->mask + 1 : 0, size = had ? 2 * had : LEAST_SLOTS;
  struct tl_txn_table old = *t;
  uint64_t *key = tl_pages_zeroed(size * sizeof(*key));
  struct tl_txn **txn = tl_pages_zeroed(size * sizeof(struct tl_txn *));
  if (!key || !txn) {
    free(key);
    free(txn);
    return TL_ENOMEM;
  }
  t->key = key;
  t->txn = txn;
  t->mask = size - 1;
  for (uint32_t i = 0; i < had; i++)
    if (old.key[i]) put_slot(t, old.key[i], old.txn[i]);
  free(old.key);
  free(old.txn);
  return TL_OK;
}

int tl_txn_table_add(struct tl_txn_table *t, struct tl_txn *txn) {
  /* Without memory it may fill further; one slot stays free, where look-ups end. */
  if (2 * t->used >= t->mask && grow_table(t) && t->used >= t->mask) return TL_ENOMEM;
  put_slot(t, txn->key, txn);
  t->used++;
  return TL_OK;
}

void tl_txn_table_fetch(const struct tl_txn_table *t, uint64_t key) {
  if (t->key) __builtin_prefetch(&t->key[(uint32_t)key & t->mask], 1);
}

struct tl_txn *tl_txn_table_find(const struct tl_txn_table *t, uint64_t key) {
  if (!t->key) return NULL;
  uint32_t i = (uint32_t)key & t->mask;
  while (t->key[i] && t->key[i] != key) i = (i + 1) & t->mask;
  return t->key[i] ? t->txn[i] : NULL;
}

void tl_txn_table_remove(struct tl_txn_table *t, const struct tl_txn *txn) {
  uint32_t gap = (uint32_t)txn->key & t->mask;
  while (t->key[gap] != txn->key || t->txn[gap] != txn) gap = (gap + 1) & t->mask;
  for (uint32_t i = (gap + 1) & t->mask; t->key[i]; i = (i + 1) & t->mask) {
    /* An entry may fill the gap unless its home slot lies after the gap. */
    uint32_t from_home = (i - (uint32_t)t->key[i]) & t->mask;
    if (from_home < ((i - gap) & t->mask)) continue;
    t->key[gap] = t->key[i];
    t->txn[gap] = t->txn[i];
    gap = i;
  }
  t->key[gap] = 0;
  t->used--;
}

void tl_txn_table_free(struct tl_txn_table *t) {
  free(t->key);
  free(t->txn);
  *t = (struct tl_txn_table){.used = 0};
}
