/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What values mean together: defaults that depend on others, inheritance of TLS
 * domains, names that must exist, contradictions. It opens no file and asks no
 * network, so a fuzz target can run it: conf_build.c does the rest.
 */
#include <sched.h>
#include <stdlib.h>
#include <sys/un.h>

#include "conf/conf_internal.h"
#include "tieline/tls_choice.h"

static unsigned count_cores(void) {
  cpu_set_t set;
  int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
  return n < 1 ? 1 : n > 64 ? 64 : (unsigned)n;
}

static void check_global(struct tl_raw *r, struct tl_conf_ctx *ctx) {
  struct tl_block *b = &r->sec[TL_SEC_GLOBAL].b[0];
  struct tl_conf_options *g = b->values;
  struct sockaddr_un un;
  struct tl_str host;
  uint16_t port;
  if (!g->workers) g->workers = count_cores();
  if (!g->handshakers) g->handshakers = g->workers > 1 ? g->workers / 2 : 1;
  if (g->allow_keylog && !g->keylog_file)
    tl_conf_fail(ctx, tl_block_at(b, "allow_keylog"), "allow_keylog needs keylog_file");
  if (!g->control_socket)
    tl_conf_fail(ctx, tl_block_at(b, "control_socket"), "control_socket cannot be empty");
  else if (strlen(g->control_socket) >= sizeof(un.sun_path))
    tl_conf_fail(ctx, tl_block_at(b, "control_socket"),
                 "control_socket is longer than the %zu bytes that unix sockets allow",
                 sizeof(un.sun_path) - 1);
  if (g->dns_ttl_min_ms > g->dns_ttl_max_ms)
    tl_conf_fail(ctx,
                 tl_block_at(b, tl_block_given(b, "dns_ttl_min") ? "dns_ttl_min" : "dns_ttl_max"),
                 "dns_ttl_min is longer than dns_ttl_max");
  for (char **d = g->domains; d && *d; d++)
    if (tl_conf_parse_hostport(*d, &host, &port))
      tl_conf_fail(ctx, tl_block_at(b, "domains"),
                   "\"%s\" is not a valid domain name or \"name:port\"", *d);
}

static void check_limits(struct tl_raw *r, struct tl_conf_ctx *ctx) {
  struct tl_block *b = &r->sec[TL_SEC_LIMITS].b[0], *tb = &r->sec[TL_SEC_TIMEOUTS].b[0];
  const struct tl_conf_limits *l = b->values;
  const struct tl_conf_timeouts *t = tb->values;
  if (l->max_head > l->max_message)
    tl_conf_fail(ctx, tl_block_at(b, tl_block_given(b, "max_head") ? "max_head" : "max_message"),
                 "max_head (%u) is larger than max_message (%u)", l->max_head, l->max_message);
  if (l->recv_buffers & (l->recv_buffers - 1))
    tl_conf_fail(ctx, tl_block_at(b, "recv_buffers"), "recv_buffers must be a power of two");
  if (t->t1 > t->t2)
    tl_conf_fail(ctx, tl_block_at(tb, tl_block_given(tb, "t1") ? "t1" : "t2"),
                 "t1 is longer than t2");
  if (t->timer_c <= 180000)
    tl_conf_warn(ctx, tl_block_at(tb, "timer_c"),
                 "timer_c is not more than 3 minutes, as RFC 3261 16.6 demands.");
}

/* ---- TLS domains ---- */

static bool group_given(const struct tl_block *b, unsigned group) {
  for (size_t i = 0; i < b->sec->n_opt; i++)
    if (b->sec->opt[i].group == group && b->at[i].line) return true;
  return false;
}

/* A group (certificate and key, or the trust anchors) is inherited as a whole: a mixture would be
 * neither domain's policy. */
static int inherit_options(struct tl_block *b, const struct tl_block *from) {
  bool skip[128] = {false}; /* a unit test holds the table below this */
  const struct tl_conf_section *s = b->sec;
  for (size_t i = 0; i < s->n_opt; i++)
    skip[i] = !(s->opt[i].flags & TL_OPT_INHERIT) || b->at[i].line || !from->at[i].line ||
              (s->opt[i].group && group_given(b, s->opt[i].group));
  for (size_t i = 0; i < s->n_opt; i++) {
    if (skip[i]) continue;
    int rc = tl_value_copy(b, &s->opt[i], from);
    if (rc) return rc;
    b->at[i] = from->at[i];
  }
  return TL_OK;
}

static size_t list_len(const char *const *l) {
  size_t n = 0;
  while (l && l[n]) n++;
  return n;
}

static void check_matches(const struct tl_block *b, struct tl_conf_ctx *ctx) {
  const struct tl_tls_options *d = b->values;
  struct tl_str host;
  struct tl_addr a;
  uint16_t port;
  for (const char **m = d->match_sip_domain; m && *m; m++) {
    if (strcmp(*m, "*") == 0) continue;
    const char *name = strncmp(*m, "*.", 2) == 0 ? *m + 2 : *m;
    if (tl_conf_parse_hostport(name, &host, &port) || port)
      tl_conf_fail(ctx, tl_block_at(b, "match_sip_domain"),
                   "\"%s\" is not a valid domain name; \"*\" can only be the whole first label",
                   *m);
  }
  for (const char **m = d->match_ip_address; m && *m; m++)
    if (strcmp(*m, "*") != 0 &&
        (tl_conf_parse_hostport(*m, &host, &port) || tl_addr_parse(host, port, &a)))
      tl_conf_fail(ctx, tl_block_at(b, "match_ip_address"),
                   "\"%s\" is not a numeric address or \"address:port\"", *m);
}

static void check_method(const struct tl_block *b, struct tl_conf_ctx *ctx) {
  struct tl_tls_options *d = b->values;
  const char *note;
  if (tl_conf_parse_method(d->tls_method ? d->tls_method : "", &d->min_version, &d->max_version,
                           &note))
    tl_conf_fail(ctx, tl_block_at(b, "tls_method"), "tls_method \"%s\": %s",
                 d->tls_method ? d->tls_method : "", note);
  else if (note)
    tl_conf_warn(ctx, tl_block_at(b, "tls_method"), "%s", note);
}

static void check_domain(struct tl_block *b, struct tl_conf_ctx *ctx) {
  struct tl_tls_options *d = b->values;
  size_t certs = list_len(d->certificate), keys = list_len(d->private_key);
  if (certs != keys)
    tl_conf_fail(ctx, tl_block_at(b, certs ? "certificate" : "private_key"),
                 "tls_domain \"%s\" has %zu certificates and %zu private keys", b->title, certs,
                 keys);
  if (!certs && !d->credentials_dir && d->role != TL_ROLE_CLIENT) {
    if (tl_block_given(b, "role"))
      tl_conf_fail(ctx, tl_block_at(b, "role"),
                   "tls_domain \"%s\" cannot be a server without a certificate", b->title);
    d->role = TL_ROLE_CLIENT;
  }
  if (d->policy.verify_cert && !d->ca_list && !d->ca_dir && !d->ca_system)
    tl_conf_fail(ctx, tl_block_at(b, "verify_cert"),
                 "tls_domain \"%s\" verifies certificates but trusts no authority: set ca_list, "
                 "ca_dir or ca_system, or verify_cert = false",
                 b->title);
  if (d->policy.require_cert && !d->policy.verify_cert)
    tl_conf_fail(ctx, tl_block_at(b, "require_cert"),
                 "tls_domain \"%s\": require_cert = true contradicts verify_cert = false: a "
                 "certificate that is not checked cannot be required",
                 b->title);
  check_method(b, ctx);
  if (d->crl_check_all && !d->crl_file && !d->crl_dir && !d->crl_fetch)
    tl_conf_fail(ctx, tl_block_at(b, "crl_check_all"),
                 "crl_check_all needs revocation lists: set crl_file, crl_dir or crl_fetch");
  if (!d->policy.verify_cert && (d->crl_file || d->crl_dir))
    tl_conf_warn(ctx, tl_block_at(b, "verify_cert"),
                 "Revocation lists are not looked at while verify_cert is false.");
  if (d->advertise && tl_conf_parse_hostport(d->advertise, &d->advertise_host, &d->advertise_port))
    tl_conf_fail(ctx, tl_block_at(b, "advertise"), "advertise is \"host[:port]\", not \"%s\"",
                 d->advertise);
  check_matches(b, ctx);
  d->name = b->title;
  d->server = d->role != TL_ROLE_CLIENT;
  d->client = d->role != TL_ROLE_SERVER;
}

static int check_domains(struct tl_raw *r, struct tl_conf_ctx *ctx) {
  struct tl_blocks *bs = &r->sec[TL_SEC_DOMAIN];
  const struct tl_block *base = tl_blocks_find(bs, "default");
  for (size_t i = 0; i < bs->n; i++) {
    struct tl_block *b = &bs->b[i];
    struct tl_tls_options *d = b->values;
    bool requires = tl_block_given(b, "require_cert");
    int rc = base && b != base ? inherit_options(b, base) : TL_OK;
    if (rc) return rc;
    /* verify_cert = false implies require_cert = false unless that is set */
    if (!d->policy.verify_cert && !requires) d->policy.require_cert = false;
    if ((uint32_t)d->policy.records == TL_CONF_UNSET)
      d->policy.records = tl_raw_options(r)->records;
    check_domain(b, ctx);
  }
  return TL_OK;
}

static bool can_serve(const struct tl_block *b) {
  return ((const struct tl_tls_options *)b->values)->role != TL_ROLE_CLIENT;
}

static bool can_connect(const struct tl_block *b) {
  return ((const struct tl_tls_options *)b->values)->role != TL_ROLE_SERVER;
}

/* The domain NAME, set by option tls_domain of B, must exist and have the role. */
static void check_domain_name(struct tl_raw *r, const struct tl_block *b, const char *name,
                              bool as_server, struct tl_conf_ctx *ctx) {
  const struct tl_blocks *bs = &r->sec[TL_SEC_DOMAIN];
  const struct tl_block *d = tl_blocks_find(bs, name);
  if (!d)
    tl_conf_fail_unknown(ctx, b, "tls_domain", "tls_domain", name, bs);
  else if (!(as_server ? can_serve(d) : can_connect(d)))
    tl_conf_fail(ctx, tl_block_at(b, "tls_domain"), "tls_domain \"%s\" %s", name,
                 as_server
                     ? "has no certificate or only the client role: it cannot serve a listener"
                     : "has only the server role: it cannot connect");
}

static bool any_domain(const struct tl_raw *r, bool (*can)(const struct tl_block *)) {
  const struct tl_blocks *bs = &r->sec[TL_SEC_DOMAIN];
  for (size_t i = 0; i < bs->n; i++)
    if (can(&bs->b[i])) return true;
  return false;
}

/* Can a handshake find a domain that can serve by some rule, without a listener naming it? */
static bool any_domain_is_found(const struct tl_raw *r) {
  const struct tl_blocks *bs = &r->sec[TL_SEC_DOMAIN];
  for (size_t i = 0; i < bs->n; i++) {
    const struct tl_tls_options *d = bs->b[i].values;
    if (can_serve(&bs->b[i]) &&
        (bs->n == 1 || strcmp(bs->b[i].title, "default") == 0 ||
         (d->match_sip_domain && *d->match_sip_domain) ||
         (d->match_ip_address && *d->match_ip_address) || d->credentials_dir))
      return true;
  }
  return false;
}

/* ---- listeners, peers, routes ---- */

/* SEEN has the sockets of the blocks before B, by number. */
static int check_socket(struct tl_raw *r, const struct tl_block *b, enum tl_transport t,
                        const struct tl_addr *a, struct tl_index_map *seen,
                        struct tl_conf_ctx *ctx) {
  const struct tl_blocks *bs = &r->sec[TL_SEC_LISTEN];
  const uint64_t key = tl_index_mix(tl_addr_hash(a) + t);
  const struct tl_index_node *at;
  enum tl_transport t2;
  struct tl_addr a2;
  const char *err;
  for (uint32_t node = tl_index_map_first(seen, key); node; node = at->next) {
    at = tl_index_map_node(seen, node);
    const struct tl_block *o = &bs->b[at->value];
    if (!tl_conf_parse_listen(o->title, &t2, &a2, &err) && t == t2 && tl_addr_eq(a, &a2))
      tl_conf_fail(ctx, b->pos, "listen \"%s\" is the same socket as \"%s\" at %s:%d", b->title,
                   o->title, o->pos.file, o->pos.line);
  }
  return tl_index_map_add(seen, key, (uint32_t)(b - bs->b));
}

static int check_listen(struct tl_raw *r, struct tl_block *b, struct tl_index_map *seen,
                        struct tl_conf_ctx *ctx) {
  const struct tl_listen_options *l = b->values;
  enum tl_transport t;
  struct tl_addr a;
  struct tl_str host;
  uint16_t port;
  const char *err;
  if (tl_conf_parse_listen(b->title, &t, &a, &err)) {
    tl_conf_fail(ctx, b->pos, "listen \"%s\": %s", b->title, err);
    return TL_OK;
  }
  int rc = check_socket(r, b, t, &a, seen, ctx);
  if (l->advertise && tl_conf_parse_hostport(l->advertise, &host, &port))
    tl_conf_fail(ctx, tl_block_at(b, "advertise"), "advertise is \"host[:port]\", not \"%s\"",
                 l->advertise);
  if (!tl_transport_is_secure(t) && l->tls_domain)
    tl_conf_fail(ctx, tl_block_at(b, "tls_domain"), "a %s listener has no tls_domain",
                 tl_transport_param(t));
  else if (l->tls_domain)
    check_domain_name(r, b, l->tls_domain, true, ctx);
  else if (tl_transport_is_secure(t) && !any_domain(r, can_serve))
    tl_conf_fail(ctx, b->pos,
                 "listen \"%s\" has no tls_domain to serve with: none has certificate and "
                 "private_key",
                 b->title);
  else if (tl_transport_is_secure(t) && !any_domain_is_found(r))
    tl_conf_fail(ctx, b->pos,
                 "listen \"%s\" would never find a tls_domain: name one with tls_domain, call one "
                 "\"default\", or give match_sip_domain or match_ip_address",
                 b->title);
  return rc;
}

static int check_listens(struct tl_raw *r, struct tl_conf_ctx *ctx) {
  struct tl_blocks *bs = &r->sec[TL_SEC_LISTEN];
  struct tl_index_map seen = {.mask = 0};
  int rc = TL_OK;
  if (bs->n == 0)
    tl_conf_fail(ctx, (struct tl_conf_pos){r->source.file[0], 0},
                 "there is no listen block, so nobody could connect");
  for (size_t i = 0; i < bs->n && !rc; i++) rc = check_listen(r, &bs->b[i], &seen, ctx);
  tl_index_map_clear(&seen);
  return rc;
}

static void check_connections(const struct tl_raw *r, const struct tl_block *b,
                              const struct tl_conf_peer_uri *u, struct tl_conf_ctx *ctx) {
  const struct tl_peer_options *p = b->values;
  const uint32_t workers =
      ((const struct tl_conf_options *)r->sec[TL_SEC_GLOBAL].b[0].values)->workers;
  struct tl_addr a;
  const bool dns_decides = u->any_transport && !u->port && tl_addr_parse(u->host, 0, &a) != TL_OK;
  if (p->connections && tl_transport_is_datagram(u->transport) && !dns_decides)
    tl_conf_fail(ctx, tl_block_at(b, "connections"),
                 "connections means nothing for a %s peer: add ;transport=tls to its uri",
                 tl_transport_param(u->transport));
  else if (p->connections && p->connections < workers)
    tl_conf_warn(
        ctx, tl_block_at(b, "connections"),
        "Each of the %u workers has a connection of its own: peer \"%s\" gets so many, not "
        "%u.",
        workers, b->title, p->connections);
}

static void check_peer(struct tl_raw *r, struct tl_block *b, struct tl_conf_ctx *ctx) {
  const struct tl_peer_options *p = b->values;
  struct tl_conf_peer_uri u;
  const char *err;
  if (!p->uri) {
    tl_conf_fail(ctx, tl_block_at(b, "uri"), "peer \"%s\" has no uri", b->title);
    return;
  }
  if (tl_conf_parse_peer_uri(p->uri, &u, &err)) {
    tl_conf_fail(ctx, tl_block_at(b, "uri"), "%s, not \"%s\"", err, p->uri);
    return;
  }
  if (p->cps_burst && !p->max_cps)
    tl_conf_fail(ctx, tl_block_at(b, "cps_burst"),
                 "cps_burst means nothing without max_cps: there is no rate to exceed");
  if (p->max_calls > tl_raw_limits(r)->max_open_calls)
    tl_conf_warn(ctx, tl_block_at(b, "max_calls"),
                 "The max_calls of peer \"%s\" is never reached: limits.max_open_calls is less.",
                 b->title);
  if (p->max_connections && p->max_connections <= tl_raw_limits(r)->max_connections_source)
    tl_conf_warn(ctx, tl_block_at(b, "max_connections"),
                 "The max_connections of peer \"%s\" changes nothing: anybody may have the "
                 "limits.max_connections_source, which is not less.",
                 b->title);
  check_connections(r, b, &u, ctx);
  tl_conf_check_statuses(b, "probe_ok", p->probe_ok, ctx);
  tl_conf_check_statuses(b, "down_on", p->down_on, ctx);
  tl_conf_check_outcomes(b, "reroute_on", p->reroute_on, ctx);
  tl_conf_check_outcomes(b, "stop_on", p->stop_on, ctx);
  tl_conf_check_identity(b, u.transport, ctx);
  if (!tl_transport_is_secure(u.transport)) return;
  if (p->tls_domain)
    check_domain_name(r, b, p->tls_domain, false, ctx);
  else if (!any_domain(r, can_connect))
    tl_conf_fail(ctx, b->pos,
                 "peer \"%s\" is a TLS peer, but there is no tls_domain to connect with", b->title);
}

/* Names of peers; GROUPS: or of groups, NULL: not. */
static int check_names(struct tl_raw *r, const struct tl_block *b, const char *option,
                       char *const *names, const struct tl_blocks *groups,
                       struct tl_conf_ctx *ctx) {
  const struct tl_blocks *peers = &r->sec[TL_SEC_PEER];
  struct tl_index_map seen = {.mask = 0};
  int rc = TL_OK;
  for (uint32_t i = 0; names && names[i] && rc == TL_OK; i++) {
    bool first = true;
    if (!tl_blocks_find(peers, names[i]) && !(groups && tl_blocks_find(groups, names[i])))
      tl_conf_fail_unknown(ctx, b, option, groups && groups->n ? "peer or group" : "peer", names[i],
                           peers);
    if (names[1]) rc = tl_conf_list_note(&seen, names, i, &first);
    if (!first)
      tl_conf_fail(ctx, tl_block_at(b, option), "%s names \"%s\" twice", option, names[i]);
  }
  tl_index_map_clear(&seen);
  return rc;
}

static void check_user_part(const struct tl_block *b, const char *option, const char *text,
                            struct tl_conf_ctx *ctx) {
  /* RFC 3261 25.1 user: unreserved, user-unreserved, escapes */
  if (text && text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-_.!~*'()&=+$,;?/%")])
    tl_conf_fail(ctx, tl_block_at(b, option), "%s holds a character that no user part can have",
                 option);
}

static int check_route(struct tl_raw *r, struct tl_block *b, struct tl_conf_ctx *ctx) {
  const struct tl_route_options *v = b->values;
  bool relay = v->relay != TL_CONF_UNSET;
  struct tl_str host;
  uint16_t port;
  if (relay && v->peers)
    tl_conf_fail(ctx, tl_block_at(b, "relay"), "route \"%s\" has both peers and relay: keep one",
                 b->title);
  if (!relay && !v->peers)
    tl_conf_fail(ctx, b->pos, "route \"%s\" leads nowhere: set peers, or relay = \"request-uri\"",
                 b->title);
  int rc = check_names(r, b, "peers", v->peers, &r->sec[TL_SEC_GROUP], ctx);
  if (!rc) rc = check_names(r, b, "from_peer", v->from_peer, NULL, ctx);
  tl_conf_check_stateless(r, b, ctx);
  tl_conf_check_source(b, ctx);
  tl_conf_check_outcomes(b, "reroute_on", v->reroute_on, ctx);
  tl_conf_check_outcomes(b, "stop_on", v->stop_on, ctx);
  check_user_part(b, "to_prefix", v->to_prefix, ctx);
  check_user_part(b, "prepend", v->prepend, ctx);
  for (char **d = v->to_domain; d && *d; d++)
    if (tl_conf_parse_hostport(*d, &host, &port) || port)
      tl_conf_fail(ctx, tl_block_at(b, "to_domain"), "\"%s\" is not a valid domain name", *d);
  if (v->tls_domain) check_domain_name(r, b, v->tls_domain, false, ctx);
  if (relay && !v->from_peer && !v->to_domain && !v->to_prefix)
    tl_conf_warn(ctx, b->pos,
                 "This route relays for anyone to anywhere; from_peer or to_domain narrow it.");
  return rc;
}

static bool lists_any(const char *const *list) { return list && *list && strcmp(*list, "*") == 0; }

/* Does anything look for a TLS domain by its destination? */
static bool dials_by_destination(const struct tl_raw *r) {
  const struct tl_blocks *routes = &r->sec[TL_SEC_ROUTE], *peers = &r->sec[TL_SEC_PEER];
  struct tl_conf_peer_uri u;
  const char *err;
  for (size_t i = 0; i < routes->n; i++) {
    const struct tl_route_options *v = routes->b[i].values;
    if (v->relay != TL_CONF_UNSET && !v->tls_domain) return true;
  }
  for (size_t i = 0; i < peers->n; i++) {
    const struct tl_peer_options *v = peers->b[i].values;
    if (v->uri && !v->tls_domain && !tl_conf_parse_peer_uri(v->uri, &u, &err) &&
        tl_transport_is_secure(u.transport))
      return true;
  }
  return false;
}

/* Warns if several domains could connect, but none applies to unlisted destinations. */
static void check_client_domains(const struct tl_raw *r, struct tl_conf_ctx *ctx) {
  const struct tl_blocks *bs = &r->sec[TL_SEC_DOMAIN];
  const struct tl_block *unlisted = NULL;
  size_t n = 0;
  for (size_t i = 0; i < bs->n; i++) {
    const struct tl_tls_options *d = bs->b[i].values;
    if (!can_connect(&bs->b[i])) continue;
    if (strcmp(bs->b[i].title, "default") == 0 || lists_any(d->match_sip_domain) ||
        lists_any(d->match_ip_address))
      return;
    bool listed = (d->match_sip_domain && *d->match_sip_domain) ||
                  (d->match_ip_address && *d->match_ip_address);
    n += !listed;
    if (!listed) unlisted = &bs->b[i];
  }
  if (n >= 2 && dials_by_destination(r))
    tl_conf_warn(ctx, unlisted->pos,
                 "Destinations that no match_sip_domain lists have no TLS domain to be reached "
                 "with (503): %zu client domains list none, and none is called \"default\".",
                 n);
}

int tl_conf_check(struct tl_raw *r, struct tl_conf_ctx *ctx) {
  unsigned before = ctx->problems;
  check_global(r, ctx);
  check_limits(r, ctx);
  int rc = check_domains(r, ctx);
  if (!rc) rc = check_listens(r, ctx);
  if (rc) return rc;
  for (size_t i = 0; i < r->sec[TL_SEC_PEER].n; i++) check_peer(r, &r->sec[TL_SEC_PEER].b[i], ctx);
  for (size_t i = 0; i < r->sec[TL_SEC_GROUP].n; i++)
    tl_conf_check_group(r, &r->sec[TL_SEC_GROUP].b[i], ctx);
  for (size_t i = 0; i < r->sec[TL_SEC_ROUTE].n && !rc; i++)
    rc = check_route(r, &r->sec[TL_SEC_ROUTE].b[i], ctx);
  if (rc) return rc;
  check_client_domains(r, ctx);
  return ctx->problems > before ? TL_ECONFIG : TL_OK;
}

int tl_conf_check_reload(const struct tl_raw *now, const struct tl_raw *before,
                         struct tl_conf_ctx *ctx) {
  static const enum tl_section_id single[] = {TL_SEC_GLOBAL, TL_SEC_LIMITS, TL_SEC_TIMEOUTS};
  int rc = TL_OK;
  for (size_t k = 0; k < sizeof(single) / sizeof(single[0]); k++) {
    const struct tl_block *a = &now->sec[single[k]].b[0], *b = &before->sec[single[k]].b[0];
    for (size_t i = 0; i < a->sec->n_opt; i++) {
      const struct tl_opt *o = &a->sec->opt[i];
      /* a default may depend on the machine: only written values can differ */
      if (!(o->flags & TL_OPT_FIXED) || (!a->at[i].line && !b->at[i].line) ||
          tl_value_equal(o, a, b))
        continue;
      rc = tl_conf_fail(
          ctx, a->at[i].line ? a->at[i] : a->pos,
          "%s cannot change while tieline runs: restart it, or put the old value back", o->name);
    }
  }
  return rc;
}
