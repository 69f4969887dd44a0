/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage absorb: requests that belong to an earlier one (RFC 3261 16.10, 17.2.3): retransmissions,
 * CANCEL and ACK end here. All others are new.
 */
#include "forward.h"
#include "local.h"
#include "outbound.h"
#include "saved.h"
#include "stage.h"
#include "stateless.h"
#include "token.h"
#include "top_via.h"
#include "txn.h"
#include "xworker.h"

#define ACKS_MAX 16u /* a 2xx is repeated ten times (RFC 3261 13.3.1.4) */

/* A request that matches a transaction. True: nothing else is to be done. */
static bool absorb_known(struct tl_proxy *p, struct tl_txn *txn, const struct tl_msg *m) {
  if (m->method == TL_M_ACK) {
    /* An ACK with the branch of an INVITE answered by a 2xx comes from an RFC 2543 peer: forward
     * it, as often as the 2xx may have been repeated. */
    if (txn->state == TL_TXN_ACCEPTED && txn->n_ack < ACKS_MAX) {
      txn->n_ack++;
      return false;
    }
    if (txn->state == TL_TXN_ACCEPTED) tl_count(tl_proxy_counters(p), TL_C_DROP_STRAY_ACK);
    if (txn->state == TL_TXN_COMPLETED) tl_txn_confirmed(txn); /* may be its end */
    return true;
  }
  tl_count(tl_proxy_counters(p), TL_C_RETRANS_ABSORBED);
  txn->got_len += m->head_len + m->body_len;
  /* After a 2xx the callee retransmits, not we (RFC 6026 7.1). */
  if (txn->reply && txn->state != TL_TXN_ACCEPTED) {
    tl_outbound_bytes(p, &txn->from, txn->reply->data, txn->reply->len);
    txn->sent_len += txn->reply->len;
    tl_count(tl_proxy_counters(p), TL_C_RETRANS_SENT);
  }
  return true;
}

/* ---- CANCEL ---- */

/* Would the INVITE of this CANCEL, if there was one, take a stateless route? Then ASKED has the
 * plan. Nothing about it is counted or logged. */
static bool plan_stateless(struct tl_req *asked) {
  asked->dry = true;
  bool taken =
      tl_stages_plan(asked) == TL_OK && asked->plan->route && asked->plan->route->opt.stateless;
  asked->silent = asked->dry = false;
  return taken;
}

/* No transaction is here. Another worker may have its INVITE, which need not have taken the route
 * that would be taken now; else the CANCEL of an INVITE that took a stateless route follows it
 * (16.10, 16.11). What may only be answered elsewhere leaves its body behind. A sender whose CANCEL
 * cannot be passed on is told, for over TCP it sends none again. */
static bool cancel_elsewhere(struct tl_req *req) {
  static const struct tl_body none;
  struct tl_req asked = *req;
  bool stateless = plan_stateless(&asked), whole = req->body->len == req->m->body_len;
  const struct tl_body *body = stateless || !req->m->has_length ? req->body : &none;
  bool sent = false, asks = tl_txn_elsewhere(req->p, req->key) && tl_xw_onwards(req, body, &sent);
  if (sent)
    tl_outbound_await(req->p, req->origin.from, req->m);
  else if (stateless && whole ? tl_stateless_forward(&asked) != TL_OK : asks)
    tl_req_refuse(req, 503, NULL, TL_STR(""));
  tl_req_done(&asked);
  return asks || (stateless && whole);
}

static enum tl_stage_result handle_cancel(struct tl_req *req) {
  struct tl_proxy *p = req->p;
  struct tl_txn *txn = tl_txn_find(p, req->key);
  if (!txn && cancel_elsewhere(req)) return TL_STAGE_ANSWERED;
  if (!txn || !txn->invite) return tl_req_refuse(req, 481, NULL, TL_STR(""));
  tl_local_answer(p, req->origin.from, req->m, 200, TL_STR("OK"), TL_STR(""));
  if (txn->state <= TL_TXN_PROCEEDING && !txn->cancelled) tl_forward_cancel(txn);
  return TL_STAGE_ANSWERED;
}

/* ---- ACK ---- */

/* An ACK for a refusal generated here without a transaction: its To tag is ours. */
static bool acknowledges_refusal(struct tl_proxy *p, const struct tl_msg *m) {
  char tag[16];
  if (m->method != TL_M_ACK || m->to_tag.n != sizeof(tag)) return false;
  tl_token_tag(p, m, tag);
  return memcmp(m->to_tag.p, tag, sizeof(tag)) == 0;
}

/* ---- loops ---- */

/* Each hop has taken one from Max-Forwards, which begins at 70 (RFC 3261 8.1.1.6): a request
 * with more Via values can only be meant to make work, and each value may have a MAC to check. */
#define VIA_VALUES_MAX 100u

/* 16.3 step 4: one of the lower Vias is ours and carries the hash of this very request: it has
 * looped. A spiral, whose Request-URI has changed since, may pass, but not straight from ourselves:
 * then some name or address led back here, and our own address would be taken for the sender.
 * Returns the status to refuse it with, 0: none. */
static unsigned detect_loop(struct tl_proxy *p, const struct tl_msg *m) {
  unsigned values = 0;
  struct tl_token t;
  uint64_t loop = 0;
  for (uint16_t i = m->first[TL_H_VIA]; i != TL_HDR_NONE; i = m->hdr[i].next) {
    struct tl_str v = tl_hdr_value(m, i);
    struct tl_via via = m->via;
    size_t used;
    if (i == m->first[TL_H_VIA]) {
      used = tl_top_via_used(m); /* the topmost value is already parsed */
    } else if (tl_via_parse(v, &via, &used)) {
      continue;
    }
    for (;;) {
      if (++values > VIA_VALUES_MAX) return 400;
      if (tl_token_branch_parse(p, via.branch, &t) == 0 && t.worker != TL_STATELESS) {
        if (!loop) loop = tl_token_loop(p, m);
        if (t.loop == loop || values == 1) return 482;
      }
      v.p += used;
      v.n -= used;
      if (v.n == 0 || tl_via_parse(v, &via, &used)) break;
    }
  }
  return 0;
}

/* ---- the stage ---- */

enum tl_stage_result tl_stage_absorb(struct tl_req *req) {
  struct tl_proxy *p = req->p;
  const struct tl_msg *m = req->m;
  /* If we cannot add received to a Via, the response would go wherever the Via says (RFC 3261
   * 18.2.1). */
  if (m->via.whole.n > TL_VIA_MAX) return tl_req_refuse(req, 400, "Via Too Long", TL_STR(""));
  if (m->method == TL_M_CANCEL) return handle_cancel(req);
  tl_txn_table_fetch(&p->txns->table, req->key);
  req->loop_status = detect_loop(p, m); /* while that memory is being fetched */
  struct tl_txn *txn = tl_txn_find(p, req->key);
  if (txn ? absorb_known(p, txn, m) : tl_txn_is_past(p, m, req->key)) return TL_STAGE_ANSWERED;
  if (!acknowledges_refusal(p, m)) return TL_STAGE_GO_ON;
  /* Another worker may be waiting for it. */
  if (tl_txn_elsewhere(p, req->key)) tl_req_pass_onwards(req, req->body);
  return TL_STAGE_ANSWERED;
}
