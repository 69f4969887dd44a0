/* SPDX-License-Identifier: Apache-2.0 */
/* What an administrator says of a peer and of its addresses, as workers read it. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>

#include "tieline/peer_admin.h"
#include "tieline/rcu.h"

TestSuite(peer_admin, .timeout = 60);

static struct tl_peer_admin admin;

static struct tl_addr addr_of(const char *host, uint16_t port) {
  struct tl_addr a;
  cr_assert_eq(tl_addr_parse(tl_str_c(host), port, &a), 0);
  return a;
}

static struct tl_admin_list *list_of(size_t n, const struct tl_admin_address *at) {
  struct tl_admin_list *l = calloc(1, sizeof(*l) + n * sizeof(*at));
  cr_assert_not_null(l);
  l->n = n;
  memcpy(l->at, at, n * sizeof(*at));
  return l;
}

static enum tl_admin_state state_at(const char *host, uint16_t port) {
  const struct tl_addr a = addr_of(host, port);
  return tl_peer_admin_of(&admin, &a);
}

Test(peer_admin, d33_the_more_exact_one_counts) {
  tl_rcu_thread_begin();
  cr_expect_eq(state_at("192.0.2.1", 5060), TL_ADMIN_NONE);
  tl_peer_admin_set(&admin, TL_ADMIN_DRAIN, NULL);
  cr_expect_eq(state_at("192.0.2.1", 5060), TL_ADMIN_DRAIN);
  const struct tl_admin_address at[] = {{addr_of("192.0.2.1", 0), TL_ADMIN_DOWN},
                                        {addr_of("192.0.2.1", 5061), TL_ADMIN_UP},
                                        {addr_of("2001:db8::1", 0), TL_ADMIN_UP}};
  tl_peer_admin_set(&admin, TL_ADMIN_DRAIN, list_of(3, at));
  cr_expect_eq(state_at("192.0.2.1", 5060), TL_ADMIN_DOWN);
  cr_expect_eq(state_at("192.0.2.1", 5061), TL_ADMIN_UP);
  cr_expect_eq(state_at("2001:db8::1", 7), TL_ADMIN_UP);
  cr_expect_eq(state_at("192.0.2.2", 5060), TL_ADMIN_DRAIN);
  tl_peer_admin_set(&admin, TL_ADMIN_NONE, list_of(1, at));
  cr_expect_eq(state_at("192.0.2.1", 5061), TL_ADMIN_DOWN);
  cr_expect_eq(state_at("192.0.2.2", 5060), TL_ADMIN_NONE);
  tl_peer_admin_set(&admin, TL_ADMIN_NONE, NULL);
  cr_expect_eq(state_at("192.0.2.1", 5061), TL_ADMIN_NONE);
  tl_peer_admin_end(&admin);
  tl_rcu_thread_end();
}

Test(peer_admin, d33_which_take_requests) {
  cr_expect(tl_admin_takes(TL_ADMIN_NONE));
  cr_expect(tl_admin_takes(TL_ADMIN_UP));
  cr_expect_not(tl_admin_takes(TL_ADMIN_DRAIN));
  cr_expect_not(tl_admin_takes(TL_ADMIN_DOWN));
}

static _Atomic bool over;

/* Returns ARG when it read what nobody has written. */
static void *read_often(void *arg) {
  void *odd = NULL;
  tl_rcu_thread_begin();
  const struct tl_addr a = addr_of("192.0.2.1", 5060);
  while (!over) {
    const enum tl_admin_state s = tl_peer_admin_of(&admin, &a);
    if (s != TL_ADMIN_NONE && s != TL_ADMIN_DOWN && s != TL_ADMIN_DRAIN) odd = arg;
  }
  tl_rcu_thread_end();
  return odd;
}

Test(peer_admin, d33_set_while_workers_read) {
  pthread_t t[3];
  void *odd = NULL;
  const struct tl_admin_address at = {addr_of("192.0.2.1", 5060), TL_ADMIN_DOWN};
  for (int i = 0; i < 3; i++) cr_assert_eq(pthread_create(&t[i], NULL, read_often, t), 0);
  for (int i = 0; i < 300; i++)
    tl_peer_admin_set(&admin, i % 3 ? TL_ADMIN_DRAIN : TL_ADMIN_NONE,
                      i % 2 ? list_of(1, &at) : NULL);
  over = true;
  for (int i = 0; i < 3; i++) {
    void *end;
    pthread_join(t[i], &end);
    if (end) odd = end;
  }
  cr_expect_null(odd);
  tl_peer_admin_end(&admin);
}
