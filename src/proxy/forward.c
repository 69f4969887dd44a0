/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request on its way out (RFC 3261 16.6 steps 7 to 11): the choice of
 * connection, the client transaction, the next target when one fails (16.9),
 * CANCEL (16.10).
 */
#include "proxy.h"

#define MTU_SAFE 1300u /* RFC 3261 18.1.1: when the path MTU is unknown */

int tl_forward_bytes(struct tl_proxy *p, const struct tl_flow *flow, const void *data, size_t n) {
  if (flow->transport == TL_UDP) return tl_udp_send(&p->net, flow->udp, &flow->addr, data, n);
  if (tl_xw_is_remote(p, flow->conn)) return tl_xw_send(p, flow->conn, data, n);
  struct tl_conn *c = tl_conn_get(&p->net, flow->conn);
  return c ? tl_conn_send(c, data, n) : TL_ECLOSED;
}

int tl_forward_rescan(struct tl_proxy *p, const struct tl_saved *s, bool stream, struct tl_msg *m,
                      struct tl_body *body) {
  struct tl_scan_error err;
  (void)p;
  int rc = tl_scan(s->data, s->len, stream, TL_SCAN_OWN, m, &err);
  if (rc) return rc;
  body->n = s->len > m->head_len ? 1 : 0;
  body->len = s->len - m->head_len;
  body->seg[0].p = (const uint8_t *)s->data + m->head_len;
  body->seg[0].n = body->len;
  body->seg[0].buf = -1;
  return TL_OK;
}

/* ---- sending ---- */

int tl_forward_open(struct tl_proxy *p, const struct tl_plan *plan, const struct tl_target *t,
                    bool elsewhere, struct tl_flow *out, struct tl_conn **out_c) {
  *out = (struct tl_flow){.transport = t->transport, .addr = t->addr};
  *out_c = NULL;
  if (t->transport == TL_UDP) {
    /* The socket that our Via will name, so that answers come back to where they are expected. */
    out->udp = tl_udp_of(&p->net, tl_net_listener_for(&p->net, TL_UDP, &t->addr));
    return TL_OK;
  }
  const char *name = tl_route_identity(plan, t);
  struct tl_conn_key key = {.transport = t->transport, .addr = t->addr};
  if (t->peer) key.max_age_ms = t->peer->max_age_ms;
  if (t->transport == TL_TLS) {
    if (!t->domain) return TL_ENOTFOUND;
    key.domain = t->domain;
    key.identity = name;
    key.sni = name;
    if (t->peer) key.binding = t->peer->binding;
    if (elsewhere && (out->conn = tl_alias_elsewhere(&p->net, &key)) != 0) {
      out->alias = true;
      return TL_OK;
    }
  }
  int rc = tl_conn_open(&p->net, &key, out_c);
  if (rc == TL_OK) out->conn = tl_conn_id_of(*out_c);
  return rc;
}

bool tl_forward_fits(struct tl_proxy *p, const struct tl_conf_peer *peer, const struct tl_edit *e,
                     const struct tl_body *body) {
  if (!peer || !peer->max_message || tl_edit_len(e) + body->len <= peer->max_message) return true;
  tl_count(tl_proxy_counters(p), TL_C_TOO_LARGE_FOR_PEER);
  return false;
}

/* T NULL: the plan's flow, which is of the peer that the leg was. */
static int fits(struct tl_proxy *p, const struct tl_plan *plan, const struct tl_target *t,
                const struct tl_edit *e, const struct tl_body *body) {
  const struct tl_conf *conf = p->snap->conf;
  const struct tl_conf_peer *peer = t ? t->peer : NULL;
  for (size_t i = 0; !t && conf->bounds_messages && plan->leg_peer && i < conf->n_peer; i++)
    if (conf->peer[i].id == plan->leg_peer) peer = &conf->peer[i];
  return tl_forward_fits(p, peer, e, body) ? TL_OK : TL_ELARGE;
}

static int flow_of_plan(struct tl_proxy *p, const struct tl_plan *plan, struct tl_flow *out,
                        struct tl_conn **out_c) {
  *out_c = NULL;
  if (tl_xw_is_remote(p, plan->flow_conn)) {
    *out = (struct tl_flow){.transport = plan->flow_transport, .conn = plan->flow_conn};
    return TL_OK;
  }
  *out_c = tl_conn_get(&p->net, plan->flow_conn);
  if (!*out_c || (*out_c)->state != TL_CONN_OPEN || tl_conn_half_closed(*out_c)) return TL_ECLOSED;
  *out = (struct tl_flow){.transport = (enum tl_transport)(*out_c)->transport,
                          .conn = plan->flow_conn,
                          .addr = (*out_c)->peer};
  return TL_OK;
}

static int send_edit(struct tl_proxy *p, const struct tl_flow *flow, struct tl_conn *c,
                     const struct tl_edit *e, const struct tl_body *body,
                     const struct tl_branch *b) {
  if (c) return tl_conn_send_edit(c, e, body);
  if (flow->transport == TL_UDP) return tl_udp_send_edit(&p->net, flow->udp, &flow->addr, e, body);
  return tl_xw_send_edit(p, flow->conn, e, body, b);
}

static void keep_sent(struct tl_branch *b, const struct tl_edit *e, const struct tl_body *body) {
  if (b->reliable && !b->invite) return; /* neither repeated nor cancelled */
  size_t len = tl_edit_len(e) + (b->reliable ? 0 : body->len);
  b->sent = tl_saved_new(b->txn, len);
  if (!b->sent) return; /* then it cannot be repeated or cancelled; Timer B or F ends it */
  size_t at = tl_edit_write(e, b->sent->data);
  for (uint32_t i = 0; !b->reliable && i < body->n; i++) {
    memcpy(b->sent->data + at, body->seg[i].p, body->seg[i].n);
    at += body->seg[i].n;
  }
}

static void start_timers(struct tl_branch *b) {
  struct tl_txn *txn = b->txn;
  struct tl_net *n = &txn->proxy->net;
  const struct tl_conf_timeouts *t = &n->conf->timeouts;
  tl_timer_start(&n->wheel, &b->timer, b->invite ? t->timer_b : t->timer_f);
  if (!b->reliable) {
    b->retrans_ms = t->t1;
    tl_timer_start(&n->wheel, &b->retrans, t->t1);
  }
  if (txn->sent_100 || tl_timer_running(&txn->timer)) return;
  /* RFC 3261 17.2.1 for INVITE; RFC 4320 4.1 for the others: when Timer E would have reached T2. */
  tl_timer_start(&n->wheel, &txn->timer, b->invite ? t->trying : 7 * t->t1);
}

static int send_to(struct tl_txn *txn, const struct tl_target *t, const struct tl_msg *m,
                   const struct tl_body *body) {
  struct tl_proxy *p = txn->proxy;
  struct tl_conn *c;
  struct tl_flow flow;
  struct tl_edit e;
  struct tl_edit_texts x;
  char branch[TL_BRANCH_LEN];
  struct tl_admission a;
  int rc = tl_load_admit(txn, t ? t->peer : NULL, m, &a);
  if (rc == TL_OK)
    rc = t ? tl_forward_open(p, txn->plan, t, true, &flow, &c)
           : flow_of_plan(p, txn->plan, &flow, &c);
  struct tl_branch *b = rc ? NULL : tl_branch_new(txn);
  if (!b) {
    tl_call_drop(p, a.call_slot);
    return rc ? rc : TL_ENOMEM;
  }
  b->call_slot = a.call_slot;
  b->flow = flow;
  b->peer = t && t->peer ? t->peer->id : 0;
  b->target = t ? (uint8_t)(t - txn->plan->target + 1) : 0;
  b->reliable = flow.transport != TL_UDP;
  tl_token_branch(p, b->slot, b->gen, txn->loop, branch);
  rc = tl_edit_request(p, &e, m, txn->plan, t, &txn->from, &flow, branch, &x);
  if (rc == TL_OK) {
    b->sent_by = x.sent_by;
    rc = fits(p, txn->plan, t, &e, body);
  }
  if (rc == TL_OK) {
    /* Attached only behind the send: if the send kills the connection, its failure is ours here. */
    rc = send_edit(p, &flow, c, &e, body, b);
  }
  if (rc) {
    tl_branch_free(b);
    return rc;
  }
  txn->to = flow;
  keep_sent(b, &e, body);
  if (flow.conn) tl_branch_attach(b, c);
  tl_load_enter(b, &a);
  start_timers(b);
  return TL_OK;
}

/* A request inside a dialog has one place to go: the address is there for when the flow is not. */
static bool parallel(const struct tl_txn *txn) {
  const struct tl_plan *plan = txn->plan;
  return plan->route && !plan->in_dialog && plan->route->fork == TL_FORK_PARALLEL;
}

unsigned tl_forward_status(int rc) {
  switch (rc) {
  case TL_ESYNTAX: return 400;
  case TL_ELARGE:
  case TL_EINVAL: return 513;
  default: return 503;
  }
}

/* One target, or all that are left when the route forks. */
static void send_on(struct tl_txn *txn, const struct tl_msg *m, const struct tl_body *body) {
  struct tl_plan *plan = txn->plan;
  const struct tl_conf_peer *full = NULL; /* all of its addresses are passed over */
  bool any = false;
  if (plan->flow_conn) {
    any = send_to(txn, NULL, m, body) == TL_OK;
    plan->flow_conn = 0;
  }
  while (plan->at < plan->n_target && (!any || parallel(txn))) {
    const struct tl_target *t = &plan->target[plan->at++];
    if (full && t->peer == full) continue;
    int rc = send_to(txn, t, m, body);
    if (rc == TL_EBUSY) full = t->peer;
    txn->overload |= rc == TL_EBUSY || rc == TL_ELIMIT; /* the peer, or one address of it */
    any |= rc == TL_OK;
    const unsigned status = tl_forward_status(rc);
    if (rc && tl_response_better(status, txn->best_status)) txn->best_status = (uint16_t)status;
    if (!any && plan->at < plan->n_target)
      tl_count(tl_proxy_counters(txn->proxy), TL_C_TXN_FAILOVER);
  }
}

/* Via, Record-Route and Route add a few hundred bytes on the way. */
bool tl_forward_near_mtu(const struct tl_msg *m, const struct tl_body *body) {
  return m->head_len + body->len > MTU_SAFE - 300;
}

static bool plan_is_new(const struct tl_txn *txn) {
  return txn->plan->at == 0 && !txn->best_status;
}

/* RFC 5393 5.3.3: copies that are out at the same time share the breadth of the request. */
static bool breadth_suffices(struct tl_txn *txn, const struct tl_msg *m) {
  struct tl_plan *plan = txn->plan;
  plan->copies = parallel(txn) ? (uint8_t)(plan->n_target - plan->at) : 1;
  return tl_edit_breadth(m) >= plan->copies;
}

void tl_forward_next(struct tl_txn *txn, const struct tl_msg *m, const struct tl_body *body) {
  struct tl_proxy *p = txn->proxy;
  struct tl_body saved;
  if (!m) {
    if (!txn->request || tl_forward_rescan(p, txn->request, txn->reliable, &p->msg2, &saved)) {
      tl_txn_free(txn);
      return;
    }
    m = &p->msg2;
    body = &saved;
    tl_route_rebind(txn->plan, m);
    /* Without its body a request would take the next message on the stream for it. */
    if (saved.len < m->body_len) txn->plan->at = txn->plan->n_target;
  }
  if (plan_is_new(txn) && tl_forward_near_mtu(m, body)) tl_route_prefer_tcp(p, txn->plan);
  txn->state = TL_TXN_PROCEEDING;
  if (!breadth_suffices(txn, m)) {
    tl_local_tx_answer(txn, 440, tl_reason_phrase(440), TL_STR(""));
    return;
  }
  send_on(txn, m, body);
  /* A later target may have brought down the connection that an earlier one was sent on. */
  if (tl_response_pending(txn)) return;
  if (!txn->best_status) txn->best_status = 503;
  tl_response_settle(txn);
}

/* On a stateless route the ACK for a refusal, and CANCEL, have the branch of their INVITE
 * (16.11). */
static bool follows_invite(const struct tl_plan *plan, const struct tl_msg *m) {
  return m->method == TL_M_CANCEL ||
         (m->method == TL_M_ACK && !plan->in_dialog && plan->route && plan->route->stateless);
}

/* Writes the branch of M, which goes to HOP and on C if that is here, over the one that is in X. */
static void write_branch(struct tl_proxy *p, const struct tl_plan *plan, const struct tl_msg *m,
                         tl_conn_id from, const struct tl_flow *flow, const struct tl_conn *c,
                         const struct tl_edit_texts *x) {
  struct tl_flow to = *flow;
  bool follows = follows_invite(plan, m);
  /* An ACK for a 2xx has no response (RFC 3261 13.2.2.4), and its branch lets none through. */
  if (m->method == TL_M_ACK && !follows) {
    tl_token_unanswered(p, tl_token_tx_key(p, m), from, x->branch);
    return;
  }
  if (c) to.addr = c->peer;
  struct tl_via below = m->via;
  size_t used;
  if (x->below.p != m->via.whole.p && tl_via_parse(x->below, &below, &used)) below = m->via;
  const struct tl_passage w = {.key = tl_token_tx_key(p, m),
                               .from = from,
                               .sent_by = x->sent_by,
                               .via = tl_token_via(p, &below),
                               .flow = tl_token_flow(p, &to),
                               .call_id = m->call_id,
                               .method = follows ? TL_STR("INVITE") : m->cseq_method,
                               .cseq = m->cseq};
  tl_token_stateless(p, &w, tl_token_now(), x->branch);
}

/* T NULL: on the plan's flow. *OUT_SURE: the connection is there already, so nothing is left to be
 * verified. */
static int send_stateless(struct tl_proxy *p, const struct tl_flow *from, struct tl_plan *plan,
                          const struct tl_target *t, const struct tl_msg *m,
                          const struct tl_body *body, bool *out_sure) {
  struct tl_conn *c = NULL;
  struct tl_flow flow;
  struct tl_edit e;
  struct tl_edit_texts x;
  static const char room[TL_BRANCH_LEN];
  int rc = t ? tl_forward_open(p, plan, t, false, &flow, &c) : flow_of_plan(p, plan, &flow, &c);
  if (rc) return rc;
  *out_sure = !c || c->state == TL_CONN_OPEN;
  rc = tl_edit_request(p, &e, m, plan, t, from, &flow, room, &x);
  if (rc == TL_OK) rc = fits(p, plan, t, &e, body);
  if (rc) return rc;
  write_branch(p, plan, m, from->conn, &flow, c, &x);
  return send_edit(p, &flow, c, &e, body, NULL);
}

void tl_forward_awaited(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m) {
  const struct tl_conf_timeouts *t = &p->net.conf->timeouts;
  struct tl_conn *c = tl_conn_get(&p->net, from->conn);
  if (c && m->is_request && m->method != TL_M_ACK)
    tl_conn_ask(c, m->method == TL_M_INVITE ? t->timer_c : t->timer_f);
}

int tl_forward_stateless(struct tl_proxy *p, const struct tl_flow *from, struct tl_plan *plan,
                         const struct tl_msg *m, const struct tl_body *body) {
  bool sure = false;
  if (plan->flow_conn && send_stateless(p, from, plan, NULL, m, body, &sure) == TL_OK) {
    tl_forward_awaited(p, from, m);
    return TL_OK;
  }
  if (!plan->n_target) return TL_ENOTFOUND;
  int rc = send_stateless(p, from, plan, &plan->target[0], m, body, &sure);
  /* No answer tells whether an ACK's new connection was verified, and a second ACK does no harm. */
  if (m->method == TL_M_ACK && plan->n_target > 1 && plan->target[0].by_leg && (rc || !sure)) {
    int rc2 = send_stateless(p, from, plan, &plan->target[1], m, body, &sure);
    if (rc) rc = rc2;
  }
  if (rc == TL_OK) tl_forward_awaited(p, from, m);
  return rc;
}

/* ---- failure and CANCEL ---- */

void tl_forward_failed(struct tl_branch *b, unsigned status) {
  struct tl_txn *txn = b->txn;
  struct tl_proxy *p = txn->proxy;
  tl_branch_free(b);
  if (txn->state != TL_TXN_PROCEEDING) return;
  if (tl_response_better(status, txn->best_status)) {
    txn->best_status = (uint16_t)status;
    tl_saved_free(p, txn->best);
    txn->best = NULL;
  }
  if (tl_response_pending(txn)) return;
  /* Not from here: another message may be in the middle of being handled. */
  txn->failed = true;
  tl_timer_start(&p->net.wheel, &txn->timer, 0);
}

void tl_forward_cancel_branch(struct tl_branch *b) {
  struct tl_proxy *p = b->txn->proxy;
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
  tl_branch_send(b, p->out, n);
  if (!b->reliable && (b->cancel = tl_saved_new(b->txn, n)) != NULL) {
    memcpy(b->cancel->data, p->out, n);
    b->retrans_ms = p->net.conf->timeouts.t1;
    tl_timer_start(&p->net.wheel, &b->retrans, b->retrans_ms);
  }
  /* 9.1: a callee that never answers the INVITE after this is given up after 64*T1. */
  tl_timer_start(&p->net.wheel, &b->timer, 64 * p->net.conf->timeouts.t1);
}

void tl_forward_cancel(struct tl_txn *txn) {
  txn->cancelled = true;
  if (txn->state == TL_TXN_WAITING ||
      (txn->state == TL_TXN_PROCEEDING && !tl_response_pending(txn))) {
    tl_local_tx_answer(txn, 487, tl_reason_phrase(487), TL_STR(""));
    return;
  }
  for (struct tl_branch *b = txn->branches; b; b = b->next)
    if (b->state <= TL_BR_PROCEEDING) tl_forward_cancel_branch(b);
}
