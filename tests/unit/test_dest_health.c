/* SPDX-License-Identifier: Apache-2.0 */
/* The state machine of a destination: each way from one mode to the next, and many threads at once.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>

#include "tieline/dest_health.h"

TestSuite(dest_health, .timeout = 60);

static const struct tl_dest_rules rules = {
    .down_after = 3, .down_for_ms = 30000, .probe_down_after = 3, .probe_up_after = 2};
static struct tl_dest_rules slow;
static struct tl_dest_health h;

static void set_up(void) {
  h = (struct tl_dest_health){0};
  slow = rules;
  slow.slow_start_ms = 10000;
}

static void set_up_probed(void) {
  set_up();
  h.n_prober = 1;
}

static enum tl_dest_mode after(enum tl_dest_event e, const struct tl_dest_rules *r, uint64_t now) {
  tl_dest_note(&h, e, TL_DEST_BY_SILENCE, 0, r, now);
  return tl_dest_mode_of(h.word, now);
}

/* Fails as often as it takes to be down at NOW. */
static void bring_down(const struct tl_dest_rules *r, uint64_t now) {
  for (unsigned i = 0; i < r->down_after; i++) after(TL_DEST_FAILED, r, now);
  cr_assert_eq(tl_dest_mode_of(h.word, now), TL_DEST_DOWN);
}

static void probe_down(const struct tl_dest_rules *r, uint64_t now) {
  for (unsigned i = 0; i < r->probe_down_after; i++) after(TL_DEST_PROBE_FAILED, r, now);
  cr_assert_eq(tl_dest_mode_of(h.word, now), TL_DEST_DOWN);
}

static unsigned permille_first(const struct tl_dest_rules *r, uint64_t now) {
  unsigned n = 0;
  for (uint64_t draw = 0; draw < 1000; draw++) n += tl_dest_turn(&h, r, draw, now) == TL_DEST_FIRST;
  return n;
}

Test(dest_health, d33_failures_in_a_row_bring_it_down, .init = set_up) {
  cr_expect(tl_dest_is_plain(&h));
  cr_expect_eq(tl_dest_turn(&h, &rules, 0, 1000), TL_DEST_FIRST);
  cr_expect_eq(after(TL_DEST_FAILED, &rules, 1000), TL_DEST_SUSPECT);
  cr_expect_eq(tl_dest_turn(&h, &rules, 0, 1001), TL_DEST_LAST);
  cr_expect_eq(after(TL_DEST_FAILED, &rules, 2000), TL_DEST_SUSPECT);
  cr_expect_eq(tl_dest_failures_of(h.word), 2);
  cr_expect_eq(after(TL_DEST_FAILED, &rules, 3000), TL_DEST_DOWN);
  cr_expect_eq(tl_dest_turn(&h, &rules, 0, 3001), TL_DEST_OVER);
  cr_expect_eq(tl_dest_due_of(h.word), 33000);
  cr_expect_eq(h.since_ms, 3000);
  cr_expect_eq(h.n_failed, 3);
  cr_expect_eq(h.n_down, 1);
  cr_expect_eq(h.why >> 16, TL_DEST_BY_SILENCE);
}

Test(dest_health, d33_an_answer_between_failures_begins_anew, .init = set_up) {
  for (unsigned i = 0; i < 100; i++) {
    after(TL_DEST_FAILED, &rules, 1000);
    cr_assert_eq(after(TL_DEST_FAILED, &rules, 1000), TL_DEST_SUSPECT);
    cr_assert_eq(after(TL_DEST_ANSWERED, &rules, 1000), TL_DEST_UP);
    cr_assert(tl_dest_is_plain(&h), "nothing is left to remember");
  }
  cr_expect_eq(h.n_down, 0);
}

Test(dest_health, d33_without_down_after_failures_count_for_nothing, .init = set_up) {
  struct tl_dest_rules off = rules;
  off.down_after = 0;
  for (unsigned i = 0; i < 10; i++) after(TL_DEST_FAILED, &off, 1000);
  cr_expect(tl_dest_is_plain(&h));
  cr_expect_eq(h.n_failed, 10);
}

Test(dest_health, d33_one_request_tries_it_after_down_for, .init = set_up) {
  bring_down(&rules, 1000);
  cr_expect_eq(tl_dest_turn(&h, &rules, 0, 30999), TL_DEST_OVER);
  cr_expect_not(tl_dest_claim(&h, &rules, false, 30999));
  cr_expect_eq(tl_dest_turn(&h, &rules, 0, 31000), TL_DEST_TRY);
  cr_assert(tl_dest_claim(&h, &rules, false, 31000));
  cr_expect_eq(tl_dest_mode_of(h.word, 31000), TL_DEST_PROBING);
  cr_expect_not(tl_dest_claim(&h, &rules, false, 31000), "one only");
  cr_expect_eq(tl_dest_unclaimed(&h), TL_DEST_OVER);
  cr_expect_eq(tl_dest_turn(&h, &rules, 0, 31000), TL_DEST_OVER);
  cr_expect_eq(after(TL_DEST_FAILED, &rules, 32000), TL_DEST_DOWN, "again, at the first failure");
  cr_expect_eq(tl_dest_due_of(h.word), 62000);
  cr_expect_eq(h.n_down, 1, "it was not up meanwhile");
  cr_assert(tl_dest_claim(&h, &rules, false, 62000));
  cr_expect_eq(after(TL_DEST_ANSWERED, &rules, 62500), TL_DEST_UP);
  cr_expect(tl_dest_is_plain(&h), "no slow start is asked for");
}

Test(dest_health, d33_a_suspect_is_tried_too_and_stays_one, .init = set_up) {
  after(TL_DEST_FAILED, &rules, 1000);
  cr_expect_eq(tl_dest_turn(&h, &rules, 0, 31000), TL_DEST_TRY);
  cr_assert(tl_dest_claim(&h, &rules, false, 31000));
  cr_expect_eq(tl_dest_unclaimed(&h), TL_DEST_LAST);
  cr_expect_eq(after(TL_DEST_FAILED, &rules, 31001), TL_DEST_SUSPECT);
  cr_assert(tl_dest_claim(&h, &rules, false, 70000));
  cr_expect_eq(after(TL_DEST_FAILED, &rules, 70001), TL_DEST_DOWN, "the third in a row");
}

Test(dest_health, d33_a_claim_that_is_lost_or_given_back_is_free_again, .init = set_up) {
  bring_down(&rules, 1000);
  cr_assert(tl_dest_claim(&h, &rules, false, 31000));
  cr_expect_eq(tl_dest_mode_of(h.word, 60999), TL_DEST_PROBING);
  cr_expect_eq(tl_dest_mode_of(h.word, 61000), TL_DEST_DOWN);
  cr_assert(tl_dest_claim(&h, &rules, false, 61000));
  tl_dest_unclaim(&h, 61001);
  cr_expect_eq(tl_dest_mode_of(h.word, 61001), TL_DEST_DOWN);
  cr_assert(tl_dest_claim(&h, &rules, false, 61001));
  after(TL_DEST_ANSWERED, &rules, 61002);
  tl_dest_unclaim(&h, 61003);
  cr_expect(tl_dest_is_plain(&h), "what has come up is not put down by a late claimant");
}

Test(dest_health, d33_down_and_answered_all_the_same_is_up, .init = set_up) {
  bring_down(&rules, 1000);
  cr_expect_eq(after(TL_DEST_ANSWERED, &rules, 2000), TL_DEST_UP);
  cr_expect_eq(h.since_ms, 2000);
}

Test(dest_health, d33_slow_start_grows_from_a_tenth_to_all, .init = set_up) {
  bring_down(&slow, 1000);
  cr_assert(tl_dest_claim(&h, &slow, false, 31000));
  cr_expect_eq(after(TL_DEST_ANSWERED, &slow, 40000), TL_DEST_UP);
  cr_expect_eq(permille_first(&slow, 40000), 100);
  cr_expect_eq(permille_first(&slow, 45000), 550);
  cr_expect_eq(permille_first(&slow, 49999), 990);
  for (uint64_t draw = 0; draw < 100; draw++)
    cr_assert_neq(tl_dest_turn(&h, &slow, draw, 45000), TL_DEST_OVER, "it is not passed over");
  after(TL_DEST_ANSWERED, &slow, 46000);
  cr_expect_eq(permille_first(&slow, 45000), 550, "answers do not begin it anew");
  cr_expect_eq(permille_first(&slow, 50000), 1000);
  cr_expect(tl_dest_is_plain(&h), "and then it is as any other");
}

Test(dest_health, d33_a_failure_in_slow_start_is_one_of_down_after, .init = set_up) {
  bring_down(&slow, 1000);
  after(TL_DEST_ANSWERED, &slow, 2000);
  cr_expect_eq(after(TL_DEST_FAILED, &slow, 3000), TL_DEST_SUSPECT);
  cr_expect_eq(after(TL_DEST_ANSWERED, &slow, 3500), TL_DEST_UP);
  cr_expect(tl_dest_is_plain(&h), "a suspect needs no slow start");
}

Test(dest_health, probes_bring_it_down_and_up, .init = set_up_probed) {
  cr_expect_eq(after(TL_DEST_PROBE_FAILED, &rules, 1000), TL_DEST_SUSPECT);
  cr_expect_eq(after(TL_DEST_PROBE_GOOD, &rules, 2000), TL_DEST_UP);
  cr_expect(tl_dest_is_plain(&h));
  probe_down(&rules, 3000);
  cr_expect_eq(h.n_probe_failed, 4);
  cr_expect_eq(h.n_failed, 0);
  cr_expect_eq(after(TL_DEST_PROBE_GOOD, &rules, 4000), TL_DEST_DOWN, "one is not enough");
  cr_expect_eq(after(TL_DEST_PROBE_FAILED, &rules, 5000), TL_DEST_DOWN);
  cr_expect_eq(after(TL_DEST_PROBE_GOOD, &rules, 6000), TL_DEST_DOWN, "two in a row are");
  cr_expect_eq(after(TL_DEST_PROBE_GOOD, &rules, 7000), TL_DEST_UP);
  cr_expect(tl_dest_is_plain(&h));
}

Test(dest_health, good_probes_wait_for_down_for_where_requests_failed, .init = set_up_probed) {
  bring_down(&rules, 1000);
  for (uint64_t at = 5000; at < 31000; at += 5000)
    cr_assert_eq(after(TL_DEST_PROBE_GOOD, &rules, at), TL_DEST_DOWN);
  cr_expect_eq(tl_dest_turn(&h, &rules, 0, 31000), TL_DEST_OVER, "the probe tries it, no call");
  cr_expect_not(tl_dest_claim(&h, &rules, false, 31000));
  cr_assert(tl_dest_claim(&h, &rules, true, 31000));
  cr_expect_eq(after(TL_DEST_PROBE_GOOD, &rules, 31001), TL_DEST_UP);
}

Test(dest_health, a_probe_that_tries_it_in_vain_puts_it_off, .init = set_up_probed) {
  bring_down(&rules, 1000);
  after(TL_DEST_PROBE_FAILED, &rules, 5000);
  cr_expect_eq(tl_dest_due_of(h.word), 31000, "only what was due puts it off");
  cr_assert(tl_dest_claim(&h, &rules, true, 31000));
  cr_expect_eq(after(TL_DEST_PROBE_FAILED, &rules, 33000), TL_DEST_DOWN);
  cr_expect_eq(tl_dest_due_of(h.word), 63000);
}

Test(dest_health, d33_nobody_probes_it_though_its_peer_is, .init = set_up) {
  bring_down(&rules, 1000);
  cr_expect_eq(tl_dest_turn(&h, &rules, 0, 31000), TL_DEST_TRY, "by another TLS domain, say");
  h.n_prober = 2;
  cr_expect_eq(tl_dest_turn(&h, &rules, 0, 31000), TL_DEST_OVER);
  h.n_prober = 0;
  cr_assert(tl_dest_claim(&h, &rules, false, 31000));
}

Test(dest_health, a_good_probe_does_not_clear_a_suspect_of_requests, .init = set_up_probed) {
  after(TL_DEST_FAILED, &rules, 1000);
  cr_expect_eq(after(TL_DEST_PROBE_GOOD, &rules, 2000), TL_DEST_SUSPECT);
  cr_expect_eq(after(TL_DEST_PROBE_GOOD, &rules, 3000), TL_DEST_UP, "probe_up_after of them do");
}

Test(dest_health, without_probes_what_they_found_is_forgotten, .init = set_up_probed) {
  probe_down(&rules, 1000);
  h.n_prober = 0;
  cr_expect_eq(after(TL_DEST_UNPROBED, &rules, 2000), TL_DEST_UP);
  cr_expect(tl_dest_is_plain(&h));
  bring_down(&rules, 3000);
  after(TL_DEST_PROBE_GOOD, &rules, 3500);
  cr_expect_eq(after(TL_DEST_UNPROBED, &rules, 4000), TL_DEST_DOWN, "what requests found is not");
  cr_expect_eq(tl_dest_turn(&h, &rules, 0, 33000), TL_DEST_TRY);
}

Test(dest_health, s21_a_pause_is_kept_and_ends, .init = set_up) {
  cr_assert(tl_dest_pause(&h, 5000, 1000));
  cr_expect_not(tl_dest_pause(&h, 9000, 2000), "the first one applies");
  cr_expect_eq(tl_dest_turn(&h, &rules, 0, 4999), TL_DEST_PAUSED);
  cr_expect_eq(tl_dest_pause_ms(&h, 4000), 1000);
  after(TL_DEST_ANSWERED, &rules, 4500);
  cr_expect_eq(tl_dest_turn(&h, &rules, 0, 4999), TL_DEST_PAUSED, "an answer does not end it");
  cr_expect_eq(tl_dest_turn(&h, &rules, 0, 5000), TL_DEST_FIRST);
  cr_expect(tl_dest_is_plain(&h));
  cr_assert(tl_dest_pause(&h, 9000, 6000));
  cr_expect_eq(tl_dest_turn(&h, &rules, 0, 6000), TL_DEST_PAUSED);
}

Test(dest_health, counts_do_not_run_over, .init = set_up_probed) {
  for (unsigned i = 0; i < 2000; i++) {
    after(TL_DEST_FAILED, &rules, 1000);
    after(TL_DEST_PROBE_FAILED, &rules, 1000);
  }
  cr_expect_eq(tl_dest_mode_of(h.word, 1000), TL_DEST_DOWN);
  cr_expect_eq(tl_dest_failures_of(h.word), 255);
  cr_expect_eq(tl_dest_due_of(h.word), 31000);
}

/* ---- many at once ---- */

#define THREADS 4
#define ROUNDS 2000u

static pthread_barrier_t gate;

/* Each round it is due, and all claim it at the same time. */
static void *claim_all(void *arg) {
  unsigned *won = arg;
  for (unsigned i = 1; i <= ROUNDS; i++) {
    const uint64_t now = (uint64_t)i * 100000;
    pthread_barrier_wait(&gate);
    *won += tl_dest_claim(&h, &rules, false, now);
    pthread_barrier_wait(&gate);
  }
  return NULL;
}

Test(dest_health, d33_of_all_workers_one_claims_it, .init = set_up) {
  pthread_t t[THREADS];
  static unsigned won[THREADS];
  unsigned sum = 0;
  bring_down(&rules, 1000);
  pthread_barrier_init(&gate, NULL, THREADS);
  for (int i = 0; i < THREADS; i++)
    cr_assert_eq(pthread_create(&t[i], NULL, claim_all, &won[i]), 0);
  for (int i = 0; i < THREADS; i++) {
    pthread_join(t[i], NULL);
    sum += won[i];
  }
  cr_expect_eq(sum, ROUNDS);
}

static void *fail_often(void *arg) {
  (void)arg;
  pthread_barrier_wait(&gate);
  for (unsigned i = 0; i < 10 * ROUNDS; i++)
    tl_dest_note(&h, TL_DEST_FAILED, TL_DEST_BY_CONNECT, 0, &rules, 1000);
  return NULL;
}

Test(dest_health, d33_no_failure_is_lost_between_workers, .init = set_up) {
  pthread_t t[THREADS];
  pthread_barrier_init(&gate, NULL, THREADS);
  for (int i = 0; i < THREADS; i++) cr_assert_eq(pthread_create(&t[i], NULL, fail_often, NULL), 0);
  for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
  cr_expect_eq(h.n_failed, THREADS * 10 * ROUNDS);
  cr_expect_eq(h.n_down, 1);
  cr_expect_eq(tl_dest_mode_of(h.word, 1000), TL_DEST_DOWN);
}

/* Whatever comes from where, the word is always one that the machine knows. */
static void *do_anything(void *arg) {
  unsigned seed = (unsigned)(uintptr_t)arg;
  pthread_barrier_wait(&gate);
  for (uint64_t now = 1000; now < 1000 + 20 * ROUNDS; now++) {
    const int what = rand_r(&seed) % 8;
    if (what < 5)
      tl_dest_note(&h, (enum tl_dest_event)what, TL_DEST_BY_SEND, 0, &slow, now);
    else if (what == 5)
      tl_dest_pause(&h, now + 3, now);
    else if (what == 6 && tl_dest_claim(&h, &slow, false, now))
      tl_dest_unclaim(&h, now);
    else
      tl_dest_turn(&h, &slow, now, now);
    if (tl_dest_due_of(h.word) > now + 20 * ROUNDS + slow.down_for_ms) return arg;
  }
  return NULL;
}

Test(dest_health, d33_settles_whatever_all_workers_do, .init = set_up) {
  pthread_t t[THREADS];
  void *odd = NULL;
  pthread_barrier_init(&gate, NULL, THREADS);
  for (uintptr_t i = 0; i < THREADS; i++)
    cr_assert_eq(pthread_create(&t[i], NULL, do_anything, (void *)(i + 1)), 0);
  for (int i = 0; i < THREADS; i++) {
    void *end;
    pthread_join(t[i], &end);
    if (end) odd = end;
  }
  cr_expect_null(odd);
  const uint64_t late = 10000000;
  after(TL_DEST_ANSWERED, &rules, late);
  cr_expect_eq(tl_dest_turn(&h, &rules, 0, late), TL_DEST_FIRST);
  cr_expect(tl_dest_is_plain(&h));
}
