/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stashes hold what is incomplete at the end of a receive: the first part of a record or of a
 * message. Small ones come from the worker's pools.
 */
#include <stdlib.h>

#include "net_internal.h"

static size_t big_size(const struct tl_net *n) { return n->scratch_cap; }

static uint8_t *stash_mem(struct tl_net *n, size_t want, uint32_t *out_cap) {
  if (want <= TL_STASH_SMALL) {
    *out_cap = TL_STASH_SMALL;
    return tl_pool_get(&n->stash_small);
  }
  if (want <= TL_STASH_MID) {
    *out_cap = TL_STASH_MID;
    return tl_pool_get(&n->stash_mid);
  }
  *out_cap = (uint32_t)(want > big_size(n) ? 2 * want : big_size(n));
  return malloc(*out_cap);
}

static void stash_mem_free(struct tl_net *n, uint8_t *p, uint32_t cap) {
  if (cap == TL_STASH_SMALL)
    tl_pool_put(&n->stash_small, p);
  else if (cap == TL_STASH_MID)
    tl_pool_put(&n->stash_mid, p);
  else
    free(p);
}

void tl_stash_drop(struct tl_net *n, struct tl_stash *s) {
  if (s->p) stash_mem_free(n, s->p, s->cap);
  memset(s, 0, sizeof(*s));
}

int tl_stash_put(struct tl_net *n, struct tl_stash *s, const uint8_t *p, size_t len) {
  if (s->n + len > s->cap) {
    uint32_t cap;
    uint8_t *m = stash_mem(n, s->n + len, &cap);
    if (!m) return TL_ENOMEM;
    if (s->n) memcpy(m, s->p, s->n);
    if (s->p) stash_mem_free(n, s->p, s->cap);
    s->p = m;
    s->cap = cap;
  }
  memcpy(s->p + s->n, p, len);
  s->n += (uint32_t)len;
  return TL_OK;
}
