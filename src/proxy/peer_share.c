/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker has in progress toward each peer: a bound on requests awaiting a response, a rate
 * of new calls, and a number of simultaneous calls. A slow or dead peer thus takes its share of
 * the transactions and no more. The records live as long as the worker and are found by the peer's
 * id, so that a reload does not forget them.
 */
#include "peer_share.h"

#include <stdlib.h>

#include "call.h"
#include "proxy.h"
#include "tieline/index_map.h"

#define LOG_EVERY_MS 1000u

/* All that there have been, in the order in which they were asked for. */
struct tl_peer_share_table {
  struct tl_index_map ids;
  struct tl_peer_share **all;
  uint32_t n, cap;
  struct tl_peer_share nobodys; /* for all targets that belong to no peer */
};

static int grow_table(struct tl_peer_share_table *t) {
  if (t->n < t->cap) return TL_OK;
  uint32_t cap = t->cap ? 2 * t->cap : 16;
  struct tl_peer_share **all = realloc(t->all, cap * sizeof(struct tl_peer_share *));
  if (!all) return TL_ENOMEM;
  t->all = all;
  t->cap = cap;
  return TL_OK;
}

static void free_share(struct tl_peer_share *share) {
  if (share) free(share->name);
  free(share);
}

static struct tl_peer_share *share_new(struct tl_peer_share_table *t,
                                       const struct tl_conf_peer *peer, uint64_t now_ms) {
  struct tl_peer_share *share = grow_table(t) ? NULL : calloc(1, sizeof(*share));
  if (!share || !(share->name = strdup(peer->name)) ||
      tl_index_map_add(&t->ids, tl_index_mix(peer->id), t->n)) {
    free_share(share);
    return NULL;
  }
  share->at_ms = now_ms;
  t->all[t->n++] = share;
  return share;
}

struct tl_peer_share *tl_peer_share_of(struct tl_proxy *p, const struct tl_conf_peer *peer) {
  if (!peer) return NULL;
  struct tl_peer_share_table *t = p->shares;
  if (!t && !(t = p->shares = calloc(1, sizeof(*t)))) return NULL;
  uint32_t node = tl_index_map_first(&t->ids, tl_index_mix(peer->id));
  return node ? t->all[tl_index_map_node(&t->ids, node)->value] : share_new(t, peer, p->net.now_ms);
}

void tl_peer_share_exit(struct tl_proxy *p) {
  struct tl_peer_share_table *t = p->shares;
  if (!t) return;
  for (uint32_t i = 0; i < t->n; i++) free_share(t->all[i]);
  tl_index_map_clear(&t->ids);
  free(t->all);
  free(t);
  p->shares = NULL;
}

/* The rate is that of the whole process: each worker grants its part. Up to one second's worth
 * may come in a burst. */
static bool rate_allows(struct tl_proxy *p, struct tl_peer_share *l, uint32_t max_cps) {
  double rate = (double)max_cps / (p->th.rt->n_worker ? p->th.rt->n_worker : 1);
  double most = rate < 1 ? 1 : rate;
  l->tokens += rate * (double)(p->net.now_ms - l->at_ms) / 1000.0;
  l->at_ms = p->net.now_ms;
  if (!l->started || l->tokens > most) l->tokens = most;
  l->started = true;
  if (l->tokens < 1) return false;
  l->tokens -= 1;
  return true;
}

/* A call rejected because of max_calls must not use up the rate. */
static int call_allowed(struct tl_proxy *p, struct tl_peer_share *l,
                        const struct tl_conf_peer *peer, struct tl_call_slot **out) {
  int rc = peer->opt.max_calls ? tl_call_take(p, l, peer->opt.max_calls, out) : TL_OK;
  if (rc || !peer->opt.max_cps || rate_allows(p, l, peer->opt.max_cps)) return rc;
  tl_call_drop(p, *out);
  *out = NULL;
  tl_count(tl_proxy_counters(p), TL_C_CALLS_REFUSED_CPS);
  return TL_ELIMIT;
}

int tl_peer_share_admit(struct tl_proxy *p, struct tl_peer_share *l,
                        const struct tl_conf_peer *peer, const struct tl_msg *m,
                        struct tl_admission *out) {
  *out = (struct tl_admission){NULL, NULL};
  if (!l) return TL_OK;
  bool new_call = m->method == TL_M_INVITE && m->to_tag.n == 0;
  int rc = l->active >= p->net.view->conf->limits.max_transactions_peer ? TL_ELIMIT
           : new_call ? call_allowed(p, l, peer, &out->slot)
                      : TL_OK;
  if (rc == TL_ELIMIT) tl_count(tl_proxy_counters(p), TL_C_TXN_REFUSED_PEER);
  if (rc == TL_OK) out->share = l;
  return rc == TL_ELIMIT ? TL_EBUSY : rc;
}

void tl_peer_share_enter(struct tl_peer_share *share) {
  if (share) share->active++;
}

void tl_peer_share_leave(struct tl_peer_share **share) {
  if (*share) (*share)->active--;
  *share = NULL;
}

bool tl_peer_share_may_log(struct tl_proxy *p, struct tl_peer_share *l, uint32_t *out_unlogged) {
  *out_unlogged = 0;
  if (!l && p->shares) l = &p->shares->nobodys;
  if (!l) return true;
  if (l->logged_ms && p->net.now_ms - l->logged_ms < LOG_EVERY_MS) {
    l->unlogged++;
    return false;
  }
  *out_unlogged = l->unlogged;
  l->unlogged = 0;
  l->logged_ms = p->net.now_ms;
  return true;
}
