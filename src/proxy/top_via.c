/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The topmost Via: its bounds, and received and rport (RFC 3261 18.2, RFC 3581).
 */
#include "top_via.h"

#include <stdio.h>

size_t tl_top_via_used(const struct tl_msg *m) {
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

/* Is sent-by the very address that the request came from? */
static bool sent_by_source(const struct tl_via *v, const struct tl_flow *from) {
  struct tl_addr a;
  return tl_addr_parse(v->host, 0, &a) == TL_OK && tl_addr_ip_eq(&a, &from->addr);
}

/* The parameter whose value is V->received, from its semicolon on; empty, at the end, if there
 * is none. */
static struct tl_str received_param(const struct tl_via *v) {
  const char *end = v->whole.p + v->whole.n, *p = v->received.p;
  if (!v->received.n) return (struct tl_str){end, 0};
  while (*p != ';') p--;
  return (struct tl_str){p, (size_t)(v->received.p + v->received.n - p)};
}

/* The top Via without rport and received: values that came in are somebody's assertion, only
 * ours may stand. Returns the length, CAP if it does not fit. */
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

struct tl_str tl_top_via_text(const struct tl_msg *m, const struct tl_flow *from, char *buf,
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

struct tl_flow tl_top_via_way_back(const struct tl_msg *m, const struct tl_flow *from) {
  struct tl_flow flow = *from;
  if (!tl_transport_is_reliable(flow.transport) && !m->via.has_rport && !m->via_bad)
    tl_addr_set_port(&flow.addr, m->via.port ? m->via.port : tl_transport_port(flow.transport));
  return flow;
}

bool tl_top_via_is_only(const struct tl_msg *m) {
  const struct tl_hdr *h = &m->hdr[m->first[TL_H_VIA]];
  return h->next == TL_HDR_NONE && tl_top_via_used(m) >= h->val_len;
}

int tl_top_via_below(const struct tl_msg *m, struct tl_via *out) {
  uint16_t i = m->first[TL_H_VIA];
  struct tl_str rest = tl_hdr_value(m, i);
  size_t used = tl_top_via_used(m);
  if (used >= rest.n && m->hdr[i].next == TL_HDR_NONE) return TL_ENOTFOUND;
  rest = used < rest.n ? (struct tl_str){rest.p + used, rest.n - used}
                       : tl_hdr_value(m, m->hdr[i].next);
  return tl_via_parse(rest, out, &used);
}

int tl_top_via_drop(struct tl_edit *e, const struct tl_msg *m) {
  tl_edit_init(e, m);
  /* The response to a probe ends here and keeps its Via. */
  if (!tl_top_via_is_only(m)) tl_edit_remove_value(e, m->first[TL_H_VIA], tl_top_via_used(m));
  return e->err;
}
