/* SPDX-License-Identifier: Apache-2.0 */
/* Calls whose connections end while they ring, on either side (RFC 3261 17.1.1.2, 18.2.2). */
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/back.h"
#include "test_proxy_rig.h"

TestSuite(proxy_lost, .timeout = 30);

static struct ua alice, bob, carol, again;
static char route[1000];

static void lose(struct ua *u) {
  struct linger now = {.l_onoff = 1};
  setsockopt(u->conn, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  close(u->conn);
  u->conn = -1;
}

/* Peers bob, by TCP, and carol, by UDP, in this order; the timers leave time to lose something. */
static void begin(void) {
  ua_tcp_listen(&bob);
  ua_udp(&carol);
  snprintf(route, sizeof(route),
           "timeouts { timer_c = 20s timer_b = 20s trying = 60s }\n"
           "peer \"b\" { uri = \"sip:127.0.0.1:%u;transport=tcp\" }\n"
           "peer \"c\" { uri = \"sip:127.0.0.1:%u;transport=udp\" }\n"
           "route \"r\" { peers = { \"b\", \"c\" } }\n",
           bob.port, carol.port);
  proxy_begin(route);
}

static void end(void) {
  proxy_end();
  ua_close(&alice);
  ua_close(&bob);
  ua_close(&carol);
}

static void rings_at_bob(void) {
  ua_udp(&alice);
  begin();
  ua_send(&alice, ua_request(&alice, "INVITE", "sip:x@example.com", "1", "", ""));
  ua_expect(&bob, "INVITE");
  ua_send(&bob, ua_response(&bob, "180 Ringing", "b", ""));
  ua_expect(&alice, "SIP/2.0 180");
}

Test(proxy_lost, s7_a_call_that_rings_outlives_its_connection) {
  rings_at_bob();
  lose(&bob);
  RIG_UNTIL(rig_count(TL_C_TXN_CONN_LOST) == 1);
  ua_expect_silence(&alice, 30);
  ua_expect_silence(&carol, 0);
  ua_tcp_connect(&again);
  ua_send(&again, ua_response(&bob, "200 OK", "b", ""));
  ua_expect(&alice, "SIP/2.0 200");
  ua_close(&again);
  end();
}

Test(proxy_lost, s7_a_call_that_does_not_ring_yet_goes_to_the_next) {
  ua_udp(&alice);
  begin();
  ua_send(&alice, ua_request(&alice, "INVITE", "sip:x@example.com", "1", "", ""));
  ua_expect(&bob, "INVITE");
  lose(&bob);
  ua_expect(&carol, "INVITE");
  cr_expect_eq(rig_count(TL_C_TXN_CONN_LOST), 0);
  end();
}

Test(proxy_lost, s7_a_cancel_is_dialled_for) {
  rings_at_bob();
  lose(&bob);
  RIG_UNTIL(rig_count(TL_C_TXN_CONN_LOST) == 1);
  ua_send(&alice, ua_request(&alice, "CANCEL", "sip:x@example.com", "1", "", ""));
  ua_expect(&bob, "CANCEL");
  cr_expect_eq(rig_count(TL_C_CONN_DIALED), 2);
  end();
}

/* While the connection is there, answers come on it alone, and never by UDP. */
Test(proxy_lost, s7_nobody_else_answers) {
  rings_at_bob();
  ua_tcp_connect(&again);
  ua_send(&again, ua_response(&bob, "603 Decline", "m", ""));
  ua_close(&again);
  ua_send(&carol, ua_response(&bob, "603 Decline", "m", ""));
  RIG_UNTIL(rig_count(TL_C_DROP_NOT_ASKED) == 2);
  ua_expect_silence(&alice, 30);
  end();
}

/* And the caller's connection, which is not a peer's, is lost. */
static void rings_at_carol(void) {
  char uri[100];
  bob.fd = bob.conn = -1;
  ua_udp(&carol);
  proxy_begin("timeouts { timer_c = 20s timer_b = 20s trying = 60s }\n");
  snprintf(uri, sizeof(uri), "sip:x@127.0.0.1:%u", carol.port);
  ua_tcp_connect(&alice);
  ua_send(&alice, ua_request(&alice, "INVITE", uri, "1", "", ""));
  ua_expect(&carol, "INVITE");
  ua_send(&carol, ua_response(&carol, "180 Ringing", "c", ""));
  ua_expect(&alice, "SIP/2.0 180");
  lose(&alice);
  RIG_UNTIL(px.net->n_conn == 0);
}

Test(proxy_lost, s7_the_caller_is_answered_where_he_is_now) {
  rings_at_carol();
  ua_tcp_connect(&again);
  RIG_UNTIL(px.net->n_conn == 1);
  ua_send(&carol, ua_response(&carol, "183 Session Progress", "c", ""));
  ua_expect(&again, "SIP/2.0 183");
  ua_send(&carol, ua_response(&carol, "200 OK", "c", ""));
  ua_expect(&again, "SIP/2.0 200");
  cr_expect_eq(rig_count(TL_C_RESP_ELSEWHERE), 1, "from then on it is the call's own");
  cr_expect_eq(rig_count(TL_C_DROP_NO_ROUTE_BACK), 0);
  ua_close(&again);
  end();
}

/* An address may be many senders', and what we dialled there leads to whoever listens. */
Test(proxy_lost, s7_of_two_at_one_address_neither_is_the_caller) {
  static struct ua second;
  rings_at_carol();
  ua_tcp_connect(&again);
  ua_tcp_connect(&second);
  RIG_UNTIL(px.net->n_conn == 2);
  ua_send(&carol, ua_response(&carol, "200 OK", "c", ""));
  RIG_UNTIL(rig_count(TL_C_CONN_DIAL_FAILED) == 1);
  ua_expect_silence(&again, 20);
  ua_expect_silence(&second, 0);
  cr_expect_eq(rig_count(TL_C_RESP_ELSEWHERE), 0);
  ua_close(&again);
  ua_close(&second);
  end();
}

/* RFC 3261 18.2.2 to the letter: his Via says where he listens. */
Test(proxy_lost, s7_who_says_where_he_listens_is_dialled) {
  static struct ua home;
  char uri[100];
  bob.fd = bob.conn = -1;
  ua_udp(&carol);
  proxy_begin("timeouts { timer_c = 20s timer_b = 20s trying = 60s }\n");
  snprintf(uri, sizeof(uri), "sip:x@127.0.0.1:%u", carol.port);
  ua_tcp_listen(&home);
  ua_tcp_connect(&alice);
  ua_send(&alice, ua_request(&home, "INVITE", uri, "1", "", ""));
  ua_expect(&carol, "INVITE");
  lose(&alice);
  RIG_UNTIL(px.net->n_conn == 0);
  ua_tcp_connect(&again);
  RIG_UNTIL(px.net->n_conn == 1);
  ua_send(&carol, ua_response(&carol, "200 OK", "c", ""));
  ua_expect(&home, "SIP/2.0 200");
  ua_close(&again);
  ua_close(&home);
  end();
}

/* The other workers are asked in turn, and the last one dials. */
Test(proxy_lost, s7_other_workers_may_have_the_callers_connection) {
  static struct tl_thread other;
  rings_at_carol();
  cr_assert_eq(tl_mailbox_init(&other.mailbox, 100), 0);
  rig.rt.worker[1] = &other;
  rig.rt.n_worker = 2;
  ua_send(&carol, ua_response(&carol, "200 OK", "c", ""));
  RIG_UNTIL(atomic_load(&other.mailbox.bytes) > 0);
  struct tl_mail *m = tl_mailbox_take(&other.mailbox);
  cr_assert_str_eq(m->kind->name, "response back");
  ua_tcp_connect(&again);
  RIG_UNTIL(px.net->n_conn == 1);
  m->kind->deliver(px.net, m); /* as if we were the other */
  ua_expect(&again, "SIP/2.0 200");
  cr_expect_null(tl_mailbox_take(&other.mailbox));
  cr_expect_eq(rig_count(TL_C_CONN_DIAL_FAILED), 0);
  tl_mailbox_destroy(&other.mailbox);
  rig.rt.n_worker = 1;
  rig.rt.worker[1] = NULL;
  ua_close(&again);
  end();
}
