/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mail whose reader stops before it reads: each kind gives back all that it holds
 * (references, descriptors, counts; memory under AddressSanitizer), and questions
 * go back to those who asked.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/control_internal.h"
#include "hs/handshaker.h"
#include "net/net_internal.h"
#include "proxy/call.h"
#include "proxy/peer_share.h"
#include "proxy/token.h"
#include "proxy/xworker.h"
#include "runtime/handoff.h"
#include "test_proxy_rig.h"
#include "test_tls_duel.h"
#include "tieline/audit.h"
#include "tieline/conn_order.h"
#include "tieline/explain.h"
#include "tls/identity_read.h"

static struct tl_runtime rt;
static struct tl_thread reader, asker;
static struct tl_identity *identity;
static struct tl_tls_domain *domain;
static struct tl_tls_options options;
static unsigned n_answers;

static struct tl_identity *identity_new(void) {
  struct tl_identity *id;
  struct kit_cert c = kit_make(&(struct kit_options){.subject = "O=Lab/CN=peer.example",
                                                     .issuer = &pki_ca,
                                                     .ext = {"subjectAltName=DNS:peer.example"},
                                                     .to = "1"});
  cr_assert_eq(tl_identity_of_cert(c.x, NULL, &id), 0);
  id->verified = true;
  return id;
}

static void set_up(void) {
  pki_open();
  cr_assert_eq(tl_tls_init(), 0);
  options = duel_options();
  domain = duel_domain(&options);
  identity = identity_new();
  cr_assert_eq(tl_mailbox_init(&reader.mailbox, 64), 0);
  cr_assert_eq(tl_mailbox_init(&asker.mailbox, 64), 0);
  reader.rt = asker.rt = &rt;
}

/* References that were only the mail's would leave these counts higher, or lower. */
static void tear_down(void) {
  tl_mailbox_destroy(&reader.mailbox);
  tl_mailbox_destroy(&asker.mailbox);
  cr_expect_eq(identity->refs, 1);
  cr_expect_eq(domain->refs, 1);
  tl_identity_unref(identity);
  tl_tls_domain_unref(domain);
  pki_close();
}

TestSuite(mail_drop, .init = set_up, .fini = tear_down, .timeout = 30);

static void drop_all(void) { cr_expect_eq(tl_mailbox_drop(&reader.mailbox), 1); }

static void count_answer(struct tl_mail *m) {
  (void)m;
  n_answers++;
}

/* An answer is the test's to free. */
static const struct tl_mail_kind answer_kind = {"answer", NULL, count_answer};
static const struct tl_mail_address address = {&asker.mailbox, &answer_kind};

static struct tl_mail *take_answer(void) {
  struct tl_mail *m = tl_mailbox_take(&asker.mailbox);
  cr_assert_not_null(m);
  cr_expect_eq(m->kind, &answer_kind);
  return m;
}

/* ---- between workers and handshake threads ---- */

Test(mail_drop, handoff) {
  int pair[2];
  cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  struct tl_handoff *h = calloc(1, sizeof(*h));
  h->rt = &rt;
  h->fd = pair[0];
  h->identity = tl_identity_ref(identity);
  h->own = tl_identity_ref(identity);
  h->domain = tl_tls_domain_ref(domain);
  h->rekey = calloc(1, sizeof(*h->rekey));
  h->sni = strdup("peer.example");
  atomic_store(&rt.connections, 1);
  reader.takes = &tl_conn_handoff_kind;
  cr_assert_eq(tl_handoff_post(&reader, h), 0);
  drop_all();
  cr_expect_eq(atomic_load(&rt.connections), 0, "it counts no longer");
  cr_expect_eq(fcntl(pair[0], F_GETFD), -1, "it is closed");
  close(pair[1]);
}

Test(mail_drop, dial) {
  struct tl_dial *d = calloc(1, sizeof(*d));
  d->domain = tl_tls_domain_ref(domain);
  reader.takes = &tl_hk_dial_kind;
  cr_assert_eq(tl_dial_post(&reader, d), 0);
  drop_all();
}

/* ---- from the control thread ---- */

Test(mail_drop, orders_for_a_connection) {
  cr_assert_eq(tl_conn_order_close(&reader, 7, 0), 0);
  drop_all();
  cr_assert_eq(tl_conn_order_unpark(&reader, 7), 0);
  drop_all();
}

Test(mail_drop, list_of_connections_goes_back) {
  struct tl_dump *d = calloc(1, sizeof(*d));
  d->reply = address;
  cr_assert_eq(tl_dump_ask(&reader, d), 0);
  drop_all();
  cr_expect_eq(take_answer(), &d->mail);
  cr_expect_eq(d->rc, TL_ECLOSED);
  tl_dump_free(d);
}

static struct tl_audit *orders_new(void) {
  struct tl_audit *s = tl_audit_new(1);
  const struct tl_conn_class a = {.identity = identity, .domain = domain};
  cr_assert_not_null(s);
  s->n = 1;
  s->reply = address;
  cr_assert_eq(tl_conn_class_copy(&a, &s->directive[0].key), 0);
  s->directive[0].domain = tl_tls_domain_ref(domain);
  return s;
}

Test(mail_drop, orders_for_all_connections_go_back) {
  struct tl_audit *s = orders_new();
  cr_assert_eq(tl_audit_ask(&reader, s), 0);
  drop_all();
  cr_expect_eq(take_answer(), &s->mail);
  cr_expect_eq(s->rc, TL_ECLOSED);
  tl_audit_free(s);
}

Test(mail_drop, question_about_a_request_goes_back) {
  static struct tl_explain e;
  e.reply = address;
  cr_assert_eq(tl_explain_ask(&reader, &e), 0);
  drop_all();
  cr_expect_eq(take_answer(), &e.mail);
  cr_expect_eq(e.rc, TL_ECLOSED);
}

/* Whoever asked has stopped too: the question is dropped as its answer would be. */
Test(mail_drop, answer_that_nobody_takes) {
  static struct tl_explain e;
  e.reply = address;
  asker.mailbox.cap = 0;
  cr_assert_eq(tl_explain_ask(&reader, &e), 0);
  drop_all();
  cr_expect_eq(n_answers, 1);
}

/* ---- to the resolver and the control thread ---- */

Test(mail_drop, look_up_goes_back) {
  struct tl_resolve *r = calloc(1, sizeof(*r));
  cr_assert_eq(tl_mailbox_init(&rt.resolver, 8), 0);
  r->reply = address;
  cr_assert_eq(tl_resolve_ask(&rt.resolver, r), 0);
  tl_mailbox_destroy(&rt.resolver);
  cr_expect_eq(take_answer(), &r->mail);
  cr_expect_eq(r->rc, TL_ECLOSED);
  free(r);
}

Test(mail_drop, question_about_a_certificate) {
  static const struct tl_mail_address nobody;
  struct tl_ocsp_ask *a = calloc(1, sizeof(*a));
  a->identity = tl_identity_ref(identity);
  a->domain = tl_tls_domain_ref(domain);
  cr_expect_eq(tl_mail_send(&nobody, &a->mail), TL_EBUSY, "where no control thread runs");
  cr_assert_eq(
      tl_mail_send(&(struct tl_mail_address){&reader.mailbox, &tl_ocsp_question}, &a->mail), 0);
  drop_all();
}

/* ---- between workers ---- */

static struct tl_thread second;

static void two_workers(void) {
  proxy_begin(TIMERS);
  cr_assert_eq(tl_mailbox_init(&second.mailbox, 64), 0);
  rig.rt.worker[1] = &second;
  rig.rt.n_worker = 2;
}

static void second_stops(void) {
  tl_mailbox_destroy(&second.mailbox);
  rig.rt.n_worker = 1;
  rig.rt.worker[1] = NULL;
  proxy_end();
}

/* A worker that stopped freed the mail alone: the reference to the certificate stayed. */
Test(mail_drop, message_for_another_worker_with_its_senders_certificate) {
  static char text[] = "OPTIONS sip:x@example.com SIP/2.0\r\n"
                       "Via: SIP/2.0/TCP a.example;branch=z9hG4bK1\r\nMax-Forwards: 9\r\n"
                       "From: <sip:a@a.example>;tag=1\r\nTo: <sip:x@example.com>\r\n"
                       "Call-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
  const struct tl_flow from = {.transport = TL_TCP};
  const struct tl_body body = {.n = 0};
  struct tl_scan_error err;
  struct tl_msg m;
  two_workers();
  cr_assert_eq(tl_scan(text, sizeof(text) - 1, true, 8192, &m, &err), 0);
  const struct tl_passed_on passed_on = {.n_seen = 1, .identity = identity};
  tl_xw_message(&px, 1, &(struct tl_origin){.from = &from, .passed_on = &passed_on}, &m, &body, 2);
  cr_expect_eq(identity->refs, 2);
  second_stops();
  cr_expect_eq(identity->refs, 1);
}

Test(mail_drop, bytes_and_the_news_of_a_connections_end) {
  two_workers();
  struct tl_conn_tls tls = {.facts = {.identity = identity, .peer_verified = true}};
  struct tl_conn c = {.net = px.net,
                      .view = {.tls = &tls.facts, .alias.shared = true, .transport = TL_TLS},
                      .kept.tls = &tls};
  cr_expect_eq(tl_xw_send(&px, (tl_conn_id)2 << 56, "x", 1), 0);
  tl_xw_conn_gone(&px, &c, TL_ECLOSED);
  cr_expect_eq(identity->refs, 2);
  second_stops();
}

Test(mail_drop, alias_of_another_worker) {
  two_workers();
  struct tl_conn_tls tls = {
      .facts = {.identity = identity, .domain = domain, .peer_verified = true, .server = true}};
  struct tl_conn c = {.net = px.net,
                      .view = {.tls = &tls.facts, .transport = TL_TLS, .state = TL_CONN_OPEN},
                      .kept.tls = &tls};
  domain->policy.alias = domain->policy.allow_cn = true;
  cr_assert_eq(tl_alias_offer(&c, TL_STR("peer.example"), 5061), 0);
  cr_expect_eq(identity->refs, 2);
  tl_alias_drop(&c); /* the news of its end holds nothing */
  cr_expect_eq(tl_mailbox_depth(&second.mailbox), 2);
  second_stops();
}

/* *M: the answer. */
static void answer_a_call(struct tl_peer_share *l, int i, struct tl_msg *m) {
  static char text[400];
  struct tl_scan_error err;
  struct tl_call_slot *at;
  int n = snprintf(text, sizeof(text),
                   "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a.example;branch=z9hG4bK1\r\n"
                   "From: <sip:a@a.example>;tag=1\r\nTo: <sip:x@example.com>;tag=2\r\n"
                   "Call-ID: %d\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n",
                   i);
  cr_assert_eq(tl_scan(text, (size_t)n, false, 8192, m, &err), 0);
  cr_assert_eq(tl_call_take(&px, l, 100, &at), 0);
  tl_call_answered(&px, at, m);
  tl_call_drop(&px, at);
}

/* A call that was to be kept by a worker which stopped counted for ever. */
Test(mail_drop, call_that_another_worker_was_to_keep) {
  struct tl_peer_share l = {.state = tl_peer_state_of(1, "b")};
  struct tl_msg m;
  cr_assert_not_null(l.state);
  two_workers();
  int n = 0;
  while (n < 64 && !tl_mailbox_depth(&second.mailbox)) answer_a_call(&l, n++, &m);
  cr_assert_eq(tl_mailbox_depth(&second.mailbox), 1);
  cr_expect_eq(atomic_load(&rig.rt.open_calls), (uint32_t)n);
  tl_mailbox_drop(&second.mailbox);
  cr_expect_eq(atomic_load(&rig.rt.open_calls), (uint32_t)n - 1);
  cr_expect_eq(atomic_load(&l.state->calls.now), (uint32_t)n - 1);
  tl_call_ended(&px, tl_token_dialog(&px, &m)); /* not here: the news goes to the second */
  cr_expect_eq(tl_mailbox_depth(&second.mailbox), 1);
  tl_peer_state_unref(l.state); /* the calls have theirs */
  second_stops();
}

/* The worker's own mailbox, when the loop ends with mail in it. */
Test(mail_drop, what_a_stopping_worker_finds) {
  two_workers();
  struct tl_audit *s = orders_new();
  cr_assert_eq(tl_audit_ask(&px.th, s), 0);
  cr_assert_eq(tl_conn_order_close(&px.th, 7, 0), 0);
  tl_thread_stop(&px.th);
  rig_turn();
  cr_expect(tl_net_head(px.net)->stopping);
  cr_expect_eq(take_answer(), &s->mail);
  tl_audit_free(s);
  second_stops();
}
