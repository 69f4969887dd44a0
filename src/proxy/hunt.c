/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which address of which peer comes next. First those that are up, in the order of the route, of
 * its groups and of their names; then those that are suspect; at last, if the request has got
 * nowhere, those that are down: dead or not, there is no other way for it. Who asked for a pause
 * gets it (RFC 3261 21.5.4).
 */
#include "hunt.h"

#include "proxy.h"
#include "stage.h"
#include "tieline/view.h"
#include "txn.h"

enum pass { THOSE_UP, SUSPECTS, THOSE_DOWN, N_PASSES };

static bool is_silent(const struct tl_target_search *s, const struct tl_conf_peer *peer) {
  return peer->opt.heard_within_ms &&
         tl_peer_state_is_silent(peer->state, peer->opt.heard_within_ms, tl_net_now_ms(s->p->net));
}

/* In which pass DEST is tried; N_PASSES: not now. */
static enum pass pass_of(const struct tl_target_search *s, const struct tl_conf_peer *peer,
                         struct tl_dest_state *dest, bool *out_trial) {
  struct tl_plan *plan = s->plan;
  const enum tl_admin_state admin = tl_peer_admin_of(&peer->state->admin, &dest->addr);
  if (admin) {
    *out_trial = false;
    plan->taken_out |= !tl_admin_takes(admin);
    return tl_admin_takes(admin) ? THOSE_UP : N_PASSES;
  }
  enum tl_dest_turn turn =
      tl_dest_turn(&dest->health, &peer->rules, plan->hunt.draw, tl_net_now_ms(s->p->net));
  /* Without a transaction nobody would hear how the trial ends. */
  *out_trial = turn == TL_DEST_TRY && plan->hunt.pass == THOSE_UP && !plan->route->opt.stateless;
  if (turn == TL_DEST_TRY && !*out_trial) turn = tl_dest_unclaimed(&dest->health);
  switch (turn) {
  case TL_DEST_LAST: return SUSPECTS;
  case TL_DEST_OVER: return THOSE_DOWN;
  case TL_DEST_PAUSED: return N_PASSES;
  default: return is_silent(s, peer) ? SUSPECTS : THOSE_UP;
  }
}

/* The addresses of PEER that are for this pass; returns how many are down. */
static unsigned look_at(const struct tl_target_search *s, const struct tl_conf_peer *peer) {
  struct tl_hunt *h = &s->plan->hunt;
  const struct tl_addr_list *l = tl_view_addrs(s->view, peer);
  const bool judged = peer->opt.heard_within_ms || tl_peer_admin_is_set(&peer->state->admin);
  uint8_t order[TL_PEER_ADDRS_MAX];
  unsigned n_down = 0;
  /* Hosts of one priority are drawn by their weights, the same for each copy of the request:
   * without a transaction a retransmission must go where the request went (16.11). */
  tl_addr_list_order(l, l->weighted ? h->draw : 0, order);
  for (size_t k = 0; k < l->n; k++) {
    struct tl_dest_state *dest = tl_target_dest(s, peer, order[k]);
    bool trial = false;
    /* Mostly there is nothing to think about. */
    const enum pass pass =
        !judged && tl_dest_is_plain(&dest->health) ? THOSE_UP : pass_of(s, peer, dest, &trial);
    if (pass <= h->pass) {
      tl_target_add(s, peer, dest, trial);
      continue;
    }
    if (pass == N_PASSES && h->pass == THOSE_UP) tl_target_count(s, TL_C_PEER_PASSED_OVER);
    h->left |= pass < N_PASSES;
    n_down += pass == THOSE_DOWN;
  }
  return n_down;
}

static bool has_room_for(const struct tl_target_search *s, const struct tl_conf_peer *peer) {
  const unsigned n_target = s->plan->n_target;
  return n_target == 0 || n_target + tl_view_addrs(s->view, peer)->n <= TL_TARGETS_MAX;
}

/* ---- whose turn it is ---- */

/* Another group's members draw other lots. */
static void begin_turn(struct tl_hunt *h, const struct tl_peer_group *g, bool dry) {
  h->turn = (struct tl_group_turn){.draw = h->draw ^ tl_index_mix(h->next_dest + 1), .dry = dry};
  if (g && tl_group_is_hashed(g)) h->turn.hash = h->hash[g->method - TL_GROUP_HASH_CALL_ID];
}

static void next_dest(struct tl_hunt *h) {
  h->next_dest++;
  h->turn.tried = 0;
}

/* The next peer of the route, through its groups; NULL: there is none. S learns of which group. */
static const struct tl_conf_peer *next_peer(struct tl_target_search *s) {
  struct tl_hunt *h = &s->plan->hunt;
  const struct tl_conf_route *r = s->plan->route;
  const struct tl_conf_peer *peer = h->held;
  if (peer) s->group = h->held_group;
  h->held = NULL;
  while (!peer && h->next_dest < r->n_dest) {
    const struct tl_route_dest *d = &r->dest[h->next_dest];
    s->group = d->group;
    if (d->group && !h->turn.tried) begin_turn(h, d->group, s->dry);
    peer = d->group ? tl_group_next(d->group, &h->turn) : d->peer;
    if (!d->group || !peer) next_dest(h);
  }
  return peer;
}

/* The pass that is under way goes on until there is a target; returns how many addresses that are
 * down it passed over. */
static unsigned look_on(const struct tl_target_search *search) {
  struct tl_target_search s = *search;
  struct tl_plan *plan = s.plan;
  const struct tl_conf_peer *peer;
  unsigned n_down = 0;
  while ((plan->n_target == 0 || tl_plan_forks(plan)) && (peer = next_peer(&s))) {
    if (!has_room_for(&s, peer)) {
      plan->hunt.held = peer;
      plan->hunt.held_group = s.group;
      break;
    }
    n_down += look_at(&s, peer);
  }
  return n_down;
}

/* ---- passes ---- */

static void find_targets(const struct tl_target_search *s) {
  struct tl_plan *plan = s->plan;
  struct tl_hunt *h = &plan->hunt;
  unsigned n_down = look_on(s);
  while (!plan->n_target && h->left && h->pass + 1 < N_PASSES) {
    h->pass++;
    h->next_dest = 0;
    h->turn.tried = 0;
    h->left = false;
    n_down = look_on(s);
  }
  h->over = !plan->n_target;
  for (; n_down && !h->over; n_down--) tl_target_count(s, TL_C_PEER_PASSED_OVER);
  if (h->tcp_first) tl_target_prefer_tcp(s->p, plan);
}

/* ---- the beginning ---- */

/* No address of the route takes requests now: sets when the first one does again. */
static void refuse_for_pause(const struct tl_target_search *s) {
  struct tl_plan *plan = s->plan;
  const struct tl_conf_route *r = plan->route;
  for (size_t i = 0; i < r->n_peer; i++)
    for (size_t k = 0; k < tl_view_addrs(s->view, r->peer[i])->n; k++) {
      const struct tl_dest_state *dest = tl_target_dest(s, r->peer[i], k);
      const uint64_t ms = tl_dest_pause_ms(&dest->health, tl_net_now_ms(s->p->net));
      if (ms && (!plan->pause_ms || ms < plan->pause_ms)) plan->pause_ms = (uint32_t)ms;
    }
  if (plan->pause_ms) plan->refusal = "Next Hop Asked For A Pause";
}

static uint64_t hash_text(struct tl_str s) {
  uint64_t h = 0xcbf29ce484222325u;
  for (size_t i = 0; i < s.n; i++) h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3u;
  return tl_index_mix(h);
}

/* User and host, which compares without regard to case (RFC 3261 19.1.4). */
static uint64_t hash_address(const struct tl_msg *m, enum tl_hdr_id id) {
  struct tl_nameaddr na;
  struct tl_uri u;
  size_t used;
  if (tl_nameaddr_parse(tl_msg_header(m, id), &na, &used) || tl_uri_parse(na.uri, &u))
    return hash_text(tl_msg_header(m, id));
  uint64_t h = hash_text(u.user);
  for (size_t i = 0; i < u.host.n; i++) h = tl_index_mix(h ^ ((unsigned char)u.host.p[i] | 0x20));
  return h;
}

static uint64_t hash_of(const struct tl_req *req, enum tl_group_method method) {
  switch (method) {
  case TL_GROUP_HASH_FROM: return hash_address(req->m, TL_H_FROM);
  case TL_GROUP_HASH_TO: return hash_address(req->m, TL_H_TO);
  case TL_GROUP_HASH_REQUEST_URI: return hash_text(req->plan->uri.user);
  default: return hash_text(req->m->call_id);
  }
}

/* While the message is at hand. */
static void hash_for_groups(const struct tl_req *req) {
  const struct tl_conf_route *r = req->plan->route;
  for (size_t i = 0; i < r->n_dest; i++) {
    const struct tl_peer_group *g = r->dest[i].group;
    if (!g || !tl_group_is_hashed(g)) continue;
    req->plan->hunt.hash[g->method - TL_GROUP_HASH_CALL_ID] = hash_of(req, g->method);
  }
}

/* By what an administrator says of the peer itself: its addresses are not known. */
static bool takes_any(const struct tl_conf_peer *peer) {
  static const struct tl_addr none;
  return tl_admin_takes(tl_peer_admin_of(&peer->state->admin, &none));
}

int tl_hunt_begin(const struct tl_req *req) {
  const struct tl_target_search s = tl_target_search_of(req);
  struct tl_plan *plan = req->plan;
  const struct tl_conf_route *r = plan->route;
  plan->rewrite_host = tl_plan_is_local(req->p, &plan->uri) && !plan->strict_out;
  plan->hunt.on = true;
  plan->hunt.draw = req->key;
  if (r->has_groups) hash_for_groups(req);
  find_targets(&s);
  if (plan->n_target) return TL_OK;
  /* Names that could not be resolved when the configuration was read get another chance. */
  for (size_t i = 0; i < r->n_peer && !plan->unresolved; i++)
    if (tl_view_addrs(req->view, r->peer[i])->n == 0 && takes_any(r->peer[i]))
      plan->unresolved = r->peer[i];
  if (!plan->unresolved) refuse_for_pause(&s);
  if (!plan->unresolved && !plan->refusal) plan->refusal = tl_plan_only_us(plan);
  if (!plan->unresolved && !plan->refusal && plan->taken_out)
    plan->refusal = "Next Hop Out Of Service";
  return plan->unresolved ? TL_EAGAIN : TL_ENOTFOUND;
}

/* ---- and on ---- */

/* An address for which TCP stood in is known by UDP. */
static void remember_target(struct tl_tried *tried, const struct tl_target *t) {
  struct tl_target known = *t;
  if (t->skipped) return; /* it is none yet */
  if (t->peer && !t->dest && t->transport == TL_TCP) known.transport = TL_UDP;
  if (tried->n < TL_ROUTE_ATTEMPTS_MAX) tried->key[tried->n++] = tl_target_key(&known);
}

/* The targets at hand are remembered, so that none of them is tried twice (16.5). */
static bool put_away(const struct tl_target_search *s) {
  struct tl_plan *plan = s->plan;
  struct tl_tried *tried = plan->hunt.tried;
  if (!tried) {
    if (!(tried = plan->hunt.tried = tl_pool_get(&s->p->tried))) return false;
    tried->n = 0;
  }
  for (unsigned i = 0; i < plan->n_target; i++) remember_target(tried, &plan->target[i]);
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

/* ---- what ends it ---- */

/* What is not configured. An answer by the callee himself, or about the number, holds for all. */
static bool follows_by_default(const struct tl_plan *plan, unsigned outcome) {
  const bool no_answer = outcome < 200;
  if (no_answer || outcome == 408 || outcome == 503) return true;
  if (plan->in_dialog || !plan->route) return false;
  if (plan->route->opt.fork == TL_FORK_SERIAL) return outcome < 600;
  return outcome == 500 || outcome == 502 || outcome == 504;
}

static bool stops_by_default(const struct tl_plan *plan, unsigned outcome) {
  if (outcome >= 600) return true;
  if (plan->route && plan->route->opt.fork == TL_FORK_SERIAL) return false;
  return outcome == 404 || outcome == 480 || outcome == 484 || outcome == 486 || outcome == 488;
}

/* The peer's, else the route's; NULL: neither has any. Inside a dialog there is one party. */
static const struct tl_outcomes *given_of(const struct tl_plan *plan,
                                          const struct tl_outcomes *peers,
                                          const struct tl_outcomes *routes) {
  if (plan->in_dialog) return NULL;
  return peers && peers->given ? peers : routes && routes->given ? routes : NULL;
}

bool tl_hunt_follows(const struct tl_txn *txn, const struct tl_conf_peer *peer, unsigned outcome) {
  const struct tl_plan *plan = txn->plan;
  const struct tl_conf_route *r = plan->route;
  const struct tl_outcomes *stop =
      given_of(plan, peer ? &peer->stop_on : NULL, r ? &r->stop_on : NULL);
  const struct tl_outcomes *go =
      given_of(plan, peer ? &peer->reroute_on : NULL, r ? &r->reroute_on : NULL);
  if (stop ? tl_status_set_has(&stop->of, outcome) : stops_by_default(plan, outcome)) return false;
  return go ? tl_status_set_has(&go->of, outcome) : follows_by_default(plan, outcome);
}

void tl_hunt_ended(struct tl_txn *txn, const struct tl_conf_peer *peer, unsigned outcome) {
  if (txn->plan && !tl_hunt_follows(txn, peer, outcome)) txn->hunt_ends = true;
}

/* The callee of one target is often that of the next, who would be rung a second time. */
static bool rings_no_further(const struct tl_txn *txn) {
  const struct tl_conf_route *r = txn->plan->route;
  return txn->rang && !(r && r->opt.reroute_after_ringing);
}

bool tl_hunt_may_go_on(struct tl_txn *txn) {
  struct tl_plan *plan = txn->plan;
  struct tl_counters *counters = tl_proxy_counters(txn->proxy);
  if (!tl_hunt_has_next(plan)) return false;
  const bool rang = rings_no_further(txn);
  if ((!plan->hunt.on || plan->hunt.n_attempt == 0) && !rang) return true;
  if (rang)
    tl_count(counters, TL_C_HUNT_RANG);
  else if (plan->hunt.n_attempt >= plan->route->opt.max_attempts)
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
  while (tl_hunt_may_go_on(txn)) {
    if (plan->at == plan->n_target && !tl_hunt_more(&s)) return NULL;
    struct tl_target *t = &plan->target[plan->at++];
    if (!t->trial ||
        tl_dest_claim(&t->dest->health, &t->peer->rules, false, tl_net_now_ms(txn->proxy->net)))
      return t;
    t->skipped = plan->hunt.left = true;
  }
  return NULL;
}
