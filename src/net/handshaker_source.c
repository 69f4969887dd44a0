/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handshakes in progress per source address: open addressing with backward-shift
 * deletion, so the table never fills with tombstones. It holds at most as many
 * addresses as there are handshakes.
 */
#include <stdlib.h>

#include "net/handshaker.h"

static uint32_t home(const struct tl_hs_sources *s, const struct tl_addr *a) {
  struct tl_addr ip = *a;
  tl_addr_set_port(&ip, 0);
  return (uint32_t)tl_addr_hash(&ip) & (s->cap - 1);
}

static struct tl_hs_source *find(struct tl_hs_sources *s, const struct tl_addr *a) {
  uint32_t i = home(s, a);
  while (s->slot[i].n && !tl_addr_ip_eq(&s->slot[i].addr, a)) i = (i + 1) & (s->cap - 1);
  return &s->slot[i];
}

static int grow(struct tl_hs_sources *s) {
  struct tl_hs_sources bigger = {.cap = s->cap ? s->cap * 2 : 256, .used = s->used};
  bigger.slot = calloc(bigger.cap, sizeof(*bigger.slot));
  if (!bigger.slot) return TL_ENOMEM;
  for (uint32_t i = 0; i < s->cap; i++)
    if (s->slot[i].n) *find(&bigger, &s->slot[i].addr) = s->slot[i];
  free(s->slot);
  *s = bigger;
  return 0;
}

int tl_hs_source_enter(struct tl_hs_sources *s, const struct tl_addr *a, uint32_t max) {
  if (s->used * 2 >= s->cap && grow(s)) return TL_ENOMEM;
  struct tl_hs_source *e = find(s, a);
  if (e->n >= max) return TL_ELIMIT;
  if (e->n++ == 0) {
    *e = (struct tl_hs_source){.addr = *a, .n = 1};
    s->used++;
  }
  return 0;
}

/* Closes the gap at I: every entry behind it that a search would otherwise miss moves up. */
static void close_gap(struct tl_hs_sources *s, uint32_t gap) {
  uint32_t mask = s->cap - 1;
  for (uint32_t i = (gap + 1) & mask; s->slot[i].n; i = (i + 1) & mask) {
    uint32_t from_home = (i - home(s, &s->slot[i].addr)) & mask;
    if (from_home < ((i - gap) & mask)) continue;
    s->slot[gap] = s->slot[i];
    s->slot[i].n = 0;
    gap = i;
  }
}

void tl_hs_source_leave(struct tl_hs_sources *s, const struct tl_addr *a) {
  if (!s->cap) return;
  struct tl_hs_source *e = find(s, a);
  if (e->n == 0 || --e->n) return;
  s->used--;
  close_gap(s, (uint32_t)(e - s->slot));
}

void tl_hs_source_wait(struct tl_hs_sources *s, struct tl_hs_conn *c) {
  struct tl_hs_source *e = find(s, &c->peer);
  c->wait_next = NULL;
  c->wait_prev = e->last;
  if (e->last)
    e->last->wait_next = c;
  else
    e->first = c;
  e->last = c;
}

void tl_hs_source_unwait(struct tl_hs_sources *s, struct tl_hs_conn *c) {
  struct tl_hs_source *e = find(s, &c->peer);
  if (c->wait_prev)
    c->wait_prev->wait_next = c->wait_next;
  else
    e->first = c->wait_next;
  if (c->wait_next)
    c->wait_next->wait_prev = c->wait_prev;
  else
    e->last = c->wait_prev;
}

struct tl_hs_conn *tl_hs_source_next(struct tl_hs_sources *s, const struct tl_addr *a) {
  struct tl_hs_source *e = s->cap ? find(s, a) : NULL;
  return e && e->n ? e->first : NULL;
}
