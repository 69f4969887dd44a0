/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls toward peers that have max_calls. A branch takes a slot at its peer before its INVITE goes
 * out and gives it back when it fails. A 2xx turns it into a call, which holds the slot until a
 * BYE of its dialog has a final response or has timed out, or until call_max.
 *
 * Any worker may see that BYE, so the calls of one dialog are kept by the worker that the keyed
 * hash of Call-ID and tags selects. The mail that brings a call there is posted before its 2xx is
 * forwarded, and the mail that ends it follows: a mailbox keeps the order of all its senders.
 */
#include "call.h"

#include <stdlib.h>

#include "peer_share.h"
#include "proxy.h"
#include "tieline/container.h"
#include "token.h"
#include "xworker.h"

#define SWEEP_MS 1000u /* how soon a lowered call_max takes effect */
#define FORKS_MAX 8u   /* dialogs that one branch's 2xx responses may open */
#define LOG_EVERY_MS 60000u

/* One call, in the table of its worker or on its way there. */
struct tl_call {
  struct tl_mail mail;
  struct tl_hash_node node; /* by the key of its dialog */
  struct cds_list_head age; /* in the order in which they were answered */
  struct tl_peer_state *at; /* a reference */
  _Atomic uint32_t *open;   /* all calls of the process */
  uint64_t key, answered_ms;
};

/* The slot that a branch holds at its peer. */
struct tl_call_slot {
  struct tl_peer_state *at; /* a reference */
  struct tl_call *call;     /* not answered yet; NULL: it has become a call */
  uint32_t n;               /* dialogs seen so far */
  uint64_t key[FORKS_MAX];  /* their keys */
};

/* Tells the worker that keeps the call about its BYE. */
struct ended {
  struct tl_mail mail;
  uint64_t key;
};

static const struct tl_mail_kind begun_kind, ended_kind;

static _Atomic uint32_t *open_calls(struct tl_proxy *p) { return &p->th.rt->open_calls; }

/* ---- slots ---- */

static void free_call(struct tl_call *c) {
  tl_calls_give(&c->at->calls.now);
  tl_calls_give(c->open);
  tl_peer_state_unref(c->at);
  free(c);
}

static void give_back(struct tl_proxy *p, struct tl_call *c) {
  tl_count_sub(tl_proxy_counters(p), TL_C_CALLS_NOW, 1);
  free_call(c);
}

/* A call whose slots are already taken; gives them back if memory is short. */
static struct tl_call *call_new(struct tl_proxy *p, struct tl_peer_state *at) {
  struct tl_call *c = calloc(1, sizeof(*c));
  if (!c) {
    tl_calls_give(&at->calls.now);
    tl_calls_give(open_calls(p));
    return NULL;
  }
  c->at = tl_peer_state_ref(at);
  c->open = open_calls(p);
  tl_count(tl_proxy_counters(p), TL_C_CALLS_NOW);
  return c;
}

static void log_full(struct tl_proxy *p, struct tl_peer_share *l, uint32_t max) {
  if (l->full_logged_ms && tl_net_now_ms(p->net) - l->full_logged_ms < LOG_EVERY_MS) return;
  l->full_logged_ms = tl_net_now_ms(p->net);
  TL_LOG(TL_LOG_WARN, "A peer has its max_calls: further calls go to other peers or get 503.",
         TL_FC("peer", l->state->name), TL_FI("max_calls", max));
}

int tl_call_take(struct tl_proxy *p, struct tl_peer_share *l, uint32_t max,
                 struct tl_call_slot **out) {
  struct tl_counters *k = tl_proxy_counters(p);
  struct tl_peer_calls *calls = &l->state->calls;
  if (!tl_calls_take(&calls->now, max)) {
    atomic_fetch_add_explicit(&calls->refused, 1, memory_order_relaxed);
    tl_count(k, TL_C_CALLS_REFUSED_MAX);
    log_full(p, l, max);
    return TL_ELIMIT;
  }
  struct tl_call_slot *at = NULL;
  if (!tl_calls_take(open_calls(p), tl_net_view(p->net)->conf->limits.max_open_calls)) {
    tl_calls_give(&calls->now);
  } else if ((at = calloc(1, sizeof(*at))) == NULL) {
    tl_calls_give(&calls->now);
    tl_calls_give(open_calls(p));
  } else if ((at->call = call_new(p, l->state)) == NULL) {
    free(at);
    at = NULL;
  }
  if (!at) {
    tl_count(k, TL_C_CALLS_REFUSED_TABLE);
    return TL_ELIMIT;
  }
  at->at = tl_peer_state_ref(l->state);
  *out = at;
  return TL_OK;
}

void tl_call_give_up(struct tl_proxy *p, struct tl_call_slot *at) {
  if (!at || !at->call) return;
  give_back(p, at->call);
  at->call = NULL;
}

void tl_call_drop(struct tl_proxy *p, struct tl_call_slot *at) {
  if (!at) return;
  if (at->call) give_back(p, at->call);
  tl_peer_state_unref(at->at);
  free(at);
}

/* ---- the table ---- */

static void schedule_expiry(struct tl_proxy *p) {
  struct tl_call_table *t = p->calls;
  const struct tl_call *oldest = cds_list_first_entry(&t->by_age, struct tl_call, age);
  uint64_t due = oldest->answered_ms + tl_net_view(p->net)->conf->opt.call_max_ms,
           now = tl_net_now_ms(p->net);
  uint64_t left = due > now ? due - now : 0;
  tl_timer_start(tl_net_wheel(p->net), &t->timer, left < SWEEP_MS ? (uint32_t)left : SWEEP_MS);
}

static void take_out(struct tl_proxy *p, struct tl_call *c) {
  struct tl_call_table *t = p->calls;
  tl_hash_remove(&t->by_key, &c->node);
  cds_list_del(&c->age);
}

static void on_audit(struct tl_timer *timer, void *arg) {
  struct tl_call_table *t = tl_container_of(timer, struct tl_call_table, timer);
  struct tl_proxy *p = t->proxy;
  struct tl_peer_state *peer = NULL; /* of the last one */
  struct tl_call *c, *next;
  uint64_t n = 0;
  (void)arg;
  cds_list_for_each_entry_safe(c, next, &t->by_age, age) {
    if (c->answered_ms + tl_net_view(p->net)->conf->opt.call_max_ms > tl_net_now_ms(p->net)) break;
    n++;
    tl_peer_state_unref(peer);
    peer = tl_peer_state_ref(c->at);
    atomic_fetch_add_explicit(&c->at->calls.expired, 1, memory_order_relaxed);
    tl_count(tl_proxy_counters(p), TL_C_CALLS_EXPIRED);
    take_out(p, c);
    give_back(p, c);
  }
  if (n)
    TL_LOG(TL_LOG_INFO, "Calls that no BYE has ended are older than call_max and count no longer.",
           TL_FC("peer", peer->name), TL_FI("calls", n),
           TL_FI("call_max_ms", tl_net_view(p->net)->conf->opt.call_max_ms));
  tl_peer_state_unref(peer);
  if (!cds_list_empty(&t->by_age)) schedule_expiry(p);
}

static struct tl_call_table *table_of(struct tl_proxy *p) {
  if (p->calls) return p->calls;
  struct tl_call_table *t = calloc(1, sizeof(*t));
  if (!t) return NULL;
  t->proxy = p;
  CDS_INIT_LIST_HEAD(&t->by_age);
  t->timer.fn = on_audit;
  return p->calls = t;
}

/* Keeps C until its BYE. Without a table it could not be found again, so it is not counted. */
static void put_in(struct tl_proxy *p, struct tl_call *c) {
  struct tl_call_table *t = table_of(p);
  if (!t || tl_hash_add(&t->by_key, &c->node, c->key)) {
    tl_count(tl_proxy_counters(p), TL_C_CALLS_UNCOUNTED);
    give_back(p, c);
    return;
  }
  cds_list_add_tail(&c->age, &t->by_age);
  if (!tl_timer_running(&t->timer)) schedule_expiry(p);
}

/* An INVITE that passed here twice (a spiral) has a call at each peer: all end with the dialog. */
static bool end_here(struct tl_proxy *p, uint64_t key) {
  struct tl_call_table *t = p->calls;
  bool any = false;
  struct tl_hash_node *node = t ? tl_hash_first(&t->by_key, key) : NULL, *next;
  for (; node; node = next) {
    struct tl_call *c = tl_container_of(node, struct tl_call, node);
    next = tl_hash_next(node);
    take_out(p, c);
    give_back(p, c);
    any = true;
  }
  return any;
}

/* ---- a call's life ---- */

static unsigned keeper_of(const struct tl_proxy *p, uint64_t key) {
  return (unsigned)((key >> 32) % p->th.rt->n_worker);
}

static void begin_call(struct tl_proxy *p, struct tl_call *c, uint64_t key) {
  unsigned keeper = keeper_of(p, key);
  c->key = key;
  c->answered_ms = tl_net_now_ms(p->net);
  c->mail.kind = &begun_kind;
  /* If the keeper's mailbox is full the call stays here, where its BYE finds it if it comes this
   * way. */
  if (keeper == p->th.index || tl_xw_post(p, keeper, &c->mail)) put_in(p, c);
}

void tl_call_answered(struct tl_proxy *p, struct tl_call_slot *at, const struct tl_msg *m) {
  uint64_t key = tl_token_dialog(p, m);
  for (uint32_t i = 0; i < at->n; i++)
    if (at->key[i] == key) return; /* repeated */
  struct tl_call *c = at->call;
  at->call = NULL;
  if (!c && at->n < FORKS_MAX) {
    /* The INVITE forked behind the peer, or was answered after it had been given up: one more call
     * exists, whether or not there is room for it. */
    if (tl_calls_take(open_calls(p), tl_net_view(p->net)->conf->limits.max_open_calls)) {
      atomic_fetch_add_explicit(&at->at->calls.now, 1, memory_order_relaxed);
      c = call_new(p, at->at);
    }
  }
  if (!c) {
    tl_count(tl_proxy_counters(p), TL_C_CALLS_UNCOUNTED);
    return;
  }
  at->key[at->n++] = key;
  begin_call(p, c, key);
}

uint64_t tl_call_of(struct tl_proxy *p, const struct tl_msg *m) {
  if (m->method != TL_M_BYE || !atomic_load_explicit(open_calls(p), memory_order_relaxed)) return 0;
  return tl_token_dialog(p, m);
}

void tl_call_ended(struct tl_proxy *p, uint64_t key) {
  if (!key || end_here(p, key) || p->th.rt->n_worker == 1) return;
  struct ended *e = malloc(sizeof(*e));
  if (!e) return; /* call_max ends it */
  e->mail.kind = &ended_kind;
  e->key = key;
  /* Posted to ourselves too: the call may still be in our mailbox, ahead of this. */
  if (tl_xw_post(p, keeper_of(p, key), &e->mail)) free(e);
}

void tl_call_answer(struct tl_proxy *p, uint64_t key, unsigned status) {
  /* RFC 3261 15.1.1: whatever the response, the party that hung up is gone. Challenged for
   * credentials, it will try again. */
  if (status != 401 && status != 407) tl_call_ended(p, key);
}

static void deliver_begun(void *reader, struct tl_mail *m) {
  put_in(tl_proxy_reader(reader), (struct tl_call *)m);
}

static void deliver_ended(void *reader, struct tl_mail *m) {
  end_here(tl_proxy_reader(reader), ((struct ended *)m)->key);
  free(m);
}

/* The call ends uncounted: its slots go back to all workers. */
static void drop_begun(struct tl_mail *m) { free_call((struct tl_call *)m); }

static void drop_ended(struct tl_mail *m) { free(m); }

static const struct tl_mail_kind begun_kind = {"call begun", deliver_begun, drop_begun};
static const struct tl_mail_kind ended_kind = {"call ended", deliver_ended, drop_ended};

void tl_call_exit(struct tl_proxy *p) {
  struct tl_call_table *t = p->calls;
  if (!t) return;
  struct tl_call *c, *next;
  cds_list_for_each_entry_safe(c, next, &t->by_age, age) {
    take_out(p, c);
    give_back(p, c);
  }
  tl_timer_stop(tl_net_wheel(p->net), &t->timer);
  tl_hash_free(&t->by_key);
  free(t);
  p->calls = NULL;
}
