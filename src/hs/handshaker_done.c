/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After a handshake: the keys go into the kernel or into a user-space record object,
 * the SSL object is freed, the connection goes to a worker. Where that fails, the peer
 * is told by an alert. The keys are wiped here in every case.
 */
#include <stdlib.h>
#include <sys/socket.h>

#include "hs/handshaker.h"
#include "tieline/log.h"

static enum tl_records_mode mode_of(const struct tl_hs_conn *c, const struct tl_hs_result *s) {
  return s->domain->policy.records == TL_RECORDS_AUTO ? c->conf->opt.records
                                                      : s->domain->policy.records;
}

/* Puts both directions into the kernel, or says in OUT why not. TL_EIO: only RX is in. */
static int try_kernel(struct tl_hs_conn *c, const struct tl_hs_result *s,
                      struct tl_ktls_state *out) {
  if (s->max_fragment) { /* the kernel would send larger records (KTLS-FACTS 13) */
    out->tx = out->rx = TL_KTLS_FRAGMENT;
    return TL_ENOTSUP;
  }
  const struct tl_ktls_caps *caps = &c->hk->th.rt->caps;
  enum tl_records_mode mode = mode_of(c, s);
  if (mode == TL_RECORDS_AUTO && caps->ulp && caps->slow[s->keys.cipher]) {
    out->tx = out->rx = TL_KTLS_SLOW;
    return TL_ENOTSUP;
  }
  return tl_ktls_install(c->fd, mode == TL_RECORDS_USER ? NULL : caps, &s->keys, out);
}

/* Puts the keys into the kernel or *OUT_RECORD. On failure *OUT_WHY is the cause. */
static int install_keys(struct tl_hs_conn *c, const struct tl_hs_result *s,
                        struct tl_ktls_state *out, struct tl_record **out_record,
                        const char **out_why) {
  int rc = try_kernel(c, s, out);
  if (rc == 0) return TL_OK;
  *out_why = tl_ktls_why_text(out->tx != TL_KTLS_ON ? out->tx : out->rx);
  if (rc != TL_ENOTSUP || mode_of(c, s) == TL_RECORDS_KERNEL) {
    tl_count(&c->hk->th.counters, TL_C_KTLS_REFUSED);
    return rc;
  }
  rc = tl_record_new(&s->keys, s->max_fragment, out_record);
  *out_why = rc ? "the record keys could not be set up" : NULL;
  return rc;
}

static void count_success(struct tl_counters *ct, const struct tl_hs_result *s,
                          const struct tl_ktls_state *k) {
  static const enum tl_counter off[TL_KTLS_WHYS] = {
      [TL_KTLS_NO_ULP] = TL_C_KTLS_OFF_KERNEL, [TL_KTLS_NO_CIPHER] = TL_C_KTLS_OFF_CIPHER,
      [TL_KTLS_SLOW] = TL_C_KTLS_OFF_SLOW,     [TL_KTLS_CONFIG] = TL_C_KTLS_OFF_CONFIG,
      [TL_KTLS_FRAGMENT] = TL_C_KTLS_OFF_MFL,  [TL_KTLS_FAILED] = TL_C_KTLS_OFF_ERROR,
      [TL_KTLS_PLAIN] = TL_C_KTLS_OFF_ERROR};
  tl_count(ct, TL_C_HS_OK);
  if (s->resumed) tl_count(ct, TL_C_HS_OK_RESUMED);
  if (s->resume_offered) tl_count(ct, TL_C_RESUME_OFFERED);
  if (s->resume_refused) tl_count(ct, TL_C_RESUME_REFUSED);
  if (s->stapled) tl_count(ct, s->server ? TL_C_OCSP_STAPLED : TL_C_OCSP_STAPLE_SEEN);
  if (k->tx == TL_KTLS_ON) tl_count(ct, TL_C_KTLS_TX_ON);
  if (k->rx == TL_KTLS_ON) tl_count(ct, TL_C_KTLS_RX_ON);
  if (k->tx != TL_KTLS_ON) tl_count(ct, off[k->tx]);
}

/* A KeyUpdate in the kernel needs the traffic secrets again. */
static struct tl_tls_keys *keep_for_rekey(const struct tl_hs_conn *c,
                                          const struct tl_hs_result *s) {
  if (!c->hk->th.rt->caps.rekey || s->keys.version != TL_TLS_1_3) return NULL;
  struct tl_tls_keys *k = malloc(sizeof(*k));
  if (k) *k = s->keys;
  return k;
}

/* Must the control thread be asked about the status of the client's certificate? */
static bool wants_ocsp(const struct tl_handoff *h) {
  struct tl_ocsp_known known;
  uint8_t sha256[32];
  if (!h->server || !h->peer_verified || !h->domain || !h->identity ||
      h->domain->policy.ocsp.client == TL_OCSP_CLIENT_OFF)
    return false;
  return !tl_identity_cert_digest(h->identity, sha256) ||
         !tl_ocsp_recall(sha256, time(NULL), &known) || known.status != TL_OCSP_GOOD;
}

static struct tl_handoff *make_handoff(const struct tl_hs_conn *c, struct tl_hs_result *s) {
  struct tl_handoff *h = calloc(1, sizeof(*h));
  if (!h) return NULL;
  h->rt = c->hk->th.rt;
  h->fd = c->fd;
  h->conn = c->dial ? c->dial->conn : 0;
  if (c->listener >= 0) h->transport = c->conf->listen[c->listener].transport;
  h->peer = c->peer;
  h->local = c->local;
  h->version = s->keys.version;
  h->cipher = s->keys.cipher;
  h->domain = s->domain;
  h->identity = s->peer;
  h->own = s->own;
  h->peer_verified = s->peer_verified;
  h->resumed = s->resumed;
  h->server = s->server;
  h->max_fragment = s->max_fragment;
  if (s->sni[0]) h->sni = strdup(s->sni);
  h->ocsp_ask = wants_ocsp(h);
  s->domain = NULL; /* the references went along */
  s->peer = s->own = NULL;
  return h;
}

/* The worker with the fewest connections, those on their way included; ties go round. */
static unsigned least_loaded(struct tl_handshaker *hk) {
  struct tl_runtime *rt = hk->th.rt;
  unsigned best = 0, first = hk->next_worker++;
  uint64_t best_n = UINT64_MAX;
  for (unsigned i = 0; i < rt->n_worker; i++) {
    unsigned w = (first + i) % rt->n_worker;
    const struct tl_thread *t = rt->worker[w];
    uint64_t n = tl_count_get(&t->counters, TL_C_CONN_NOW) + tl_mailbox_depth(&t->mailbox);
    if (n < best_n) best = w, best_n = n;
  }
  return best;
}

static void post_handoff(struct tl_hs_conn *c, struct tl_handoff *h) {
  struct tl_handshaker *hk = c->hk;
  if (c->dial) {
    unsigned worker = c->dial->worker;
    tl_count(&hk->th.counters, TL_C_CONN_DIALED);
    tl_dial_free(c->dial);
    c->dial = NULL;
    tl_hk_post_answer(hk, h, worker);
    return;
  }
  if (tl_handoff_post(hk->th.rt->worker[least_loaded(hk)], h) == 0) return;
  tl_count(&hk->th.counters, TL_C_MAIL_FULL);
  tl_hk_report_refused(&c->peer, "the worker's mailbox is full");
  tl_handoff_free(h);
}

static bool seal_and_send(const struct tl_hs_conn *c, const struct tl_tls_keys *keys) {
  const uint8_t body[2] = {TL_ALERT_LEVEL_FATAL, TL_ALERT_INTERNAL_ERROR};
  uint8_t out[128];
  struct tl_record *r;
  size_t len;
  if (tl_record_new(keys, 0, &r)) return false;
  bool ok = tl_record_seal_from(r, TL_CT_ALERT, body, sizeof(body), out, &len) == 0 &&
            send(c->fd, out, len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len;
  tl_record_free(r);
  return ok;
}

/* The handshake is over for the peer, so what ends the connection now is an alert under its keys,
 * sealed by whoever has them. */
static bool tell_peer(const struct tl_hs_conn *c, const struct tl_tls_keys *keys,
                      const struct tl_ktls_state *k) {
  if (k->tx == TL_KTLS_ON)
    return tl_ktls_send_alert(c->fd, TL_ALERT_LEVEL_FATAL, TL_ALERT_INTERNAL_ERROR) == TL_OK;
  return seal_and_send(c, keys);
}

int tl_hk_hand_over(struct tl_hs_conn *c, const char **out_why) {
  struct tl_hs_result s;
  struct tl_ktls_state k = {TL_KTLS_PLAIN, TL_KTLS_PLAIN};
  struct tl_record *record = NULL;
  const char *why = NULL;
  *out_why = NULL;
  if (tl_hs_take(c->hs, &s)) return (int)tl_hs_failure(c->hs)->cause;
  struct tl_handoff *h = NULL;
  if (install_keys(c, &s, &k, &record, &why) == 0) h = make_handoff(c, &s);
  if (!h) {
    c->told = tell_peer(c, &s.keys, &k);
    tl_record_free(record);
    tl_hs_result_clear(&s);
    *out_why = why ? why : "out of memory";
    return TL_HS_INTERNAL;
  }
  h->ktls = k;
  h->record = record;
  if (!record) h->rekey = keep_for_rekey(c, &s);
  count_success(&c->hk->th.counters, &s, &k);
  tl_hk_report_success(c, h);
  h->post_hs = tl_hs_post(c->hs, &s);
  if (h->post_hs) c->hs = NULL;
  tl_hs_result_clear(&s);
  c->fd = -1;
  post_handoff(c, h);
  return TL_HS_OK;
}
