/* SPDX-License-Identifier: Apache-2.0 */
/* A peer's addresses: times of looking up, equality, the order of a request, publication. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "tieline/peer_addrs.h"
#include "tieline/rcu.h"
#include "tieline/transport.h"

TestSuite(places, .timeout = 60);

static void add(struct tl_addr_list *l, const char *ip, int group, int target, int weight) {
  cr_assert_not_null(l);
  struct tl_target_addr *p = &l->at[l->n++];
  cr_assert_eq(tl_addr_parse(tl_str_c(ip), 5061, &p->addr), 0);
  p->via = TL_TLS;
  p->group = (uint8_t)group;
  p->target = (uint8_t)target;
  p->weight = (uint16_t)weight;
}

/* ---- times ---- */

Test(places, d33_ttl_is_kept_within_its_bounds) {
  cr_assert_eq(tl_peer_addrs_keep_ms(60, 5000, 3600000), 60000);
  cr_assert_eq(tl_peer_addrs_keep_ms(0, 5000, 3600000), 5000);
  cr_assert_eq(tl_peer_addrs_keep_ms(4, 5000, 3600000), 5000);
  cr_assert_eq(tl_peer_addrs_keep_ms(5, 5000, 3600000), 5000);
  cr_assert_eq(tl_peer_addrs_keep_ms(3600, 5000, 3600000), 3600000);
  cr_assert_eq(tl_peer_addrs_keep_ms(3601, 5000, 3600000), 3600000);
  cr_assert_eq(tl_peer_addrs_keep_ms(UINT32_MAX, 5000, 3600000), 3600000, "nothing overflows");
  cr_assert_eq(tl_peer_addrs_keep_ms(7, 7000, 7000), 7000);
}

Test(places, d33_failed_lookups_back_off_within_bounds) {
  uint64_t before = 0;
  cr_assert_eq(tl_peer_addrs_retry_ms(1, 5000, 3600000), 5000);
  cr_assert_eq(tl_peer_addrs_retry_ms(2, 5000, 3600000), 10000);
  cr_assert_eq(tl_peer_addrs_retry_ms(3, 5000, 3600000), 20000);
  for (uint32_t n = 1; n < 100; n++) {
    uint64_t ms = tl_peer_addrs_retry_ms(n, 5000, 3600000);
    cr_assert_geq(ms, before);
    cr_assert_leq(ms, 60000, "a name server that is back is noticed within a minute");
    before = ms;
  }
  cr_assert_eq(before, 60000);
  cr_assert_eq(tl_peer_addrs_retry_ms(UINT32_MAX, 3600000, 3600000), 3600000);
  cr_assert_eq(tl_peer_addrs_retry_ms(9, 1000, 3000), 3000);
  cr_assert_eq(tl_peer_addrs_retry_ms(0, 1000, 3000), 1000);
}

/* ---- lists ---- */

Test(places, lists_are_the_same_in_any_order_but_not_with_other_weights) {
  struct tl_addr_list *a = tl_addr_list_new(), *b = tl_addr_list_new();
  add(a, "192.0.2.1", 0, 0, 1);
  add(a, "192.0.2.2", 0, 1, 3);
  add(b, "192.0.2.2", 0, 0, 3);
  add(b, "192.0.2.1", 0, 1, 1);
  cr_assert(tl_addr_list_equal(a, b));
  b->at[0].weight = 4;
  cr_assert_not(tl_addr_list_equal(a, b));
  b->at[0].weight = 3;
  b->at[1].group = 1;
  cr_assert_not(tl_addr_list_equal(a, b));
  b->at[1].group = 0;
  add(b, "192.0.2.3", 1, 2, 0);
  cr_assert_not(tl_addr_list_equal(a, b));
  tl_addr_list_unref(a);
  tl_addr_list_unref(b);
}

Test(places, d33_order_by_priority_then_by_weight) {
  enum { DRAWS = 20000 };
  struct tl_addr_list *l = tl_addr_list_new();
  unsigned first[6] = {0};
  uint8_t order[TL_PEER_ADDRS_MAX], again[TL_PEER_ADDRS_MAX];
  cr_assert_not_null(l);
  l->weighted = true;
  add(l, "192.0.2.1", 0, 0, 10); /* a host with two addresses */
  add(l, "192.0.2.2", 0, 0, 10);
  add(l, "192.0.2.3", 0, 1, 30);
  add(l, "192.0.2.4", 0, 2, 0);
  add(l, "192.0.2.5", 1, 3, 5); /* the next priority */
  for (uint64_t draw = 0; draw < DRAWS; draw++) {
    unsigned seen = 0;
    tl_addr_list_order(l, draw, order);
    tl_addr_list_order(l, draw, again);
    for (size_t i = 0; i < l->n; i++) {
      cr_assert_lt(order[i], l->n);
      cr_assert_eq(order[i], again[i], "a copy of the request goes the same way");
      seen |= 1u << order[i];
      if (order[i] == 0) cr_assert_eq(order[i + 1], 1, "a host's addresses stay together");
    }
    cr_assert_eq(seen, 31, "each once");
    cr_assert_eq(order[4], 4, "the lower priority comes last");
    first[order[0]]++;
  }
  cr_assert_eq(first[1] + first[4], 0);
  cr_assert(first[0] > DRAWS * 20 / 100 && first[0] < DRAWS * 29 / 100, "%u", first[0]);
  cr_assert(first[2] > DRAWS * 68 / 100 && first[2] < DRAWS * 78 / 100, "%u", first[2]);
  cr_assert(first[3] > 0 && first[3] < DRAWS * 5 / 100, "weight 0 is rare: %u", first[3]);
  tl_addr_list_unref(l);
}

Test(places, order_without_a_draw_is_as_it_stands) {
  struct tl_addr_list *l = tl_addr_list_new();
  uint8_t order[TL_PEER_ADDRS_MAX];
  for (int i = 0; i < TL_PEER_ADDRS_MAX; i++) add(l, "192.0.2.1", i, i, 0);
  tl_addr_list_order(l, 7, order);
  for (int i = 0; i < TL_PEER_ADDRS_MAX; i++) cr_assert_eq((int)order[i], i);
  l->weighted = true; /* nothing to draw from: the same */
  tl_addr_list_order(l, 7, order);
  for (int i = 0; i < TL_PEER_ADDRS_MAX; i++) cr_assert_eq((int)order[i], i);
  tl_addr_list_unref(l);
}

/* ---- publication ---- */

static _Atomic bool stop;

static void *read_on(void *arg) {
  struct tl_peer_addrs *p = arg;
  tl_rcu_thread_begin();
  while (!stop) {
    struct tl_addr_list *l = tl_peer_addrs_current(p);
    for (size_t i = 1; i < l->n; i++)
      if (l->at[i].weight != l->at[0].weight) abort(); /* half of another list */
    tl_addr_list_unref(l);
  }
  tl_rcu_thread_end();
  return NULL;
}

Test(places, readers_see_one_whole_list_while_others_are_published) {
  pthread_t t;
  tl_rcu_thread_begin();
  struct tl_peer_addrs addrs = {.current = NULL}, *p = &addrs;
  tl_peer_addrs_begin(p, tl_addr_list_new(), true);
  cr_assert(p->current);
  cr_assert_eq(pthread_create(&t, NULL, read_on, p), 0);
  for (int round = 0; round < 300; round++) {
    struct tl_addr_list *l = tl_addr_list_new();
    for (int i = 0; i < TL_PEER_ADDRS_MAX; i++) add(l, "192.0.2.1", 0, i, round);
    tl_peer_addrs_publish(p, l);
  }
  stop = true;
  pthread_join(t, NULL);
  cr_assert_eq(p->current->at[7].weight, 299);
  tl_peer_addrs_end(p);
  tl_rcu_thread_end();
}
