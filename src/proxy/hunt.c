/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which peer of a route comes next. Peers that do not answer their probes are only looked at in a
 * second pass, when the first has found no target at all: then the probes may be at fault. Those
 * that asked for a pause get it (RFC 3261 21.5.4).
 */
#include "hunt.h"

#include "proxy.h"
#include "stage.h"
#include "tieline/health.h"
#include "tieline/view.h"
#include "txn.h"

enum pass { THOSE_UP, THOSE_DOWN, N_PASSES };

static uint64_t pause_ms(const struct tl_proxy *p, const struct tl_conf_peer *peer) {
  return tl_health_pause_ms(&peer->state->health, tl_net_now_ms(p->net));
}

static bool is_of_pass(const struct tl_target_search *s, const struct tl_conf_peer *peer) {
  const bool down = tl_health_is_down(&peer->state->health), pauses = pause_ms(s->p, peer) > 0;
  if (s->plan->hunt.pass == THOSE_DOWN) return down && !pauses;
  return !down && !pauses;
}

/* All at once: as many peers as the plan has room for. Else one that has a target. */
static bool wants_peer(const struct tl_target_search *s, const struct tl_conf_peer *peer) {
  const struct tl_plan *plan = s->plan;
  if (plan->n_target == 0) return true;
  return tl_plan_forks(plan) && plan->n_target + tl_view_addrs(s->view, peer)->n <= TL_TARGETS_MAX;
}

/* Peers of the pass that is under way, until there is a target; returns how many that are down it
 * passed over. */
static unsigned look_on(const struct tl_target_search *s) {
  struct tl_plan *plan = s->plan;
  const struct tl_conf_route *r = plan->route;
  unsigned n_down = 0;
  for (; plan->hunt.next_peer < r->n_peer; plan->hunt.next_peer++) {
    const struct tl_conf_peer *peer = r->peer[plan->hunt.next_peer];
    if (!wants_peer(s, peer)) break;
    if (is_of_pass(s, peer))
      tl_target_of_peer(s, peer);
    else if (pause_ms(s->p, peer))
      tl_target_count(s, TL_C_PEER_PASSED_OVER);
    else if (plan->hunt.pass == THOSE_UP)
      n_down++;
  }
  return n_down;
}

static void find_targets(const struct tl_target_search *s) {
  struct tl_plan *plan = s->plan;
  struct tl_hunt *h = &plan->hunt;
  unsigned n_down = look_on(s);
  while (!plan->n_target && !h->found && h->pass + 1 < N_PASSES) {
    h->pass++;
    h->next_peer = 0;
    n_down = 0;
    look_on(s);
  }
  h->over = !plan->n_target;
  h->found |= !h->over;
  for (; n_down && !h->over; n_down--) tl_target_count(s, TL_C_PEER_PASSED_OVER);
  if (h->tcp_first) tl_target_prefer_tcp(s->p, plan);
}

/* ---- the beginning ---- */

/* No peer of the route takes requests now: sets when the first one does again. */
static void refuse_for_pause(struct tl_proxy *p, struct tl_plan *plan) {
  for (size_t i = 0; i < plan->route->n_peer; i++) {
    uint64_t ms = pause_ms(p, plan->route->peer[i]);
    if (ms && (!plan->pause_ms || ms < plan->pause_ms)) plan->pause_ms = (uint32_t)ms;
  }
  if (plan->pause_ms) plan->refusal = "Next Hop Asked For A Pause";
}

int tl_hunt_begin(const struct tl_req *req) {
  const struct tl_target_search s = tl_target_search_of(req);
  struct tl_plan *plan = req->plan;
  const struct tl_conf_route *r = plan->route;
  plan->rewrite_host = tl_plan_is_local(req->p, &plan->uri) && !plan->strict_out;
  plan->hunt.on = true;
  plan->hunt.draw = req->key;
  find_targets(&s);
  if (plan->n_target) return TL_OK;
  /* Names that could not be resolved when the configuration was read get another chance. */
  for (size_t i = 0; i < r->n_peer && !plan->unresolved; i++)
    if (tl_view_addrs(req->view, r->peer[i])->n == 0 && !pause_ms(req->p, r->peer[i]))
      plan->unresolved = r->peer[i];
  if (!plan->unresolved) refuse_for_pause(req->p, plan);
  if (!plan->unresolved && !plan->refusal) plan->refusal = tl_plan_only_us(plan);
  return plan->unresolved ? TL_EAGAIN : TL_ENOTFOUND;
}

/* ---- and on ---- */

/* The targets at hand are remembered, so that none of them is tried twice (16.5). */
static bool put_away(const struct tl_target_search *s) {
  struct tl_plan *plan = s->plan;
  struct tl_tried *tried = plan->hunt.tried;
  if (!tried) {
    if (!(tried = plan->hunt.tried = tl_pool_get(&s->p->tried))) return false;
    tried->n = 0;
  }
  for (unsigned i = 0; i < plan->n_target && tried->n < TL_ROUTE_ATTEMPTS_MAX; i++)
    tried->key[tried->n++] = tl_target_key(&plan->target[i]);
  plan->n_target = plan->at = 0;
  return tried->n < TL_ROUTE_ATTEMPTS_MAX;
}

bool tl_hunt_more(const struct tl_target_search *s) {
  struct tl_plan *plan = s->plan;
  const uint8_t had = plan->n_target;
  if (!tl_hunt_has_more(plan) || !put_away(s))
    plan->hunt.over = true;
  else
    find_targets(s);
  /* Those that were tried last are still told of. */
  if (plan->hunt.over) plan->n_target = plan->at = had;
  return !plan->hunt.over;
}

uint32_t tl_hunt_left_ms(const struct tl_txn *txn) {
  const struct tl_plan *plan = txn->plan;
  if (!plan || !plan->hunt.on) return UINT32_MAX;
  const uint64_t end_ms = txn->born_ms + plan->route->opt.setup_timeout_ms;
  const uint64_t now_ms = tl_net_now_ms(txn->proxy->net);
  return end_ms > now_ms ? (uint32_t)(end_ms - now_ms) : 0;
}

bool tl_hunt_may_go_on(struct tl_txn *txn) {
  struct tl_plan *plan = txn->plan;
  struct tl_counters *counters = tl_proxy_counters(txn->proxy);
  if (plan->hunt.over || (plan->at >= plan->n_target && !tl_hunt_has_more(plan))) return false;
  if (!plan->hunt.on) return true;
  if (plan->hunt.n_attempt >= plan->route->opt.max_attempts)
    tl_count(counters, TL_C_HUNT_ATTEMPTS);
  else if (tl_hunt_left_ms(txn) == 0)
    tl_count(counters, TL_C_HUNT_TIME);
  else
    return true;
  plan->hunt.over = true;
  return false;
}

const struct tl_target *tl_hunt_next(struct tl_txn *txn) {
  struct tl_plan *plan = txn->plan;
  const struct tl_target_search s = {.p = txn->proxy, .view = txn->view, .plan = plan};
  if (!tl_hunt_may_go_on(txn)) return NULL;
  if (plan->at == plan->n_target && !tl_hunt_more(&s)) return NULL;
  return &plan->target[plan->at++];
}
