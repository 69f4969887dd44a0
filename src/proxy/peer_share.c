/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker has in progress toward each peer: a bound on requests awaiting a response, a rate
 * of new calls, and a number of simultaneous calls. A slow or dead peer thus takes its share of
 * the transactions and no more. A share stands where the slot of the peer's state says, so that a
 * reload does not forget it.
 */
#include "peer_share.h"

#include <stdlib.h>

#include "call.h"
#include "proxy.h"
#include "tieline/time.h"

#define LOG_EVERY_MS 1000u

struct tl_peer_share_table {
  struct tl_peer_share **at; /* by slot of the peer's state; NULL: not asked for yet */
  uint32_t n;
  struct tl_peer_share nobodys; /* for all targets that belong to no peer */
};

static int grow_shares(struct tl_peer_share_table *t, uint32_t slot) {
  uint32_t n = t->n ? t->n : 16;
  while (n <= slot) n *= 2;
  struct tl_peer_share **at = realloc(t->at, n * sizeof(struct tl_peer_share *));
  if (!at) return TL_ENOMEM;
  memset(at + t->n, 0, (n - t->n) * sizeof(struct tl_peer_share *));
  t->at = at;
  t->n = n;
  return TL_OK;
}

/* A slot may have been another peer's, of which nothing is under way any more: whatever is holds
 * that peer's state, and the slot with it. */
static struct tl_peer_share *begin_share(struct tl_peer_share_table *t,
                                         struct tl_peer_state *state) {
  if (state->slot >= t->n && grow_shares(t, state->slot)) return NULL;
  struct tl_peer_share **at = &t->at[state->slot];
  if (!*at && !(*at = malloc(sizeof(**at)))) return NULL;
  **at = (struct tl_peer_share){.state = state, .id = state->id};
  return *at;
}

struct tl_peer_share *tl_peer_share_of(struct tl_proxy *p, const struct tl_conf_peer *peer) {
  if (!peer) return NULL;
  struct tl_peer_share_table *t = p->shares;
  if (!t && !(t = p->shares = calloc(1, sizeof(*t)))) return NULL;
  struct tl_peer_state *state = peer->state;
  struct tl_peer_share *share = state->slot < t->n ? t->at[state->slot] : NULL;
  if (share && share->state == state && share->id == state->id) return share;
  return begin_share(t, state);
}

void tl_peer_share_exit(struct tl_proxy *p) {
  struct tl_peer_share_table *t = p->shares;
  if (!t) return;
  for (uint32_t i = 0; i < t->n; i++) free(t->at[i]);
  free(t->at);
  free(t);
  p->shares = NULL;
}

/* The rate is that of the whole process. */
static bool rate_allows(struct tl_peer_share *l, const struct tl_conf_peer *peer) {
  const uint32_t max_cps = peer->opt.max_cps, burst = peer->opt.cps_burst;
  return !max_cps ||
         tl_call_rate_take(&l->state->rate, max_cps, burst ? burst : max_cps, tl_now_ns());
}

/* A call rejected because of max_calls must not use up the rate. */
static int call_allowed(struct tl_proxy *p, struct tl_peer_share *l,
                        const struct tl_conf_peer *peer, struct tl_call_slot **out) {
  const uint32_t max = peer->opt.max_calls  ? peer->opt.max_calls
                       : peer->counts_calls ? UINT32_MAX
                                            : 0;
  int rc = max ? tl_call_take(p, l, max, out) : TL_OK;
  if (rc || rate_allows(l, peer)) return rc;
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
  int rc = l->active >= tl_net_view(p->net)->conf->limits.max_transactions_peer ? TL_ELIMIT
           : new_call ? call_allowed(p, l, peer, &out->slot)
                      : TL_OK;
  if (rc == TL_ELIMIT) tl_count(tl_proxy_counters(p), TL_C_TXN_REFUSED_PEER);
  if (rc == TL_OK) out->share = l;
  return rc == TL_ELIMIT ? TL_EBUSY : rc;
}

/* A branch may outlive its transaction's view, which has the peer: as long as any is counted the
 * state, and with it the slot, stays this peer's. */
void tl_peer_share_enter(struct tl_peer_share *share) {
  if (share && share->active++ == 0) tl_peer_state_ref(share->state);
}

void tl_peer_share_leave(struct tl_peer_share **share) {
  struct tl_peer_share *left = *share;
  *share = NULL;
  if (left && --left->active == 0) tl_peer_state_unref(left->state);
}

bool tl_peer_share_may_log(struct tl_proxy *p, struct tl_peer_share *l, uint32_t *out_unlogged) {
  *out_unlogged = 0;
  if (!l && p->shares) l = &p->shares->nobodys;
  if (!l) return true;
  if (l->logged_ms && tl_net_now_ms(p->net) - l->logged_ms < LOG_EVERY_MS) {
    l->unlogged++;
    return false;
  }
  *out_unlogged = l->unlogged;
  l->unlogged = 0;
  l->logged_ms = tl_net_now_ms(p->net);
  return true;
}
