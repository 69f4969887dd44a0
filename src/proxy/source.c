/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a request comes from. A connection's peer, the routes open to it and what its From may
 * assert are worked out once per connection and view, so that a message costs one look-up;
 * datagrams have a small table by source address.
 *
 * What a request asserts is checked against this in identity_check.c.
 */
#include "source.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy.h"
#include "tieline/siphash.h"
#include "tieline/view.h"
#include "token.h"

#define DESCRIBE_MAX 1000u /* look-ups for ctl per turn */

/* What is known of the remote side, before any judgement. */
struct facts {
  const struct tl_view *view;
  const struct tl_identity *id; /* of a verified certificate, else NULL */
  const struct tl_addr *addr;
  enum tl_transport transport;
  bool encrypted, allow_cn;
  bool dialled; /* we dialled the connection, and the peer showed the certificate that was demanded
                 */
  enum tl_check_from check; /* of its TLS domain */
};

#define SLOTS 256 /* addresses of datagrams remembered */

struct tl_source_table {
  struct source_slot {
    struct tl_addr at; /* port 0: of all ports that have no slot of their own */
    struct tl_source *source;
  } slot[SLOTS];
  struct tl_source *passed_on; /* of the message being handled, if another worker passed it on */
  uint64_t describe_ms;        /* the turn in which ctl asked */
  uint32_t describe_left;      /* connections that it may still look up in it */
};

static struct tl_source_table *table_of(struct tl_proxy *p) {
  if (!p->sources) p->sources = calloc(1, sizeof(*p->sources));
  return p->sources;
}

/* In OLD's memory, if there is an OLD. */
static struct tl_source *source_new(const struct tl_view *view, struct tl_source *old) {
  struct tl_source *s = old ? old : malloc(sizeof(*s));
  if (!s) return NULL;
  memset(s, 0, sizeof(*s));
  s->published = view->published;
  return s;
}

/* Is S still valid? It depends on the peers' addresses, and they change. */
static bool is_current(const struct tl_source *s, const struct tl_view *view) {
  return s && s->published == view->published;
}

/* ---- the peer ---- */

enum { AT_NO_PLACE, AT_ITS_ADDRESS, AT_ITS_PORT };

static unsigned place_of(const struct tl_addr_list *l, const struct facts *f) {
  unsigned best = AT_NO_PLACE;
  for (size_t i = 0; i < l->n; i++) {
    if (!tl_addr_ip_eq(&l->at[i].addr, f->addr)) continue;
    if (l->at[i].via == f->transport && tl_addr_port(&l->at[i].addr) == tl_addr_port(f->addr))
      return AT_ITS_PORT;
    best = AT_ITS_ADDRESS;
  }
  return best;
}

/* A name is matched by what the certificate says about SIP domains. An address in it counts only
 * for the peer that was dialled at that address and verified for it. */
static bool speaks_as(const struct facts *f, const struct tl_addr_list *l, const char *name) {
  if (tl_identity_speaks_for(f->id, tl_str_c(name), f->allow_cn)) return true;
  struct tl_addr a;
  return f->dialled && tl_addr_parse(tl_str_c(name), 0, &a) == 0 && place_of(l, f) == AT_ITS_PORT &&
         tl_identity_matches(f->id, tl_str_c(name), false);
}

/* A search among the names of a peer that has many. */
struct named {
  const struct facts *f;
  const struct tl_conf_peer *peer;
  bool found;
};

static void take_name(void *arg, struct tl_str domain) {
  struct named *n = arg;
  n->found |= tl_peer_has_identity(n->f->view->peers->set, n->peer, domain) &&
              tl_identity_speaks_for(n->f->id, domain, n->f->allow_cn);
}

static bool has_its_address(const struct tl_conf_peer *peer, const struct facts *f) {
  struct tl_addr a;
  for (size_t i = 0; i < f->id->n_san; i++)
    if (f->id->san[i].kind == TL_SAN_IP &&
        tl_addr_parse(tl_str_c(f->id->san[i].value), 0, &a) == TL_OK &&
        tl_peer_has_identity_at(f->view->peers->set, peer, &a))
      return true;
  return false;
}

/* What the certificate names is looked up among what the peer may be called. */
static bool is_named_among_many(const struct tl_conf_peer *peer, const struct facts *f,
                                const struct tl_addr_list *l) {
  struct named n = {.f = f, .peer = peer};
  tl_identity_each_domain(f->id, f->allow_cn, take_name, &n);
  return n.found || (f->dialled && place_of(l, f) == AT_ITS_PORT && has_its_address(peer, f));
}

static bool is_named(const struct tl_conf_peer *peer, const struct facts *f,
                     const struct tl_addr_list *l) {
  if (!peer->opt.identity) return speaks_as(f, l, peer->identity);
  if (peer->n_identity > TL_INDEX_FEW) return is_named_among_many(peer, f, l);
  for (char **n = peer->opt.identity; *n; n++)
    if (speaks_as(f, l, *n)) return true;
  return false;
}

/* Is it reached by TLS at all? If its uri names no transport, DNS tells. */
static bool has_tls(const struct tl_conf_peer *peer, const struct tl_addr_list *l) {
  if (tl_transport_is_secure(peer->transport)) return true;
  for (size_t i = 0; peer->any_transport && i < l->n; i++)
    if (tl_transport_is_secure(l->at[i].via)) return true;
  return false;
}

/* How well PEER matches the sender, 0: not at all. A verified certificate alone decides: first
 * by its bound keys or authorities, then by its name, then by where it comes from. */
static unsigned fit_certificate(const struct tl_conf_peer *peer, const struct facts *f) {
  const struct tl_addr_list *l = tl_view_addrs(f->view, peer);
  if (!has_tls(peer, l) || !is_named(peer, f, l) || !tl_binding_holds(peer->binding, f->id, true))
    return 0;
  return 1 + place_of(l, f) + (peer->binding ? 4 : 0);
}

/* Without a certificate the address decides, where the peer allows that: the exact port before
 * the address before a network, and the narrowest of those. A peer that we reach by TLS is not
 * recognised in the clear. */
static unsigned fit_address(const struct tl_conf_peer *peer, const struct facts *f) {
  const struct tl_addr_list *l = tl_view_addrs(f->view, peer);
  if (!f->encrypted && tl_conf_peer_only_tls(peer, l)) return 0;
  const struct tl_network *in = tl_peer_network(f->view->peers->set, peer, f->addr);
  if (!in && (peer->n_network || peer->by_cert)) return 0;
  return (in ? in->bits + 1u : 0) + 256 * place_of(l, f);
}

static unsigned fit_of(const struct tl_conf_peer *peer, const struct facts *f) {
  return f->id ? fit_certificate(peer, f) : fit_address(peer, f);
}

/* A search for the peer that fits best, the first in the file among equals. */
struct best_peer {
  const struct facts *f;
  uint32_t number; /* of the best, TL_PEER_NONE: none fits */
  unsigned fit;
};

static bool consider_peer(void *arg, uint32_t number) {
  struct best_peer *b = arg;
  unsigned fit = number == b->number ? 0 : fit_of(&b->f->view->peers->peer[number], b->f);
  if (!fit || fit < b->fit || (fit == b->fit && number > b->number)) return true;
  b->fit = fit;
  b->number = number;
  return true;
}

static void consider_name(void *arg, struct tl_str domain) {
  struct best_peer *b = arg;
  tl_peer_index_by_name(&b->f->view->peers->index, domain, consider_peer, b);
}

/* By the names of its certificate; a peer that was dialled may have an address for a name. */
static uint32_t peer_by_certificate(const struct facts *f) {
  struct best_peer b = {.f = f, .number = TL_PEER_NONE};
  const struct tl_peer_index *x = &f->view->peers->index;
  tl_identity_each_domain(f->id, f->allow_cn, consider_name, &b);
  if (f->dialled) tl_peer_index_by_place(x, f->transport, f->addr, consider_peer, &b);
  return b.number;
}

/* A search in a list that has the best first. */
struct first_peer {
  const struct facts *f;
  unsigned least;  /* fit that is asked for */
  uint32_t number; /* TL_PEER_NONE: none fits so far */
  bool several;    /* fit */
};

static bool take_first(void *arg, uint32_t number) {
  struct first_peer *s = arg;
  if (fit_of(&s->f->view->peers->peer[number], s->f) < s->least) return true;
  s->number = number;
  return false;
}

static bool take_first_of_several(void *arg, uint32_t number) {
  struct first_peer *s = arg;
  if (fit_of(&s->f->view->peers->peer[number], s->f) < s->least) return true;
  s->several = s->number != TL_PEER_NONE;
  if (!s->several) s->number = number;
  return !s->several;
}

/* By where it comes from: the port before the address before a network. OUT_SEVERAL: more than one
 * is at the address, and the port may tell them apart. */
static uint32_t peer_by_address(const struct facts *f, bool *out_several) {
  const struct tl_peer_index *x = &f->view->peers->index;
  const enum tl_peer_way way = f->encrypted ? TL_PEER_BY_TLS : TL_PEER_IN_CLEAR;
  struct first_peer at = {.f = f, .least = 256 * AT_ITS_PORT, .number = TL_PEER_NONE};
  struct first_peer by = {.f = f, .least = 256 * AT_ITS_ADDRESS, .number = TL_PEER_NONE};
  tl_peer_index_by_known(x, way, f->addr, take_first_of_several, &by);
  *out_several = by.several;
  if (by.number != TL_PEER_NONE) {
    tl_peer_index_by_known_place(x, f->transport, f->addr, take_first, &at);
    return at.number != TL_PEER_NONE ? at.number : by.number;
  }
  by.least = 1;
  tl_peer_index_by_network(x, way, f->addr, take_first, &by);
  return by.number;
}

/* A request has one source: the peer that matches best. */
static const struct tl_conf_peer *peer_of(const struct facts *f, bool *out_several) {
  *out_several = false;
  const uint32_t number = f->id ? peer_by_certificate(f) : peer_by_address(f, out_several);
  return number == TL_PEER_NONE ? NULL : &f->view->peers->peer[number];
}

/* ---- conditions of routes ---- */

static bool glob_any(char *const *list, const char *text) {
  for (; *list; list++)
    if (text && fnmatch(*list, text, FNM_NOESCAPE | FNM_CASEFOLD) == 0) return true;
  return false;
}

static bool glob_san(char *const *list, const struct tl_identity *id) {
  for (size_t i = 0; i < id->n_san; i++)
    if (glob_any(list, id->san[i].value)) return true;
  return false;
}

static bool asks_for_certificate(const struct tl_conf_route *r) {
  return r->opt.peer_subject || r->opt.peer_issuer || r->opt.peer_san || r->opt.peer_fingerprint ||
         r->opt.peer_anchor;
}

static bool certificate_fits(const struct tl_conf_route *r, const struct tl_identity *id) {
  return (!r->opt.peer_subject || glob_any(r->opt.peer_subject, id->subject)) &&
         (!r->opt.peer_issuer || glob_any(r->opt.peer_issuer, id->issuer)) &&
         (!r->opt.peer_san || glob_san(r->opt.peer_san, id)) &&
         (!r->opt.peer_anchor || glob_any(r->opt.peer_anchor, id->anchor)) &&
         (!r->opt.peer_fingerprint || glob_any(r->opt.peer_fingerprint, id->cert_sha256) ||
          glob_any(r->opt.peer_fingerprint, id->spki_sha256));
}

/* Patterns are slow, and the next request of this source asks for the same. */
static bool certificate_fits_again(struct tl_source *s, const struct tl_identity *id,
                                   const struct tl_conf_route *r, uint32_t number) {
  uint32_t *judged = &s->judged[number % TL_SOURCE_JUDGED];
  if (*judged / 2 != number + 1) *judged = (number + 1) * 2 + certificate_fits(r, id);
  return *judged & 1;
}

/* Conditions on a source that is not known hold only if there are none. */
bool tl_source_may_take(struct tl_source *s, const struct tl_identity *id,
                        const struct tl_route_table *t, uint32_t number) {
  const struct tl_conf_route *r = &t->route[number];
  bool listed = !r->opt.from_peer;
  enum tl_trust trust = s ? s->trust : TL_TRUST_ANY;
  if (trust > r->opt.trust || (r->verified_only && !id) || (r->unverified_only && id)) return false;
  if (!listed) listed = s && s->peer && tl_route_is_from(t, r, s->peer);
  if (!listed || !asks_for_certificate(r)) return listed;
  return s && id && certificate_fits_again(s, id, r, number);
}

/* ---- put together ---- */

static enum tl_check_from check_of(const struct tl_source *s, const struct facts *f) {
  const struct tl_conf_peer *peer = s->peer;
  if (peer && peer->opt.transit) return TL_CHECK_FROM_OFF;
  if (peer && peer->check_set) return peer->opt.check_from;
  if (peer && peer->opt.domains) return TL_CHECK_FROM_FROM;
  return s->verified ? f->check : TL_CHECK_FROM_OFF;
}

static bool is_guarded(const struct tl_source *s, enum tl_anti_spoof mode) {
  if (s->peer && s->peer->opt.transit) return false;
  return mode == TL_SPOOF_ALL || (mode == TL_SPOOF_PEERS && (s->peer || s->verified));
}

static void add_mapping(struct tl_source *s, const struct tl_conf *conf, const char *key) {
  const struct tl_conf_mapping *m = tl_conf_mapped(conf, key);
  if (m && s->n_map < TL_SOURCE_MAPPINGS) s->map[s->n_map++] = m;
}

static void add_mappings(struct tl_source *s, const struct tl_conf *conf,
                         const struct tl_identity *id) {
  add_mapping(s, conf, id->cert_sha256);
  add_mapping(s, conf, id->spki_sha256);
  add_mapping(s, conf, id->cn);
  for (size_t i = 0; conf->map && i < id->n_san; i++) add_mapping(s, conf, id->san[i].value);
}

/* The kind stays readable; the rest is a keyed hash. */
static uint64_t sender_of(const struct tl_proxy *p, const struct tl_conf_peer *peer,
                          const struct tl_identity *id, enum tl_transport transport,
                          const struct tl_addr *addr) {
  if (peer) return peer->id * 8 + TL_SENDER_PEER;
  if (id) {
    const char *cert = id->cert_sha256;
    return tl_siphash13(p->th.rt->secret, cert, strlen(cert)) * 8 + TL_SENDER_IDENTITY;
  }
  return ((uint64_t)transport << 32 | tl_token_host(p, addr)) * 8 + TL_SENDER_ADDRESS;
}

static void fill_source(const struct tl_proxy *p, struct tl_source *s, const struct facts *f) {
  const struct tl_conf *conf = f->view->conf;
  s->peer = peer_of(f, &s->by_port);
  s->verified = f->id != NULL;
  if (f->id) add_mappings(s, conf, f->id);
  s->allow_cn = f->allow_cn;
  s->trust = s->verified ? TL_TRUST_VERIFIED : f->encrypted ? TL_TRUST_ENCRYPTED : TL_TRUST_ANY;
  s->check = check_of(s, f);
  s->guarded = is_guarded(s, conf->opt.anti_spoof);
  s->sender = sender_of(p, s->peer, f->id, f->transport, f->addr);
  s->name = f->id ? tl_token_name(p, f->id) : 0;
}

/* ---- streams ---- */

static struct tl_source *of_conn(struct tl_proxy *p, struct tl_conn *c) {
  struct tl_conn_owner *owner = tl_conn_owner(c);
  struct tl_source *s = owner->source;
  /* A certificate that is no longer valid takes the mark off a living connection. */
  if (is_current(s, tl_net_view(p->net)) && s->verified == (tl_conn_verified(c) != NULL)) return s;
  if (tl_conn_is_over(c)) return NULL;
  s = owner->source = source_new(tl_net_view(p->net), s);
  if (!s) return NULL;
  struct facts f = {.view = tl_net_view(p->net),
                    .id = tl_conn_verified(c),
                    .addr = tl_conn_peer(c),
                    .transport = tl_conn_transport(c),
                    .encrypted = tl_conn_tls(c) != NULL,
                    .dialled = tl_conn_is_outgoing(c)};
  const struct tl_tls_domain *d = tl_conn_domain(c);
  if (d) {
    f.allow_cn = d->policy.allow_cn;
    f.check = d->policy.check_from;
  }
  fill_source(p, s, &f);
  return s;
}

void tl_source_drop(struct tl_conn *c) {
  struct tl_conn_owner *owner = tl_conn_owner(c);
  free(owner->source);
  owner->source = NULL;
}

/* ---- senders without a connection here ---- */

static struct tl_source *of_slot(struct tl_proxy *p, const struct tl_addr *addr) {
  struct tl_source_table *t = table_of(p);
  if (!t) return NULL;
  struct source_slot *slot = &t->slot[tl_addr_hash(addr) % SLOTS];
  if (is_current(slot->source, tl_net_view(p->net)) && tl_addr_eq(&slot->at, addr))
    return slot->source;
  slot->at = *addr;
  struct tl_source *s = slot->source = source_new(tl_net_view(p->net), slot->source);
  if (!s) return NULL;
  struct facts f = {.view = tl_net_view(p->net), .addr = &slot->at, .transport = TL_UDP};
  fill_source(p, s, &f);
  return s;
}

/* By address alone, so that ports cost nothing, unless several peers share the address. */
static struct tl_source *of_address(struct tl_proxy *p, const struct tl_addr *addr) {
  struct tl_addr ip = *addr;
  tl_addr_set_port(&ip, 0);
  struct tl_source *s = of_slot(p, &ip);
  return s && s->by_port ? of_slot(p, addr) : s;
}

static const struct tl_passed_on nothing_known = {.check = TL_CHECK_FROM_OFF};

/* A message passed on by another worker carries what that worker knew. */
static struct tl_source *source_of_xw(struct tl_proxy *p, const struct tl_origin *origin) {
  const struct tl_passed_on *by = origin->passed_on ? origin->passed_on : &nothing_known;
  const struct tl_flow *from = origin->from;
  struct tl_source_table *t = table_of(p);
  struct tl_source *s = t ? t->passed_on = source_new(tl_net_view(p->net), t->passed_on) : NULL;
  if (!s) return NULL;
  struct facts f = {.view = tl_net_view(p->net),
                    .addr = &from->addr,
                    .transport = from->transport,
                    .id = by->identity,
                    .encrypted = tl_transport_is_secure(from->transport),
                    .allow_cn = by->allow_cn,
                    .dialled = by->dialled,
                    .check = by->check};
  fill_source(p, s, &f);
  return s;
}

struct tl_source *tl_source_of(struct tl_proxy *p, const struct tl_origin *origin) {
  if (origin->c) return of_conn(p, origin->c);
  if (tl_transport_is_datagram(origin->from->transport)) return of_address(p, &origin->from->addr);
  return source_of_xw(p, origin);
}

/* Was the connection that the message came on dialled by us? */
static bool is_dialled(const struct tl_origin *origin) {
  if (origin->c) return tl_conn_is_outgoing(origin->c);
  return origin->passed_on && origin->passed_on->dialled;
}

/* Several peers may match; S names only the best of them, and a leg of a dialog may be another. */
bool tl_source_is(struct tl_proxy *p, const struct tl_source *s, const struct tl_origin *origin,
                  uint64_t peer) {
  const struct tl_flow *from = origin->from;
  if (!s) return false;
  if (s->peer && s->peer->id == peer) return true;
  struct facts f = {.view = tl_net_view(p->net),
                    .id = tl_source_identity(s, origin),
                    .addr = &from->addr,
                    .transport = from->transport,
                    .encrypted = tl_transport_is_secure(from->transport),
                    .allow_cn = s->allow_cn,
                    .dialled = is_dialled(origin)};
  const struct tl_conf_peer *named = tl_view_peer(tl_net_view(p->net), peer);
  return named && fit_of(named, &f) > 0;
}

/* A source known by its address, or without a connection here, shows no certificate. */
const struct tl_identity *tl_source_identity(const struct tl_source *s,
                                             const struct tl_origin *origin) {
  if (!s || !s->verified) return NULL;
  if (origin->c) return tl_conn_tls(origin->c)->identity;
  return origin->passed_on ? origin->passed_on->identity : NULL;
}

struct tl_passed_on tl_source_passed_on(const struct tl_origin *origin) {
  const struct tl_conn *c = origin->c;
  if (!c) return origin->passed_on ? *origin->passed_on : nothing_known;
  const struct tl_tls_domain *d = tl_conn_domain(c);
  return (struct tl_passed_on){.identity = tl_conn_verified(c),
                               .allow_cn = d && d->policy.allow_cn,
                               .dialled = tl_conn_is_outgoing(c),
                               .check = d ? d->policy.check_from : TL_CHECK_FROM_OFF};
}

uint64_t tl_source_sender(const struct tl_proxy *p, const struct tl_source *s,
                          const struct tl_origin *origin) {
  const struct tl_flow *from = origin->from;
  return s ? s->sender : sender_of(p, NULL, NULL, from->transport, &from->addr);
}

uint16_t tl_source_share(uint64_t sender, const struct tl_origin *origin) {
  struct tl_addr source;
  switch (sender % 8) {
  case TL_SENDER_IDENTITY: return (uint16_t)((sender >> 3) % TL_SENDER_SHARES);
  case TL_SENDER_ADDRESS:
    tl_addr_source_prefix(&origin->from->addr, &source);
    return (uint16_t)(tl_addr_hash(&source) % TL_SENDER_SHARES);
  default: return TL_SENDER_SHARES;
  }
}

void tl_source_exit(struct tl_proxy *p) {
  if (!p->sources) return;
  for (size_t i = 0; i < SLOTS; i++) free(p->sources->slot[i].source);
  free(p->sources->passed_on);
  free(p->sources);
  p->sources = NULL;
}

void tl_source_describe(struct tl_net *n, struct tl_conn *c, struct tl_conn_info *out) {
  struct tl_proxy *p = tl_proxy_of(n);
  const struct tl_source *s = tl_conn_owner(c)->source;
  bool current = tl_net_view(p->net) && is_current(s, tl_net_view(p->net)) &&
                 s->verified == (tl_conn_verified(c) != NULL);
  out->trust = tl_conn_verified(c) ? "verified"
               : tl_conn_tls(c)    ? "encrypted, not authenticated"
                                   : "clear";
  /* Sources of silent connections are worked out for a few only: a worker has other things to
   * do. */
  struct tl_source_table *t = table_of(p);
  if (t && t->describe_ms != tl_net_now_ms(n)) t->describe_left = DESCRIBE_MAX;
  if (t) t->describe_ms = tl_net_now_ms(n);
  if (!current && tl_net_view(p->net) && tl_conn_is_open(c) && t && t->describe_left) {
    t->describe_left--;
    s = of_conn(p, c);
    current = s != NULL;
  }
  if (current && s->peer) snprintf(out->peer_name, sizeof(out->peer_name), "%s", s->peer->name);
}
