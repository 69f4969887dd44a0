/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that wait: a stage of the test's own asks before they are routed, and the test answers,
 * late, never, or when nobody is there any more. Look-ups of names are tested in
 * test_proxy_lookup.c. */
#include <criterion/criterion.h>
#include <unistd.h>

#include "proxy/wait.h"
#include "test_proxy_rig.h"
#include "tieline/resolve.h"

TestSuite(proxy_wait, .timeout = 30);

static const char conf[] = TIMERS "peer \"a\" { uri = \"sip:127.0.0.1:9;transport=tcp\" }\n"
                                  "route \"r\" { from_peer = \"a\" relay = \"request-uri\" }\n";

/* ---- the stage ---- */

/* What was asked last, how often, and what resumes. */
static struct {
  uint64_t cookie;
  unsigned n, n_resumed;
  bool refuses; /* nothing can be asked */
  bool has_peer;
} asked;

/* An answer; it is the test's. */
struct verdict {
  struct tl_mail mail;
  uint64_t cookie;
  unsigned status; /* 0: it may go on; 1: it is to be asked again */
};

static int ask(struct tl_req *req, uint64_t cookie) {
  cr_expect_not_null(req->txn);
  asked.cookie = cookie;
  asked.n++;
  return asked.refuses ? TL_ELIMIT : 0;
}

static enum tl_stage_result resume(struct tl_req *req, const struct tl_mail *answer);

static struct tl_waiter waiter = {.ask = ask, .resume = resume, .deadline_ms = 20000};

static enum tl_stage_result wait_here(struct tl_req *req) { return tl_wait_for(req, &waiter); }

static enum tl_stage_result resume(struct tl_req *req, const struct tl_mail *answer) {
  const struct verdict *v = (const struct verdict *)answer;
  cr_expect_eq(req->stage->run, wait_here);
  asked.n_resumed++;
  asked.has_peer = req->source && req->source->peer;
  if (v->status == 1) return tl_wait_for(req, &waiter);
  return v->status ? tl_req_refuse(req, v->status, "Asked Elsewhere", TL_STR("")) : TL_STAGE_GO_ON;
}

static const struct tl_stage stages[] = {
    {"absorb", tl_stage_absorb},
    {"validate", tl_stage_validate},
    {"identify", tl_stage_identify},
    {"authorise", tl_stage_authorise},
    {"ask", wait_here},
    {"route", tl_stage_route},
    {"admit", tl_stage_admit},
    {"rewrite", tl_stage_rewrite},
    {"send", tl_stage_send},
};

static void deliver_verdict(void *reader, struct tl_mail *m) {
  tl_wait_resume(tl_proxy_reader(reader), ((struct verdict *)m)->cookie, m);
}

static void drop_verdict(struct tl_mail *m) { (void)m; }

static const struct tl_mail_kind verdict_kind = {"verdict", deliver_verdict, drop_verdict};

/* Posts it, as another thread would, and lets the worker read it. */
static void answer(uint64_t cookie, unsigned status) {
  static struct verdict v;
  v = (struct verdict){.mail.kind = &verdict_kind, .cookie = cookie, .status = status};
  cr_assert_eq(tl_mailbox_post(&px.th.mailbox, &v.mail), 0);
  rig_settle();
}

/* ---- the rig ---- */

static struct ua alice, bob, eve; /* alice comes from a peer's address, eve does not */
static char uri[100];

static const char *to_bob(void) {
  snprintf(uri, sizeof(uri), "sip:x@127.0.0.1:%u", bob.port);
  return uri;
}

/* With BOB open already. */
static void begin_with(const char *first, const char *extra) {
  char text[1000];
  snprintf(text, sizeof(text), "%s%s", first, extra);
  memset(&asked, 0, sizeof(asked));
  waiter.deadline_ms = 20000;
  ua_udp(&alice);
  proxy_begin(text);
  px.stages = stages;
}

static void begin(const char *extra) {
  ua_udp(&bob);
  begin_with(conf, extra);
}

static void end(void) {
  cr_expect_eq(rig_count(TL_C_WAITING_NOW), 0);
  proxy_end_clean();
  ua_close(&alice);
  ua_close(&bob);
}

/* At 127.0.0.HOST, with a port that its Via may name. */
static void ua_at(struct ua *u, uint32_t host) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000000 | host)};
  ua_udp(u);
  at.sin_port = htons(u->port);
  close(u->fd);
  u->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  cr_assert_eq(bind(u->fd, (struct sockaddr *)&at, sizeof(at)), 0);
}

/* TEXT from U is asked about; its cookie. */
static uint64_t waits(struct ua *u, const char *text) {
  unsigned n = asked.n;
  ua_send(u, text);
  RIG_UNTIL(asked.n == n + 1);
  return asked.cookie;
}

/* A request of alice's, which is asked about; its cookie. */
static uint64_t send_and_wait(const char *method, const char *id) {
  return waits(&alice, ua_request(&alice, method, to_bob(), id, "", ""));
}

/* ---- tests ---- */

Test(proxy_wait, an_answer_resumes_behind_the_stage_that_asked) {
  begin("");
  uint64_t cookie = send_and_wait("INVITE", "1");
  cr_expect_eq(rig_count(TL_C_WAITING_NOW), 1);
  ua_send(&alice, ua_request(&alice, "INVITE", to_bob(), "1", "", ""));
  rig_settle();
  cr_expect_eq(asked.n, 1, "a retransmission was not absorbed");
  ua_expect_silence(&bob, 20);
  answer(cookie, 0);
  cr_expect(asked.has_peer);
  cr_expect_eq(rig_count(TL_C_WAITING_NOW), 0);
  ua_expect(&bob, "INVITE");
  ua_send(&bob, ua_response(&bob, "200 OK", "b", ""));
  ua_expect(&alice, "SIP/2.0 200");
  answer(cookie, 403); /* it has been answered before */
  cr_expect_eq(asked.n_resumed, 1);
  cr_expect_eq(rig_count(TL_C_WAITING_MOST), 1);
  end();
}

Test(proxy_wait, the_stage_says_where_it_goes_on) {
  begin("");
  uint64_t first = send_and_wait("INVITE", "1");
  answer(first, 1);
  cr_expect_eq(asked.n, 2);
  cr_expect_neq(asked.cookie, first);
  answer(first, 0); /* of the wait before this one */
  cr_expect_eq(asked.n_resumed, 1);
  answer(asked.cookie, 403);
  ua_expect(&alice, "SIP/2.0 403 Asked Elsewhere");
  ua_send(&alice, ua_request(&alice, "ACK", to_bob(), "1", "", ""));
  ua_expect_silence(&bob, 20);
  cr_expect_eq(rig_count(TL_C_WAITING_MOST), 1);
  end();
}

Test(proxy_wait, no_answer_in_time_is_a_503) {
  begin("");
  waiter.deadline_ms = 50;
  uint64_t cookie = send_and_wait("MESSAGE", "1");
  ua_expect(&alice, "SIP/2.0 503");
  cr_expect_eq(rig_count(TL_C_WAITING_EXPIRED), 1);
  /* The next one takes the same slot, and is not mistaken for it. */
  waiter.deadline_ms = 20000;
  uint64_t next = send_and_wait("MESSAGE", "2");
  cr_expect_eq((uint32_t)next, (uint32_t)cookie);
  answer(cookie, 0);
  cr_expect_eq(asked.n_resumed, 0);
  answer(next, 0);
  cr_expect_eq(asked.n_resumed, 1);
  ua_expect(&bob, "MESSAGE");
  ua_send(&bob, ua_response(&bob, "200 OK", "b", ""));
  ua_expect(&alice, "SIP/2.0 200");
  end();
}

Test(proxy_wait, a_cancelled_request_waits_no_more) {
  begin("");
  uint64_t cookie = send_and_wait("INVITE", "1");
  ua_send(&alice, ua_request(&alice, "CANCEL", to_bob(), "1", "", ""));
  ua_expect(&alice, "SIP/2.0 200");
  ua_expect(&alice, "SIP/2.0 487");
  cr_expect_eq(rig_count(TL_C_WAITING_NOW), 0);
  answer(cookie, 0);
  cr_expect_eq(asked.n_resumed, 0);
  ua_expect_silence(&bob, 20);
  ua_send(&alice, ua_request(&alice, "ACK", to_bob(), "1", "", ""));
  rig_settle();
  end();
}

/* Its source was worked out for its connection, and is still needed. */
Test(proxy_wait, a_request_goes_on_when_its_caller_has_gone) {
  struct ua carol;
  begin("");
  ua_tcp_connect(&carol);
  ua_send(&carol, ua_request(&carol, "MESSAGE", to_bob(), "1", "", ""));
  RIG_UNTIL(asked.n == 1);
  const struct linger reset = {.l_onoff = 1}; /* a half-closed one would wait for the response */
  setsockopt(carol.conn, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  ua_close(&carol);
  RIG_UNTIL(px.net->n_conn == 0);
  answer(asked.cookie, 0);
  cr_expect(asked.has_peer);
  ua_expect(&bob, "MESSAGE");
  ua_send(&bob, ua_response(&bob, "200 OK", "b", ""));
  rig_settle();
  end();
}

/* Source and routes are those that it came in with. */
Test(proxy_wait, a_reload_meanwhile_changes_nothing_for_it) {
  begin("");
  uint64_t cookie = send_and_wait("MESSAGE", "1");
  rig_reload(TIMERS "route \"none\" { to_domain = \"nobody.example\" relay = \"request-uri\" }\n",
             true);
  rig_turn();
  answer(cookie, 0);
  cr_expect(asked.has_peer);
  ua_expect(&bob, "MESSAGE");
  ua_send(&bob, ua_response(&bob, "200 OK", "b", ""));
  ua_expect(&alice, "SIP/2.0 200");
  end();
}

Test(proxy_wait, as_many_wait_as_max_waiting_says) {
  begin("limits { max_waiting = 2 }\n");
  uint64_t cookie[2] = {send_and_wait("MESSAGE", "1"), send_and_wait("MESSAGE", "2")};
  cr_expect_neq(cookie[0], cookie[1]);
  ua_send(&alice, ua_request(&alice, "MESSAGE", to_bob(), "3", "", ""));
  ua_expect(&alice, "SIP/2.0 503");
  cr_expect_eq(asked.n, 2);
  cr_expect_eq(rig_count(TL_C_WAITING_REFUSED), 1);
  answer(cookie[0], 404);
  ua_expect(&alice, "SIP/2.0 404");
  answer(cookie[1], 404);
  ua_expect(&alice, "SIP/2.0 404");
  cr_expect_eq(rig_count(TL_C_WAITING_MOST), 2);
  end();
}

/* What waits, to be answered in the end. */
static uint64_t cookies[32];
static unsigned n_cookies;

/* N requests of U's: so many wait, the others are refused. */
static void send_many(struct ua *u, const char *name, unsigned n_waits, unsigned n) {
  char id[32];
  for (unsigned i = 0; i < n; i++) {
    snprintf(id, sizeof(id), "%s%u", name, i);
    if (i < n_waits) {
      cookies[n_cookies++] = waits(u, ua_request(u, "MESSAGE", to_bob(), id, "", ""));
    } else {
      ua_send(u, ua_request(u, "MESSAGE", to_bob(), id, "", ""));
      ua_expect(u, "SIP/2.0 503 Overloaded");
    }
  }
}

static void answer_all(void) {
  for (unsigned i = 0; i < n_cookies; i++) answer(cookies[i], 404);
  n_cookies = 0;
}

static void expect_404(struct ua *u, unsigned n) {
  while (n--) ua_expect(u, "SIP/2.0 404");
}

/* Names whose servers are silent took all there was: nobody else's request could wait. */
Test(proxy_wait, s13_one_source_leaves_others_room_to_wait) {
  struct ua mallory;
  begin("limits { max_waiting = 16 }\n");
  ua_at(&eve, 7);
  ua_at(&mallory, 8);
  send_many(&eve, "e", 8, 12); /* nobody needs the first half */
  send_many(&mallory, "m", 2, 4);
  cr_expect_eq(rig_count(TL_C_WAITING_REFUSED), 6);
  send_many(&alice, "a", 4, 6); /* a peer has what is left, but for the reserve */
  cr_expect_eq(rig_count(TL_C_WAITING_NOW), 14);
  cr_expect_eq(rig_count(TL_C_WAITING_REFUSED), 8);
  answer_all();
  cr_expect_eq(rig_count(TL_C_WAITING_NOW), 0);
  expect_404(&eve, 8);
  send_many(&eve, "f", 8, 9); /* what she had has been given back */
  answer_all();
  ua_close(&eve);
  ua_close(&mallory);
  end();
}

/* ---- inside dialogs ---- */

/* A dialog of U's with bob: the Route line of its requests. */
static const char *established(struct ua *u) {
  static char line[1024];
  answer(waits(u, ua_request(u, "INVITE", to_bob(), "d", "", "")), 0);
  ua_expect(&bob, "INVITE");
  snprintf(line, sizeof(line), "Route: %s\r\n", ua_header(&bob, "Record-Route", 0));
  ua_send(&bob, ua_response(&bob, "200 OK", "b", "Contact: <sip:b@127.0.0.1>\r\n"));
  ua_expect(u, "SIP/2.0 200");
  return line;
}

/* Request N of that dialog. */
static const char *of_dialog(const struct ua *u, const char *method, unsigned n,
                             const char *route_line) {
  static char text[4000];
  snprintf(text, sizeof(text),
           "%s %s SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:%u;branch=z9hG4bKd%u\r\n"
           "From: <sip:alice@127.0.0.1>;tag=a-d\r\nTo: <sip:bob@example.com>;tag=b\r\n"
           "Call-ID: d@127.0.0.1\r\nCSeq: %u %s\r\nMax-Forwards: 70\r\n%s"
           "Content-Length: 0\r\n\r\n",
           method, to_bob(), u->port, n, n, method, route_line);
  return text;
}

static void expect_refused(struct ua *u, const char *text) {
  const uint64_t before = rig_count(TL_C_WAITING_REFUSED);
  ua_send(u, text);
  ua_expect(u, "SIP/2.0 503 Overloaded");
  cr_expect_eq(rig_count(TL_C_WAITING_REFUSED), before + 1);
}

Test(proxy_wait, s13_what_is_inside_a_dialog_waits_in_a_reserve) {
  begin("limits { max_waiting = 16 }\n");
  const char *line = established(&alice);
  send_many(&alice, "a", 14, 15);
  for (unsigned i = 2; i < 4; i++)
    cookies[n_cookies++] = waits(&alice, of_dialog(&alice, "INFO", i, line));
  expect_refused(&alice, of_dialog(&alice, "INFO", 4, line));
  answer_all();
  end();
}

/* Who is let into a dialog may not take the reserve with it either; but what comes in his name from
 * outside leaves his dialogs alone. */
Test(proxy_wait, s13_a_source_has_a_part_of_its_own_inside_dialogs) {
  begin("route \"open\" { relay = \"request-uri\" }\nlimits { max_waiting = 16 }\n");
  ua_at(&eve, 7);
  const char *line = established(&eve);
  send_many(&eve, "e", 8, 9);
  for (unsigned i = 2; i < 4; i++)
    cookies[n_cookies++] = waits(&eve, of_dialog(&eve, "INFO", i, line));
  expect_refused(&eve, of_dialog(&eve, "INFO", 4, line));
  answer_all();
  ua_close(&eve);
  end();
}

/* RFC 3261 15.1.1: whoever hung up is gone, whatever the answer. */
Test(proxy_wait, a_bye_that_cannot_wait_ends_its_call) {
  char more[300];
  ua_udp(&bob);
  snprintf(more, sizeof(more),
           "peer \"b\" { uri = \"sip:127.0.0.1:%u;transport=udp\" max_calls = 3 }\n"
           "route \"b\" { peers = \"b\" }\nlimits { max_waiting = 1 }\n",
           bob.port);
  begin_with(TIMERS, more);
  const char *line = established(&alice);
  cr_expect_eq(rig_count(TL_C_CALLS_NOW), 1);
  cookies[n_cookies++] = send_and_wait("MESSAGE", "1");
  expect_refused(&alice, of_dialog(&alice, "BYE", 2, line));
  cr_expect_eq(rig_count(TL_C_CALLS_NOW), 0);
  answer_all();
  end();
}

Test(proxy_wait, what_cannot_be_asked_is_a_503) {
  begin("");
  asked.refuses = true;
  send_and_wait("MESSAGE", "1");
  ua_expect(&alice, "SIP/2.0 503");
  cr_expect_eq(rig_count(TL_C_WAITING_NOW), 0);
  end();
}

/* An ACK has no response: it waits too, and is dropped in the end. */
Test(proxy_wait, an_ack_that_waits_in_vain_is_dropped) {
  begin("");
  waiter.deadline_ms = 50;
  send_and_wait("ACK", "1");
  RIG_UNTIL(rig_count(TL_C_WAITING_EXPIRED) == 1);
  cr_expect_eq(rig_count(TL_C_DROP_STRAY_ACK), 1);
  uint64_t cookie = send_and_wait("ACK", "2");
  answer(cookie, 0);
  ua_expect(&bob, "ACK");
  end();
}

/* A question is not asked for one that is only explained, and the end of a worker frees the rest.
 */
Test(proxy_wait, what_waits_at_the_end_is_freed) {
  static char text[1000];
  struct tl_scan_error err;
  struct tl_plan plan;
  struct tl_msg m;
  struct tl_req req;
  unsigned status;
  begin("");
  send_and_wait("MESSAGE", "1");
  snprintf(text, sizeof(text), "%s", ua_request(&alice, "MESSAGE", to_bob(), "2", "", ""));
  cr_assert_eq(tl_scan(text, strlen(text), true, 65536, &m, &err), 0);
  struct tl_flow from = {.transport = TL_UDP, .addr = rig.udp};
  cr_expect_eq(rig_plan(&req, &from, &m, &plan, &status), TL_EAGAIN);
  cr_expect_eq(asked.n, 1);
  proxy_end();
  ua_close(&alice);
  ua_close(&bob);
}

/* What identify had found was lost, and the request got 503 without a look-up. */
Test(proxy_wait, s7_a_request_in_a_dialog_looks_up_its_name_after_another_wait) {
  char line[1024];
  ua_udp(&bob);
  begin_with(TIMERS "route \"r\" { to_domain = \"127.0.0.1\" relay = \"request-uri\" }\n", "");
  px.stages = tl_request_stages;
  ua_send(&alice, ua_request(&alice, "INVITE", to_bob(), "d", "", ""));
  ua_expect(&bob, "INVITE");
  snprintf(line, sizeof(line), "Route: %s\r\n", ua_header(&bob, "Record-Route", 0));
  ua_send(&bob, ua_response(&bob, "200 OK", "b", ""));
  ua_expect(&alice, "SIP/2.0 200");
  px.stages = stages;
  answer(waits(&alice, ua_info_to_name(&alice, line)), 0);
  tl_mailbox_rearm(&rig.rt.resolver);
  struct tl_resolve *r = (struct tl_resolve *)tl_mailbox_take(&rig.rt.resolver);
  cr_assert_not_null(r, "nobody was asked for the name");
  r->rc = TL_ENOTFOUND;
  cr_assert_eq(tl_mail_send(&r->reply, &r->mail), 0);
  ua_expect(&alice, "SIP/2.0 503");
  end();
}
