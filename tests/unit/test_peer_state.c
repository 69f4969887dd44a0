/* SPDX-License-Identifier: Apache-2.0 */
/* States of peers: found by id while anybody holds them, with a slot that is theirs alone. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>

#include "tieline/peer_state.h"

TestSuite(peer_state, .timeout = 30);

Test(peer_state, it_is_found_while_somebody_holds_it) {
  struct tl_peer_state *a = tl_peer_state_of(1, "a"), *b = tl_peer_state_of(2, "b");
  cr_assert(a && b);
  cr_expect_neq(a->slot, b->slot);
  cr_expect_eq(tl_peer_state_of(1, "a"), a);
  a->calls.now = 3;
  tl_peer_state_unref(a);
  struct tl_peer_state *again = tl_peer_state_of(1, "a");
  cr_assert_not_null(again);
  cr_expect_eq(again->calls.now, 3, "it was held all the time");
  tl_peer_state_unref(again);
  tl_peer_state_unref(a);
  cr_assert_not_null(a = tl_peer_state_of(1, "a"));
  cr_expect_eq(a->calls.now, 0, "nobody held it");
  tl_peer_state_unref(a);
  tl_peer_state_unref(b);
}

Test(peer_state, two_names_with_one_id_are_two_peers) {
  struct tl_peer_state *a = tl_peer_state_of(7, "a"), *b = tl_peer_state_of(7, "b");
  cr_assert(a && b);
  cr_expect_neq(a, b);
  cr_expect_neq(a->slot, b->slot);
  tl_peer_state_unref(a);
  tl_peer_state_unref(b);
}

Test(peer_state, slots_are_used_again) {
  enum { N = 1000 };
  static struct tl_peer_state *s[N];
  for (uint64_t i = 0; i < N; i++) cr_assert_not_null(s[i] = tl_peer_state_of(i, "p"));
  for (uint64_t i = 0; i < N; i++) cr_assert_eq(s[i]->slot, i);
  for (uint64_t i = 0; i < N; i += 2) tl_peer_state_unref(s[i]);
  for (uint64_t i = 0; i < N; i += 2) {
    cr_assert_not_null(s[i] = tl_peer_state_of(N + i, "p"));
    cr_assert_lt(s[i]->slot, N);
  }
  for (uint64_t i = 0; i < N; i++) tl_peer_state_unref(s[i]);
}

Test(peer_state, another_uri_begins_anew) {
  struct tl_peer_state *s = tl_peer_state_of(1, "a");
  cr_assert_not_null(s);
  cr_expect_not(tl_peer_state_knows(s, "sip:one.example"));
  cr_assert_eq(tl_peer_state_begin(s, "sip:one.example", tl_addr_list_new(), true), 0);
  cr_expect(tl_peer_state_knows(s, "sip:one.example"));
  uint64_t serial = s->addrs.serial;
  s->addrs.query_pending = true;
  s->calls.now = 2;
  cr_assert_eq(tl_peer_state_begin(s, "sip:two.example", tl_addr_list_new(), true), 0);
  cr_expect_not(tl_peer_state_knows(s, "sip:one.example"));
  cr_expect_not(s->addrs.query_pending);
  cr_expect_neq(s->addrs.serial, serial, "an answer about the former name is nobody's");
  cr_expect_eq(s->calls.now, 2, "calls are the peer's, wherever it is");
  tl_peer_state_unref(s);
}

/* Returns ARG when there was none. */
static void *take_and_drop(void *arg) {
  for (unsigned i = 0; i < 200000; i++) {
    struct tl_peer_state *s = tl_peer_state_of(i % 3, "p");
    if (!s) return arg;
    if (s->id != i % 3) abort();
    tl_peer_state_unref(s);
  }
  return NULL;
}

Test(peer_state, threads_find_and_drop_it_at_once) {
  pthread_t t[4];
  void *none = NULL;
  for (int i = 0; i < 4; i++) cr_assert_eq(pthread_create(&t[i], NULL, take_and_drop, t), 0);
  for (int i = 0; i < 4; i++) {
    void *end;
    pthread_join(t[i], &end);
    if (end) none = end;
  }
  cr_assert_null(none);
  struct tl_peer_state *s = tl_peer_state_of(0, "p");
  cr_assert_not_null(s);
  cr_expect_eq(s->slot, 0, "all slots were given back");
  tl_peer_state_unref(s);
}
