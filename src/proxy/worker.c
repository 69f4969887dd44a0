/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker thread: the network side below, the proxy above, one loop. Also what
 * reaches the proxy by mail: resolved names, messages from other workers.
 */
#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <urcu/urcu-memb.h>

#include "net/watchdog.h"
#include "proxy.h"
#include "tieline/audit.h"
#include "tieline/explain.h"
#include "tieline/worker.h"

#define MAILBOX_CAP 65536u

static void on_message(struct tl_net *n, const struct tl_flow *from, struct tl_conn *c,
                       const struct tl_msg *m, const struct tl_body *body) {
  struct tl_proxy *p = tl_proxy_of(n);
  tl_snap_refresh(p);
  if (m->is_request && m->via.alias && c && c->tls && !c->alias_checked)
    tl_alias_offer(c, m->via.host, m->via.port);
  if (m->is_request)
    tl_request(p, from, c, m, body);
  else
    tl_response(p, from, m, body);
}

static void on_bad(struct tl_net *n, const struct tl_flow *from, struct tl_conn *c,
                   const struct tl_msg *m, const struct tl_scan_error *err) {
  (void)c;
  tl_local_answer(tl_proxy_of(n), from, m, err->status, tl_str_c(err->reason), TL_STR(""));
}

/* No response comes on C any more. */
static void lose_branches(struct tl_net *n, struct tl_conn *c, int rc) {
  struct tl_flow was = {.transport = (enum tl_transport)c->transport, .addr = c->peer};
  bool verified = c->tls && c->tls->peer_verified;
  tl_xw_conn_gone(tl_proxy_of(n), c, rc);
  while (c->user) tl_branch_lost(c->user, &was, verified ? c->tls->identity : NULL, rc);
}

static void on_half_closed(struct tl_net *n, struct tl_conn *c) { lose_branches(n, c, TL_ECLOSED); }

static void on_closed(struct tl_net *n, struct tl_conn *c, int rc) {
  tl_source_drop(c);
  lose_branches(n, c, rc);
}

static void on_resolved(struct tl_proxy *p, struct tl_resolve *r) {
  struct tl_txn *txn = tl_txn_find(p, r->cookie);
  struct tl_body body;
  if (txn && txn->state == TL_TXN_WAITING) {
    if (tl_forward_rescan(p, txn->request, txn->reliable, &p->msg2, &body)) {
      tl_txn_free(txn);
      free(r);
      return;
    }
    tl_route_rebind(txn->plan, &p->msg2);
    tl_route_resolved(p, txn->snap, txn->plan, r);
    unsigned status;
    bool open = true, by_uri = !txn->plan->unresolved && !txn->plan->own;
    if (by_uri && txn->plan->in_dialog)
      tl_leg_bound(p, txn->snap, txn->plan);
    else if (by_uri)
      open = tl_guard_relay(p, txn->snap->conf, txn->plan, &status);
    if (!open && !txn->ack) {
      tl_local_tx_answer(txn, status, tl_str_c(txn->plan->refusal), TL_STR(""));
    } else if (txn->ack) {
      if (tl_forward_stateless(p, &txn->from, txn->plan, &p->msg2, &body))
        tl_count(tl_proxy_counters(p), TL_C_DROP_STRAY_ACK);
      tl_txn_free(txn);
    } else {
      tl_forward_next(txn, &p->msg2, &body);
    }
  }
  free(r);
}

static void on_mail(struct tl_net *n, struct tl_mail *m) {
  struct tl_proxy *p = tl_proxy_of(n);
  tl_snap_refresh(p);
  switch (m->type) {
  case TL_MAIL_RESOLVE: on_resolved(p, (struct tl_resolve *)m); break;
  case TL_MAIL_EXPLAIN: tl_explain_answer(p, (struct tl_explain *)m); break;
  case TL_MAIL_BACK: tl_back_mail(p, m); break;
  case TL_MAIL_CALL_BEGUN:
  case TL_MAIL_CALL_ENDED: tl_call_mail(p, m); break;
  default: tl_xw_mail(p, m); break;
  }
}

const struct tl_net_handler tl_proxy_handler = {.message = on_message,
                                                .bad = on_bad,
                                                .closed = on_closed,
                                                .half_closed = on_half_closed,
                                                .describe = tl_source_describe,
                                                .mail = on_mail,
                                                .drop = tl_xw_free};

struct start {
  struct tl_proxy *p;
  sem_t ready;
  int rc;
  char *err;
  size_t cap;
};

static void *run(void *arg) {
  struct start *s = arg;
  struct tl_proxy *p = s->p;
  urcu_memb_register_thread();
  int rc = tl_net_init(&p->net, &p->th, &tl_proxy_handler, p, s->err, s->cap);
  if (rc == TL_OK) rc = tl_txn_tables_init(p);
  if (rc == TL_OK) tl_snap_refresh(p);
  bool s_ok = rc == TL_OK;
  s->rc = rc;
  sem_post(&s->ready); /* S is gone from here on */
  tl_watchdog_enter(p->th.index);
  while (rc == TL_OK && !p->net.stopping) {
    tl_probe_refresh(p);
    rc = tl_net_turn(&p->net);
  }
  if (s_ok && rc)
    TL_LOG(TL_LOG_ERROR, "A worker's io_uring failed; the worker ends.",
           TL_FI("worker", p->th.index));
  if (s_ok) {
    tl_probe_exit(p);
    tl_txn_tables_exit(p); /* first: what the connections' end would wake is gone */
    tl_net_exit(&p->net);
  }
  tl_watchdog_leave(p->th.index);
  urcu_memb_unregister_thread();
  return NULL;
}

int tl_worker_start(struct tl_runtime *rt, unsigned index, char *err, size_t cap) {
  struct tl_proxy *p = calloc(1, sizeof(*p));
  struct start s = {.p = p, .err = err, .cap = cap};
  if (!p) return TL_ENOMEM;
  snprintf(err, cap, "worker %u could not start", index);
  p->th.index = index;
  p->th.rt = rt;
  int rc = tl_mailbox_init(&p->th.mailbox, MAILBOX_CAP);
  if (rc) goto out;
  __atomic_store_n(&rt->worker[index], &p->th, __ATOMIC_RELEASE);
  sem_init(&s.ready, 0, 0);
  if (pthread_create(&p->th.thread, NULL, run, &s)) {
    rc = TL_ENOMEM;
    goto out;
  }
  char name[16];
  snprintf(name, sizeof(name), "worker-%u", index);
  pthread_setname_np(p->th.thread, name);
  while (sem_wait(&s.ready) && errno == EINTR) {
  }
  sem_destroy(&s.ready);
  rc = s.rc;
  p->th.started = rc == TL_OK;
  if (rc) pthread_join(p->th.thread, NULL);
out:
  if (rc) {
    rt->worker[index] = NULL;
    tl_mailbox_destroy(&p->th.mailbox);
    free(p);
  }
  return rc;
}

/* Other threads may post until they are stopped too, so the mailbox stays. */
static void drop_mail(struct tl_mailbox *mb) {
  struct tl_mail *m;
  while ((m = tl_mailbox_take(mb)) != NULL) {
    if (m->type == TL_MAIL_HANDOFF)
      tl_handoff_free((struct tl_handoff *)m);
    else if (m->type == TL_MAIL_AUDIT)
      tl_audit_free((struct tl_audit *)m);
    else if (m->type == TL_MAIL_ALIAS)
      tl_alias_told_free((struct tl_alias_told *)m);
    else if (m->type != TL_MAIL_EXPLAIN) /* still the control thread's */
      tl_xw_free(m);
  }
}

void tl_worker_stop(struct tl_runtime *rt, unsigned index) {
  struct tl_proxy *p = (struct tl_proxy *)rt->worker[index];
  if (!p || !p->th.started) return;
  struct tl_mail *m = calloc(1, sizeof(*m));
  if (m) {
    m->type = TL_MAIL_STOP;
    while (tl_mailbox_post(&p->th.mailbox, m)) sched_yield();
  }
  pthread_join(p->th.thread, NULL);
  p->th.started = false;
  drop_mail(&p->th.mailbox);
}

bool tl_worker_drained(const struct tl_runtime *rt, unsigned index) {
  const struct tl_thread *th = rt->worker[index];
  return !th || (tl_count_get(&th->counters, TL_C_TXN_NOW) == 0 &&
                 tl_count_get(&th->counters, TL_C_SENDQ_BYTES) == 0);
}
