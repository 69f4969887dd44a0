/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Large configurations: thousands of peers and routes find each other by name, in
 * time that grows with their number and not with its square.
 */
#include <criterion/criterion.h>
#include <time.h>

#include "test_conf_util.h"

TestSuite(conf_scale, .init = conf_setup, .fini = conf_teardown);

/* N peers and N routes; route i leads to peer i, and what comes from it to peer N - 1 - i. */
static void write_pairs(size_t n) {
  FILE *f = fopen(conf_path("t.conf"), "w");
  cr_assert_not_null(f);
  fputs("listen \"tcp:127.0.0.1:5999\" {}\n", f);
  for (size_t i = 0; i < n; i++)
    fprintf(f, "peer \"p%zu\" { uri = \"sip:10.%zu.%zu.%zu;transport=tcp\" }\n", i, i >> 16,
            i >> 8 & 255, i & 255);
  for (size_t i = 0; i < n; i++)
    fprintf(f, "route \"r%zu\" { from_peer = \"p%zu\" to_prefix = \"+%zu\" peers = \"p%zu\" }\n", i,
            n - 1 - i, i, i);
  cr_assert_eq(fclose(f), 0);
}

static struct tl_conf *load_pairs(const struct tl_conf *previous) {
  struct conf_try t = conf_try_file(conf_path("t.conf"), previous);
  cr_assert_eq(t.rc, 0, "%s", t.complaint[0]);
  return t.conf;
}

Test(conf_scale, names_become_the_right_pointers) {
  const size_t n = 3000;
  write_pairs(n);
  struct tl_conf *c = load_pairs(NULL), *again = load_pairs(c);
  const struct tl_peer_table *peers = conf_view(again)->peers;
  const struct tl_route_table *routes = conf_view(again)->routes;
  cr_assert_eq(peers->n, n);
  cr_assert_eq(routes->n, n);
  for (size_t i = 0; i < n; i++) {
    cr_assert_eq(routes->route[i].n_peer, 1);
    cr_assert_eq(routes->route[i].peer[0], &peers->peer[i]);
    cr_assert_eq(routes->route[i].n_from, 1);
    cr_assert_eq(routes->route[i].from[0], &peers->peer[n - 1 - i]);
    cr_assert_eq(peers->peer[i].state, conf_view(c)->peers->peer[i].state,
                 "a reload forgets nothing");
  }
  tl_conf_unref(c);
  tl_conf_unref(again);
}

static double load_seconds(size_t n, const struct tl_conf *previous, struct tl_conf **out) {
  struct timespec a, b;
  write_pairs(n);
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
  *out = load_pairs(previous);
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
  return (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
}

/* Eight times as many: a square would take 64 times as long. */
Test(conf_scale, loading_is_linear, .timeout = 120) {
  struct tl_conf *few, *many, *again;
  double one = load_seconds(2000, NULL, &few), ten = load_seconds(16000, NULL, &many);
  double reload = load_seconds(16000, many, &again);
  cr_expect_lt(ten, 24 * one + 0.05, "2,000: %.3f s, 16,000: %.3f s", one, ten);
  cr_expect_lt(reload, 24 * one + 0.05, "2,000: %.3f s, reload of 16,000: %.3f s", one, reload);
  tl_conf_unref(few);
  tl_conf_unref(many);
  tl_conf_unref(again);
}

/* A mistake in every route is a sentence for each, but a nearest name only for the first ones. */
Test(conf_scale, a_missing_peer_everywhere, .timeout = 120) {
  const size_t n = 5000;
  FILE *f = fopen(conf_path("t.conf"), "w");
  cr_assert_not_null(f);
  fputs("listen \"tcp:127.0.0.1:5999\" {}\n", f);
  for (size_t i = 0; i < n; i++)
    fprintf(f, "peer \"p%zu\" { uri = \"sip:127.0.0.1:9;transport=tcp\" }\n", i);
  for (size_t i = 0; i < n; i++) fprintf(f, "route \"r%zu\" { peers = \"q%zu\" }\n", i, i);
  cr_assert_eq(fclose(f), 0);
  struct conf_try t = conf_try_file(conf_path("t.conf"), NULL);
  cr_expect_eq(t.rc, TL_ECONFIG);
  cr_expect_eq(t.n, n);
  cr_expect(conf_complains(&t, "there is no peer \"q0\"; did you mean \"p0\"?"), "%s",
            t.complaint[0]);
}
