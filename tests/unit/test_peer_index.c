/* SPDX-License-Identifier: Apache-2.0 */
/* The peer index, against a search of all networks one by one. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "tieline/err.h"
#include "tieline/peer_index.h"

TestSuite(peer_index, .timeout = 30);

struct found {
  uint32_t number[64];
  size_t n, most;
};

static bool note_found(void *arg, uint32_t number) {
  struct found *f = arg;
  f->number[f->n++] = number;
  return f->n < f->most;
}

static struct tl_addr address_of(const char *text) {
  struct tl_addr a;
  cr_assert_eq(tl_addr_parse(tl_str_c(text), 5061, &a), 0, "%s", text);
  return a;
}

static struct found by_addr(const struct tl_peer_index *x, const char *text) {
  struct tl_addr a = address_of(text);
  struct found f = {.most = 64};
  tl_peer_index_by_addr(x, &a, note_found, &f);
  return f;
}

static struct found by_network(const struct tl_peer_index *x, const char *text) {
  struct tl_addr a = address_of(text);
  struct found f = {.most = 64};
  tl_peer_index_by_network(x, TL_PEER_IN_CLEAR, &a, note_found, &f);
  return f;
}

Test(peer_index, ids_addresses_and_names) {
  struct tl_peer_index x = {.ids = {.mask = 0}};
  struct tl_addr v4 = address_of("192.0.2.1"), v6 = address_of("2001:db8::1");
  cr_assert_eq(tl_peer_index_add_id(&x, 0, 77), TL_OK);
  cr_assert_eq(tl_peer_index_add_id(&x, 1, 0), TL_OK, "no id is special");
  cr_assert_eq(tl_peer_index_add_addr(&x, 0, &v4), TL_OK);
  tl_addr_set_port(&v4, 9);
  cr_assert_eq(tl_peer_index_add_addr(&x, 1, &v4), TL_OK);
  cr_assert_eq(tl_peer_index_add_addr(&x, 1, &v6), TL_OK);
  cr_assert_eq(tl_peer_index_add_name(&x, 1, TL_STR("Carrier.Example.")), TL_OK);

  cr_expect_eq(tl_peer_index_by_id(&x, 77), 0);
  cr_expect_eq(tl_peer_index_by_id(&x, 0), 1);
  cr_expect_eq(tl_peer_index_by_id(&x, 78), TL_PEER_NONE);
  struct found f = by_addr(&x, "192.0.2.1");
  cr_expect_eq(f.n, 2);
  cr_expect_eq(f.number[0], 0);
  cr_expect_eq(f.number[1], 1);
  f = by_addr(&x, "2001:db8::1");
  cr_expect_eq(f.n, 1);
  cr_expect_eq(by_addr(&x, "192.0.2.2").n, 0);
  f = (struct found){.most = 64};
  tl_peer_index_by_name(&x, TL_STR("CARRIER.example"), note_found, &f);
  cr_expect_eq(f.n, 1);
  tl_peer_index_clear(&x);
}

Test(peer_index, places_and_ways_are_told_apart) {
  struct tl_peer_index x = {.ids = {.mask = 0}};
  struct tl_addr a = address_of("192.0.2.1"), b = a;
  struct tl_network n;
  tl_addr_set_port(&b, 5090);
  cr_assert_eq(tl_network_parse(TL_STR("192.0.2.0/24"), &n), 0);
  cr_assert_eq(tl_peer_index_add_place(&x, 1, TL_UDP, &a), TL_OK);
  cr_assert_eq(tl_peer_index_add_place(&x, 2, TL_TCP, &a), TL_OK);
  cr_assert_eq(tl_peer_index_add_known_place(&x, 3, TL_UDP, &a), TL_OK);
  cr_assert_eq(tl_peer_index_add_known(&x, 5, TL_PEER_IN_CLEAR, &a), TL_OK);
  cr_assert_eq(tl_peer_index_add_known(&x, 4, TL_PEER_IN_CLEAR, &a), TL_OK);
  cr_assert_eq(tl_peer_index_add_known(&x, 6, TL_PEER_BY_TLS, &a), TL_OK);
  cr_assert_eq(tl_peer_index_add_network(&x, 7, TL_PEER_BY_TLS, &n), TL_OK);
  cr_assert_eq(tl_peer_index_add_only_tls(&x, 8, &a), TL_OK);

  struct found f = {.most = 64};
  tl_peer_index_by_place(&x, TL_UDP, &a, note_found, &f);
  tl_peer_index_by_place(&x, TL_UDP, &b, note_found, &f);
  tl_peer_index_by_place(&x, TL_TCP, &a, note_found, &f);
  tl_peer_index_by_known_place(&x, TL_UDP, &a, note_found, &f);
  tl_peer_index_by_known_place(&x, TL_TLS, &a, note_found, &f);
  tl_peer_index_by_known(&x, TL_PEER_IN_CLEAR, &b, note_found, &f);
  tl_peer_index_by_known(&x, TL_PEER_BY_TLS, &b, note_found, &f);
  tl_peer_index_by_network(&x, TL_PEER_IN_CLEAR, &b, note_found, &f);
  tl_peer_index_by_network(&x, TL_PEER_BY_TLS, &b, note_found, &f);
  tl_peer_index_by_only_tls(&x, &b, note_found, &f);
  static const uint32_t want[] = {1, 2, 3, 5, 4, 6, 7, 8};
  cr_assert_eq(f.n, sizeof(want) / sizeof(*want));
  cr_expect_arr_eq(f.number, want, sizeof(want), "who is preferred comes first");
  tl_peer_index_clear(&x);
}

Test(peer_index, an_empty_index_finds_nothing) {
  struct tl_peer_index x = {.ids = {.mask = 0}};
  cr_expect_eq(tl_peer_index_by_id(&x, 1), TL_PEER_NONE);
  cr_expect_eq(by_addr(&x, "192.0.2.1").n, 0);
  cr_expect_eq(by_network(&x, "192.0.2.1").n, 0);
  tl_peer_index_clear(&x);
}

Test(peer_index, the_narrowest_network_comes_first_and_a_search_may_end) {
  static const char *const networks[] = {
      "0.0.0.0/0", "10.0.0.0/8",    "10.1.2.0/24",       "10.1.2.3/32",
      "::/0",      "2001:db8::/32", "2001:db8:0:1::/64", "2001:db8:0:1::5/128"};
  struct tl_peer_index x = {.ids = {.mask = 0}};
  for (uint32_t i = 0; i < 8; i++) {
    struct tl_network n;
    cr_assert_eq(tl_network_parse(tl_str_c(networks[i]), &n), 0, "%s", networks[i]);
    cr_assert_eq(tl_peer_index_add_network(&x, i, TL_PEER_IN_CLEAR, &n), TL_OK);
  }
  struct found f = by_network(&x, "10.1.2.3");
  cr_assert_eq(f.n, 4);
  for (uint32_t i = 0; i < 4; i++) cr_expect_eq(f.number[i], 3 - i);
  f = by_network(&x, "2001:db8:0:1::5");
  cr_assert_eq(f.n, 4);
  for (uint32_t i = 0; i < 4; i++) cr_expect_eq(f.number[i], 7 - i);
  cr_expect_eq(by_network(&x, "11.1.2.3").n, 1);
  struct tl_addr a = address_of("10.1.2.3");
  f = (struct found){.most = 1};
  tl_peer_index_by_network(&x, TL_PEER_IN_CLEAR, &a, note_found, &f);
  cr_expect_eq(f.n, 1);
  tl_peer_index_clear(&x);
}

static void random_address(struct tl_addr *out, bool v6) {
  char text[64];
  if (v6)
    snprintf(text, sizeof(text), "2001:db8:%x:%x::%x", rand() % 3, rand() % 3, rand() % 4);
  else
    snprintf(text, sizeof(text), "10.%d.%d.%d", rand() % 3, rand() % 3, rand() % 4);
  *out = address_of(text);
}

Test(peer_index, networks_as_one_by_one) {
  struct tl_network all[200];
  struct tl_peer_index x = {.ids = {.mask = 0}};
  srand(3);
  for (uint32_t i = 0; i < 200; i++) {
    char text[TL_ADDR_STRLEN + 8];
    do {
      bool v6 = rand() % 2;
      struct tl_addr a;
      char host[TL_ADDR_STRLEN];
      random_address(&a, v6);
      const char *written = tl_addr_format_host(&a, host);
      int n = (int)strlen(written);
      snprintf(text, sizeof(text), "%.*s/%d", v6 ? n - 2 : n, written + v6,
               v6 ? 32 + 16 * (rand() % 7) : 8 * (rand() % 5));
    } while (tl_network_parse(tl_str_c(text), &all[i]));
    cr_assert_eq(tl_peer_index_add_network(&x, i, TL_PEER_IN_CLEAR, &all[i]), TL_OK);
  }
  for (int k = 0; k < 2000; k++) {
    struct tl_addr a;
    struct found f = {.most = 64};
    size_t slowly = 0;
    random_address(&a, rand() % 2);
    for (uint32_t i = 0; i < 200; i++) slowly += tl_network_has(&all[i], &a);
    tl_peer_index_by_network(&x, TL_PEER_IN_CLEAR, &a, note_found, &f);
    cr_assert_eq(f.n, slowly < 64 ? slowly : 64);
    for (size_t i = 0; i < f.n; i++) cr_expect(tl_network_has(&all[f.number[i]], &a));
  }
  tl_peer_index_clear(&x);
}
