/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACK and BYE in the client's name. They go where the client's own would: along the route set that
 * the 2xx gives, from our entry on, by right of the token in it. Where that leads nowhere they go
 * where the 2xx came from.
 */
#include "late.h"

#include <stdio.h>
#include <stdlib.h>

#include "branch.h"
#include "given_up.h"
#include "identify.h"
#include "own_request.h"
#include "proxy.h"
#include "saved.h"
#include "stage.h"
#include "tieline/log_limit.h"
#include "tieline/reply.h"
#include "tieline/view.h"
#include "token.h"
#include "txn.h"

#define DIALOGS_MAX 8u /* of one branch: the INVITE may have forked behind its target */
#define ACKS_MAX 16u   /* a 2xx is repeated ten times (RFC 3261 13.3.1.4) */

/* Plain memory, which its branch frees. */
struct tl_late {
  unsigned n;
  struct {
    uint64_t key;
    unsigned n_ack;
  } dialog[DIALOGS_MAX];
};

/* One late 2xx. */
struct late_2xx {
  struct tl_branch *b;
  const struct tl_msg *m, *sent; /* SENT: the INVITE as it was forwarded */
  const struct tl_flow *from;
  uint64_t key; /* of its dialog */
};

/* ---- what an operator is told ---- */

static void tell(struct tl_proxy *p, const struct late_2xx *l, enum tl_log_level level,
                 const char *sentence) {
  const struct tl_conf_peer *peer = tl_view_peer(tl_net_view(p->net), l->b->peer);
  char from[TL_ADDR_STRLEN];
  TL_LOG_FROM(&l->from->addr, NULL, level, sentence, TL_FC("peer", peer ? peer->name : ""),
              TL_FC("from", tl_addr_format(&l->from->addr, from)), TL_F("call_id", l->m->call_id),
              TL_FI("caller_got", l->b->txn->status),
              TL_FI("late_ms", tl_net_now_ms(p->net) - l->b->given_up_ms));
}

static void count_lost(struct tl_proxy *p, const struct late_2xx *l) {
  tl_count(tl_proxy_counters(p), TL_C_LATE_LOST);
  tell(p, l, TL_LOG_WARN,
       "A target answered after the caller had been refused, and no BYE could be sent: it may hold "
       "a call that nobody has.");
}

/* 481: it had ended the call itself. */
static void on_bye_ended(struct tl_txn *txn, unsigned status, bool by_us) {
  struct tl_proxy *p = txn->proxy;
  struct tl_body none;
  char to[TL_ADDR_STRLEN];
  if (!by_us && (status < 300 || status == 481)) return;
  const struct tl_msg *m = tl_saved_scan(txn->request, &none);
  tl_count(tl_proxy_counters(p), TL_C_LATE_LOST);
  TL_LOG_FROM(
      &txn->to.addr, NULL, TL_LOG_WARN,
      "The BYE for a call that was answered too late has failed: its callee may hold a call "
      "that nobody has.",
      TL_FC("to", tl_addr_format(&txn->to.addr, to)), TL_F("uri", m->uri),
      TL_F("call_id", m->call_id), TL_FI("status", by_us ? 0 : status));
}

static void on_bye_gone(struct tl_txn *txn) { (void)txn; }

static const struct tl_txn_user bye_user = {.ended = on_bye_ended, .gone = on_bye_gone};

/* ---- making them ---- */

/* Our own entry, and what stands in front of it in the 2xx: those that entered themselves behind
 * us. Inside a dialog there is none of ours, and the INVITE has had the rest. */
static unsigned route_set(const struct late_2xx *l, struct tl_nameaddr out[TL_ROUTES_MAX]) {
  struct tl_nameaddr ours[TL_ROUTES_MAX], all[TL_ROUTES_MAX];
  unsigned n = 0;
  if (l->sent->to_tag.n) {
    int had = tl_plan_nameaddrs(l->sent, TL_H_ROUTE, out);
    return had < 0 ? 0 : (unsigned)had;
  }
  const int n_ours = tl_plan_nameaddrs(l->sent, TL_H_RECORD_ROUTE, ours);
  const int n_all = tl_plan_nameaddrs(l->m, TL_H_RECORD_ROUTE, all);
  if (n_ours > 0) out[n++] = ours[0];
  for (int i = n_all - n_ours - 1; n_ours > 0 && i >= 0; i--) out[n++] = all[i];
  return n;
}

/* Where the dialog's requests go; the INVITE's own if the 2xx does not say. */
static struct tl_str remote_target(const struct late_2xx *l) {
  struct tl_nameaddr contact;
  size_t used;
  const struct tl_str v = tl_msg_header(l->m, TL_H_CONTACT);
  if (v.n && tl_nameaddr_parse(v, &contact, &used) == TL_OK && contact.uri.n) return contact.uri;
  return l->sent->uri;
}

/* METHOD for L's dialog, in p->out; empty: it cannot be made. */
static struct tl_str build(struct tl_proxy *p, const struct late_2xx *l, enum tl_method method) {
  struct tl_nameaddr route[TL_ROUTES_MAX];
  char branch[32];
  size_t n;
  snprintf(branch, sizeof(branch), "z9hG4bKlate%016llx", (unsigned long long)l->key);
  const struct tl_dialog_request r = {.method = tl_str_c(tl_method_name(method)),
                                      .cseq = l->m->cseq + (method == TL_M_BYE),
                                      .uri = remote_target(l),
                                      .branch = tl_str_c(branch),
                                      .route = route,
                                      .n_route = route_set(l, route),
                                      .invite = method == TL_M_ACK ? l->sent : NULL};
  if (tl_dialog_request_build(l->m, &r, p->out, sizeof(p->out), &n)) n = 0;
  return (struct tl_str){p->out, n};
}

/* ---- sending them ---- */

static void go_where_it_came_from(const struct tl_req *req, const struct late_2xx *l) {
  struct tl_plan *plan = req->plan;
  if (tl_transport_is_datagram(l->b->flow.transport)) {
    plan->target[0] =
        (struct tl_target){.addr = l->b->flow.addr, .transport = l->b->flow.transport};
    plan->n_target = 1;
  } else {
    plan->flow_conn = l->from->conn;
    plan->flow_transport = l->from->transport;
  }
  plan->search_rc = TL_OK;
}

/* REQ has its message and an empty plan. */
static void send_out(struct tl_req *req, const struct late_2xx *l) {
  tl_identify_own(req);
  if (req->plan->search_rc != TL_OK && req->plan->search_rc != TL_EAGAIN)
    go_where_it_came_from(req, l);
  tl_stages_run(req, tl_stage_find(req->p, tl_stage_route)); /* to be looked up or sent */
}

/* From the client, as far as anybody asks. */
static struct tl_req own_request(struct tl_proxy *p, const struct tl_flow *from) {
  return (struct tl_req){.p = p, .origin = {.from = from}, .view = tl_net_view(p->net)};
}

static struct tl_flow client_of(const struct tl_branch *b) {
  return (struct tl_flow){.transport = TL_TCP, .addr = b->txn->from.addr};
}

static int send_ack(struct tl_proxy *p, const struct late_2xx *l) {
  static const struct tl_body none;
  const struct tl_flow from = client_of(l->b);
  struct tl_req req = own_request(p, &from);
  struct tl_scan_error err;
  struct tl_msg m;
  const struct tl_str text = build(p, l, TL_M_ACK);
  if (!text.n || tl_scan(text.p, text.n, true, TL_SCAN_OWN, &m, &err)) return TL_ESYNTAX;
  req.m = &m;
  req.body = &none;
  req.key = tl_token_txn_key(p, &m, 0);
  req.plan = tl_plan_new(p);
  if (!req.plan) return TL_ENOMEM;
  req.owns_plan = true;
  send_out(&req, l);
  tl_req_done(&req);
  return TL_OK;
}

static int send_bye(struct tl_proxy *p, const struct late_2xx *l) {
  const struct tl_flow from = client_of(l->b);
  struct tl_req req = own_request(p, &from);
  if (!tl_own_request_begin(&req, build(p, l, TL_M_BYE), &bye_user, NULL)) return TL_ENOMEM;
  send_out(&req, l);
  return TL_OK;
}

/* ---- a late 2xx ---- */

/* The place of L's dialog among those of its branch, *OUT_NEW: it had none; -1: no room. */
static int place_of(const struct late_2xx *l, bool *out_new) {
  struct tl_branch *b = l->b;
  if (!b->late) b->late = calloc(1, sizeof(*b->late));
  if (!b->late) return -1;
  for (unsigned i = 0; i < b->late->n; i++)
    if (b->late->dialog[i].key == l->key) return (int)i;
  if (b->late->n == DIALOGS_MAX) return -1;
  *out_new = true;
  b->late->dialog[b->late->n].key = l->key;
  return (int)b->late->n++;
}

static void end_dialog(struct tl_proxy *p, const struct late_2xx *l) {
  if (l->sent->to_tag.n) {
    tl_count(tl_proxy_counters(p), TL_C_LATE_ACKED);
    tell(p, l, TL_LOG_INFO,
         "A request inside a dialog was answered after it had been given up: the answer was "
         "acknowledged and goes no further.");
    return;
  }
  if (send_bye(p, l)) {
    count_lost(p, l);
    return;
  }
  tl_count(tl_proxy_counters(p), TL_C_LATE_ENDED);
  tell(
      p, l, TL_LOG_WARN,
      "A target answered after the caller had been refused; its call was ended by ACK and BYE: the "
      "time it is given may be too short.");
}

/* Kept for as long as the 2xx may be repeated. */
static void keep_on(struct tl_branch *b) {
  struct tl_proxy *p = b->txn->proxy;
  tl_timer_start(tl_net_wheel(p->net), &b->timer, 64 * tl_net_view(p->net)->conf->timeouts.t1);
}

void tl_late_end(struct tl_branch *b, const struct tl_msg *m, const struct tl_flow *from) {
  struct tl_proxy *p = b->txn->proxy;
  struct tl_msg sent;
  const struct late_2xx l = {
      .b = b, .m = m, .sent = &sent, .from = from, .key = tl_token_dialog(p, m)};
  bool new = false;
  const bool kept = b->state == TL_BR_GIVEN_UP || tl_given_up_keep(b);
  const int at = kept && tl_branch_sent(b, &sent) == TL_OK ? place_of(&l, &new) : -1;
  if (at < 0) {
    count_lost(p, &l);
    return;
  }
  if (new) keep_on(b);
  if (b->late->dialog[at].n_ack++ < ACKS_MAX) send_ack(p, &l);
  if (new) end_dialog(p, &l);
}
