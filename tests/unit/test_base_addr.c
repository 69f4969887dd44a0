/* SPDX-License-Identifier: Apache-2.0 */
/* Socket addresses: what is one, what is the same, how they are written and spread over tables. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "tieline/addr.h"
#include "tieline/err.h"

static struct tl_addr addr(const char *host, uint16_t port) {
  struct tl_addr a;
  cr_assert_eq(tl_addr_parse(tl_str_c(host), port, &a), TL_OK, "%s", host);
  return a;
}

Test(base_addr, numeric_hosts_are_read_and_written_alike) {
  static const char *const text[][2] = {{"192.0.2.1", "192.0.2.1:5060"},
                                        {"0.0.0.0", "0.0.0.0:5060"},
                                        {"255.255.255.255", "255.255.255.255:5060"},
                                        {"2001:db8::1", "[2001:db8::1]:5060"},
                                        {"[2001:DB8:0:0::1]", "[2001:db8::1]:5060"},
                                        {"::ffff:192.0.2.1", "[::ffff:192.0.2.1]:5060"}};
  char buf[TL_ADDR_STRLEN];
  for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
    struct tl_addr a = addr(text[i][0], 5060);
    cr_expect_str_eq(tl_addr_format(&a, buf), text[i][1]);
    cr_expect_eq(tl_addr_port(&a), 5060);
  }
}

Test(base_addr, what_is_no_numeric_address_is_refused) {
  static const char *const text[] = {
      "",           "1.2.3",     "1.2.3.4.5", "1.2.3.256",   "01.2.3.4",     "1.2.3.4 ", " 1.2.3.4",
      "1.2.3.04",   "a.example", "[",         "[]",          "[1.2.3.4]",    "1..2.3",   "1.2.3.",
      "1.2.3.0004", "::1::",     ":",         "[2001:db8::", "fe80::1%eth0", "12345::"};
  struct tl_addr a;
  for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++)
    cr_expect_eq(tl_addr_parse(tl_str_c(text[i]), 1, &a), TL_ESYNTAX, "%s", text[i]);
  cr_expect_eq(tl_addr_parse((struct tl_str){"::1\0x", 5}, 1, &a), TL_ESYNTAX);
  cr_expect_eq(tl_addr_parse((struct tl_str){"1.2.3.4\0x", 9}, 1, &a), TL_ESYNTAX);
}

Test(base_addr, equality_is_of_ip_and_port) {
  struct tl_addr a = addr("192.0.2.1", 5060), b = addr("192.0.2.1", 5061);
  struct tl_addr c = addr("::1", 5060), d = addr("[::1]", 5060);
  cr_expect(!tl_addr_eq(&a, &b) && tl_addr_ip_eq(&a, &b));
  cr_expect(tl_addr_eq(&c, &d));
  cr_expect(!tl_addr_ip_eq(&a, &c));
  tl_addr_set_port(&b, 5060);
  cr_expect(tl_addr_eq(&a, &b));
  tl_addr_set_port(&d, 1);
  cr_expect_eq(tl_addr_port(&d), 1);
}

Test(base_addr, any_is_known_in_both_families) {
  struct tl_addr a = addr("0.0.0.0", 1), b = addr("::", 1), c = addr("0.0.0.1", 1);
  cr_expect(tl_addr_is_any(&a) && tl_addr_is_any(&b) && !tl_addr_is_any(&c));
}

/* The longest chain in a table of 16384 for 4096 addresses that differ between BEFORE and BEHIND;
 * in the port if BEFORE is empty. */
static int longest_chain(const char *before, const char *behind) {
  static int n[16384];
  int longest = 0;
  memset(n, 0, sizeof(n));
  for (int i = 1; i <= 4096; i++) {
    char text[64];
    snprintf(text, sizeof(text), "%s%x%s", before, (unsigned)i, behind);
    struct tl_addr a = before[0] ? addr(text, 5061) : addr("127.0.0.1", (uint16_t)(20000 + i));
    int *at = &n[tl_addr_hash(&a) & 16383];
    if (++*at > longest) longest = *at;
  }
  return longest;
}

/* The multiplication alone left the last bytes of an IPv6 address out of the low bits: a whole /112
 * shared one chain. */
Test(base_addr, neighbours_spread_over_a_table) {
  cr_expect_lt(longest_chain("2001:db8::", ""), 16);
  cr_expect_lt(longest_chain("2001:db8:0:", "::1"), 16);
  cr_expect_lt(longest_chain("2001:db8:", "::1"), 16);
  cr_expect_lt(longest_chain("2001:db8::", ":0:0"), 16);
  cr_expect_lt(longest_chain("", ""), 16);
}

/* Networks of configuration: FEATURES D35. */
Test(base_addr, d35_networks_are_parsed_strictly_and_matched_by_bits) {
  static const char *const bad[] = {"",
                                    "192.0.2.0/",
                                    "192.0.2.0/33",
                                    "192.0.2.1/24",
                                    "192.0.2.0/2x",
                                    "/24",
                                    "2001:db8::/129",
                                    "x/8",
                                    "192.0.2.0/-1",
                                    "192.0.2.0/0024",
                                    "2001:db8::1/64"};
  static const struct {
    const char *net, *in, *out;
  } row[] = {{"192.0.2.0/24", "192.0.2.255", "192.0.3.0"},
             {"192.0.2.128/25", "192.0.2.128", "192.0.2.127"},
             {"192.0.2.4/31", "192.0.2.5", "192.0.2.6"},
             {"192.0.2.4", "192.0.2.4", "192.0.2.5"},
             {"0.0.0.0/0", "203.0.113.9", "2001:db8::1"},
             {"2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"},
             {"[2001:db8::1]", "2001:db8::1", "2001:db8::2"},
             {"::/0", "2001:db8::1", "192.0.2.1"}};
  struct tl_network n;
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
    cr_expect_eq(tl_network_parse(tl_str_c(bad[i]), &n), TL_ESYNTAX, "%s", bad[i]);
  for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
    struct tl_addr in = addr(row[i].in, 5061), out = addr(row[i].out, 5061);
    cr_assert_eq(tl_network_parse(tl_str_c(row[i].net), &n), TL_OK, "%s", row[i].net);
    cr_expect(tl_network_has(&n, &in), "%s in %s", row[i].in, row[i].net);
    cr_expect_not(tl_network_has(&n, &out), "%s not in %s", row[i].out, row[i].net);
  }
}

/* Port, what lies behind the /64 and the way an IPv4 address is written do not make another source.
 */
Test(base_addr, s11_one_source_is_an_ipv4_address_or_a_slash_64) {
  static const struct {
    const char *a, *b;
    bool same;
  } cases[] = {
      {"192.0.2.1", "192.0.2.1", true},
      {"192.0.2.1", "192.0.2.2", false},
      {"2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true},
      {"2001:db8:1:2::1", "2001:db8:1:3::1", false},
      {"2001:db8:1:2::1", "2001:db8:2:2::1", false},
      {"::ffff:192.0.2.1", "192.0.2.1", true},
      {"::ffff:192.0.2.1", "::ffff:192.0.2.2", false},
      {"64:ff9b::192.0.2.1", "192.0.2.1", true},
      {"64:ff9b::192.0.2.1", "64:ff9b::192.0.2.2", false},
      {"64:ff9b:1::192.0.2.1", "64:ff9b:1::192.0.2.2", true},
      {"fe80::1", "fe80::2", true},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    struct tl_addr a, b, pa, pb;
    cr_assert_eq(tl_addr_parse(tl_str_c(cases[i].a), 5061, &a), 0);
    cr_assert_eq(tl_addr_parse(tl_str_c(cases[i].b), 40000, &b), 0);
    tl_addr_source_prefix(&a, &pa);
    tl_addr_source_prefix(&b, &pb);
    cr_expect_eq(tl_addr_eq(&pa, &pb), cases[i].same, "%s and %s", cases[i].a, cases[i].b);
    cr_expect_eq(tl_addr_hash(&pa) == tl_addr_hash(&pb), cases[i].same, "%s and %s", cases[i].a,
                 cases[i].b);
  }
}
