/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables and life of transactions: made, found, kept for their RFC time, freed.
 * What a timer means is decided here for server transactions (RFC 3261 17.2,
 * RFC 6026) and handed to forward.c for client transactions (17.1).
 */
#include <stdlib.h>

#include "proxy.h"

#define SAVED_SMALL 1024u
#define SAVED_MID 4096u
#define PREPARED 8192u /* transactions and branches whose memory is there from the start */
/* INVITE transactions kept only for repeated 2xx between reliable hops: nothing is lost there, so
 * repeats are rare and the oldest may leave before Timer L when many calls are set up. */
#define LINGER_MAX PREPARED
/* The others may be needed for Timer H, I or J; so many times max_transactions stay, or so many
 * bytes of large messages. */
#define LINGER_FACTOR 4
#define LINGER_SHARE 4
/* Beyond max_kept so much of it is left to requests inside dialogs that begin, and to what is kept
 * for them later. */
#define RESERVE_SHARE 8
#define LAST_SHARE 4

/* ---- slots ---- */

static int slots_grow(struct tl_slots *s) {
  uint32_t cap = s->cap ? s->cap * 2 : 2 * PREPARED;
  struct tl_slot *at = realloc(s->at, cap * sizeof(*at));
  if (!at) return TL_ENOMEM;
  s->at = at;
  uint32_t *f = realloc(s->free, cap * sizeof(*f));
  if (!f) return TL_ENOMEM;
  s->free = f;
  memset(at + s->cap, 0, (cap - s->cap) * sizeof(*at));
  s->cap = cap;
  return TL_OK;
}

static int slot_take(struct tl_slots *s, void *obj, uint32_t *out_slot, uint32_t *out_gen) {
  if (!s->n_free && s->n == s->cap && slots_grow(s)) return TL_ENOMEM;
  *out_slot = s->n_free ? s->free[--s->n_free] : s->n++;
  s->at[*out_slot].p = obj;
  *out_gen = s->at[*out_slot].gen;
  return TL_OK;
}

static void slot_give(struct tl_slots *s, uint32_t slot) {
  s->at[slot].p = NULL;
  s->at[slot].gen = (s->at[slot].gen + 1) & 0xffffff;
  s->free[s->n_free++] = slot;
}

/* ---- saved bytes ---- */

static size_t kept(const struct tl_proxy *p) {
  return p->saved_large + p->saved_small.used * SAVED_SMALL + p->saved_mid.used * SAVED_MID;
}

bool tl_txn_room(const struct tl_proxy *p, bool in_dialog, size_t bytes) {
  const size_t max = p->net.conf->limits.max_kept;
  if (in_dialog) return kept(p) < max + max / RESERVE_SHARE;
  /* Twice: as it came and as it goes out. */
  return p->n_txn < p->max_txn - p->max_txn / 10 && kept(p) + 2 * bytes < max;
}

struct tl_saved *tl_saved_new(const struct tl_txn *txn, size_t len) {
  struct tl_proxy *p = txn->proxy;
  size_t want = sizeof(struct tl_saved) + len, max = p->net.conf->limits.max_kept;
  struct tl_saved *s;
  uint32_t cap;
  if (kept(p) >= max + (txn->in_dialog ? max / LAST_SHARE : 0)) {
    tl_count(tl_proxy_counters(p), TL_C_KEPT_FULL);
    return NULL;
  }
  if (want <= SAVED_SMALL) {
    s = tl_pool_get(&p->saved_small);
    cap = SAVED_SMALL;
  } else if (want <= SAVED_MID) {
    s = tl_pool_get(&p->saved_mid);
    cap = SAVED_MID;
  } else {
    s = malloc(want);
    cap = UINT32_MAX;
    if (s) p->saved_large += len;
  }
  if (!s) return NULL;
  s->len = (uint32_t)len;
  s->cap = cap;
  return s;
}

void tl_saved_free(struct tl_proxy *p, struct tl_saved *s) {
  if (!s) return;
  if (s->cap == SAVED_SMALL)
    tl_pool_put(&p->saved_small, s);
  else if (s->cap == SAVED_MID)
    tl_pool_put(&p->saved_mid, s);
  else {
    p->saved_large -= s->len;
    free(s);
  }
}

/* ---- snapshots ---- */

static void snap_drop(struct tl_snap *s) {
  if (--s->refs) return;
  for (size_t i = 0; i < s->conf->n_peer; i++) tl_addr_list_unref(s->peer_addrs[i]);
  tl_conf_unref(s->conf);
  free(s->peer_addrs);
  free(s->load);
  free(s);
}

const struct tl_addr_list *tl_snap_places(const struct tl_snap *s,
                                          const struct tl_conf_peer *peer) {
  return s->peer_addrs[peer - s->conf->peer];
}

/* The lists of now, once per change: what a message needs is read without any lock. */
static void take_places(struct tl_snap *s, uint32_t changes) {
  for (size_t i = 0; i < s->conf->n_peer; i++) {
    struct tl_addr_list *old = s->peer_addrs[i];
    s->peer_addrs[i] = tl_peer_addrs_current(s->conf->peer[i].addrs);
    tl_addr_list_unref(old);
  }
  s->peer_addrs_seen = changes;
}

void tl_snap_refresh(struct tl_proxy *p) {
  uint32_t changes = __atomic_load_n(&p->th.rt->peer_addrs_changes, __ATOMIC_ACQUIRE);
  if (p->snap && p->snap->conf == p->net.conf) {
    if (p->snap->peer_addrs_seen != changes) take_places(p->snap, changes);
    return;
  }
  struct tl_snap *s = calloc(1, sizeof(*s));
  if (s) s->peer_addrs = calloc(p->net.conf->n_peer + 1, sizeof(struct tl_addr_list *));
  if (!s || !s->peer_addrs) {
    free(s);
    return; /* the old snapshot serves a turn longer */
  }
  s->conf = tl_conf_ref(p->net.conf);
  s->refs = 1;
  s->load = tl_load_of(p, s->conf);
  take_places(s, changes);
  if (p->snap) snap_drop(p->snap);
  p->snap = s;
}

/* ---- server transactions ---- */

struct tl_txn *tl_txn_find(struct tl_proxy *p, uint64_t key) {
  return tl_txn_table_find(&p->txn_table, key);
}

static void linger_add(struct tl_txn *txn, uint8_t which) {
  struct tl_linger *l = &txn->proxy->linger[which];
  txn->lingers = which;
  txn->linger_next = NULL;
  txn->linger_link = l->last;
  *l->last = txn;
  l->last = &txn->linger_next;
  l->n++;
}

static void linger_del(struct tl_txn *txn) {
  struct tl_linger *l = &txn->proxy->linger[txn->lingers];
  if (!txn->linger_link) return;
  *txn->linger_link = txn->linger_next;
  if (txn->linger_next)
    txn->linger_next->linger_link = txn->linger_link;
  else
    l->last = txn->linger_link;
  txn->linger_link = NULL;
  l->n--;
}

/* TX stays for repeats only; who came first leaves before its time when there are too many. */
static void linger(struct tl_txn *txn, bool accepted_reliably) {
  struct tl_proxy *p = txn->proxy;
  struct tl_linger *l = &p->linger[!accepted_reliably];
  size_t max = accepted_reliably ? LINGER_MAX : (size_t)LINGER_FACTOR * p->max_txn;
  linger_add(txn, !accepted_reliably);
  const size_t bytes = p->net.conf->limits.max_kept;
  while (l->first != txn && (l->n > max || p->saved_large > bytes / LINGER_SHARE ||
                             kept(p) > bytes - bytes / LINGER_SHARE))
    tl_txn_free(l->first);
}

/* For the other workers, who may get its CANCEL. */
static void count_invite(struct tl_proxy *p, uint64_t key, int by) {
  _Atomic uint16_t *at = &p->th.invites[(key >> 32) % TL_INVITE_SLOTS];
  int n = atomic_load_explicit(at, memory_order_relaxed);
  atomic_store_explicit(at, (uint16_t)(n + by), memory_order_release);
}

bool tl_txn_somewhere(struct tl_proxy *p, uint64_t key) {
  const struct tl_runtime *rt = p->th.rt;
  for (unsigned i = 0; i < rt->n_worker; i++)
    if (rt->worker[i] &&
        atomic_load_explicit(&rt->worker[i]->invites[(key >> 32) % TL_INVITE_SLOTS],
                             memory_order_acquire))
      return true;
  return false;
}

/* While half of all transactions are alive no source that is no peer has more than this part: who
 * asks for what is never answered leaves room for others. */
#define SHARE 8u

static uint16_t share_of(const struct tl_proxy *p, const struct tl_flow *from) {
  struct tl_addr source;
  switch (p->sender % 8) {
  case TL_SENDER_IDENTITY: return (uint16_t)((p->sender >> 3) % TL_SHARES);
  case TL_SENDER_ADDRESS:
    tl_addr_source_prefix(&from->addr, &source);
    return (uint16_t)(tl_addr_hash(&source) % TL_SHARES);
  default: return TL_SHARES;
  }
}

bool tl_txn_has_its_share(const struct tl_proxy *p, const struct tl_flow *from) {
  const uint16_t share = share_of(p, from);
  return share < TL_SHARES && p->n_txn >= p->max_txn / 2 && p->shares[share] >= p->max_txn / SHARE;
}

/* Counted as alive until its final response; what lingers behind it is no load. */
static void uncount(struct tl_txn *txn) {
  if (!txn->counted) return;
  txn->counted = false;
  struct tl_conn *c = tl_conn_get(&txn->proxy->net, txn->counted_conn);
  if (c) tl_conn_settled(c);
  txn->proxy->n_txn--;
  if (txn->share < TL_SHARES) txn->proxy->shares[txn->share]--;
  tl_count_sub(tl_proxy_counters(txn->proxy), TL_C_TXN_NOW, 1);
}

static void drop_working_set(struct tl_txn *txn) {
  struct tl_proxy *p = txn->proxy;
  tl_saved_free(p, txn->request);
  txn->request = NULL;
  if (txn->plan) tl_pool_put(&p->plans, txn->plan);
  txn->plan = NULL;
  if (txn->snap) snap_drop(txn->snap);
  txn->snap = NULL;
  tl_saved_free(p, txn->best);
  tl_saved_free(p, txn->challenges);
  txn->best = txn->challenges = NULL;
}

static void on_tx_timer(struct tl_timer *t, void *arg) {
  struct tl_txn *txn = (struct tl_txn *)((char *)t - offsetof(struct tl_txn, timer));
  (void)arg;
  if (txn->state == TL_TXN_WAITING || txn->state == TL_TXN_PROCEEDING) {
    if (txn->failed) {
      txn->failed = false;
      tl_response_settle(txn);
    } else if (!txn->sent_100) {
      tl_local_tx_answer(txn, 100, TL_STR("Trying"), TL_STR(""));
    }
    return;
  }
  tl_txn_free(txn); /* H, I, J, L */
}

static void on_tx_retrans(struct tl_timer *t, void *arg) {
  struct tl_txn *txn = (struct tl_txn *)((char *)t - offsetof(struct tl_txn, retrans));
  const struct tl_conf_timeouts *lim = &txn->proxy->net.conf->timeouts;
  (void)arg;
  if (txn->state != TL_TXN_COMPLETED || !txn->reply) return;
  /* Whoever forged the address of a request shall not have it flooded: with another request of it
   * there is another answer. */
  txn->sent_len += txn->reply->len;
  const uint64_t factor = txn->proxy->net.conf->limits.udp_answer_factor;
  if (txn->stranger && factor && txn->sent_len > factor * txn->got_len) return;
  tl_forward_bytes(txn->proxy, &txn->from, txn->reply->data, txn->reply->len);
  tl_count(tl_proxy_counters(txn->proxy), TL_C_RETRANS_SENT);
  txn->retrans_ms = txn->retrans_ms * 2 < lim->t2 ? txn->retrans_ms * 2 : lim->t2;
  tl_timer_start(&txn->proxy->net.wheel, &txn->retrans, txn->retrans_ms);
}

struct tl_txn *tl_txn_new(struct tl_proxy *p, const struct tl_msg *m, const struct tl_flow *from,
                          uint64_t key) {
  if (p->n_txn >= p->max_txn) return NULL;
  struct tl_txn *txn = tl_pool_get(&p->txs);
  if (!txn) return NULL;
  memset(txn, 0, sizeof(*txn));
  txn->proxy = p;
  txn->key = key;
  if (tl_txn_table_add(&p->txn_table, txn)) {
    tl_pool_put(&p->txs, txn);
    return NULL;
  }
  txn->method = (uint8_t)m->method;
  txn->invite = m->method == TL_M_INVITE;
  txn->loop = tl_token_loop(p, m);
  txn->sender = p->sender;
  txn->from = tl_local_way_back(m, from);
  txn->born_ms = p->net.now_ms;
  txn->via_port = m->via.port;
  txn->reliable = from->transport != TL_UDP;
  txn->state = TL_TXN_PROCEEDING;
  txn->timer.fn = on_tx_timer;
  txn->retrans.fn = on_tx_retrans;
  txn->got_len = m->head_len + m->body_len;
  txn->stranger = from->transport == TL_UDP && p->sender % 8 == TL_SENDER_ADDRESS;
  txn->snap = p->snap;
  txn->snap->refs++;
  struct tl_conn *c = tl_conn_get(&p->net, from->conn);
  if (c) {
    c->n_open_requests++;
    txn->counted_conn = from->conn;
  }
  txn->counted = true;
  if (txn->invite) count_invite(p, key, 1);
  txn->share = share_of(p, from);
  if (txn->share < TL_SHARES) p->shares[txn->share]++;
  p->n_txn++;
  tl_count(tl_proxy_counters(p), TL_C_TXN_NOW);
  tl_count(tl_proxy_counters(p), TL_C_TXN_TOTAL);
  return txn;
}

/* Timer I of a reliable transport is 0: what else acknowledges it finds it here. */
static void remember(const struct tl_txn *txn) {
  struct tl_proxy *p = txn->proxy;
  if (!txn->invite || (txn->state != TL_TXN_COMPLETED && txn->state != TL_TXN_CONFIRMED)) return;
  p->past[txn->key % TL_PAST_SLOTS] = (struct tl_past){txn->key, p->net.now_ms};
}

bool tl_txn_is_past(struct tl_proxy *p, const struct tl_msg *m, uint64_t key) {
  const struct tl_past *e = &p->past[key % TL_PAST_SLOTS];
  if (m->method != TL_M_ACK || e->key != key || !e->at_ms) return false;
  if (p->net.now_ms - e->at_ms > 64ull * p->net.conf->timeouts.t1) return false;
  tl_count(tl_proxy_counters(p), TL_C_RETRANS_ABSORBED);
  return true;
}

void tl_txn_free(struct tl_txn *txn) {
  struct tl_proxy *p = txn->proxy;
  remember(txn);
  tl_probe_gone(txn);
  while (txn->branches) tl_branch_free(txn->branches);
  uncount(txn);
  linger_del(txn);
  drop_working_set(txn);
  tl_saved_free(p, txn->reply);
  tl_timer_stop(&p->net.wheel, &txn->timer);
  tl_timer_stop(&p->net.wheel, &txn->retrans);
  tl_txn_table_remove(&p->txn_table, txn);
  if (txn->invite) count_invite(p, txn->key, -1);
  tl_pool_put(&p->txs, txn);
}

/* Accepted: only the way back and our branch are needed from here on. */
static void accepted(struct tl_txn *txn) {
  struct tl_proxy *p = txn->proxy;
  bool reliable = txn->reliable;
  txn->state = TL_TXN_ACCEPTED;
  for (struct tl_branch *b = txn->branches; b; b = b->next) reliable &= b->reliable;
  linger(txn, reliable);
  tl_timer_start(&p->net.wheel, &txn->timer, 64 * p->net.conf->timeouts.t1);
}

void tl_txn_finished(struct tl_txn *txn, unsigned status) {
  struct tl_proxy *p = txn->proxy;
  const struct tl_conf_timeouts *t = &p->net.conf->timeouts;
  tl_account_done(txn, status);
  if (txn->call) tl_call_answer(p, txn->call, status);
  uncount(txn);
  drop_working_set(txn);
  if (txn->invite && status < 300) {
    accepted(txn);
    return;
  }
  txn->state = TL_TXN_COMPLETED;
  if (txn->invite || !txn->reliable) linger(txn, false);
  if (txn->invite) {
    /* Timer H; on reliable transports too, since the ACK must still be absorbed (17.2.1). */
    tl_timer_start(&p->net.wheel, &txn->timer, 64 * t->t1);
    if (!txn->reliable) {
      if (txn->reply) txn->sent_len += txn->reply->len * (txn->sent_100 ? 2 : 1);
      txn->retrans_ms = t->t1;
      tl_timer_start(&p->net.wheel, &txn->retrans, t->t1);
    }
  } else if (txn->reliable) {
    tl_txn_free(txn); /* Timer J is 0 */
  } else {
    tl_timer_start(&p->net.wheel, &txn->timer, 64 * t->t1);
  }
}

void tl_txn_abandon(struct tl_txn *txn) {
  struct tl_proxy *p = txn->proxy;
  tl_account_done(txn, 408);
  if (txn->call) tl_call_ended(p, txn->call);
  tl_probe_ended(txn, 0, true);
  if (txn->reliable) {
    tl_txn_free(txn);
    return;
  }
  uncount(txn);
  drop_working_set(txn);
  txn->state = TL_TXN_COMPLETED; /* repeats are absorbed for Timer J */
  linger(txn, false);
  tl_timer_start(&p->net.wheel, &txn->timer, 64 * p->net.conf->timeouts.t1);
}

void tl_txn_confirmed(struct tl_txn *txn) {
  struct tl_proxy *p = txn->proxy;
  txn->state = TL_TXN_CONFIRMED;
  tl_timer_stop(&p->net.wheel, &txn->retrans);
  const struct tl_conf_timeouts *t = &p->net.conf->timeouts;
  if (txn->branches) /* on an unreliable transport: Timer D absorbs repeated responses */
    tl_timer_start(&p->net.wheel, &txn->timer, 64 * t->t1);
  else if (txn->reliable)
    tl_txn_free(txn); /* Timer I is 0 */
  else
    tl_timer_start(&p->net.wheel, &txn->timer, t->t4);
}

/* ---- client transactions ---- */

static void on_branch_timer(struct tl_timer *t, void *arg) {
  struct tl_branch *b = (struct tl_branch *)((char *)t - offsetof(struct tl_branch, timer));
  (void)arg;
  if (b->state == TL_BR_COMPLETED || b->state == TL_BR_ACCEPTED) {
    tl_branch_free(b); /* D, K, M */
    return;
  }
  tl_count(tl_proxy_counters(b->txn->proxy), TL_C_TXN_TIMEOUT);
  if (b->state == TL_BR_PROCEEDING && b->invite && !b->cancel_sent) {
    tl_forward_cancel_branch(b); /* Timer C: CANCEL, then wait for what comes (16.8) */
    tl_timer_start(&b->txn->proxy->net.wheel, &b->timer, 64 * b->txn->proxy->net.conf->timeouts.t1);
    return;
  }
  tl_forward_failed(b, 408);
}

static void on_branch_retrans(struct tl_timer *t, void *arg) {
  struct tl_branch *b = (struct tl_branch *)((char *)t - offsetof(struct tl_branch, retrans));
  struct tl_proxy *p = b->txn->proxy;
  const struct tl_conf_timeouts *lim = &p->net.conf->timeouts;
  (void)arg;
  const struct tl_saved *again = b->cancel ? b->cancel : b->sent;
  if (b->state > TL_BR_PROCEEDING || !again) return;
  tl_forward_bytes(p, &b->flow, again->data, again->len);
  tl_count(tl_proxy_counters(p), TL_C_RETRANS_SENT);
  b->retrans_ms *= 2; /* Timer A doubles without bound, E up to T2; T2 at once when proceeding */
  bool non_invite = !b->invite || b->cancel;
  if (non_invite && (b->retrans_ms > lim->t2 || (!b->cancel && b->state == TL_BR_PROCEEDING)))
    b->retrans_ms = lim->t2;
  tl_timer_start(&p->net.wheel, &b->retrans, b->retrans_ms);
}

struct tl_branch *tl_branch_new(struct tl_txn *txn) {
  struct tl_proxy *p = txn->proxy;
  struct tl_branch *b = tl_pool_get(&p->branches);
  if (!b) return NULL;
  memset(b, 0, sizeof(*b));
  if (slot_take(&p->branch_slots, b, &b->slot, &b->gen)) {
    tl_pool_put(&p->branches, b);
    return NULL;
  }
  b->txn = txn;
  b->invite = txn->invite;
  b->timer.fn = on_branch_timer;
  b->retrans.fn = on_branch_retrans;
  b->next = txn->branches;
  txn->branches = b;
  return b;
}

struct tl_branch *tl_branch_find(struct tl_proxy *p, uint32_t slot, uint32_t gen) {
  if (slot >= p->branch_slots.n) return NULL;
  const struct tl_slot *s = &p->branch_slots.at[slot];
  return s->p && s->gen == gen ? s->p : NULL;
}

void tl_branch_attach(struct tl_branch *b, struct tl_conn *c) {
  struct tl_branch **list =
      c ? (struct tl_branch **)&c->user : tl_xw_branches(b->txn->proxy, b->flow.conn);
  b->conn_next = *list;
  b->conn_link = list;
  if (b->conn_next) b->conn_next->conn_link = &b->conn_next;
  *list = b;
}

void tl_branch_detach(struct tl_branch *b) {
  if (!b->conn_link) return;
  *b->conn_link = b->conn_next;
  if (b->conn_next) b->conn_next->conn_link = b->conn_link;
  b->conn_link = NULL;
}

void tl_branch_free(struct tl_branch *b) {
  struct tl_proxy *p = b->txn->proxy;
  struct tl_branch **at = &b->txn->branches;
  while (*at != b) at = &(*at)->next;
  *at = b->next;
  tl_branch_detach(b);
  tl_load_leave(b);
  tl_call_drop(p, b->call_slot);
  tl_timer_stop(&p->net.wheel, &b->timer);
  tl_timer_stop(&p->net.wheel, &b->retrans);
  tl_saved_free(p, b->sent);
  tl_saved_free(p, b->cancel);
  tl_identity_unref(b->was);
  slot_give(&p->branch_slots, b->slot);
  tl_pool_put(&p->branches, b);
}

/* ---- tables ---- */

/* Touches the memory of PREPARED objects once, so that the steady state starts at the start. */
static void prepare(struct tl_pool *pool) {
  void **obj = malloc(PREPARED * sizeof(*obj));
  uint32_t n = 0;
  while (obj && n < PREPARED && (obj[n] = tl_pool_get(pool)) != NULL)
    memset(obj[n++], 0, pool->size);
  while (n) tl_pool_put(pool, obj[--n]);
  free(obj);
}

int tl_txn_tables_init(struct tl_proxy *p) {
  p->max_txn = p->net.conf->limits.max_transactions;
  tl_pool_init(&p->txs, sizeof(struct tl_txn), 0);
  tl_pool_init(&p->branches, sizeof(struct tl_branch), 0);
  tl_pool_init(&p->plans, sizeof(struct tl_plan), 0);
  tl_pool_init(&p->saved_small, SAVED_SMALL, 0);
  tl_pool_init(&p->saved_mid, SAVED_MID, 0);
  p->txs.keep = p->branches.keep = SIZE_MAX;
  p->plans.keep = p->saved_small.keep = p->saved_mid.keep = 16;
  prepare(&p->txs);
  prepare(&p->branches);
  for (int i = 0; i < 2; i++) p->linger[i].last = &p->linger[i].first;
  return slots_grow(&p->branch_slots) == TL_OK ? TL_OK : TL_ENOMEM;
}

void tl_txn_tables_exit(struct tl_proxy *p) {
  struct tl_txn_table *t = &p->txn_table;
  for (uint32_t i = 0; t->key && i <= t->mask; i++)
    while (t->key[i]) tl_txn_free(t->txn[i]);
  tl_txn_table_free(t);
  free(p->branch_slots.at);
  free(p->branch_slots.free);
  if (p->snap) snap_drop(p->snap);
  p->snap = NULL;
  tl_source_exit(p);
  tl_account_exit(p);
  tl_call_exit(p);
  tl_load_exit(p);
}
