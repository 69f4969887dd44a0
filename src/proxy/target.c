/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The targets of a plan (RFC 3261 16.5, 16.6 step 7; RFC 3263 is done by the resolver).
 */
#include "target.h"
#include "tieline/resolve.h"

#include <stdio.h>
#include <stdlib.h>

#include "proxy.h"
#include "stage.h"
#include "tieline/view.h"

struct tl_target_search tl_target_search_of(const struct tl_req *req) {
  return (struct tl_target_search){
      .p = req->p, .view = req->view, .plan = req->plan, .dry = req->dry};
}

void tl_target_count(const struct tl_target_search *s, enum tl_counter id) {
  if (!s->dry) tl_count(tl_proxy_counters(s->p), id);
}

static struct tl_tls_domain *domain_for(const struct tl_conf *conf, const struct tl_plan *plan,
                                        const struct tl_target *t) {
  enum tl_choice rule;
  if (plan->route && plan->route->domain) return plan->route->domain;
  if (t->peer && t->peer->domain) return t->peer->domain;
  return tl_tls_choose_client(&conf->tls_set, tl_str_c(tl_plan_identity(plan, t)), &t->addr, &rule);
}

/* Is that the same address under the same name (16.5: no target twice)? */
static bool same_target(const struct tl_target *a, const struct tl_target *b) {
  if (a->transport != b->transport || !tl_addr_eq(&a->addr, &b->addr)) return false;
  if (a->peer && b->peer)
    return a->peer == b->peer || strcmp(a->peer->identity, b->peer->identity) == 0;
  return a->peer == b->peer && a->by_leg == b->by_leg;
}

uint64_t tl_target_key(const struct tl_target *t) {
  const uint64_t name = t->peer ? tl_index_name_id(t->peer->identity) : t->by_leg;
  return tl_index_mix(tl_addr_hash(&t->addr) ^ tl_index_mix(name + (uint64_t)t->transport));
}

static bool was_tried(const struct tl_tried *tried, const struct tl_target *t) {
  const uint64_t key = tried ? tl_target_key(t) : 0;
  for (size_t i = 0; tried && i < tried->n; i++)
    if (tried->key[i] == key) return true;
  return false;
}

/* A search for a peer at an address. */
struct at_address {
  const struct tl_view *view;
  enum tl_transport transport;
  const struct tl_addr *addr;
  const struct tl_conf_peer *found;
  struct tl_dest_state *dest; /* of FOUND */
};

static bool take_only_tls(void *arg, uint32_t number) {
  struct at_address *a = arg;
  const struct tl_addr_list *l = a->view->peers->addrs[number];
  for (size_t i = 0; i < l->n && !a->found; i++)
    if (tl_addr_ip_eq(&l->at[i].addr, a->addr)) a->found = &a->view->peers->peer[number];
  return !a->found;
}

/* D39: an address of a peer that may only be reached by TLS. The port does not matter: nothing
 * goes to that machine in the clear. */
static bool is_downgrade(const struct tl_view *view, enum tl_transport t,
                         const struct tl_addr *addr) {
  struct at_address a = {.view = view, .addr = addr};
  if (!tl_transport_is_secure(t))
    tl_peer_index_by_only_tls(&view->peers->index, addr, take_only_tls, &a);
  return a.found != NULL;
}

static void append_target(const struct tl_target_search *s, struct tl_target *new) {
  const struct tl_view *view = s->view;
  struct tl_plan *plan = s->plan;
  const struct tl_conf_peer *peer = new->peer;
  enum tl_transport t = new->transport;
  /* RFC 5630 3: a sips: request never goes on in the clear. */
  if (plan->n_target == TL_TARGETS_MAX || (plan->secure && !tl_transport_is_secure(t))) return;
  if (peer ? peer->opt.tls_only && !tl_transport_is_secure(t) : is_downgrade(view, t, &new->addr)) {
    plan->downgrade = true;
    return;
  }
  for (unsigned i = 0; i < plan->n_target; i++)
    if (same_target(&plan->target[i], new)) return;
  if (was_tried(plan->hunt.tried, new)) return;
  new->domain = tl_transport_is_secure(t) ? domain_for(view->conf, plan, new) : NULL;
  plan->target[plan->n_target++] = *new;
}

/* What is known of DEST where the plan's route has a TLS domain of its own. */
static struct tl_dest_state *dest_by_route(const struct tl_target_search *s,
                                           struct tl_dest_state *dest) {
  const struct tl_conf_route *r = s->plan->route;
  if (!r || !r->domain || !dest || !tl_transport_is_secure(dest->transport)) return dest;
  struct tl_dest_state *by = tl_peer_table_dest_by(s->view->peers, dest, r->domain->name);
  return by ? by : dest;
}

/* B12: a Contact that is a bare address has no name to verify a certificate against. The name
 * that this leg of the dialog was verified for is tried first; only our token carries it, and it
 * belongs to this dialog. The address itself follows, since a certificate may carry that as well.
 */
static void add_leg(const struct tl_target_search *s, enum tl_transport t,
                    const struct tl_addr *addr) {
  const struct tl_plan *plan = s->plan;
  struct tl_target to = {.addr = *addr, .transport = t, .by_leg = true};
  if (!plan->in_dialog || !tl_transport_is_secure(t)) return;
  to.peer = tl_view_peer(s->view, plan->leg_peer);
  if (to.peer ? tl_transport_is_secure(to.peer->transport) : *plan->leg != '\0')
    append_target(s, &to);
}

static bool take_exact(void *arg, uint32_t number) {
  struct at_address *a = arg;
  const struct tl_addr_list *l = a->view->peers->addrs[number];
  for (size_t i = 0; i < l->n && !a->found; i++)
    if (l->at[i].via == a->transport && tl_addr_eq(&l->at[i].addr, a->addr)) {
      a->found = &a->view->peers->peer[number];
      a->dest = tl_peer_table_dest(a->view->peers, a->found, i);
    }
  return !a->found;
}

/* An address of a configured peer carries that peer's identity, whatever a Contact calls it. */
static void add_address(const struct tl_target_search *s, enum tl_transport t,
                        const struct tl_addr *addr) {
  struct at_address a = {.view = s->view, .transport = t, .addr = addr};
  tl_peer_index_by_place(&s->view->peers->index, t, addr, take_exact, &a);
  append_target(
      s, &(struct tl_target){
             .addr = *addr, .transport = t, .peer = a.found, .dest = dest_by_route(s, a.dest)});
}

int tl_target_of_uri(const struct tl_req *req) {
  const struct tl_target_search s = tl_target_search_of(req);
  struct tl_plan *plan = req->plan;
  const struct tl_uri *u = &plan->next_uri;
  struct tl_str host = tl_plan_next_host(plan);
  enum tl_transport named;
  if (u->scheme != TL_SCHEME_SIP && u->scheme != TL_SCHEME_SIPS) return TL_ENOTFOUND;
  bool names = tl_uri_transport(u, &named);
  if (names && named == TL_TRANSPORTS) {
    plan->refusal = "Unknown Transport In URI"; /* the URI means a transport that is none of ours */
    return TL_ENOTFOUND;
  }
  if (host.n == 0 || host.n >= sizeof(plan->host)) return TL_ENOTFOUND;
  if (host.p[0] == '[') {
    /* A maddr may be anything that a parameter may be, a lone bracket included. */
    if (host.n < 3 || host.p[host.n - 1] != ']') return TL_ENOTFOUND;
    host.p++, host.n -= 2;
  }
  memcpy(plan->host, host.p, host.n);
  plan->host[host.n] = '\0';
  enum tl_transport t = tl_plan_transport_named(u, names ? named : TL_TRANSPORTS);
  struct tl_addr addr;
  uint16_t port = u->port ? u->port : tl_transport_port(t);
  if (tl_addr_parse(host, port, &addr)) return TL_EAGAIN;
  add_leg(&s, t, &addr);
  add_address(&s, t, &addr);
  return TL_OK;
}

/* An address of a peer. One that is also a listener of ours would only loop. */
static void add_peer_addr(const struct tl_target_search *s, struct tl_target *t) {
  if (!tl_conf_is_listener(s->view->conf, t->transport, &t->addr)) {
    append_target(s, t);
    return;
  }
  s->plan->to_self = true;
  tl_target_count(s, TL_C_PEER_SELF);
}

void tl_target_resolved(const struct tl_req *req, const struct tl_resolve *r) {
  const struct tl_target_search s = tl_target_search_of(req);
  struct tl_plan *plan = req->plan;
  const struct tl_conf_peer *peer = plan->unresolved;
  const size_t n = r->rc ? 0 : r->found.n;
  for (size_t i = 0; i < n; i++) {
    enum tl_transport t = (enum tl_transport)r->found.via[i];
    const struct tl_addr *addr = &r->found.addr[i];
    if (peer)
      add_peer_addr(&s, &(struct tl_target){.addr = *addr, .transport = t, .peer = peer});
    else
      add_address(&s, t, addr);
  }
  if (plan->n_target == 0 && n == 0) plan->refusal = "Next Hop Has No Address";
  if (!plan->refusal) plan->refusal = tl_plan_only_us(plan);
}

_Static_assert(TL_SENDER_SHARES <= TL_DNS_SHARES, "each share of a sender has a place of its own");

int tl_target_resolve(const struct tl_req *req, uint64_t cookie,
                      const struct tl_mail_kind *answer) {
  struct tl_proxy *p = req->p;
  const struct tl_plan *plan = req->plan;
  struct tl_resolve *r = calloc(1, sizeof(*r));
  if (!r) return TL_ENOMEM;
  r->reply = (struct tl_mail_address){&p->th.mailbox, answer};
  r->cookie = cookie;
  r->started_ms = tl_net_now_ms(p->net);
  const uint16_t share = tl_source_share(req->sender, &req->origin);
  r->client.stranger = share < TL_SENDER_SHARES ? (uint16_t)(share + 1) : 0;
  r->client.own = req->plan->own;
  const struct tl_conf_peer *peer = plan->unresolved;
  const struct tl_uri *u = &plan->next_uri;
  enum tl_transport named;
  r->transport = peer ? peer->transport : tl_plan_transport(u);
  r->any_transport = peer ? peer->any_transport : !tl_uri_transport(u, &named);
  r->secure = tl_transport_is_secure(r->transport);
  r->port = !peer ? u->port : peer->any_port ? 0 : peer->port;
  snprintf(r->host, sizeof(r->host), "%s", peer ? peer->host : plan->host);
  int rc = tl_resolve_ask(&p->th.rt->resolver, r);
  if (rc) {
    tl_count(tl_proxy_counters(p), TL_C_MAIL_FULL);
    free(r);
  }
  return rc;
}

struct tl_dest_state *tl_target_dest(const struct tl_target_search *s,
                                     const struct tl_conf_peer *peer, size_t k) {
  return dest_by_route(s, tl_peer_table_dest(s->view->peers, peer, k));
}

void tl_target_add(const struct tl_target_search *s, const struct tl_conf_peer *peer,
                   struct tl_dest_state *dest, bool trial) {
  add_peer_addr(s, &(struct tl_target){.addr = dest->addr,
                                       .transport = dest->transport,
                                       .peer = peer,
                                       .group = s->group,
                                       .dest = dest,
                                       .trial = trial});
}

void tl_target_to_address(const struct tl_req *req, const struct tl_conf_peer *peer,
                          enum tl_transport t, const struct tl_addr *addr) {
  const struct tl_target_search s = tl_target_search_of(req);
  tl_plan_clear(req->plan);
  req->plan->own = true;
  tl_plan_rebind(req->plan, req->m);
  add_peer_addr(&s, &(struct tl_target){.addr = *addr, .transport = t, .peer = peer});
}

void tl_target_prefer_tcp(struct tl_proxy *p, struct tl_plan *plan) {
  bool all = plan->route && plan->route->opt.fork == TL_FORK_PARALLEL;
  for (unsigned i = 0; i < plan->n_target; i++) {
    struct tl_target *t = &plan->target[i];
    if (tl_transport_is_reliable(t->transport)) continue;
    if (tl_addr_unreached(p->net, &t->addr)) {
      tl_count(tl_proxy_counters(p), TL_C_LARGE_BY_UDP);
      continue;
    }
    bool keep_udp = !all && plan->n_target < TL_TARGETS_MAX;
    if (keep_udp) {
      memmove(t + 1, t, (plan->n_target - i) * sizeof(*t));
      plan->n_target++;
      i++;
    }
    t->transport = TL_TCP;
    t->dest = NULL; /* what is known is how it answers by UDP */
    t->trial = false;
  }
}
