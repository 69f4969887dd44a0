/* SPDX-License-Identifier: Apache-2.0 */
/* What a request becomes on its way through: Via, Record-Route, Route, Request-URI, Max-Forwards
 * (RFC 3261 16.4, 16.6, 18.2.1; RFC 3581). Judged by what the next hop receives. */
#include <unistd.h>

#include "proxy/top_via.h"
#include "test_proxy_rig.h"

TestSuite(proxy_edit, .timeout = 30);

static struct ua alice, bob;
static char uri[200];

static const char *sip(const char *user, const struct ua *u, const char *params) {
  snprintf(uri, sizeof(uri), "sip:%s@127.0.0.1:%u%s", user, u->port, params);
  return uri;
}

static void begin(const char *extra) {
  ua_udp(&alice);
  ua_udp(&bob);
  proxy_begin(extra);
}

static void end(void) {
  proxy_end();
  ua_close(&alice);
  ua_close(&bob);
}

/* ---- Via ---- */

static struct tl_str via_of(const char *via, const char *source, uint16_t port, char *buf,
                            size_t cap) {
  static char text[2048];
  static struct tl_msg m;
  struct tl_scan_error err;
  struct tl_flow from = {.transport = TL_UDP};
  int n = snprintf(text, sizeof(text),
                   "OPTIONS sip:a@b SIP/2.0\r\nVia: %s, SIP/2.0/UDP other;branch=z9hG4bKo\r\n"
                   "From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n"
                   "Content-Length: 0\r\n\r\n",
                   via);
  cr_assert_eq(tl_scan(text, (size_t)n, true, 65536, &m, &err), 0, "%s", err.reason);
  cr_assert_eq(tl_addr_parse(tl_str_c(source), port, &from.addr), 0);
  return tl_top_via_text(&m, &from, buf, cap);
}

/* RFC 3261 18.2.1, RFC 3581 4. */
Test(proxy_edit, the_top_via_says_where_the_request_came_from) {
  static const char *const want[][3] = {
      {"SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bK1", "192.0.2.1", ""},
      {"SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1", "192.0.2.9",
       "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;received=192.0.2.9"},
      {"SIP/2.0/UDP alice.example;branch=z9hG4bK1", "192.0.2.9",
       "SIP/2.0/UDP alice.example;branch=z9hG4bK1;received=192.0.2.9"},
      {"SIP/2.0/UDP 192.0.2.1;rport;branch=z9hG4bK1", "192.0.2.1",
       "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;rport=4444;received=192.0.2.1"},
      {"SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;rport", "192.0.2.9",
       "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;rport=4444;received=192.0.2.9"},
      {"SIP/2.0/UDP 192.0.2.1;rport=1;branch=z9hG4bK1", "192.0.2.1",
       "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;rport=4444;received=192.0.2.1"},
      {"SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bK1", "2001:db8::1", ""},
      {"SIP/2.0/UDP [2001:db8:0::1]:5060;branch=z9hG4bK1", "2001:db8::1", ""},
      {"SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1", "2001:db8::7",
       "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;received=2001:db8::7"}};
  char buf[512];
  for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
    struct tl_str got = via_of(want[i][0], want[i][1], 4444, buf, sizeof(buf));
    cr_expect(tl_str_eq(got, tl_str_c(want[i][2])), "%s from %s: %.*s", want[i][0], want[i][1],
              (int)got.n, got.p);
  }
}

/* What came in is somebody's claim, wherever it stands. */
Test(proxy_edit, a_received_parameter_that_came_in_does_not_stay) {
  static const char *const want[][3] = {
      {"SIP/2.0/UDP 192.0.2.1;received=10.0.0.1;branch=z9hG4bK1", "192.0.2.1",
       "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"},
      {"SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;received=10.0.0.1", "192.0.2.9",
       "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;received=192.0.2.9"},
      {"SIP/2.0/UDP 192.0.2.1;received=10.0.0.1;branch=z9hG4bK1;rport;x=y", "192.0.2.1",
       "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;x=y;rport=4444;received=192.0.2.1"},
      {"SIP/2.0/UDP 192.0.2.1;rport;received = 10.0.0.1;branch=z9hG4bK1", "192.0.2.1",
       "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;rport=4444;received=192.0.2.1"},
      {"SIP/2.0/UDP 192.0.2.1;rport;received=10.0.0.1", "192.0.2.1",
       "SIP/2.0/UDP 192.0.2.1;rport=4444;received=192.0.2.1"}};
  char buf[512];
  for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
    struct tl_str got = via_of(want[i][0], want[i][1], 4444, buf, sizeof(buf));
    cr_expect(tl_str_eq(got, tl_str_c(want[i][2])), "%s: %.*s", want[i][0], (int)got.n, got.p);
  }
}

Test(proxy_edit, a_via_that_does_not_fit_its_buffer_is_left_alone) {
  char via[200], buf[120];
  snprintf(via, sizeof(via), "SIP/2.0/UDP 192.0.2.1;rport;branch=z9hG4bK%060d", 1);
  for (size_t cap = 0; cap <= sizeof(buf); cap++) {
    memset(buf, '#', sizeof(buf));
    struct tl_str got = via_of(via, "192.0.2.200", 4444, buf, cap);
    cr_expect(got.n == 0 || (got.n < cap && tl_str_starts(got, TL_STR("SIP/2.0/UDP"))));
    for (size_t i = cap; i < sizeof(buf); i++) cr_assert_eq(buf[i], '#', "written past %zu", cap);
  }
}

/* ---- Record-Route ---- */

/* Double when the two sides differ, the next hop's side first (16.6 step 4, RFC 5658). */
Test(proxy_edit, d28_record_route_is_double_between_transports) {
  char want[60];
  ua_udp(&alice);
  ua_tcp_listen(&bob);
  proxy_begin(TIMERS);
  ua_send(&alice, ua_request(&alice, "INVITE", sip("x", &bob, ";transport=tcp"), "1",
                             "Record-Route: <sip:before.example;lr>\r\n", ""));
  ua_expect(&bob, "INVITE");
  cr_assert_eq(ua_headers(&bob, "Record-Route"), 3);
  snprintf(want, sizeof(want), "<sip:127.0.0.1:%u;transport=tcp;lr;tl=", tl_addr_port(&rig.tcp));
  cr_expect(strncmp(ua_header(&bob, "Record-Route", 0), want, strlen(want)) == 0);
  snprintf(want, sizeof(want), "<sip:127.0.0.1:%u;transport=udp;lr;tl=", tl_addr_port(&rig.udp));
  cr_expect(strncmp(ua_header(&bob, "Record-Route", 1), want, strlen(want)) == 0);
  cr_expect_str_eq(ua_header(&bob, "Record-Route", 2), "<sip:before.example;lr>");
  cr_expect_eq(ua_headers(&bob, "Via"), 2);
  snprintf(want, sizeof(want), "SIP/2.0/TCP 127.0.0.1:%u;branch=z9hG4bK", tl_addr_port(&rig.tcp));
  cr_expect(strncmp(ua_header(&bob, "Via", 0), want, strlen(want)) == 0);
  cr_expect_str_eq(ua_header(&bob, "Max-Forwards", 0), "69");
  end();
}

Test(proxy_edit, record_route_is_single_on_one_side_and_absent_where_no_dialog_begins) {
  begin(TIMERS);
  ua_send(&alice, ua_request(&alice, "INVITE", sip("x", &bob, ""), "1", "", ""));
  ua_expect(&bob, "INVITE");
  cr_expect_eq(ua_headers(&bob, "Record-Route"), 1);
  ua_send(&alice, ua_request(&alice, "OPTIONS", sip("x", &bob, ""), "2", "", ""));
  do ua_expect(&bob, "");
  while (strncmp(bob.in, "INVITE", 6) == 0);
  cr_expect_eq(ua_headers(&bob, "Record-Route"), 0);
  end();
}

/* ---- Route ---- */

/* Begins a dialog; *OUT: our Record-Route as bob received it. */
static void dialog(char *out, size_t cap) {
  ua_send(&alice, ua_request(&alice, "INVITE", sip("x", &bob, ""), "1", "", ""));
  ua_expect(&bob, "INVITE");
  snprintf(out, cap, "%s", ua_header(&bob, "Record-Route", 0));
  ua_send(&bob, ua_response(&bob, "200 OK", "b", ""));
  ua_expect(&alice, "SIP/2.0 200");
}

Test(proxy_edit, our_route_goes_and_the_next_one_decides) {
  char rr[300], extra[800];
  begin(TIMERS);
  dialog(rr, sizeof(rr));
  snprintf(extra, sizeof(extra),
           "Route: %s, <sip:127.0.0.1:%u;lr>\r\nRoute: <sip:last.example;lr>\r\n", rr, bob.port);
  ua_send(&alice, ua_request(&alice, "BYE", "sip:x@far.example", "1", extra, ""));
  ua_expect(&bob, "BYE sip:x@far.example SIP/2.0");
  cr_assert_eq(ua_headers(&bob, "Route"), 2);
  char want[60];
  snprintf(want, sizeof(want), "<sip:127.0.0.1:%u;lr>", bob.port);
  cr_expect_str_eq(ua_header(&bob, "Route", 0), want);
  cr_expect_str_eq(ua_header(&bob, "Route", 1), "<sip:last.example;lr>");
  end();
}

/* 16.6 step 6: a next hop without lr gets its own URI as Request-URI, ours goes to the end. */
Test(proxy_edit, item_2_8_a_strict_router_next) {
  char rr[300], extra[800], want[100];
  begin(TIMERS);
  dialog(rr, sizeof(rr));
  snprintf(extra, sizeof(extra), "Route: %s\r\nRoute: <sip:127.0.0.1:%u>, <sip:z.example>\r\n", rr,
           bob.port);
  ua_send(&alice, ua_request(&alice, "BYE", "sip:x@far.example", "1", extra, ""));
  snprintf(want, sizeof(want), "BYE sip:127.0.0.1:%u SIP/2.0\r\n", bob.port);
  ua_expect(&bob, want);
  cr_assert_eq(ua_headers(&bob, "Route"), 1);
  cr_expect_str_eq(ua_header(&bob, "Route", 0), "<sip:z.example>, <sip:x@far.example>");
  end();
}

/* 16.4: one before us has put our Record-Route into the Request-URI. */
Test(proxy_edit, item_2_8_a_strict_router_before) {
  char rr[300], extra[800], want[100];
  begin(TIMERS);
  dialog(rr, sizeof(rr));
  *strchr(rr, '>') = '\0';
  snprintf(extra, sizeof(extra), "Route: <sip:x@127.0.0.1:%u>\r\n", bob.port);
  ua_send(&alice, ua_request(&alice, "BYE", rr + 1, "1", extra, ""));
  snprintf(want, sizeof(want), "BYE sip:x@127.0.0.1:%u SIP/2.0\r\n", bob.port);
  ua_expect(&bob, want);
  cr_expect_eq(ua_headers(&bob, "Route"), 0);
  end();
}

/* Only a dialog that we let in has our token: without it a Route cannot make us an open relay. */
Test(proxy_edit, a_route_without_our_token_gives_no_right) {
  char extra[300];
  ua_udp(&alice);
  ua_udp(&bob);
  snprintf(extra, sizeof(extra),
           TIMERS "peer \"b\" { uri = \"sip:127.0.0.1:%u;transport=udp\" }\n"
                  "route \"r\" { to_domain = { \"ours.example\" } peers = { \"b\" } }\n",
           bob.port);
  proxy_begin(extra);
  snprintf(extra, sizeof(extra),
           "Route: <sip:127.0.0.1:%u;lr;tl=%048d>\r\nRoute: <sip:127.0.0.1:%u;lr>\r\n",
           tl_addr_port(&rig.udp), 0, bob.port);
  ua_send(&alice, ua_request(&alice, "MESSAGE", "sip:x@far.example", "1", extra, ""));
  ua_expect(&alice, "SIP/2.0 403");
  ua_expect_silence(&bob, 20);
  end();
}

/* ---- Request-URI ---- */

Test(proxy_edit, digits_are_stripped_and_prepended_and_our_host_becomes_the_peers) {
  static const struct {
    const char *uri, *want; /* P: the peer's port */
  } row[] = {{"sip:+15551@127.0.0.1:%u", "sip:00445551@localhost:%u"},
             {"sip:+15551:pw@127.0.0.1:%u;user=phone;transport=udp",
              "sip:00445551:pw@localhost:%u;user=phone"},
             {"sip:+1@127.0.0.1:%u", "sip:0044@localhost:%u"}};
  char extra[500], in[200], want[200];
  ua_udp(&alice);
  ua_udp(&bob);
  snprintf(extra, sizeof(extra),
           TIMERS
           "peer \"b\" { uri = \"sip:localhost:%u;transport=udp\" }\n"
           "route \"r\" { to_prefix = \"+1\" strip = 2 prepend = \"0044\" peers = { \"b\" } }\n",
           bob.port);
  proxy_begin(extra);
  for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
    char id[24];
    snprintf(id, sizeof(id), "%zu", i);
    snprintf(in, sizeof(in), row[i].uri, tl_addr_port(&rig.udp));
    snprintf(want, sizeof(want), row[i].want, bob.port);
    ua_send(&alice, ua_request(&alice, "MESSAGE", in, id, "", ""));
    ua_expect(&bob, "MESSAGE ");
    size_t n = strlen(want);
    cr_expect(strncmp(bob.in + 8, want, n) == 0 && bob.in[8 + n] == ' ', "%s, not %s", bob.in,
              want);
    ua_send(&bob, ua_response(&bob, "200 OK", "b", ""));
    ua_expect(&alice, "SIP/2.0 200");
  }
  ua_send(&alice, ua_request(&alice, "MESSAGE", "sip:+2@127.0.0.1", "x", "", ""));
  ua_expect(&alice, "SIP/2.0 403");
  end();
}

/* 16.4: a maddr that names us is taken out, with port and transport of its own. */
Test(proxy_edit, item_2_8_a_maddr_of_ours_goes_and_another_decides) {
  char to[200], want[100];
  begin(TIMERS);
  snprintf(to, sizeof(to), "sip:x@far.example;maddr=127.0.0.1;x=1");
  ua_send(&alice, ua_request(&alice, "MESSAGE", to, "1", "", ""));
  ua_expect_silence(&alice, 20); /* looked up: far.example */
  snprintf(to, sizeof(to), "sip:x@far.example:%u;maddr=127.0.0.1;x=1", bob.port);
  ua_send(&alice, ua_request(&alice, "MESSAGE", to, "2", "", ""));
  snprintf(want, sizeof(want), "MESSAGE sip:x@far.example:%u;maddr=127.0.0.1;x=1 ", bob.port);
  ua_expect(&bob, want);
  end();
}

Test(proxy_edit, max_forwards_counts_down_begins_and_ends) {
  begin(TIMERS);
  char *m = ua_request(&alice, "MESSAGE", sip("x", &bob, ""), "1", "", "");
  memcpy(strstr(m, "Max-Forwards"), "X-x-Forwards", 12);
  ua_send(&alice, m);
  ua_expect(&bob, "MESSAGE");
  cr_expect_str_eq(ua_header(&bob, "Max-Forwards", 0), "70");
  m = ua_request(&alice, "MESSAGE", sip("x", &bob, ""), "2", "", "");
  memcpy(strstr(m, ": 70\r\n"), ": 00\r\n", 6);
  ua_send(&alice, m);
  ua_expect(&alice, "SIP/2.0 483");
  m = ua_request(&alice, "MESSAGE", sip("x", &bob, ""), "3", "", "");
  memcpy(strstr(m, ": 70\r\n"), ": 01\r\n", 6);
  ua_send(&alice, m);
  do ua_expect(&bob, "MESSAGE");
  while (strcmp(ua_header(&bob, "Max-Forwards", 0), "70") == 0);
  cr_expect_str_eq(ua_header(&bob, "Max-Forwards", 0), "0");
  end();
}

/* What nobody names is left alone, byte for byte and in order, but for folds. */
Test(proxy_edit, everything_else_passes_as_it_came) {
  static const char extra[] = "x-OdD :  spaced\t\r\nX-Fold: one\r\n\ttwo\r\nm: <sip:a@b>\r\n"
                              "Subject:\r\nX-8bit: \xc3\xa4\xff\r\n";
  begin(TIMERS);
  ua_send(&alice, ua_request(&alice, "MESSAGE", sip("x", &bob, ""), "1", extra, "\x01 body\r\n"));
  ua_expect(&bob, "MESSAGE");
  cr_expect_not_null(strstr(bob.in, "x-OdD :  spaced\t\r\nX-Fold: one two\r\nm: <sip:a@b>\r\n"
                                    "Subject:\r\nX-8bit: \xc3\xa4\xff\r\n"));
  cr_expect_str_eq(ua_body(&bob), "\x01 body\r\n");
  end();
}

/* A Request-URI without user for a peer: nothing is copied from nowhere (UBSan says so). */
Test(proxy_edit, s24_a_request_uri_without_user_goes_to_a_peer) {
  char extra[400], want[60];
  ua_udp(&alice);
  ua_udp(&bob);
  snprintf(extra, sizeof(extra),
           TIMERS "peer \"bob\" { uri = \"sip:127.0.0.1:%u\" }\n"
                  "route \"p\" { peers = {\"bob\"} strip = 3 }\n",
           bob.port);
  proxy_begin(extra);
  snprintf(want, sizeof(want), "MESSAGE sip:127.0.0.1:%u SIP/2.0\r\n", tl_addr_port(&rig.udp));
  for (int i = 0; i < 2; i++) {
    ua_send(&alice,
            ua_request(&alice, "MESSAGE", i ? "sip:@atlanta.example" : "sip:atlanta.example",
                       i ? "2" : "1", "", ""));
    do ua_expect(&bob, "MESSAGE sip:");
    while (strcmp(ua_header(&bob, "Call-ID", 0), i ? "2@127.0.0.1" : "1@127.0.0.1") != 0);
    cr_expect(strncmp(bob.in, "MESSAGE sip:atlanta.example SIP/2.0", 35) == 0, "%s", bob.in);
  }
  end();
}
