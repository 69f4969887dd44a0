/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Responses (RFC 3261 16.7, 17.1, RFC 6026): found by the branch that we wrote,
 * sent back the way the request came.
 */
#include <stdlib.h>

#include "proxy.h"

/* A response whose transaction another worker has. */
struct tl_relay {
  struct tl_mail mail;
  struct tl_hop from;
  uint32_t len;
  char data[];
};

static void count_class(struct tl_proxy *p, unsigned status) {
  unsigned k = status / 100;
  if (k >= 1 && k <= 6) tl_count(tl_proxy_counters(p), TL_C_RESP_1XX + (k - 1));
}

static int drop_top_via(struct tl_edit *e, const struct tl_msg *m) {
  struct tl_via v;
  size_t used;
  uint16_t i = m->first[TL_H_VIA];
  tl_edit_init(e, m);
  if (tl_via_parse(tl_hdr_value(m, i), &v, &used)) return TL_ESYNTAX;
  bool last = used >= m->hdr[i].val_len;
  if (last && m->hdr[i].next == TL_HDR_NONE) return TL_ENOTFOUND; /* 16.7 step 3 */
  tl_edit_remove_value(e, i, used);
  return e->err;
}

/* RFC 3261 18.2.2: the connection that brought the request, else one to where its Via says. */
static int send_back(struct tl_tx *tx, const struct tl_edit *e, const struct tl_body *body) {
  struct tl_proxy *p = tx->proxy;
  struct tl_hop *h = &tx->from;
  if (h->transport == TL_UDP) return tl_udp_send_edit(&p->net, h->udp, &h->addr, e, body);
  struct tl_conn *c = tl_conn_get(&p->net, h->conn);
  if (c && c->state == TL_CONN_OPEN) return tl_conn_send_edit(c, e, body);
  char host[TL_ADDR_STRLEN];
  struct tl_conn_key key = {.transport = h->transport, .addr = h->addr};
  tl_addr_set_port(&key.addr, tx->via_port ? tx->via_port : h->transport == TL_TLS ? 5061 : 5060);
  if (h->transport == TL_TLS) {
    enum tl_choice rule;
    tl_addr_format_host(&key.addr, host);
    key.domain = tl_tls_choose_client(&p->net.conf->tls_set, tl_str_c(host), &key.addr, &rule);
    key.identity = key.sni = host;
    if (!key.domain) return TL_ENOTFOUND;
  }
  int rc = tl_conn_open(&p->net, &key, &c);
  if (rc) return rc;
  h->conn = tl_conn_id_of(c);
  return tl_conn_send_edit(c, e, body);
}

static void keep_reply(struct tl_tx *tx, const struct tl_edit *e, const struct tl_body *body) {
  if (tx->reliable) return;
  struct tl_proxy *p = tx->proxy;
  tl_saved_free(p, tx->reply);
  tx->reply = tl_saved_new(p, tl_edit_len(e) + body->len);
  if (!tx->reply) return;
  size_t at = tl_edit_write(e, tx->reply->data);
  for (uint32_t i = 0; i < body->n; i++) {
    memcpy(tx->reply->data + at, body->seg[i].p, body->seg[i].n);
    at += body->seg[i].n;
  }
}

static void forward(struct tl_tx *tx, const struct tl_msg *m, const struct tl_body *body) {
  struct tl_edit e;
  if (drop_top_via(&e, m)) {
    tl_count(tl_proxy_counters(tx->proxy), TL_C_DROP_STRAY_RESPONSE);
    return;
  }
  keep_reply(tx, &e, body);
  tx->status = m->status;
  if (send_back(tx, &e, body)) tl_count(tl_proxy_counters(tx->proxy), TL_C_DROP_NO_ROUTE_BACK);
}

static void acknowledge(struct tl_branch *b, const struct tl_msg *m) {
  struct tl_proxy *p = b->tx->proxy;
  struct tl_body body;
  size_t n;
  if (!b->sent || tl_forward_rescan(p, b->sent, b->reliable, &p->msg2, &body) ||
      tl_ack_build(&p->msg2, m, p->out, sizeof(p->out), &n))
    return;
  tl_forward_bytes(p, &b->hop, p->out, n);
}

static void provisional(struct tl_branch *b, const struct tl_msg *m, const struct tl_body *body) {
  struct tl_tx *tx = b->tx;
  struct tl_net *n = &tx->proxy->net;
  if (b->state > TL_BR_PROCEEDING) return;
  if (b->invite) {
    tl_timer_stop(&n->wheel, &b->retrans);
    if (!b->cancel_sent) tl_timer_start(&n->wheel, &b->timer, n->conf->timeouts.timer_c);
  } else {
    b->retrans_ms = n->conf->timeouts.t2;
  }
  b->state = TL_BR_PROCEEDING;
  if (m->status > 100 && tx->state == TL_TX_PROCEEDING) {
    tl_timer_stop(&n->wheel, &tx->timer); /* no 100 of ours behind a real answer */
    tx->sent_100 = true;
    forward(tx, m, body);
  }
  if (b->cancel_wanted) tl_forward_cancel_branch(b);
}

/* The branch has its final response; what it is kept for. */
static void branch_done(struct tl_branch *b) {
  struct tl_net *n = &b->tx->proxy->net;
  tl_timer_stop(&n->wheel, &b->retrans);
  tl_branch_detach(b);
  b->state = TL_BR_COMPLETED;
  if (b->reliable)
    tl_branch_free(b); /* Timers D and K are 0 */
  else
    tl_timer_start(&n->wheel, &b->timer, b->invite ? 32000 : n->conf->timeouts.t4);
}

static void invite_success(struct tl_branch *b, const struct tl_msg *m,
                           const struct tl_body *body) {
  struct tl_tx *tx = b->tx;
  struct tl_proxy *p = tx->proxy;
  forward(tx, m, body); /* every 2xx, at once (16.7 step 5, RFC 6026 7.2) */
  if (b->state == TL_BR_ACCEPTED) return;
  b->state = TL_BR_ACCEPTED;
  tl_branch_detach(b);
  tl_saved_free(p, b->sent);
  b->sent = NULL;
  tl_timer_stop(&p->net.wheel, &b->retrans);
  /* The transaction's Timer L ends both; M would end at the same time. */
  tl_timer_stop(&p->net.wheel, &b->timer);
  tl_timer_stop(&p->net.wheel, &tx->timer);
  if (tx->state == TL_TX_PROCEEDING) tl_tx_finished(tx, m->status);
}

static bool worth_another_target(const struct tl_tx *tx, unsigned status) {
  return status == 503 && !tx->cancelled && tx->plan && tx->plan->at < tx->plan->n_target;
}

static void final(struct tl_branch *b, const struct tl_msg *m, const struct tl_body *body) {
  struct tl_tx *tx = b->tx;
  struct tl_proxy *p = tx->proxy;
  bool repeated = b->state == TL_BR_COMPLETED;
  unsigned status = m->status;
  if (b->invite) acknowledge(b, m);
  if (repeated) return;
  branch_done(b);
  if (tx->state != TL_TX_PROCEEDING) return;
  if (worth_another_target(tx, status)) {
    tl_count(tl_proxy_counters(p), TL_C_TX_FAILOVER);
    tx->fail_status = 503;
    tx->failed = true;
    tl_timer_start(&p->net.wheel, &tx->timer, 0);
    return;
  }
  tl_timer_stop(&p->net.wheel, &tx->timer);
  forward(tx, m, body);
  tl_tx_finished(tx, status);
}

static void to_worker(struct tl_proxy *p, unsigned worker, const struct tl_hop *from,
                      const struct tl_msg *m, const struct tl_body *body) {
  struct tl_relay *r = NULL;
  if (worker < p->th.rt->n_worker) r = malloc(sizeof(*r) + m->head_len + body->len);
  if (!r) {
    tl_count(tl_proxy_counters(p), TL_C_DROP_STRAY_RESPONSE);
    return;
  }
  r->mail.type = TL_MAIL_RELAY;
  r->from = *from;
  r->from.udp = NULL; /* a socket of this worker */
  r->from.conn = 0;
  memcpy(r->data, m->p, m->head_len);
  r->len = m->head_len;
  for (uint32_t i = 0; i < body->n; i++) {
    memcpy(r->data + r->len, body->seg[i].p, body->seg[i].n);
    r->len += body->seg[i].n;
  }
  if (tl_mailbox_post(&p->th.rt->worker[worker]->mailbox, &r->mail)) {
    tl_count(tl_proxy_counters(p), TL_C_MAIL_FULL);
    free(r);
  }
}

void tl_response_relayed(struct tl_proxy *p, struct tl_mail *mail) {
  struct tl_relay *r = (struct tl_relay *)mail;
  struct tl_scan_error err;
  struct tl_msg *m = &p->net.msg;
  if (tl_scan(r->data, r->len, r->from.transport != TL_UDP, p->net.conf->limits.max_head, m,
              &err) == 0 &&
      (size_t)m->head_len + m->body_len <= r->len) {
    struct tl_body b = {.n = m->body_len ? 1 : 0, .len = m->body_len};
    b.seg[0].p = (uint8_t *)r->data + m->head_len;
    b.seg[0].n = m->body_len;
    b.seg[0].buf = -1;
    tl_response(p, &r->from, m, &b);
  }
  free(r);
}

void tl_response(struct tl_proxy *p, const struct tl_hop *from, const struct tl_msg *m,
                 const struct tl_body *body) {
  unsigned worker;
  uint32_t slot, gen;
  int rc = tl_token_branch_parse(p, m->via.branch, &worker, &slot, &gen);
  if (rc) {
    tl_count(tl_proxy_counters(p), rc == TL_EBADMAC ? TL_C_DROP_FORGED : TL_C_DROP_STRAY_RESPONSE);
    return;
  }
  if (worker != p->th.index) {
    to_worker(p, worker, from, m, body);
    return;
  }
  count_class(p, m->status);
  struct tl_branch *b = tl_branch_find(p, slot, gen);
  /* The answer to our CANCEL carries the INVITE's branch and says nothing new. */
  if (b && b->invite && m->method == TL_M_CANCEL) return;
  if (!b || (m->method != (enum tl_method)b->tx->method)) {
    tl_count(tl_proxy_counters(p), TL_C_DROP_STRAY_RESPONSE);
    return;
  }
  if (m->status < 200)
    provisional(b, m, body);
  else if (b->invite && m->status < 300)
    invite_success(b, m, body);
  else
    final(b, m, body);
}
