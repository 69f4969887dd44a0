/* SPDX-License-Identifier: Apache-2.0 */
/* Connections by source: who shares a bound, who has a larger one, and that places come free. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "runtime/sources.h"
#include "tieline/err.h"
#include "tieline/view.h"

static struct tl_network carrier;
static struct tl_conf_peer peer = {
    .identity = "carrier.example", .n_network = 1, .network = &carrier};
static struct tl_conf conf = {.limits = {.max_connections_source = 3, .max_connections_peer = 5}};
static struct tl_peer_set peers = {.refs = 1, .n = 1, .peer = &peer};
static struct tl_view view = {.conf = &conf};

static struct tl_addr at(const char *host, unsigned port) {
  struct tl_addr a;
  cr_assert_eq(tl_addr_parse(tl_str_c(host), (uint16_t)port, &a), 0, "%s", host);
  return a;
}

static char uri[] = "sip:carrier.example";

/* The table of S that the view has from now on. */
static void index_peers(struct tl_peer_set *s) {
  cr_assert_eq(tl_network_parse(tl_str_c("198.51.100.0/24"), &carrier), 0);
  for (size_t i = 0; i < s->n; i++) {
    s->peer[i].opt.uri = uri;
    cr_assert_not_null(s->peer[i].state = tl_peer_state_of(1, "carrier"));
    cr_assert_eq(tl_peer_state_begin(s->peer[i].state, uri, tl_addr_list_new(), false), 0);
  }
  cr_assert_not_null(view.peers = tl_peer_table_new(s, NULL));
}

static void drop_index(struct tl_peer_set *s) {
  tl_peer_table_unref(view.peers);
  for (size_t i = 0; i < s->n; i++) tl_peer_state_unref(s->peer[i].state);
}

Test(net_sources, s13_each_source_has_its_bound) {
  static const struct {
    const char *host, *same; /* SAME counts for HOST */
    unsigned most;
  } row[] = {
      {"192.0.2.1", "::ffff:192.0.2.1", 3},       {"192.0.2.2", "192.0.2.2", 3},
      {"2001:db8::1", "2001:db8::ffff:1:2:3", 3}, {"2001:db8:0:1::1", "2001:db8:0:1::2", 3},
      {"198.51.100.7", "198.51.100.7", 5}, /* the peer's */
      {"198.51.100.8", "198.51.100.8", 5},
  };
  index_peers(&peers);
  for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
    struct tl_addr a = at(row[i].host, 1), b = at(row[i].same, 2);
    for (unsigned n = 0; n < row[i].most; n++)
      cr_assert_eq(tl_conn_source_enter(&view, n % 2 ? &a : &b), 0, "row %zu: %u", i, n);
    cr_assert_eq(tl_conn_source_enter(&view, &a), TL_ELIMIT, "row %zu", i);
    cr_assert_eq(tl_conn_source_enter(&view, &b), TL_ELIMIT, "row %zu", i);
  }
  for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
    struct tl_addr a = at(row[i].host, 3);
    tl_conn_source_leave(&a);
    cr_assert_eq(tl_conn_source_enter(&view, &a), 0, "row %zu", i);
    for (unsigned n = 0; n < row[i].most; n++) tl_conn_source_leave(&a);
    tl_conn_source_leave(&a); /* one that has none */
    cr_assert_eq(tl_conn_source_enter(&view, &a), 0, "row %zu", i);
  }
  drop_index(&peers);
}

Test(net_sources, s13_a_peer_may_have_a_bound_of_its_own) {
  static const struct {
    uint32_t own[2];
    unsigned most;
  } row[] = {{{0, 0}, 5}, {{8, 0}, 8}, {{4, 0}, 5}, {{4, 4}, 4}, {{2, 2}, 3}, {{6, 9}, 9}};
  struct tl_conf_peer both[] = {peer, peer};
  struct tl_peer_set c = {.refs = 1, .n = 2, .peer = both};
  const struct tl_addr a = at("198.51.100.9", 1), other = at("192.0.2.9", 1);
  index_peers(&c);
  for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
    for (int k = 0; k < 2; k++) both[k].opt.max_connections = row[i].own[k];
    unsigned n = 0;
    while (n < 100 && tl_conn_source_enter(&view, &a) == 0) n++;
    cr_expect_eq(n, row[i].most, "row %zu: %u", i, n);
    while (n--) tl_conn_source_leave(&a);
    for (n = 0; n < 100 && tl_conn_source_enter(&view, &other) == 0;) n++;
    cr_expect_eq(n, 3, "who is not a peer");
    while (n--) tl_conn_source_leave(&other);
  }
  drop_index(&c);
}

/* Strangers who took all connections kept us from dialling, and peers from coming. */
Test(net_sources, s13_some_connections_are_kept_for_peers_and_our_own) {
  const struct tl_addr stranger = at("192.0.2.1", 1), carriers = at("198.51.100.9", 1);
  index_peers(&peers);
  conf.limits.max_connections = 80;
  for (uint32_t now = 0; now < 100; now++) {
    cr_assert_eq(tl_conn_room(&view, now, &stranger), now < 70, "%u", now);
    cr_assert_eq(tl_conn_room(&view, now, &carriers), now < 75, "%u", now);
    cr_assert_eq(tl_conn_room(&view, now, NULL), now < 80, "%u", now);
  }
  conf.limits.max_connections = UINT32_MAX; /* descriptors are fewer */
  cr_assert(tl_conn_room(&view, 8, &stranger));
  cr_assert_not(tl_conn_room(&view, 1u << 30, NULL));
  drop_index(&peers);
}

Test(net_sources, s13_a_hundred_thousand_sources) {
  index_peers(&peers);
  for (unsigned round = 0; round < 2; round++) {
    for (unsigned i = 0; i < 100000; i++) {
      char host[64];
      snprintf(host, sizeof(host), "2001:db8:%x:%x::1", i >> 16, i & 0xffff);
      struct tl_addr a = at(host, 5060);
      if (round == 0)
        cr_assert_eq(tl_conn_source_enter(&view, &a), 0);
      else
        tl_conn_source_leave(&a);
    }
  }
  drop_index(&peers);
}
