/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accounting: one log line when the INVITE of a call has its final answer and one when its BYE
 * has, with what is known of both connections (FEATURES B7). The log's queue is bounded and never
 * waited for; what it loses, it counts.
 *
 * The length of a call needs its start time: a table of fixed size holds those of the calls this
 * worker answered last, and a call that has dropped out of it is logged without a length.
 */
#include "account.h"

#include <stdlib.h>

#include "plan.h"
#include "proxy.h"
#include "saved.h"
#include "source.h"
#include "tieline/siphash.h"
#include "txn.h"

#define STARTS 8192u
#define TEXT_MAX 120u

struct tl_call_start {
  uint64_t key, at_ms;
};

/* Fields are gathered one by one, since most of them may be empty. */
struct line {
  struct tl_field f[40];
  size_t n;
};

static void add_field(struct line *l, const char *key, struct tl_str s) {
  if (s.n > TEXT_MAX) s.n = TEXT_MAX;
  if (s.n && l->n < sizeof(l->f) / sizeof(*l->f)) l->f[l->n++] = TL_F(key, s);
}

static void add_c(struct line *l, const char *key, const char *s) {
  if (s) add_field(l, key, tl_str_c(s));
}

static void add_i(struct line *l, const char *key, uint64_t v) {
  if (l->n < sizeof(l->f) / sizeof(*l->f)) l->f[l->n++] = TL_FI(key, v);
}

/* Names of one side's fields. */
struct names {
  const char *addr, *transport, *peer, *trust, *subject, *issuer, *serial, *verify, *tls, *cipher,
      *ktls;
};
#define NAMES(side)                                                                                \
  {                                                                                                \
    side "_addr", side "_transport", side "_peer", side "_trust", side "_subject", side "_issuer", \
        side "_serial", side "_verify", side "_tls", side "_cipher", side "_ktls"                  \
  }
static const struct names in_names = NAMES("in"), out_names = NAMES("out");

static void add_tls(struct line *l, const struct names *k, const struct tl_tls_facts *t) {
  add_c(l, k->tls, tl_tls_version_name((enum tl_tls_version)t->version));
  add_c(l, k->cipher, tl_cipher_name((enum tl_cipher)t->cipher));
  add_c(l, k->ktls,
        t->ktls.tx == TL_KTLS_ON   ? t->ktls.rx == TL_KTLS_ON ? "both" : "tx"
        : t->ktls.rx == TL_KTLS_ON ? "rx"
                                   : "off");
  if (!t->identity) return;
  add_c(l, k->subject, t->identity->subject);
  add_c(l, k->issuer, t->identity->issuer);
  add_c(l, k->serial, t->identity->serial);
  add_c(l, k->verify, tl_identity_field(t->identity, TL_ID_VERIFY));
}

static void add_side(struct tl_proxy *p, struct line *l, const struct names *k,
                     const struct tl_flow *h, char text[TL_ADDR_STRLEN]) {
  static const char *const trust[] = {"verified", "encrypted", "clear"};
  struct tl_conn *c = tl_transport_is_datagram(h->transport) ? NULL : tl_conn_get(p->net, h->conn);
  if (!h->addr.sa.sa_family) return; /* it never went out */
  add_c(l, k->addr, tl_addr_format(&h->addr, text));
  add_c(l, k->transport, tl_transport_param(h->transport));
  /* Of a closed connection, or one of another worker, only the address is known. */
  const struct tl_source *s = c || tl_transport_is_datagram(h->transport)
                                  ? tl_source_of(p, &(struct tl_origin){.from = h, .c = c})
                                  : NULL;
  if (s) {
    add_c(l, k->peer, s->peer ? s->peer->name : NULL);
    add_c(l, k->trust, trust[s->trust]);
  }
  if (c && tl_conn_tls(c)) add_tls(l, k, tl_conn_tls(c));
}

/* ---- how long a call was ---- */

static uint64_t key_of(const struct tl_proxy *p, struct tl_str call_id, struct tl_str tag) {
  return tl_siphash13(p->th.rt->secret, call_id.p, call_id.n) ^
         (tl_siphash13(p->th.rt->secret + 16, tag.p, tag.n) | 1);
}

static void note_answer(struct tl_proxy *p, const struct tl_msg *m) {
  if (!p->starts) p->starts = calloc(STARTS, sizeof(*p->starts));
  if (!p->starts) return;
  uint64_t key = key_of(p, m->call_id, m->from_tag);
  p->starts[key % STARTS] = (struct tl_call_start){.key = key, .at_ms = tl_net_now_ms(p->net)};
}

/* Whichever side hangs up, the caller's tag stands in From or in To. */
static void add_length(struct tl_proxy *p, struct line *l, const struct tl_msg *m) {
  for (int i = 0; i < 2 && p->starts; i++) {
    uint64_t key = key_of(p, m->call_id, i ? m->to_tag : m->from_tag);
    struct tl_call_start *s = &p->starts[key % STARTS];
    if (s->key != key) continue;
    add_i(l, "call_ms", tl_net_now_ms(p->net) - s->at_ms);
    s->key = 0;
    return;
  }
}

/* ---- lines ---- */

static bool is_logged(const struct tl_proxy *p, const struct tl_msg *m) {
  if (!tl_net_view(p->net)->conf->opt.log_calls || tl_log_level() < TL_LOG_INFO) return false;
  return m->method == TL_M_BYE || (m->method == TL_M_INVITE && m->to_tag.n == 0);
}

static void log_call(struct tl_proxy *p, const struct tl_msg *m, const struct tl_flow *from,
                     const struct tl_flow *to, const char *route, unsigned status, uint64_t ms) {
  char in[TL_ADDR_STRLEN], out[TL_ADDR_STRLEN];
  struct line l = {.n = 0};
  bool bye = m->method == TL_M_BYE;
  add_field(&l, "call_id", m->call_id);
  add_field(&l, "from", tl_msg_header(m, TL_H_FROM));
  add_field(&l, "to", tl_msg_header(m, TL_H_TO));
  add_field(&l, "asserted", tl_msg_header(m, TL_H_PAI));
  add_field(&l, "uri", m->uri);
  add_i(&l, "status", status);
  add_i(&l, bye ? "bye_ms" : "answer_ms", ms);
  if (bye)
    add_length(p, &l, m);
  else if (status >= 200 && status < 300)
    note_answer(p, m);
  add_c(&l, "route", route);
  add_side(p, &l, &in_names, from, in);
  if (to) add_side(p, &l, &out_names, to, out);
  tl_log_write(TL_LOG_INFO,
               bye            ? "A call ended."
               : status < 300 ? "A call was answered."
                              : "A call failed.",
               l.f, l.n);
}

void tl_account_done(struct tl_txn *txn, unsigned status) {
  struct tl_proxy *p = txn->proxy;
  struct tl_body body;
  if (!tl_net_view(p->net)->conf->opt.log_calls || !txn->request ||
      (!txn->invite && txn->method != TL_M_BYE))
    return;
  if (txn->plan && txn->plan->own) return; /* ends what nobody was told to have begun */
  const struct tl_msg *m = tl_saved_scan(txn->request, &body);
  if (!is_logged(p, m)) return;
  log_call(p, m, &txn->from, &txn->to,
           txn->plan && txn->plan->route ? txn->plan->route->name : NULL, status,
           tl_net_now_ms(p->net) - txn->born_ms);
}

void tl_account_refused(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m,
                        unsigned status) {
  if (is_logged(p, m)) log_call(p, m, from, NULL, NULL, status, 0);
}

void tl_account_exit(struct tl_proxy *p) {
  free(p->starts);
  p->starts = NULL;
}
