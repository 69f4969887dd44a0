/* SPDX-License-Identifier: Apache-2.0 */
/* Answers made here, and the way they go back (RFC 3261 8.2.6, 18.2; RFC 3581). */
#include <stdio.h>

#include "proxy.h"

size_t tl_local_via_used(const struct tl_msg *m) {
  struct tl_str v = tl_hdr_value(m, m->first[TL_H_VIA]);
  size_t at = (size_t)(m->via.whole.p - v.p) + m->via.whole.n;
  while (at < v.n && (v.p[at] == ' ' || v.p[at] == '\t' || v.p[at] == '\r' || v.p[at] == '\n'))
    at++;
  if (at == v.n || v.p[at] != ',') return v.n;
  at++;
  while (at < v.n && (v.p[at] == ' ' || v.p[at] == '\t' || v.p[at] == '\r' || v.p[at] == '\n'))
    at++;
  return at;
}

/* Does sent-by name the very address the request came from? */
static bool sent_by_source(const struct tl_via *v, const struct tl_flow *from) {
  struct tl_addr a;
  return tl_addr_parse(v->host, 0, &a) == TL_OK && tl_addr_ip_eq(&a, &from->addr);
}

/* The parameter whose value V->received is, from its semicolon on; empty at the end if none is. */
static struct tl_str received_param(const struct tl_via *v) {
  const char *end = v->whole.p + v->whole.n, *p = v->received.p;
  if (!v->received.n) return (struct tl_str){end, 0};
  while (*p != ';') p--;
  return (struct tl_str){p, (size_t)(v->received.p + v->received.n - p)};
}

/* The top Via without rport and received: one that came in is somebody's claim, only ours may
 * stand. Returns the length, CAP if it does not fit. */
static size_t without_source(const struct tl_via *v, char *buf, size_t cap) {
  const char *start = v->whole.p, *end = start + v->whole.n;
  struct tl_str a = v->rport_param.n ? v->rport_param : (struct tl_str){end, 0};
  struct tl_str b = received_param(v);
  if (b.p < a.p) {
    struct tl_str first = b;
    b = a;
    a = first;
  }
  if (v->whole.n - a.n - b.n >= cap) return cap;
  size_t n = (size_t)(a.p - start), mid = (size_t)(b.p - a.p) - a.n;
  memcpy(buf, start, n);
  memcpy(buf + n, a.p + a.n, mid);
  memcpy(buf + n + mid, b.p + b.n, (size_t)(end - b.p) - b.n);
  return v->whole.n - a.n - b.n;
}

struct tl_str tl_local_via(const struct tl_msg *m, const struct tl_flow *from, char *buf,
                           size_t cap) {
  const struct tl_via *v = &m->via;
  char ip[TL_ADDR_STRLEN];
  if (m->via_bad) return TL_STR("");
  if (!v->has_rport && !v->received.n && sent_by_source(v, from)) return TL_STR("");
  struct tl_str shown = tl_str_c(tl_addr_format_host(&from->addr, ip));
  /* received carries no brackets: its grammar is a bare address (RFC 3261 25.1). */
  if (shown.n && shown.p[0] == '[') shown.p++, shown.n -= 2;
  size_t at = without_source(v, buf, cap);
  if (v->has_rport && at < cap)
    at += (size_t)snprintf(buf + at, cap - at, ";rport=%u", tl_addr_port(&from->addr));
  if ((v->has_rport || !sent_by_source(v, from)) && at < cap)
    at += (size_t)snprintf(buf + at, cap - at, ";received=%.*s", (int)shown.n, shown.p);
  return at < cap ? (struct tl_str){buf, at} : TL_STR("");
}

struct tl_flow tl_local_way_back(const struct tl_msg *m, const struct tl_flow *from) {
  struct tl_flow flow = *from;
  if (flow.transport == TL_UDP && !m->via.has_rport && !m->via_bad)
    tl_addr_set_port(&flow.addr, m->via.port ? m->via.port : 5060);
  return flow;
}

static void count_local(struct tl_proxy *p, unsigned status) {
  struct tl_counters *k = tl_proxy_counters(p);
  tl_count(k, status < 200   ? TL_C_LOCAL_1XX
              : status < 300 ? TL_C_LOCAL_2XX
              : status < 500 ? TL_C_LOCAL_4XX
                             : TL_C_LOCAL_5XX);
}

static size_t build(struct tl_proxy *p, const struct tl_msg *m, const struct tl_flow *from,
                    unsigned status, struct tl_str reason, struct tl_str extra) {
  char tag[16], via[TL_VIA_TEXT];
  size_t n = 0;
  tl_token_tag(p, m, tag);
  struct tl_str top = tl_local_via(m, from, via, sizeof(via));
  int rc = tl_reply_build(m, status, reason, (struct tl_str){tag, sizeof(tag)}, top, extra, p->out,
                          sizeof(p->out), &n);
  if (rc) {
    tl_count(tl_proxy_counters(p), TL_C_DROP_NOMEM);
    return 0;
  }
  count_local(p, status);
  return n;
}

void tl_local_answer(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m,
                     unsigned status, struct tl_str reason, struct tl_str extra) {
  if (!tl_msg_answerable(m)) {
    tl_count(tl_proxy_counters(p), TL_C_DROP_PARSE);
    return;
  }
  size_t n = build(p, m, from, status, reason, extra);
  struct tl_flow back = tl_local_way_back(m, from);
  if (n) tl_forward_bytes(p, &back, p->out, n);
}

void tl_local_tx_answer(struct tl_txn *txn, unsigned status, struct tl_str reason,
                        struct tl_str extra) {
  struct tl_proxy *p = txn->proxy;
  struct tl_body body;
  if (txn->probe) {
    if (status < 200) return;
    tl_probe_ended(txn, status, true);
    tl_txn_free(txn);
    return;
  }
  if (!txn->request || tl_forward_rescan(p, txn->request, txn->reliable, &p->msg2, &body)) {
    if (status >= 200) tl_txn_free(txn);
    return;
  }
  size_t n = build(p, &p->msg2, &txn->from, status, reason, extra);
  if (n && !txn->reliable) {
    tl_saved_free(p, txn->reply);
    txn->reply = tl_saved_new(txn, n);
    if (txn->reply) memcpy(txn->reply->data, p->out, n);
  }
  if (n && status >= 200 && tl_back_needed(txn))
    tl_back_bytes(txn, p->out, n);
  else if (n)
    tl_forward_bytes(p, &txn->from, p->out, n);
  txn->status = (uint16_t)status;
  if (status < 200)
    txn->sent_100 = true;
  else
    tl_txn_finished(txn, status);
}
