/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handshakes for operators: one line for each failure with everything known about
 * it, a counter by cause, and a debug line for each success. Lines are limited by
 * source and cause.
 */
#include <stdio.h>
#include <string.h>

#include "hs/handshaker.h"
#include "tieline/failures.h"
#include "tieline/log_limit.h"
#include "tieline/verify.h"

static enum tl_counter counter_of(int cause) {
  switch (cause) {
  case TL_HS_TIMEOUT: return TL_C_HS_FAIL_TIMEOUT;
  case TL_HS_VERIFY: return TL_C_HS_FAIL_VERIFY;
  case TL_HS_NAME: return TL_C_HS_FAIL_NAME;
  case TL_HS_ALERT: return TL_C_HS_FAIL_ALERT;
  case TL_HS_CLOSED: return TL_C_HS_FAIL_CLOSED;
  case TL_HS_CONNECT: return TL_C_HS_FAIL_CONNECT;
  case TL_HS_NOT_TLS: return TL_C_HS_FAIL_NOT_TLS;
  case TL_HS_INTERNAL: return TL_C_HS_FAIL_INTERNAL;
  default: return TL_C_HS_FAIL_PROTOCOL;
  }
}

/* Fields of a line, gathered one by one because most are often empty. */
struct line {
  struct tl_field f[16];
  size_t n;
};

static void add_field(struct line *l, const char *key, const char *text) {
  if (text && *text && l->n < sizeof(l->f) / sizeof(*l->f)) l->f[l->n++] = TL_FC(key, text);
}

static void add_alert(struct line *l, const char *key, uint8_t alert) {
  if (alert != 0xff) add_field(l, key, tl_alert_name(alert));
}

static void add_ends(struct line *l, const struct tl_hs_conn *c, char peer[TL_ADDR_STRLEN],
                     char local[TL_ADDR_STRLEN]) {
  add_field(l, "role", c->dial ? "client" : "server");
  add_field(l, "peer", tl_addr_format(&c->peer, peer));
  if (c->local.sa.sa_family) add_field(l, "local", tl_addr_format(&c->local, local));
}

/* Load balancers and port scanners connect and leave: counted, but no line for operators. */
static bool said_nothing(const struct tl_hs_conn *c) {
  return !c->dial && c->failure.cause == TL_HS_CLOSED && c->want <= TL_RECORD_HEADER &&
         c->have == 0 && c->failure.domain[0] == '\0';
}

/* For `ctl handshakes failed`: everything, whether or not a line may be written. */
static void keep_failure(const struct tl_hs_conn *c) {
  struct tl_failure f = {.outgoing = c->dial != NULL,
                         .peer = c->peer,
                         .local = c->local,
                         .what = c->failure,
                         .took_ms = tl_now_ms() - c->started_ms};
  clock_gettime(CLOCK_REALTIME, &f.at);
  if (c->dial) {
    snprintf(f.required_name, sizeof(f.required_name), "%s", c->dial->verify_name);
    if (!f.what.sni[0]) snprintf(f.what.sni, sizeof(f.what.sni), "%s", c->dial->sni);
    if (!f.what.domain[0])
      snprintf(f.what.domain, sizeof(f.what.domain), "%s", c->dial->domain->name);
  }
  tl_failure_note(&f);
}

void tl_hk_report_failure(struct tl_hs_conn *c) {
  const struct tl_hs_failure *f = &c->failure;
  enum tl_log_level level = said_nothing(c) ? TL_LOG_DEBUG : TL_LOG_WARN;
  tl_count(&c->hk->th.counters, counter_of((int)f->cause));
  if (!said_nothing(c)) keep_failure(c);
  const char *sentence =
      f->cause == TL_HS_CONNECT ? "An outgoing TLS connection failed." : "A TLS handshake failed.";
  if (tl_log_level() < level ||
      !tl_log_allowed(&c->peer, sentence, tl_hs_cause_name((int)f->cause)))
    return;
  char peer[TL_ADDR_STRLEN], local[TL_ADDR_STRLEN];
  struct line l = {.n = 0};
  add_ends(&l, c, peer, local);
  add_field(&l, "sni", f->sni[0] || !c->dial ? f->sni : c->dial->sni);
  add_field(&l, "tls_domain", f->domain[0] || !c->dial ? f->domain : c->dial->domain->name);
  add_field(&l, "cause", tl_hs_cause_name((int)f->cause));
  add_field(&l, "reason", f->reason);
  if (f->verify_code != TL_VERIFY_OK) {
    l.f[l.n++] = TL_FI("verify_code", f->verify_code);
    const char *verify = tl_verify_text(f->verify_code);
    if (strcmp(verify, f->reason) != 0) add_field(&l, "verify", verify);
    l.f[l.n++] = TL_FI("verify_depth", f->verify_depth);
    add_field(&l, "subject", f->subject);
    if (f->cause == TL_HS_NAME && c->dial) add_field(&l, "required_name", c->dial->verify_name);
  }
  add_alert(&l, "alert_sent", f->alert_sent);
  add_alert(&l, "alert_received", f->alert_received);
  tl_log_write(level, sentence, l.f, l.n);
}

void tl_hk_report_refused(const struct tl_addr *peer, const char *why) {
  char text[TL_ADDR_STRLEN];
  TL_LOG_FROM(peer, why, TL_LOG_WARN, "A TLS connection was refused.",
              TL_FC("peer", tl_addr_format(peer, text)), TL_FC("reason", why));
}

void tl_hk_report_success(const struct tl_hs_conn *c, const struct tl_handoff *h) {
  static const char sentence[] = "A TLS handshake succeeded.";
  if (tl_log_level() < TL_LOG_DEBUG || !tl_log_allowed(&c->peer, sentence, NULL)) return;
  char peer[TL_ADDR_STRLEN], local[TL_ADDR_STRLEN];
  struct line l = {.n = 0};
  add_ends(&l, c, peer, local);
  add_field(&l, "sni", h->sni);
  add_field(&l, "tls_domain", h->domain->name);
  add_field(&l, "version", tl_tls_version_name(h->version));
  add_field(&l, "cipher", tl_cipher_name(h->cipher));
  add_field(&l, "resumed", h->resumed ? "yes" : "no");
  add_field(&l, "subject", h->identity ? h->identity->subject : NULL);
  add_field(&l, "verified", h->peer_verified ? "yes" : "no");
  add_field(&l, "ktls_tx", tl_ktls_why_text(h->ktls.tx));
  add_field(&l, "ktls_rx", tl_ktls_why_text(h->ktls.rx));
  l.f[l.n++] = TL_FI("ms", tl_now_ms() - c->started_ms);
  tl_log_write(TL_LOG_DEBUG, sentence, l.f, l.n);
}
