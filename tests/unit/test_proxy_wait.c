/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that wait: a stage of the test's own asks before they are routed, and the test answers,
 * late, never, or when nobody is there any more. Look-ups of names are tested in
 * test_proxy_txn.c. */
#include <criterion/criterion.h>
#include <unistd.h>

#include "proxy/wait.h"
#include "test_proxy_rig.h"

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

static struct ua alice, bob;
static char uri[100];

static const char *to_bob(void) {
  snprintf(uri, sizeof(uri), "sip:x@127.0.0.1:%u", bob.port);
  return uri;
}

static void begin(const char *extra) {
  char text[1000];
  snprintf(text, sizeof(text), "%s%s", conf, extra);
  memset(&asked, 0, sizeof(asked));
  waiter.deadline_ms = 20000;
  ua_udp(&alice);
  ua_udp(&bob);
  proxy_begin(text);
  px.stages = stages;
}

static void end(void) {
  cr_expect_eq(rig_count(TL_C_WAITING_NOW), 0);
  proxy_end_clean();
  ua_close(&alice);
  ua_close(&bob);
}

/* A request of alice's, which is asked about; its cookie. */
static uint64_t send_and_wait(const char *method, const char *id) {
  unsigned n = asked.n;
  ua_send(&alice, ua_request(&alice, method, to_bob(), id, "", ""));
  RIG_UNTIL(asked.n == n + 1);
  return asked.cookie;
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
  RIG_UNTIL(px.net.n_conn == 0);
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
