/* SPDX-License-Identifier: Apache-2.0 */
/* max_calls of a peer: what takes a place, what gives it back, and that both happen once. */
#include <stdlib.h>
#include <unistd.h>

#include "proxy/call.h"
#include "proxy/peer_share.h"
#include "test_proxy_rig.h"
#include "tieline/time.h"

TestSuite(proxy_calls, .timeout = 30);

static unsigned calls_kept(const struct tl_proxy *p) { return p->calls ? p->calls->by_key.n : 0; }

static struct ua alice, bob, carol;
static struct tl_proxy other; /* a second worker */
static struct tl_net other_net;

/* A route to bob, and to carol if FORK is not NULL; bob has max_calls MAX. */
static const char *conf(unsigned max, const char *fork, const char *more) {
  static char text[3000];
  snprintf(text, sizeof(text),
           TIMERS "%s\n"
                  "peer \"b\" { uri = \"sip:127.0.0.1:%u;transport=udp\" max_calls = %u }\n"
                  "peer \"c\" { uri = \"sip:127.0.0.1:%u;transport=udp\" max_calls = 5 }\n"
                  "route \"r\" { peers = { \"b\"%s } fork = %s }\n",
           more, bob.port, max, carol.port, fork ? ", \"c\"" : "", fork ? fork : "failover");
  return text;
}

static void setup(unsigned max, const char *fork, const char *more) {
  ua_udp(&alice);
  ua_udp(&bob);
  ua_udp(&carol);
  proxy_begin(conf(max, fork, more));
}

static uint32_t calls(const char *peer) {
  struct tl_peer_state *s = tl_peer_state_of(tl_index_name_id(peer), peer);
  uint32_t n = atomic_load(&s->calls.now);
  tl_peer_state_unref(s);
  return n;
}

/* What is counted, everywhere it is. */
static void expect_calls(uint32_t b, uint32_t c) {
  cr_expect_eq(calls("b"), b, "%u calls toward b, not %u", calls("b"), b);
  cr_expect_eq(calls("c"), c, "%u calls toward c, not %u", calls("c"), c);
  cr_expect_eq(atomic_load(&rig.rt.open_calls), b + c);
  cr_expect_eq(rig_count(TL_C_CALLS_NOW) + tl_count_get(&other.th.counters, TL_C_CALLS_NOW), b + c);
}

/* Nothing is left of any call, nor of the transactions. */
static void teardown_clean(void) {
  expect_calls(0, 0);
  cr_expect_eq(calls_kept(&px), 0);
  cr_expect(!px.calls || cds_list_empty(&px.calls->by_age));
  proxy_end_clean();
  ua_close(&alice);
  ua_close(&bob);
  ua_close(&carol);
}

static void invite(const char *id) {
  ua_send(&alice, ua_request(&alice, "INVITE", "sip:x@example.com", id, "", ""));
}

static void ack(const char *id) {
  ua_send(&alice, ua_request(&alice, "ACK", "sip:x@example.com", id, "", ""));
}

/* The Route header lines of a dialog, by its Call-ID. */
static struct { char call_id[32], lines[600]; } routes[64];

static char *routes_of(const char *call_id) {
  unsigned i = 0;
  while (routes[i].call_id[0] && strcmp(routes[i].call_id, call_id) != 0) i++;
  snprintf(routes[i].call_id, sizeof(routes[i].call_id), "%s", call_id);
  return routes[i].lines;
}

static void keep_routes(const struct ua *u) {
  char *to = routes_of(ua_header(u, "Call-ID", 0));
  size_t n = 0, cap = sizeof(routes[0].lines);
  for (unsigned i = 0; i < ua_headers(u, "Record-Route"); i++)
    n += (size_t)snprintf(to + n, cap - n, "Route: %s\r\n", ua_header(u, "Record-Route", i));
  cr_assert_lt(n, cap);
}

/* Bob, or who AT is, takes the call that he was asked for last. */
static void take(struct ua *at, const char *tag) {
  ua_send(at, ua_response(at, "200 OK", tag, ""));
  ua_expect(&alice, "SIP/2.0 200");
  keep_routes(&alice);
}

static void call(const char *id) {
  invite(id);
  ua_expect(&bob, "INVITE");
  take(&bob, "b");
}

/* A request of FROM's inside the dialog ID, whose callee has TAG; REVERSE: he sends it. */
static void inside(struct ua *from, const struct ua *to, const char *method, const char *id,
                   const char *tag, bool reverse, unsigned cseq) {
  static char text[4000];
  char caller[100], callee[100], call_id[32];
  snprintf(call_id, sizeof(call_id), "%s@127.0.0.1", id);
  snprintf(caller, sizeof(caller), "<sip:alice@127.0.0.1>;tag=a-%s", id);
  snprintf(callee, sizeof(callee), "<sip:bob@example.com>;tag=%s", tag);
  snprintf(text, sizeof(text),
           "%s sip:x@127.0.0.1:%u SIP/2.0\r\nVia: SIP/2.0/UDP "
           "127.0.0.1:%u;branch=z9hG4bK-%s-%s-%u-%u\r\n"
           "%sFrom: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %u %s\r\nMax-Forwards: 70\r\n"
           "Content-Length: 0\r\n\r\n",
           method, to->port, from->port, id, tag, cseq, from->port, routes_of(call_id),
           reverse ? callee : caller, reverse ? caller : callee, call_id, cseq, method);
  ua_send(from, text);
}

static void hang_up(const char *id, const char *tag) {
  inside(&alice, &bob, "BYE", id, tag, false, 2);
  ua_expect(&bob, "BYE");
  ua_send(&bob, ua_response(&bob, "200 OK", "", ""));
  ua_expect(&alice, "SIP/2.0 200");
}

Test(proxy_calls, a_full_peer_gives_503_and_takes_calls_again_behind_a_bye) {
  setup(2, NULL, "");
  call("1");
  call("2");
  expect_calls(2, 0);
  invite("3");
  ua_expect(&alice, "SIP/2.0 503");
  cr_expect_str_eq(ua_header(&alice, "Retry-After", 0), "5");
  ack("3");
  cr_expect_eq(rig_count(TL_C_CALLS_REFUSED_MAX), 1);
  cr_expect_eq(rig_count(TL_C_TXN_REFUSED_PEER), 1);
  expect_calls(2, 0);
  hang_up("1", "b");
  expect_calls(1, 0);
  call("4");
  hang_up("4", "b");
  hang_up("2", "b");
  cr_expect_eq(rig_count(TL_C_CALLS_UNCOUNTED), 0);
  teardown_clean();
}

Test(proxy_calls, the_next_peer_of_the_route_gets_what_is_too_much) {
  setup(1, "failover", "");
  call("1");
  invite("2");
  ua_expect(&carol, "INVITE");
  expect_calls(1, 1);
  take(&carol, "c");
  hang_up("1", "b");
  inside(&carol, &alice, "BYE", "2", "c", true, 2); /* from the callee's side */
  ua_expect(&alice, "BYE");
  ua_send(&alice, ua_response(&alice, "200 OK", "", ""));
  ua_expect(&carol, "SIP/2.0 200");
  teardown_clean();
}

Test(proxy_calls, an_invite_that_fails_gives_its_place_back) {
  setup(1, NULL, "");
  invite("1");
  ua_expect(&bob, "INVITE");
  expect_calls(1, 0);
  ua_send(&bob, ua_response(&bob, "486 Busy Here", "b", ""));
  ua_expect(&alice, "SIP/2.0 486");
  expect_calls(0, 0);
  ack("1");
  invite("2"); /* nobody answers: Timer B */
  ua_expect(&alice, "SIP/2.0 408");
  expect_calls(0, 0);
  ack("2");
  invite("3"); /* cancelled while it rings */
  do ua_expect(&bob, "");
  while (!strstr(bob.in, "Call-ID: 3@"));
  struct ua ringing = bob;
  ua_send(&bob, ua_response(&bob, "180 Ringing", "b", ""));
  ua_expect(&alice, "SIP/2.0 180");
  ua_send(&alice, ua_request(&alice, "CANCEL", "sip:x@example.com", "3", "", ""));
  ua_expect(&alice, "SIP/2.0 200");
  ua_expect(&bob, "CANCEL");
  expect_calls(1, 0); /* he may still take it */
  ua_send(&bob, ua_response(&ringing, "487 Request Terminated", "b", ""));
  ua_expect(&alice, "SIP/2.0 487");
  ack("3");
  expect_calls(0, 0);
  teardown_clean();
}

Test(proxy_calls, a_call_that_failed_over_counts_where_it_is) {
  setup(1, "failover", "");
  invite("1");
  ua_expect(&bob, "INVITE");
  ua_send(&bob, ua_response(&bob, "503 Service Unavailable", "b", ""));
  ua_expect(&carol, "INVITE");
  expect_calls(0, 1);
  take(&carol, "c");
  expect_calls(0, 1);
  inside(&alice, &carol, "BYE", "1", "c", false, 2);
  ua_expect(&carol, "BYE");
  ua_send(&carol, ua_response(&carol, "200 OK", "", ""));
  ua_expect(&alice, "SIP/2.0 200");
  teardown_clean();
}

Test(proxy_calls, a_fork_counts_at_each_peer_until_it_has_lost) {
  setup(1, "parallel", "");
  invite("1");
  ua_expect(&bob, "INVITE");
  ua_expect(&carol, "INVITE");
  expect_calls(1, 1);
  struct ua ringing = carol;
  ua_send(&carol, ua_response(&carol, "180 Ringing", "c", ""));
  ua_expect(&alice, "SIP/2.0 180");
  take(&bob, "b");
  ua_expect(&carol, "CANCEL");
  expect_calls(1, 1);
  ua_send(&carol, ua_response(&ringing, "487 Request Terminated", "c", ""));
  ua_expect(&carol, "ACK");
  expect_calls(1, 0);
  hang_up("1", "b");
  teardown_clean();
}

/* Both took it at the same time: two calls, each with a BYE of its own. */
Test(proxy_calls, each_2xx_of_a_fork_is_a_call) {
  setup(1, "parallel", "");
  invite("1");
  ua_expect(&bob, "INVITE");
  ua_expect(&carol, "INVITE");
  take(&bob, "b");
  take(&carol, "c");
  expect_calls(1, 1);
  hang_up("1", "b");
  expect_calls(0, 1);
  inside(&alice, &carol, "BYE", "1", "c", false, 2);
  ua_expect(&carol, "BYE");
  ua_send(&carol, ua_response(&carol, "200 OK", "", ""));
  ua_expect(&alice, "SIP/2.0 200");
  teardown_clean();
}

/* A proxy behind the peer forked: one branch of ours, several dialogs. */
Test(proxy_calls, a_fork_behind_the_peer_counts_each_dialog) {
  setup(1, NULL, "");
  invite("1");
  ua_expect(&bob, "INVITE");
  struct ua invited = bob;
  take(&bob, "one");
  ua_send(&bob, ua_response(&invited, "200 OK", "two", ""));
  ua_expect(&alice, "SIP/2.0 200");
  expect_calls(2, 0);
  alice.repeats = true;
  ua_send(&bob, ua_response(&invited, "200 OK", "two", "")); /* repeats count nothing */
  ua_expect(&alice, "SIP/2.0 200");
  ua_send(&bob, ua_response(&invited, "200 OK", "one", ""));
  ua_expect(&alice, "SIP/2.0 200");
  alice.repeats = false;
  expect_calls(2, 0);
  hang_up("1", "one");
  expect_calls(1, 0);
  ua_send(&bob, ua_response(&invited, "200 OK", "one", "")); /* late, its call is over */
  ua_expect(&alice, "SIP/2.0 200");
  expect_calls(1, 0);
  hang_up("1", "two");
  for (int i = 0; i < 10; i++) { /* two of them are known already */
    char tag[16];
    snprintf(tag, sizeof(tag), "t%d", i);
    ua_send(&bob, ua_response(&invited, "200 OK", tag, ""));
    ua_expect(&alice, "SIP/2.0 200");
  }
  expect_calls(6, 0);
  cr_expect_eq(rig_count(TL_C_CALLS_UNCOUNTED), 4);
  for (int i = 0; i < 6; i++) {
    char tag[16];
    snprintf(tag, sizeof(tag), "t%d", i);
    hang_up("1", tag);
  }
  teardown_clean();
}

Test(proxy_calls, a_bye_ends_a_call_once) {
  setup(2, NULL, "");
  call("1");
  call("2");
  hang_up("1", "b");
  expect_calls(1, 0);
  inside(&alice, &bob, "BYE", "1", "b", false, 2); /* repeated: absorbed */
  inside(&alice, &bob, "BYE", "1", "b", false, 3); /* and again, by another transaction */
  ua_expect(&bob, "BYE");
  ua_send(&bob, ua_response(&bob, "481 No Such Call", "", ""));
  do ua_expect(&alice, "SIP/2.0 ");
  while (strncmp(alice.in, "SIP/2.0 481", 11) != 0);
  inside(&bob, &alice, "BYE", "1", "b", true, 2); /* and from the other side */
  ua_expect(&alice, "BYE");
  ua_send(&alice, ua_response(&alice, "200 OK", "", ""));
  ua_expect(&bob, "SIP/2.0 200");
  expect_calls(1, 0);
  hang_up("2", "b");
  teardown_clean();
}

/* RFC 3261 15.1.1: a BYE ends the call for who sends it, whatever comes back. */
Test(proxy_calls, a_bye_ends_a_call_whatever_it_is_answered) {
  static const char *const answer[] = {"481 Gone", "408 Request Timeout", "500 Oh", "603 No"};
  setup(9, NULL, "");
  for (size_t i = 0; i < sizeof(answer) / sizeof(answer[0]); i++) {
    char id[8];
    snprintf(id, sizeof(id), "%zu", i);
    call(id);
    inside(&alice, &bob, "BYE", id, "b", false, 2);
    ua_expect(&bob, "BYE");
    ua_send(&bob, ua_response(&bob, answer[i], "", ""));
    if (strncmp(answer[i], "408", 3) != 0) ua_expect(&alice, "SIP/2.0 "); /* RFC 4320 4.2 */
    RIG_UNTIL(calls("b") == 0);
  }
  call("silent"); /* Timer F */
  inside(&alice, &bob, "BYE", "silent", "b", false, 2);
  ua_expect(&bob, "BYE");
  expect_calls(1, 0);
  RIG_UNTIL(calls("b") == 0);
  call("asked"); /* whoever is asked for a password comes again */
  inside(&alice, &bob, "BYE", "asked", "b", false, 2);
  ua_expect(&bob, "BYE");
  ua_send(&bob, ua_response(&bob, "407 Who Are You", "", ""));
  ua_expect(&alice, "SIP/2.0 407");
  expect_calls(1, 0);
  inside(&alice, &bob, "BYE", "asked", "b", false, 3);
  ua_expect(&bob, "BYE");
  ua_send(&bob, ua_response(&bob, "200 OK", "", ""));
  ua_expect(&alice, "SIP/2.0 200");
  teardown_clean();
}

Test(proxy_calls, requests_inside_a_dialog_count_nothing_and_pass) {
  setup(1, NULL, "");
  call("1");
  inside(&alice, &bob, "INVITE", "1", "b", false, 2);
  ua_expect(&bob, "INVITE");
  ua_send(&bob, ua_response(&bob, "200 OK", "", ""));
  ua_expect(&alice, "SIP/2.0 200");
  inside(&bob, &alice, "INVITE", "1", "b", true, 2);
  ua_expect(&alice, "INVITE");
  ua_send(&alice, ua_response(&alice, "488 Not Here", "", ""));
  ua_expect(&alice, "ACK");
  ua_expect(&bob, "SIP/2.0 488");
  inside(&alice, &bob, "INFO", "1", "b", false, 3);
  ua_expect(&bob, "INFO");
  ua_send(&bob, ua_response(&bob, "200 OK", "", ""));
  ua_expect(&alice, "SIP/2.0 200");
  ua_send(&alice, ua_request(&alice, "OPTIONS", "sip:x@example.com", "o", "", ""));
  ua_expect(&bob, "OPTIONS");
  ua_send(&bob, ua_response(&bob, "200 OK", "b", ""));
  ua_expect(&alice, "SIP/2.0 200");
  expect_calls(1, 0);
  inside(&alice, &bob, "BYE", "1", "b", false, 4);
  ua_expect(&bob, "BYE");
  ua_send(&bob, ua_response(&bob, "200 OK", "", ""));
  ua_expect(&alice, "SIP/2.0 200");
  teardown_clean();
}

/* What comes from a peer is not a call toward it. */
Test(proxy_calls, calls_from_the_peer_do_not_count) {
  setup(1, "failover", "");
  ua_send(&bob, ua_request(&bob, "INVITE", "sip:x@example.com", "1", "", ""));
  ua_expect(&bob, "INVITE"); /* he is the route's first target himself */
  expect_calls(1, 0);
  ua_send(&bob, ua_response(&bob, "404 Not Found", "b", ""));
  ua_expect(&bob, "ACK");
  ua_expect(&bob, "SIP/2.0 404");
  expect_calls(0, 0);
  teardown_clean();
}

Test(proxy_calls, a_call_without_a_bye_counts_until_call_max) {
  setup(1, NULL, "call_max = 1s");
  uint64_t from = tl_now_ms();
  call("1");
  expect_calls(1, 0);
  RIG_UNTIL(calls("b") == 0);
  cr_expect_geq(tl_now_ms() - from, 900);
  cr_expect_eq(rig_count(TL_C_CALLS_EXPIRED), 1);
  cr_expect_eq(
      atomic_load(&tl_peer_table_by_name(tl_net_view(px.net)->peers, "b")->state->calls.expired),
      1);
  hang_up("1", "b"); /* it comes after all */
  expect_calls(0, 0);
  call("2");
  hang_up("2", "b");
  cr_expect_eq(rig_count(TL_C_CALLS_EXPIRED), 1);
  teardown_clean();
}

Test(proxy_calls, a_lower_call_max_holds_for_calls_there_are) {
  setup(3, NULL, "");
  call("1");
  call("2");
  rig_sleep(1000);
  expect_calls(2, 0);
  rig_reload(conf(3, NULL, "call_max = 1s"), true);
  RIG_UNTIL(calls("b") == 0);
  cr_expect_eq(rig_count(TL_C_CALLS_EXPIRED), 2);
  teardown_clean();
}

Test(proxy_calls, no_more_calls_than_can_be_counted) {
  setup(5, NULL, "limits { max_open_calls = 2 }");
  call("1");
  call("2");
  invite("3");
  ua_expect(&alice, "SIP/2.0 503");
  ack("3");
  cr_expect_eq(rig_count(TL_C_CALLS_REFUSED_TABLE), 1);
  cr_expect_eq(rig_count(TL_C_CALLS_REFUSED_MAX), 0);
  expect_calls(2, 0);
  hang_up("1", "b");
  hang_up("2", "b");
  teardown_clean();
}

Test(proxy_calls, max_cps_refuses_without_a_place) {
  setup(5, NULL, "");
  char text[3000];
  snprintf(text, sizeof(text),
           TIMERS
           "peer \"b\" { uri = \"sip:127.0.0.1:%u;transport=udp\" max_calls = 5 max_cps = 1 }\n"
           "route \"r\" { peers = { \"b\" } }\n",
           bob.port);
  rig_reload(text, true);
  call("1");
  invite("2");
  ua_expect(&alice, "SIP/2.0 503");
  ack("2");
  cr_expect_eq(rig_count(TL_C_CALLS_REFUSED_CPS), 1);
  expect_calls(1, 0);
  hang_up("1", "b");
  teardown_clean();
}

Test(proxy_calls, a_reload_lowers_max_calls_below_what_there_is) {
  setup(3, NULL, "");
  call("1");
  call("2");
  call("3");
  rig_reload(conf(1, NULL, ""), true);
  invite("4");
  ua_expect(&alice, "SIP/2.0 503");
  ack("4");
  hang_up("1", "b");
  hang_up("2", "b");
  expect_calls(1, 0);
  invite("5");
  ua_expect(&alice, "SIP/2.0 503");
  ack("5");
  hang_up("3", "b");
  call("6");
  hang_up("6", "b");
  teardown_clean();
}

Test(proxy_calls, a_peer_goes_and_comes_back_with_its_calls) {
  char text[1000];
  setup(1, NULL, "");
  call("1");
  snprintf(text, sizeof(text),
           TIMERS "peer \"c\" { uri = \"sip:127.0.0.1:%u;transport=udp\" }\n"
                  "route \"r\" { peers = { \"c\" } }\n",
           carol.port);
  rig_reload(text, true);
  expect_calls(1, 0);
  rig_reload(conf(1, NULL, ""), true);
  invite("2");
  ua_expect(&alice, "SIP/2.0 503");
  ack("2");
  rig_reload(text, true);
  hang_up("1", "b"); /* while the peer is not there */
  expect_calls(0, 0);
  rig_reload(conf(1, NULL, ""), true);
  call("3");
  hang_up("3", "b");
  teardown_clean();
}

/* The caller is gone when the 200 comes: the callee repeats it, gives up and hangs up himself. */
Test(proxy_calls, a_2xx_that_reaches_nobody_counts_until_the_callees_bye) {
  ua_udp(&bob);
  ua_udp(&carol);
  proxy_begin(conf(1, NULL, ""));
  ua_tcp_connect(&alice);
  invite("1");
  ua_expect(&bob, "INVITE");
  keep_routes(&bob);
  struct ua invited = bob;
  ua_close(&alice);
  alice.conn = -1;
  rig_settle();
  ua_send(&bob, ua_response(&invited, "200 OK", "b", ""));
  RIG_UNTIL(calls_kept(&px) == 1);
  expect_calls(1, 0);
  inside(&bob, &alice, "BYE", "1", "b", true, 2);
  RIG_UNTIL(calls("b") == 0); /* nowhere to send it: timed out, or refused */
  teardown_clean();
}

/* A route that reload made stateless no longer has transactions that see the BYE. */
Test(proxy_calls, a_bye_by_a_stateless_route_ends_the_call) {
  char text[1000];
  setup(1, NULL, "");
  call("1");
  snprintf(text, sizeof(text),
           TIMERS "peer \"b\" { uri = \"sip:127.0.0.1:%u;transport=udp\" }\n"
                  "route \"r\" { peers = { \"b\" } stateless = true }\n",
           bob.port);
  rig_reload(text, true);
  uint64_t before = rig_count(TL_C_TXN_TOTAL);
  hang_up("1", "b");
  cr_expect_eq(rig_count(TL_C_TXN_TOTAL), before);
  teardown_clean();
}

/* ---- two workers ---- */

static void second_worker(void) {
  memset(&other, 0, sizeof(other));
  cr_assert_eq(tl_mailbox_init(&other.th.mailbox, 8), 0);
  other.th.index = 1;
  other.th.rt = &rig.rt;
  memset(&other_net, 0, sizeof(other_net));
  other.net = &other_net;
  other.net->proxy = &other;
  other.net->view = tl_net_view(px.net);
  other.net->now_ms = px.net->now_ms;
  tl_wheel_init(tl_net_wheel(other.net), px.net->now_ms);
  rig.rt.worker[1] = &other.th;
  rig.rt.n_worker = 2;
}

static void second_reads_mail(void) {
  tl_mailbox_deliver(&other.th.mailbox, other.net, UINT32_MAX);
}

static void second_goes(void) {
  second_reads_mail();
  tl_call_exit(&other);
  rig.rt.n_worker = 1;
  rig.rt.worker[1] = NULL;
  tl_mailbox_destroy(&other.th.mailbox);
}

/* Of so many calls about half are kept by either; each is found again. */
Test(proxy_calls, the_keeper_of_a_call_may_be_another_worker) {
  setup(20, NULL, "");
  second_worker();
  for (unsigned i = 0; i < 20; i++) {
    char id[8];
    snprintf(id, sizeof(id), "%u", i);
    call(id);
    if (i % 4 == 0) second_reads_mail();
  }
  second_reads_mail();
  cr_expect_eq(calls_kept(&px) + calls_kept(&other), 20);
  cr_expect_gt(calls_kept(&px), 0);
  cr_expect_gt(calls_kept(&other), 0);
  cr_expect_eq(calls("b"), 20);
  for (unsigned i = 0; i < 20; i++) {
    char id[8];
    snprintf(id, sizeof(id), "%u", i);
    hang_up(id, "b");
    second_reads_mail();
  }
  cr_expect_eq(calls("b"), 0);
  cr_expect_eq(atomic_load(&rig.rt.open_calls), 0);
  cr_expect_eq(calls_kept(&px) + calls_kept(&other), 0);
  second_goes();
  expect_calls(0, 0);
  teardown_clean();
}

static uint64_t key_for(unsigned keeper) {
  uint64_t key = (uint64_t)keeper << 32 | 77;
  cr_assert_eq((key >> 32) % 2, keeper);
  return key;
}

/* The keeper handles the BYE before it has read the mail that brings the call. */
Test(proxy_calls, a_bye_that_overtakes_its_call_finds_it) {
  setup(1, NULL, "");
  second_worker();
  struct tl_peer_share *l = tl_peer_share_of(&px, &tl_net_view(px.net)->peers->peer[0]);
  struct tl_call_slot *at = NULL;
  struct tl_msg m = {.call_id = TL_STR("x"), .from_tag = TL_STR("a")};
  char tag[16];
  uint64_t key = 0;
  cr_assert_not_null(l);
  cr_assert_eq(tl_call_take(&px, l, 1, &at), 0);
  for (unsigned i = 0; !key || (key >> 32) % 2 == 0; i++) {
    snprintf(tag, sizeof(tag), "t%u", i);
    m.to_tag = tl_str_c(tag);
    key = tl_token_dialog(&px, &m);
  }
  tl_call_answered(&px, at, &m);
  cr_expect_eq(tl_mailbox_depth(&other.th.mailbox), 1);
  tl_call_ended(&other, key); /* there, and its mail not read yet */
  cr_expect_eq(calls("b"), 1);
  cr_expect_eq(tl_mailbox_depth(&other.th.mailbox), 2);
  second_reads_mail();
  cr_expect_eq(calls("b"), 0);
  tl_call_answered(&px, at, &m); /* the 2xx repeated */
  cr_expect_eq(calls("b"), 0);
  tl_call_ended(&other, key);
  tl_call_ended(&px, key_for(1));
  second_reads_mail();
  tl_call_drop(&px, at);
  second_goes();
  teardown_clean();
}

/* A full mailbox: the call stays here, where its BYE most likely comes. */
Test(proxy_calls, a_call_that_cannot_be_posted_stays) {
  setup(20, NULL, "");
  second_worker();
  while (tl_mailbox_depth(&other.th.mailbox) < 8) tl_call_ended(&px, key_for(1)); /* of nobody */
  for (unsigned i = 0; i < 10; i++) {
    char id[8];
    snprintf(id, sizeof(id), "%u", i);
    call(id);
  }
  cr_expect_eq(calls_kept(&px), 10);
  cr_expect_gt(rig_count(TL_C_MAIL_FULL), 0);
  for (unsigned i = 0; i < 10; i++) {
    char id[8];
    snprintf(id, sizeof(id), "%u", i);
    hang_up(id, "b");
  }
  expect_calls(0, 0);
  second_goes();
  teardown_clean();
}

/* ---- the shared numbers ---- */

Test(proxy_calls, a_count_never_passes_its_bound) {
  _Atomic uint32_t n = 0;
  cr_expect(!tl_calls_take(&n, 0));
  cr_expect(tl_calls_take(&n, 2));
  cr_expect(tl_calls_take(&n, 2));
  cr_expect(!tl_calls_take(&n, 2));
  tl_calls_give(&n);
  cr_expect(!tl_calls_take(&n, 1));
  cr_expect(tl_calls_take(&n, 2));
}
