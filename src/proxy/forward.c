/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request on its way out (RFC 3261 16.6 steps 7 to 11): choosing the connection, the client
 * transaction, the next target when one fails (16.9), CANCEL (16.10).
 */
#include "forward.h"

#include "best.h"
#include "branch.h"
#include "call.h"
#include "dest_note.h"
#include "given_up.h"
#include "hunt.h"
#include "local.h"
#include "outbound.h"
#include "peer_share.h"
#include "plan.h"
#include "proxy.h"
#include "request_edit.h"
#include "saved.h"
#include "tieline/reply.h"
#include "tieline/view.h"
#include "txn.h"

static void keep_sent(struct tl_branch *b, const struct tl_edit *e, const struct tl_body *body) {
  if (b->reliable && !b->invite) return; /* never retransmitted or cancelled */
  /* Without memory it cannot be retransmitted or cancelled; Timer B or F ends it then. */
  b->sent = tl_saved_edit(b->txn->proxy, b->txn->in_dialog, e, b->reliable ? NULL : body);
}

/* Timer B or F. Before it the next target may get the request, if there is one. */
static void await_answer(struct tl_branch *b) {
  struct tl_net *n = b->txn->proxy->net;
  const struct tl_conf_timeouts *t = &tl_net_view(n)->conf->timeouts;
  const struct tl_conf_peer *peer = b->txn->in_dialog ? NULL : b->target.peer;
  const uint32_t left_ms = tl_hunt_left_ms(b->txn);
  uint32_t wait_ms = b->invite ? t->timer_b : t->timer_f;
  if (wait_ms > left_ms) wait_ms = left_ms;
  const uint32_t first_ms = peer ? peer->opt.answer_timeout_ms : 0;
  b->more_ms = first_ms && first_ms < wait_ms ? wait_ms - first_ms : 0;
  tl_timer_start(tl_net_wheel(n), &b->timer, b->more_ms ? first_ms : wait_ms);
}

static void start_timers(struct tl_branch *b) {
  struct tl_txn *txn = b->txn;
  struct tl_net *n = txn->proxy->net;
  const struct tl_conf_timeouts *t = &tl_net_view(n)->conf->timeouts;
  await_answer(b);
  if (!b->reliable) {
    b->retrans_ms = t->t1;
    tl_timer_start(tl_net_wheel(n), &b->retrans, t->t1);
  }
  if (txn->sent_100 || tl_timer_running(&txn->timer)) return;
  /* RFC 3261 17.2.1 for INVITE; RFC 4320 4.1 for the others: when Timer E would have reached T2. */
  tl_timer_start(tl_net_wheel(n), &txn->timer, b->invite ? t->trying : 7 * t->t1);
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
  const struct tl_conf_peer *peer = t ? t->peer : NULL;
  int rc = tl_peer_share_admit(p, tl_peer_share_of(p, peer), peer, m, &a);
  if (rc == TL_OK)
    rc = t ? tl_outbound_open(p, txn->plan, t, true, &flow, &c)
           : tl_outbound_flow(p, txn->plan, &flow, &c);
  struct tl_branch *b = rc ? NULL : tl_branch_new(txn);
  if (!b) {
    tl_call_drop(p, a.slot);
    return rc ? rc : TL_ENOMEM;
  }
  b->call_slot = a.slot;
  b->flow = flow;
  b->peer = t && t->peer ? t->peer->id : 0;
  /* On a flow: at the address that the flow had. */
  if (t || txn->plan->n_target) b->target = t ? *t : txn->plan->target[0];
  b->reliable = tl_transport_is_reliable(flow.transport);
  tl_token_branch(p, b->slot, b->gen, txn->loop, branch);
  rc = tl_request_edit(p, &e, m, txn->plan, t, &txn->from, &flow, branch, &x);
  if (rc == TL_OK) {
    b->sent_by = x.sent_by;
    rc = tl_outbound_fits_target(p, txn->plan, t, &e, body);
  }
  if (rc == TL_OK) {
    /* Attached only after the send: if the send kills the connection, the failure is reported
     * here. */
    rc = tl_outbound_edit(p, &flow, c, &e, body, b);
  }
  if (rc) {
    tl_branch_free(b);
    return rc;
  }
  txn->to = flow;
  keep_sent(b, &e, body);
  if (flow.conn) tl_branch_attach(b, c);
  b->peer_share = a.share;
  tl_peer_share_enter(a.share);
  start_timers(b);
  return TL_OK;
}

/* Sends to one target, or to all that are left when the route forks. */
static void send_on(struct tl_txn *txn, const struct tl_msg *m, const struct tl_body *body) {
  struct tl_plan *plan = txn->plan;
  const struct tl_conf_peer *full = NULL; /* its other addresses are skipped */
  bool any = false;
  if (plan->flow_conn) {
    any = send_to(txn, NULL, m, body) == TL_OK;
    plan->flow_conn = 0;
  }
  /* All at once means those that are at hand: further ones may follow when these have failed. */
  while (!any || (tl_plan_forks(plan) && plan->at < plan->n_target)) {
    const struct tl_target *t = tl_hunt_next(txn);
    if (!t) break;
    int rc = full && t->peer == full ? TL_EBUSY : send_to(txn, t, m, body);
    if (rc) tl_dest_unsent(txn, t, rc);
    if (rc == TL_EBUSY)
      full = t->peer;
    else
      plan->hunt.n_attempt++;
    txn->overload |=
        rc == TL_EBUSY || rc == TL_ELIMIT; /* the peer is full, or one of its addresses is */
    any |= rc == TL_OK;
    const unsigned status = tl_outbound_status(rc);
    if (rc && rc != TL_EBUSY && status == 503) tl_hunt_ended(txn, t->peer, TL_OUTCOME_TRANSPORT);
    if (rc && tl_best_is_better(status, txn->best_status)) txn->best_status = (uint16_t)status;
    if (!any && txn->hunt_ends) break;
    if (!any && (plan->at < plan->n_target || tl_hunt_has_more(plan)))
      tl_count(tl_proxy_counters(txn->proxy), TL_C_TXN_FAILOVER);
  }
}

void tl_forward_next(struct tl_txn *txn, const struct tl_msg *m, const struct tl_body *body) {
  struct tl_body saved;
  if (!m) {
    if (!txn->request) {
      tl_txn_free(txn);
      return;
    }
    m = tl_saved_scan(txn->request, &saved);
    body = &saved;
    tl_plan_rebind(txn->plan, m);
    /* Without its body the peer would take the next message on the stream for it. */
    if (saved.len < m->body_len) txn->plan->hunt.over = true;
  }
  txn->state = TL_TXN_PROCEEDING;
  send_on(txn, m, body);
  /* A later target may have brought down the connection that an earlier one was sent on. */
  if (tl_txn_is_pending(txn)) return;
  if (!txn->best_status) txn->best_status = 503;
  tl_best_settle(txn);
}

/* ---- failure and CANCEL ---- */

/* What follows for TXN when one of its branches has ended as if by STATUS. */
static void go_on_after(struct tl_txn *txn, unsigned status) {
  struct tl_proxy *p = txn->proxy;
  if (txn->state != TL_TXN_PROCEEDING) return;
  if (tl_best_is_better(status, txn->best_status)) {
    txn->best_status = (uint16_t)status;
    tl_saved_free(p, txn->best);
    txn->best = NULL;
  }
  if (tl_txn_is_pending(txn)) return;
  /* Deferred to a timer: another message may be half processed at this moment. */
  txn->failed = true;
  tl_timer_start(tl_net_wheel(p->net), &txn->timer, 0);
}

void tl_forward_failed(struct tl_branch *b, unsigned status) {
  struct tl_txn *txn = b->txn;
  const bool late = b->state > TL_BR_PROCEEDING;
  if (!late) tl_hunt_ended(txn, b->target.peer, TL_OUTCOME_TRANSPORT);
  tl_branch_free(b);
  if (!late) go_on_after(txn, status);
}

void tl_forward_gave_up(struct tl_branch *b, unsigned status) {
  struct tl_txn *txn = b->txn;
  const bool heard = b->state == TL_BR_PROCEEDING && !b->cancel_sent;
  tl_hunt_ended(txn, b->target.peer, status == 408 ? TL_OUTCOME_SILENCE : TL_OUTCOME_TRANSPORT);
  if (!tl_given_up_keep(b))
    tl_branch_free(b);
  else if (heard)
    tl_forward_cancel_branch(b);
  go_on_after(txn, status);
}

/* A CANCEL for B in p->out; 0: none can be made. */
static size_t build_cancel(struct tl_branch *b) {
  struct tl_proxy *p = b->txn->proxy;
  struct tl_msg sent;
  size_t n;
  if (tl_branch_sent(b, &sent) || tl_cancel_build(&sent, p->out, sizeof(p->out), &n)) return 0;
  return n;
}

void tl_forward_cancel_branch(struct tl_branch *b) {
  struct tl_proxy *p = b->txn->proxy;
  if (b->cancel_sent || !b->sent) return;
  if (b->state == TL_BR_CALLING) {
    b->cancel_wanted = true; /* RFC 3261 9.1: not before a provisional response */
    return;
  }
  size_t n = build_cancel(b);
  if (!n) return;
  b->cancel_sent = true;
  tl_branch_send(b, p->out, n);
  if (!b->reliable && (b->cancel = tl_saved_bytes(p, b->txn->in_dialog, p->out, n)) != NULL) {
    b->retrans_ms = tl_net_view(p->net)->conf->timeouts.t1;
    tl_timer_start(tl_net_wheel(p->net), &b->retrans, b->retrans_ms);
  }
  /* 9.1: an INVITE still unanswered 64*T1 after its CANCEL is given up. */
  tl_timer_start(tl_net_wheel(p->net), &b->timer, 64 * tl_net_view(p->net)->conf->timeouts.t1);
}

void tl_forward_cancel(struct tl_txn *txn) {
  txn->cancelled = true;
  if (txn->state == TL_TXN_WAITING ||
      (txn->state == TL_TXN_PROCEEDING && !tl_txn_is_pending(txn))) {
    tl_local_txn_answer(txn, 487, tl_reason_phrase(487), TL_STR(""));
    return;
  }
  for (struct tl_branch *b = txn->branches; b; b = b->next)
    if (b->state <= TL_BR_PROCEEDING) tl_forward_cancel_branch(b);
}
