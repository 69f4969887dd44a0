/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer's addresses: lists, their publication, the order of a request, the times
 * of looking up. It asks nobody: that is the resolver's, at the word of the
 * control thread.
 */
#include "tieline/peer_addrs.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "tieline/rcu.h"

#define RETRY_MAX_MS 60000u /* a name server that comes back is noticed within a minute */

/* ---- lists ---- */

struct tl_addr_list *tl_addr_list_new(void) {
  struct tl_addr_list *l = calloc(1, sizeof(*l));
  if (l) atomic_init(&l->refs, 1);
  return l;
}

void tl_addr_list_unref(struct tl_addr_list *l) {
  if (l && atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) == 1) free(l);
}

static bool list_has(const struct tl_addr_list *l, const struct tl_target_addr *p) {
  for (size_t i = 0; i < l->n; i++)
    if (l->at[i].via == p->via && l->at[i].group == p->group && l->at[i].weight == p->weight &&
        tl_addr_eq(&l->at[i].addr, &p->addr))
      return true;
  return false;
}

/* As sets: name servers turn the order from one answer to the next. */
bool tl_addr_list_equal(const struct tl_addr_list *a, const struct tl_addr_list *b) {
  if (a->n != b->n) return false;
  for (size_t i = 0; i < a->n; i++)
    if (!list_has(b, &a->at[i]) || !list_has(a, &b->at[i])) return false;
  return true;
}

/* splitmix64: the next of a row of numbers, from the one before. */
static uint64_t next_draw(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

/* Is I the first place of its target? */
static bool starts_target(const struct tl_addr_list *l, size_t i) {
  return i == 0 || l->at[i].target != l->at[i - 1].target;
}

/* RFC 2782: of the targets in [FROM, TO) that are not in TAKEN, one by its weight; the index of its
 * first place. Those of weight 0 stand in front, so that they come when 0 is drawn. */
static size_t draw_target(const struct tl_addr_list *l, size_t from, size_t to, unsigned taken,
                          uint64_t *state) {
  uint32_t sum = 0, running = 0;
  for (size_t i = from; i < to; i++)
    if (starts_target(l, i) && !(taken >> i & 1)) sum += l->at[i].weight;
  uint64_t at = next_draw(state) % ((uint64_t)sum + 1);
  for (int weighted = 0; weighted < 2; weighted++)
    for (size_t i = from; i < to; i++) {
      if (!starts_target(l, i) || taken >> i & 1 || (l->at[i].weight > 0) != weighted) continue;
      running += l->at[i].weight;
      if (running >= at) return i;
    }
  return from;
}

void tl_addr_list_order(const struct tl_addr_list *l, uint64_t draw,
                        uint8_t out[TL_PEER_ADDRS_MAX]) {
  const size_t len = l->n < TL_PEER_ADDRS_MAX ? l->n : TL_PEER_ADDRS_MAX;
  size_t n = 0;
  for (size_t i = 0; i < len && !l->weighted; i++) out[n++] = (uint8_t)i;
  for (size_t from = 0, to; n < len; from = to) {
    unsigned taken = 0;
    for (to = from + 1; to < len && l->at[to].group == l->at[from].group;) to++;
    while (n < to) {
      size_t i = draw_target(l, from, to, taken, &draw);
      taken |= 1u << i;
      do out[n++] = (uint8_t)i;
      while (++i < to && !starts_target(l, i));
    }
  }
}

/* ---- a peer's ---- */

void tl_peer_addrs_begin(struct tl_peer_addrs *p, struct tl_addr_list *first, bool named) {
  static _Atomic uint64_t serial;
  tl_peer_addrs_publish(p, first);
  p->needs_dns = named;
  p->query_pending = false;
  p->serial = atomic_fetch_add(&serial, 1) + 1;
  p->next_ms = p->answered_ms = p->failed = 0;
  p->answered_at = 0;
  p->ttl_s = p->failures = 0;
  p->error = NULL;
}

void tl_peer_addrs_end(struct tl_peer_addrs *p) {
  tl_addr_list_unref(p->current);
  p->current = NULL;
}

struct tl_addr_list *tl_peer_addrs_current(struct tl_peer_addrs *p) {
  tl_rcu_read_begin();
  struct tl_addr_list *l = atomic_load_explicit(&p->current, memory_order_acquire);
  atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
  tl_rcu_read_end();
  return l;
}

void tl_peer_addrs_publish(struct tl_peer_addrs *p, struct tl_addr_list *l) {
  struct tl_addr_list *old = atomic_exchange_explicit(&p->current, l, memory_order_acq_rel);
  if (!old) return;
  tl_rcu_wait();
  tl_addr_list_unref(old);
}

/* ---- times ---- */

uint64_t tl_peer_addrs_keep_ms(uint32_t ttl_s, uint32_t min_ms, uint32_t max_ms) {
  uint64_t ms = (uint64_t)ttl_s * 1000;
  if (ms > max_ms) ms = max_ms;
  return ms < min_ms ? min_ms : ms;
}

uint64_t tl_peer_addrs_retry_ms(uint32_t failures, uint32_t min_ms, uint32_t max_ms) {
  uint64_t ms = (uint64_t)min_ms << (failures > 16 ? 16 : failures ? failures - 1 : 0);
  if (ms > RETRY_MAX_MS) ms = RETRY_MAX_MS;
  if (ms > max_ms) ms = max_ms;
  return ms < min_ms ? min_ms : ms;
}
