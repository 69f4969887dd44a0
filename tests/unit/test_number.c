/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers as they are written in URIs, and their parameters: by table. */
#include <criterion/criterion.h>

#include "tieline/number.h"
#include "tieline/uri.h"

TestSuite(number, .timeout = 20);

/* Of a URI, as the proxy has it. */
static struct tl_str subscriber_of(const char *uri) {
  struct tl_uri u;
  cr_assert_eq(tl_uri_parse(tl_str_c(uri), &u), 0, "%s", uri);
  if (u.scheme == TL_SCHEME_TEL) u.user.n += u.params.n;
  return u.user;
}

static bool is_number(struct tl_str user, const char *want, bool global) {
  struct tl_number n;
  return tl_number_read(user, &n) && n.global == global &&
         tl_str_eq((struct tl_str){n.text, n.n}, tl_str_c(want));
}

Test(number, f18_one_number_however_it_is_written) {
  static const char *const same[] = {
      "tel:+4930123456",
      "tel:+49-30-123456",
      "tel:+49(30)123.456",
      "tel:+4930123456;npdi;rn=+49199",
      "tel:+4930123456;phone-context=example.com",
      "sip:+4930123456@a.example",
      "sip:+4930123456@a.example;user=phone",
      "sip:+49-(30).123-456@a.example;user=phone",
      "sip:%2B4930123456@a.example",
      "sip:%2b49%2d30123456@a.example",
      "sips:+4930%3123456@a.example:5061;transport=tls",
      "sip:+4930123456;npdi;cic=+1555@a.example;user=phone",
      "sip:(+4930123456)@a.example",
  };
  for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
    cr_expect(is_number(subscriber_of(same[i]), "4930123456", true), "%s", same[i]);
  cr_expect(is_number(TL_STR("4930123456"), "4930123456", false));
  cr_expect(is_number(TL_STR("*31#0301a.b"), "*31#0301AB", false));
  cr_expect(is_number(TL_STR("#31#"), "#31#", false));
  cr_expect(is_number(TL_STR("7"), "7", false));
}

Test(number, f18_what_is_no_number) {
  static const char *const none[] = {
      "",     "+",     "-",      "()",         "alice", "+alice",
      "12x",  "12 3",  "12%203", "%",          "1%",    "1%3",
      "1%zz", "1%3B2", "1%252",  "1+2",        "++12",  "+1+2",
      "dad",  "A12",   "+*31",   "+#1",        "+A1",   "1@2",
      "1/2",  ";rn=1", "+;npdi", "12\xc3\xa4", "1\x80", "12345678901234567890123456789012345678901",
      "1,2",
  };
  struct tl_number n;
  for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
    cr_expect_not(tl_number_read(tl_str_c(none[i]), &n), "%s", none[i]);
  cr_expect_not(tl_number_read((struct tl_str){"1\0002", 3}, &n));
  cr_expect_not(tl_number_read((struct tl_str){NULL, 0}, &n));
}

Test(number, f18_digits_are_packed_from_the_top) {
  static const struct {
    const char *text;
    uint64_t digits;
    unsigned n_digit, n;
  } vectors[] = {
      {"1", 0x1000000000000000u, 1, 1},
      {"+49301", 0x4930100000000000u, 5, 5},
      {"0", 0, 1, 1},
      {"123456789012345", 0x1234567890123450u, 15, 15},
      {"12345678901234567", 0x1234567890123450u, 15, 17},
      {"12*34", 0x1200000000000000u, 2, 5},
      {"*12", 0, 0, 3},
      {"1234567890123456789012345678901234567890", 0x1234567890123450u, 15, 40},
  };
  for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
    struct tl_number n;
    cr_assert(tl_number_read(tl_str_c(vectors[i].text), &n), "%s", vectors[i].text);
    cr_expect_eq(n.digits, vectors[i].digits, "%s: %lx", vectors[i].text, n.digits);
    cr_expect_eq(n.n_digit, vectors[i].n_digit, "%s", vectors[i].text);
    cr_expect_eq(n.n, vectors[i].n, "%s", vectors[i].text);
  }
}

static void expect_param(const char *uri, const char *what, struct tl_str got, const char *want) {
  cr_expect(tl_str_eq(got, tl_str_c(want)), "%s: %s is \"%.*s\", not \"%s\"", uri, what, (int)got.n,
            got.p ? got.p : "", want ? want : "");
}

Test(number, f18_parameters_of_a_number) {
  static const struct {
    const char *uri, *rn, *cic, *tgrp, *trunk_context, *phone_context;
    bool npdi;
  } vectors[] = {
      {"tel:+12025550123", NULL, NULL, NULL, NULL, NULL, false},
      {"tel:+12025550123;npdi;rn=+12025550000", "+12025550000", NULL, NULL, NULL, NULL, true},
      {"tel:+12025550123;RN=2025550000;rn-context=+1;CIC=+10288", "2025550000", "+10288", NULL,
       NULL, NULL, false},
      {"sip:7042;phone-context=a.example;tgrp=tg-1;trunk-context=b.example@c.example;user=phone",
       NULL, NULL, "tg-1", "b.example", "a.example", false},
      {"sip:+1202;rn=@c.example", "", NULL, NULL, NULL, NULL, false},
      {"sip:+1202;rn=1;rn=2;npdi=yes@c.example", "1", NULL, NULL, NULL, NULL, true},
      {"sip:+1202;;=;x=rn=4;rn=a=b@c.example", "a=b", NULL, NULL, NULL, NULL, false},
      {"sip:+1202@c.example;rn=1;npdi", NULL, NULL, NULL, NULL, NULL, false},
      {"sip:alice;rn=1@c.example", "1", NULL, NULL, NULL, NULL, false},
  };
  for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
    struct tl_number_params p;
    const char *uri = vectors[i].uri;
    tl_number_read_params(subscriber_of(uri), &p);
    expect_param(uri, "rn", p.rn, vectors[i].rn);
    expect_param(uri, "cic", p.cic, vectors[i].cic);
    expect_param(uri, "tgrp", p.tgrp, vectors[i].tgrp);
    expect_param(uri, "trunk-context", p.trunk_context, vectors[i].trunk_context);
    expect_param(uri, "phone-context", p.phone_context, vectors[i].phone_context);
    cr_expect_eq(p.npdi, vectors[i].npdi, "%s", uri);
  }
}
