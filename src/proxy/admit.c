/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage admit: a request that has been routed gets a transaction, if there is room, or goes on
 * without one (RFC 3261 16.11). One that had to wait already has its transaction.
 */
#include "admit.h"

#include "call.h"
#include "hunt.h"
#include "outbound.h"
#include "saved.h"
#include "txn.h"
#include "wait_table.h"

/* Keeps what responses and further targets will need. A large body that has no second target is
 * not copied. */
static int keep_request(const struct tl_req *req, bool again) {
  struct tl_txn *txn = req->txn;
  struct tl_proxy *p = req->p;
  bool with_body =
      again || !txn->reliable || req->body->len < tl_net_view(p->net)->conf->limits.zero_copy_body;
  txn->request = tl_saved_msg(p, txn->in_dialog, req->m, with_body ? req->body : NULL);
  return txn->request ? TL_OK : TL_ENOMEM;
}

/* May the first target be followed by another? UDP follows TCP, which is tried first for a large
 * request. */
static bool has_others(const struct tl_plan *plan) {
  if (plan->n_target + (plan->flow_conn != 0) > 1 || tl_hunt_has_more(plan)) return true;
  return plan->n_target && !tl_transport_is_reliable(plan->target[0].transport);
}

static bool has_room(const struct tl_req *req) {
  const bool in_dialog = req->plan && req->plan->in_dialog;
  return tl_txn_room(req->p, in_dialog, req->m->head_len + req->body->len) &&
         (in_dialog || !tl_txn_has_its_share(req));
}

/* AGAIN: the request will be needed again. The transaction takes the plan. */
static enum tl_stage_result start_txn(struct tl_req *req, bool again) {
  struct tl_txn *txn = has_room(req) ? tl_txn_new(req) : NULL;
  if (!txn) return tl_req_refuse_overload(req);
  req->txn = txn;
  txn->plan = req->plan;
  req->owns_plan = false;
  txn->in_dialog = req->plan->in_dialog;
  if (keep_request(req, again)) {
    tl_txn_free(txn);
    req->txn = NULL;
    return tl_req_refuse_overload(req);
  }
  txn->ack = req->m->method == TL_M_ACK;
  txn->call = tl_call_of(req->p, req->m);
  return TL_STAGE_GO_ON;
}

/* An ACK without our token may be for a failed INVITE whose transaction another worker has. */
static bool passes_ack(const struct tl_req *req) {
  return req->m->method == TL_M_ACK && !req->plan->in_dialog && !req->plan->own &&
         tl_req_pass_onwards(req, req->body);
}

enum tl_stage_result tl_admit_waiting(struct tl_req *req) {
  if (passes_ack(req)) return TL_STAGE_ANSWERED;
  if (!tl_wait_room(req)) return tl_req_refuse_overload(req);
  return start_txn(req, true);
}

/* ---- without a transaction ---- */

/* May it be forwarded without one? Not when TCP is to be tried before UDP (18.1.1): without state
 * there is no way back to UDP when TCP is refused. */
static bool goes_stateless(const struct tl_req *req) {
  const struct tl_plan *plan = req->plan;
  if (req->m->method == TL_M_ACK) return true;
  if (!plan->route || !plan->route->opt.stateless) return false;
  /* First by the dialog's leg, then by address: the second attempt needs to know that the first
   * failed. */
  if (!plan->flow_conn && plan->n_target > 1 && plan->target[0].by_leg) return false;
  bool datagram =
      !plan->flow_conn && plan->n_target && tl_transport_is_datagram(plan->target[0].transport);
  return !datagram || !tl_outbound_near_mtu(req->m, req->body);
}

enum tl_stage_result tl_stage_admit(struct tl_req *req) {
  if (req->txn) return TL_STAGE_GO_ON;
  if (passes_ack(req)) return TL_STAGE_ANSWERED;
  return goes_stateless(req) ? TL_STAGE_GO_ON : start_txn(req, has_others(req->plan));
}
