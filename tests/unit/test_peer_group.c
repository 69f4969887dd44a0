/* SPDX-License-Identifier: Apache-2.0 */
/* The order in which members of a group are tried: every method against what it promises, by
 * chi-square where it draws. Draws follow from fixed numbers, so each run is the same. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tieline/index_map.h"
#include "tieline/peer_group.h"

TestSuite(peer_group, .timeout = 60);

#define PICKS 100000
#define PEERS 8

static struct tl_conf_peer peer[PEERS];
static struct tl_group_member member[PEERS];
static struct tl_peer_state state[PEERS];

static struct tl_peer_group group_of(enum tl_group_method method, size_t n,
                                     const uint32_t *weight) {
  for (size_t i = 0; i < n; i++) {
    char name[32];
    snprintf(name, sizeof(name), "gw%zu", i);
    peer[i].id = tl_index_name_id(name);
    peer[i].state = &state[i];
    state[i].calls.now = 0;
    member[i] = (struct tl_group_member){&peer[i], 1, weight ? weight[i] : 1, (uint32_t)i};
  }
  return (struct tl_peer_group){.method = method, .n = n, .member = member};
}

static size_t number_of(const struct tl_conf_peer *p) {
  cr_assert_not_null(p);
  return (size_t)(p - peer);
}

/* Request I of a test. */
static struct tl_group_turn turn_of(size_t i) {
  return (struct tl_group_turn){.draw = tl_index_mix(i + 1), .hash = tl_index_mix(~(uint64_t)i)};
}

/* Is COUNT what shares of WEIGHT in PICKS give? 0.999 quantiles of chi-square. */
static void expect_shares(const size_t *count, const uint32_t *weight, size_t n, const char *what) {
  static const double most[] = {0, 10.83, 13.82, 16.27, 18.47, 20.52, 22.46, 24.32};
  double chi = 0, sum = 0;
  size_t df = 0;
  for (size_t i = 0; i < n; i++) sum += weight[i];
  for (size_t i = 0; i < n; i++) {
    double want = PICKS * (double)weight[i] / sum;
    if (!weight[i]) cr_expect_eq(count[i], 0, "%s: %zu picks of weight 0", what, count[i]);
    if (!weight[i]) continue;
    chi += ((double)count[i] - want) * ((double)count[i] - want) / want;
    df++;
  }
  cr_expect_leq(chi, df > 1 ? most[df - 1] : 1e-9, "%s: chi-square %.1f", what, chi);
}

static const struct vector {
  size_t n;
  uint32_t weight[PEERS];
} vectors[] = {
    {1, {1}},          {1, {70}},       {2, {70, 30}},          {2, {1, 0}},
    {2, {0, 1}},       {2, {1, 1}},     {3, {0, 1, 5}},         {3, {1, 1, 1}},
    {4, {1, 2, 3, 4}}, {2, {1, 65535}}, {3, {65535, 65535, 1}}, {8, {1, 0, 1, 0, 1, 0, 1, 97}},
};

static void shares_of(enum tl_group_method method, const char *what) {
  for (size_t v = 0; v < sizeof(vectors) / sizeof(vectors[0]); v++) {
    const struct vector *x = &vectors[v];
    struct tl_peer_group g = group_of(method, x->n, x->weight);
    size_t count[PEERS] = {0};
    for (size_t i = 0; i < PICKS; i++) {
      struct tl_group_turn t = turn_of(i);
      count[number_of(tl_group_next(&g, &t))]++;
    }
    expect_shares(count, x->weight, x->n, what);
  }
}

Test(peer_group, d33_weights_by_chi_square) { shares_of(TL_GROUP_WEIGHT, "weight"); }

Test(peer_group, d33_weighted_hashes_by_chi_square) {
  shares_of(TL_GROUP_HASH_CALL_ID, "hash-call-id");
}

/* Whoever is passed over leaves its share to the others in proportion to theirs. */
Test(peer_group, d33_shares_of_those_passed_over) {
  static const enum tl_group_method method[] = {TL_GROUP_WEIGHT, TL_GROUP_HASH_FROM};
  static const uint32_t weight[] = {10, 60, 20, 10}, left[] = {10, 0, 20, 10};
  for (size_t k = 0; k < 2; k++) {
    struct tl_peer_group g = group_of(method[k], 4, weight);
    size_t count[PEERS] = {0};
    for (size_t i = 0; i < PICKS; i++) {
      struct tl_group_turn t = turn_of(i);
      size_t at = number_of(tl_group_next(&g, &t));
      if (at == 1) at = number_of(tl_group_next(&g, &t));
      count[at]++;
    }
    expect_shares(count, left, 4, "one of four down");
  }
}

Test(peer_group, d33_random_by_chi_square) {
  static const uint32_t alike[] = {1, 1, 1, 1, 1};
  struct tl_peer_group g = group_of(TL_GROUP_RANDOM, 5, NULL);
  size_t count[PEERS] = {0};
  for (size_t i = 0; i < PICKS; i++) {
    struct tl_group_turn t = turn_of(i);
    count[number_of(tl_group_next(&g, &t))]++;
  }
  expect_shares(count, alike, 5, "random");
}

/* Whatever the method: all members, none twice, priorities in order, then no more. */
Test(peer_group, d33_each_member_has_one_turn) {
  static const uint32_t weight[] = {5, 0, 1, 70, 2, 0, 1, 1}, priority[] = {1, 1, 1, 2, 2, 2, 9, 9};
  for (int m = TL_GROUP_ORDER; m <= TL_GROUP_HASH_REQUEST_URI; m++) {
    struct tl_peer_group g = group_of((enum tl_group_method)m, 8, weight);
    for (size_t i = 0; i < 8; i++) member[i].priority = priority[i];
    for (size_t i = 0; i < 500; i++) {
      struct tl_group_turn t = turn_of(i);
      unsigned seen = 0;
      uint32_t last = 0;
      for (size_t k = 0; k < 8; k++) {
        size_t at = number_of(tl_group_next(&g, &t));
        cr_expect(!(seen >> at & 1) && priority[at] >= last, "method %d", m);
        seen |= 1u << at;
        last = priority[at];
      }
      cr_expect_null(tl_group_next(&g, &t));
      cr_expect_null(tl_group_next(&g, &t));
    }
  }
}

Test(peer_group, d33_as_written) {
  struct tl_peer_group g = group_of(TL_GROUP_ORDER, 3, NULL);
  struct tl_group_turn t = turn_of(7);
  for (size_t i = 0; i < 3; i++) cr_expect_eq(number_of(tl_group_next(&g, &t)), i);
}

/* Each in turn; the share of one that is passed over goes to all others alike. */
Test(peer_group, d33_round_robin) {
  struct tl_peer_group g = group_of(TL_GROUP_ROUND_ROBIN, 4, NULL);
  for (size_t i = 0; i < 400; i++) {
    struct tl_group_turn t = turn_of(i);
    cr_expect_eq(number_of(tl_group_next(&g, &t)), i % 4);
  }
  size_t count[PEERS] = {0};
  for (size_t i = 0; i < 300; i++) {
    struct tl_group_turn t = turn_of(i);
    size_t at = number_of(tl_group_next(&g, &t));
    if (at == 2) at = number_of(tl_group_next(&g, &t));
    count[at]++;
  }
  cr_expect(count[0] == 100 && count[1] == 100 && count[2] == 0 && count[3] == 100);
}

Test(peer_group, d33_least_calls_for_the_weight) {
  static const uint32_t weight[] = {1, 3, 0};
  struct tl_peer_group g = group_of(TL_GROUP_LEAST_CALLS, 3, weight);
  for (size_t i = 0; i < 400; i++) {
    struct tl_group_turn t = turn_of(i);
    const struct tl_conf_peer *p = tl_group_next(&g, &t);
    p->state->calls.now++;
  }
  cr_expect_eq(state[0].calls.now, 100);
  cr_expect_eq(state[1].calls.now, 300);
  cr_expect_eq(state[2].calls.now, 0);
  state[1].calls.now = 0; /* its calls end: it is the first until it has its share again */
  struct tl_group_turn t = turn_of(1);
  cr_expect_eq(number_of(tl_group_next(&g, &t)), 1);
}

/* Idle members share alike, though none ever has a call when the next one comes. */
Test(peer_group, d33_least_calls_of_idle_members) {
  static const uint32_t alike[] = {1, 1, 1};
  struct tl_peer_group g = group_of(TL_GROUP_LEAST_CALLS, 3, alike);
  size_t count[PEERS] = {0};
  for (size_t i = 0; i < PICKS; i++) {
    struct tl_group_turn t = turn_of(i);
    count[number_of(tl_group_next(&g, &t))]++;
  }
  expect_shares(count, alike, 3, "idle");
}

/* The same hash, the same member; when another one goes, nobody else moves. */
Test(peer_group, d33_hashes_stay) {
  struct tl_peer_group g = group_of(TL_GROUP_HASH_TO, 8, NULL);
  size_t was[1000];
  for (size_t i = 0; i < 1000; i++) {
    struct tl_group_turn t = turn_of(i), again = turn_of(i);
    again.draw = 99;
    was[i] = number_of(tl_group_next(&g, &t));
    cr_expect_eq(number_of(tl_group_next(&g, &again)), was[i]);
  }
  g.n = 7;
  for (size_t i = 0; i < 1000; i++) {
    struct tl_group_turn t = turn_of(i);
    size_t at = number_of(tl_group_next(&g, &t));
    if (was[i] != 7) cr_expect_eq(at, was[i]);
  }
}

/* The same draw, the same order: a repeated request without a transaction goes the same way. */
Test(peer_group, d33_draws_stay) {
  static const uint32_t weight[] = {3, 1, 4, 1, 5};
  struct tl_peer_group g = group_of(TL_GROUP_WEIGHT, 5, weight);
  for (size_t i = 0; i < 1000; i++) {
    struct tl_group_turn t = turn_of(i), again = turn_of(i);
    for (size_t k = 0; k < 5; k++) cr_expect_eq(tl_group_next(&g, &t), tl_group_next(&g, &again));
  }
  cr_expect(tl_group_is_steady(&g));
  g.method = TL_GROUP_ROUND_ROBIN;
  cr_expect_not(tl_group_is_steady(&g));
}
