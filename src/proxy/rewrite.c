/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage rewrite: what changes in a request wherever it goes is decided once, in its plan, and
 * request_edit.c writes it for each target, with what depends on that.
 */
#include "outbound.h"
#include "request_edit.h"
#include "stage.h"
#include "target.h"
#include "txn.h"

/* Requests that start a dialog, and those that may leave one side without our entry in its route
 * set: a NOTIFY may be the first request that a subscriber sees (RFC 6665 4.3), and one inside a
 * dialog without our Route has lost it or never had it (RFC 3261 16.6 step 4). */
static bool wants_record_route(const struct tl_msg *m, const struct tl_plan *plan) {
  switch (m->method) {
  case TL_M_NOTIFY:
  case TL_M_SUBSCRIBE: return !plan->own;
  case TL_M_INVITE:
  case TL_M_REFER: return m->to_tag.n == 0 || !plan->in_dialog;
  case TL_M_UPDATE: return m->to_tag.n && !plan->in_dialog;
  default: return false;
  }
}

enum tl_stage_result tl_stage_rewrite(struct tl_req *req) {
  struct tl_plan *plan = req->plan;
  plan->record_route = wants_record_route(req->m, plan);
  /* Without a transaction it is sent once, and nothing learns whether TCP was refused. */
  if (!req->txn || req->txn->ack) return TL_STAGE_GO_ON;
  if (tl_outbound_near_mtu(req->m, req->body)) tl_target_prefer_tcp(req->p, plan);
  /* RFC 5393 5.3.3: copies that are out at the same time share the breadth of the request. */
  plan->copies = tl_plan_forks(plan) ? plan->n_target : 1;
  if (tl_request_edit_breadth(req->m) >= plan->copies) return TL_STAGE_GO_ON;
  return tl_req_refuse(req, 440, NULL, TL_STR(""));
}
