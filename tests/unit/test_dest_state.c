/* SPDX-License-Identifier: Apache-2.0 */
/* States of destinations: found by all that makes one, kept for a while when something is known. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "tieline/dest_state.h"
#include "tieline/time.h"

TestSuite(dest_state, .timeout = 60);

static const struct tl_dest_rules rules = {.down_after = 1, .down_for_ms = 30000};

static struct tl_addr addr_at(unsigned i) {
  struct tl_addr a;
  char host[32];
  snprintf(host, sizeof(host), "10.%u.%u.%u", i >> 16 & 255, i >> 8 & 255, i & 255);
  cr_assert_eq(tl_addr_parse(tl_str_c(host), 5060, &a), 0);
  return a;
}

static struct tl_dest_state *state_of(unsigned i, enum tl_transport t, const char *domain) {
  const struct tl_addr a = addr_at(i);
  struct tl_dest_state *s = tl_dest_state_of(&a, t, domain);
  cr_assert_not_null(s);
  return s;
}

static void fail(struct tl_dest_state *s) {
  tl_dest_note(&s->health, TL_DEST_FAILED, TL_DEST_BY_CONNECT, 0, &rules, tl_now_ms());
}

static bool is_down(const struct tl_dest_state *s) {
  return tl_dest_mode_of(s->health.word, tl_now_ms()) == TL_DEST_DOWN;
}

Test(dest_state, d33_each_part_of_the_key_counts) {
  struct tl_dest_state *s = state_of(1, TL_TLS, "a");
  struct tl_addr port = addr_at(1);
  tl_addr_set_port(&port, 5061);
  struct tl_dest_state *other[] = {state_of(2, TL_TLS, "a"), state_of(1, TL_TCP, ""),
                                   state_of(1, TL_TLS, "b"), tl_dest_state_of(&port, TL_TLS, "a")};
  struct tl_dest_state *again = state_of(1, TL_TLS, "a");
  cr_expect_eq(again, s);
  tl_dest_state_unref(again);
  for (size_t i = 0; i < 4; i++) {
    cr_assert_not_null(other[i]);
    cr_expect_neq(other[i], s);
    fail(other[i]);
  }
  cr_expect_not(is_down(s), "what another one did is not its");
  for (size_t i = 0; i < 4; i++) tl_dest_state_unref(other[i]);
  tl_dest_state_unref(s);
}

Test(dest_state, d33_what_is_known_outlives_the_last_reference) {
  struct tl_dest_state *s = state_of(1, TL_UDP, "");
  fail(s);
  tl_dest_state_unref(s);
  cr_expect_eq(tl_dest_states_count().idle, 1);
  s = state_of(1, TL_UDP, "");
  cr_expect(is_down(s));
  cr_expect_eq(tl_dest_states_count().idle, 0);
  tl_dest_state_unref(s);
  tl_dest_states_expire(tl_now_ms());
  cr_expect_eq(tl_dest_states_count().all, 1);
  tl_dest_states_expire(tl_now_ms() + TL_DEST_KEEP_MS);
  cr_expect_eq(tl_dest_states_count().all, 0);
  s = state_of(1, TL_UDP, "");
  cr_expect_not(is_down(s));
  tl_dest_state_unref(s);
  cr_expect_eq(tl_dest_states_count().all, 0, "of one that is up nothing is known");
}

Test(dest_state, d33_those_without_a_reference_are_bounded) {
  enum { N = TL_DEST_KEPT_MAX + 100 };
  for (unsigned i = 0; i < N; i++) {
    struct tl_dest_state *s = state_of(i, TL_TCP, "");
    fail(s);
    tl_dest_state_unref(s);
  }
  cr_expect_eq(tl_dest_states_count().all, TL_DEST_KEPT_MAX);
  struct tl_dest_state *first = state_of(99, TL_TCP, ""), *kept = state_of(100, TL_TCP, "");
  cr_expect_not(is_down(first), "the first that was dropped went first");
  cr_expect(is_down(kept));
  tl_dest_state_unref(first);
  tl_dest_state_unref(kept);
  tl_dest_states_expire(tl_now_ms() + TL_DEST_KEEP_MS);
  cr_expect_eq(tl_dest_states_count().all, 0);
}

/* Returns ARG when something was not as it must be. */
static void *take_and_drop(void *arg) {
  struct tl_addr a[3];
  for (unsigned i = 0; i < 3; i++) {
    a[i] = (struct tl_addr){.v4 = {.sin_family = AF_INET, .sin_port = htons(5060)}};
    a[i].v4.sin_addr.s_addr = htonl(0x0a000000u + i);
  }
  for (unsigned i = 0; i < 100000; i++) {
    struct tl_dest_state *s = tl_dest_state_of(&a[i % 3], TL_TCP, "");
    if (!s || !tl_addr_eq(&s->addr, &a[i % 3])) return arg;
    if (i % 7 == 0)
      tl_dest_note(&s->health, TL_DEST_FAILED, TL_DEST_BY_SEND, 0, &rules, 1000);
    else if (i % 7 == 3)
      tl_dest_note(&s->health, TL_DEST_ANSWERED, TL_DEST_NO_CAUSE, 0, &rules, 1000);
    tl_dest_state_unref(s);
  }
  return NULL;
}

Test(dest_state, d33_threads_find_and_drop_it_at_once) {
  pthread_t t[4];
  void *odd = NULL;
  for (int i = 0; i < 4; i++) cr_assert_eq(pthread_create(&t[i], NULL, take_and_drop, t), 0);
  for (int i = 0; i < 4; i++) {
    void *end;
    pthread_join(t[i], &end);
    if (end) odd = end;
  }
  cr_assert_null(odd);
  tl_dest_states_expire(tl_now_ms() + TL_DEST_KEEP_MS);
  cr_expect_eq(tl_dest_states_count().all, 0);
}
