/* SPDX-License-Identifier: Apache-2.0 */
/* The bucket of new calls: never more than burst and rate allow, nor fewer, also from several
 * threads and when either changes. */
#include <criterion/criterion.h>
#include <pthread.h>

#include "tieline/call_rate.h"

TestSuite(call_rate, .timeout = 60);

#define S 1000000000ull
#define START (1000 * S)

/* Calls that start when one is tried each STEP_NS in [FROM, FROM + FOR_NS). */
static unsigned taken_in(struct tl_call_rate *r, uint32_t per_s, uint32_t burst, uint64_t from,
                         uint64_t for_ns, uint64_t step_ns) {
  unsigned n = 0;
  for (uint64_t t = from; t < from + for_ns; t += step_ns)
    n += tl_call_rate_take(r, per_s, burst, t);
  return n;
}

Test(call_rate, d33_burst_then_rate) {
  static const struct {
    uint32_t per_s, burst;
  } v[] = {{1, 1}, {1, 10}, {50, 50}, {50, 1}, {7, 3}, {1000, 20}, {30000, 5}};
  for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
    struct tl_call_rate r = {0};
    unsigned at_once = 0;
    while (at_once < 100000 && tl_call_rate_take(&r, v[i].per_s, v[i].burst, START)) at_once++;
    cr_expect_eq(at_once, v[i].burst);
    unsigned later = taken_in(&r, v[i].per_s, v[i].burst, START + 1, 10 * S, 10000);
    cr_expect_leq(later, 10 * v[i].per_s, "%u", later);
    cr_expect_geq(later + 1, 10 * v[i].per_s, "%u of %u", later, 10 * v[i].per_s);
  }
}

/* A quiet time fills it up to the burst and no further. */
Test(call_rate, d33_quiet_time) {
  struct tl_call_rate r = {0};
  cr_expect_eq(taken_in(&r, 10, 5, START, 100, 1), 5);
  cr_expect_eq(taken_in(&r, 10, 5, START + 3600 * S, 100, 1), 5);
  cr_expect_eq(taken_in(&r, 10, 5, START + 3600 * S + 2 * S / 10, 100, 1), 2);
}

Test(call_rate, d33_the_highest_rate_is_kept) {
  struct tl_call_rate r = {0};
  unsigned n = taken_in(&r, 10000000, 10000000, START, S / 100, 7);
  cr_expect_eq(n, S / 100 / 7 + 1, "%u", n); /* all that are tried, it is not reached */
  struct tl_call_rate one = {0};
  n = taken_in(&one, 7000000, 1, START, S / 100, 7);
  cr_expect(n <= 70001 && n > 66000, "%u", n); /* the tries are 7 ns apart */
}

/* A reload lowers the burst or raises the rate: nobody waits for what the old bucket lacked. */
Test(call_rate, d33_reload) {
  struct tl_call_rate r = {0};
  cr_expect_eq(taken_in(&r, 1, 1000, START, 2000, 1), 1000);
  cr_expect_not(tl_call_rate_take(&r, 1, 2, START + 3000));
  cr_expect_eq(taken_in(&r, 1, 2, START + 4 * S, 100, 1), 2);
  cr_expect_not(tl_call_rate_take(&r, 100, 1, START + 4 * S + S / 50));
  cr_expect_eq(taken_in(&r, 100, 1, START + 6 * S, 100, 1), 1);
}

#define THREADS 4
static struct tl_call_rate shared;

static void *take_many(void *arg) {
  unsigned n = 0;
  for (uint64_t i = 0; i <= 180000; i++)
    n += tl_call_rate_take(&shared, 1000, 50, START + i * (S / 200000));
  *(unsigned *)arg = n;
  return NULL;
}

/* 900 ms of the clock. What any two threads see of it differs by less than that. */
Test(call_rate, d33_all_threads_share_it) {
  pthread_t t[THREADS];
  unsigned n[THREADS], sum = 0;
  for (int i = 0; i < THREADS; i++) pthread_create(&t[i], NULL, take_many, &n[i]);
  for (int i = 0; i < THREADS; i++) {
    pthread_join(t[i], NULL);
    sum += n[i];
  }
  cr_expect_leq(sum, 50 + 900, "%u", sum);
  cr_expect_geq(sum, 50 + 900 - 2, "%u", sum);
}
