/* SPDX-License-Identifier: Apache-2.0 */
/* When the first probes of peers are due, by the timers of the first worker. */
#include <stdlib.h>

#include "proxy/peer_probe.h"
#include "test_proxy_rig.h"

TestSuite(proxy_probe, .timeout = 60);

#define PEERS_MAX 1000

static uint64_t due[PEERS_MAX]; /* in ticks from now, ascending */
static unsigned n_due;

static void configure_peers(char *out, unsigned n, const char *interval) {
  for (unsigned i = 0; i < n; i++)
    out += sprintf(out, "peer \"p%u\" { uri = \"sip:127.0.0.1:9;transport=udp\" probe = %s }\n", i,
                   interval);
}

static int compare_due(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static void read_wheel(void) {
  const struct tl_wheel *w = tl_net_wheel(px.net);
  n_due = 0;
  for (unsigned level = 0; level < TL_WHEEL_LEVELS; level++)
    for (unsigned i = 0; i < 1u << TL_WHEEL_BITS; i++)
      for (const struct tl_timer *t = w->slot[level][i]; t && n_due < PEERS_MAX; t = t->next)
        due[n_due++] = t->due - w->now;
  qsort(due, n_due, sizeof(due[0]), compare_due);
}

/* N peers come at once, and no time passes. */
static void begin_with(unsigned n, const char *interval) {
  static char text[PEERS_MAX * 80];
  configure_peers(text, n, interval);
  proxy_begin(text);
  cr_assert_eq(tl_net_wheel(px.net)->running, 0);
  tl_peer_probe_refresh(&px);
  read_wheel();
  cr_assert_eq(n_due, n);
}

/* The most that are due in one tick. */
static unsigned most_at_once(void) {
  unsigned most = 0;
  for (unsigned i = 0, n = 0; i < n_due; i++) {
    n = i && due[i] == due[i - 1] ? n + 1 : 1;
    if (n > most) most = n;
  }
  return most;
}

static uint64_t ticks(uint64_t ms) { return ms / TL_WHEEL_TICK_MS + 2; }

Test(proxy_probe, a_few_peers_are_probed_at_once) {
  begin_with(3, "1h");
  cr_expect_leq(due[0], ticks(0));
  cr_expect_leq(due[2], ticks(50));
  proxy_end();
}

Test(proxy_probe, many_are_not_probed_in_one_turn) {
  begin_with(PEERS_MAX, "1h");
  cr_expect_leq(due[0], ticks(0));
  cr_expect_eq(most_at_once(), 1);
  cr_expect_leq(due[PEERS_MAX - 1], ticks(20 * PEERS_MAX));
  proxy_end();
}

Test(proxy_probe, none_waits_longer_than_its_interval) {
  begin_with(PEERS_MAX, "1s");
  cr_expect_leq(due[0], ticks(0));
  cr_expect_leq(most_at_once(), PEERS_MAX * TL_WHEEL_TICK_MS / 1000 + 1);
  cr_expect_leq(due[PEERS_MAX - 1], ticks(1000));
  proxy_end();
}
