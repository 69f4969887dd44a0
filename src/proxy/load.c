/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker has under way toward each peer: a bound on requests waiting for
 * an answer, a rate of new calls, and calls at a time. A peer that is slow or dead then takes its
 * share of the transactions and no more. The records live as long as the worker
 * and are found by the peer's name, so a reload does not forget them.
 */
#include <stdlib.h>

#include "proxy.h"

#define LOG_EVERY_MS 1000u

static struct tl_peer_load *by_name(struct tl_proxy *p, const char *name) {
  struct tl_peer_load *l = p->loads;
  while (l && strcmp(l->name, name) != 0) l = l->next;
  if (l) return l;
  l = calloc(1, sizeof(*l));
  if (!l || !(l->name = strdup(name))) {
    free(l);
    return NULL;
  }
  l->at_ms = p->net.now_ms;
  l->next = p->loads;
  p->loads = l;
  return l;
}

struct tl_peer_load **tl_load_of(struct tl_proxy *p, const struct tl_conf *conf) {
  struct tl_peer_load **load = calloc(conf->n_peer + 1, sizeof(*load));
  for (size_t i = 0; load && i < conf->n_peer; i++) load[i] = by_name(p, conf->peer[i].name);
  return load;
}

void tl_load_exit(struct tl_proxy *p) {
  while (p->loads) {
    struct tl_peer_load *l = p->loads;
    p->loads = l->next;
    free(l->name);
    free(l);
  }
}

/* The peer's rate is the whole process's: each worker grants its part. A second's worth may come at
 * once. */
static bool rate_allows(struct tl_proxy *p, struct tl_peer_load *l, uint32_t max_cps) {
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

/* A call that is refused for its number shall not use up the rate. */
static int call_allowed(struct tl_proxy *p, struct tl_peer_load *l, const struct tl_conf_peer *peer,
                        struct tl_call_slot **out) {
  int rc = peer->max_calls ? tl_call_take(p, l, peer->max_calls, out) : TL_OK;
  if (rc || !peer->max_cps || rate_allows(p, l, peer->max_cps)) return rc;
  tl_call_drop(p, *out);
  *out = NULL;
  tl_count(tl_proxy_counters(p), TL_C_CALLS_REFUSED_CPS);
  return TL_ELIMIT;
}

int tl_load_admit(struct tl_txn *txn, const struct tl_conf_peer *peer, const struct tl_msg *m,
                  struct tl_admission *out) {
  struct tl_proxy *p = txn->proxy;
  *out = (struct tl_admission){NULL, NULL};
  if (!peer || !txn->snap->load) return TL_OK;
  struct tl_peer_load *l = txn->snap->load[peer - txn->snap->conf->peer];
  if (!l) return TL_OK;
  bool new_call = m->method == TL_M_INVITE && m->to_tag.n == 0;
  int rc = l->active >= p->net.conf->limits.max_transactions_peer ? TL_ELIMIT
           : new_call ? call_allowed(p, l, peer, &out->call_slot)
                      : TL_OK;
  if (rc == TL_ELIMIT) tl_count(tl_proxy_counters(p), TL_C_TXN_REFUSED_PEER);
  if (rc == TL_OK) out->load = l;
  return rc == TL_ELIMIT ? TL_EBUSY : rc;
}

void tl_load_enter(struct tl_branch *b, const struct tl_admission *a) {
  b->load = a->load;
  if (b->load) b->load->active++;
}

void tl_load_leave(struct tl_branch *b) {
  if (b->load) b->load->active--;
  b->load = NULL;
}

bool tl_load_may_log(const struct tl_txn *txn, const struct tl_conf_peer *peer,
                     uint32_t *out_unlogged) {
  struct tl_proxy *p = txn->proxy;
  struct tl_peer_load *l = NULL;
  if (peer && txn->snap && txn->snap->load) l = txn->snap->load[peer - txn->snap->conf->peer];
  if (!l) l = &p->nobody;
  if (l->logged_ms && p->net.now_ms - l->logged_ms < LOG_EVERY_MS) {
    l->unlogged++;
    return false;
  }
  *out_unlogged = l->unlogged;
  l->unlogged = 0;
  l->logged_ms = p->net.now_ms;
  return true;
}
