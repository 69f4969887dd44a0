/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The best of several responses (RFC 3261 16.7 steps 6 and 7), and the way up to the client.
 */
#include "best.h"

#include "back.h"
#include "forward.h"
#include "hunt.h"
#include "local.h"
#include "outbound.h"
#include "peer_share.h"
#include "plan.h"
#include "proxy.h"
#include "saved.h"
#include "tieline/edit.h"
#include "tieline/reply.h"
#include "tieline/view.h"
#include "top_via.h"
#include "txn.h"
#include "xworker.h"

/* RFC 3261 18.2.2: on the connection that brought the request, else on another one to its
 * sender. */
static int send_back(struct tl_txn *txn, const struct tl_edit *e, const struct tl_body *body) {
  struct tl_proxy *p = txn->proxy;
  struct tl_flow *h = &txn->from;
  if (tl_transport_is_datagram(h->transport))
    return tl_udp_send_edit(p->net, h->udp, &h->addr, e, body);
  if (tl_xw_is_remote(p, h->conn)) return tl_xw_send_edit(p, h->conn, e, body, NULL);
  if (tl_back_needed(txn)) return tl_back_send(txn, e, body);
  return tl_conn_send_edit(tl_conn_get(p->net, h->conn), e, body);
}

/* Sends what E makes of a response up to the client. WAS: its status before the edit. */
static void send_up(struct tl_txn *txn, const struct tl_edit *e, const struct tl_body *body,
                    unsigned status, unsigned was) {
  struct tl_proxy *p = txn->proxy;
  bool fit = txn->user || tl_outbound_fits_back(p, &txn->from, e, body);
  if (!txn->reliable && fit) {
    tl_saved_free(p, txn->reply);
    txn->reply = tl_saved_edit(p, txn->in_dialog, e, body);
  }
  txn->status = (uint16_t)status;
  if (txn->user) {
    if (status >= 200) tl_txn_user_ended(txn, was, false);
    return;
  }
  if (fit && send_back(txn, e, body)) tl_count(tl_proxy_counters(p), TL_C_DROP_NO_ROUTE_BACK);
}

void tl_best_forward(struct tl_txn *txn, const struct tl_msg *m, const struct tl_body *body) {
  struct tl_edit e;
  if (tl_top_via_drop(&e, m))
    tl_count(tl_proxy_counters(txn->proxy), TL_C_DROP_STRAY_RESPONSE);
  else
    send_up(txn, &e, body, m->status, m->status);
}

/* ---- the best ---- */

/* 6xx first, else the lowest class; within 4xx first those that tell the client what to do about
 * it. */
static unsigned status_rank(unsigned status) {
  if (status == 0) return 1000;
  if (status >= 600) return 0;
  if (status == 401 || status == 407 || status == 415 || status == 420 || status == 484) return 400;
  if (status == 408) return 499; /* often our own: any real response of its class is better */
  if (status == 503) return 599;
  return status / 100 * 100 + 50;
}

bool tl_best_is_better(unsigned status, unsigned old) {
  return status_rank(status) < status_rank(old);
}

static void keep_challenges(struct tl_txn *txn, const struct tl_msg *m) {
  static const enum tl_hdr_id id[] = {TL_H_WWW_AUTHENTICATE, TL_H_PROXY_AUTHENTICATE};
  struct tl_proxy *p = txn->proxy;
  size_t n = txn->challenges ? txn->challenges->len : 0, add = 0;
  for (int k = 0; k < 2; k++)
    for (uint16_t i = m->first[id[k]]; i != TL_HDR_NONE; i = m->hdr[i].next)
      add += tl_unfold_lines(NULL, m->p + m->hdr[i].off, m->hdr[i].end - m->hdr[i].off);
  if (!add || n + add > 16384) return;
  struct tl_saved *s = tl_saved_new(p, txn->in_dialog, n + add);
  if (!s) return;
  if (n) memcpy(s->data, txn->challenges->data, n);
  for (int k = 0; k < 2; k++)
    for (uint16_t i = m->first[id[k]]; i != TL_HDR_NONE; i = m->hdr[i].next)
      n += tl_unfold_lines(s->data + n, m->p + m->hdr[i].off, m->hdr[i].end - m->hdr[i].off);
  tl_saved_free(p, txn->challenges);
  txn->challenges = s;
}

void tl_best_keep(struct tl_txn *txn, const struct tl_msg *m, const struct tl_body *body) {
  struct tl_proxy *p = txn->proxy;
  struct tl_edit e;
  if (m->status == 401 || m->status == 407) keep_challenges(txn, m);
  if (!tl_best_is_better(m->status, txn->best_status) || tl_top_via_drop(&e, m)) return;
  tl_saved_free(p, txn->best);
  txn->best = tl_saved_msg(p, txn->in_dialog, m, body);
  txn->best_status = m->status;
}

/* 16.7 step 6: a 503 would say that we are overloaded, and the client may not know that others
 * are not. */
static void edit_503(struct tl_edit *e, const struct tl_msg *m) {
  const uint32_t at = sizeof("SIP/2.0 ") - 1;
  if (m->status != 503) return;
  tl_edit_replace(e, at, m->line_end - at, TL_STR("500 Server Internal Error\r\n"));
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

bool tl_best_wants_next(struct tl_txn *txn) {
  if (txn->cancelled || !txn->plan || txn->hunt_ends) return false;
  return tl_hunt_may_go_on(txn);
}

/* The peer of the target tried last, NULL if it belongs to none. */
static const struct tl_conf_peer *last_peer(const struct tl_plan *plan) {
  if (!plan) return NULL;
  return plan->at ? plan->target[plan->at - 1].peer : plan->unresolved;
}

/* A more exact reason for a 503 of ours; NULL: there is none. */
static const char *why_503(const struct tl_plan *plan) {
  const char *why = tl_plan_lacks_domain(plan);
  if (!why) why = tl_plan_only_us(plan);
  return why || !plan || plan->n_target ? why : plan->refusal;
}

static void log_unreached(struct tl_txn *txn, unsigned status, const char *why) {
  char from[TL_ADDR_STRLEN];
  uint32_t unlogged;
  const struct tl_conf_peer *peer = last_peer(txn->plan);
  if (txn->user ||
      !tl_peer_share_may_log(txn->proxy, tl_peer_share_of(txn->proxy, peer), &unlogged))
    return;
  bool lacks = tl_plan_lacks_domain(txn->plan);
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
  if (s) {
    const struct tl_msg *m = tl_saved_scan(s, &body);
    tl_top_via_drop(&e, m);
    edit_503(&e, m);
    edit_challenges(&e, m, txn);
    send_up(txn, &e, &body, status == 503 ? 500 : status, status);
    tl_saved_free(p, s);
    tl_txn_finished(txn, status);
    return;
  }
  if (txn->cancelled) status = 487;
  if (status == 503 && txn->overload) {
    /* Counted; a log line for each would be a flood of its own. */
    tl_local_txn_answer(txn, 503, TL_STR("Overloaded"), TL_STR("Retry-After: 5\r\n"));
    return;
  }
  /* RFC 4320 4.2: a 408 to a non-INVITE request would arrive after its client has given up and
   * start a chain of failures, so none is sent. */
  bool silent = !txn->invite && status == 408;
  const char *why = status == 503 ? why_503(txn->plan) : status == 400 ? TL_TOO_MUCH : NULL;
  log_unreached(txn, silent ? 0 : status, why);
  if (silent)
    tl_txn_abandon(txn);
  else
    tl_local_txn_answer(txn, status, why ? tl_str_c(why) : tl_reason_phrase(status), TL_STR(""));
}

void tl_best_settle(struct tl_txn *txn) {
  tl_timer_stop(tl_net_wheel(txn->proxy->net), &txn->timer);
  txn->failed = false;
  if (!tl_best_wants_next(txn)) {
    answer_best(txn);
    return;
  }
  tl_count(tl_proxy_counters(txn->proxy), TL_C_TXN_FAILOVER);
  tl_forward_next(txn, NULL, NULL);
}
