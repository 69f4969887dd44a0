/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What our Record-Route token lets in. It is no pass for whoever shows it: it
 * counts for requests of its dialog, for call_max, from where a leg of the dialog
 * is (its connection, the peer or certificate it was, else its address) and
 * toward what the other leg was. Everything else is judged as a first request.
 */
#include <ctype.h>

#include "proxy.h"
#include "tieline/siphash.h"

/* ---- written ---- */

/* The domain NAME if it is one; an address is no name, and what else a maddr may be stays out. */
static struct tl_str domain_of(const char *name) {
  struct tl_str s = tl_str_c(name);
  struct tl_addr numeric;
  for (size_t i = 0; i < s.n; i++)
    if (!isalnum((unsigned char)s.p[i]) && s.p[i] != '-' && s.p[i] != '.') return TL_STR("");
  return tl_addr_parse(s, 0, &numeric) == TL_OK ? TL_STR("") : s;
}

static size_t put(char *dst, size_t at, size_t cap, const char *s) {
  size_t n = s ? strlen(s) : 0;
  if (n > cap - at) n = cap - at;
  if (n) memcpy(dst + at, s, n);
  return at + n;
}

uint64_t tl_leg_name(const struct tl_proxy *p, const struct tl_identity *id) {
  char in[1024];
  size_t n = put(in, 0, sizeof(in), id->subject);
  n = put(in, n, sizeof(in), id->anchor);
  if (id->n_san) n = put(in, n, sizeof(in), id->san[0].value);
  return tl_siphash(p->th.rt->secret, in, n) | 1;
}

/* Its requests may come from another address than where it was reached or seen first. */
static bool roams(const struct tl_snap *snap, const struct tl_conf_peer *peer) {
  return peer->n_network || tl_snap_places(snap, peer)->n > 1;
}

static const struct tl_conf_peer *peer_of(const struct tl_conf *conf, uint64_t id) {
  for (size_t i = 0; id && i < conf->n_peer; i++)
    if (conf->peer[i].id == id) return &conf->peer[i];
  return NULL;
}

/* The port at which the neighbour behind M takes requests: what it has recorded, or its Contact, if
 * that is at the address which M comes from. */
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

static struct tl_leg_end leg_end_of(const struct tl_proxy *p, const struct tl_flow *flow,
                                    uint16_t port, bool verified) {
  bool known = flow->addr.sa.sa_family != 0;
  return (struct tl_leg_end){.security = verified && flow->transport == TL_TLS
                                             ? TL_LEG_VERIFIED
                                             : (uint8_t)flow->transport,
                             .host = known ? tl_token_host(p, &flow->addr) : 0,
                             .port = known ? port : 0};
}

/* A name that nobody was held to names nobody. */
static bool holds_to_name(const struct tl_target *t) {
  const struct tl_tls_domain *d = t->transport == TL_TLS ? t->domain : NULL;
  return d && d->verify_cert && d->verify_name && !d->accept_unverified;
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
  const struct tl_conf_peer *caller = peer_of(p->snap->conf, plan->caller);
  if (caller && (from->transport == TL_TLS || roams(p->snap, caller))) says.caller = caller->id;
  if (from->transport == TL_TLS) says.caller_name = plan->caller_name;
  bool named = plan->caller_verified && (says.caller || says.caller_name);
  says.end[0] = leg_end_of(p, from, port_of(m, &from->addr), named);
  says.end[1] = leg_end_of(p, to, tl_addr_port(&to->addr), t && holds_to_name(t));
  /* T is of the transaction's snapshot, which may be older than ours. */
  const struct tl_conf_peer *callee = t && t->peer ? peer_of(p->snap->conf, t->peer->id) : NULL;
  if (callee && (to->transport == TL_TLS || roams(p->snap, callee)))
    says.callee = callee->id;
  else if (t && !t->peer && to->transport == TL_TLS)
    says.domain = domain_of(tl_route_identity(plan, t));
  return says;
}

/* ---- read: from where ---- */

/* A REGISTER opens no dialog and is of none (RFC 3261 10.2). */
static bool of_dialog(const struct tl_msg *m) {
  return m->to_tag.n && m->from_tag.n && m->method != TL_M_REGISTER;
}

/* A clock that was set back makes tokens of the future; they are ours all the same. */
static bool is_fresh(const struct tl_proxy *p, const struct tl_route_token *says) {
  int64_t age = (int64_t)tl_token_now() - says->made_s;
  return (age < 0 ? -age : age) * 1000 <= p->net.conf->call_max_ms;
}

static bool is_named(struct tl_proxy *p, const struct tl_route_token *says,
                     const struct tl_source *s, const struct tl_flow *from,
                     const struct tl_conn *c) {
  uint64_t peer = says->reverse ? says->callee : says->caller;
  const struct tl_identity *id = tl_source_identity(p, s, c);
  if (peer && tl_source_is(p, s, from, c, peer)) return true;
  if (!s || !id) return false;
  if (!says->reverse) return says->caller_name && says->caller_name == s->name;
  return says->domain.n && tl_identity_matches(id, says->domain, s->allow_cn);
}

/* Is the sender the leg that its request says it is? An address proves nothing of a leg that a
 * certificate told, nor in the clear of one that was encrypted, nor by UDP, where anybody can write
 * it, of one that had a connection. */
static bool is_leg(struct tl_proxy *p, const struct tl_route_token *says, const struct tl_source *s,
                   const struct tl_flow *from, const struct tl_conn *c) {
  tl_conn_id flow_conn = says->reverse ? says->callee_flow_conn : says->flow_conn;
  const struct tl_leg_end *at = &says->end[says->reverse];
  if (flow_conn && from->conn == flow_conn) return true;
  if (is_named(p, says, s, from, c)) return true;
  return from->transport >= at->security && at->host && at->host == tl_token_host(p, &from->addr);
}

bool tl_leg_counts(struct tl_proxy *p, const struct tl_route_token *says, const struct tl_msg *m,
                   const struct tl_source *s, const struct tl_flow *from, struct tl_conn *c) {
  enum tl_counter why;
  if (!of_dialog(m))
    why = TL_C_LEG_MISUSED;
  else if (!is_fresh(p, says))
    why = TL_C_LEG_AGED;
  else if (!is_leg(p, says, s, from, c))
    why = TL_C_LEG_MOVED;
  else
    return true;
  tl_count(tl_proxy_counters(p), why);
  return false;
}

/* ---- read: the token before ---- */

/* M has been here before and comes from whom it went to then, who has recorded nothing: the token
 * of that time is the topmost Record-Route of M. Its mac, 0: there is none, or another shows it. */
static uint64_t token_before(struct tl_proxy *p, const struct tl_source *s,
                             const struct tl_flow *from, const struct tl_conn *c,
                             const struct tl_msg *m) {
  struct tl_nameaddr na;
  struct tl_uri u;
  struct tl_str token;
  struct tl_route_token says;
  size_t used;
  if (tl_nameaddr_parse(tl_msg_header(m, TL_H_RECORD_ROUTE), &na, &used) ||
      tl_uri_parse(na.uri, &u) || !tl_route_is_local(p, &u) ||
      !tl_uri_param(&u, TL_STR("tl"), &token) || tl_token_route_parse(p, token, m, &says) ||
      says.reverse || !is_fresh(p, &says))
    return 0;
  says.reverse = true; /* the leg that it went to */
  return is_leg(p, &says, s, from, c) ? says.mac : 0;
}

void tl_leg_source(struct tl_proxy *p, struct tl_plan *plan, const struct tl_source *s,
                   const struct tl_flow *from, const struct tl_conn *c, const struct tl_msg *m) {
  const struct tl_identity *id = tl_source_identity(p, s, c);
  bool begins = m->method != TL_M_ACK && m->method != TL_M_BYE;
  plan->source = from->addr;
  plan->caller = s && s->peer ? s->peer->id : 0;
  plan->caller_verified = id != NULL;
  plan->caller_name = s && id && !plan->caller && begins ? s->name : 0;
  plan->before = begins && tl_msg_has(m, TL_H_RECORD_ROUTE) ? token_before(p, s, from, c, m) : 0;
}

/* Otherwise whoever has a dialog could show his token in front of another's with the same Call-ID
 * and tag, which are his to choose, and have that one's rights. */
bool tl_leg_follows(const struct tl_route_token *says, const struct tl_route_token *next) {
  if (says->mac == next->mac) return true; /* double Record-Route */
  if (says->reverse != next->reverse) return false;
  return says->reverse ? says->before && says->before == next->mac
                       : next->before && next->before == says->mac;
}

/* ---- read: where to ---- */

/* Is ADDR where PEER comes from, as the configuration says? Its own places are a target's peer. */
static bool in_networks(const struct tl_conf_peer *peer, const struct tl_addr *addr) {
  for (size_t i = 0; peer && i < peer->n_network; i++)
    if (tl_network_has(&peer->network[i], addr)) return true;
  return false;
}

static bool is_at(const struct tl_snap *snap, const struct tl_conf_peer *peer,
                  const struct tl_addr *addr) {
  const struct tl_addr_list *l = peer ? tl_snap_places(snap, peer) : NULL;
  for (size_t i = 0; l && i < l->n; i++)
    if (tl_addr_ip_eq(&l->at[i].addr, addr)) return true;
  return false;
}

/* Does an address in PEER's networks stand for PEER there? Not where another peer is: as for a
 * request's source, an address tells more than a network. */
static bool reaches(const struct tl_snap *snap, const struct tl_conf_peer *peer,
                    const struct tl_addr *addr) {
  if (!in_networks(peer, addr)) return false;
  if (is_at(snap, peer, addr)) return true;
  for (size_t i = 0; i < snap->conf->n_peer; i++)
    if (is_at(snap, &snap->conf->peer[i], addr)) return false;
  return true;
}

static bool among(const struct tl_snap *snap, struct tl_conf_peer *const *list, size_t n,
                  const struct tl_target *t) {
  for (size_t i = 0; i < n; i++)
    if (list[i] && (list[i] == t->peer || reaches(snap, list[i], &t->addr))) return true;
  return false;
}

/* Would the dialog's route send there, be it the other way round? */
static bool route_leads(const struct tl_snap *snap, const struct tl_plan *plan,
                        const struct tl_target *t) {
  const struct tl_conf_route *r = plan->route;
  return r && (among(snap, r->peer, r->n_peer, t) ||
               (plan->reverse && among(snap, r->from, r->n_from, t)));
}

static bool route_relays(const struct tl_plan *plan) {
  const struct tl_conf_route *r = plan->route;
  if (!r || !r->relay_request_uri) return false;
  if (!r->to_domain) return true;
  for (char **host = r->to_domain; *host; host++)
    if (tl_str_ieq(tl_str_c(*host), tl_route_next_host(plan))) return true;
  return false;
}

/* At the leg's address, its own port or SIP's, or any where its certificate is demanded. */
static bool is_place(const struct tl_proxy *p, const struct tl_leg_end *at,
                     const struct tl_target *t) {
  uint16_t port = tl_addr_port(&t->addr);
  return at->host && at->host == tl_token_host(p, &t->addr) &&
         (port == at->port || port == 5060 || port == 5061 || t->by_leg);
}

/* Held to the leg's name by its certificate. */
static bool by_name(const struct tl_plan *plan, const struct tl_target *t) {
  return t->by_leg || (t->transport == TL_TLS && t->domain && *plan->leg &&
                       tl_str_ieq(tl_str_c(plan->host), tl_str_c(plan->leg)));
}

/* What the route relays to is the caller's to name. Whom he called may name it in return, for that
 * may be where the caller is, but no peer: whom those serve, other routes say. */
static bool relays(const struct tl_snap *snap, const struct tl_plan *plan,
                   const struct tl_target *t) {
  const struct tl_conf *conf = snap->conf;
  if (!route_relays(plan)) return false;
  for (size_t i = 0; plan->reverse && i < conf->n_peer; i++)
    if (in_networks(&conf->peer[i], &t->addr) || is_at(snap, &conf->peer[i], &t->addr))
      return false;
  return true;
}

static bool allows(const struct tl_proxy *p, const struct tl_snap *snap, const struct tl_plan *plan,
                   const struct tl_target *t) {
  const struct tl_conf *conf = snap->conf;
  /* By its name that is wherever the Contact says. */
  if (t->peer && t->peer->id == plan->leg_peer && !t->by_leg) return true;
  /* From there it would come back as from whoever our own address stands for. */
  if (tl_guard_is_listener(conf, &t->addr)) return false;
  if (is_place(p, &plan->leg_end, t) || route_leads(snap, plan, t)) return true;
  if (reaches(snap, peer_of(conf, plan->leg_peer), &t->addr)) return true;
  /* Only the Contact says so. */
  return (by_name(plan, t) || relays(snap, plan, t)) &&
         !tl_guard_refusal(conf, &t->addr, &plan->source);
}

bool tl_leg_bound(struct tl_proxy *p, const struct tl_snap *snap, struct tl_plan *plan) {
  unsigned n = 0, had = plan->n_target;
  for (unsigned i = 0; i < had; i++)
    if (allows(p, snap, plan, &plan->target[i])) plan->target[n++] = plan->target[i];
  plan->n_target = (uint8_t)n;
  if (n == 0 && had) tl_count(tl_proxy_counters(p), TL_C_LEG_ASTRAY);
  return n || !had;
}
