/* SPDX-License-Identifier: Apache-2.0 */
/* Via values: RFC 3261 20.42 and 25.1, RFC 3581, and the liberties of RFC 4475. */
#include <criterion/criterion.h>

#include "sip_text.h"
#include "tieline/err.h"
#include "tieline/via.h"

static struct tl_via via;
static size_t used;

static int parse(const char *text) { return tl_via_parse(tl_guarded_str(text), &via, &used); }

Test(via, all_fields) {
  static const char text[] =
      "SIP/2.0/TLS sbc.example:5061;branch=z9hG4bK77;Rport=1234;RECEIVED=192.0.2.1;alias;x=\"a,b\"";
  cr_assert_eq(parse(text), 0);
  expect_slice(via.whole, text);
  expect_slice(via.transport, "TLS");
  expect_slice(via.host, "sbc.example");
  cr_expect_eq(via.port, 5061);
  expect_slice(via.params, text + 28);
  expect_slice(via.branch, "z9hG4bK77");
  expect_slice(via.received, "192.0.2.1");
  cr_expect(via.has_rport);
  cr_expect_eq(via.rport, 1234);
  expect_slice(via.rport_param, ";Rport=1234");
  cr_expect(via.alias);
  cr_expect_eq(used, strlen(text));
}

Test(via, absent_fields) {
  cr_assert_eq(parse("SIP/2.0/UDP 192.0.2.7"), 0);
  expect_slice(via.host, "192.0.2.7");
  cr_expect_eq(via.port, 0);
  cr_expect_eq(via.params.n, 0u);
  cr_expect_eq(via.branch.n, 0u);
  cr_expect_eq(via.received.n, 0u);
  cr_expect(!via.has_rport && !via.alias);
  cr_assert_eq(parse("SIP/2.0/UDP h;rport;branch=z"), 0);
  cr_expect(via.has_rport);
  cr_expect_eq(via.rport, 0);
  expect_slice(via.rport_param, ";rport");
}

Test(via, ipv6) {
  cr_assert_eq(parse("SIP/2.0/TCP [2001:db8::9:1]:5070;received=2001:db8::5;branch=z9hG4bK1"), 0);
  expect_slice(via.host, "[2001:db8::9:1]");
  cr_expect_eq(via.port, 5070);
  expect_slice(via.received, "2001:db8::5");
  cr_assert_eq(parse("SIP/2.0/TCP [::1];received=[2001:db8::5]"), 0);
  expect_slice(via.received, "[2001:db8::5]");
  cr_assert_eq(parse("SIP/2.0/TCP [::ffff:192.0.2.1]"), 0);
}

Test(via, white_space_and_folds) {
  static const char text[] =
      "SIP  /   2.0\r\n /UDP\r\n    192.0.2.2 : 5060 ; branch\t= 390skdjuw ;rport";
  cr_assert_eq(parse(text), 0);
  expect_slice(via.transport, "UDP");
  expect_slice(via.host, "192.0.2.2");
  cr_expect_eq(via.port, 5060);
  expect_slice(via.branch, "390skdjuw");
  expect_slice(via.whole, text);
  cr_assert_eq(parse("  sip/2.0/udp h ;a=b \r\n "), 0);
  expect_slice(via.whole, "sip/2.0/udp h ;a=b");
  expect_slice(via.params, ";a=b");
}

Test(via, walks_a_list) {
  static const char text[] =
      "SIP/2.0/TLS a;x=\"q,;\\\"q\" , SIP/2.0/TCP b;branch=2,\r\n SIP/2.0/UDP c";
  struct tl_str rest = tl_guarded_str(text);
  static const char *const host[] = {"a", "b", "c"};
  for (int i = 0; i < 3; i++) {
    cr_assert_eq(tl_via_parse(rest, &via, &used), 0);
    expect_slice(via.host, host[i]);
    cr_assert_leq(used, rest.n);
    rest.p += used;
    rest.n -= used;
    if (rest.n) cr_expect_eq(memcmp(rest.p, "SIP", 3), 0, "the next value starts there");
  }
  cr_expect_eq(rest.n, 0u);
}

Test(via, other_versions_can_be_answered) {
  cr_expect_eq(parse("SIP/7.0/UDP c.example;branch=z9hG4bKkdjuw"), 0);
  expect_slice(via.host, "c.example");
}

/* port = 1*DIGIT (RFC 3261 25.1): 0 is one, and says as much as none. */
Test(via, s18_port_0_is_legal) {
  static const char *const good[] = {"SIP/2.0/UDP h:0;rport=0", "SIP/2.0/UDP h : 00000",
                                     "SIP/2.0/UDP h;rport=0", "SIP/2.0/UDP [::1]:0"};
  for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
    cr_expect_eq(parse(good[i]), 0, "refused: %s", good[i]);
    cr_expect(via.port == 0 && via.rport == 0);
  }
}

Test(via, refusals) {
  static const char *const bad[] = {
      "",
      " ",
      "SIP",
      "SIP/2.0",
      "SIP/2.0/",
      "SIP/2.0/UDP",
      "SIP/2.0/UDP ",
      "SIP/2.0/UDP;branch=1",
      "HTTP/1.1/TCP h",
      "SIP/2.0/UDP ,",
      "SIP/2.0/UDP h,",
      "SIP/2.0/UDP h , ",
      "SIP/2.0/UDP h x",
      "SIP/2.0/UDP h:",
      "SIP/2.0/UDP h:65536",
      "SIP/2.0/UDP h:5060x",
      "SIP/2.0/UDP a..b",
      "SIP/2.0/UDP .a",
      "SIP/2.0/UDP -a",
      "SIP/2.0/UDP [::1",
      "SIP/2.0/UDP []",
      "SIP/2.0/UDP [::g]",
      "SIP/2.0/UDP [1:2:3:4:5:6:7:8:9]",
      "SIP/2.0/UDP ::1",
      "SIP/2.0/UDP h;",
      "SIP/2.0/UDP h;;branch=1",
      "SIP/2.0/UDP 192.0.2.15;;,;,,",
      "SIP/2.0/UDP h;branch",
      "SIP/2.0/UDP h;branch=",
      "SIP/2.0/UDP h;branch=\"q\"",
      "SIP/2.0/UDP h;branch=a;branch=b",
      "SIP/2.0/UDP h;received=a;received=b",
      "SIP/2.0/UDP h;rport;rport=1",
      "SIP/2.0/UDP h;rport=x",
      "SIP/2.0/UDP h;rport=65536",
      "SIP/2.0/UDP h;x=\"open",
      "SIP/2.0/UDP h;x=\"open\\",
      "SIP/2.0/UDP h;x=a b",
      "SIP/2.0/UDP h;=a",
      "SIP/2.0/U@P h",
      "SIP/2.0/UDP h<",
  };
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
    cr_expect_eq(parse(bad[i]), TL_ESYNTAX, "accepted: %s", bad[i]);
}
