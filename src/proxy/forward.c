/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request on its way out (RFC 3261 16.6): edits, the choice of connection, the
 * client transaction, the next target when one fails (16.9), CANCEL (16.10).
 */
#include <stdio.h>

#include "proxy.h"

#define STATELESS_SLOT 0xffffffffu /* in the branch of an ACK: no answer will come */

int tl_forward_bytes(struct tl_proxy *p, const struct tl_hop *hop, const void *data, size_t n) {
  if (hop->transport == TL_UDP) return tl_udp_send(&p->net, hop->udp, &hop->addr, data, n);
  struct tl_conn *c = tl_conn_get(&p->net, hop->conn);
  return c ? tl_conn_send(c, data, n) : TL_ECLOSED;
}

int tl_forward_rescan(struct tl_proxy *p, const struct tl_saved *s, bool stream, struct tl_msg *m,
                      struct tl_body *body) {
  struct tl_scan_error err;
  int rc = tl_scan(s->data, s->len, stream, p->net.conf->limits.max_head, m, &err);
  if (rc) return rc;
  body->n = s->len > m->head_len ? 1 : 0;
  body->len = s->len - m->head_len;
  body->seg[0].p = (const uint8_t *)s->data + m->head_len;
  body->seg[0].n = body->len;
  body->seg[0].buf = -1;
  return TL_OK;
}

/* ---- edits ---- */

/* Texts that edits insert; they live until the message is written. */
struct texts {
  char via[512], own[1400], uri[768], forwards[32], length[40];
};

static struct tl_str made(char *buf, size_t cap, int n) {
  return n > 0 && (size_t)n < cap ? (struct tl_str){buf, (size_t)n} : TL_STR("");
}

static void host_port(struct tl_proxy *p, int listener, const struct tl_addr *local, char *out,
                      size_t cap) {
  char ip[TL_ADDR_STRLEN];
  const struct tl_conf_listen *l = listener >= 0 ? &p->net.conf->listen[listener] : NULL;
  const char *host = l && l->advertise_host && *l->advertise_host ? l->advertise_host
                     : l && !tl_addr_is_any(&l->addr) ? tl_addr_format_host(&l->addr, ip)
                     : local->sa.sa_family            ? tl_addr_format_host(local, ip)
                                                      : "localhost";
  unsigned port = l ? (l->advertise_port ? l->advertise_port : tl_addr_port(&l->addr)) : 0;
  if (port)
    snprintf(out, cap, "%s:%u", host, port);
  else
    snprintf(out, cap, "%s", host);
}

static int listener_of(struct tl_proxy *p, const struct tl_hop *hop, const struct tl_conn *c) {
  if (c && c->listener >= 0) return c->listener;
  if (hop->transport == TL_UDP && hop->udp) return tl_udp_listener(hop->udp);
  return tl_net_listener_for(&p->net, hop->transport, &hop->addr);
}

/* Both sides of a hop as Via and Record-Route name them. */
struct sides {
  int in, out;
  char in_host[320], out_host[320];
  enum tl_transport in_t, out_t;
};

static void sides_of(struct tl_proxy *p, const struct tl_hop *from, const struct tl_hop *to,
                     struct sides *s) {
  struct tl_conn *fc = tl_conn_get(&p->net, from->conn), *tc = tl_conn_get(&p->net, to->conn);
  static const struct tl_addr none;
  s->in = listener_of(p, from, fc);
  s->out = tl_net_listener_for(&p->net, to->transport, &to->addr);
  s->in_t = from->transport;
  s->out_t = to->transport;
  host_port(p, s->in, fc ? &fc->local : &none, s->in_host, sizeof(s->in_host));
  host_port(p, s->out, tc ? &tc->local : &none, s->out_host, sizeof(s->out_host));
}

static bool wants_record_route(const struct tl_msg *m) {
  return m->to_tag.n == 0 &&
         (m->method == TL_M_INVITE || m->method == TL_M_SUBSCRIBE || m->method == TL_M_REFER);
}

static bool one_via(const struct tl_msg *m) {
  uint16_t i = m->first[TL_H_VIA];
  return m->hdr[i].next == TL_HDR_NONE && m->via.whole.n == m->hdr[i].val_len;
}

static int record_route(struct tl_proxy *p, const struct tl_msg *m, const struct tl_plan *plan,
                        const struct tl_hop *from, const struct sides *s, char *dst, size_t cap) {
  char token[TL_RR_TOKEN_LEN];
  const char *scheme = plan->uri.scheme == TL_SCHEME_SIPS ? "sips" : "sip";
  /* The connection it came on leads back to the neighbour only if the neighbour stays in the
   * dialog: it made the request, or it has recorded itself. */
  bool neighbour_stays = one_via(m) || tl_msg_has(m, TL_H_RECORD_ROUTE);
  tl_token_route(p, plan->route ? plan->route->id : 0, neighbour_stays ? from->conn : 0, m->call_id,
                 token);
  int n = snprintf(dst, cap, "Record-Route: <%s:%s;transport=%s;lr;tl=%.*s>\r\n", scheme,
                   s->out_host, tl_transport_param(s->out_t), TL_RR_TOKEN_LEN, token);
  if (n > 0 && (s->in_t != s->out_t || strcmp(s->in_host, s->out_host) != 0))
    n += snprintf(dst + n, cap - (size_t)n, "Record-Route: <%s:%s;transport=%s;lr;tl=%.*s>\r\n",
                  scheme, s->in_host, tl_transport_param(s->in_t), TL_RR_TOKEN_LEN, token);
  return n;
}

static void edit_routes(struct tl_edit *e, const struct tl_msg *m, unsigned drop) {
  uint16_t i = m->first[TL_H_ROUTE];
  while (drop && i != TL_HDR_NONE) {
    struct tl_str v = tl_hdr_value(m, i);
    struct tl_nameaddr na;
    size_t at = 0, used;
    while (drop && at < v.n &&
           tl_nameaddr_parse((struct tl_str){v.p + at, v.n - at}, &na, &used) == 0)
      at += used, drop--;
    if (at) tl_edit_remove_value(e, i, at);
    i = m->hdr[i].next;
  }
}

/* The Request-URI for a peer: digits stripped and prepended, our own host replaced by the peer's.
 */
static void edit_uri(struct tl_edit *e, const struct tl_msg *m, const struct tl_plan *plan,
                     const struct tl_target *t, struct texts *x) {
  const struct tl_conf_route *r = plan->route;
  const struct tl_uri *u = &plan->uri;
  if (!r || plan->in_dialog || (!plan->rewrite_host && !r->strip && !r->prepend)) return;
  struct tl_str user = u->user, host = u->host;
  uint16_t port = u->port;
  size_t strip = r->strip < user.n ? r->strip : user.n;
  user.p += strip;
  user.n -= strip;
  if (plan->rewrite_host && t && t->peer) {
    host = tl_str_c(t->peer->host);
    port = t->peer->port;
  }
  char colon_port[8] = "";
  if (port) snprintf(colon_port, sizeof(colon_port), ":%u", port);
  int n = snprintf(x->uri, sizeof(x->uri), "%s:%s%.*s%s%.*s%s%.*s",
                   u->scheme == TL_SCHEME_SIPS ? "sips" : "sip", r->prepend ? r->prepend : "",
                   (int)user.n, user.p, user.n || r->prepend ? "@" : "", (int)host.n, host.p,
                   colon_port, plan->rewrite_host ? 0 : (int)u->params.n, u->params.p);
  struct tl_str made_uri = made(x->uri, sizeof(x->uri), n);
  if (made_uri.n) tl_edit_replace_str(e, m->uri, made_uri);
}

static void edit_forwards(struct tl_edit *e, const struct tl_msg *m, struct texts *x) {
  if (m->max_forwards < 0) {
    tl_edit_insert_lines(e, m->first[TL_H_CSEQ], TL_STR("Max-Forwards: 70\r\n"));
    return;
  }
  int n = snprintf(x->forwards, sizeof(x->forwards), "%d", m->max_forwards - 1);
  tl_edit_replace_str(e, tl_msg_header(m, TL_H_MAX_FORWARDS),
                      made(x->forwards, sizeof(x->forwards), n));
}

static int edit_request(struct tl_proxy *p, struct tl_edit *e, const struct tl_msg *m,
                        const struct tl_plan *plan, const struct tl_target *t,
                        const struct tl_hop *from, const struct tl_hop *to, const char *branch,
                        struct texts *x) {
  struct sides s;
  uint16_t via = m->first[TL_H_VIA];
  sides_of(p, from, to, &s);
  tl_edit_init(e, m);
  edit_uri(e, m, plan, t, x);
  int n = snprintf(x->own, sizeof(x->own), "Via: SIP/2.0/%s %s;branch=%.*s\r\n",
                   tl_transport_name(to->transport), s.out_host, TL_BRANCH_LEN, branch);
  tl_edit_insert_lines(e, via, made(x->own, sizeof(x->own), n));
  if (wants_record_route(m) && n > 0) {
    char *rr = x->own + n;
    int k = record_route(p, m, plan, from, &s, rr, sizeof(x->own) - (size_t)n);
    uint16_t before =
        tl_msg_has(m, TL_H_RECORD_ROUTE) ? m->first[TL_H_RECORD_ROUTE] : m->first[TL_H_FROM];
    tl_edit_insert_lines(e, before, made(rr, sizeof(x->own) - (size_t)n, k));
  }
  struct tl_str top = tl_local_via(m, from, x->via, sizeof(x->via));
  if (top.n) tl_edit_replace_str(e, m->via.whole, top);
  edit_forwards(e, m, x);
  if (plan->drop_routes) edit_routes(e, m, plan->drop_routes);
  if (!m->has_length && to->transport != TL_UDP) {
    n = snprintf(x->length, sizeof(x->length), "Content-Length: %u\r\n", m->body_len);
    tl_edit_insert_lines(e, m->n_hdr, made(x->length, sizeof(x->length), n));
  }
  return e->err;
}

/* ---- sending ---- */

static int open_hop(struct tl_proxy *p, const struct tl_plan *plan, const struct tl_target *t,
                    struct tl_hop *out, struct tl_conn **out_c) {
  *out = (struct tl_hop){.transport = t->transport, .addr = t->addr};
  *out_c = NULL;
  if (t->transport == TL_UDP) return TL_OK;
  const char *name = t->peer ? t->peer->identity : plan->host;
  struct tl_conn_key key = {.transport = t->transport, .addr = t->addr};
  if (t->transport == TL_TLS) {
    if (!t->domain) return TL_ENOTFOUND;
    key.domain = t->domain;
    key.identity = name;
    key.sni = name;
  }
  int rc = tl_conn_open(&p->net, &key, out_c);
  if (rc == TL_OK) out->conn = tl_conn_id_of(*out_c);
  return rc;
}

static int flow_hop(struct tl_proxy *p, const struct tl_plan *plan, struct tl_hop *out,
                    struct tl_conn **out_c) {
  *out_c = tl_conn_get(&p->net, plan->flow);
  if (!*out_c || (*out_c)->state != TL_CONN_OPEN) return TL_ECLOSED;
  *out = (struct tl_hop){.transport = (enum tl_transport)(*out_c)->transport,
                         .conn = plan->flow,
                         .addr = (*out_c)->peer};
  return TL_OK;
}

static int send_edit(struct tl_proxy *p, const struct tl_hop *hop, struct tl_conn *c,
                     const struct tl_edit *e, const struct tl_body *body) {
  return c ? tl_conn_send_edit(c, e, body) : tl_udp_send_edit(&p->net, NULL, &hop->addr, e, body);
}

static void keep_sent(struct tl_branch *b, const struct tl_edit *e, const struct tl_body *body) {
  struct tl_proxy *p = b->tx->proxy;
  if (b->reliable && !b->invite) return; /* neither repeated nor cancelled */
  size_t len = tl_edit_len(e) + (b->reliable ? 0 : body->len);
  b->sent = tl_saved_new(p, len);
  if (!b->sent) return; /* then it cannot be repeated or cancelled; Timer B or F ends it */
  size_t at = tl_edit_write(e, b->sent->data);
  for (uint32_t i = 0; !b->reliable && i < body->n; i++) {
    memcpy(b->sent->data + at, body->seg[i].p, body->seg[i].n);
    at += body->seg[i].n;
  }
}

static void start_timers(struct tl_branch *b) {
  struct tl_tx *tx = b->tx;
  struct tl_net *n = &tx->proxy->net;
  const struct tl_conf_timeouts *t = &n->conf->timeouts;
  tl_timer_start(&n->wheel, &b->timer, b->invite ? t->timer_b : t->timer_f);
  if (!b->reliable) {
    b->retrans_ms = t->t1;
    tl_timer_start(&n->wheel, &b->retrans, t->t1);
  }
  if (b->invite && !tx->sent_100 && !tl_timer_running(&tx->timer))
    tl_timer_start(&n->wheel, &tx->timer, t->trying);
}

static int send_to(struct tl_tx *tx, const struct tl_target *t, const struct tl_msg *m,
                   const struct tl_body *body) {
  struct tl_proxy *p = tx->proxy;
  struct tl_conn *c;
  struct tl_hop hop;
  struct tl_edit e;
  struct texts x;
  char branch[TL_BRANCH_LEN];
  int rc = t ? open_hop(p, tx->plan, t, &hop, &c) : flow_hop(p, tx->plan, &hop, &c);
  if (rc) return rc;
  struct tl_branch *b = tl_branch_new(tx);
  if (!b) return TL_ENOMEM;
  b->hop = hop;
  b->reliable = hop.transport != TL_UDP;
  tl_token_branch(p, b->slot, b->gen, branch);
  rc = edit_request(p, &e, m, tx->plan, t, &tx->from, &hop, branch, &x);
  if (rc == TL_OK) {
    /* Attached only behind the send: if the send kills the connection, its failure is ours here. */
    rc = send_edit(p, &hop, c, &e, body);
  }
  if (rc) {
    tl_branch_free(b);
    return rc;
  }
  keep_sent(b, &e, body);
  if (c) tl_branch_attach(b, c);
  start_timers(b);
  return TL_OK;
}

static void log_exhausted(struct tl_tx *tx, const struct tl_msg *m, unsigned status) {
  TL_LOG(TL_LOG_INFO, "No target of a request could be reached.", TL_F("call_id", m->call_id),
         TL_F("method", m->method_name), TL_F("uri", m->uri),
         TL_FC("route", tx->plan && tx->plan->route ? tx->plan->route->name : ""),
         TL_FI("answered", status));
}

void tl_forward_next(struct tl_tx *tx, const struct tl_msg *m, const struct tl_body *body) {
  struct tl_proxy *p = tx->proxy;
  struct tl_plan *plan = tx->plan;
  struct tl_body saved;
  if (!m) {
    if (!tx->request || tl_forward_rescan(p, tx->request, tx->reliable, &p->msg2, &saved)) {
      tl_tx_free(tx);
      return;
    }
    m = &p->msg2;
    body = &saved;
    tl_route_rebind(plan, m);
  }
  tx->state = TL_TX_PROCEEDING;
  if (plan->flow) {
    int rc = send_to(tx, NULL, m, body);
    plan->flow = 0;
    if (rc == TL_OK) return;
  }
  while (plan->at < plan->n_target) {
    if (send_to(tx, &plan->target[plan->at++], m, body) == TL_OK) return;
    if (plan->at < plan->n_target) tl_count(tl_proxy_counters(p), TL_C_TX_FAILOVER);
  }
  unsigned status = tx->fail_status ? tx->fail_status : 503;
  log_exhausted(tx, m, status);
  tl_local_tx_answer(tx, status, tl_reason_phrase(status), TL_STR(""));
}

void tl_forward_ack(struct tl_proxy *p, const struct tl_hop *from, struct tl_plan *plan,
                    const struct tl_msg *m, const struct tl_body *body) {
  struct tl_conn *c = NULL;
  struct tl_hop hop;
  struct tl_edit e;
  struct texts x;
  char branch[TL_BRANCH_LEN];
  struct tl_target *t = plan->n_target ? &plan->target[0] : NULL;
  int rc = plan->flow ? flow_hop(p, plan, &hop, &c)
           : t        ? open_hop(p, plan, t, &hop, &c)
                      : TL_ENOTFOUND;
  if (rc == TL_OK) {
    /* Retransmissions of one ACK carry one branch, as 16.11 asks of what is sent without state. */
    tl_token_branch(p, STATELESS_SLOT, (uint32_t)tl_token_tx_key(p, m), branch);
    rc = edit_request(p, &e, m, plan, t, from, &hop, branch, &x);
  }
  if (rc == TL_OK) rc = send_edit(p, &hop, c, &e, body);
  if (rc) tl_count(tl_proxy_counters(p), TL_C_DROP_STRAY_ACK);
}

/* ---- failure and CANCEL ---- */

void tl_forward_failed(struct tl_branch *b, unsigned status) {
  struct tl_tx *tx = b->tx;
  struct tl_proxy *p = tx->proxy;
  tl_branch_free(b);
  if (tx->state != TL_TX_PROCEEDING || tx->branches) return;
  tx->fail_status = (uint16_t)status;
  if (tx->cancelled) {
    tl_local_tx_answer(tx, 487, tl_reason_phrase(487), TL_STR(""));
    return;
  }
  if (tx->plan && tx->plan->at < tx->plan->n_target)
    tl_count(tl_proxy_counters(p), TL_C_TX_FAILOVER);
  /* Not from here: another message may be in the middle of being handled. */
  tx->failed = true;
  tl_timer_start(&p->net.wheel, &tx->timer, 0);
}

void tl_forward_cancel_branch(struct tl_branch *b) {
  struct tl_proxy *p = b->tx->proxy;
  struct tl_body body;
  size_t n;
  if (b->cancel_sent || !b->sent) return;
  if (b->state == TL_BR_CALLING) {
    b->cancel_wanted = true; /* RFC 3261 9.1: not before a provisional response */
    return;
  }
  if (tl_forward_rescan(p, b->sent, b->reliable, &p->msg2, &body) ||
      tl_cancel_build(&p->msg2, p->out, sizeof(p->out), &n))
    return;
  b->cancel_sent = true;
  tl_forward_bytes(p, &b->hop, p->out, n);
  /* 9.1: a callee that never answers the INVITE after this is given up after 64*T1. */
  tl_timer_start(&p->net.wheel, &b->timer, 64 * p->net.conf->timeouts.t1);
}

void tl_forward_cancel(struct tl_tx *tx) {
  tx->cancelled = true;
  if (tx->state == TL_TX_WAITING || (tx->state == TL_TX_PROCEEDING && !tx->branches)) {
    tl_local_tx_answer(tx, 487, tl_reason_phrase(487), TL_STR(""));
    return;
  }
  for (struct tl_branch *b = tx->branches; b; b = b->next) tl_forward_cancel_branch(b);
}
