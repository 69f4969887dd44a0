/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of targets that had been given up: none of them leaves a call that nobody has. */
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/forward.h"
#include "proxy/given_up.h"
#include "test_proxy_rig.h"

TestSuite(proxy_given_up, .timeout = 30);

static struct ua alice, bob, carol, dave;
static struct ua asked; /* a callee with the INVITE that it was sent */

/* Nothing ends by itself while a test runs, see time_out. */
#define LONG "timeouts { t1 = 1s timer_b = 60s timer_c = 60s timer_f = 60s trying = 60s }\n"

/* Bob, who has room for one call, carol and dave, in this order; 1... reaches bob alone. */
static void begin(const char *timers, const char *transport, const char *route) {
  char text[2000];
  snprintf(
      text, sizeof(text),
      "%s"
      "peer \"b\" { uri = \"sip:127.0.0.1:%u;transport=%s\" max_calls = 1 answer_timeout = 0 }\n"
      "peer \"c\" { uri = \"sip:127.0.0.1:%u;transport=udp\" answer_timeout = 0 }\n"
      "peer \"d\" { uri = \"sip:127.0.0.1:%u;transport=udp\" answer_timeout = 0 }\n"
      "route \"one\" { to_prefix = \"1\" peers = \"b\" %s }\n"
      "route \"all\" { peers = { \"b\", \"c\", \"d\" } %s }\n",
      timers, bob.port, transport, carol.port, dave.port, route, route);
  proxy_begin(text);
}

/* All over UDP but alice, whose transaction ends with her ACK as far as she is concerned. */
static void setup(const char *timers, const char *route) {
  ua_udp_each(&bob, &carol, &dave);
  begin(timers, "udp", route);
  ua_tcp_connect(&alice);
}

static uint32_t calls(void) { return atomic_load(&rig.rt.open_calls); }

static void teardown(void) {
  proxy_end();
  cr_expect_eq(calls(), 0, "%u calls still counted", calls());
  ua_close_each(&bob, &carol, &dave);
  ua_close(&alice);
}

static void invite(const char *uri, const char *id) {
  ua_send(&alice, ua_request(&alice, "INVITE", uri, id, "", ""));
}

static const char *at(const struct ua *u) {
  static char contact[100];
  snprintf(contact, sizeof(contact), "Contact: <sip:x@127.0.0.1:%u>\r\n", u->port);
  return contact;
}

static struct tl_branch *oldest(void) {
  cr_assert_not(cds_list_empty(&px.branches->given_up));
  return cds_list_first_entry(&px.branches->given_up, struct tl_branch, given_up_node);
}

/* T's time is over. */
static void fire(struct tl_timer *t) {
  cr_assert(tl_timer_running(t));
  tl_timer_stop(tl_net_wheel(px.net), t);
  t->fn(t, px.net);
}

/* Whoever is awaited is awaited no longer. */
static void time_out(void) {
  const struct tl_slots *all = &px.branches->slots;
  for (uint32_t i = 0; i < all->n; i++) {
    struct tl_branch *b = all->at[i].object;
    if (!b || b->state > TL_BR_PROCEEDING) continue;
    fire(&b->timer);
    return;
  }
  cr_assert_fail("nobody is awaited");
}

/* INVITE comes to U, who is silent until he is given up. */
static void asked_in_vain(struct ua *u) {
  ua_expect(u, "INVITE");
  asked = *u;
  time_out();
}

/* Bob is asked alone and is silent; alice hears STATUS. */
static void refused(const char *status) {
  invite("sip:1@example.com", "1");
  asked_in_vain(&bob);
  ua_expect(&alice, status);
  ua_send(&alice, ua_request(&alice, "ACK", "sip:1@example.com", "1", "", ""));
  RIG_UNTIL(px.txns->n == 0);
  cr_expect_eq(rig_count(TL_C_GIVEN_UP_NOW), 1);
  cr_expect_eq(calls(), 0, "who was given up takes no room");
}

/* None of the three answers; they are in HAD with what they were asked. */
static void all_silent(struct ua had[3]) {
  struct ua *const u[] = {&bob, &carol, &dave};
  invite("sip:x@example.com", "1");
  for (int i = 0; i < 3; i++) {
    asked_in_vain(u[i]);
    had[i] = asked;
  }
  ua_expect(&alice, "SIP/2.0 408");
  ua_send(&alice, ua_request(&alice, "ACK", "sip:x@example.com", "1", "", ""));
  cr_expect_eq(rig_count(TL_C_GIVEN_UP_NOW), 3);
}

/* U says STATUS_LINE to the INVITE in ASKED, with TAG. */
static void say(struct ua *u, const char *status_line, const char *tag, const char *more) {
  ua_send(u, ua_response(&asked, status_line, tag, more));
}

static void expect_request(struct ua *u, const char *method, const char *tag, const char *cseq) {
  char line[80], to[80];
  snprintf(line, sizeof(line), "%s sip:x@127.0.0.1:%u SIP/2.0\r\n", method, u->port);
  snprintf(to, sizeof(to), "<sip:bob@example.com>;tag=%s", tag);
  ua_expect(u, line);
  cr_expect_str_eq(ua_header(u, "To", 0), to);
  cr_expect_str_eq(ua_header(u, "From", 0), "<sip:alice@127.0.0.1>;tag=a-1");
  cr_expect_str_eq(ua_header(u, "Call-ID", 0), "1@127.0.0.1");
  cr_expect_str_eq(ua_header(u, "CSeq", 0), cseq);
  cr_expect_eq(ua_headers(u, "Via"), 1);
}

/* U gets the ACK, and the BYE behind it, of the call with TAG. */
static void expect_ended(struct ua *u, const char *tag) {
  expect_request(u, "ACK", tag, "1 ACK");
  cr_expect_eq(ua_headers(u, "Route"), 0);
  expect_request(u, "BYE", tag, "2 BYE");
  cr_expect_eq(ua_headers(u, "Route"), 0);
  ua_send(u, ua_response(u, "200 OK", "", ""));
  RIG_UNTIL(px.txns->n == 0);
}

/* ---- passed on ---- */

Test(proxy_given_up, f24_a_late_answer_goes_up_while_another_target_rings) {
  setup(LONG, "");
  invite("sip:x@example.com", "1");
  asked_in_vain(&bob);
  ua_expect(&carol, "INVITE");
  struct ua rings = carol;
  ua_send(&carol, ua_response(&carol, "180 Ringing", "c", ""));
  ua_expect(&alice, "SIP/2.0 180");
  cr_expect_eq(calls(), 0);
  say(&bob, "200 OK", "b", at(&bob));
  ua_expect(&alice, "SIP/2.0 200");
  cr_expect_str_eq(ua_header(&alice, "To", 0), "<sip:bob@example.com>;tag=b");
  ua_expect(&carol, "CANCEL");
  ua_send(&carol, ua_response(&carol, "200 OK", "c", ""));
  ua_send(&carol, ua_response(&rings, "487 Request Terminated", "c", ""));
  ua_expect(&carol, "ACK");
  cr_expect_eq(rig_count(TL_C_LATE_PASSED), 1);
  cr_expect_eq(rig_count(TL_C_GIVEN_UP_NOW), 0);
  cr_expect_eq(px.txns->n, 0);
  cr_expect_eq(calls(), 1, "it counts from now on");
  invite("sip:1@example.com", "2");
  ua_expect(&alice, "SIP/2.0 503");
  teardown();
}

Test(proxy_given_up, f24_of_two_late_answers_both_go_up) {
  setup(LONG, "");
  invite("sip:x@example.com", "1");
  asked_in_vain(&bob);
  struct ua first = asked;
  asked_in_vain(&carol);
  ua_expect(&dave, "INVITE");
  cr_expect_eq(rig_count(TL_C_GIVEN_UP_NOW), 2);
  say(&carol, "200 OK", "c", at(&carol));
  ua_expect(&alice, "SIP/2.0 200");
  cr_expect_str_eq(ua_header(&alice, "To", 0), "<sip:bob@example.com>;tag=c");
  ua_send(&bob, ua_response(&first, "200 OK", "b", at(&bob)));
  ua_expect(&alice, "SIP/2.0 200");
  cr_expect_str_eq(ua_header(&alice, "To", 0), "<sip:bob@example.com>;tag=b");
  cr_expect_eq(rig_count(TL_C_LATE_PASSED), 2);
  cr_expect_eq(rig_count(TL_C_GIVEN_UP_NOW), 0);
  cr_expect_eq(calls(), 1);
  teardown();
}

/* ---- ended ---- */

Test(proxy_given_up, f24_a_late_answer_behind_our_408_is_ended) {
  setup(LONG, "");
  refused("SIP/2.0 408");
  bob.repeats = true;
  say(&bob, "200 OK", "b", at(&bob));
  expect_ended(&bob, "b");
  for (int i = 0; i < 3; i++) { /* its ACK may have been lost */
    say(&bob, "200 OK", "b", at(&bob));
    expect_request(&bob, "ACK", "b", "1 ACK");
  }
  cr_expect_eq(rig_count(TL_C_LATE_ENDED), 1);
  cr_expect_eq(rig_count(TL_C_LATE_LOST), 0);
  cr_expect_eq(calls(), 0);
  ua_expect_silence(&alice, 20);
  teardown();
}

/* Behind bob the INVITE forked: each of the dialogs is a call of its own. */
Test(proxy_given_up, f24_each_fork_is_ended_within_bounds) {
  char tag[16];
  setup(LONG, "");
  refused("SIP/2.0 408");
  for (int i = 0; i < 8; i++) {
    snprintf(tag, sizeof(tag), "b%d", i);
    say(&bob, "200 OK", tag, at(&bob));
    expect_ended(&bob, tag);
  }
  cr_expect_eq(rig_count(TL_C_LATE_ENDED), 8);
  say(&bob, "200 OK", "b8", at(&bob));
  RIG_UNTIL(rig_count(TL_C_LATE_LOST) == 1);
  ua_expect_silence(&bob, 20);
  teardown();
}

Test(proxy_given_up, f24_several_targets_may_answer_too_late) {
  static struct ua had[3];
  setup(LONG, "");
  all_silent(had);
  ua_send(&carol, ua_response(&had[1], "200 OK", "c", at(&carol)));
  expect_ended(&carol, "c");
  ua_send(&bob, ua_response(&had[0], "200 OK", "b", at(&bob)));
  expect_ended(&bob, "b");
  ua_send(&dave, ua_response(&had[2], "486 Busy Here", "d", ""));
  ua_expect(&dave, "ACK");
  cr_expect_eq(rig_count(TL_C_LATE_ENDED), 2);
  cr_expect_eq(rig_count(TL_C_GIVEN_UP_NOW), 2, "dave has had his answer");
  teardown();
}

/* Those that entered themselves behind us, the nearest first; our own entry is not for them. */
Test(proxy_given_up, f24_the_way_is_the_route_set_of_the_answer) {
  static struct ua had[3];
  static char with[8000];
  char way[100];
  setup(LONG, "");
  all_silent(had);
  const char *text = ua_response(&had[0], "200 OK", "b", at(&carol));
  const char *ours = strstr(text, "Record-Route:");
  cr_assert_not_null(ours);
  snprintf(with, sizeof(with),
           "%.*sRecord-Route: <sip:far.example;lr>,\r\n <sip:127.0.0.1:%u;lr>\r\n%s",
           (int)(ours - text), text, carol.port, ours);
  snprintf(way, sizeof(way), "<sip:127.0.0.1:%u;lr>, <sip:far.example;lr>", carol.port);
  ua_send(&bob, with);
  expect_request(&carol, "ACK", "b", "1 ACK");
  cr_expect_str_eq(ua_header(&carol, "Route", 0), way);
  expect_request(&carol, "BYE", "b", "2 BYE");
  cr_expect_str_eq(ua_header(&carol, "Route", 0), way);
  ua_expect_silence(&bob, 0);
  teardown();
}

/* Without our entry, which a callee must repeat, nothing entitles it to be anywhere else. */
Test(proxy_given_up, f24_without_a_route_it_goes_where_it_came_from) {
  char *text, *from;
  setup(LONG, "");
  refused("SIP/2.0 408");
  text = ua_response(&asked, "200 OK", "b", "Contact: <tel:+1>\r\n");
  while ((from = strstr(text, "Record-Route:")) != NULL) {
    const char *next = strstr(from, "\r\n") + 2;
    memmove(from, next, strlen(next) + 1);
  }
  ua_send(&bob, text);
  ua_expect(&bob, "ACK tel:+1 SIP/2.0\r\n");
  ua_expect(&bob, "BYE tel:+1 SIP/2.0\r\n");
  ua_send(&bob, ua_response(&bob, "481 Gone", "", ""));
  RIG_UNTIL(px.txns->n == 0);
  cr_expect_eq(rig_count(TL_C_LATE_ENDED), 1);
  cr_expect_eq(rig_count(TL_C_LATE_LOST), 0);
  teardown();
}

/* A challenge is not for us to answer. */
Test(proxy_given_up, f24_a_bye_that_fails_is_told) {
  setup(LONG, "");
  refused("SIP/2.0 408");
  say(&bob, "200 OK", "b", at(&bob));
  expect_request(&bob, "ACK", "b", "1 ACK");
  expect_request(&bob, "BYE", "b", "2 BYE");
  ua_send(&bob, ua_response(&bob, "401 Unauthorized", "", "WWW-Authenticate: Digest realm=x\r\n"));
  RIG_UNTIL(rig_count(TL_C_LATE_LOST) == 1);
  cr_expect_eq(px.txns->n, 0);
  teardown();
}

/* The parties know their call and may go on with it. */
Test(proxy_given_up, f24_inside_a_dialog_the_ack_is_all) {
  char routes[1000], text[3000];
  setup(LONG, "");
  invite("sip:1@example.com", "1");
  ua_expect(&bob, "INVITE");
  ua_send(&bob, ua_response(&bob, "200 OK", "b", at(&bob)));
  ua_expect(&alice, "SIP/2.0 200");
  size_t n = 0;
  for (unsigned i = ua_headers(&alice, "Record-Route"); i--;)
    n += (size_t)snprintf(routes + n, sizeof(routes) - n, "Route: %s\r\n",
                          ua_header(&alice, "Record-Route", i));
  snprintf(
      text, sizeof(text),
      "INVITE sip:x@127.0.0.1:%u SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:%u;branch=z9hG4bKre\r\n"
      "%sFrom: <sip:alice@127.0.0.1>;tag=a-1\r\nTo: <sip:bob@example.com>;tag=b\r\n"
      "Call-ID: 1@127.0.0.1\r\nCSeq: 7 INVITE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
      bob.port, alice.port, routes);
  ua_send(&alice, text);
  asked_in_vain(&bob);
  ua_expect(&alice, "SIP/2.0 408");
  say(&bob, "200 OK", "", at(&bob));
  expect_request(&bob, "ACK", "b", "7 ACK");
  cr_expect_eq(rig_count(TL_C_LATE_ACKED), 1);
  cr_expect_eq(rig_count(TL_C_LATE_ENDED), 0);
  ua_expect_silence(&bob, 20);
  cr_expect_eq(calls(), 1, "the call goes on");
  teardown();
}

/* ---- other answers ---- */

Test(proxy_given_up, f24_who_rings_late_is_cancelled) {
  setup(LONG, "");
  refused("SIP/2.0 408");
  struct ua first = asked;
  say(&bob, "180 Ringing", "b", "");
  ua_expect(&bob, "CANCEL sip:");
  cr_expect_str_eq(ua_header(&bob, "Via", 0), ua_header(&first, "Via", 0));
  ua_send(&bob, ua_response(&bob, "200 OK", "b", ""));
  say(&bob, "487 Request Terminated", "b", "");
  ua_expect(&bob, "ACK sip:");
  cr_expect_eq(rig_count(TL_C_GIVEN_UP_NOW), 0);
  ua_expect_silence(&alice, 20);
  teardown();
}

Test(proxy_given_up, f24_a_late_refusal_changes_nothing) {
  setup(LONG, "");
  invite("sip:x@example.com", "1");
  asked_in_vain(&bob);
  ua_expect(&carol, "INVITE");
  struct ua second = carol;
  ua_send(&carol, ua_response(&carol, "180 Ringing", "c", ""));
  ua_expect(&alice, "SIP/2.0 180");
  say(&bob, "603 Decline", "b", "");
  ua_expect(&bob, "ACK");
  ua_expect_silence(&alice, 20);
  ua_expect_silence(&carol, 0);
  ua_send(&carol, ua_response(&second, "200 OK", "c", ""));
  ua_expect(&alice, "SIP/2.0 200");
  teardown();
}

/* The caller has hung up meanwhile: 9.1 has the CANCEL wait for a response, which came too late. */
Test(proxy_given_up, f24_the_caller_has_cancelled) {
  setup(LONG, "");
  invite("sip:1@example.com", "1");
  ua_expect(&bob, "INVITE");
  asked = bob;
  ua_send(&alice, ua_request(&alice, "CANCEL", "sip:1@example.com", "1", "", ""));
  ua_expect(&alice, "SIP/2.0 200");
  time_out();
  ua_expect(&alice, "SIP/2.0 487");
  ua_send(&alice, ua_request(&alice, "ACK", "sip:1@example.com", "1", "", ""));
  say(&bob, "200 OK", "b", at(&bob));
  expect_ended(&bob, "b");
  cr_expect_eq(rig_count(TL_C_LATE_ENDED), 1);
  teardown();
}

/* As a time for any answer will want it: who has said no more than 100 is cancelled at once. */
Test(proxy_given_up, f24_who_is_given_up_behind_a_100_is_cancelled) {
  setup(LONG, "");
  invite("sip:x@example.com", "1");
  ua_expect(&bob, "INVITE");
  asked = bob;
  say(&bob, "100 Trying", "", "");
  struct tl_branch *b = tl_slots_get(&px.branches->slots, 0, px.branches->slots.at[0].gen);
  RIG_UNTIL(b->state == TL_BR_PROCEEDING);
  tl_forward_gave_up(b, 408);
  ua_expect(&bob, "CANCEL");
  ua_expect(&carol, "INVITE");
  cr_expect_eq(rig_count(TL_C_GIVEN_UP_NOW), 1);
  say(&bob, "200 OK", "b", at(&bob));
  ua_expect(&alice, "SIP/2.0 200");
  teardown();
}

/* ---- how long, and how many ---- */

/* Nobody acknowledged the 408: Timer H ends while bob may still answer. */
Test(proxy_given_up, f24_its_transaction_lives_as_long_as_it) {
  setup(LONG, "");
  invite("sip:1@example.com", "1");
  asked_in_vain(&bob);
  ua_expect(&alice, "SIP/2.0 408");
  struct tl_txn *txn = oldest()->txn;
  fire(&txn->timer);
  cr_expect_eq(txn->state, TL_TXN_CONFIRMED);
  say(&bob, "200 OK", "b", at(&bob));
  expect_ended(&bob, "b");
  fire(&oldest()->timer);
  cr_expect_eq(rig_count(TL_C_GIVEN_UP_NOW), 0);
  cr_expect_eq(px.txns->pool.used, 0);
  cr_expect_eq(px.branches->pool.used, 0);
  say(&bob, "200 OK", "b", at(&bob));
  RIG_UNTIL(rig_count(TL_C_DROP_STRAY_RESPONSE) == 1);
  teardown();
}

/* Carol never answers her CANCEL, and answers the INVITE when Timer L is over. */
Test(proxy_given_up, f24_who_lost_a_fork_may_answer_later_still) {
  setup(LONG, "fork = parallel");
  invite("sip:x@example.com", "1");
  ua_expect(&bob, "INVITE");
  ua_expect(&carol, "INVITE");
  asked = carol;
  ua_expect(&dave, "INVITE");
  ua_send(&carol, ua_response(&carol, "180 Ringing", "c", ""));
  ua_expect(&alice, "SIP/2.0 180");
  ua_send(&bob, ua_response(&bob, "200 OK", "b", at(&bob)));
  ua_expect(&alice, "SIP/2.0 200");
  ua_expect(&carol, "CANCEL");
  struct tl_txn *txn = px.txns->table.txn[0];
  for (uint32_t i = 0; i <= px.txns->table.mask; i++)
    if (px.txns->table.key[i]) txn = px.txns->table.txn[i];
  fire(&txn->timer);
  cr_expect_eq(txn->state, TL_TXN_CONFIRMED);
  say(&carol, "200 OK", "c", at(&carol));
  expect_ended(&carol, "c");
  cr_expect_eq(rig_count(TL_C_LATE_ENDED), 1);
  cr_expect_eq(rig_count(TL_C_LATE_PASSED), 0);
  teardown();
}

Test(proxy_given_up, f24_of_too_many_the_oldest_goes) {
  setup(LONG, "");
  refused("SIP/2.0 408");
  struct ua first = asked;
  px.branches->n_given_up += TL_GIVEN_UP_MAX - 1;
  invite("sip:1@example.com", "2");
  asked_in_vain(&bob);
  ua_expect(&alice, "SIP/2.0 408");
  px.branches->n_given_up -= TL_GIVEN_UP_MAX - 1;
  cr_expect_eq(rig_count(TL_C_GIVEN_UP_DROPPED), 1);
  cr_expect_eq(rig_count(TL_C_GIVEN_UP_NOW), 1);
  ua_send(&bob, ua_response(&first, "200 OK", "b", at(&bob)));
  RIG_UNTIL(rig_count(TL_C_DROP_STRAY_RESPONSE) == 1);
  ua_send(&bob, ua_response(&asked, "200 OK", "b", at(&bob)));
  ua_expect(&bob, "ACK");
  cr_expect_str_eq(ua_header(&bob, "Call-ID", 0), "2@127.0.0.1");
  teardown();
}

/* Kept without their bodies, and no longer when the worker keeps half of what it may. */
Test(proxy_given_up, f24_they_do_not_fill_what_is_kept) {
  static char body[3001];
  memset(body, 'x', sizeof(body) - 1);
  setup(LONG "limits { max_kept = 65536 }\n", "");
  for (int i = 0; i < 30; i++) {
    char id[8];
    snprintf(id, sizeof(id), "n%d", i);
    ua_send(&alice, ua_request(&alice, "INVITE", "sip:1@example.com", id, "", i ? "" : body));
    asked_in_vain(&bob);
    ua_expect(&alice, "SIP/2.0 408");
    ua_send(&alice, ua_request(&alice, "ACK", "sip:1@example.com", id, "", ""));
    if (i == 0) cr_expect_lt(oldest()->sent->len, 2000);
  }
  cr_expect_gt(rig_count(TL_C_GIVEN_UP_DROPPED), 0);
  cr_expect_lt(px.saved_bytes, 65536 / 2 + 5120);
  teardown();
}

Test(proxy_given_up, f24_nothing_of_it_stays) {
  setup("timeouts { t1 = 10ms t2 = 40ms t4 = 40ms timer_b = 60ms timer_f = 60ms trying = 60s }\n",
        "");
  invite("sip:x@example.com", "1");
  ua_expect(&bob, "INVITE");
  asked = bob;
  ua_expect(&alice, "SIP/2.0 408");
  say(&bob, "200 OK", "b", at(&bob)); /* in time or not */
  proxy_end_clean();
  cr_expect_eq(calls(), 0);
  ua_close_each(&bob, &carol, &dave);
  ua_close(&alice);
}

/* ---- connections ---- */

static void lose(struct ua *u) {
  struct linger now = {.l_onoff = 1};
  setsockopt(u->conn, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  close(u->conn);
  u->conn = -1;
}

static void setup_tcp(void) {
  ua_tcp_listen(&bob);
  ua_udp(&carol);
  ua_udp(&dave);
  begin(LONG, "tcp", "");
  ua_tcp_connect(&alice);
}

/* It had the INVITE, and answers over another connection. */
Test(proxy_given_up, f24_an_answer_may_come_on_another_connection) {
  static struct ua again;
  setup_tcp();
  invite("sip:x@example.com", "1");
  ua_expect(&bob, "INVITE");
  asked = bob;
  lose(&bob);
  ua_expect(&carol, "INVITE");
  cr_expect_eq(rig_count(TL_C_GIVEN_UP_NOW), 1);
  cr_expect_eq(rig_count(TL_C_TXN_CONN_LOST), 0);
  ua_tcp_connect(&again);
  say(&again, "180 Ringing", "b", "");
  ua_expect(&again, "CANCEL");
  say(&again, "200 OK", "b", at(&bob));
  ua_expect(&alice, "SIP/2.0 200");
  cr_expect_str_eq(ua_header(&alice, "To", 0), "<sip:bob@example.com>;tag=b");
  cr_expect_eq(rig_count(TL_C_LATE_PASSED), 1);
  teardown();
  ua_close(&again);
}

/* It never had the INVITE. */
Test(proxy_given_up, f24_who_was_not_reached_is_not_waited_for) {
  setup_tcp();
  close(bob.fd);
  bob.fd = -1;
  invite("sip:x@example.com", "1");
  ua_expect(&carol, "INVITE");
  cr_expect_eq(rig_count(TL_C_GIVEN_UP_NOW), 0);
  cr_expect_eq(px.branches->pool.used, 1);
  teardown();
}

/* And loses the connection while it is given up: ACK and BYE go to its Contact. */
Test(proxy_given_up, f24_a_late_answer_on_another_connection_is_ended) {
  static struct ua again;
  setup_tcp();
  invite("sip:1@example.com", "1");
  ua_expect(&bob, "INVITE");
  asked = bob;
  lose(&bob);
  ua_expect(&alice, "SIP/2.0 503");
  ua_send(&alice, ua_request(&alice, "ACK", "sip:1@example.com", "1", "", ""));
  ua_tcp_connect(&again);
  char contact[100];
  snprintf(contact, sizeof(contact), "Contact: <sip:x@127.0.0.1:%u;transport=tcp>\r\n", bob.port);
  say(&again, "200 OK", "b", contact);
  ua_expect(&bob, "ACK");
  ua_expect(&bob, "BYE");
  ua_send(&bob, ua_response(&bob, "200 OK", "", ""));
  RIG_UNTIL(px.txns->n == 0);
  cr_expect_eq(rig_count(TL_C_LATE_ENDED), 1);
  teardown();
  ua_close(&again);
}
