/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions by key: linear probing, and a removal closes the gap, so that no
 * marks of what was there lengthen later look-ups.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "proxy.h"

#define LEAST_SLOTS 128u /* small while there are few, so that it stays in the nearest cache */

static void put(struct tl_tx_table *t, struct tl_tx_slot s) {
  uint32_t i = (uint32_t)s.key & t->mask;
  while (t->slot[i].tx) i = (i + 1) & t->mask;
  t->slot[i] = s;
}

#define HUGE_PAGE (2u << 20)

/* Each look-up is at a place of its own: with small pages it would miss the TLB as well. */
static struct tl_tx_slot *slots_new(uint32_t n) {
  size_t len = n * sizeof(struct tl_tx_slot);
  if (len < HUGE_PAGE) return calloc(n, sizeof(struct tl_tx_slot));
  struct tl_tx_slot *s = aligned_alloc(HUGE_PAGE, len);
  if (!s) return NULL;
  madvise(s, len, MADV_HUGEPAGE); /* a wish */
  memset(s, 0, len);
  return s;
}

static int grow(struct tl_tx_table *t) {
  uint32_t had = t->slot ? t->mask + 1 : 0, size = had ? 2 * had : LEAST_SLOTS;
  struct tl_tx_slot *old = t->slot, *new = slots_new(size);
  if (!new) return TL_ENOMEM;
  t->slot = new;
  t->mask = size - 1;
  for (uint32_t i = 0; i < had; i++)
    if (old[i].tx) put(t, old[i]);
  free(old);
  return TL_OK;
}

int tl_tx_table_add(struct tl_tx_table *t, struct tl_tx *tx) {
  /* Without memory it may fill further; one slot stays free, where look-ups end. */
  if (2 * t->used >= t->mask && grow(t) && t->used >= t->mask) return TL_ENOMEM;
  put(t, (struct tl_tx_slot){tx->key, tx});
  t->used++;
  return TL_OK;
}

void tl_tx_table_fetch(const struct tl_tx_table *t, uint64_t key) {
  if (t->slot) __builtin_prefetch(&t->slot[(uint32_t)key & t->mask], 1);
}

struct tl_tx *tl_tx_table_find(const struct tl_tx_table *t, uint64_t key) {
  if (!t->slot) return NULL;
  uint32_t i = (uint32_t)key & t->mask;
  while (t->slot[i].tx && t->slot[i].key != key) i = (i + 1) & t->mask;
  return t->slot[i].tx;
}

void tl_tx_table_remove(struct tl_tx_table *t, const struct tl_tx *tx) {
  uint32_t gap = (uint32_t)tx->key & t->mask;
  while (t->slot[gap].tx != tx) gap = (gap + 1) & t->mask;
  for (uint32_t i = (gap + 1) & t->mask; t->slot[i].tx; i = (i + 1) & t->mask) {
    /* Who is not yet nearer to his place than the gap may move there. */
    uint32_t from_home = (i - (uint32_t)t->slot[i].key) & t->mask;
    if (from_home < ((i - gap) & t->mask)) continue;
    t->slot[gap] = t->slot[i];
    gap = i;
  }
  t->slot[gap].tx = NULL;
  t->used--;
}
