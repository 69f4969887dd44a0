/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Responses (RFC 3261 16.7, 17.1, RFC 6026): matched by the branch that we wrote, sent back the
 * way the request came.
 */
#include "response.h"

#include "best.h"
#include "branch.h"
#include "call.h"
#include "dest_note.h"
#include "forward.h"
#include "given_up.h"
#include "hunt.h"
#include "late.h"
#include "peer_share.h"
#include "proxy.h"
#include "saved.h"
#include "source.h"
#include "stateless.h"
#include "tieline/reply.h"
#include "token.h"
#include "top_via.h"
#include "txn.h"
#include "xworker.h"

#define TIMER_D_MS 32000u /* 17.1.1.2: at least 32 s */

static void count_class(struct tl_proxy *p, unsigned status) {
  unsigned k = status / 100;
  if (k >= 1 && k <= 6) tl_count(tl_proxy_counters(p), TL_C_RESP_1XX + (k - 1));
}

static void acknowledge_final(struct tl_branch *b, const struct tl_msg *m) {
  struct tl_proxy *p = b->txn->proxy;
  struct tl_msg sent;
  size_t n;
  if (tl_branch_sent(b, &sent) || tl_ack_build(&sent, m, p->out, sizeof(p->out), &n)) return;
  tl_branch_send(b, p->out, n);
}

/* Timer C, unless less is allowed: until more than a 100 has come nobody rings and the route's
 * bound holds, then the peer's. */
static void await_final(struct tl_branch *b, bool rings) {
  const struct tl_txn *txn = b->txn;
  struct tl_net *n = txn->proxy->net;
  /* The peer is the view's, which has gone with the 2xx of another branch. */
  const struct tl_conf_peer *peer = txn->in_dialog || !txn->view ? NULL : b->target.peer;
  const uint32_t wait_ms = tl_net_view(n)->conf->timeouts.timer_c;
  const uint32_t ring_ms = peer ? peer->opt.ring_timeout_ms : 0, left_ms = tl_hunt_left_ms(txn);
  uint32_t bound_ms = rings ? ring_ms : left_ms ? left_ms : 1;
  b->bounded = bound_ms && bound_ms < wait_ms;
  tl_timer_start(tl_net_wheel(n), &b->timer, b->bounded ? bound_ms : wait_ms);
}

static void on_provisional(struct tl_branch *b, const struct tl_msg *m,
                           const struct tl_body *body) {
  struct tl_txn *txn = b->txn;
  struct tl_net *n = txn->proxy->net;
  if (b->state == TL_BR_GIVEN_UP && !b->late) tl_forward_cancel_branch(b);
  if (b->state > TL_BR_PROCEEDING) return;
  if (b->invite) {
    if (!b->cancel) tl_timer_stop(tl_net_wheel(n), &b->retrans);
    /* Timer C; a 100 only says that the next hop is there (16.7 step 2). */
    bool first = b->state == TL_BR_CALLING;
    bool rings = m->status > 100;
    if (!b->cancel_sent && (first || rings) && !(b->rings && b->bounded)) await_final(b, rings);
    b->rings |= rings;
    b->more_ms = 0;
    txn->rang |= m->status > 100;
  } else {
    b->retrans_ms = tl_net_view(n)->conf->timeouts.t2;
  }
  b->state = TL_BR_PROCEEDING;
  if (m->status > 100 && txn->state == TL_TXN_PROCEEDING) {
    tl_timer_stop(tl_net_wheel(n), &txn->timer); /* no 100 of ours after a real response */
    txn->sent_100 = true;
    tl_best_forward(txn, m, body);
  }
  if (b->cancel_wanted) tl_forward_cancel_branch(b);
}

/* The branch has its final response; decides how long it is still kept. */
static void branch_done(struct tl_branch *b) {
  struct tl_net *n = b->txn->proxy->net;
  tl_timer_stop(tl_net_wheel(n), &b->retrans);
  tl_branch_detach(b);
  tl_peer_share_leave(&b->peer_share);
  tl_call_drop(b->txn->proxy, b->call_slot);
  b->call_slot = NULL;
  b->state = TL_BR_COMPLETED;
  if (b->reliable)
    tl_branch_free(b); /* Timers D and K are 0 */
  else
    tl_timer_start(tl_net_wheel(n), &b->timer,
                   b->invite ? TIMER_D_MS : tl_net_view(n)->conf->timeouts.t4);
}

/* Early termination (16.7 step 10): the other branches need not ring any longer. */
static void cancel_others(struct tl_txn *txn) {
  for (struct tl_branch *b = txn->branches; b; b = b->next)
    if (b->invite && b->state <= TL_BR_PROCEEDING) tl_forward_cancel_branch(b);
}

/* Has the client been told that the call has failed? */
static bool is_refused(const struct tl_txn *txn) {
  return txn->state == TL_TXN_COMPLETED || txn->state == TL_TXN_CONFIRMED;
}

static void on_invite_2xx(struct tl_branch *b, const struct tl_msg *m, const struct tl_body *body) {
  struct tl_txn *txn = b->txn;
  struct tl_proxy *p = txn->proxy;
  if (b->state == TL_BR_GIVEN_UP) {
    tl_given_up_passed_on(b, m);
    tl_given_up_leave(b);
  }
  if (b->call_slot) tl_call_answered(p, b->call_slot, m);
  tl_best_forward(txn, m, body); /* every 2xx, at once (16.7 step 5, RFC 6026 7.2) */
  if (b->state == TL_BR_ACCEPTED) return;
  b->state = TL_BR_ACCEPTED;
  txn->to = b->flow;
  tl_branch_detach(b);
  tl_peer_share_leave(&b->peer_share);
  tl_saved_free(p, b->sent);
  b->sent = NULL;
  tl_timer_stop(tl_net_wheel(p->net), &b->retrans);
  /* The transaction's Timer L ends both; M would end at the same time. */
  tl_timer_stop(tl_net_wheel(p->net), &b->timer);
  if (txn->state != TL_TXN_PROCEEDING) return; /* its timer is H, I or L now and must fire */
  tl_timer_stop(tl_net_wheel(p->net), &txn->timer);
  cancel_others(txn);
  tl_txn_finished(txn, m->status);
}

/* The common case: a single branch, nothing better to wait for, nothing else to try. */
static bool at_once(struct tl_txn *txn, unsigned status) {
  if (txn->best || txn->challenges || status == 503 || tl_txn_is_pending(txn)) return false;
  return tl_best_is_better(status, txn->best_status) && !tl_best_wants_next(txn);
}

static void on_final(struct tl_branch *b, const struct tl_msg *m, const struct tl_body *body) {
  struct tl_txn *txn = b->txn;
  const bool repeated = b->state == TL_BR_COMPLETED, late = b->state == TL_BR_GIVEN_UP;
  unsigned status = m->status;
  if (b->state == TL_BR_ACCEPTED) return; /* RFC 6026 7.2: nothing else follows a 2xx */
  if (b->invite) acknowledge_final(b, m);
  if (repeated) return;
  if (late)
    tl_given_up_leave(b);
  else
    txn->to = b->flow;
  if (!late && status >= 300) tl_hunt_ended(txn, b->target.peer, status);
  branch_done(b);
  if (late || txn->state != TL_TXN_PROCEEDING) return;
  /* RFC 4320 4.2: a 408 to a non-INVITE request counts as no response. */
  if (status == 408 && !txn->invite) {
    if (tl_best_is_better(status, txn->best_status)) txn->best_status = 408;
    if (!tl_txn_is_pending(txn)) tl_best_settle(txn);
    return;
  }
  if (status < 300 || at_once(txn, status)) {
    tl_timer_stop(tl_net_wheel(txn->proxy->net), &txn->timer);
    tl_best_forward(txn, m, body);
    tl_txn_finished(txn, status);
    return;
  }
  tl_best_keep(txn, m, body);
  if (status >= 600) cancel_others(txn);
  if (tl_txn_is_pending(txn)) return;
  /* Deferred if another target follows: M is still being read. */
  txn->failed = true;
  tl_timer_start(tl_net_wheel(txn->proxy->net), &txn->timer, 0);
}

static void count_drop(struct tl_proxy *p, enum tl_counter why) {
  tl_count(tl_proxy_counters(p), why);
}

/* The branch that M is a response to, if its sender may answer it; else M is counted as dropped. */
static struct tl_branch *branch_of(struct tl_proxy *p, const struct tl_token *t,
                                   const struct tl_origin *origin, const struct tl_msg *m) {
  const struct tl_flow *from = origin->from;
  struct tl_branch *b = tl_branch_find(p, t->slot, t->gen);
  if (!b)
    count_drop(p, TL_C_DROP_STRAY_RESPONSE);
  else if (!tl_branch_is_from_flow(p, b, from) && !tl_branch_is_same_party(p, b, origin))
    count_drop(p, TL_C_DROP_NOT_ASKED);
  else if (tl_token_sent_by(p, m->via.host, m->via.port) != b->sent_by)
    count_drop(p, TL_C_DROP_SENT_BY);
  else
    return b;
  return NULL;
}

void tl_response_handle(struct tl_proxy *p, const struct tl_origin *origin, const struct tl_msg *m,
                        const struct tl_body *body) {
  const struct tl_flow *from = origin->from;
  struct tl_token t;
  int rc = tl_token_branch_parse(p, m->via.branch, &t);
  if (rc || m->method == TL_M_ACK) {
    count_drop(p, !rc                ? TL_C_DROP_ACK_ANSWERED
                  : rc == TL_EBADMAC ? TL_C_DROP_FORGED
                                     : TL_C_DROP_STRAY_RESPONSE);
    return;
  }
  if (t.worker == TL_STATELESS) {
    if (tl_stateless_response(p, from, m, body, t.loop))
      count_class(p, m->status);
    else
      count_drop(p, TL_C_DROP_FORGED);
    return;
  }
  if (t.worker != p->th.index) {
    tl_xw_message(p, t.worker, origin, m, body, 1);
    return;
  }
  count_class(p, m->status);
  struct tl_branch *b = branch_of(p, &t, origin, m);
  if (!b) return;
  /* The response to our CANCEL carries the INVITE's branch and adds nothing. */
  if (b->invite && m->method == TL_M_CANCEL) {
    if (b->cancel) tl_timer_stop(tl_net_wheel(p->net), &b->retrans);
    return;
  }
  /* A response that cannot be forwarded must not end the transaction: its client would never get
   * one. */
  if (m->method != (enum tl_method)b->txn->method || (tl_top_via_is_only(m) && !b->txn->user)) {
    count_drop(p, TL_C_DROP_STRAY_RESPONSE);
    return;
  }
  if (from->conn && from->conn != b->flow.conn) tl_branch_moved(b, from);
  if (b->state <= TL_BR_PROCEEDING) tl_dest_heard(b, m);
  if (m->status < 200)
    on_provisional(b, m, body);
  else if (b->invite && m->status < 300 && is_refused(b->txn))
    tl_late_end(b, m, from);
  else if (b->invite && m->status < 300)
    on_invite_2xx(b, m, body);
  else
    on_final(b, m, body);
}
