/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables and life of transactions: created, found, kept for as long as the RFC says, freed. What a
 * timer means is decided here for server transactions (RFC 3261 17.2, RFC 6026) and handed to
 * forward.c for client transactions (17.1).
 */
#include "txn.h"

#include <stdlib.h>

#include "account.h"
#include "best.h"
#include "branch.h"
#include "call.h"
#include "local.h"
#include "outbound.h"
#include "plan.h"
#include "proxy.h"
#include "saved.h"
#include "source.h"
#include "stage.h"
#include "tieline/container.h"
#include "tieline/view.h"
#include "token.h"
#include "top_via.h"
#include "wait_table.h"

/* INVITE transactions kept only for repeated 2xx between reliable hops: nothing is lost there,
 * so repeats are rare and the oldest may go before Timer L when many calls are being set up. */
#define COMPLETED_MAX TL_TXN_PREPARED
/* The others may be needed for Timer H, I or J; this many times max_transactions are kept, or
 * this fraction of max_kept in large messages. */
#define COMPLETED_FACTOR 4
#define COMPLETED_SHARE 4
/* Beyond max_kept this fraction of it is left for requests inside dialogs. */
#define RESERVE_SHARE 8

bool tl_txn_room(const struct tl_proxy *p, bool in_dialog, size_t bytes) {
  const size_t max = tl_net_view(p->net)->conf->limits.max_kept;
  if (in_dialog) return p->saved_bytes < max + max / RESERVE_SHARE;
  /* Twice: as received and as sent. */
  return p->txns->n < p->txns->max - p->txns->max / 10 && p->saved_bytes + 2 * bytes < max;
}

struct tl_txn *tl_txn_find(struct tl_proxy *p, uint64_t key) {
  return tl_txn_table_find(&p->txns->table, key);
}

static void completed_add(struct tl_txn *txn, struct tl_completed *l) {
  txn->completed = (uint8_t)(l - txn->proxy->txns->completed + 1);
  cds_list_add_tail(&txn->completed_node, &l->txns);
  l->n++;
}

static void completed_del(struct tl_txn *txn) {
  if (!txn->completed) return;
  cds_list_del(&txn->completed_node);
  txn->proxy->txns->completed[txn->completed - 1].n--;
  txn->completed = 0;
}

/* TXN is kept for retransmissions only; the oldest goes early when there are too many. */
static void keep_for_repeats(struct tl_txn *txn, bool accepted_reliably) {
  struct tl_proxy *p = txn->proxy;
  struct tl_completed *l = &p->txns->completed[!accepted_reliably];
  size_t max = accepted_reliably ? COMPLETED_MAX : (size_t)COMPLETED_FACTOR * p->txns->max;
  completed_add(txn, l);
  const size_t bytes = tl_net_view(p->net)->conf->limits.max_kept;
  while (l->txns.next != &txn->completed_node &&
         (l->n > max || p->saved_large > bytes / COMPLETED_SHARE ||
          p->saved_bytes > bytes - bytes / COMPLETED_SHARE))
    tl_txn_free(cds_list_first_entry(&l->txns, struct tl_txn, completed_node));
}

/* For the other workers, which may get its CANCEL. */
static void count_invite(struct tl_proxy *p, uint64_t key, int by) {
  _Atomic uint16_t *at = &p->th.invites[(key >> 32) % TL_INVITE_SLOTS];
  int n = atomic_load_explicit(at, memory_order_relaxed);
  atomic_store_explicit(at, (uint16_t)(n + by), memory_order_release);
}

bool tl_txn_elsewhere(const struct tl_proxy *p, uint64_t key) {
  const struct tl_runtime *rt = p->th.rt;
  for (unsigned i = 0; i < rt->n_worker; i++)
    if (i != p->th.index && rt->worker[i] &&
        atomic_load_explicit(&rt->worker[i]->invites[(key >> 32) % TL_INVITE_SLOTS],
                             memory_order_acquire))
      return true;
  return false;
}

bool tl_txn_has_its_share(const struct tl_req *req) {
  const struct tl_proxy *p = req->p;
  const uint16_t share = tl_source_share(req->sender, &req->origin);
  return share < TL_SENDER_SHARES && p->txns->n >= p->txns->max / 2 &&
         p->txns->shares[share] >= p->txns->max / TL_SENDER_PART;
}

/* Counted until its final response; what is kept afterwards is not load. */
static void uncount_txn(struct tl_txn *txn) {
  if (!txn->counted) return;
  txn->counted = false;
  struct tl_conn *c = tl_conn_get(txn->proxy->net, txn->counted_conn);
  if (c) tl_conn_release_request(c);
  txn->proxy->txns->n--;
  if (txn->share < TL_SENDER_SHARES) txn->proxy->txns->shares[txn->share]--;
  tl_count_sub(tl_proxy_counters(txn->proxy), TL_C_TXN_NOW, 1);
}

static void drop_working_set(struct tl_txn *txn) {
  struct tl_proxy *p = txn->proxy;
  tl_wait_end(txn->wait);
  tl_saved_free(p, txn->request);
  txn->request = NULL;
  tl_plan_free(p, txn->plan);
  txn->plan = NULL;
  tl_view_unref(txn->view);
  txn->view = NULL;
  tl_saved_free(p, txn->best);
  tl_saved_free(p, txn->challenges);
  txn->best = txn->challenges = NULL;
}

/* A target may still answer; the client has its final response, and nothing else is for it. */
static bool lives_on(struct tl_txn *txn) {
  const uint8_t was = txn->state;
  bool awaits = false;
  for (struct tl_branch *b = txn->branches, *next; b && txn->invite; b = next) {
    next = b->next;
    awaits |= b->state <= TL_BR_PROCEEDING || b->state == TL_BR_GIVEN_UP;
    if (b->state == TL_BR_ACCEPTED) tl_branch_free(b); /* Timer M */
  }
  if (!awaits) return false;
  tl_txn_confirmed(txn);
  if (was != TL_TXN_ACCEPTED) return true;
  tl_saved_free(txn->proxy, txn->reply);
  txn->reply = NULL;
  return true;
}

static void on_txn_timer(struct tl_timer *t, void *arg) {
  struct tl_txn *txn = tl_container_of(t, struct tl_txn, timer);
  (void)arg;
  if (txn->state == TL_TXN_WAITING || txn->state == TL_TXN_PROCEEDING) {
    if (txn->failed) {
      txn->failed = false;
      tl_best_settle(txn);
    } else if (!txn->sent_100) {
      tl_local_txn_answer(txn, 100, TL_STR("Trying"), TL_STR(""));
    }
    return;
  }
  if (!lives_on(txn)) tl_txn_free(txn); /* H, I, J, L */
}

static void on_txn_retrans(struct tl_timer *t, void *arg) {
  struct tl_txn *txn = tl_container_of(t, struct tl_txn, retrans);
  const struct tl_conf_timeouts *lim = &tl_net_view(txn->proxy->net)->conf->timeouts;
  (void)arg;
  if (txn->state != TL_TXN_COMPLETED || !txn->reply) return;
  /* The victim of a forged source address must not be flooded: another request from it gets
   * another response. */
  txn->sent_len += txn->reply->len;
  const uint64_t factor = tl_net_view(txn->proxy->net)->conf->limits.udp_answer_factor;
  if (txn->stranger && factor && txn->sent_len > factor * txn->got_len) return;
  tl_outbound_bytes(txn->proxy, &txn->from, txn->reply->data, txn->reply->len);
  tl_count(tl_proxy_counters(txn->proxy), TL_C_RETRANS_SENT);
  txn->retrans_ms = txn->retrans_ms * 2 < lim->t2 ? txn->retrans_ms * 2 : lim->t2;
  tl_timer_start(tl_net_wheel(txn->proxy->net), &txn->retrans, txn->retrans_ms);
}

struct tl_txn *tl_txn_new(const struct tl_req *req) {
  struct tl_proxy *p = req->p;
  const struct tl_msg *m = req->m;
  const struct tl_flow *from = req->origin.from;
  if (p->txns->n >= p->txns->max) return NULL;
  struct tl_txn *txn = tl_pool_get(&p->txns->pool);
  if (!txn) return NULL;
  memset(txn, 0, sizeof(*txn));
  txn->proxy = p;
  txn->key = req->key;
  if (tl_txn_table_add(&p->txns->table, txn)) {
    tl_pool_put(&p->txns->pool, txn);
    return NULL;
  }
  txn->method = (uint8_t)m->method;
  txn->invite = m->method == TL_M_INVITE;
  txn->loop = tl_token_loop(p, m);
  txn->sender = req->sender;
  txn->from = tl_top_via_way_back(m, from);
  txn->born_ms = tl_net_now_ms(p->net);
  txn->via_port = m->via.port;
  txn->reliable = tl_transport_is_reliable(from->transport);
  txn->state = TL_TXN_PROCEEDING;
  txn->timer.fn = on_txn_timer;
  txn->retrans.fn = on_txn_retrans;
  txn->got_len = m->head_len + m->body_len;
  txn->stranger = tl_transport_is_datagram(from->transport) && req->sender % 8 == TL_SENDER_ADDRESS;
  txn->view = tl_view_ref(tl_net_view(p->net));
  struct tl_conn *c = tl_conn_get(p->net, from->conn);
  if (c) {
    tl_conn_hold_request(c);
    txn->counted_conn = from->conn;
  }
  txn->counted = true;
  if (txn->invite) count_invite(p, txn->key, 1);
  txn->share = tl_source_share(req->sender, &req->origin);
  if (txn->share < TL_SENDER_SHARES) p->txns->shares[txn->share]++;
  p->txns->n++;
  tl_count(tl_proxy_counters(p), TL_C_TXN_NOW);
  tl_count(tl_proxy_counters(p), TL_C_TXN_TOTAL);
  return txn;
}

/* Timer I of a reliable transport is 0: further ACKs find it here. */
static void remember_past(const struct tl_txn *txn) {
  struct tl_proxy *p = txn->proxy;
  if (!txn->invite || (txn->state != TL_TXN_COMPLETED && txn->state != TL_TXN_CONFIRMED)) return;
  p->txns->past[txn->key % TL_PAST_SLOTS] = (struct tl_past){txn->key, tl_net_now_ms(p->net)};
}

bool tl_txn_is_past(struct tl_proxy *p, const struct tl_msg *m, uint64_t key) {
  const struct tl_past *e = &p->txns->past[key % TL_PAST_SLOTS];
  if (m->method != TL_M_ACK || e->key != key || !e->at_ms) return false;
  if (tl_net_now_ms(p->net) - e->at_ms > 64ull * tl_net_view(p->net)->conf->timeouts.t1)
    return false;
  tl_count(tl_proxy_counters(p), TL_C_RETRANS_ABSORBED);
  return true;
}

void tl_txn_free(struct tl_txn *txn) {
  struct tl_proxy *p = txn->proxy;
  remember_past(txn);
  if (txn->user) txn->user->gone(txn);
  while (txn->branches) tl_branch_free(txn->branches);
  uncount_txn(txn);
  completed_del(txn);
  drop_working_set(txn);
  tl_saved_free(p, txn->reply);
  tl_timer_stop(tl_net_wheel(p->net), &txn->timer);
  tl_timer_stop(tl_net_wheel(p->net), &txn->retrans);
  tl_txn_table_remove(&p->txns->table, txn);
  if (txn->invite) count_invite(p, txn->key, -1);
  tl_pool_put(&p->txns->pool, txn);
}

bool tl_txn_is_pending(const struct tl_txn *txn) {
  for (const struct tl_branch *b = txn->branches; b; b = b->next)
    if (b->state <= TL_BR_PROCEEDING) return true;
  return false;
}

void tl_txn_user_ended(struct tl_txn *txn, unsigned status, bool by_us) {
  const struct tl_txn_user *user = txn->user;
  txn->user = NULL;
  if (user) user->ended(txn, status, by_us);
}

/* Accepted: only the way back and our branch are still needed. */
static void enter_accepted(struct tl_txn *txn) {
  struct tl_proxy *p = txn->proxy;
  bool reliable = txn->reliable;
  txn->state = TL_TXN_ACCEPTED;
  for (struct tl_branch *b = txn->branches; b; b = b->next) reliable &= b->reliable;
  keep_for_repeats(txn, reliable);
  tl_timer_start(tl_net_wheel(p->net), &txn->timer, 64 * tl_net_view(p->net)->conf->timeouts.t1);
}

void tl_txn_finished(struct tl_txn *txn, unsigned status) {
  struct tl_proxy *p = txn->proxy;
  const struct tl_conf_timeouts *t = &tl_net_view(p->net)->conf->timeouts;
  tl_account_done(txn, status);
  if (txn->call) tl_call_answer(p, txn->call, status);
  uncount_txn(txn);
  drop_working_set(txn);
  if (txn->invite && status < 300) {
    enter_accepted(txn);
    return;
  }
  txn->state = TL_TXN_COMPLETED;
  if (txn->invite || !txn->reliable) keep_for_repeats(txn, false);
  if (txn->invite) {
    /* Timer H; on reliable transports too, since the ACK must still be absorbed (17.2.1). */
    tl_timer_start(tl_net_wheel(p->net), &txn->timer, 64 * t->t1);
    if (!txn->reliable) {
      if (txn->reply) txn->sent_len += txn->reply->len * (txn->sent_100 ? 2 : 1);
      txn->retrans_ms = t->t1;
      tl_timer_start(tl_net_wheel(p->net), &txn->retrans, t->t1);
    }
  } else if (txn->reliable) {
    tl_txn_free(txn); /* Timer J is 0 */
  } else {
    tl_timer_start(tl_net_wheel(p->net), &txn->timer, 64 * t->t1);
  }
}

void tl_txn_abandon(struct tl_txn *txn) {
  struct tl_proxy *p = txn->proxy;
  tl_account_done(txn, 408);
  if (txn->call) tl_call_ended(p, txn->call);
  tl_txn_user_ended(txn, 0, true);
  if (txn->reliable) {
    tl_txn_free(txn);
    return;
  }
  uncount_txn(txn);
  drop_working_set(txn);
  txn->state = TL_TXN_COMPLETED; /* repeats are absorbed for Timer J */
  keep_for_repeats(txn, false);
  tl_timer_start(tl_net_wheel(p->net), &txn->timer, 64 * tl_net_view(p->net)->conf->timeouts.t1);
}

void tl_txn_confirmed(struct tl_txn *txn) {
  struct tl_proxy *p = txn->proxy;
  txn->state = TL_TXN_CONFIRMED;
  tl_timer_stop(tl_net_wheel(p->net), &txn->retrans);
  const struct tl_conf_timeouts *t = &tl_net_view(p->net)->conf->timeouts;
  if (txn->branches) /* on an unreliable transport: Timer D absorbs repeated responses */
    tl_timer_start(tl_net_wheel(p->net), &txn->timer, 64 * t->t1);
  else if (txn->reliable)
    tl_txn_free(txn); /* Timer I is 0 */
  else
    tl_timer_start(tl_net_wheel(p->net), &txn->timer, t->t4);
}

void tl_txn_branch_left(struct tl_txn *txn) {
  if (txn->state == TL_TXN_CONFIRMED && txn->reliable && !txn->branches) tl_txn_free(txn);
}

/* ---- tables ---- */

int tl_txn_init(struct tl_proxy *p) {
  struct tl_txns *t = p->txns = calloc(1, sizeof(*t));
  if (!t) return TL_ENOMEM;
  t->max = tl_net_view(p->net)->conf->limits.max_transactions;
  tl_pool_init(&t->pool, sizeof(struct tl_txn), 0);
  t->pool.keep = SIZE_MAX;
  tl_pool_touch(&t->pool, TL_TXN_PREPARED);
  for (int i = 0; i < 2; i++) CDS_INIT_LIST_HEAD(&t->completed[i].txns);
  return TL_OK;
}

void tl_txn_exit(struct tl_proxy *p) {
  if (!p->txns) return;
  struct tl_txn_table *t = &p->txns->table;
  for (uint32_t i = 0; t->key && i <= t->mask; i++)
    while (t->key[i]) tl_txn_free(t->txn[i]);
  tl_txn_table_free(t);
  tl_pool_destroy(&p->txns->pool);
  free(p->txns);
  p->txns = NULL;
}
