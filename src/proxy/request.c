/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests (RFC 3261 16.3, 16.10, 17.2.3): which are repeated, cancelled, acknowledged or refused,
 * and which become a transaction.
 */
#include "request.h"
#include "tieline/resolve.h"

#include <stdio.h>
#include <stdlib.h>

#include "account.h"
#include "branch.h"
#include "call.h"
#include "forward.h"
#include "guard.h"
#include "leg.h"
#include "local.h"
#include "merged.h"
#include "outbound.h"
#include "plan.h"
#include "proxy.h"
#include "route.h"
#include "saved.h"
#include "source.h"
#include "stateless.h"
#include "target.h"
#include "tieline/edit.h"
#include "tieline/reply.h"
#include "tieline/view.h"
#include "token.h"
#include "top_via.h"
#include "txn.h"
#include "xworker.h"

static const enum tl_counter by_method[TL_METHODS] = {
    [TL_M_OTHER] = TL_C_REQ_OTHER,       [TL_M_INVITE] = TL_C_REQ_INVITE,
    [TL_M_ACK] = TL_C_REQ_ACK,           [TL_M_BYE] = TL_C_REQ_BYE,
    [TL_M_CANCEL] = TL_C_REQ_CANCEL,     [TL_M_OPTIONS] = TL_C_REQ_OPTIONS,
    [TL_M_REGISTER] = TL_C_REQ_REGISTER, [TL_M_MESSAGE] = TL_C_REQ_MESSAGE,
    [TL_M_PRACK] = TL_C_REQ_OTHER,       [TL_M_UPDATE] = TL_C_REQ_OTHER,
    [TL_M_REFER] = TL_C_REQ_OTHER,       [TL_M_SUBSCRIBE] = TL_C_REQ_OTHER,
    [TL_M_NOTIFY] = TL_C_REQ_OTHER,      [TL_M_INFO] = TL_C_REQ_OTHER,
    [TL_M_PUBLISH] = TL_C_REQ_OTHER};

static void refuse(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m,
                   unsigned status, struct tl_str reason, struct tl_str extra) {
  if (m->method == TL_M_ACK)
    tl_count(tl_proxy_counters(p), TL_C_DROP_STRAY_ACK);
  else
    tl_local_answer(p, from, m, status, reason.n ? reason : tl_reason_phrase(status), extra);
  tl_account_refused(p, from, m, status);
}

/* Lets the next worker in turn handle M; false when all have seen it. */
static bool pass_onwards(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m,
                         const struct tl_body *body) {
  bool sent;
  if (!tl_xw_onwards(p, from, m, body, &sent)) return false;
  if (sent) tl_outbound_await(p, from, m);
  return true;
}

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

/* 16.10, 16.11: the CANCEL of an INVITE that took a stateless route follows it. */
static bool cancel_stateless(struct tl_proxy *p, const struct tl_flow *from, struct tl_conn *c,
                             const struct tl_msg *m, const struct tl_body *body) {
  unsigned status;
  struct tl_plan *plan = tl_plan_new(p);
  if (!plan) return false;
  bool taken = m->max_forwards != 0 && tl_route_plan(p, from, c, m, plan, &status) == TL_OK &&
               plan->route && plan->route->stateless;
  if (taken && tl_stateless_forward(p, from, plan, m, body))
    refuse(p, from, m, 503, TL_STR(""), TL_STR(""));
  tl_plan_free(p, plan);
  return taken;
}

static void handle_cancel(struct tl_proxy *p, const struct tl_flow *from, struct tl_conn *c,
                          const struct tl_msg *m, const struct tl_body *body) {
  uint64_t key = tl_token_txn_key(p, m);
  struct tl_txn *txn = tl_txn_find(p, key);
  static const struct tl_body none; /* another worker may answer it, and needs no body for that */
  if (!txn && !p->handled.hops && cancel_stateless(p, from, c, m, body)) return;
  if (!txn && tl_txn_somewhere(p, key) && pass_onwards(p, from, m, m->has_length ? &none : body))
    return;
  if (!txn || !txn->invite) {
    refuse(p, from, m, 481, TL_STR(""), TL_STR(""));
    return;
  }
  tl_local_answer(p, from, m, 200, TL_STR("OK"), TL_STR(""));
  if (txn->state <= TL_TXN_PROCEEDING && !txn->cancelled) tl_forward_cancel(txn);
}

/* An ACK for a refusal generated here without a transaction: its To tag is ours. */
static bool acknowledges_refusal(struct tl_proxy *p, const struct tl_msg *m) {
  char tag[16];
  if (m->method != TL_M_ACK || m->to_tag.n != sizeof(tag)) return false;
  tl_token_tag(p, m, tag);
  return memcmp(m->to_tag.p, tag, sizeof(tag)) == 0;
}

/* 16.3 step 5: there is no extension that we could be required to support. */
static bool proxy_require(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m) {
  static const char name[] = "Unsupported: ";
  char line[512];
  size_t at = 0, lead = sizeof(name) - 1;
  uint16_t i = m->first[TL_H_PROXY_REQUIRE];
  if (i == TL_HDR_NONE || m->method == TL_M_CANCEL || m->method == TL_M_ACK) return false;
  for (; i != TL_HDR_NONE; i = m->hdr[i].next) {
    struct tl_str v = tl_hdr_value(m, i);
    if (lead + v.n + 2 > sizeof(line) - at) break;
    memcpy(line + at, name, lead);
    at += lead + tl_unfold_lines(line + at + lead, v.p, v.n);
    memcpy(line + at, "\r\n", 2);
    at += 2;
  }
  refuse(p, from, m, 420, TL_STR(""), (struct tl_str){line, at});
  return true;
}

/* OPTIONS for the proxy itself, or one whose Max-Forwards ends here (RFC 3261 11, 16.3 step 3). */
static void answer_options(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m,
                           const struct tl_body *body) {
  enum tl_merged merged = tl_merged_check(p, from, m, body);
  if (merged == TL_MERGED_ELSEWHERE) return;
  if (merged == TL_MERGED_YES)
    refuse(p, from, m, 482, TL_STR("Request Merged"), TL_STR(""));
  else
    tl_local_answer(p, from, m, 200, TL_STR("OK"), TL_STR("Accept: application/sdp\r\n"));
}

static bool for_us(struct tl_proxy *p, const struct tl_msg *m) {
  return m->method == TL_M_OPTIONS && !tl_msg_has(m, TL_H_ROUTE) && m->uri.n && !m->ruri.has_user &&
         tl_plan_is_local(p, &m->ruri);
}

static bool validate_request(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m,
                             const struct tl_body *body) {
  if (m->max_forwards == 0) {
    if (m->method == TL_M_OPTIONS)
      answer_options(p, from, m, body);
    else
      refuse(p, from, m, 483, TL_STR(""), TL_STR(""));
    return false;
  }
  if (for_us(p, m)) {
    answer_options(p, from, m, body);
    return false;
  }
  return !proxy_require(p, from, m);
}

/* Keeps what responses and further targets will need. A large body that has no second target is
 * not copied. */
static int keep_request(struct tl_txn *txn, const struct tl_msg *m, const struct tl_body *body,
                        bool again) {
  struct tl_proxy *p = txn->proxy;
  bool with_body = again || !txn->reliable || body->len < p->net.view->conf->limits.zero_copy_body;
  txn->request = tl_saved_msg(p, txn->in_dialog, m, with_body ? body : NULL);
  return txn->request ? TL_OK : TL_ENOMEM;
}

static void refuse_overload(struct tl_proxy *p, const struct tl_flow *from,
                            const struct tl_msg *m) {
  tl_count(tl_proxy_counters(p), TL_C_TXN_REFUSED);
  tl_call_ended(
      p, tl_call_of(p, m)); /* the party that hung up does not come again (RFC 3261 15.1.1) */
  refuse(p, from, m, 503, TL_STR("Overloaded"), TL_STR("Retry-After: 5\r\n"));
}

/* May the first target be followed by another? UDP follows TCP, which is tried first for a large
 * request. */
static bool has_others(const struct tl_plan *plan) {
  if (plan->n_target + (plan->flow_conn != 0) > 1) return true;
  return plan->n_target && !tl_transport_is_reliable(plan->target[0].transport);
}

/* Starts a transaction as PLAN says; takes ownership of PLAN. */
static void start_txn(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m,
                      const struct tl_body *body, struct tl_plan *plan, uint64_t key,
                      bool resolve) {
  bool room = tl_txn_room(p, plan->in_dialog, m->head_len + body->len) &&
              (plan->in_dialog || !tl_txn_has_its_share(p, from));
  struct tl_txn *txn = room ? tl_txn_new(p, m, from, key) : NULL;
  if (!txn) {
    tl_plan_free(p, plan);
    refuse_overload(p, from, m);
    return;
  }
  txn->plan = plan;
  txn->in_dialog = plan->in_dialog;
  if (keep_request(txn, m, body, resolve || has_others(plan))) {
    tl_txn_free(txn);
    refuse_overload(p, from, m);
    return;
  }
  txn->ack = m->method == TL_M_ACK;
  txn->call = tl_call_of(p, m);
  if (!resolve) {
    tl_forward_next(txn, m, body);
    return;
  }
  txn->state = TL_TXN_WAITING;
  if (tl_target_resolve(p, txn->plan, txn->key, &tl_request_resolved)) {
    if (!txn->ack) {
      tl_local_txn_answer(txn, 503, tl_reason_phrase(503), TL_STR(""));
      return;
    }
    tl_count(tl_proxy_counters(p), TL_C_DROP_STRAY_ACK); /* an ACK has no response */
    tl_txn_free(txn);
    return;
  }
  if (txn->invite) tl_timer_start(&p->net.wheel, &txn->timer, p->net.view->conf->timeouts.trying);
}

/* RFC 3261 16.11: what could not be forwarded is only repaired by the sender's own
 * retransmission. */
static void without_transaction(struct tl_proxy *p, const struct tl_flow *from,
                                struct tl_plan *plan, const struct tl_msg *m,
                                const struct tl_body *body) {
  const char *lacks = tl_plan_lacks_domain(plan);
  int rc = tl_stateless_forward(p, from, plan, m, body);
  const unsigned status = tl_outbound_status(rc);
  const char *why = status == 503 ? lacks : status == 400 ? TL_TOO_MUCH : NULL;
  if (rc) refuse(p, from, m, status, tl_str_c(why ? why : ""), TL_STR(""));
  tl_call_ended(p, tl_call_of(p, m)); /* its response will not be inspected */
}

/* Each hop has taken one from Max-Forwards, which begins at 70 (RFC 3261 8.1.1.6): a request
 * with more Via values is only meant to make work, and each value may have a MAC to check. */
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

/* May M be forwarded without a transaction? Not when its next hop must be looked up, and not
 * when TCP is to be tried before UDP (18.1.1): without state there is no way back to UDP when TCP
 * is refused. */
static bool goes_stateless(const struct tl_plan *plan, int rc, const struct tl_msg *m,
                           const struct tl_body *body) {
  if (rc) return false;
  if (m->method == TL_M_ACK) return true;
  if (!plan->route || !plan->route->stateless) return false;
  /* First by the dialog's leg, then by address: the second attempt needs to know that the first
   * failed. */
  if (!plan->flow_conn && plan->n_target > 1 && plan->target[0].by_leg) return false;
  bool datagram =
      !plan->flow_conn && plan->n_target && tl_transport_is_datagram(plan->target[0].transport);
  return !datagram || !tl_outbound_near_mtu(m, body);
}

/* Room is kept for existing dialogs: initial requests are refused first, and before they cost
 * anything. Whether a To tag belongs to a dialog of ours, which only our token can show, is checked
 * in start_txn(). */
static bool has_room(const struct tl_proxy *p, const struct tl_msg *m) {
  return m->to_tag.n || m->method == TL_M_ACK || tl_txn_room(p, false, m->head_len + m->body_len);
}

/* If we cannot add received to a Via, the response would go wherever the Via says (RFC 3261
 * 18.2.1). */
static bool via_is_long(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m) {
  if (m->via.whole.n <= TL_VIA_MAX) return false;
  refuse(p, from, m, 400, TL_STR("Via Too Long"), TL_STR(""));
  return true;
}

void tl_request_handle(struct tl_proxy *p, const struct tl_flow *from, struct tl_conn *c,
                       const struct tl_msg *m, const struct tl_body *body) {
  unsigned status;
  if (!p->handled.hops) tl_count(tl_proxy_counters(p), by_method[m->method]);
  if (via_is_long(p, from, m)) return;
  p->handled.sender = tl_source_sender(p, from, c);
  if (m->method == TL_M_CANCEL) {
    handle_cancel(p, from, c, m, body);
    return;
  }
  uint64_t key = tl_token_txn_key(p, m);
  tl_txn_table_fetch(&p->txns->table, key);
  unsigned loop_status = detect_loop(p, m); /* while that memory is being fetched */
  struct tl_txn *txn = tl_txn_find(p, key);
  if (txn ? absorb_known(p, txn, m) : tl_txn_is_past(p, m, key)) return;
  if (acknowledges_refusal(p, m)) {
    if (tl_txn_somewhere(p, key))
      pass_onwards(p, from, m, body); /* that worker may be waiting for it */
    return;
  }
  if (!validate_request(p, from, m, body)) return;
  if (loop_status) {
    refuse(p, from, m, loop_status, loop_status == 400 ? TL_STR("Too Many Via Values") : TL_STR(""),
           TL_STR(""));
    return;
  }
  if (!has_room(p, m)) {
    refuse_overload(p, from, m);
    return;
  }
  struct tl_plan *plan = tl_plan_new(p);
  if (!plan) {
    refuse_overload(p, from, m);
    return;
  }
  int rc = tl_route_plan(p, from, c, m, plan, &status);
  if (rc == TL_ENOTFOUND) {
    struct tl_str why = tl_str_c(plan->refusal ? plan->refusal : ""); /* a string literal */
    char line[32] = "";
    if (plan->pause_ms)
      snprintf(line, sizeof(line), "Retry-After: %u\r\n", (plan->pause_ms + 999) / 1000);
    /* A BYE of a dialog that we admitted has no destination: this answer ends the call. */
    if (plan->in_dialog && status != 403) tl_call_ended(p, tl_call_of(p, m));
    tl_plan_free(p, plan);
    refuse(p, from, m, status, why, tl_str_c(line));
    return;
  }
  /* An ACK without our token may be for a failed INVITE whose transaction another worker has. */
  if (m->method == TL_M_ACK && !plan->in_dialog && pass_onwards(p, from, m, body)) {
    tl_plan_free(p, plan);
    return;
  }
  if (goes_stateless(plan, rc, m, body)) {
    without_transaction(p, from, plan, m, body);
    tl_plan_free(p, plan);
    return;
  }
  start_txn(p, from, m, body, plan, key, rc == TL_EAGAIN);
}

/* The targets of TXN, whose request is M with BODY, are known. */
static void resume_request(struct tl_txn *txn, const struct tl_msg *m, const struct tl_body *body) {
  struct tl_proxy *p = txn->proxy;
  struct tl_plan *plan = txn->plan;
  unsigned status;
  bool open = true, by_uri = !plan->unresolved && !plan->own;
  if (by_uri && plan->in_dialog)
    tl_leg_bound(p, txn->view, plan);
  else if (by_uri)
    open = tl_guard_relay(p, txn->view->conf, plan, &status);
  if (txn->ack) {
    if (tl_stateless_forward(p, &txn->from, plan, m, body))
      tl_count(tl_proxy_counters(p), TL_C_DROP_STRAY_ACK);
    tl_txn_free(txn);
  } else if (open) {
    tl_forward_next(txn, m, body);
  } else {
    tl_local_txn_answer(txn, status, tl_str_c(plan->refusal), TL_STR(""));
  }
}

static void take_resolved(struct tl_proxy *p, struct tl_resolve *r) {
  struct tl_txn *txn = tl_txn_find(p, r->cookie);
  if (txn && txn->state == TL_TXN_WAITING) {
    struct tl_body body;
    const struct tl_msg *m = tl_saved_scan(txn->request, &body);
    tl_plan_rebind(txn->plan, m);
    tl_target_resolved(p, txn->view, txn->plan, r);
    resume_request(txn, m, &body);
  }
  free(r);
}

static void deliver_resolved(void *reader, struct tl_mail *m) {
  take_resolved(tl_proxy_reader(reader), (struct tl_resolve *)m);
}

static void drop_resolved(struct tl_mail *m) { free(m); }

const struct tl_mail_kind tl_request_resolved = {"resolved", deliver_resolved, drop_resolved};
