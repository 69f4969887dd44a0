/* SPDX-License-Identifier: Apache-2.0 */
/* The route index, against a search of all routes one by one. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "tieline/err.h"
#include "tieline/route_index.h"
#include "tieline/uri.h"

TestSuite(route_index, .timeout = 30);

#define ROUTES 400

struct demand {
  char prefix[24];
  char *domains[3];
  char **listed; /* NULL: any */
  bool of_next_hop;
  uint64_t from[3];
  size_t n_from;
};

static struct demand all[ROUTES];
static struct tl_route_index index_of_all;

static void add_demand(uint32_t number) {
  struct demand *d = &all[number];
  struct tl_route_key key = {.prefix = tl_str_c(d->prefix),
                             .domains = d->listed,
                             .of_next_hop = d->of_next_hop,
                             .from_peer = d->from,
                             .n_from = d->n_from};
  cr_assert_eq(tl_route_index_add(&index_of_all, number, &key), TL_OK);
}

static bool domain_fits(const struct demand *d, const struct tl_route_query *q) {
  struct tl_str host = d->of_next_hop ? q->next_host : q->host;
  if (!d->listed) return true;
  for (char **at = d->listed; *at; at++)
    if (tl_str_ieq(tl_str_c(*at), host)) return true;
  return false;
}

static bool demand_fits(const struct demand *d, const struct tl_route_query *q) {
  bool listed = d->n_from == 0;
  for (size_t i = 0; i < d->n_from; i++) listed |= q->peer && d->from[i] == q->peer;
  return listed && domain_fits(d, q) && tl_uri_user_starts(q->user, tl_str_c(d->prefix));
}

static uint32_t find_slowly(const struct tl_route_query *q, uint32_t n) {
  for (uint32_t i = 0; i < n; i++)
    if (demand_fits(&all[i], q)) return i;
  return TL_ROUTE_NONE;
}

struct offered {
  const struct tl_route_query *query;
  unsigned n;
};

static bool accept_fitting(void *arg, uint32_t route) {
  struct offered *o = arg;
  o->n++;
  return demand_fits(&all[route], o->query);
}

static uint32_t find_by_index(const struct tl_route_query *q, unsigned *out_offered) {
  struct offered o = {.query = q};
  uint32_t found = tl_route_index_find(&index_of_all, q, accept_fitting, &o);
  *out_offered = o.n;
  return found;
}

static char *const hosts[] = {"a.example", "B.Example", "c.example", "d.example"};

static void make_demand(struct demand *d) {
  static const char *const prefixes[] = {"",      "",      "+", "+4",  "+49",
                                         "+4930", "%2B49", "1", "112", "bob"};
  memset(d, 0, sizeof(*d));
  snprintf(d->prefix, sizeof(d->prefix), "%s", prefixes[rand() % 10]);
  d->n_from = (size_t)(rand() % 3);
  for (size_t i = 0; i < d->n_from; i++) d->from[i] = 1 + (uint64_t)(rand() % 6);
  int n_domain = rand() % 3;
  for (int i = 0; i < n_domain; i++) d->domains[i] = hosts[rand() % 4];
  if (n_domain) d->listed = d->domains;
  d->of_next_hop = rand() % 4 == 0;
}

static struct tl_route_query make_query(void) {
  static const char *const users[] = {"+493012345", "%2b4930", "112", "bob",
                                      "alice",      "",        "+1",  "1%31%32"};
  static const char *const asked[] = {"A.EXAMPLE", "b.example", "nowhere", "d.example"};
  return (struct tl_route_query){.user = tl_str_c(users[rand() % 8]),
                                 .host = tl_str_c(asked[rand() % 4]),
                                 .next_host = tl_str_c(asked[rand() % 4]),
                                 .peer = (uint64_t)(rand() % 8)};
}

Test(route_index, the_lowest_route_that_fits_is_found) {
  srand(7);
  for (int round = 0; round < 60; round++) {
    uint32_t n = round < 20 ? (uint32_t)round : ROUTES;
    for (uint32_t i = 0; i < n; i++) {
      make_demand(&all[i]);
      add_demand(i);
    }
    for (int k = 0; k < 300; k++) {
      struct tl_route_query q = make_query();
      unsigned offered;
      cr_assert_eq(find_by_index(&q, &offered), find_slowly(&q, n), "round %d: %.*s at %.*s", round,
                   (int)q.user.n, q.user.p, (int)q.host.n, q.host.p);
    }
    tl_route_index_clear(&index_of_all);
  }
}

/* 20,000 prefixes of other numbers are not even looked at. */
Test(route_index, a_request_that_fits_nothing_is_offered_nothing) {
  char prefix[16];
  for (uint32_t i = 0; i < 20000; i++) {
    snprintf(prefix, sizeof(prefix), "+49%u", 100000 + i);
    struct tl_route_key key = {.prefix = tl_str_c(prefix)};
    cr_assert_eq(tl_route_index_add(&index_of_all, i, &key), TL_OK);
  }
  struct tl_route_query q = {.user = TL_STR("+4420123456"), .host = TL_STR("x.example")};
  unsigned offered;
  cr_expect_eq(find_by_index(&q, &offered), TL_ROUTE_NONE);
  cr_expect_eq(offered, 0);
  tl_route_index_clear(&index_of_all);
}

/* Behind 63 characters the index no longer tells prefixes apart; the caller does. */
Test(route_index, long_prefixes_are_offered_by_their_beginning) {
  char longer[81] = "", user[90];
  memset(longer, '7', 80);
  snprintf(user, sizeof(user), "%s123", longer);
  struct tl_route_key key = {.prefix = tl_str_c(longer)};
  cr_assert_eq(tl_route_index_add(&index_of_all, 3, &key), TL_OK);
  struct tl_route_query q = {.user = tl_str_c(user), .host = TL_STR("x.example")};
  struct offered o = {.query = &q};
  all[3] = (struct demand){.prefix = "7"};
  cr_expect_eq(tl_route_index_find(&index_of_all, &q, accept_fitting, &o), 3);
  q.user.n = 40;
  cr_expect_eq(tl_route_index_find(&index_of_all, &q, accept_fitting, &o), TL_ROUTE_NONE);
  tl_route_index_clear(&index_of_all);
}
