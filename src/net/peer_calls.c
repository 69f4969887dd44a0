/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Process-wide call counts: a list that only grows, and counts that never exceed
 * their bound. The calls themselves are known to the worker that counted them
 * (src/proxy).
 */
#include "tieline/peer_calls.h"

#include <stdlib.h>
#include <string.h>

static struct tl_peer_calls *find_record(struct tl_peer_calls *p, const char *name) {
  while (p && strcmp(p->name, name) != 0) p = p->next;
  return p;
}

struct tl_peer_calls *tl_calls_find(const struct tl_calls *c, const char *name) {
  return find_record(atomic_load(&c->peers), name);
}

struct tl_peer_calls *tl_calls_of(struct tl_calls *c, const char *name) {
  struct tl_peer_calls *first = atomic_load(&c->peers), *had = find_record(first, name);
  if (had) return had;
  size_t len = strlen(name) + 1;
  struct tl_peer_calls *p = calloc(1, sizeof(*p) + len);
  if (!p) return NULL;
  p->all = c;
  memcpy(p->name, name, len);
  do {
    p->next = first;
    if (atomic_compare_exchange_weak(&c->peers, &first, p)) return p;
    had = find_record(first, name); /* another worker may have been first */
  } while (!had);
  free(p);
  return had;
}

bool tl_calls_take(_Atomic uint32_t *count, uint32_t max) {
  uint32_t n = atomic_load_explicit(count, memory_order_relaxed);
  while (n < max)
    if (atomic_compare_exchange_weak_explicit(count, &n, n + 1, memory_order_relaxed,
                                              memory_order_relaxed))
      return true;
  return false;
}

void tl_calls_give(_Atomic uint32_t *count) {
  atomic_fetch_sub_explicit(count, 1, memory_order_relaxed);
}

void tl_calls_free(struct tl_calls *c) {
  struct tl_peer_calls *p = atomic_exchange(&c->peers, NULL), *next;
  for (; p; p = next) {
    next = p->next;
    free(p);
  }
}
