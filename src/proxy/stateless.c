/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests without a transaction and the responses to them (RFC 3261 16.11): the branch proves that
 * a response belongs to a request that went out from here.
 */
#include "stateless.h"

#include "call.h"
#include "outbound.h"
#include "proxy.h"
#include "request_edit.h"
#include "stage.h"
#include "txn.h"
#include "xworker.h"

/* On a stateless route CANCEL, and the ACK for a rejection, carry the branch of their INVITE
 * (16.11), inside a dialog, too. An ACK for a 2xx, which cannot be told from them, has a branch of
 * its own by its sender's (RFC 3261 13.2.2.4). */
static bool follows_invite(const struct tl_plan *plan, const struct tl_msg *m) {
  return m->method == TL_M_CANCEL ||
         (m->method == TL_M_ACK && plan->route && plan->route->opt.stateless);
}

/* Writes the branch of the request over the placeholder in X. It goes to FLOW, on C if that
 * connection is here. */
static void write_branch(const struct tl_req *req, const struct tl_flow *flow,
                         const struct tl_conn *c, const struct tl_edit_texts *x) {
  struct tl_proxy *p = req->p;
  const struct tl_msg *m = req->m;
  const tl_conn_id from = req->origin.from->conn;
  struct tl_flow to = *flow;
  bool follows = follows_invite(req->plan, m);
  /* An ACK for a 2xx has no response (RFC 3261 13.2.2.4): no response may pass with its branch. */
  if (m->method == TL_M_ACK && !follows) {
    tl_token_unanswered(p, req->key, from, x->branch);
    return;
  }
  if (c) to.addr = *tl_conn_peer(c);
  struct tl_via below = m->via;
  size_t used;
  if (x->below.p != m->via.whole.p && tl_via_parse(x->below, &below, &used)) below = m->via;
  const struct tl_passage w = {.key = req->key,
                               .from = from,
                               .sent_by = x->sent_by,
                               .via = tl_token_via(p, &below),
                               .flow = tl_token_flow(p, &to),
                               .call_id = m->call_id,
                               .method = follows ? TL_STR("INVITE") : m->cseq_method,
                               .cseq = m->cseq};
  tl_token_stateless(p, &w, tl_token_now(), x->branch);
}

/* T NULL: on the plan's flow. *OUT_SURE: the connection is already open, so no verification is
 * pending. */
static int send_stateless(const struct tl_req *req, const struct tl_target *t, bool *out_sure) {
  struct tl_proxy *p = req->p;
  struct tl_plan *plan = req->plan;
  struct tl_conn *c = NULL;
  struct tl_flow flow;
  struct tl_edit e;
  struct tl_edit_texts x;
  static const char room[TL_BRANCH_LEN];
  int rc =
      t ? tl_outbound_open(p, plan, t, false, &flow, &c) : tl_outbound_flow(p, plan, &flow, &c);
  if (rc) return rc;
  *out_sure = !c || tl_conn_is_open(c);
  rc = tl_request_edit(p, &e, req->m, plan, t, req->origin.from, &flow, room, &x);
  if (rc == TL_OK) rc = tl_outbound_fits_target(p, plan, t, &e, req->body);
  if (rc) return rc;
  write_branch(req, &flow, c, &x);
  return tl_outbound_edit(p, &flow, c, &e, req->body, NULL);
}

int tl_stateless_forward(const struct tl_req *req) {
  const struct tl_plan *plan = req->plan;
  bool sure = false;
  if (plan->flow_conn && send_stateless(req, NULL, &sure) == TL_OK) {
    tl_outbound_await(req->p, req->origin.from, req->m);
    return TL_OK;
  }
  if (!plan->n_target) return TL_ENOTFOUND;
  int rc = send_stateless(req, &plan->target[0], &sure);
  /* No response tells whether the ACK's new connection passed verification, and a second ACK
   * does no harm. */
  if (req->m->method == TL_M_ACK && plan->n_target > 1 && plan->target[0].by_leg && (rc || !sure)) {
    int rc2 = send_stateless(req, &plan->target[1], &sure);
    if (rc) rc = rc2;
  }
  if (rc == TL_OK) tl_outbound_await(req->p, req->origin.from, req->m);
  return rc;
}

/* RFC 3261 16.11: what could not be forwarded is only repaired by the sender's own
 * retransmission. */
static void send_without_txn(struct tl_req *req) {
  const int rc = tl_stateless_forward(req);
  const unsigned status = tl_outbound_status(rc);
  if (rc)
    tl_req_refuse(req, status,
                  status == 503   ? tl_plan_lacks_domain(req->plan)
                  : status == 400 ? TL_TOO_MUCH
                                  : NULL,
                  TL_STR(""));
  tl_call_ended(req->p, tl_call_of(req->p, req->m)); /* its response will not be inspected */
}

void tl_stateless_send(struct tl_req *req) {
  if (!req->txn) {
    send_without_txn(req);
    return;
  }
  if (tl_stateless_forward(req)) tl_count(tl_proxy_counters(req->p), TL_C_DROP_STRAY_ACK);
  tl_txn_free(req->txn);
}

/* May a request that we forwarded statelessly from CONN be answered by M, coming from FROM? */
static bool answers_passage(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m,
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
  w.flow = tl_token_flow(p, &nameless); /* forwarded by a worker that did not know the address */
  return tl_token_stateless_check(p, m->via.branch, &w, now_s) == TL_OK;
}

/* 16.11: back on the connection that our branch names, else to where the Via below ours says. */
bool tl_stateless_response(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m,
                           const struct tl_body *body, tl_conn_id conn) {
  struct tl_edit e;
  struct tl_via v;
  struct tl_addr to;
  struct tl_conn *c = tl_conn_get(p->net, conn);
  if (tl_top_via_below(m, &v) || !answers_passage(p, from, m, &v, conn)) return false;
  struct tl_flow back = {.transport = c ? tl_conn_transport(c) : TL_UDP, .conn = conn};
  int rc = tl_top_via_drop(&e, m);
  if (rc == TL_OK && c && !tl_outbound_fits_back(p, &back, &e, body)) return true;
  if (rc == TL_OK && conn) {
    rc = tl_xw_is_remote(p, conn) ? tl_xw_send_edit(p, conn, &e, body, NULL)
         : c                      ? tl_conn_send_edit(c, &e, body)
                                  : TL_ECLOSED;
    if (c && m->status >= 200) tl_conn_answered(c);
  } else if (rc == TL_OK) {
    uint16_t port = v.rport ? v.rport : v.port ? v.port : tl_transport_port(TL_UDP);
    rc = tl_addr_parse(v.received.n ? v.received : v.host, port, &to);
    if (rc == TL_OK) rc = tl_udp_send_edit(p->net, NULL, &to, &e, body);
  }
  if (rc) tl_count(tl_proxy_counters(p), TL_C_DROP_NO_ROUTE_BACK);
  return true;
}
