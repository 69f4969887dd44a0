/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From checked blocks to the snapshot that workers read: addresses, names that
 * become pointers, our own names. All that can be checked without files or the
 * network has been, by conf_check.c.
 */
#include <ctype.h>
#include <pwd.h>
#include <stdlib.h>

#include "conf/conf_internal.h"
#include "tieline/peer_table.h"

#define RESOLVE_TIMEOUT_MS 5000

static char *dup_str(const char *s) { return s ? strdup(s) : NULL; }

static char *lower_copy(const char *s, size_t n) {
  char *out = strndup(s, n);
  for (char *p = out; p && *p; p++) *p = (char)tolower((unsigned char)*p);
  return out;
}

static void list_free(char **l) {
  for (size_t i = 0; l && l[i]; i++) free(l[i]);
  free(l);
}

/* A copy of L, NULL for NULL; LOW in lower case. */
static int list_copy(char *const *l, bool low, char ***out) {
  size_t n = 0;
  *out = NULL;
  if (!l) return 0;
  while (l[n]) n++;
  char **copy = calloc(n + 1, sizeof(*copy));
  if (!copy) return TL_ENOMEM;
  for (size_t i = 0; i < n; i++)
    if (!(copy[i] = low ? lower_copy(l[i], strlen(l[i])) : strdup(l[i]))) {
      list_free(copy);
      return TL_ENOMEM;
    }
  *out = copy;
  return 0;
}

/* The same name gives the same id in every snapshot. FNV-1a with a final mix. */
static uint64_t stable_id(const char *name) {
  uint64_t h = 0xcbf29ce484222325u;
  for (; *name; name++) h = (h ^ (unsigned char)*name) * 0x100000001b3u;
  h ^= h >> 33;
  h *= 0xff51afd7ed558ccdu;
  return h ^ (h >> 33);
}

/* Domains and peers stand in the order of their blocks. */
static struct tl_tls_domain *domain_named(const struct tl_conf *c, const char *name) {
  const struct tl_blocks *bs = &c->raw->sec[TL_SEC_DOMAIN];
  const struct tl_block *b = name ? tl_blocks_find(bs, name) : NULL;
  return b ? c->domain[b - bs->b] : NULL;
}

struct tl_conf_peer *tl_conf_peer_named(const struct tl_conf *c, const char *name) {
  const struct tl_blocks *bs = &c->raw->sec[TL_SEC_PEER];
  const struct tl_block *b = tl_blocks_find(bs, name);
  return b ? &c->peer[b - bs->b] : NULL;
}

static int build_global(struct tl_conf *c, struct tl_conf_ctx *ctx) {
  const struct tl_block *b = &c->raw->sec[TL_SEC_GLOBAL].b[0];
  const struct tl_v_global *g = b->values;
  c->workers = g->workers;
  c->handshakers = g->handshakers;
  c->control_socket = dup_str(g->control_socket);
  if (g->allow_keylog) c->keylog_file = dup_str(g->keylog_file);
  c->user = dup_str(g->user);
  c->log_level = (enum tl_log_level)g->log_level;
  c->log_format = (enum tl_log_format)g->log_format;
  c->log_target = (enum tl_log_target)g->log_target;
  c->records = (enum tl_records_mode)g->records;
  c->server_header = g->server_header;
  c->watch_files = g->watch_files;
  c->crl_refresh_ms = g->crl_refresh;
  c->dns_ttl_min_ms = g->dns_ttl_min;
  c->dns_ttl_max_ms = g->dns_ttl_max;
  c->reload_drain = (enum tl_reload_drain)g->reload_drain;
  c->log_calls = g->log_calls;
  c->call_max_ms = g->call_max;
  c->anti_spoof = (enum tl_anti_spoof)g->anti_spoof; /* the words stand in its order */
  c->limits = *tl_raw_limits(c->raw);
  c->timeouts = *tl_raw_timeouts(c->raw);
  if (!c->control_socket || (g->user && !c->user) || (g->allow_keylog && !c->keylog_file))
    return TL_ENOMEM;
  if (c->user && !getpwnam(c->user))
    return tl_conf_fail(ctx, tl_block_at(b, "user"), "there is no account \"%s\" here", c->user);
  if (g->identity_map)
    return tl_conf_map_read(g->identity_map, tl_block_at(b, "identity_map"), ctx, &c->map);
  return 0;
}

static int build_listen(struct tl_conf *c, const struct tl_block *b, struct tl_conf_listen *l,
                        struct tl_conf_ctx *ctx) {
  const struct tl_v_listen *v = b->values;
  const char *err;
  char text[TL_ADDR_STRLEN];
  struct tl_str host = {0};
  uint16_t port = 0;
  if (tl_conf_parse_listen(b->title, &l->transport, &l->addr, &err)) return TL_ECONFIG;
  l->name = strdup(b->title);
  l->domain = domain_named(c, v->tls_domain);
  if (v->advertise) {
    if (tl_conf_parse_hostport(v->advertise, &host, &port)) return TL_ECONFIG;
    l->advertise_host = strndup(host.p, host.n);
  } else {
    struct tl_addr own = l->addr;
    if (tl_addr_is_any(&own)) {
      tl_conf_own_address(&l->addr, &own);
      tl_conf_warn(ctx, b->pos,
                   "Listens on every address; without advertise, Via and Record-Route say %s.",
                   tl_addr_format_host(&own, text));
    }
    l->advertise_host = strdup(tl_addr_format_host(&own, text));
  }
  l->advertise_port = port ? port : tl_addr_port(&l->addr);
  return l->name && l->advertise_host ? 0 : TL_ENOMEM;
}

static int build_listens(struct tl_conf *c, struct tl_conf_ctx *ctx) {
  const struct tl_blocks *bs = &c->raw->sec[TL_SEC_LISTEN];
  c->listen = calloc(bs->n + 1, sizeof(*c->listen));
  if (!c->listen) return TL_ENOMEM;
  int rc = 0;
  for (size_t i = 0; i < bs->n && !rc; i++)
    rc = build_listen(c, &bs->b[i], &c->listen[c->n_listen++], ctx);
  return rc;
}

/* ---- peers ---- */

static int build_peer(struct tl_conf *c, const struct tl_block *b, struct tl_conf_peer *p) {
  const struct tl_v_peer *v = b->values;
  struct tl_conf_peer_uri u;
  struct tl_addr a;
  const char *err;
  if (tl_conf_parse_peer_uri(v->uri, &u, &err)) return TL_ECONFIG;
  struct tl_str host = u.host;
  p->transport = u.transport;
  p->port = u.port ? u.port : tl_transport_port(u.transport);
  p->sips = u.sips;
  p->any_port = u.port == 0;
  p->any_transport = p->any_port && u.any_transport;
  p->name = strdup(b->title);
  p->id = stable_id(b->title);
  p->uri = strdup(v->uri);
  p->host = strndup(host.p, host.n);
  p->domain = domain_named(c, v->tls_domain);
  p->max_cps = v->max_cps;
  p->max_calls = v->max_calls;
  p->max_connections = v->max_connections;
  p->max_message = v->max_message;
  c->bounds_messages |= v->max_message != 0;
  p->probe_ms = v->probe;
  p->retry_after_max_ms = v->retry_after_max;
  p->max_age_ms = v->max_age;
  bool bracket = host.n > 2 && *host.p == '[';
  p->identity =
      v->identity ? strdup(v->identity[0]) : strndup(host.p + bracket, host.n - (bracket ? 2 : 0));
  if (!p->name || !p->uri || !p->host || !p->identity) return TL_ENOMEM;
  if (tl_addr_parse(host, p->port, &a)) return 0;
  p->addr = malloc(sizeof(*p->addr));
  p->via = malloc(sizeof(*p->via));
  if (!p->addr || !p->via) return TL_ENOMEM;
  p->addr[0] = a;
  p->via[0] = (uint8_t)p->transport;
  p->n_addr = 1;
  return 0;
}

/* The peer of the same name and uri in the snapshot before. */
static const struct tl_conf_peer *peer_before(const struct tl_conf *previous,
                                              const struct tl_conf_peer *p) {
  const struct tl_conf_peer *was = previous ? tl_conf_peer_named(previous, p->name) : NULL;
  return was && strcmp(was->uri, p->uri) == 0 ? was : NULL;
}

/* A reload while the name servers are down must not lose known addresses. */
static int keep_addresses(const struct tl_addr_list *l, struct tl_conf_peer *p) {
  if (p->n_addr || l->n == 0) return 0;
  p->addr = calloc(l->n, sizeof(*p->addr));
  p->via = calloc(l->n, sizeof(*p->via));
  if (!p->addr || !p->via) return TL_ENOMEM;
  for (; p->n_addr < l->n; p->n_addr++) {
    p->addr[p->n_addr] = l->at[p->n_addr].addr;
    p->via[p->n_addr] = l->at[p->n_addr].via;
  }
  return 0;
}

/* What is known of the peer at run time survives a reload that does not change its uri. */
static int take_known(const struct tl_conf_peer *was, struct tl_conf_peer *p) {
  if (was) {
    p->health = tl_health_ref(was->health);
    p->addrs = tl_peer_addrs_ref(was->addrs);
    struct tl_addr_list *l = tl_peer_addrs_current(p->addrs);
    int rc = keep_addresses(l, p);
    tl_addr_list_unref(l);
    return rc;
  }
  struct tl_addr numeric;
  bool named = tl_addr_parse(tl_str_c(p->host), p->port, &numeric) != TL_OK;
  p->health = tl_health_new();
  p->addrs = tl_peer_addrs_new(tl_conf_peer_found(p), named);
  return p->health && p->addrs ? 0 : TL_ENOMEM;
}

static int resolve_peers(struct tl_conf *c, struct tl_conf_ctx *ctx) {
  struct tl_conf_lookup *l = calloc(c->n_peer + 1, sizeof(*l));
  size_t *who = calloc(c->n_peer + 1, sizeof(*who)), n = 0;
  int rc = l && who ? 0 : TL_ENOMEM;
  for (size_t i = 0; i < c->n_peer && !rc; i++) {
    if (c->peer[i].n_addr) continue;
    const struct tl_conf_peer *p = &c->peer[i];
    l[n] = (struct tl_conf_lookup){.host = p->host,
                                   .port = p->any_port ? 0 : p->port,
                                   .transport = p->transport,
                                   .any_transport = p->any_transport};
    who[n++] = i;
  }
  if (!rc) rc = tl_conf_resolve(l, n, RESOLVE_TIMEOUT_MS);
  for (size_t k = 0; l && who && k < n; k++) {
    struct tl_conf_peer *p = &c->peer[who[k]];
    p->addr = l[k].addr;
    p->via = l[k].via;
    p->n_addr = l[k].n;
    if (!p->n_addr)
      tl_conf_warn(ctx, tl_block_at(&c->raw->sec[TL_SEC_PEER].b[who[k]], "uri"),
                   "The name %s of peer %s does not resolve (%s); it is asked again, and addresses "
                   "known before stay.",
                   p->host, p->name, l[k].why ? l[k].why : "unknown");
  }
  free(l);
  free(who);
  return rc;
}

static int build_peers(struct tl_conf *c, const struct tl_conf *previous, struct tl_conf_ctx *ctx) {
  const struct tl_blocks *bs = &c->raw->sec[TL_SEC_PEER];
  c->peer = calloc(bs->n + 1, sizeof(*c->peer));
  if (!c->peer) return TL_ENOMEM;
  int rc = 0;
  for (size_t i = 0; i < bs->n && !rc; i++) rc = build_peer(c, &bs->b[i], &c->peer[c->n_peer++]);
  if (!rc) rc = resolve_peers(c, ctx);
  for (size_t i = 0; i < bs->n && !rc; i++)
    rc = take_known(peer_before(previous, &c->peer[i]), &c->peer[i]);
  for (size_t i = 0; i < bs->n && !rc; i++)
    rc = tl_conf_build_identity(c, &bs->b[i], &c->peer[i], ctx);
  return rc;
}

/* ---- routes ---- */

static int build_route(struct tl_conf *c, const struct tl_block *b, struct tl_conf_route *r) {
  const struct tl_v_route *v = b->values;
  int rc;
  size_t n = 0;
  r->name = strdup(b->title);
  r->id = stable_id(b->title);
  r->to_prefix = dup_str(v->to_prefix);
  r->prepend = dup_str(v->prepend);
  r->strip = v->strip;
  r->relay_request_uri = v->relay != TL_CONF_UNSET;
  r->fork = (enum tl_fork)v->fork; /* the words stand in the order of the enum */
  r->stateless = v->stateless;
  r->domain = domain_named(c, v->tls_domain);
  if (!r->name || (v->to_prefix && !r->to_prefix) || (v->prepend && !r->prepend)) return TL_ENOMEM;
  if ((rc = list_copy(v->to_domain, true, &r->to_domain)) ||
      (rc = list_copy(v->from_peer, false, &r->from_peer)))
    return rc;
  if ((rc = tl_conf_build_source(c, b, r))) return rc;
  while (v->peers && v->peers[n]) n++;
  if (!(r->peer = calloc(n + 1, sizeof(*r->peer)))) return TL_ENOMEM;
  for (; r->n_peer < n; r->n_peer++)
    if (!(r->peer[r->n_peer] = tl_conf_peer_named(c, v->peers[r->n_peer]))) return TL_ECONFIG;
  return 0;
}

static int build_routes(struct tl_conf *c) {
  const struct tl_blocks *bs = &c->raw->sec[TL_SEC_ROUTE];
  c->route = calloc(bs->n + 1, sizeof(*c->route));
  if (!c->route) return TL_ENOMEM;
  int rc = 0;
  for (size_t i = 0; i < bs->n && !rc; i++) rc = build_route(c, &bs->b[i], &c->route[c->n_route++]);
  return rc;
}

/* ---- our names ---- */

static int name_add(char **list, size_t *n, const char *p, size_t len) {
  char *s = lower_copy(p, len);
  if (!s) return TL_ENOMEM;
  for (size_t i = 0; i < *n; i++)
    if (strcmp(list[i], s) == 0) {
      free(s);
      return 0;
    }
  list[(*n)++] = s;
  return 0;
}

static int build_names(struct tl_conf *c) {
  char *const *domains = tl_raw_global(c->raw)->domains;
  struct tl_str host;
  uint16_t port;
  size_t n = 0, cap = c->n_listen + 1;
  int rc = 0;
  for (size_t i = 0; domains && domains[i]; i++) cap++;
  if (!(c->local_domains = calloc(cap, sizeof(*c->local_domains)))) return TL_ENOMEM;
  for (size_t i = 0; domains && domains[i] && !rc; i++)
    if (!(rc = tl_conf_parse_hostport(domains[i], &host, &port)))
      rc = name_add(c->local_domains, &n, host.p, host.n);
  for (size_t i = 0; i < c->n_listen && !rc; i++) {
    const char *name = c->listen[i].advertise_host;
    rc = name ? name_add(c->local_domains, &n, name, strlen(name)) : TL_ENOMEM;
  }
  return rc ? rc : tl_conf_names_new(c, domains, &c->names);
}

/* A request sent there would come straight back; routing skips such an address. */
static void warn_of_ourselves(const struct tl_conf *c, struct tl_conf_ctx *ctx) {
  char text[TL_ADDR_STRLEN];
  for (size_t i = 0; i < c->n_peer; i++) {
    const struct tl_conf_peer *p = &c->peer[i];
    size_t k = 0;
    while (k < p->n_addr && !tl_conf_is_listener(c, (enum tl_transport)p->via[k], &p->addr[k])) k++;
    if (k < p->n_addr)
      tl_conf_warn(
          ctx, tl_block_at(&c->raw->sec[TL_SEC_PEER].b[i], "uri"),
          "The peer %s is this proxy itself: %s is a listener of ours, and nothing is sent "
          "there.",
          p->name, tl_addr_format(&p->addr[k], text));
  }
}

int tl_conf_build(struct tl_conf *c, const struct tl_conf *previous, struct tl_conf_ctx *ctx) {
  int rc = build_global(c, ctx), rc2 = tl_conf_build_domains(c, previous, ctx);
  if (rc || rc2) return rc ? rc : rc2;
  if ((rc = build_listens(c, ctx)) || (rc = build_peers(c, previous, ctx)) ||
      (rc = build_routes(c)))
    return rc;
  struct tl_peer_table *peers = tl_peer_table_new(c);
  if (!peers) return TL_ENOMEM;
  tl_peer_table_publish(c, peers);
  if ((rc = tl_route_table_fill(c))) return rc;
  if ((rc = build_names(c)) == 0) warn_of_ourselves(c, ctx);
  return rc;
}
