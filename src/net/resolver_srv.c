/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order of SRV targets (RFC 2782): lower priority first; among equals a target
 * is drawn with a chance in proportion to its weight, again and again.
 */
#include <openssl/rand.h>
#include <stdlib.h>

#include "net/resolver.h"

static void swap(struct tl_resolve_target *a, struct tl_resolve_target *b) {
  struct tl_resolve_target t = *a;
  *a = *b;
  *b = t;
}

static int by_priority(const void *a, const void *b) {
  const struct tl_resolve_target *x = a, *y = b;
  if (x->priority != y->priority) return x->priority < y->priority ? -1 : 1;
  return (x->weight > 0) - (y->weight > 0); /* those of weight 0 stand in front for the draw */
}

static uint32_t draw(uint32_t below) {
  uint32_t v = 0;
  if (below == 0 || RAND_bytes((unsigned char *)&v, sizeof(v)) != 1) return 0;
  return v % below;
}

/* Draws the first of the N targets of one priority. */
static void draw_first(struct tl_resolve_target *t, size_t n) {
  uint32_t sum = 0, running = 0;
  for (size_t i = 0; i < n; i++) sum += t[i].weight;
  uint32_t at = draw(sum + 1);
  for (size_t i = 0; i < n; i++) {
    running += t[i].weight;
    if (running < at) continue;
    swap(&t[0], &t[i]);
    return;
  }
}

void tl_resolver_srv_order(struct tl_resolve_target *t, size_t n) {
  qsort(t, n, sizeof(*t), by_priority);
  for (size_t i = 0; i < n; i++) {
    size_t same = 1;
    while (i + same < n && t[i + same].priority == t[i].priority) same++;
    draw_first(&t[i], same);
  }
}
