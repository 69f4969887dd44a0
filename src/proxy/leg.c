/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What our Record-Route token permits. Showing it is not enough: it is valid for requests of its
 * dialog, within call_max, from where a leg of the dialog is (its connection, the peer or
 * certificate it was, else its address) and toward what the other leg was. Everything else is
 * judged as an initial request.
 */
#include "leg.h"

#include <ctype.h>

#include "guard.h"
#include "proxy.h"
#include "source.h"
#include "stage.h"
#include "tieline/view.h"

/* ---- written ---- */

/* NAME if it is a domain. An address is not a name, and whatever else a maddr may contain is
 * left out. */
static struct tl_str domain_of(const char *name) {
  struct tl_str s = tl_str_c(name);
  struct tl_addr numeric;
  for (size_t i = 0; i < s.n; i++)
    if (!isalnum((unsigned char)s.p[i]) && s.p[i] != '-' && s.p[i] != '.') return TL_STR("");
  return tl_addr_parse(s, 0, &numeric) == TL_OK ? TL_STR("") : s;
}

/* Its requests may come from another address than the one where it was reached or first seen. */
static bool is_roaming(const struct tl_view *view, const struct tl_conf_peer *peer) {
  return peer->n_network || tl_view_addrs(view, peer)->n > 1;
}

/* The port at which the neighbour that sent M takes requests: that of its Record-Route or of its
 * Contact, provided that this is at the address M comes from. */
static uint16_t port_of(const struct tl_msg *m, const struct tl_addr *from) {
  enum tl_hdr_id id = tl_msg_has(m, TL_H_RECORD_ROUTE) ? TL_H_RECORD_ROUTE : TL_H_CONTACT;
  struct tl_nameaddr na;
  struct tl_uri u;
  struct tl_addr a;
  size_t used;
  if (tl_nameaddr_parse(tl_msg_header(m, id), &na, &used) == TL_OK &&
      tl_uri_parse(na.uri, &u) == TL_OK && tl_addr_parse(u.host, u.port, &a) == TL_OK &&
      tl_addr_ip_eq(&a, from))
    return u.port;
  return tl_addr_port(from);
}

static enum tl_leg_security security_of(enum tl_transport t) {
  if (tl_transport_is_datagram(t)) return TL_LEG_DATAGRAM;
  return TL_LEG_CONNECTED + tl_transport_is_secure(t);
}

static struct tl_leg_end leg_end_of(const struct tl_proxy *p, const struct tl_flow *flow,
                                    uint16_t port, bool verified) {
  bool known = flow->addr.sa.sa_family != 0;
  enum tl_leg_security security = security_of(flow->transport);
  return (struct tl_leg_end){.security = verified && security == TL_LEG_SECURE ? TL_LEG_VERIFIED
                                                                               : (uint8_t)security,
                             .host = known ? tl_token_host(p, &flow->addr) : 0,
                             .port = known ? port : 0};
}

/* A name that was not verified identifies nobody. */
static bool holds_to_name(const struct tl_target *t) {
  const struct tl_tls_domain *d = tl_transport_is_secure(t->transport) ? t->domain : NULL;
  return d && d->policy.verify_cert && d->policy.verify_name &&
         d->policy.on_unverified == TL_UNVERIFIED_REJECT;
}

struct tl_route_token tl_leg_token(struct tl_proxy *p, const struct tl_plan *plan,
                                   const struct tl_msg *m, const struct tl_target *t,
                                   const struct tl_flow *from, const struct tl_flow *to,
                                   bool stays) {
  struct tl_route_token says = {.route = plan->route ? plan->route->id : 0,
                                .made_s = tl_token_now(),
                                .flow_conn = stays ? from->conn : 0,
                                .callee_flow_conn = to->conn,
                                .before = plan->before};
  const struct tl_conf_peer *caller = tl_view_peer(tl_net_view(p->net), plan->caller);
  if (caller &&
      (tl_transport_is_secure(from->transport) || is_roaming(tl_net_view(p->net), caller)))
    says.caller = caller->id;
  if (tl_transport_is_secure(from->transport)) says.caller_name = plan->caller_name;
  bool named = plan->caller_verified && (says.caller || says.caller_name);
  says.end[0] = leg_end_of(p, from, port_of(m, &from->addr), named);
  says.end[1] = leg_end_of(p, to, tl_addr_port(&to->addr), t && holds_to_name(t));
  /* T belongs to the transaction's view, which may be older than ours. */
  const struct tl_conf_peer *callee =
      t && t->peer ? tl_view_peer(tl_net_view(p->net), t->peer->id) : NULL;
  if (callee && (tl_transport_is_secure(to->transport) || is_roaming(tl_net_view(p->net), callee)))
    says.callee = callee->id;
  else if (t && !t->peer && tl_transport_is_secure(to->transport))
    says.domain = domain_of(tl_plan_identity(plan, t));
  return says;
}

/* ---- read: from where ---- */

/* A REGISTER neither opens a dialog nor belongs to one (RFC 3261 10.2). */
static bool of_dialog(const struct tl_msg *m) {
  return m->to_tag.n && m->from_tag.n && m->method != TL_M_REGISTER;
}

/* A clock that was set back yields tokens from the future; they are ours all the same. */
static bool is_fresh(const struct tl_proxy *p, const struct tl_route_token *says) {
  int64_t age = (int64_t)tl_token_now() - says->made_s;
  return (age < 0 ? -age : age) * 1000 <= tl_net_view(p->net)->conf->opt.call_max_ms;
}

static bool is_named(const struct tl_req *req, const struct tl_route_token *says) {
  const struct tl_source *s = req->source;
  uint64_t peer = says->reverse ? says->callee : says->caller;
  const struct tl_identity *id = tl_source_identity(s, &req->origin);
  if (peer && tl_source_is(req->p, s, &req->origin, peer)) return true;
  if (!s || !id) return false;
  if (!says->reverse) return says->caller_name && says->caller_name == s->name;
  return says->domain.n && tl_identity_matches(id, says->domain, s->allow_cn);
}

/* Is the sender the leg that its request claims to be? An address proves nothing about a leg
 * that was known by its certificate; nor in the clear about one that was encrypted; nor over UDP,
 * where it is easily forged, about one that had a connection. */
static bool is_leg(const struct tl_req *req, const struct tl_route_token *says) {
  const struct tl_flow *from = req->origin.from;
  tl_conn_id flow_conn = says->reverse ? says->callee_flow_conn : says->flow_conn;
  const struct tl_leg_end *at = &says->end[says->reverse];
  if (flow_conn && from->conn == flow_conn) return true;
  if (is_named(req, says)) return true;
  return security_of(from->transport) >= at->security && at->host &&
         at->host == tl_token_host(req->p, &from->addr);
}

bool tl_leg_counts(const struct tl_req *req, const struct tl_route_token *says) {
  enum tl_counter why;
  if (!of_dialog(req->m))
    why = TL_C_LEG_MISUSED;
  else if (!is_fresh(req->p, says))
    why = TL_C_LEG_AGED;
  else if (!is_leg(req, says))
    why = TL_C_LEG_MOVED;
  else
    return true;
  tl_req_count(req, why);
  return false;
}

/* ---- read: the token before ---- */

/* The request has been here before and comes from the neighbour it was then sent to, which has not
 * recorded itself: the token of that time is in its topmost Record-Route. Returns its MAC; 0:
 * there is none, or it is shown by somebody else. */
static uint64_t token_before(const struct tl_req *req) {
  struct tl_proxy *p = req->p;
  const struct tl_msg *m = req->m;
  struct tl_nameaddr na;
  struct tl_uri u;
  struct tl_str token;
  struct tl_route_token says;
  size_t used;
  if (tl_nameaddr_parse(tl_msg_header(m, TL_H_RECORD_ROUTE), &na, &used) ||
      tl_uri_parse(na.uri, &u) || !tl_plan_is_local(p, &u) ||
      !tl_uri_param(&u, TL_STR("tl"), &token) || tl_token_route_parse(p, token, m, &says) ||
      says.reverse || !is_fresh(p, &says))
    return 0;
  says.reverse = true; /* the leg that the request was sent to */
  return is_leg(req, &says) ? says.mac : 0;
}

void tl_leg_source(const struct tl_req *req) {
  struct tl_plan *plan = req->plan;
  const struct tl_source *s = req->source;
  const struct tl_msg *m = req->m;
  const struct tl_identity *id = tl_source_identity(s, &req->origin);
  bool begins = m->method != TL_M_ACK && m->method != TL_M_BYE;
  plan->source = req->origin.from->addr;
  plan->caller = s && s->peer ? s->peer->id : 0;
  plan->caller_verified = id != NULL;
  plan->caller_name = s && id && !plan->caller && begins ? s->name : 0;
  plan->before = begins && tl_msg_has(m, TL_H_RECORD_ROUTE) ? token_before(req) : 0;
}

/* Otherwise a party to one dialog could show its own token in front of another's with the same
 * Call-ID and tag, both of which it may choose, and gain that dialog's rights. */
bool tl_leg_follows(const struct tl_route_token *says, const struct tl_route_token *next) {
  if (says->mac == next->mac) return true; /* double Record-Route */
  if (says->reverse != next->reverse) return false;
  return says->reverse ? says->before && says->before == next->mac
                       : next->before && next->before == says->mac;
}

/* ---- read: where to ---- */

static bool is_at(const struct tl_view *view, const struct tl_conf_peer *peer,
                  const struct tl_addr *addr) {
  const struct tl_addr_list *l = peer ? tl_view_addrs(view, peer) : NULL;
  for (size_t i = 0; l && i < l->n; i++)
    if (tl_addr_ip_eq(&l->at[i].addr, addr)) return true;
  return false;
}

struct at_address {
  const struct tl_view *view;
  const struct tl_addr *addr;
  bool found;
};

static bool take_host(void *arg, uint32_t number) {
  struct at_address *a = arg;
  a->found = is_at(a->view, &a->view->peers->peer[number], a->addr);
  return !a->found;
}

static bool take_network(void *arg, uint32_t number) {
  struct at_address *a = arg;
  const struct tl_peer_table *peers = a->view->peers;
  a->found = tl_peer_network(peers->set, &peers->peer[number], a->addr) != NULL;
  return !a->found;
}

/* Is ADDR the address of a peer? */
static bool is_any_peers(const struct tl_view *view, const struct tl_addr *addr) {
  struct at_address a = {.view = view, .addr = addr};
  tl_peer_index_by_addr(&view->peers->index, addr, take_host, &a);
  return a.found;
}

static bool is_in_any_network(const struct tl_view *view, const struct tl_addr *addr) {
  struct at_address a = {.view = view, .addr = addr};
  tl_peer_index_by_network(&view->peers->index, TL_PEER_BY_TLS, addr, take_network, &a);
  return a.found;
}

/* Does an address in PEER's networks (its own addresses are matched by the target's peer) stand for
 * PEER there? Not if another peer has that address: as with the source of a request, an address is
 * more specific than a network. */
static bool reaches_peer(const struct tl_view *view, const struct tl_conf_peer *peer,
                         const struct tl_addr *addr) {
  if (!peer || !tl_peer_network(view->peers->set, peer, addr)) return false;
  return is_at(view, peer, addr) || !is_any_peers(view, addr);
}

typedef bool (*lists_peer_fn)(const struct tl_route_table *t, const struct tl_conf_route *r,
                              const struct tl_conf_peer *peer);

/* A search for a peer that a list of a route has, and in whose networks an address is. */
struct in_list {
  const struct tl_view *view;
  const struct tl_conf_route *route;
  lists_peer_fn lists;
  const struct tl_addr *addr;
  bool found;
};

static bool take_listed(void *arg, uint32_t number) {
  struct in_list *s = arg;
  const struct tl_conf_peer *peer = &s->view->peers->peer[number];
  s->found = s->lists(s->view->routes, s->route, peer) && reaches_peer(s->view, peer, s->addr);
  return !s->found;
}

/* LIST, of N, is what LISTS tells of; whose networks the address is in is asked for the shorter
 * way. */
static bool is_among(struct in_list *s, const struct tl_conf_peer *const *list, size_t n,
                     const struct tl_target *t) {
  s->addr = &t->addr;
  if (t->peer && s->lists(s->view->routes, s->route, t->peer)) return true;
  for (size_t i = 0; n <= TL_INDEX_FEW && i < n && !s->found; i++)
    s->found = reaches_peer(s->view, list[i], &t->addr);
  if (n > TL_INDEX_FEW)
    tl_peer_index_by_network(&s->view->peers->index, TL_PEER_BY_TLS, s->addr, take_listed, s);
  return s->found;
}

/* Would the dialog's route send there, in either direction? */
static bool route_leads(const struct tl_view *view, const struct tl_plan *plan,
                        const struct tl_target *t) {
  const struct tl_conf_route *r = plan->route;
  struct in_list to = {.view = view, .route = r, .lists = tl_route_leads_to};
  struct in_list from = {.view = view, .route = r, .lists = tl_route_is_from};
  return r && (is_among(&to, r->peer, r->n_peer, t) ||
               (plan->reverse && is_among(&from, r->from, r->n_from, t)));
}

static bool route_relays(const struct tl_view *view, const struct tl_plan *plan) {
  const struct tl_conf_route *r = plan->route;
  if (!r || !r->relay_request_uri) return false;
  return !r->opt.to_domain || tl_route_has_domain(view->routes, r, tl_plan_next_host(plan));
}

/* At the leg's address: at its own port or SIP's, or at any port if its certificate is demanded. */
static bool is_place(const struct tl_proxy *p, const struct tl_leg_end *at,
                     const struct tl_target *t) {
  uint16_t port = tl_addr_port(&t->addr);
  return at->host && at->host == tl_token_host(p, &t->addr) &&
         (port == at->port || tl_transport_is_default_port(port) || t->by_leg);
}

/* The certificate is required to carry the leg's name. */
static bool by_name(const struct tl_plan *plan, const struct tl_target *t) {
  return t->by_leg || (tl_transport_is_secure(t->transport) && t->domain && *plan->leg &&
                       tl_str_ieq(tl_str_c(plan->host), tl_str_c(plan->leg)));
}

/* Where the route relays to is the caller's choice. The callee may choose in return, since that
 * may be where the caller is, but not a peer: who may reach those is for other routes to say. */
static bool may_relay_to(const struct tl_view *view, const struct tl_plan *plan,
                         const struct tl_target *t) {
  if (!route_relays(view, plan)) return false;
  return !plan->reverse || !(is_in_any_network(view, &t->addr) || is_any_peers(view, &t->addr));
}

static bool allows_target(const struct tl_proxy *p, const struct tl_view *view,
                          const struct tl_plan *plan, const struct tl_target *t) {
  const struct tl_conf *conf = view->conf;
  /* Reached by its name, it is wherever the Contact says. */
  if (t->peer && t->peer->id == plan->leg_peer && !t->by_leg) return true;
  /* From there it would come back with one of our own addresses as its source. */
  if (tl_guard_is_listener(conf, &t->addr)) return false;
  if (is_place(p, &plan->leg_end, t) || route_leads(view, plan, t)) return true;
  if (reaches_peer(view, tl_view_peer(view, plan->leg_peer), &t->addr)) return true;
  /* The Contact is the only evidence. */
  return (by_name(plan, t) || may_relay_to(view, plan, t)) &&
         !tl_guard_refusal(conf, &t->addr, &plan->source);
}

bool tl_leg_bound(const struct tl_req *req) {
  struct tl_plan *plan = req->plan;
  unsigned n = 0, had = plan->n_target;
  for (unsigned i = 0; i < had; i++)
    if (allows_target(req->p, req->view, plan, &plan->target[i]))
      plan->target[n++] = plan->target[i];
  plan->n_target = (uint8_t)n;
  if (n == 0 && had) tl_req_count(req, TL_C_LEG_ASTRAY);
  return n || !had;
}
