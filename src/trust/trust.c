/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ties the parts of this room together. They know of each other only what they
 * are given here: who fetches, who asks about clients, whom to tell.
 *
 *   fetch.c        helper threads that fetch over HTTP (fetch.h)
 *   ocsp_*.c       our staples and clients' certificates (ocsp.h)
 *   ledger*.c      re-verifies connected chains (ledger.h)
 *   expiry.c       warns about what expires soon
 *   crl_refresh.c  keeps revocation lists fresh
 *   ticket_wipe.c  wipes ticket keys in time
 */
#include "tieline/trust.h"

#include "tieline/time.h"
#include "trust/crl_refresh.h"
#include "trust/expiry.h"
#include "trust/fetch.h"
#include "trust/ledger.h"
#include "trust/ocsp.h"
#include "trust/ticket_wipe.h"

static void on_ocsp_answer(void *arg, time_t until, bool revoked) {
  struct tl_trust_state *t = arg;
  tl_ledger_ocsp(t->ledger, until, revoked);
}

static void on_crl_taken(void *arg) {
  struct tl_trust_state *t = arg;
  tl_expiry_again(t->expiry);
  tl_ledger_wake(t->ledger, true);
}

static int make_parts(struct tl_trust_state *t, const struct tl_mail_kind *audited) {
  t->fetcher = tl_fetch_new(t->rt);
  if (!t->fetcher) return TL_ENOMEM;
  t->ocsp_client = tl_ocsp_clients_new(t->rt, t->fetcher, on_ocsp_answer, t);
  t->ocsp_staple = tl_ocsp_staples_new(t->rt, t->fetcher);
  t->ledger = tl_ledger_new(t->rt, audited, t->ocsp_client);
  t->expiry = tl_expiry_new(t->rt, t->ledger);
  t->crl = tl_crl_life_new(t->rt, t->fetcher, on_crl_taken, t);
  return t->ocsp_client && t->ocsp_staple && t->ledger && t->expiry && t->crl ? TL_OK : TL_ENOMEM;
}

int tl_trust_start(struct tl_trust_state *t, struct tl_runtime *rt,
                   const struct tl_mail_kind *audited) {
  *t = (struct tl_trust_state){.rt = rt};
  const int rc = make_parts(t, audited);
  if (rc) tl_trust_stop(t);
  return rc;
}

int tl_trust_run(struct tl_trust_state *t) { return tl_fetch_start(t->fetcher); }

static uint64_t tickets_turn(struct tl_trust_state *t, uint64_t now_ms) {
  if (now_ms < t->tickets_ms) return t->tickets_ms;
  struct tl_conf *conf = tl_runtime_conf(t->rt);
  t->tickets_ms = tl_tickets_look(conf, now_ms);
  tl_conf_unref(conf);
  return t->tickets_ms;
}

uint64_t tl_trust_turn(struct tl_trust_state *t, uint64_t now_ms) {
  uint64_t due_ms = tl_expiry_turn(t->expiry, now_ms);
  tl_time_sooner(&due_ms, tl_crl_turn(t->crl, now_ms));
  tl_time_sooner(&due_ms, tl_ocsp_client_turn(t->ocsp_client, now_ms));
  tl_time_sooner(&due_ms, tl_ocsp_staple_turn(t->ocsp_staple, now_ms));
  tl_time_sooner(&due_ms, tl_ledger_turn(t->ledger, now_ms));
  tl_time_sooner(&due_ms, tickets_turn(t, now_ms));
  return due_ms;
}

void tl_trust_audited(struct tl_trust_state *t, struct tl_audit *s) {
  if (t->closing)
    tl_audit_free(s);
  else
    tl_ledger_take(t->ledger, s);
}

void tl_trust_asked(struct tl_trust_state *t, struct tl_ocsp_ask *a) {
  if (!t->closing) tl_ocsp_client_consider(t->ocsp_client, a);
  tl_ocsp_ask_free(a);
}

void tl_trust_close(struct tl_trust_state *t) {
  t->closing = true;
  tl_crl_close(t->crl);
  tl_fetch_stop(t->fetcher);
}

void tl_trust_stop(struct tl_trust_state *t) {
  tl_crl_life_free(t->crl);
  tl_expiry_free(t->expiry);
  tl_ledger_free(t->ledger);
  tl_ocsp_staples_free(t->ocsp_staple);
  tl_ocsp_clients_free(t->ocsp_client);
  tl_fetch_free(t->fetcher);
  *t = (struct tl_trust_state){0};
}
