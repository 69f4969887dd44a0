/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a request waits: it is kept with all that was found out about it, and brought back with the
 * answer or when its time is over. What is asked and answered is the stages'.
 */
#include "wait.h"

#include "admit.h"
#include "saved.h"
#include "tieline/conf.h"
#include "tieline/container.h"
#include "tieline/view.h"
#include "txn.h"
#include "wait_table.h"

/* ---- the request, kept and brought back ---- */

static void keep_sender(struct tl_wait *w, const struct tl_req *req) {
  w->passed_on = tl_source_passed_on(&req->origin);
  if (w->passed_on.identity) tl_identity_ref(w->passed_on.identity);
  w->has_source = req->source != NULL;
  if (w->has_source) w->source = *req->source;
}

/* What KEPT has of a request, in REQ, which points into KEPT. */
static void bring_back(struct tl_req *req, struct tl_wait *kept, struct tl_body *body) {
  struct tl_txn *txn = kept->txn;
  *req = (struct tl_req){.p = txn->proxy,
                         .origin = {.from = &txn->from, .passed_on = &kept->passed_on},
                         .m = tl_saved_scan(txn->request, body),
                         .body = body,
                         .stage = kept->stage,
                         .view = txn->view,
                         .source = kept->has_source ? &kept->source : NULL,
                         .sender = txn->sender,
                         .key = txn->key,
                         .plan = txn->plan,
                         .txn = txn};
  tl_plan_rebind(txn->plan, req->m);
}

/* W's wait is over: RESUME runs with its request, and the stages after it if RESUME says so. */
static void leave_wait(struct tl_wait *w,
                       enum tl_stage_result (*resume)(struct tl_req *req, const struct tl_mail *m),
                       const struct tl_mail *answer) {
  struct tl_wait kept = *w;
  struct tl_identity *id = kept.passed_on.identity;
  struct tl_body body;
  struct tl_req req;
  if (id) tl_identity_ref(id);
  tl_wait_end(w);
  bring_back(&req, &kept, &body);
  if (resume(&req, answer) == TL_STAGE_GO_ON) tl_stages_run(&req, kept.stage + 1);
  tl_identity_unref(id);
}

void tl_wait_resume(struct tl_proxy *p, uint64_t cookie, const struct tl_mail *answer) {
  struct tl_wait *w = tl_wait_find(p, cookie);
  if (w) leave_wait(w, w->waiter->resume, answer);
}

static enum tl_stage_result refuse_late(struct tl_req *req, const struct tl_mail *answer) {
  (void)answer;
  return tl_req_refuse(req, 503, NULL, TL_STR(""));
}

static void on_wait_timer(struct tl_timer *t, void *arg) {
  struct tl_wait *w = tl_container_of(t, struct tl_wait, timer);
  (void)arg;
  tl_count(tl_proxy_counters(w->txn->proxy), TL_C_WAITING_EXPIRED);
  leave_wait(w, refuse_late, NULL);
}

/* ---- for the stages ---- */

static int begin_wait(struct tl_req *req, const struct tl_waiter *waiter, uint64_t *out_cookie) {
  struct tl_proxy *p = req->p;
  struct tl_txn *txn = req->txn;
  struct tl_wait *w = tl_wait_new(req);
  if (!w) return TL_ENOMEM;
  w->waiter = waiter;
  w->stage = req->stage;
  w->timer.fn = on_wait_timer;
  keep_sender(w, req);
  txn->wait = w;
  txn->state = TL_TXN_WAITING;
  *out_cookie = tl_wait_cookie(w);
  tl_timer_start(tl_net_wheel(p->net), &w->timer, waiter->deadline_ms);
  if (txn->invite && !txn->sent_100 && !tl_timer_running(&txn->timer))
    tl_timer_start(tl_net_wheel(p->net), &txn->timer, tl_net_view(p->net)->conf->timeouts.trying);
  return TL_OK;
}

enum tl_stage_result tl_wait_for(struct tl_req *req, const struct tl_waiter *waiter) {
  uint64_t cookie;
  if (req->silent) return TL_STAGE_WAIT;
  if (!req->txn) {
    enum tl_stage_result r = tl_admit_waiting(req);
    if (r != TL_STAGE_GO_ON) return r;
  } else if (!tl_wait_room(req)) {
    return tl_req_refuse_overload(req);
  }
  if (begin_wait(req, waiter, &cookie)) return tl_req_refuse_overload(req);
  if (waiter->ask(req, cookie)) return tl_req_refuse(req, 503, NULL, TL_STR(""));
  return TL_STAGE_WAIT;
}
