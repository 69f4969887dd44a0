/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a request goes (RFC 3261 16.4, 16.5, 16.6 step 7; RFC 3263 is the
 * resolver's): our Route values, the route table, the list of targets.
 * Sends nothing.
 */
#include <stdio.h>
#include <stdlib.h>

#include "proxy.h"

bool tl_route_is_local(struct tl_proxy *p, const struct tl_uri *u) {
  return (u->scheme == TL_SCHEME_SIP || u->scheme == TL_SCHEME_SIPS) &&
         tl_conf_is_local(p->net.conf, u->host, u->port);
}

/* The transport of a URI that names NAMED, TL_TRANSPORTS: none that we know. */
static enum tl_transport transport_of(const struct tl_uri *u, enum tl_transport named) {
  if (u->scheme == TL_SCHEME_SIPS) return TL_TLS;
  return named < TL_TRANSPORTS ? named : TL_UDP;
}

enum tl_transport tl_route_transport(const struct tl_uri *u) {
  enum tl_transport t;
  return transport_of(u, tl_uri_transport(u, &t) ? t : TL_TRANSPORTS);
}

/* ---- Route headers ---- */

int tl_route_values(const struct tl_msg *m, struct tl_nameaddr out[TL_ROUTES_MAX]) {
  int n = 0;
  for (uint16_t i = m->first[TL_H_ROUTE]; i != TL_HDR_NONE; i = m->hdr[i].next) {
    struct tl_str v = tl_hdr_value(m, i);
    while (v.n) {
      size_t used;
      if (n == TL_ROUTES_MAX || tl_nameaddr_parse(v, &out[n], &used)) return -1;
      v.p += used;
      v.n -= used;
      n++;
    }
  }
  return n;
}

/* Our tokens in a request: of the first that it shows, and of the last, which is the next leg's. */
struct tokens {
  struct tl_route_token first, last;
  enum tl_transport transport; /* of the URI with the last */
  bool any, torn;              /* TORN: one of them does not follow the one in front of it */
};

static bool own_token(struct tl_proxy *p, const struct tl_msg *m, const struct tl_uri *u,
                      struct tokens *out) {
  struct tl_str token;
  struct tl_route_token says;
  if (!tl_uri_param(u, TL_STR("tl"), &token)) return false;
  if (tl_token_route_parse(p, token, m, &says)) return false;
  if (!out->any) out->first = says;
  if (out->any && !tl_leg_follows(&out->last, &says)) out->torn = true;
  out->last = says;
  out->transport = tl_route_transport(u);
  out->any = true;
  return true;
}

/* PLAN is inside the dialog: its next leg. */
static void take_leg(struct tl_plan *plan, const struct tokens *t) {
  const struct tl_route_token *says = &t->last;
  plan->in_dialog = true;
  plan->reverse = says->reverse;
  plan->flow_conn = says->reverse ? says->flow_conn : 0;
  plan->flow_transport = t->transport;
  plan->leg_peer = says->reverse ? says->caller : says->callee;
  plan->leg_end = says->end[!says->reverse];
  size_t n = says->reverse ? 0 : says->domain.n;
  if (n >= sizeof(plan->leg)) n = 0;
  if (n) memcpy(plan->leg, says->domain.p, n);
  plan->leg[n] = '\0';
}

/* As if there had been no token. */
static void drop_leg(struct tl_plan *plan) {
  plan->in_dialog = plan->reverse = plan->downgrade = false;
  plan->flow_conn = 0;
  plan->leg_peer = 0;
  plan->n_target = 0;
  plan->leg[0] = plan->host[0] = '\0';
  plan->route = NULL;
}

/* The Request-URI and the next hop as the flags of PLAN say; N Route values are in ROUTE. */
static int bind_plan(struct tl_plan *plan, const struct tl_msg *m, const struct tl_nameaddr *route,
                     int n) {
  plan->uri = m->ruri;
  if (plan->strict_in && (n < 1 || tl_uri_parse(route[--n].uri, &plan->uri))) return TL_ESYNTAX;
  plan->next_uri = plan->uri;
  if (plan->drop_routes >= n) return TL_OK;
  return tl_uri_parse(route[plan->drop_routes].uri, &plan->next_uri);
}

void tl_route_rebind(struct tl_plan *plan, const struct tl_msg *m) {
  struct tl_nameaddr route[TL_ROUTES_MAX];
  int n = m->first[TL_H_ROUTE] == TL_HDR_NONE ? 0 : tl_route_values(m, route);
  bind_plan(plan, m, route, n);
}

/* 16.4: what a strict router did to the request is undone, our own Route values go, and what then
 * comes first decides where to. */
static int preprocess(struct tl_proxy *p, const struct tl_msg *m, struct tl_plan *plan,
                      struct tokens *out) {
  struct tl_uri u;
  struct tl_str maddr, lr;
  int n = m->first[TL_H_ROUTE] == TL_HDR_NONE ? 0 : tl_route_values(m, p->routes);
  if (n < 0) return TL_ESYNTAX;
  if (n > 0 && tl_route_is_local(p, &plan->uri) && own_token(p, m, &plan->uri, out)) {
    plan->strict_in = true;
    n--;
  }
  while (plan->drop_routes < n) {
    if (tl_uri_parse(p->routes[plan->drop_routes].uri, &u)) return TL_ESYNTAX;
    if (!tl_route_is_local(p, &u)) break;
    own_token(p, m, &u, out);
    plan->drop_routes++;
  }
  plan->next_uri = plan->uri;
  plan->n_routes = (uint8_t)n;
  if (n > 0 && bind_plan(plan, m, p->routes, n + plan->strict_in)) return TL_ESYNTAX;
  if (plan->strict_in && n == 0 && bind_plan(plan, m, p->routes, 1)) return TL_ESYNTAX;
  plan->strict_out = plan->drop_routes < n && !tl_uri_param(&plan->next_uri, TL_STR("lr"), &lr);
  plan->secure = plan->uri.scheme == TL_SCHEME_SIPS;
  plan->strip_maddr = tl_uri_param(&plan->uri, TL_STR("maddr"), &maddr) && maddr.n &&
                      tl_conf_is_local(p->net.conf, maddr, plan->uri.port);
  return TL_OK;
}

struct tl_str tl_route_next_host(const struct tl_plan *plan) {
  struct tl_str maddr;
  const struct tl_uri *u = &plan->next_uri;
  if (!plan->strip_maddr && tl_uri_param(u, TL_STR("maddr"), &maddr) && maddr.n) return maddr;
  return u->host;
}

/* ---- the route table ---- */

static bool host_listed(char *const *list, struct tl_str host) {
  for (; *list; list++)
    if (tl_str_ieq(tl_str_c(*list), host)) return true;
  return false;
}

/* Conditions on a source that is not known hold only where there are none. */
static bool open_to(const struct tl_conf_route *r, const struct tl_source *s, size_t i) {
  if (s) return tl_source_may_take(s, i);
  return !r->from_peer && !r->verified_only && r->trust == TL_TRUST_ANY && !r->peer_subject &&
         !r->peer_issuer && !r->peer_san && !r->peer_fingerprint && !r->peer_anchor;
}

/* What decides the next hop is what conditions on the destination judge. */
const char *tl_route_why_not(const struct tl_conf_route *r, size_t i, const struct tl_plan *plan,
                             const struct tl_source *s) {
  struct tl_str host = r->relay_request_uri ? tl_route_next_host(plan) : plan->uri.host;
  if (r->to_prefix && !tl_uri_user_starts(plan->uri.user, tl_str_c(r->to_prefix)))
    return "the user does not begin with its to_prefix";
  if (r->to_domain && !host_listed(r->to_domain, host))
    return r->relay_request_uri ? "its to_domain lacks the host of the next hop (maddr, Route)"
                                : "its to_domain lacks the host";
  if (open_to(r, s, i)) return NULL;
  return r->from_peer ? "the source is none of its from_peer, or less trusted than it demands"
                      : "the source is not what it demands of peers";
}

static const struct tl_conf_route *route_by_id(const struct tl_conf *conf, uint64_t id) {
  for (size_t i = 0; i < conf->n_route; i++)
    if (conf->route[i].id == id) return &conf->route[i];
  return NULL;
}

/* ---- targets ---- */

const char *tl_route_identity(const struct tl_plan *plan, const struct tl_target *t) {
  return t->peer ? t->peer->identity : t->by_leg ? plan->leg : plan->host;
}

static struct tl_tls_domain *domain_for(const struct tl_conf *conf, const struct tl_plan *plan,
                                        const struct tl_target *t) {
  enum tl_choice rule;
  if (plan->route && plan->route->domain) return plan->route->domain;
  if (t->peer && t->peer->domain) return t->peer->domain;
  return tl_tls_choose_client(&conf->tls_set, tl_str_c(tl_route_identity(plan, t)), &t->addr,
                              &rule);
}

const char *tl_route_lacks_domain(const struct tl_plan *plan) {
  if (!plan || plan->n_target == 0 || plan->flow_conn) return NULL;
  for (unsigned i = 0; i < plan->n_target; i++)
    if (plan->target[i].transport != TL_TLS || plan->target[i].domain) return NULL;
  return "No TLS Domain For The Destination";
}

/* Is that the same place by the same name (16.5: no target twice)? */
static bool same_target(const struct tl_target *a, const struct tl_target *b) {
  if (a->transport != b->transport || !tl_addr_eq(&a->addr, &b->addr)) return false;
  if (a->peer && b->peer)
    return a->peer == b->peer || strcmp(a->peer->identity, b->peer->identity) == 0;
  return a->peer == b->peer && a->by_leg == b->by_leg;
}

/* D39: an address of a peer that is only to be reached by TLS. Whose port it is does not matter:
 * nothing goes to that machine in the clear. */
static bool downgrades(const struct tl_snap *snap, enum tl_transport t,
                       const struct tl_addr *addr) {
  for (size_t i = 0; snap->conf->peer && i < snap->conf->n_peer && t != TL_TLS; i++) {
    const struct tl_conf_peer *peer = &snap->conf->peer[i];
    const struct tl_addr_list *l = peer->tls_only ? tl_snap_places(snap, peer) : NULL;
    for (size_t k = 0; l && k < l->n; k++)
      if (tl_addr_ip_eq(&l->at[k].addr, addr)) return true;
  }
  return false;
}

static void add(const struct tl_snap *snap, struct tl_plan *plan, struct tl_target *new) {
  const struct tl_conf_peer *peer = new->peer;
  enum tl_transport t = new->transport;
  /* RFC 5630 3: what is asked to be secure never goes on in the clear. */
  if (plan->n_target == TL_TARGETS_MAX || (plan->secure && t != TL_TLS)) return;
  if (peer ? peer->tls_only && t != TL_TLS : downgrades(snap, t, &new->addr)) {
    plan->downgrade = true;
    return;
  }
  for (unsigned i = 0; i < plan->n_target; i++)
    if (same_target(&plan->target[i], new)) return;
  new->domain = t == TL_TLS ? domain_for(snap->conf, plan, new) : NULL;
  plan->target[plan->n_target++] = *new;
}

static void add_target(const struct tl_snap *snap, struct tl_plan *plan,
                       const struct tl_conf_peer *peer, enum tl_transport t,
                       const struct tl_addr *addr) {
  add(snap, plan, &(struct tl_target){.addr = *addr, .transport = t, .peer = peer});
}

/* B12: a Contact that is a bare address has no name to hold a certificate against. The one that
 * this leg of the dialog was verified for is tried first; only our token says it, and it belongs to
 * this dialog. Behind it the address itself, which a certificate may carry as well. */
static void add_leg(const struct tl_snap *snap, struct tl_plan *plan, enum tl_transport t,
                    const struct tl_addr *addr) {
  struct tl_target to = {.addr = *addr, .transport = t, .by_leg = true};
  if (!plan->in_dialog || t != TL_TLS) return;
  for (size_t i = 0; plan->leg_peer && i < snap->conf->n_peer && !to.peer; i++)
    if (snap->conf->peer[i].id == plan->leg_peer) to.peer = &snap->conf->peer[i];
  if (to.peer ? to.peer->transport == TL_TLS : *plan->leg != '\0') add(snap, plan, &to);
}

/* An address that a configured peer owns carries that peer's identity, whatever a Contact calls it.
 */
static const struct tl_conf_peer *peer_at(const struct tl_snap *snap, enum tl_transport t,
                                          const struct tl_addr *addr) {
  for (size_t i = 0; i < snap->conf->n_peer; i++) {
    const struct tl_conf_peer *peer = &snap->conf->peer[i];
    const struct tl_addr_list *l = tl_snap_places(snap, peer);
    for (size_t k = 0; k < l->n; k++)
      if (l->at[k].via == t && tl_addr_eq(&l->at[k].addr, addr)) return peer;
  }
  return NULL;
}

static int target_of_uri(struct tl_proxy *p, struct tl_plan *plan) {
  const struct tl_uri *u = &plan->next_uri;
  struct tl_str host = tl_route_next_host(plan);
  enum tl_transport named;
  if (u->scheme != TL_SCHEME_SIP && u->scheme != TL_SCHEME_SIPS) return TL_ENOTFOUND;
  bool names = tl_uri_transport(u, &named);
  if (names && named == TL_TRANSPORTS) {
    plan->refusal = "Unknown Transport In URI"; /* whoever wrote it means none of ours */
    return TL_ENOTFOUND;
  }
  if (host.n == 0 || host.n >= sizeof(plan->host)) return TL_ENOTFOUND;
  if (host.p[0] == '[') {
    /* A maddr may be anything that a parameter may be, a lone bracket too. */
    if (host.n < 3 || host.p[host.n - 1] != ']') return TL_ENOTFOUND;
    host.p++, host.n -= 2;
  }
  memcpy(plan->host, host.p, host.n);
  plan->host[host.n] = '\0';
  enum tl_transport t = transport_of(u, names ? named : TL_TRANSPORTS);
  struct tl_addr addr;
  uint16_t port = u->port ? u->port : t == TL_TLS ? 5061 : 5060;
  if (tl_addr_parse(host, port, &addr)) return TL_EAGAIN;
  add_leg(p->snap, plan, t, &addr);
  add_target(p->snap, plan, peer_at(p->snap, t, &addr), t, &addr);
  return TL_OK;
}

/* A place of a peer. One that is a listener of ours would only send it round. */
static void add_place(struct tl_proxy *p, const struct tl_snap *snap, struct tl_plan *plan,
                      const struct tl_conf_peer *peer, enum tl_transport t,
                      const struct tl_addr *addr) {
  if (!tl_conf_is_listener(snap->conf, t, addr)) {
    add_target(snap, plan, peer, t, addr);
    return;
  }
  plan->to_self = true;
  tl_count(tl_proxy_counters(p), TL_C_PEER_SELF);
}

const char *tl_route_only_us(const struct tl_plan *plan) {
  return plan && plan->to_self && !plan->n_target && !plan->flow_conn
             ? "Next Hop Is This Proxy Itself"
             : NULL;
}

void tl_route_resolved(struct tl_proxy *p, const struct tl_snap *snap, struct tl_plan *plan,
                       const struct tl_resolve *r) {
  const struct tl_conf_peer *peer = plan->unresolved;
  for (size_t i = 0; r->rc == 0 && i < r->n; i++) {
    enum tl_transport t = (enum tl_transport)r->via[i];
    if (peer)
      add_place(p, snap, plan, peer, t, &r->addr[i]);
    else
      add_target(snap, plan, peer_at(snap, t, &r->addr[i]), t, &r->addr[i]);
  }
  if (plan->n_target == 0 && (r->rc || r->n == 0)) plan->refusal = "Next Hop Has No Address";
}

int tl_route_resolve(struct tl_txn *txn) {
  struct tl_proxy *p = txn->proxy;
  struct tl_resolve *r = calloc(1, sizeof(*r));
  if (!r) return TL_ENOMEM;
  r->mail.type = TL_MAIL_RESOLVE;
  r->worker = p->th.index;
  r->cookie = txn->key;
  r->started_ms = p->net.now_ms;
  const struct tl_conf_peer *peer = txn->plan->unresolved;
  const struct tl_uri *u = &txn->plan->next_uri;
  enum tl_transport named;
  r->transport = peer ? peer->transport : tl_route_transport(u);
  r->any_transport = peer ? peer->any_transport : !tl_uri_transport(u, &named);
  r->secure = r->transport == TL_TLS;
  r->port = !peer ? u->port : peer->any_port ? 0 : peer->port;
  snprintf(r->host, sizeof(r->host), "%s", peer ? peer->host : txn->plan->host);
  int rc = tl_mailbox_post(&p->th.rt->resolver, &r->mail);
  if (rc) {
    tl_count(tl_proxy_counters(p), TL_C_MAIL_FULL);
    free(r);
  }
  return rc;
}

/* Hosts of one priority are drawn by their weights, the same for each copy of M: without a
 * transaction a retransmission must go where the request went (16.11). */
static void targets_of_peer(struct tl_proxy *p, struct tl_plan *plan, const struct tl_msg *m,
                            const struct tl_conf_peer *peer) {
  const struct tl_addr_list *l = tl_snap_places(p->snap, peer);
  uint8_t order[TL_PEER_ADDRS_MAX];
  tl_addr_list_order(l, l->weighted ? tl_token_tx_key(p, m) : 0, order);
  for (size_t k = 0; k < l->n; k++) {
    const struct tl_target_addr *at = &l->at[order[k]];
    add_place(p, p->snap, plan, peer, (enum tl_transport)at->via, &at->addr);
  }
}

static uint64_t pause_ms(const struct tl_proxy *p, const struct tl_conf_peer *peer) {
  return tl_health_pause_ms(peer->health, p->net.now_ms);
}

/* Peers that do not answer their probes are passed over, unless none of the route's does: then the
 * probes may be what is wrong. Peers that asked for a pause get it (RFC 3261 21.5.4). */
static bool passed_over(struct tl_proxy *p, const struct tl_conf_route *r, size_t i) {
  bool pauses = pause_ms(p, r->peer[i]), over = pauses;
  if (!pauses && !tl_health_is_down(r->peer[i]->health)) return false;
  for (size_t k = 0; k < r->n_peer && !over; k++)
    over = !tl_health_is_down(r->peer[k]->health) && !pause_ms(p, r->peer[k]);
  if (over) tl_count(tl_proxy_counters(p), TL_C_PEER_PASSED_OVER);
  return over;
}

/* No peer of the route takes requests now: when the first does again. */
static void refuse_for_pause(struct tl_proxy *p, struct tl_plan *plan) {
  for (size_t i = 0; i < plan->route->n_peer; i++) {
    uint64_t ms = pause_ms(p, plan->route->peer[i]);
    if (ms && (!plan->pause_ms || ms < plan->pause_ms)) plan->pause_ms = (uint32_t)ms;
  }
  if (plan->pause_ms) plan->refusal = "Next Hop Asked For A Pause";
}

static int targets_of_peers(struct tl_proxy *p, const struct tl_msg *m, struct tl_plan *plan) {
  const struct tl_conf_route *r = plan->route;
  plan->rewrite_host = tl_route_is_local(p, &plan->uri) && !plan->strict_out;
  for (size_t i = 0; i < r->n_peer; i++)
    if (!passed_over(p, r, i)) targets_of_peer(p, plan, m, r->peer[i]);
  if (plan->n_target) return TL_OK;
  /* Names that could not be looked up when the configuration was read get another chance. */
  for (size_t i = 0; i < r->n_peer && !plan->unresolved; i++)
    if (tl_snap_places(p->snap, r->peer[i])->n == 0 && !pause_ms(p, r->peer[i]))
      plan->unresolved = r->peer[i];
  if (!plan->unresolved) refuse_for_pause(p, plan);
  if (!plan->unresolved && !plan->refusal) plan->refusal = tl_route_only_us(plan);
  return plan->unresolved ? TL_EAGAIN : TL_ENOTFOUND;
}

int tl_route_to_peer(struct tl_proxy *p, struct tl_plan *plan, const struct tl_msg *m,
                     const struct tl_conf_peer *peer) {
  memset(plan, 0, offsetof(struct tl_plan, target));
  plan->host[0] = plan->leg[0] = '\0';
  plan->own = true;
  tl_route_rebind(plan, m);
  targets_of_peer(p, plan, m, peer);
  if (plan->n_target || plan->to_self) return TL_OK;
  plan->unresolved = peer;
  return TL_EAGAIN;
}

void tl_route_prefer_tcp(struct tl_proxy *p, struct tl_plan *plan) {
  bool all = plan->route && plan->route->fork == TL_FORK_PARALLEL;
  for (unsigned i = 0; i < plan->n_target; i++) {
    struct tl_target *t = &plan->target[i];
    if (t->transport != TL_UDP) continue;
    if (tl_addr_unreached(&p->net, &t->addr)) {
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
  }
}

/* Nothing is relayed that no route allows: for others' domains that is a refusal, for ours there is
 * nobody of that name. */
static int no_route(struct tl_proxy *p, const struct tl_msg *m, struct tl_plan *plan,
                    unsigned *out_status) {
  bool ours = tl_route_is_local(p, &plan->uri) ||
              tl_conf_is_local_domain(p->snap->conf, plan->uri.host, plan->uri.port);
  *out_status = ours || plan->uri.host.n == 0 ? 404 : 403;
  bool denied = *out_status == 403;
  if (denied) tl_count(tl_proxy_counters(p), TL_C_RELAY_DENIED);
  /* Strangers who try numbers are the weather, a peer is a mistake. An ACK gets no answer. */
  tl_guard_deny(p, plan, denied ? "Relaying Denied" : NULL,
                plan->caller && m->method != TL_M_ACK ? TL_LOG_INFO : TL_LOG_DEBUG,
                "A request was refused: no route takes it.");
  return TL_ENOTFOUND;
}

/* A Route of others that no token of ours vouches for: may it be there? Peers do not see it, for
 * whom they are to go on to is not the sender's to say. */
static bool preloaded(struct tl_proxy *p, struct tl_plan *plan, const struct tl_source *source) {
  if (!plan->route->preloaded && !(source && source->peer && source->peer->preloaded)) {
    tl_guard_deny(p, plan, "Preloaded Route Not Allowed", TL_LOG_INFO,
                  "A request was refused: it brings a Route without our token, which "
                  "preloaded_route of the route or of the peer would have to allow.");
    tl_count(tl_proxy_counters(p), TL_C_RELAY_DENIED);
    return false;
  }
  if (plan->route->relay_request_uri) return true;
  plan->drop_routes = plan->n_routes;
  plan->next_uri = plan->uri;
  plan->strict_out = false;
  return true;
}

static int match_route(struct tl_proxy *p, const struct tl_msg *m, const struct tl_source *source,
                       struct tl_plan *plan, unsigned *out_status) {
  const struct tl_conf *conf = p->snap->conf;
  for (size_t i = 0; i < conf->n_route && !plan->route; i++)
    if (!tl_route_why_not(&conf->route[i], i, plan, source)) plan->route = &conf->route[i];
  if (!plan->route) return no_route(p, m, plan, out_status);
  if (plan->drop_routes < plan->n_routes && !preloaded(p, plan, source)) {
    *out_status = 403;
    return TL_ENOTFOUND;
  }
  *out_status = 404;
  if (!plan->route->relay_request_uri) {
    *out_status = 503; /* its peers have no address now */
    return targets_of_peers(p, m, plan);
  }
  /* Relaying to ourselves would only loop. */
  if (tl_route_is_local(p, &plan->next_uri)) return TL_ENOTFOUND;
  *out_status = 416;
  int rc = target_of_uri(p, plan);
  return rc || tl_guard_relay(p, conf, plan, out_status) ? rc : TL_ENOTFOUND;
}

/* A sips: request, or one for a TLS-only peer, has targets, but none that is secure. */
static int secure_enough(const struct tl_plan *plan, int rc, unsigned *out_status) {
  if ((!plan->secure && !plan->downgrade) || plan->n_target || rc == TL_EAGAIN || plan->flow_conn)
    return rc;
  if (plan->refusal) return rc; /* for another reason */
  *out_status = 480;
  return TL_ENOTFOUND;
}

/* Behind our token. TL_EINVAL: it leads to where the next leg never was. */
static int in_dialog(struct tl_proxy *p, struct tl_plan *plan, unsigned *out_status) {
  const struct tl_conn *c = tl_conn_get(&p->net, plan->flow_conn);
  bool alive = tl_xw_is_remote(p, plan->flow_conn) ||
               (c && c->state == TL_CONN_OPEN && !tl_conn_half_closed(c));
  if (!alive || (plan->secure && plan->flow_transport != TL_TLS)) plan->flow_conn = 0;
  *out_status = 404;
  int rc = tl_route_is_local(p, &plan->next_uri) ? TL_ENOTFOUND : target_of_uri(p, plan);
  bool bound = tl_leg_bound(p, p->snap, plan);
  /* With a live flow the address is only what is tried behind it. */
  if (plan->flow_conn) return TL_OK;
  return bound ? secure_enough(plan, rc, out_status) : TL_EINVAL;
}

/* The token counts, and PLAN has what it leads to. */
static bool by_token(struct tl_proxy *p, struct tl_plan *plan, const struct tokens *t,
                     unsigned *out_status, int *out_rc) {
  plan->route = route_by_id(p->snap->conf, t->last.route);
  *out_rc = in_dialog(p, plan, out_status);
  if (*out_rc != TL_EINVAL) return true;
  drop_leg(plan);
  return false;
}

int tl_route_plan(struct tl_proxy *p, const struct tl_flow *from, struct tl_conn *c,
                  const struct tl_msg *m, struct tl_plan *plan, unsigned *out_status) {
  struct tokens t = {.any = false};
  int rc;
  memset(plan, 0, offsetof(struct tl_plan, target));
  plan->host[0] = plan->leg[0] = '\0';
  *out_status = 400;
  if (m->uri.n == 0) return TL_ENOTFOUND;
  plan->uri = m->ruri;
  *out_status = 416;
  if (plan->uri.scheme == TL_SCHEME_OTHER) return TL_ENOTFOUND;
  *out_status = 400;
  if (preprocess(p, m, plan, &t)) return TL_ENOTFOUND;
  struct tl_source *source = tl_source_of(p, from, c);
  tl_leg_source(p, plan, source, from, c, m);
  if (t.torn)
    tl_count(tl_proxy_counters(p), TL_C_LEG_MISUSED);
  else if (t.any && tl_leg_counts(p, &t.first, m, source, from, c))
    take_leg(plan, &t);
  bool done = plan->in_dialog && by_token(p, plan, &t, out_status, &rc);
  unsigned status = *out_status;
  *out_status = 403;
  plan->refusal = tl_identity_refuse(p, source, from, c, m, plan);
  if (plan->refusal) return TL_ENOTFOUND;
  *out_status = status;
  if (done) return rc;
  return secure_enough(plan, match_route(p, m, source, plan, out_status), out_status);
}
