/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Responses (RFC 3261 16.7, 17.1, RFC 6026): found by the branch that we wrote,
 * sent back the way the request came.
 */
#include "proxy.h"

static void count_class(struct tl_proxy *p, unsigned status) {
  unsigned k = status / 100;
  if (k >= 1 && k <= 6) tl_count(tl_proxy_counters(p), TL_C_RESP_1XX + (k - 1));
}

/* Is there no Via below ours? Such a response is for nobody behind us (16.7 step 3). */
static bool for_us_alone(const struct tl_msg *m) {
  const struct tl_hdr *h = &m->hdr[m->first[TL_H_VIA]];
  return h->next == TL_HDR_NONE && tl_local_via_used(m) >= h->val_len;
}

static int drop_top_via(struct tl_edit *e, const struct tl_msg *m) {
  tl_edit_init(e, m);
  /* The answer to a probe ends here, whole. */
  if (!for_us_alone(m)) tl_edit_remove_value(e, m->first[TL_H_VIA], tl_local_via_used(m));
  return e->err;
}

/* Does the peer at TO take what E makes of a response? What is on another worker is not asked. */
static bool fits(struct tl_proxy *p, const struct tl_flow *to, const struct tl_edit *e,
                 const struct tl_body *body) {
  struct tl_conn *c = tl_conn_get(&p->net, to->conn);
  if (!p->snap->conf->bounds_messages || (!c && to->transport != TL_UDP)) return true;
  const struct tl_source *s = tl_source_of(p, to, c);
  return !s || tl_forward_fits(p, s->peer, e, body);
}

/* RFC 3261 18.2.2: the connection that brought the request, else another to its sender. */
static int send_back(struct tl_txn *txn, const struct tl_edit *e, const struct tl_body *body) {
  struct tl_proxy *p = txn->proxy;
  struct tl_flow *h = &txn->from;
  if (h->transport == TL_UDP) return tl_udp_send_edit(&p->net, h->udp, &h->addr, e, body);
  if (tl_xw_is_remote(p, h->conn)) return tl_xw_send_edit(p, h->conn, e, body, NULL);
  if (tl_back_needed(txn)) return tl_back_send(txn, e, body);
  return tl_conn_send_edit(tl_conn_get(&p->net, h->conn), e, body);
}

static struct tl_saved *save_edit(const struct tl_txn *txn, const struct tl_edit *e,
                                  const struct tl_body *body) {
  struct tl_saved *s = tl_saved_new(txn, tl_edit_len(e) + body->len);
  if (!s) return NULL;
  size_t at = tl_edit_write(e, s->data);
  for (uint32_t i = 0; i < body->n; i++) {
    memcpy(s->data + at, body->seg[i].p, body->seg[i].n);
    at += body->seg[i].n;
  }
  return s;
}

/* Sends what E makes of a response up to the client. WAS: its status before. */
static void send_up(struct tl_txn *txn, const struct tl_edit *e, const struct tl_body *body,
                    unsigned status, unsigned was) {
  struct tl_proxy *p = txn->proxy;
  bool fit = txn->probe || fits(p, &txn->from, e, body);
  if (!txn->reliable && fit) {
    tl_saved_free(p, txn->reply);
    txn->reply = save_edit(txn, e, body);
  }
  txn->status = (uint16_t)status;
  if (txn->probe) {
    if (status >= 200) tl_probe_ended(txn, was, false);
    return;
  }
  if (fit && send_back(txn, e, body)) tl_count(tl_proxy_counters(p), TL_C_DROP_NO_ROUTE_BACK);
}

static void forward(struct tl_txn *txn, const struct tl_msg *m, const struct tl_body *body) {
  struct tl_edit e;
  if (drop_top_via(&e, m))
    tl_count(tl_proxy_counters(txn->proxy), TL_C_DROP_STRAY_RESPONSE);
  else
    send_up(txn, &e, body, m->status, m->status);
}

/* ---- the best of several (16.7 steps 6 and 7) ---- */

bool tl_response_pending(const struct tl_txn *txn) {
  for (const struct tl_branch *b = txn->branches; b; b = b->next)
    if (b->state <= TL_BR_PROCEEDING) return true;
  return false;
}

/* 6xx, else the lowest class; within 4xx those first that tell the client what to do about it. */
static unsigned rank(unsigned status) {
  if (status == 0) return 1000;
  if (status >= 600) return 0;
  if (status == 401 || status == 407 || status == 415 || status == 420 || status == 484) return 400;
  if (status == 408) return 499; /* often made here: any real answer of its class is better */
  if (status == 503) return 599;
  return status / 100 * 100 + 50;
}

bool tl_response_better(unsigned status, unsigned old) { return rank(status) < rank(old); }

static void keep_challenges(struct tl_txn *txn, const struct tl_msg *m) {
  static const enum tl_hdr_id id[] = {TL_H_WWW_AUTHENTICATE, TL_H_PROXY_AUTHENTICATE};
  struct tl_proxy *p = txn->proxy;
  size_t n = txn->challenges ? txn->challenges->len : 0, add = 0;
  for (int k = 0; k < 2; k++)
    for (uint16_t i = m->first[id[k]]; i != TL_HDR_NONE; i = m->hdr[i].next)
      add += tl_unfold_lines(NULL, m->p + m->hdr[i].off, m->hdr[i].end - m->hdr[i].off);
  if (!add || n + add > 16384) return;
  struct tl_saved *s = tl_saved_new(txn, n + add);
  if (!s) return;
  if (n) memcpy(s->data, txn->challenges->data, n);
  for (int k = 0; k < 2; k++)
    for (uint16_t i = m->first[id[k]]; i != TL_HDR_NONE; i = m->hdr[i].next)
      n += tl_unfold_lines(s->data + n, m->p + m->hdr[i].off, m->hdr[i].end - m->hdr[i].off);
  tl_saved_free(p, txn->challenges);
  txn->challenges = s;
}

/* A final response that is not sent at once. */
static void keep_best(struct tl_txn *txn, const struct tl_msg *m, const struct tl_body *body) {
  struct tl_proxy *p = txn->proxy;
  struct tl_edit e;
  if (m->status == 401 || m->status == 407) keep_challenges(txn, m);
  if (!tl_response_better(m->status, txn->best_status) || drop_top_via(&e, m)) return;
  tl_saved_free(p, txn->best);
  txn->best = save_edit(txn, &e, body);
  txn->best_status = m->status;
}

/* 16.7 step 6: 503 would say that we are overloaded; the client may not know that others are. */
static void edit_503(struct tl_edit *e, const struct tl_msg *m) {
  static const char line[] = "SIP/2.0 500 Server Internal Error\r\n";
  if (m->status != 503) return;
  tl_edit_replace(e, 0, m->line_end, (struct tl_str){line, sizeof(line) - 1});
  if (tl_msg_has(m, TL_H_RETRY_AFTER)) tl_edit_remove_header(e, m->first[TL_H_RETRY_AFTER]);
}

static void edit_challenges(struct tl_edit *e, const struct tl_msg *m, const struct tl_txn *txn) {
  if ((m->status != 401 && m->status != 407) || !txn->challenges) return;
  for (uint16_t i = m->first[TL_H_WWW_AUTHENTICATE]; i != TL_HDR_NONE; i = m->hdr[i].next)
    tl_edit_remove_header(e, i);
  for (uint16_t i = m->first[TL_H_PROXY_AUTHENTICATE]; i != TL_HDR_NONE; i = m->hdr[i].next)
    tl_edit_remove_header(e, i);
  tl_edit_insert_lines(e, m->n_hdr, (struct tl_str){txn->challenges->data, txn->challenges->len});
}

/* Is another target to be tried behind STATUS? */
static bool wants_next(const struct tl_txn *txn, unsigned status) {
  const struct tl_plan *plan = txn->plan;
  if (txn->cancelled || !plan || plan->at >= plan->n_target || status >= 600) return false;
  if (plan->route && plan->route->fork == TL_FORK_SERIAL) return true;
  return status == 503 || status == 408;
}

/* The peer of the target tried last, NULL if it is none's. */
static const struct tl_conf_peer *last_peer(const struct tl_plan *plan) {
  if (!plan) return NULL;
  return plan->at ? plan->target[plan->at - 1].peer : plan->unresolved;
}

/* What a 503 of ours says more exactly; NULL: nothing. */
static const char *why_503(const struct tl_plan *plan) {
  const char *why = tl_route_lacks_domain(plan);
  if (!why) why = tl_route_only_us(plan);
  return why || !plan || plan->n_target ? why : plan->refusal;
}

static void log_unreached(struct tl_txn *txn, unsigned status, const char *why) {
  char from[TL_ADDR_STRLEN];
  uint32_t unlogged;
  const struct tl_conf_peer *peer = last_peer(txn->plan);
  if (txn->probe || !tl_load_may_log(txn, peer, &unlogged)) return;
  bool lacks = tl_route_lacks_domain(txn->plan);
  TL_LOG(lacks ? TL_LOG_WARN : TL_LOG_INFO,
         lacks
             ? "No TLS domain is for the destination of a request: name it in match_sip_domain of "
               "one, or call one \"default\"."
             : "No target of a request gave a final response.",
         TL_FC("peer", peer ? peer->name : ""), TL_FI("more_since_last", unlogged),
         TL_FC("from", tl_addr_format(&txn->from.addr, from)),
         TL_FC("method", tl_method_name((enum tl_method)txn->method)),
         TL_FC("route", txn->plan && txn->plan->route ? txn->plan->route->name : ""),
         TL_FC("host", txn->plan ? txn->plan->host : ""), TL_FI("answered", status),
         TL_FC("why", why ? why : ""));
}

static void answer_best(struct tl_txn *txn) {
  struct tl_proxy *p = txn->proxy;
  struct tl_saved *s = txn->best;
  struct tl_edit e;
  struct tl_body body;
  unsigned status = txn->best_status;
  txn->best = NULL;
  if (s && tl_forward_rescan(p, s, false, &p->msg2, &body) == TL_OK) {
    tl_edit_init(&e, &p->msg2);
    edit_503(&e, &p->msg2);
    edit_challenges(&e, &p->msg2, txn);
    send_up(txn, &e, &body, status == 503 ? 500 : status, status);
    tl_saved_free(p, s);
    tl_txn_finished(txn, status);
    return;
  }
  tl_saved_free(p, s);
  if (txn->cancelled) status = 487;
  if (status == 503 && txn->overload) {
    /* Counted; a line for each would be a flood of its own. */
    tl_local_tx_answer(txn, 503, TL_STR("Overloaded"), TL_STR("Retry-After: 5\r\n"));
    return;
  }
  /* RFC 4320 4.2: a 408 for another method would come when its client has given up, and start a
   * chain of failures; it is told nothing. */
  bool silent = !txn->invite && status == 408;
  const char *why = status == 503 ? why_503(txn->plan) : status == 400 ? TL_TOO_MUCH : NULL;
  log_unreached(txn, silent ? 0 : status, why);
  if (silent)
    tl_txn_abandon(txn);
  else
    tl_local_tx_answer(txn, status, why ? tl_str_c(why) : tl_reason_phrase(status), TL_STR(""));
}

void tl_response_settle(struct tl_txn *txn) {
  tl_timer_stop(&txn->proxy->net.wheel, &txn->timer);
  txn->failed = false;
  if (!wants_next(txn, txn->best_status)) {
    answer_best(txn);
    return;
  }
  tl_count(tl_proxy_counters(txn->proxy), TL_C_TXN_FAILOVER);
  tl_forward_next(txn, NULL, NULL);
}

static void acknowledge(struct tl_branch *b, const struct tl_msg *m) {
  struct tl_proxy *p = b->txn->proxy;
  struct tl_body body;
  size_t n;
  if (!b->sent || tl_forward_rescan(p, b->sent, b->reliable, &p->msg2, &body) ||
      tl_ack_build(&p->msg2, m, p->out, sizeof(p->out), &n))
    return;
  tl_branch_send(b, p->out, n);
}

static void provisional(struct tl_branch *b, const struct tl_msg *m, const struct tl_body *body) {
  struct tl_txn *txn = b->txn;
  struct tl_net *n = &txn->proxy->net;
  if (b->state > TL_BR_PROCEEDING) return;
  if (b->invite) {
    if (!b->cancel) tl_timer_stop(&n->wheel, &b->retrans);
    /* Timer C; a 100 says only that somebody is there (16.7 step 2). */
    bool first = b->state == TL_BR_CALLING;
    if (!b->cancel_sent && (first || m->status > 100))
      tl_timer_start(&n->wheel, &b->timer, n->conf->timeouts.timer_c);
  } else {
    b->retrans_ms = n->conf->timeouts.t2;
  }
  b->state = TL_BR_PROCEEDING;
  if (m->status > 100 && txn->state == TL_TXN_PROCEEDING) {
    tl_timer_stop(&n->wheel, &txn->timer); /* no 100 of ours behind a real answer */
    txn->sent_100 = true;
    forward(txn, m, body);
  }
  if (b->cancel_wanted) tl_forward_cancel_branch(b);
}

/* The branch has its final response; what it is kept for. */
static void branch_done(struct tl_branch *b) {
  struct tl_net *n = &b->txn->proxy->net;
  tl_timer_stop(&n->wheel, &b->retrans);
  tl_branch_detach(b);
  tl_load_leave(b);
  tl_call_drop(b->txn->proxy, b->call_slot);
  b->call_slot = NULL;
  b->state = TL_BR_COMPLETED;
  if (b->reliable)
    tl_branch_free(b); /* Timers D and K are 0 */
  else
    tl_timer_start(&n->wheel, &b->timer, b->invite ? 32000 : n->conf->timeouts.t4);
}

/* Early termination (16.7 step 10): what else rings need ring no longer. */
static void cancel_others(struct tl_txn *txn) {
  for (struct tl_branch *b = txn->branches; b; b = b->next)
    if (b->invite && b->state <= TL_BR_PROCEEDING) tl_forward_cancel_branch(b);
}

static void invite_success(struct tl_branch *b, const struct tl_msg *m,
                           const struct tl_body *body) {
  struct tl_txn *txn = b->txn;
  struct tl_proxy *p = txn->proxy;
  if (b->call_slot) tl_call_answered(p, b->call_slot, m);
  forward(txn, m, body); /* every 2xx, at once (16.7 step 5, RFC 6026 7.2) */
  if (b->state == TL_BR_ACCEPTED) return;
  b->state = TL_BR_ACCEPTED;
  txn->to = b->flow;
  tl_branch_detach(b);
  tl_load_leave(b);
  tl_saved_free(p, b->sent);
  b->sent = NULL;
  tl_timer_stop(&p->net.wheel, &b->retrans);
  /* The transaction's Timer L ends both; M would end at the same time. */
  tl_timer_stop(&p->net.wheel, &b->timer);
  if (txn->state != TL_TXN_PROCEEDING) return; /* its timer is H, I or L now and must fire */
  tl_timer_stop(&p->net.wheel, &txn->timer);
  cancel_others(txn);
  tl_txn_finished(txn, m->status);
}

/* The common case: one branch, nothing better to wait for, nothing else to try. */
static bool at_once(const struct tl_txn *txn, unsigned status) {
  if (txn->best || txn->challenges || status == 503 || tl_response_pending(txn)) return false;
  return tl_response_better(status, txn->best_status) && !wants_next(txn, status);
}

static void final(struct tl_branch *b, const struct tl_msg *m, const struct tl_body *body) {
  struct tl_txn *txn = b->txn;
  bool repeated = b->state == TL_BR_COMPLETED;
  unsigned status = m->status;
  if (b->state == TL_BR_ACCEPTED) return; /* RFC 6026 7.2: nothing else follows a 2xx */
  if (b->invite) acknowledge(b, m);
  if (repeated) return;
  tl_pause_asked(b, m);
  txn->to = b->flow;
  branch_done(b);
  if (txn->state != TL_TXN_PROCEEDING) return;
  /* RFC 4320 4.2: a 408 to another method than INVITE is as no answer. */
  if (status == 408 && !txn->invite) {
    if (tl_response_better(status, txn->best_status)) txn->best_status = 408;
    if (!tl_response_pending(txn)) tl_response_settle(txn);
    return;
  }
  if (status < 300 || at_once(txn, status)) {
    tl_timer_stop(&txn->proxy->net.wheel, &txn->timer);
    forward(txn, m, body);
    tl_txn_finished(txn, status);
    return;
  }
  keep_best(txn, m, body);
  if (status >= 600) cancel_others(txn);
  if (tl_response_pending(txn)) return;
  /* Not from here when another target follows: M is still being read. */
  txn->failed = true;
  tl_timer_start(&txn->proxy->net.wheel, &txn->timer, 0);
}

static void drop(struct tl_proxy *p, enum tl_counter why) { tl_count(tl_proxy_counters(p), why); }

/* A peer that has several addresses may answer from another. Ports are not compared: some
 * telephones send from one and listen at another, and RFC 3261 18.2.2 lets them. */
bool tl_branch_is_from_flow(struct tl_proxy *p, const struct tl_branch *b,
                            const struct tl_flow *from) {
  if (b->flow.transport != TL_UDP) return from->conn && from->conn == b->flow.conn;
  if (from->transport != TL_UDP) return false;
  return tl_addr_ip_eq(&b->flow.addr, &from->addr) ||
         (b->peer && tl_source_is(p, tl_source_of(p, from, NULL), from, NULL, b->peer));
}

/* The branch that M answers, if it is M's to answer; else M is counted. */
static struct tl_branch *branch_of(struct tl_proxy *p, const struct tl_token *t,
                                   const struct tl_flow *from, const struct tl_msg *m) {
  struct tl_branch *b = tl_branch_find(p, t->slot, t->gen);
  if (!b)
    drop(p, TL_C_DROP_STRAY_RESPONSE);
  else if (!tl_branch_is_from_flow(p, b, from) && !tl_branch_is_same_party(p, b, from))
    drop(p, TL_C_DROP_NOT_ASKED);
  else if (tl_token_sent_by(p, m->via.host, m->via.port) != b->sent_by)
    drop(p, TL_C_DROP_SENT_BY);
  else
    return b;
  return NULL;
}

static void stateless(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m,
                      const struct tl_body *body, tl_conn_id conn);

void tl_response(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m,
                 const struct tl_body *body) {
  struct tl_token t;
  int rc = tl_token_branch_parse(p, m->via.branch, &t);
  if (rc || m->method == TL_M_ACK) {
    drop(p, !rc                ? TL_C_DROP_ACK_ANSWERED
            : rc == TL_EBADMAC ? TL_C_DROP_FORGED
                               : TL_C_DROP_STRAY_RESPONSE);
    return;
  }
  if (t.worker == TL_STATELESS) {
    stateless(p, from, m, body, t.loop);
    return;
  }
  if (t.worker != p->th.index) {
    tl_xw_message(p, t.worker, from, m, body, 1);
    return;
  }
  count_class(p, m->status);
  struct tl_branch *b = branch_of(p, &t, from, m);
  if (!b) return;
  /* The answer to our CANCEL carries the INVITE's branch and says nothing new. */
  if (b->invite && m->method == TL_M_CANCEL) {
    if (b->cancel) tl_timer_stop(&p->net.wheel, &b->retrans);
    return;
  }
  /* What cannot be passed on must not end the transaction: its client would never hear of it. */
  if (m->method != (enum tl_method)b->txn->method || (for_us_alone(m) && !b->txn->probe)) {
    drop(p, TL_C_DROP_STRAY_RESPONSE);
    return;
  }
  if (from->conn && from->conn != b->flow.conn) tl_branch_moved(b, from);
  if (m->status < 200)
    provisional(b, m, body);
  else if (b->invite && m->status < 300)
    invite_success(b, m, body);
  else
    final(b, m, body);
}

/* The Via below the first, of M. */
static int via_below(const struct tl_msg *m, struct tl_via *out) {
  uint16_t i = m->first[TL_H_VIA];
  struct tl_str rest = tl_hdr_value(m, i);
  size_t used = tl_local_via_used(m);
  if (used >= rest.n && m->hdr[i].next == TL_HDR_NONE) return TL_ENOTFOUND;
  rest = used < rest.n ? (struct tl_str){rest.p + used, rest.n - used}
                       : tl_hdr_value(m, m->hdr[i].next);
  return tl_via_parse(rest, out, &used);
}

/* Is M what a request that we passed on from CONN may be answered with, by FROM? */
static bool answers(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m,
                    const struct tl_via *below, tl_conn_id conn) {
  struct tl_flow nameless = {.transport = from->transport, .conn = from->conn};
  struct tl_passage w = {.from = conn,
                         .sent_by = tl_token_sent_by(p, m->via.host, m->via.port),
                         .via = tl_token_via(p, below),
                         .flow = tl_token_flow(p, from),
                         .call_id = m->call_id,
                         .method = m->method == TL_M_CANCEL ? TL_STR("INVITE") : m->cseq_method,
                         .cseq = m->cseq};
  uint32_t now_s = tl_token_now();
  if (tl_token_stateless_check(p, m->via.branch, &w, now_s) == TL_OK) return true;
  if (!from->conn) return false;
  w.flow = tl_token_flow(p, &nameless); /* sent by way of another worker, which knew the address */
  return tl_token_stateless_check(p, m->via.branch, &w, now_s) == TL_OK;
}

/* 16.11: back on the connection that our branch names, else where the Via below ours says. */
static void stateless(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m,
                      const struct tl_body *body, tl_conn_id conn) {
  struct tl_edit e;
  struct tl_via v;
  struct tl_addr to;
  struct tl_conn *c = tl_conn_get(&p->net, conn);
  if (via_below(m, &v) || !answers(p, from, m, &v, conn)) {
    drop(p, TL_C_DROP_FORGED);
    return;
  }
  count_class(p, m->status);
  struct tl_flow back = {.transport = c ? (enum tl_transport)c->transport : TL_UDP, .conn = conn};
  int rc = drop_top_via(&e, m);
  if (rc == TL_OK && c && !fits(p, &back, &e, body)) return;
  if (rc == TL_OK && conn) {
    rc = tl_xw_is_remote(p, conn) ? tl_xw_send_edit(p, conn, &e, body, NULL)
         : c                      ? tl_conn_send_edit(c, &e, body)
                                  : TL_ECLOSED;
    if (c && m->status >= 200) tl_conn_answered(c);
  } else if (rc == TL_OK) {
    uint16_t port = v.rport ? v.rport : v.port ? v.port : 5060;
    rc = tl_addr_parse(v.received.n ? v.received : v.host, port, &to);
    if (rc == TL_OK) rc = tl_udp_send_edit(&p->net, NULL, &to, &e, body);
  }
  if (rc) drop(p, TL_C_DROP_NO_ROUTE_BACK);
}
