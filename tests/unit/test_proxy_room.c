/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker keeps for its transactions, and what waits between workers, is bounded in bytes;
 * only a dialog that our token shows has a reserve. */
#include <stdlib.h>

#include "proxy/xworker.h"
#include "test_proxy_rig.h"

TestSuite(proxy_room, .timeout = 30);

static struct ua alice, bob;
static char uri[100];

static const char *sip(const struct ua *u, const char *params) {
  snprintf(uri, sizeof(uri), "sip:x@127.0.0.1:%u%s", u->port, params);
  return uri;
}

static void room_begin(const char *conf) {
  ua_udp(&alice);
  ua_udp(&bob);
  proxy_begin(conf);
}

static void room_end(void) {
  proxy_end();
  ua_close(&alice);
  ua_close(&bob);
}

#define KEPT_TIMERS "timeouts { t1 = 60s t2 = 60s timer_f = 60m timer_b = 60m trying = 60s }\n"
#define LARGE 30000u

/* METHOD of alice's dialog CALL to bob: TO_TAG and ROUTE, whole header lines or nothing. */
static char *of_dialog(const char *method, unsigned n, const char *call, const char *to_tag,
                       const char *route_line, size_t body) {
  static char text[80000];
  int at = snprintf(text, sizeof(text),
                    "%s %s SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:%u;branch=z9hG4bKd%u\r\n"
                    "From: <sip:alice@127.0.0.1>;tag=a-%s\r\nTo: <sip:bob@example.com>%s\r\n"
                    "Call-ID: %s@127.0.0.1\r\nCSeq: %u %s\r\nMax-Forwards: 70\r\n%s"
                    "Content-Length: %zu\r\n\r\n",
                    method, sip(&bob, ""), alice.port, n, call, to_tag, call, n + 2, method,
                    route_line, body);
  memset(text + at, 'x', body);
  text[(size_t)at + body] = '\0';
  return text;
}

/* A dialog through the proxy: the Route line that its requests carry. */
static const char *established(const char *call) {
  static char line[1024];
  ua_send(&alice, ua_request(&alice, "INVITE", sip(&bob, ""), call, "", ""));
  ua_expect(&bob, "INVITE");
  cr_assert_eq(ua_headers(&bob, "Record-Route"), 1);
  snprintf(line, sizeof(line), "Route: %s\r\n", ua_header(&bob, "Record-Route", 0));
  ua_send(&bob, ua_response(&bob, "200 OK", "b", "Contact: <sip:b@127.0.0.1>\r\n"));
  ua_expect(&alice, "SIP/2.0 200");
  return line;
}

/* What has come to U by now: how many that begin with START. */
static unsigned came(struct ua *u, const char *start) {
  unsigned n = 0;
  for (ssize_t k; (k = recv(u->fd, u->in, sizeof(u->in) - 1, MSG_DONTWAIT)) > 0;) {
    u->in[k] = '\0';
    n += strncmp(u->in, start, strlen(start)) == 0;
  }
  return n;
}

/* N large messages of the dialog; how many were refused for load. */
static uint64_t fill(unsigned first, unsigned n, const char *call, const char *to_tag,
                     const char *route_line) {
  const uint64_t before = rig_count(TL_C_TXN_REFUSED), seen = rig_count(TL_C_REQ_MESSAGE);
  for (unsigned i = 0; i < n; i++) {
    ua_send(&alice, of_dialog("MESSAGE", first + i, call, to_tag, route_line, LARGE));
    RIG_UNTIL(rig_count(TL_C_REQ_MESSAGE) == seen + i + 1);
    came(&alice, "");
    came(&bob, "");
  }
  return rig_count(TL_C_TXN_REFUSED) - before;
}

Test(proxy_room, s12_only_our_token_opens_the_reserve) {
  static const char made_up[] = "Route: <sip:127.0.0.1;lr;tl=0123456789abcdef>\r\n";
  static const struct {
    const char *what, *call, *to_tag;
    int route; /* 0: none, 1: made up, 2: the dialog's */
  } row[] = {{"no tag", "x", "", 0},
             {"a made-up tag", "x", ";tag=made-up", 0},
             {"a made-up token", "x", ";tag=made-up", 1},
             {"another dialog's token", "x", ";tag=made-up", 2},
             {"the token, but no tag", "real", "", 2}};
  for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
    room_begin(KEPT_TIMERS "limits { max_kept = 256k }");
    const char *real = established("real");
    const char *line = row[i].route == 2 ? real : row[i].route ? made_up : "";
    cr_expect_gt(fill(0, 20, row[i].call, row[i].to_tag, line), 0, "%s", row[i].what);
    cr_expect_leq(px.saved_large, 256 * 1024 + LARGE + 1000, "%s: %zu bytes", row[i].what,
                  px.saved_large);
    /* The dialog goes on in its reserve, which has an end, too. */
    ua_send(&alice, of_dialog("INFO", 100, "real", ";tag=b", real, 10));
    RIG_UNTIL(came(&bob, "INFO") == 1);
    cr_expect_gt(fill(200, 10, "real", ";tag=b", real), 0, "%s", row[i].what);
    cr_expect_leq(px.saved_large, 256 * 1024 * 5 / 4 + LARGE + 1000, "%s: %zu bytes", row[i].what,
                  px.saved_large);
    room_end();
  }
}

Test(proxy_room, s12_an_ack_whose_next_hop_is_looked_up_needs_room) {
  room_begin(KEPT_TIMERS "limits { max_kept = 64k }");
  cr_assert_gt(fill(0, 6, "x", "", ""), 0);
  for (unsigned i = 0; i < 100; i++) { /* and what is left */
    const uint64_t seen = rig_count(TL_C_REQ_OPTIONS);
    ua_send(&alice, of_dialog("OPTIONS", 300 + i, "x", "", "", 0));
    RIG_UNTIL(rig_count(TL_C_REQ_OPTIONS) == seen + 1);
  }
  uint64_t stray = rig_count(TL_C_DROP_STRAY_ACK);
  const uint32_t before = px.txns->n;
  char *ack = of_dialog("ACK", 500, "y", "", "", 1500), *host = strstr(ack, "127.0.0.1:");
  memcpy(host, "a.example", 9);
  ua_send(&alice, ack);
  RIG_UNTIL(rig_count(TL_C_DROP_STRAY_ACK) == stray + 1);
  cr_expect_eq(px.txns->n, before);
  room_end();
}

/* What is kept for requests that were let in grows with what their callee answers. */
Test(proxy_room, s12_answers_are_kept_within_the_bound_and_passed_on_beyond) {
  room_begin(KEPT_TIMERS "limits { max_kept = 64k }");
  static char answer[8][LARGE + 2000];
  size_t len[8];
  char id[16];
  for (unsigned i = 0; i < 8; i++) {
    snprintf(id, sizeof(id), "%u", i);
    ua_send(&alice, ua_request(&alice, "INVITE", sip(&bob, ""), id, "", ""));
    ua_expect(&bob, "INVITE");
    char *m = ua_response(&bob, "183 Session Progress", "b", "");
    char *length = strstr(m, "Content-Length");
    cr_assert(length);
    *length = '\0';
    int at = snprintf(answer[i], sizeof(answer[i]), "%sContent-Length: %u\r\n\r\n", m, LARGE);
    memset(answer[i] + at, 'x', LARGE);
    len[i] = (size_t)at + LARGE;
  }
  for (unsigned i = 0; i < 8; i++) {
    ua_send_n(&bob, answer[i], len[i]);
    ua_expect(&alice, "SIP/2.0 183");
    cr_expect_leq(px.saved_large, 64 * 1024 + LARGE + 1000, "%zu bytes", px.saved_large);
  }
  cr_expect_gt(rig_count(TL_C_KEPT_FULL), 0);
  room_end();
}

/* ---- another worker, of which there is but the mailbox ---- */

static struct tl_thread other;

static void other_begin(unsigned mails) {
  other = (struct tl_thread){.index = 1};
  cr_assert_eq(tl_mailbox_init(&other.mailbox, mails), 0);
  rig.rt.worker[1] = &other;
  rig.rt.n_worker = 2;
}

static void other_end(void) {
  tl_mailbox_drop(&other.mailbox);
  tl_mailbox_destroy(&other.mailbox);
  rig.rt.n_worker = 1;
  rig.rt.worker[1] = NULL;
}

/* What comes to the other worker's mailbox for a CANCEL of U. */
static unsigned passed_on(struct ua *u, const char *id) {
  ua_send(u, ua_request(u, "CANCEL", "sip:x@example.com", id, "", ""));
  rig_sleep(20);
  return tl_mailbox_drop(&other.mailbox);
}

/* The other has one with any key; or none. */
static void other_has_invites(uint16_t n) {
  for (unsigned i = 0; i < TL_INVITE_SLOTS; i++) other.invites[i] = n;
}

/* Each CANCEL of nothing went from worker to worker. */
Test(proxy_room, s24_a_cancel_goes_on_only_where_an_invite_may_be) {
  room_begin(TIMERS);
  other_begin(100);
  cr_expect_eq(passed_on(&alice, "none"), 0);
  ua_expect(&alice, "SIP/2.0 481");
  other_has_invites(1);
  cr_expect_eq(passed_on(&alice, "none"), 1);
  ua_expect_silence(&alice, 20);
  other_has_invites(0);
  /* Ours count until they are gone. */
  ua_send(&alice, ua_request(&alice, "INVITE", sip(&bob, ""), "1", "", ""));
  rig_sleep(20);
  unsigned n = 0;
  for (unsigned i = 0; i < TL_INVITE_SLOTS; i++) n += px.th.invites[i];
  cr_expect_eq(n, 1);
  cr_expect_eq(passed_on(&alice, "1"), 0, "it is here");
  rig_sleep(2 * LINGER_MS);
  for (unsigned i = 0; i < TL_INVITE_SLOTS; i++) cr_assert_eq(px.th.invites[i], 0);
  other_end();
  room_end();
}

/* It took the stateless route at once, though the INVITE had a transaction elsewhere: one that came
 * before the route was stateless, or that UDP was too small for. */
Test(proxy_room, s24_a_cancel_asks_the_workers_before_it_takes_a_stateless_route) {
  room_begin(TIMERS "route \"r\" { relay = \"request-uri\" stateless = true }\n");
  other_begin(100);
  other_has_invites(1);
  ua_send(&alice, ua_request(&alice, "CANCEL", sip(&bob, ""), "1", "", "a body"));
  rig_sleep(20);
  ua_expect_silence(&bob, 0);
  struct tl_mail *m = tl_mailbox_take(&other.mailbox);
  cr_assert_not_null(m);
  m->kind->deliver(px.net, m); /* as if we were the last one asked: nobody has it */
  ua_expect(&bob, "CANCEL");
  cr_expect_str_eq(ua_body(&bob), "a body");
  other_has_invites(0);
  ua_send(&alice, ua_request(&alice, "CANCEL", sip(&bob, ""), "2", "", ""));
  ua_expect(&bob, "CANCEL");
  cr_expect_null(tl_mailbox_take(&other.mailbox));
  other_end();
  room_end();
}

static void cancel_with_a_full_mailbox(const char *conf) {
  room_begin(conf);
  other_begin(8);
  other_has_invites(1);
  while (tl_xw_send(&px, (tl_conn_id)2 << 56, "x", 1) == 0) continue;
  ua_send(&alice, ua_request(&alice, "CANCEL", sip(&bob, ""), "1", "", ""));
}

/* It was lost, and over TCP nobody sends it again. */
Test(proxy_room, s24_a_cancel_that_cannot_be_passed_on_is_refused_or_forwarded) {
  cancel_with_a_full_mailbox(TIMERS "route \"r\" { relay = \"request-uri\" }\n");
  ua_expect(&alice, "SIP/2.0 503");
  other_end();
  room_end();
  cancel_with_a_full_mailbox(TIMERS "route \"r\" { relay = \"request-uri\" stateless = true }\n");
  ua_expect(&bob, "CANCEL");
  other_end();
  room_end();
}

/* It was counted and logged as a request that was denied. */
Test(proxy_room, s24_a_cancel_of_nothing_counts_nothing_of_where_it_would_go) {
  room_begin(TIMERS "route \"r\" { to_domain = \"ours.example\" relay = \"request-uri\" }\n");
  ua_send(&alice, ua_request(&alice, "CANCEL", "sip:x@example.com", "none", "", ""));
  ua_expect(&alice, "SIP/2.0 481");
  cr_expect_eq(rig_count(TL_C_RELAY_DENIED), 0);
  ua_send(&alice, ua_request(&alice, "MESSAGE", "sip:x@example.com", "1", "", ""));
  ua_expect(&alice, "SIP/2.0 403");
  cr_expect_eq(rig_count(TL_C_RELAY_DENIED), 1);
  room_end();
}

Test(proxy_room, s12_mail_between_workers_is_bounded_by_its_bytes) {
  static char text[60000];
  const tl_conn_id theirs = (tl_conn_id)2 << 56;
  unsigned sent = 0;
  room_begin(TIMERS);
  other_begin(65536);
  while (sent < 10000 && tl_xw_send(&px, theirs, text, sizeof(text)) == 0) sent++;
  cr_expect_leq(sent * sizeof(text), TL_MAILBOX_BYTES + sizeof(text));
  cr_expect_eq(rig_count(TL_C_MAIL_FULL), 1);
  struct tl_mail *first = tl_mailbox_take(&other.mailbox);
  cr_assert_not_null(first);
  first->kind->drop(first);
  cr_expect_eq(tl_xw_send(&px, theirs, text, sizeof(text)), 0, "there is room again");
  tl_mailbox_drop(&other.mailbox);
  cr_expect_eq(atomic_load(&other.mailbox.bytes), 0);
  other_end();
  room_end();
}

/* Requests that nobody answers stay for half a minute: one stranger took all transactions. */
Test(proxy_room, s13_one_source_leaves_transactions_to_others) {
  struct sockaddr_in far = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000007)};
  char id[16];
  room_begin(KEPT_TIMERS "limits { max_transactions = 16 }\n");
  for (int i = 0; i < 20; i++) {
    snprintf(id, sizeof(id), "a%d", i);
    ua_send(&alice, ua_request(&alice, "MESSAGE", sip(&bob, ""), id, "", ""));
    if (i < 8)
      ua_expect(&bob, "MESSAGE");
    else
      ua_expect(&alice, "SIP/2.0 503 Overloaded");
  }
  close(alice.fd);
  alice.fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  far.sin_port = htons(alice.port);
  cr_assert_eq(bind(alice.fd, (struct sockaddr *)&far, sizeof(far)), 0);
  ua_send(&alice, ua_request(&alice, "MESSAGE", sip(&bob, ""), "b1", "", ""));
  ua_expect(&bob, "MESSAGE");
  ua_send(&alice, ua_request(&alice, "MESSAGE", sip(&bob, ""), "b2", "", ""));
  ua_expect(&bob, "MESSAGE");
  ua_send(&alice, ua_request(&alice, "MESSAGE", sip(&bob, ""), "b3", "", ""));
  ua_expect(&alice, "SIP/2.0 503 Overloaded");
  room_end();
}
