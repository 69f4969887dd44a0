/* SPDX-License-Identifier: Apache-2.0 */
/* URIs and name-addr values: RFC 3261 19.1 and 25.1, and the liberties of RFC 4475. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "sip/lex.h"
#include "sip_text.h"
#include "tieline/err.h"
#include "tieline/uri.h"

static struct tl_uri uri;
static struct tl_nameaddr na;
static size_t used;

static int parse(const char *text) { return tl_uri_parse(tl_guarded_str(text), &uri); }
static int parse_na(const char *text) {
  return tl_nameaddr_parse(tl_guarded_str(text), &na, &used);
}

Test(uri, fields) {
  static const struct {
    const char *text;
    enum tl_scheme scheme;
    const char *user, *password, *host;
    unsigned port;
    const char *params, *headers;
  } row[] = {
      {"sip:a@b", TL_SCHEME_SIP, "a", "", "b", 0, "", ""},
      {"SIP:b", TL_SCHEME_SIP, "", "", "b", 0, "", ""},
      {"sips:a:p@b.example:5061", TL_SCHEME_SIPS, "a", "p", "b.example", 5061, "", ""},
      {"sip:b:5060;lr", TL_SCHEME_SIP, "", "", "b", 5060, ";lr", ""},
      {"sip:[2001:db8::1]:5060;transport=tcp", TL_SCHEME_SIP, "", "", "[2001:db8::1]", 5060,
       ";transport=tcp", ""},
      {"sip:a@b;x=1;lr;y=?Subject=x&Y=z", TL_SCHEME_SIP, "a", "", "b", 0,
       ";x=1;lr;y=", "Subject=x&Y=z"},
      {"sip:b?h=", TL_SCHEME_SIP, "", "", "b", 0, "", "h="},
      {"sip:user;par=u%40example.net@example.com", TL_SCHEME_SIP, "user;par=u%40example.net", "",
       "example.com", 0, "", ""},
      {"sip:+1-212;isub=12/34?a@gw.example", TL_SCHEME_SIP, "+1-212;isub=12/34?a", "", "gw.example",
       0, "", ""},
      {"sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't"
       "-it)@example.com",
       TL_SCHEME_SIP, "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*",
       "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)", "example.com", 0, "", ""},
      {"sip:a:@b", TL_SCHEME_SIP, "a", "", "b", 0, "", ""},
      {"tel:+12125550101;phone-context=x", TL_SCHEME_TEL, "+12125550101", "", "", 0,
       ";phone-context=x", ""},
      {"soap.beep://192.0.2.103:3002", TL_SCHEME_OTHER, "", "", "", 0, "", ""},
      {"sip:host.", TL_SCHEME_SIP, "", "", "host.", 0, "", ""},
      {"sip:a_b.example", TL_SCHEME_SIP, "", "", "a_b.example", 0, "", ""},
  };
  for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
    cr_expect_eq(parse(row[i].text), 0, "%s", row[i].text);
    cr_expect_eq(uri.scheme, row[i].scheme, "%s", row[i].text);
    cr_expect_eq(uri.has_user, *row[i].user != 0, "%s", row[i].text);
    cr_expect_eq(uri.port, row[i].port, "%s", row[i].text);
    expect_slice(uri.whole, row[i].text);
    expect_slice(uri.user, row[i].user);
    expect_slice(uri.password, row[i].password);
    expect_slice(uri.host, row[i].host);
    expect_slice(uri.params, row[i].params);
    expect_slice(uri.headers, row[i].headers);
  }
}

Test(uri, refusals) {
  static const char *const bad[] = {
      "",           "sip",         "sip:",        ":b",          "1sip:b",     "<sip:b>",
      "sip:@",      "sip::p@b",    "sip:a@",      "sip:a@b@c",   "sip:a b@c",  "sip:a@b c",
      "sip:b:",     "sip:b:0",     "sip:b:65536", "sip:b:x",     "sip:b;",     "sip:b;;lr",
      "sip:b;=x",   "sip:b;a=b=c", "sip:b?",      "sip:b?a b",   "sip:a%4@b",  "sip:a%@b",
      "sip:a%zz@b", "sip:b;x=%1",  "sip:[::1",    "sip:[x]",     "sip:[::1]x", "sip:a..b",
      "sip:.b",     "sip:-b",      "sip:a\"b@c",  "sip:a\x7f@b", "sip:b\r\n",  "sip:a@b;x=\"q\"",
      "tel:",       "tel:1 2",     "http://a b",  "x:\x7f",      "sip:b;x<",   "sip:a\\b@c",
      "sip:b#frag", "sip:a:b:c@d", "sip: b",      "sip:b ",      "tel:%1",     "tel:;x",
  };
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
    cr_expect_eq(parse(bad[i]), TL_ESYNTAX, "accepted: %s", bad[i]);
  cr_expect_eq(tl_uri_parse((struct tl_str){"sip:a\0b@c", 9}, &uri), TL_ESYNTAX);
}

/* What telephones and gateways put into users passes through (RFC 3261 16.3 step 1). */
static const char *const odd_users[] = {"#31#",
                                        "#31#+49301234567",
                                        "*21*5#",
                                        "[2001:db8",
                                        "a[b]c",
                                        "{guid}",
                                        "a|b",
                                        "a^b",
                                        "a`b`",
                                        "J\xc3\xb6rg",
                                        "\xe5\xbc\xa0\xe4\xbc\x9f",
                                        "19:meeting_x",
                                        "#",
                                        "a#b;x=y",
                                        "{\"",
                                        "a\\b"};

Test(uri, s21_users_that_exist_in_the_wild) {
  char text[100];
  for (size_t i = 0; i < sizeof(odd_users) / sizeof(odd_users[0]); i++) {
    const char *user = odd_users[i];
    bool refused = strpbrk(user, "\"\\") != NULL, password = strchr(user, ':') != NULL;
    snprintf(text, sizeof(text), "sip:%s@b.example:5070;x=y", user);
    cr_expect_eq(parse(text) != 0, refused || strncmp(user, "[2001", 5) == 0, "%s", text);
    if (parse(text) == 0) expect_slice(uri.host, "b.example");
    if (!refused && !password) expect_slice(uri.user, user);
    snprintf(text, sizeof(text), "\"x\" <sip:%s@b.example>;tag=1", user);
    cr_expect_eq(parse_na(text) != 0, refused, "%s", text);
    snprintf(text, sizeof(text), "sip:%s@b.example", user);
    if (!strchr(user, ';')) cr_expect_eq(parse_na(text) != 0, refused, "%s", text);
  }
}

/* "sip:@host": a user that is empty is none; what is left ambiguous stays refused. */
Test(uri, s21_an_empty_user_is_none) {
  cr_assert_eq(parse("sip:@b.example;lr"), 0);
  cr_expect(!uri.has_user && uri.user.n == 0);
  expect_slice(uri.host, "b.example");
  static const char *const bad[] = {"sip:@a@b",       "sip::@b",     "sip:a#b",   "sip:#",
                                    "sip:a@b#c",      "sip:[::1]@b", "sip:a@{b}", "sip:a@b;x=#",
                                    "sip:a@\xc3\xb6", "sip:a\t@b",   "sip:<a>@b", "sip:a\x01@b"};
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
    cr_expect_eq(parse(bad[i]), TL_ESYNTAX, "accepted: %s", bad[i]);
}

/* ";name=value" one after another as the grammar has it, byte by byte; -1 where it ends badly. */
static long params_by_grammar(const char *p, size_t n) {
  size_t at = 0, name;
  while (at < n && p[at] == ';') {
    for (name = ++at; at < n && lex_is(p[at], LEX_PARAM); at++) {
    }
    if (at == name) return -1;
    if (at < n && p[at] == '=')
      for (at++; at < n && lex_is(p[at], LEX_PARAM); at++) {
      }
  }
  return (long)at;
}

static int parse_with_room(const char *text, size_t n, size_t room, struct tl_uri *out) {
  memset(out, 0, sizeof(*out));
  return tl_lex_uri((struct lex){text, text + n, text + n + room}, out);
}

/* The vector steps are taken only where bytes behind the URI may be loaded: with and without them
 * the result is the same, and the parameters are those of the grammar. */
Test(uri, vectors_agree_with_the_grammar) {
  static const char letters[] = "abcdefghij-._!;=?%2 @\r";
  unsigned accepted = 0;
  uint32_t x = 1;
  for (unsigned i = 0; i < 200000; i++) {
    char text[160];
    size_t head = (size_t)snprintf(text, sizeof(text), "sip:u@h"), n = head;
    for (size_t len = i % 70; n < head + len; n++) {
      x = x * 1664525u + 1013904223u;
      text[n] = n == head ? ';' : letters[(x >> 16) % (x >> 24 < 250 ? 16 : sizeof(letters) - 1)];
    }
    memset(text + n, "a;=/"[i % 4], 64);
    struct tl_uri by_vector, by_byte;
    int err = parse_with_room(text, n, 64, &by_vector);
    cr_assert_eq(parse_with_room(text, n, 0, &by_byte), err, "%.*s", (int)n, text);
    long want = params_by_grammar(text + head, n - head);
    bool whole = want == (long)(n - head);
    if (whole && !err) cr_assert_eq(by_vector.params.n, n - head);
    if (want < 0) cr_assert_neq(err, 0, "%.*s", (int)n, text);
    if (err) {
      bool headers = want >= 0 && !whole && text[head + (size_t)want] == '?';
      cr_assert(!whole || memchr(text, '%', n) || headers, "refused: %.*s", (int)n, text);
      continue;
    }
    accepted++;
    cr_assert(memcmp(&by_vector, &by_byte, sizeof(by_byte)) == 0, "%.*s", (int)n, text);
  }
  cr_assert_gt(accepted, 10000, "%u", accepted);
}

Test(uri, parameters) {
  struct tl_str v, p = TL_STR(";lr;Transport=TLS ; x = \"a;lr2=1\" ;maddr=[::1];e=");
  cr_expect(tl_param_find(p, TL_STR("LR"), &v));
  cr_expect_eq(v.n, 0u);
  cr_expect(tl_param_find(p, TL_STR("transport"), &v));
  expect_slice(v, "TLS");
  cr_expect(tl_param_find(p, TL_STR("x"), &v));
  expect_slice(v, "\"a;lr2=1\"");
  cr_expect(tl_param_find(p, TL_STR("maddr"), &v));
  expect_slice(v, "[::1]");
  cr_expect(tl_param_find(p, TL_STR("e"), &v));
  cr_expect_eq(v.n, 0u);
  cr_expect(!tl_param_find(p, TL_STR("lr2"), &v), "not inside a quoted string");
  cr_expect(!tl_param_find(p, TL_STR("trans"), &v));
  cr_expect(!tl_param_find(TL_STR(""), TL_STR("lr"), &v));
  cr_expect(!tl_param_find(TL_STR("x;lr"), TL_STR("lr"), &v));
}

/* Whoever dials a number has read its escapes. */
Test(uri, s4_users_begin_as_they_are_dialled) {
  static const struct {
    const char *user, *prefix;
    bool starts;
    const char *behind; /* two characters */
  } rows[] = {
      {"+900", "+9", true, "00"}, {"+%3900", "+9", true, "00"}, {"%2b%39%30", "+9", true, "%30"},
      {"%2B9", "+9", true, ""},   {"+%38", "+9", false, ""},    {"+", "+9", false, ""},
      {"", "+", false, ""},       {"%2", "%2", true, ""},       {"a%00b", "a", true, "b"},
      {"9%", "9", true, ""},      {"x", "", true, ""},          {"%41bc", "ab", false, "c"}};
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    struct tl_str user = tl_str_c(rows[i].user), prefix = tl_str_c(rows[i].prefix);
    cr_expect_eq(tl_uri_user_starts(user, prefix), rows[i].starts, "%s, %s", rows[i].user,
                 rows[i].prefix);
    cr_expect(tl_str_eq(tl_uri_user_behind(user, 2), tl_str_c(rows[i].behind)), "%s", rows[i].user);
  }
}

/* Asking a URI is asking its parameters, by a shorter way. */
Test(uri, parameters_of_a_uri_are_found_as_in_their_text) {
  static const char *const text[] = {"sip:b",
                                     "sip:b;lr",
                                     "sip:b;lr;transport=tcp;tl=1f_f00;maddr=[::1]",
                                     "sip:b;Transport=TLS;LR=;x=1?subject=lr",
                                     "sip:b;lrx;tlx=2;transportx=tcp;maddrx",
                                     "sip:b;xlr=1;l=lr;t=tl;tl=a;tl=b",
                                     "sips:u;lr=1;x@b;m;ma;maddr=10.0.0.1;lr",
                                     "tel:+1234;lr;phone-context=example.com;transport=tcp",
                                     "tel:+1234"};
  static const char *const name[] = {"lr", "tl", "transport", "maddr", "x", "phone-context"};
  for (size_t i = 0; i < sizeof(text) / sizeof(*text); i++) {
    cr_assert_eq(parse(text[i]), 0, "%s", text[i]);
    for (size_t k = 0; k < sizeof(name) / sizeof(*name); k++) {
      struct tl_str want = {NULL, 0}, got = {NULL, 0};
      bool there = tl_param_find(uri.params, tl_str_c(name[k]), &want);
      cr_assert_eq(tl_uri_param(&uri, tl_str_c(name[k]), &got), there, "%s %s", text[i], name[k]);
      cr_assert(got.p == want.p && got.n == want.n, "%s %s", text[i], name[k]);
    }
  }
}

Test(uri, transport) {
  enum tl_transport t;
  cr_assert_eq(parse("sip:b;transport=TLS"), 0);
  cr_expect(tl_uri_transport(&uri, &t));
  cr_expect_eq(t, TL_TLS);
  cr_assert_eq(parse("sip:b;transport=udp"), 0);
  cr_expect(tl_uri_transport(&uri, &t));
  cr_expect_eq(t, TL_UDP);
  cr_assert_eq(parse("sip:b;transport=sctp"), 0);
  cr_expect(tl_uri_transport(&uri, &t));
  cr_expect_eq(t, TL_TRANSPORTS);
  cr_assert_eq(parse("sip:b;lr"), 0);
  cr_expect(!tl_uri_transport(&uri, &t));
}

Test(nameaddr, fields) {
  static const struct {
    const char *text, *uri, *params, *whole;
  } row[] = {
      {"<sip:a@b>", "sip:a@b", "", "<sip:a@b>"},
      {"sip:a@b;tag=1", "sip:a@b", ";tag=1", "sip:a@b;tag=1"},
      {" \"A <x>, \\\"B\\\"\" <sip:a@b;lr?x=y>;tag=1 ", "sip:a@b;lr?x=y", ";tag=1",
       "\"A <x>, \\\"B\\\"\" <sip:a@b;lr?x=y>;tag=1"},
      {"caller<sip:caller@example.com>;tag=323", "sip:caller@example.com", ";tag=323",
       "caller<sip:caller@example.com>;tag=323"},
      {"A B\r\n C <sips:a@b>\r\n ; tag\t= x ;y", "sips:a@b", "; tag\t= x ;y",
       "A B\r\n C <sips:a@b>\r\n ; tag\t= x ;y"},
      {"sip:a@b ; tag = x", "sip:a@b", "; tag = x", "sip:a@b ; tag = x"},
      {"*", "*", "", "*"},
      {"\"\"<sip:a@b>", "sip:a@b", "", "\"\"<sip:a@b>"},
      {"J\xc3\xb6rg <sip:a@b>", "sip:a@b", "", "J\xc3\xb6rg <sip:a@b>"},
      {"\"J\xc3\xb6rg\" <sip:a@b>;x=\"y;,\"", "sip:a@b", ";x=\"y;,\"",
       "\"J\xc3\xb6rg\" <sip:a@b>;x=\"y;,\""},
      {"isbn:2983792873", "isbn:2983792873", "", "isbn:2983792873"},
      {"<http://www.example.com/?a=b,c>", "http://www.example.com/?a=b,c", "",
       "<http://www.example.com/?a=b,c>"},
      {"sip:[::1]:5060", "sip:[::1]:5060", "", "sip:[::1]:5060"},
  };
  for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
    cr_expect_eq(parse_na(row[i].text), 0, "%s", row[i].text);
    cr_expect_eq(used, strlen(row[i].text));
    expect_slice(na.uri, row[i].uri);
    expect_slice(na.params, row[i].params);
    expect_slice(na.whole, row[i].whole);
  }
}

Test(nameaddr, walks_a_list) {
  struct tl_str rest = tl_guarded_str("<sip:a;lr> , \"b,\" <sip:b?x=1,2>;q=\"1,\",\r\n sip:c");
  static const char *const want[] = {"sip:a;lr", "sip:b?x=1,2", "sip:c"};
  for (int i = 0; i < 3; i++) {
    cr_assert_eq(tl_nameaddr_parse(rest, &na, &used), 0);
    expect_slice(na.uri, want[i]);
    rest.p += used;
    rest.n -= used;
  }
  cr_expect_eq(rest.n, 0u);
}

Test(nameaddr, refusals) {
  static const char *const bad[] = {
      "",
      " ",
      "<>",
      "<sip:a@b",
      "sip:a@b>",
      "< sip:a@b >",
      "<sip:a@b >",
      "<a@b>",
      "a@b",
      "Bell, Alexander <sip:a@b>",
      "\"Mr. J. User <sip:j.user@example.com>",
      "\"A\"sip:a@b",
      "\"A\" B <sip:a@b>",
      "A. (B) <sip:a@b>",
      "<sip:a@b>;",
      "<sip:a@b>;;",
      "<sip:a@b> x",
      "<sip:a@b>,",
      "<sip:a@b>;x=",
      "<sip:a@b>;x=\"y",
      "<sip:a@b>;x=a@b",
      "sip:a@b?Route=x",
      "<sip:a\r\n b>",
      "<sip:a<b>",
      "\"a\\\r\n b\" <sip:a@b>",
      "**",
  };
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
    cr_expect_eq(parse_na(bad[i]), TL_ESYNTAX, "accepted: %s", bad[i]);
}
