/* SPDX-License-Identifier: Apache-2.0 */
/* Several connections for one key: turns, dials beside those that are open, draws. */
#include <sys/socket.h>
#include <unistd.h>

#include "test_net_rig.h"

TestSuite(net_spread, .timeout = 30);

#define WANTED 3

static int fd_listen;

static struct tl_conn_key key_of_listener(void) {
  struct tl_conn_key key = {.transport = TL_TCP, .n_conn = WANTED};
  socklen_t len = sizeof(key.addr);
  tl_addr_parse(TL_STR("127.0.0.1"), 0, &key.addr);
  fd_listen = socket(AF_INET, SOCK_STREAM, 0);
  cr_assert_eq(bind(fd_listen, &key.addr.sa, sizeof(key.addr.v4)), 0);
  cr_assert_eq(listen(fd_listen, 64), 0);
  getsockname(fd_listen, &key.addr.sa, &len);
  return key;
}

static struct tl_conn *opened(const struct tl_conn_key *key) {
  struct tl_conn *c;
  cr_assert_eq(tl_conn_open(rig.net, key, &c), 0);
  return c;
}

static unsigned n_open(const struct tl_conn_key *key) {
  unsigned n = 0;
  for (struct tl_conn *c = tl_conn_keyed(rig.net, key); c; c = tl_conn_keyed_next(rig.net, key, c))
    n += c->view.state == TL_CONN_OPEN;
  return n;
}

/* All that KEY wants are open. */
static void open_all(const struct tl_conn_key *key) {
  for (int i = 0; i < WANTED; i++) opened(key);
  RIG_UNTIL(n_open(key) == WANTED);
}

static void end_all(void) {
  close(fd_listen);
  net_end();
}

Test(net_spread, d33_what_is_sent_takes_the_connections_in_turn) {
  net_begin("");
  const struct tl_conn_key key = key_of_listener();
  struct tl_conn *first[WANTED];
  for (int i = 0; i < WANTED; i++) {
    first[i] = opened(&key);
    for (int k = 0; k < i; k++) cr_expect_neq(first[i], first[k], "none is open: %d dials", i);
  }
  cr_expect_eq(rig.net->n_conn, WANTED);
  RIG_UNTIL(n_open(&key) == WANTED);
  for (int round = 0; round < 4; round++) {
    bool had[WANTED] = {false};
    for (int i = 0; i < WANTED; i++) {
      const struct tl_conn *c = opened(&key);
      for (int k = 0; k < WANTED; k++) had[k] |= first[k] == c;
    }
    for (int k = 0; k < WANTED; k++) cr_expect(had[k], "round %d leaves %d out", round, k);
  }
  cr_expect_eq(rig.net->n_conn, WANTED, "no more than were asked for");
  end_all();
}

Test(net_spread, d33_nothing_waits_for_a_dial_beside_an_open_one) {
  net_begin("");
  struct tl_conn_key key = key_of_listener();
  struct tl_conn *c = opened(&key);
  RIG_UNTIL(n_open(&key) == 1);
  cr_expect_eq(opened(&key), c, "goes on the open one");
  cr_expect_eq(rig.net->n_conn, 2, "and another one is dialed");
  cr_expect_eq(opened(&key), c);
  cr_expect_eq(rig.net->n_conn, 2, "one at a time");
  RIG_UNTIL(n_open(&key) == 2);
  opened(&key);
  RIG_UNTIL(n_open(&key) == WANTED);
  key.n_conn = 1;
  cr_expect(opened(&key) && rig.net->n_conn == WANTED, "a reload that wants fewer ends none");
  end_all();
}

Test(net_spread, d33_the_place_of_a_lost_one_is_filled) {
  net_begin("");
  const struct tl_conn_key key = key_of_listener();
  open_all(&key);
  tl_conn_abort(opened(&key), TL_OK);
  RIG_UNTIL(rig.net->n_conn == WANTED - 1);
  cr_expect_eq(opened(&key)->view.state, TL_CONN_OPEN);
  RIG_UNTIL(n_open(&key) == WANTED);
  end_all();
}

/* A neighbour that allows one: the dials beside it come ever more rarely, and one that succeeds
 * begins anew. */
Test(net_spread, d33_dials_without_success_become_rare) {
  net_begin("");
  struct tl_conn_key key = key_of_listener();
  struct tl_conn *c = opened(&key);
  RIG_UNTIL(n_open(&key) == 1);
  const uint64_t begin_ms = rig.net->now_ms;
  unsigned dials = 0;
  for (uint64_t ms = 0; ms < 600000; ms += 10) {
    bool dial;
    rig.net->now_ms = begin_ms + ms;
    cr_assert_eq(tl_conn_spread(rig.net, &key, &dial), c);
    dials += dial;
  }
  cr_expect(dials > 10 && dials < 25, "%u in ten minutes", dials);
  rig.net->now_ms = begin_ms;
  c->more.at_ms = 0;
  opened(&key);
  RIG_UNTIL(n_open(&key) == 2);
  bool dial;
  tl_conn_spread(rig.net, &key, &dial);
  cr_expect(dial && c->more.n_failed == 1, "at once: %u", c->more.n_failed);
  end_all();
}

Test(net_spread, d33_a_draw_leads_to_the_same_one) {
  net_begin("");
  struct tl_conn_key key = key_of_listener();
  open_all(&key);
  const struct tl_conn *seen[64];
  unsigned others = 0;
  for (int pass = 0; pass < 2; pass++)
    for (unsigned i = 0; i < 64; i++) {
      key.draw = i + 1;
      const struct tl_conn *c = opened(&key);
      if (pass) cr_expect_eq(c, seen[i], "draw %u", i);
      seen[i] = c;
      others += c != seen[0];
    }
  cr_expect(others > 40, "all of them are drawn: %u", others);
  end_all();
}
