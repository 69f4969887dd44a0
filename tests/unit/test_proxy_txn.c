/* SPDX-License-Identifier: Apache-2.0 */
/* Life and death of transactions: races, timers, failures, what is left behind (RFC 3261 16, 17;
 * RFC 6026). Several of these tests stand for a fault that was there. */
#include <stdlib.h>
#include <unistd.h>

#include "test_proxy_rig.h"

TestSuite(proxy_txn, .timeout = 30);

static struct ua alice, bob, carol;
static char uri[100], route[1000];

static const char *sip(const struct ua *u, const char *params) {
  snprintf(uri, sizeof(uri), "sip:x@127.0.0.1:%u%s", u->port, params);
  return uri;
}

/* A route to bob and carol over UDP. */
static const char *both(const char *fork) {
  snprintf(route, sizeof(route),
           TIMERS "peer \"b\" { uri = \"sip:127.0.0.1:%u;transport=udp\" }\n"
                  "peer \"c\" { uri = \"sip:127.0.0.1:%u;transport=udp\" }\n"
                  "route \"r\" { peers = { \"b\", \"c\" } fork = %s }\n",
           bob.port, carol.port, fork);
  return route;
}

/* Of two 2xx the second stopped Timer L, and the transaction stayed for ever. */
Test(proxy_txn, both_2xx_of_a_fork_are_passed_on_and_nothing_stays) {
  ua_udp_each(&alice, &bob, &carol);
  proxy_begin(both("parallel"));
  ua_send(&alice, ua_request(&alice, "INVITE", "sip:x@example.com", "1", "", ""));
  ua_expect(&bob, "INVITE");
  ua_expect(&carol, "INVITE");
  ua_send(&bob, ua_response(&bob, "200 OK", "b", ""));
  ua_expect(&alice, "SIP/2.0 200");
  ua_send(&carol, ua_response(&carol, "200 OK", "c", ""));
  ua_expect(&alice, "SIP/2.0 200");
  cr_expect_str_eq(ua_header(&alice, "To", 0), "<sip:bob@example.com>;tag=c");
  proxy_end_clean();
  ua_close_each(&alice, &bob, &carol);
}

/* Its transaction has dropped what it had of the peers by then. */
Test(proxy_txn, s21_a_pause_asked_for_behind_the_others_2xx_is_kept) {
  ua_udp_each(&alice, &bob, &carol);
  proxy_begin(both("parallel"));
  ua_send(&alice, ua_request(&alice, "INVITE", "sip:x@example.com", "1", "", ""));
  ua_expect(&bob, "INVITE");
  ua_expect(&carol, "INVITE");
  ua_send(&bob, ua_response(&bob, "200 OK", "b", ""));
  ua_expect(&alice, "SIP/2.0 200");
  ua_send(&carol, ua_response(&carol, "503 Busy", "c", "Retry-After: 30\r\n"));
  ua_expect(&carol, "ACK");
  cr_expect_eq(rig_count(TL_C_PEER_PAUSES), 1);
  proxy_end_clean();
  ua_close_each(&alice, &bob, &carol);
}

Test(proxy_txn, the_other_branch_of_a_fork_is_cancelled) {
  ua_udp_each(&alice, &bob, &carol);
  proxy_begin(both("parallel"));
  ua_send(&alice, ua_request(&alice, "INVITE", "sip:x@example.com", "1", "", ""));
  ua_expect(&bob, "INVITE");
  ua_expect(&carol, "INVITE");
  ua_send(&carol, ua_response(&carol, "180 Ringing", "c", ""));
  ua_expect(&alice, "SIP/2.0 180");
  struct ua ringing = carol;
  ua_send(&bob, ua_response(&bob, "200 OK", "b", ""));
  ua_expect(&alice, "SIP/2.0 200");
  ua_expect(&carol, "CANCEL");
  ua_send(&carol, ua_response(&carol, "200 OK", "c", ""));
  ua_send(&carol, ua_response(&ringing, "487 Request Terminated", "c", ""));
  ua_expect(&carol, "ACK");
  proxy_end_clean();
  ua_close_each(&alice, &bob, &carol);
}

/* They were answered 503 with Retry-After, and who brings others' calls too left us alone then. */
Test(proxy_txn, s21_what_a_request_is_to_blame_for_is_no_overload) {
  static const struct {
    const char *field; /* forty times */
    size_t body;
    bool long_uri;
    const char *answer;
  } row[] = {{"Max-Breadth: 5\r\n", 0, false, "SIP/2.0 400 Too Much To Rewrite"},
             {"Route: <sip:127.0.0.1:%u;lr>\r\n", 0, false, "SIP/2.0 400 Too Much To Rewrite"},
             {"", 0, true, "SIP/2.0 400 Too Much To Rewrite"},
             {"", 65400, false, "SIP/2.0 513"}};
  static char fields[4000], body[65401], user[1100], to[1200], one[80];
  for (size_t i = 0; i < 2 * sizeof(row) / sizeof(row[0]); i++) {
    const bool stateless = i % 2;
    size_t k = i / 2, n = 0;
    ua_udp(&bob);
    snprintf(route, sizeof(route),
             TIMERS "peer \"b\" { uri = \"sip:127.0.0.1:%u;transport=udp\" }\n"
                    "route \"r\" { peers = \"b\" %s }\n",
             bob.port, stateless ? "stateless = true" : "");
    proxy_begin(route);
    ua_tcp_connect(&alice);
    snprintf(one, sizeof(one), row[k].field, tl_addr_port(&rig.tcp));
    for (int f = 0; f < 40; f++) n += (size_t)sprintf(fields + n, "%s", one);
    memset(user, 'x', sizeof(user) - 1);
    memset(body, 'y', row[k].body);
    body[row[k].body] = '\0';
    snprintf(to, sizeof(to), "sip:%s@127.0.0.1:%u", row[k].long_uri ? user : "x",
             tl_addr_port(&rig.tcp));
    ua_send(&alice, ua_request(&alice, "MESSAGE", to, "1", fields, body));
    ua_expect(&alice, row[k].answer);
    cr_expect_eq(ua_headers(&alice, "Retry-After"), 0, "row %zu", k);
    proxy_end();
    ua_close(&alice);
    ua_close(&bob);
  }
}

/* Its body was not kept for that, and it was answered 503. */
Test(proxy_txn, s24_a_large_request_goes_by_udp_where_tcp_is_refused) {
  static char body[6001];
  memset(body, 'y', sizeof(body) - 1);
  ua_udp(&bob);
  proxy_begin(TIMERS);
  ua_tcp_connect(&alice);
  ua_send(&alice, ua_request(&alice, "MESSAGE", sip(&bob, ""), "1", "", body));
  ua_expect(&bob, "MESSAGE");
  cr_expect_str_eq(ua_body(&bob), body);
  ua_send(&bob, ua_response(&bob, "200 OK", "b", ""));
  ua_expect(&alice, "SIP/2.0 200");
  proxy_end();
  ua_close(&alice);
  ua_close(&bob);
}

/* An INVITE to bob that has as many fields as we take, or 70,000 bytes. */
static const char *largest(bool by_fields) {
  static char text[80000], extra[80000];
  size_t n = 0;
  if (by_fields)
    for (int i = 0; i < TL_HDR_MAX - 7; i++) n += (size_t)sprintf(extra + n, "X: y\r\n");
  const char *m = ua_request(&alice, "INVITE", sip(&bob, ";transport=tcp"), "1", extra, "");
  const char *from = strstr(m, "From: ") + 6;
  int pad = by_fields ? 0 : 70000;
  snprintf(text, sizeof(text), "%.*s%s%*s%s%s", (int)(from - m), m, pad ? "\"" : "", pad, "",
           pad ? "\" " : "", from);
  memset(extra, 0, sizeof(extra));
  return text;
}

/* What leaves is larger than what came: neither CANCEL nor ACK could be made of it, and the callee
 * rang on. */
Test(proxy_txn, s7_the_largest_call_can_be_cancelled_and_refused) {
  for (int i = 0; i < 4; i++) {
    ua_tcp_listen(&bob);
    proxy_begin(TIMERS "limits { max_head = 128k }\n");
    ua_tcp_connect(&alice);
    const bool by_fields = i & 1, cancelled = i & 2;
    ua_send(&alice, largest(by_fields));
    ua_expect(&bob, "INVITE");
    struct ua ringing = bob;
    ua_send(&bob, ua_response(&bob, "180 Ringing", "b", ""));
    ua_expect(&alice, "SIP/2.0 180");
    if (cancelled) {
      ua_send(&alice, ua_request(&alice, "CANCEL", sip(&bob, ";transport=tcp"), "1", "", ""));
      ua_expect(&alice, "SIP/2.0 200");
      ua_expect(&bob, "CANCEL");
    }
    ua_send(&bob, ua_response(&ringing, "487 Request Terminated", "b", ""));
    ua_expect(&bob, "ACK");
    ua_expect(&alice, "SIP/2.0 487");
    proxy_end();
    ua_close(&alice);
    ua_close(&bob);
  }
}

/* The ACK of a failed INVITE is the end of its transaction on TCP: it was read once more. */
Test(proxy_txn, an_ack_over_tcp_ends_the_transaction) {
  ua_tcp_listen(&bob);
  proxy_begin(TIMERS);
  ua_tcp_connect(&alice);
  ua_send(&alice, ua_request(&alice, "INVITE", sip(&bob, ";transport=tcp"), "1", "", ""));
  ua_expect(&bob, "INVITE");
  ua_send(&bob, ua_response(&bob, "486 Busy Here", "b", ""));
  ua_expect(&bob, "ACK");
  ua_expect(&alice, "SIP/2.0 486");
  cr_expect_eq(px.txns->pool.used, 1);
  for (int i = 0; i < 3; i++) {
    ua_send(&alice, ua_request(&alice, "ACK", sip(&bob, ";transport=tcp"), "1", "", ""));
    rig_settle();
    cr_expect_eq(px.txns->pool.used, 0);
  }
  proxy_end();
  ua_close(&alice);
  ua_close(&bob);
}

/* One datagram with ;maddr=[ ended the process. */
Test(proxy_txn, a_maddr_that_is_a_bracket_is_refused) {
  static const char *const maddr[] = {"[", "[]", "[x", "]", "[1.2.3.4]", "[[", "%00"};
  ua_udp(&alice);
  proxy_begin(TIMERS);
  for (size_t i = 0; i < sizeof(maddr) / sizeof(maddr[0]); i++) {
    char to[80], id[24];
    snprintf(to, sizeof(to), "sip:x@example.com;maddr=%s", maddr[i]);
    snprintf(id, sizeof(id), "%zu", i);
    ua_send(&alice, ua_request(&alice, "OPTIONS", to, id, "", ""));
    rig_settle();
  }
  ua_send(&alice, ua_request(&alice, "OPTIONS", "urn:nothing", "z", "", ""));
  ua_expect(&alice, "SIP/2.0 4");
  proxy_end();
  ua_close(&alice);
}

/* A failure behind the 2xx of the same branch took the branch away from later 2xx. */
Test(proxy_txn, nothing_follows_a_2xx_but_its_repeats) {
  ua_udp_each(&alice, &bob, &carol);
  proxy_begin(TIMERS);
  ua_send(&alice, ua_request(&alice, "INVITE", sip(&bob, ""), "1", "", ""));
  ua_expect(&bob, "INVITE");
  ua_send(&bob, ua_response(&bob, "200 OK", "b", ""));
  ua_expect(&alice, "SIP/2.0 200");
  ua_send(&bob, ua_response(&bob, "486 Busy Here", "b", ""));
  ua_expect_silence(&alice, 30);
  alice.repeats = true;
  ua_send(&bob, ua_response(&bob, "200 OK", "b", ""));
  ua_expect(&alice, "SIP/2.0 200");
  proxy_end_clean();
  ua_close_each(&alice, &bob, &carol);
}

Test(proxy_txn, silence_gives_408_to_an_invite_and_nothing_to_others) {
  ua_udp_each(&alice, &bob, &carol);
  proxy_begin(TIMERS);
  ua_send(&alice, ua_request(&alice, "INVITE", sip(&bob, ""), "1", "", ""));
  ua_expect(&alice, "SIP/2.0 408");
  ua_send(&alice, ua_request(&alice, "ACK", sip(&bob, ""), "1", "", ""));
  ua_send(&alice, ua_request(&alice, "OPTIONS", sip(&bob, ""), "2", "", ""));
  ua_expect(&alice, "SIP/2.0 100"); /* RFC 4320 4.1 */
  ua_expect_silence(&alice, 500);
  cr_expect_eq(rig_count(TL_C_TXN_TIMEOUT), 2);
  proxy_end_clean();
  ua_close_each(&alice, &bob, &carol);
}

/* Long enough for its answers to be repeated, see s24_a_forged_address_is_not_flooded. */
static const char *long_body(void) {
  static char body[1001];
  memset(body, 'v', sizeof(body) - 1);
  return body;
}

Test(proxy_txn, an_unanswered_final_is_repeated_until_its_ack) {
  ua_udp_each(&alice, &bob, &carol);
  proxy_begin(TIMERS);
  ua_send(&alice, ua_request(&alice, "INVITE", sip(&bob, ""), "1", "", long_body()));
  ua_expect(&bob, "INVITE");
  struct ua invited = bob;
  ua_send(&bob, ua_response(&bob, "603 Decline", "b", ""));
  ua_expect(&bob, "ACK");
  alice.repeats = true;
  for (int i = 0; i < 4; i++) ua_expect(&alice, "SIP/2.0 603");
  ua_send(&alice, ua_request(&alice, "ACK", sip(&bob, ""), "1", "", ""));
  rig_settle();
  while (recv(alice.fd, alice.in, sizeof(alice.in), 0) > 0) {
  }
  ua_expect_silence(&alice, 200); /* not one more */
  /* Repeats of the response are acknowledged again, and no ACK of alice's has reached bob. */
  bob.repeats = true;
  ua_send(&bob, ua_response(&invited, "603 Decline", "b", ""));
  ua_expect(&bob, "ACK");
  bob.repeats = false;
  ua_expect_silence(&bob, 50);
  proxy_end();
  ua_close_each(&alice, &bob, &carol);
}

/* Who is not a peer may have forged his address: he gets three bytes for each of his, and answers
 * again when he asks again. */
Test(proxy_txn, s24_a_forged_address_is_not_flooded) {
  ua_udp_each(&alice, &bob, &carol);
  proxy_begin(TIMERS);
  const char *invite = ua_request(&alice, "INVITE", sip(&bob, ""), "1", "", "");
  size_t asked = strlen(invite), got = 0;
  ua_send(&alice, invite);
  ua_expect(&bob, "INVITE");
  ua_send(&bob, ua_response(&bob, "603 Decline", "b", ""));
  for (int i = 0; i < 60; i++) {
    ssize_t n;
    rig_sleep(10);
    while ((n = recv(alice.fd, alice.in, sizeof(alice.in), MSG_DONTWAIT)) > 0) got += (size_t)n;
  }
  cr_expect(got > 0 && got <= 3 * asked, "%zu bytes for %zu", got, asked);
  size_t before = got;
  ua_send(&alice, invite);
  RIG_UNTIL((got = (size_t)recv(alice.fd, alice.in, sizeof(alice.in), MSG_DONTWAIT)) < 65536);
  cr_expect(got && before);
  ua_send(&alice, ua_request(&alice, "ACK", sip(&bob, ""), "1", "", ""));
  rig_settle();
  proxy_end();
  ua_close_each(&alice, &bob, &carol);
}

Test(proxy_txn, failover_and_best_response) {
  ua_udp_each(&alice, &bob, &carol);
  proxy_begin(both("failover"));
  ua_send(&alice, ua_request(&alice, "INVITE", "sip:x@example.com", "1", "", "v=0"));
  ua_expect(&bob, "INVITE");
  ua_send(&bob, ua_response(&bob, "503 Service Unavailable", "b", "Retry-After: 9\r\n"));
  ua_expect(&bob, "ACK");
  ua_expect(&carol, "INVITE");
  cr_expect_str_eq(ua_body(&carol), "v=0");
  ua_send(&carol, ua_response(&carol, "503 Service Unavailable", "c", "Retry-After: 9\r\n"));
  ua_expect(&alice, "SIP/2.0 500"); /* 16.7 step 6 */
  cr_expect_eq(ua_headers(&alice, "Retry-After"), 0);
  cr_expect_eq(ua_headers(&alice, "Via"), 1);
  ua_send(&alice, ua_request(&alice, "ACK", "sip:x@example.com", "1", "", ""));
  proxy_end();
  ua_close_each(&alice, &bob, &carol);
}

Test(proxy_txn, challenges_of_all_branches_are_gathered) {
  ua_udp_each(&alice, &bob, &carol);
  proxy_begin(both("parallel"));
  ua_send(&alice, ua_request(&alice, "INVITE", "sip:x@example.com", "1", "", ""));
  ua_expect(&bob, "INVITE");
  ua_expect(&carol, "INVITE");
  ua_send(&bob, ua_response(&bob, "401 Unauthorized", "b", "WWW-Authenticate: Digest realm=b\r\n"));
  ua_send(&carol,
          ua_response(&carol, "407 Proxy Auth", "c", "Proxy-Authenticate: Digest realm=c\r\n"));
  ua_expect(&alice, "SIP/2.0 40");
  cr_expect_str_eq(ua_header(&alice, "WWW-Authenticate", 0), "Digest realm=b");
  cr_expect_str_eq(ua_header(&alice, "Proxy-Authenticate", 0), "Digest realm=c");
  cr_expect_eq(ua_headers(&alice, "WWW-Authenticate"), 1);
  ua_send(&alice, ua_request(&alice, "ACK", "sip:x@example.com", "1", "", ""));
  proxy_end();
  ua_close_each(&alice, &bob, &carol);
}

Test(proxy_txn, cancel_waits_for_a_provisional_response) {
  ua_udp_each(&alice, &bob, &carol);
  proxy_begin(TIMERS);
  ua_send(&alice, ua_request(&alice, "INVITE", sip(&bob, ""), "1", "", ""));
  ua_expect(&bob, "INVITE");
  struct ua invited = bob;
  ua_send(&alice, ua_request(&alice, "CANCEL", sip(&bob, ""), "1", "", ""));
  ua_expect(&alice, "SIP/2.0 200");
  bob.repeats = true;
  ua_expect(&bob, "INVITE"); /* repeated, not cancelled yet (9.1) */
  ua_send(&bob, ua_response(&invited, "100 Trying", "", ""));
  do ua_expect(&bob, "");
  while (strncmp(bob.in, "INVITE", 6) == 0);
  cr_assert(strncmp(bob.in, "CANCEL", 6) == 0);
  cr_expect_str_eq(ua_header(&bob, "Via", 0), ua_header(&invited, "Via", 0));
  ua_send(&bob, ua_response(&bob, "200 OK", "b", ""));
  ua_send(&bob, ua_response(&invited, "487 Request Terminated", "b", ""));
  ua_expect(&alice, "SIP/2.0 487");
  ua_send(&alice, ua_request(&alice, "ACK", sip(&bob, ""), "1", "", ""));
  /* Again, behind the end: its transaction is known still. */
  ua_send(&alice, ua_request(&alice, "CANCEL", sip(&bob, ""), "1", "", ""));
  ua_expect(&alice, "SIP/2.0 200");
  ua_send(&alice, ua_request(&alice, "CANCEL", sip(&bob, ""), "unknown", "", ""));
  ua_expect(&alice, "SIP/2.0 481");
  proxy_end();
  ua_close_each(&alice, &bob, &carol);
}

Test(proxy_txn, ringing_for_too_long_is_cancelled) {
  ua_udp_each(&alice, &bob, &carol);
  proxy_begin(TIMERS);
  ua_send(&alice, ua_request(&alice, "INVITE", sip(&bob, ""), "1", "", ""));
  ua_expect(&bob, "INVITE");
  ua_send(&bob, ua_response(&bob, "180 Ringing", "b", ""));
  ua_expect(&alice, "SIP/2.0 180");
  ua_expect(&bob, "CANCEL");
  bob.repeats = true;
  ua_expect(&bob, "CANCEL"); /* nobody answers it */
  ua_expect(&alice, "SIP/2.0 408");
  ua_send(&alice, ua_request(&alice, "ACK", sip(&bob, ""), "1", "", ""));
  proxy_end_clean();
  ua_close_each(&alice, &bob, &carol);
}

/* The datagram kept for answers lacked its large body and could not be read again. */
Test(proxy_txn, a_large_datagram_is_answered_when_its_target_refuses) {
  static char body[20001];
  char extra[200];
  memset(body, 'b', 20000);
  ua_udp(&alice);
  ua_tcp_listen(&bob);
  snprintf(extra, sizeof(extra), TIMERS "limits { zero_copy_body = 4k }");
  proxy_begin(extra);
  close(bob.fd);
  ua_send(&alice, ua_request(&alice, "INVITE", sip(&bob, ";transport=tcp"), "1", "", body));
  ua_expect(&alice, "SIP/2.0 503");
  ua_send(&alice, ua_request(&alice, "ACK", sip(&bob, ";transport=tcp"), "1", "", ""));
  proxy_end();
  ua_close(&alice);
}

/* Each large request to a UDP peer that drops SYNs waited for the connect timeout. */
Test(proxy_txn, s24_who_swallows_tcp_delays_one_large_request) {
  static char body[1501];
  struct tl_addr at;
  int fill[4];
  memset(body, 'q', 1500);
  ua_udp_each(&alice, &bob, &carol);
  proxy_begin(TIMERS);
  int l = socket(AF_INET, SOCK_STREAM, 0);
  for (int free = -1; free;) { /* by UDP and by TCP */
    ua_close(&bob);
    ua_udp(&bob);
    tl_addr_parse(TL_STR("127.0.0.1"), bob.port, &at);
    free = bind(l, &at.sa, sizeof(at.v4));
  }
  cr_assert_eq(listen(l, 0), 0);
  for (int i = 0; i < 4; i++) {
    fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    connect(fill[i], &at.sa, sizeof(at.v4));
  }
  for (unsigned i = 0; i < 3; i++) {
    char id[] = {(char)('1' + i), '\0'};
    ua_send(&alice, ua_request(&alice, "MESSAGE", sip(&bob, ""), id, "", body));
    ua_expect(&bob, "MESSAGE");
    ua_send(&bob, ua_response(&bob, "200 OK", "b", ""));
    ua_expect(&alice, "SIP/2.0 200");
    cr_expect_eq(rig_count(TL_C_CONN_DIAL_FAILED), 1, "TCP is tried once");
    cr_expect_eq(rig_count(TL_C_LARGE_BY_UDP), i);
  }
  for (int i = 0; i < 4; i++) close(fill[i]);
  close(l);
  proxy_end();
  ua_close_each(&alice, &bob, &carol);
}

/* With our Via and Record-Route the head was over the limit: no ACK, no CANCEL. */
Test(proxy_txn, a_head_as_large_as_allowed_is_acknowledged) {
  static char pad[2000];
  ua_udp_each(&alice, &bob, &carol);
  proxy_begin(TIMERS "limits { max_head = 2k }");
  size_t plain = strlen(ua_request(&alice, "INVITE", sip(&bob, ""), "1", "", ""));
  snprintf(pad, sizeof(pad), "X-Pad: %0*d\r\n", (int)(2040 - plain - 9), 1);
  ua_send(&alice, ua_request(&alice, "INVITE", sip(&bob, ""), "1", pad, ""));
  ua_expect(&bob, "INVITE");
  cr_expect_gt(bob.n, 2048);
  ua_send(&bob, ua_response(&bob, "486 Busy Here", "b", ""));
  ua_expect(&bob, "ACK");
  ua_expect(&alice, "SIP/2.0 486");
  proxy_end();
  ua_close_each(&alice, &bob, &carol);
}

/* The body was not kept when the first try was a flow: the second went out without it. */
Test(proxy_txn, a_large_body_is_whole_on_the_second_try) {
  static char body[12001];
  memset(body, 'q', 12000);
  ua_tcp_listen(&bob);
  proxy_begin(TIMERS "limits { zero_copy_body = 4k }");
  ua_tcp_connect(&alice);
  ua_tcp_listen(&carol); /* where alice says she is */
  char contact[100], head[1500];
  snprintf(contact, sizeof(contact), "sip:x@127.0.0.1:%u;transport=tcp", carol.port);
  ua_send(&alice, ua_request(&alice, "INVITE", sip(&bob, ";transport=tcp"), "1", "", ""));
  ua_expect(&bob, "INVITE");
  ua_send(&bob, ua_response(&bob, "200 OK", "b", ""));
  ua_expect(&alice, "SIP/2.0 200");
  int n = 0;
  for (unsigned i = 0; i < ua_headers(&bob, "Record-Route"); i++)
    n += snprintf(head + n, sizeof(head) - (size_t)n, "Route: %s\r\n",
                  ua_header(&bob, "Record-Route", i));
  /* Bob speaks in the dialog: his From has his tag, To has alice's. */
  char *m = ua_request(&bob, "MESSAGE", contact, "1", head, body);
  char *from = strstr(m, "From: "), *call_id = strstr(m, "Call-ID");
  char rest[80000];
  strcpy(rest, call_id);
  sprintf(from, "From: <sip:bob@example.com>;tag=b\r\nTo: <sip:alice@127.0.0.1>;tag=a-1\r\n%s",
          rest);
  ua_send(&bob, m);
  ua_expect(&alice, "MESSAGE");
  cr_expect_str_eq(ua_body(&alice), body);
  close(alice.conn);
  ua_expect(&carol, "MESSAGE");
  cr_expect_str_eq(ua_body(&carol), body);
  ua_send(&carol, ua_response(&carol, "200 OK", "", ""));
  ua_expect(&bob, "SIP/2.0 200");
  close(carol.conn);
  close(carol.fd);
  ua_close(&bob);
  proxy_end();
}

/* A dial that fails is as a 503; what waits for it goes to the next. */
Test(proxy_txn, a_connection_refused_is_the_next_targets_turn) {
  char extra[1000];
  ua_udp(&alice);
  ua_tcp_listen(&bob);
  ua_tcp_listen(&carol);
  close(bob.fd);
  snprintf(extra, sizeof(extra),
           TIMERS "peer \"b\" { uri = \"sip:127.0.0.1:%u;transport=tcp\" }\n"
                  "peer \"c\" { uri = \"sip:127.0.0.1:%u;transport=tcp\" }\n"
                  "route \"r\" { peers = { \"b\", \"c\" } }\n",
           bob.port, carol.port);
  proxy_begin(extra);
  for (int i = 0; i < 20; i++) {
    char id[16];
    snprintf(id, sizeof(id), "%d", i);
    ua_send(&alice, ua_request(&alice, "OPTIONS", "sip:x@example.com", id, "", "body"));
    rig_turn();
  }
  for (int i = 0; i < 20; i++) {
    ua_expect(&carol, "OPTIONS");
    cr_expect_str_eq(ua_body(&carol), "body");
    ua_send(&carol, ua_response(&carol, "200 OK", "c", ""));
    ua_expect(&alice, "SIP/2.0 200");
  }
  proxy_end_clean();
  ua_close(&alice);
  close(carol.conn);
  close(carol.fd);
}

/* ---- reloads in between ---- */

/* The socket that the request came by is gone when it goes to the next target. */
Test(proxy_txn, failing_over_behind_a_reload_that_closed_the_socket) {
  char extra[1000];
  ua_udp(&alice);
  ua_tcp_listen(&bob);
  ua_tcp_listen(&carol);
  snprintf(extra, sizeof(extra),
           TIMERS "peer \"b\" { uri = \"sip:127.0.0.1:%u;transport=tcp\" }\n"
                  "peer \"c\" { uri = \"sip:127.0.0.1:%u;transport=tcp\" }\n"
                  "route \"r\" { peers = { \"b\", \"c\" } }\n",
           bob.port, carol.port);
  proxy_begin(extra);
  ua_send(&alice, ua_request(&alice, "INVITE", "sip:x@example.com", "1", "", ""));
  ua_expect(&bob, "INVITE");
  rig_reload(extra, false);
  rig_settle();
  cr_assert_null(px.net->udps);
  close(bob.conn);
  ua_expect(&carol, "INVITE");
  cr_expect_eq(ua_headers(&carol, "Record-Route"), 2);
  ua_send(&carol, ua_response(&carol, "200 OK", "c", ""));
  rig_settle();
  cr_expect_eq(rig_count(TL_C_DROP_NO_ROUTE_BACK), 1);
  proxy_end();
  ua_close(&alice);
  close(carol.conn);
  close(carol.fd);
  close(bob.fd);
}

/* ---- bounds ---- */

Test(proxy_txn, item_2_8_new_requests_are_refused_before_dialogs_are) {
  ua_udp_each(&alice, &bob, &carol);
  snprintf(route, sizeof(route),
           TIMERS "limits { max_transactions = 20 }\n"
                  "peer \"a\" { uri = \"sip:127.0.0.1:%u;transport=udp\" }\n",
           alice.port);
  proxy_begin(route);
  unsigned refused = 0;
  for (int i = 0; i < 30; i++) {
    char id[16];
    snprintf(id, sizeof(id), "%d", i);
    ua_send(&alice, ua_request(&alice, "OPTIONS", sip(&bob, ""), id, "", ""));
    rig_settle();
    while (recv(alice.fd, alice.in, sizeof(alice.in), 0) > 0)
      refused += strncmp(alice.in, "SIP/2.0 503", 11) == 0;
  }
  cr_expect_eq(refused, 12);
  cr_expect_eq(px.txns->n, 18);
  char *m = ua_request(&alice, "BYE", sip(&bob, ""), "d", "", ""), *to = strstr(m, "To: ");
  memcpy(to, "To: <sip:bob@example.c>;tag", 27);
  ua_send(&alice, m);
  rig_settle();
  cr_expect_eq(px.txns->n, 18, "no token, no dialog; but not refused for load either");
  rig_sleep(500); /* Timer F comes before Timer J */
  proxy_end_clean();
  ua_close_each(&alice, &bob, &carol);
}

Test(proxy_txn, forged_and_stray_responses_are_dropped) {
  ua_udp_each(&alice, &bob, &carol);
  proxy_begin(TIMERS);
  ua_send(&alice, ua_request(&alice, "OPTIONS", sip(&bob, ""), "1", "", ""));
  ua_expect(&bob, "OPTIONS");
  char *m = ua_response(&bob, "200 OK", "b", ""), *branch = strstr(m, "z9hG4bK") + 7;
  for (int i = 0; i < 48; i++) {
    char was = branch[i];
    branch[i] = was == '0' ? '1' : '0';
    ua_send(&carol, m);
    branch[i] = was;
  }
  RIG_UNTIL(rig_count(TL_C_DROP_FORGED) == 48);
  ua_expect_silence(&alice, 20);
  ua_send(&bob, m);
  ua_expect(&alice, "SIP/2.0 200");
  rig_sleep(200); /* Timer K */
  ua_send(&bob, m);
  RIG_UNTIL(rig_count(TL_C_DROP_STRAY_RESPONSE) == 1);
  proxy_end_clean();
  ua_close_each(&alice, &bob, &carol);
}

/* Over UDP each stays for 64 T1 behind its answer: a flood of them must not fill the memory. */
Test(proxy_txn, finished_transactions_are_bounded_and_the_oldest_leave) {
  ua_udp_each(&alice, &bob, &carol);
  proxy_begin("limits { max_transactions = 16 }");
  for (int i = 0; i < 200; i++) {
    char id[16];
    snprintf(id, sizeof(id), "%d", i);
    ua_send(&alice, ua_request(&alice, "OPTIONS", sip(&bob, ""), id, "", ""));
    ua_expect(&bob, "OPTIONS");
    ua_send(&bob, ua_response(&bob, "200 OK", "b", ""));
    ua_expect(&alice, "SIP/2.0 200");
    cr_assert_leq(px.txns->pool.used, 4 * 16 + 1);
  }
  cr_expect_eq(px.txns->completed[1].n, 64);
  cr_expect_eq(px.txns->n, 0);
  /* The newest still absorb repeats. */
  alice.repeats = true;
  ua_send(&alice, ua_request(&alice, "OPTIONS", sip(&bob, ""), "199", "", ""));
  ua_expect(&alice, "SIP/2.0 200");
  ua_expect_silence(&bob, 20);
  proxy_end();
  ua_close_each(&alice, &bob, &carol);
}
