/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running a table of stages, and what any of them may do with its request: refuse it, or leave it
 * to another worker. Which stages there are is request.c's.
 */
#include "stage.h"

#include "account.h"
#include "call.h"
#include "local.h"
#include "outbound.h"
#include "tieline/reply.h"
#include "txn.h"
#include "xworker.h"

void tl_stages_run(struct tl_req *req, const struct tl_stage *at) {
  for (;; at++) {
    req->stage = at;
    if (at->run(req) != TL_STAGE_GO_ON) return;
  }
}

const struct tl_stage *tl_stage_find(const struct tl_proxy *p,
                                     enum tl_stage_result (*run)(struct tl_req *req)) {
  const struct tl_stage *at = p->stages;
  while (at->run != run) at++;
  return at;
}

void tl_req_done(struct tl_req *req) {
  if (req->owns_plan) tl_plan_free(req->p, req->plan);
  req->owns_plan = false;
}

/* REQ has a transaction, which this ends. */
static void refuse_txn(struct tl_req *req, struct tl_str phrase, struct tl_str extra) {
  struct tl_txn *txn = req->txn;
  if (txn->ack) {
    tl_count(tl_proxy_counters(req->p), TL_C_DROP_STRAY_ACK); /* an ACK has no response */
    tl_txn_free(txn);
    return;
  }
  txn->overload |= txn->user != NULL; /* it was never sent */
  tl_local_txn_answer(txn, req->status, phrase, extra);
}

enum tl_stage_result tl_req_refuse(struct tl_req *req, unsigned status, const char *reason,
                                   struct tl_str extra) {
  struct tl_proxy *p = req->p;
  const struct tl_flow *from = req->origin.from;
  req->status = status;
  req->reason = reason;
  if (req->silent) return TL_STAGE_ANSWERED;
  struct tl_str phrase = reason ? tl_str_c(reason) : tl_reason_phrase(status);
  if (req->txn) {
    refuse_txn(req, phrase, extra);
    return TL_STAGE_ANSWERED;
  }
  if (req->m->method == TL_M_ACK)
    tl_count(tl_proxy_counters(p), TL_C_DROP_STRAY_ACK);
  else
    tl_local_answer(p, from, req->m, status, phrase, extra);
  tl_account_refused(p, from, req->m, status);
  return TL_STAGE_ANSWERED;
}

enum tl_stage_result tl_req_refuse_overload(struct tl_req *req) {
  if (!req->silent) {
    tl_count(tl_proxy_counters(req->p), TL_C_TXN_REFUSED);
    /* The party that hung up does not come again (RFC 3261 15.1.1). */
    tl_call_ended(req->p, tl_call_of(req->p, req->m));
  }
  return tl_req_refuse(req, 503, "Overloaded", TL_STR("Retry-After: 5\r\n"));
}

bool tl_req_pass_onwards(const struct tl_req *req, const struct tl_body *body) {
  bool sent;
  if (!tl_xw_onwards(req, body, &sent)) return false;
  if (sent) tl_outbound_await(req->p, req->origin.from, req->m);
  return true;
}
