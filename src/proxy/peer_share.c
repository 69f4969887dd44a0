/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker has in progress toward each peer: a bound on requests awaiting a response, a rate
 * of new calls, and a number of simultaneous calls. A slow or dead peer thus takes its share of
 * the transactions and no more. The records live as long as the worker and are found by the peer's
 * name, so that a reload does not forget them.
 */
#include "peer_share.h"

#include <stdlib.h>

#include "call.h"
#include "proxy.h"

#define LOG_EVERY_MS 1000u

static struct tl_peer_share *share_by_name(struct tl_proxy *p, const char *name) {
  struct tl_peer_share *l = p->shares;
  while (l && strcmp(l->name, name) != 0) l = l->next;
  if (l) return l;
  l = calloc(1, sizeof(*l));
  if (!l || !(l->name = strdup(name))) {
    free(l);
    return NULL;
  }
  l->at_ms = p->net.now_ms;
  l->next = p->shares;
  p->shares = l;
  return l;
}

struct tl_peer_share **tl_peer_share_of(struct tl_proxy *p, const struct tl_conf *conf) {
  struct tl_peer_share **load = calloc(conf->n_peer + 1, sizeof(*load));
  for (size_t i = 0; load && i < conf->n_peer; i++) load[i] = share_by_name(p, conf->peer[i].name);
  return load;
}

void tl_peer_share_exit(struct tl_proxy *p) {
  while (p->shares) {
    struct tl_peer_share *l = p->shares;
    p->shares = l->next;
    free(l->name);
    free(l);
  }
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
  int rc = peer->max_calls ? tl_call_take(p, l, peer->max_calls, out) : TL_OK;
  if (rc || !peer->max_cps || rate_allows(p, l, peer->max_cps)) return rc;
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
  int rc = l->active >= p->net.conf->limits.max_transactions_peer ? TL_ELIMIT
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
  if (!l) l = share_by_name(p, ""); /* for all targets that belong to no peer */
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
