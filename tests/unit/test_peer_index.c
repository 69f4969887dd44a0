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

static struct found look_up(const struct tl_peer_index *x,
                            void (*by)(const struct tl_peer_index *, const struct tl_addr *,
                                       tl_peer_index_fn, void *),
                            const char *text) {
  struct tl_addr a = address_of(text);
  struct found f = {.most = 64};
  by(x, &a, note_found, &f);
  return f;
}

Test(peer_index, ids_addresses_and_names) {
  struct tl_peer_index x = {.lengths = {{0}}};
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
  struct found f = look_up(&x, tl_peer_index_by_addr, "192.0.2.1");
  cr_expect_eq(f.n, 2);
  cr_expect_eq(f.number[0], 0);
  cr_expect_eq(f.number[1], 1);
  f = look_up(&x, tl_peer_index_by_addr, "2001:db8::1");
  cr_expect_eq(f.n, 1);
  cr_expect_eq(look_up(&x, tl_peer_index_by_addr, "192.0.2.2").n, 0);
  f = (struct found){.most = 64};
  tl_peer_index_by_name(&x, TL_STR("CARRIER.example"), note_found, &f);
  cr_expect_eq(f.n, 1);
  tl_peer_index_clear(&x);
}

Test(peer_index, an_empty_index_finds_nothing) {
  struct tl_peer_index x = {.lengths = {{0}}};
  cr_expect_eq(tl_peer_index_by_id(&x, 1), TL_PEER_NONE);
  cr_expect_eq(look_up(&x, tl_peer_index_by_addr, "192.0.2.1").n, 0);
  cr_expect_eq(look_up(&x, tl_peer_index_by_network, "192.0.2.1").n, 0);
  tl_peer_index_clear(&x);
}

Test(peer_index, the_narrowest_network_comes_first_and_a_search_may_end) {
  static const char *const networks[] = {
      "0.0.0.0/0", "10.0.0.0/8",    "10.1.2.0/24",       "10.1.2.3/32",
      "::/0",      "2001:db8::/32", "2001:db8:0:1::/64", "2001:db8:0:1::5/128"};
  struct tl_peer_index x = {.lengths = {{0}}};
  for (uint32_t i = 0; i < 8; i++) {
    struct tl_network n;
    cr_assert_eq(tl_network_parse(tl_str_c(networks[i]), &n), 0, "%s", networks[i]);
    cr_assert_eq(tl_peer_index_add_network(&x, i, &n), TL_OK);
  }
  struct found f = look_up(&x, tl_peer_index_by_network, "10.1.2.3");
  cr_assert_eq(f.n, 4);
  for (uint32_t i = 0; i < 4; i++) cr_expect_eq(f.number[i], 3 - i);
  f = look_up(&x, tl_peer_index_by_network, "2001:db8:0:1::5");
  cr_assert_eq(f.n, 4);
  for (uint32_t i = 0; i < 4; i++) cr_expect_eq(f.number[i], 7 - i);
  cr_expect_eq(look_up(&x, tl_peer_index_by_network, "11.1.2.3").n, 1);
  struct tl_addr a = address_of("10.1.2.3");
  f = (struct found){.most = 1};
  tl_peer_index_by_network(&x, &a, note_found, &f);
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
  struct tl_peer_index x = {.lengths = {{0}}};
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
    cr_assert_eq(tl_peer_index_add_network(&x, i, &all[i]), TL_OK);
  }
  for (int k = 0; k < 2000; k++) {
    struct tl_addr a;
    struct found f = {.most = 64};
    size_t slowly = 0;
    random_address(&a, rand() % 2);
    for (uint32_t i = 0; i < 200; i++) slowly += tl_network_has(&all[i], &a);
    tl_peer_index_by_network(&x, &a, note_found, &f);
    cr_assert_eq(f.n, slowly < 64 ? slowly : 64);
    for (size_t i = 0; i < f.n; i++) cr_expect(tl_network_has(&all[f.number[i]], &a));
  }
  tl_peer_index_clear(&x);
}
