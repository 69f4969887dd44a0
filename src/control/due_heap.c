/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A binary heap in an array. What is due, and what becomes of it, is its user's.
 */
#include "control/due_heap.h"

#include <assert.h>
#include <stdlib.h>

#include "tieline/err.h"

int tl_due_reserve(struct tl_due_heap *h, size_t n) {
  if (n <= h->cap) return TL_OK;
  struct tl_due *at = realloc(h->at, n * sizeof(*at));
  if (!at) return TL_ENOMEM;
  h->at = at;
  h->cap = n;
  return TL_OK;
}

void tl_due_push(struct tl_due_heap *h, uint64_t at_ms, uint64_t what) {
  assert(h->n < h->cap);
  size_t i = h->n++;
  for (; i && h->at[(i - 1) / 2].at_ms > at_ms; i = (i - 1) / 2) h->at[i] = h->at[(i - 1) / 2];
  h->at[i] = (struct tl_due){at_ms, what};
}

struct tl_due tl_due_pop(struct tl_due_heap *h) {
  assert(h->n);
  const struct tl_due first = h->at[0], last = h->at[--h->n];
  size_t i = 0, child;
  while ((child = 2 * i + 1) < h->n) {
    if (child + 1 < h->n && h->at[child + 1].at_ms < h->at[child].at_ms) child++;
    if (h->at[child].at_ms >= last.at_ms) break;
    h->at[i] = h->at[child];
    i = child;
  }
  h->at[i] = last;
  return first;
}

void tl_due_free(struct tl_due_heap *h) {
  free(h->at);
  *h = (struct tl_due_heap){.n = 0};
}
