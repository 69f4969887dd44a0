/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds the set of peers from checked blocks: addresses, identities, bindings to
 * authorities and keys, and what the previous set knew of each.
 */
#include <stdlib.h>

#include "conf/conf_internal.h"
#include "tieline/lookup.h"

#define RESOLVE_TIMEOUT_MS 5000

/* ---- checks, without files ---- */

static void check_hosts(const struct tl_block *b, const char *option, char *const *list,
                        struct tl_conf_ctx *ctx) {
  struct tl_str host;
  uint16_t port;
  for (; list && *list; list++)
    if (tl_conf_parse_hostport(*list, &host, &port) || port)
      tl_conf_fail(ctx, tl_block_at(b, option), "%s is a host name or a list of them, not \"%s\"",
                   option, *list);
}

void tl_conf_check_identity(const struct tl_block *b, enum tl_transport t,
                            struct tl_conf_ctx *ctx) {
  const struct tl_peer_options *p = b->values;
  const char *no = p->tls_domain    ? "tls_domain"
                   : p->identity    ? "identity"
                   : p->ca_list     ? "ca_list"
                   : p->spki_sha256 ? "spki_sha256"
                                    : NULL;
  uint8_t pin[32];
  if (!tl_transport_is_secure(t) && no)
    tl_conf_fail(ctx, tl_block_at(b, no),
                 "%s means nothing for a %s peer: add ;transport=tls to its uri", no,
                 tl_transport_param(t));
  if (!tl_transport_is_secure(t) && p->tls_only)
    tl_conf_fail(ctx, tl_block_at(b, "tls_only"),
                 "tls_only contradicts the %s in its uri: add ;transport=tls",
                 tl_transport_param(t));
  check_hosts(b, "identity", p->identity, ctx);
  check_hosts(b, "domains", p->domains, ctx);
  tl_conf_check_networks(b, "networks", p->networks, ctx);
  for (char **d = p->spki_sha256; d && *d; d++)
    if (tl_binding_parse_pin(*d, pin))
      tl_conf_fail(ctx, tl_block_at(b, "spki_sha256"),
                   "\"%s\" is no SHA-256 digest of a public key: write 64 hex digits", *d);
  if (p->transit && (p->domains || ((uint32_t)p->check_from != TL_CONF_UNSET && p->check_from)))
    tl_conf_fail(ctx, tl_block_at(b, "transit"),
                 "transit lets every From pass, but %s checks it: keep one",
                 p->domains ? "domains" : "check_from");
}

/* ---- identity ---- */

static int build_binding(const struct tl_block *b, struct tl_conf_peer *p,
                         struct tl_conf_ctx *ctx) {
  const struct tl_peer_options *v = &p->opt;
  char err[512] = "";
  const char *option = "ca_list";
  if (!v->ca_list && !v->spki_sha256) return TL_OK;
  int rc = tl_binding_new(v->ca_list, v->spki_sha256, err, sizeof(err), &option, &p->binding);
  if (rc == TL_ECONFIG)
    rc = tl_conf_fail(ctx, tl_block_at(b, option), "peer \"%s\": %s", b->title, err);
  return rc;
}

static int build_identity(const struct tl_conf *c, const struct tl_block *b, struct tl_conf_peer *p,
                          struct tl_conf_ctx *ctx) {
  enum tl_choice rule;
  struct tl_addr none = {0};
  int rc = tl_conf_build_networks(p->opt.networks, &p->network, &p->n_network);
  if (!rc) rc = build_binding(b, p, ctx);
  p->opt.tls_only |= p->sips;
  p->check_set = (uint32_t)p->opt.check_from != TL_CONF_UNSET;
  const struct tl_tls_domain *d =
      p->domain ? p->domain
                : tl_tls_choose_client(&c->tls_set, tl_str_c(p->identity),
                                       p->n_addr ? &p->addr[0] : &none, &rule);
  p->by_cert = tl_transport_is_secure(p->transport) && (p->binding || (d && d->policy.verify_cert));
  return rc;
}

/* ---- health ---- */

/* By default any answer to a probe is a sign of life but those that ask for no requests (RFC 3261
 * 21.5.4) or tell that it reached nobody in turn. */
static void build_health(struct tl_conf_peer *p) {
  static char *asks_for_none[] = {(char *)(uintptr_t) "503", NULL};
  const struct tl_peer_options *v = &p->opt;
  p->rules = (struct tl_dest_rules){.down_after = v->down_after,
                                    .down_for_ms = v->down_for_ms,
                                    .slow_start_ms = v->slow_start_ms,
                                    .probe_down_after = v->probe_down_after,
                                    .probe_up_after = v->probe_up_after};
  tl_conf_build_statuses(v->down_on ? v->down_on : asks_for_none, &p->down_on);
  tl_conf_build_statuses(v->probe_ok, &p->probe_ok);
  if (v->probe_ok) return;
  memset(&p->probe_ok, 0xff, sizeof(p->probe_ok));
  tl_status_set_remove(&p->probe_ok, 408);
  tl_status_set_remove(&p->probe_ok, 503);
}

/* ---- the set ---- */

static int build_peer(const struct tl_conf *c, const struct tl_block *b, struct tl_conf_peer *p) {
  struct tl_conf_peer_uri u;
  struct tl_addr a;
  const char *err;
  p->opt = *(const struct tl_peer_options *)b->values;
  tl_conf_build_outcomes(b, "reroute_on", p->opt.reroute_on, &p->reroute_on);
  tl_conf_build_outcomes(b, "stop_on", p->opt.stop_on, &p->stop_on);
  if (tl_conf_parse_peer_uri(p->opt.uri, &u, &err)) return TL_ECONFIG;
  struct tl_str host = u.host;
  p->transport = u.transport;
  p->port = u.port ? u.port : tl_transport_port(u.transport);
  p->sips = u.sips;
  p->any_port = u.port == 0;
  p->any_transport = p->any_port && u.any_transport;
  build_health(p);
  p->name = strdup(b->title);
  p->id = tl_index_name_id(b->title);
  p->host = strndup(host.p, host.n);
  struct tl_tls_domain *domain = tl_conf_domain_named(c, p->opt.tls_domain);
  if (domain) p->domain = tl_tls_domain_ref(domain);
  bool bracket = host.n > 2 && *host.p == '[';
  p->identity = p->opt.identity ? strdup(p->opt.identity[0])
                                : strndup(host.p + bracket, host.n - (bracket ? 2 : 0));
  if (!p->name || !p->host || !p->identity) return TL_ENOMEM;
  if (tl_addr_parse(host, p->port, &a)) return TL_OK;
  p->addr = malloc(sizeof(*p->addr));
  p->via = malloc(sizeof(*p->via));
  if (!p->addr || !p->via) return TL_ENOMEM;
  p->addr[0] = a;
  p->via[0] = (uint8_t)p->transport;
  p->n_addr = 1;
  return TL_OK;
}

/* The peer of the same name and uri in the previous table. */
static const struct tl_conf_peer *peer_before(const struct tl_peer_table *previous,
                                              const struct tl_conf_peer *p) {
  const struct tl_conf_peer *was = previous ? tl_peer_table_by_name(previous, p->name) : NULL;
  return was && strcmp(was->opt.uri, p->opt.uri) == 0 &&
                 tl_peer_state_knows(was->state, was->opt.uri)
             ? was
             : NULL;
}

/* A reload while the name servers are down must not lose known addresses. */
static int keep_addresses(const struct tl_addr_list *l, struct tl_conf_peer *p) {
  if (p->n_addr || l->n == 0) return TL_OK;
  p->addr = calloc(l->n, sizeof(*p->addr));
  p->via = calloc(l->n, sizeof(*p->via));
  if (!p->addr || !p->via) return TL_ENOMEM;
  for (; p->n_addr < l->n; p->n_addr++) {
    p->addr[p->n_addr] = l->at[p->n_addr].addr;
    p->via[p->n_addr] = l->at[p->n_addr].via;
  }
  return TL_OK;
}

/* What is known of the peer at run time survives a reload; its addresses do if the uri is the same.
 * A state with another uri starts afresh when the reload is in force. */
static int take_known(const struct tl_conf_peer *was, struct tl_conf_peer *p) {
  if (was) {
    p->state = tl_peer_state_ref(was->state);
    struct tl_addr_list *l = tl_peer_addrs_current(&p->state->addrs);
    int rc = keep_addresses(l, p);
    tl_addr_list_unref(l);
    return rc;
  }
  if (!(p->state = tl_peer_state_of(p->id, p->name))) return TL_ENOMEM;
  return p->state->uri ? TL_OK : tl_conf_peer_begin(p);
}

static int resolve_peers(struct tl_peer_set *s, struct tl_conf_ctx *ctx) {
  struct tl_lookup *l = calloc(s->n + 1, sizeof(*l));
  size_t *unresolved = calloc(s->n + 1, sizeof(*unresolved)), n = 0;
  int rc = l && unresolved ? TL_OK : TL_ENOMEM;
  for (size_t i = 0; i < s->n && !rc; i++) {
    if (s->peer[i].n_addr) continue;
    const struct tl_conf_peer *p = &s->peer[i];
    l[n] = (struct tl_lookup){.host = p->host,
                              .port = p->any_port ? 0 : p->port,
                              .transport = p->transport,
                              .any_transport = p->any_transport};
    unresolved[n++] = i;
  }
  if (!rc) rc = tl_lookup_all(l, n, RESOLVE_TIMEOUT_MS);
  for (size_t k = 0; l && unresolved && k < n; k++) {
    struct tl_conf_peer *p = &s->peer[unresolved[k]];
    p->addr = l[k].addr;
    p->via = l[k].via;
    p->n_addr = l[k].n;
    if (!p->n_addr)
      tl_conf_warn(ctx, tl_block_at(&s->raw->sec[TL_SEC_PEER].b[unresolved[k]], "uri"),
                   "The name %s of peer %s does not resolve (%s); it is asked again, and addresses "
                   "known before stay.",
                   p->host, p->name, l[k].why ? l[k].why : "unknown");
  }
  free(l);
  free(unresolved);
  return rc;
}

static int fill_set(struct tl_peer_set *s, const struct tl_conf *c,
                    const struct tl_peer_table *previous, struct tl_conf_ctx *ctx) {
  const struct tl_blocks *bs = &c->raw->sec[TL_SEC_PEER];
  if (!(s->peer = calloc(bs->n + 1, sizeof(*s->peer)))) return TL_ENOMEM;
  int rc = TL_OK;
  for (size_t i = 0; i < bs->n && !rc; i++) rc = build_peer(c, &bs->b[i], &s->peer[s->n++]);
  if (!rc) rc = resolve_peers(s, ctx);
  for (size_t i = 0; i < bs->n && !rc; i++)
    rc = take_known(peer_before(previous, &s->peer[i]), &s->peer[i]);
  for (size_t i = 0; i < bs->n && !rc; i++) rc = build_identity(c, &bs->b[i], &s->peer[i], ctx);
  if (!rc) rc = tl_peer_lists_index(s);
  if (!rc) tl_conf_count_calls(s);
  return rc;
}

/* A request sent there would come straight back; routing skips such an address. */
static void warn_of_ourselves(const struct tl_peer_set *s, const struct tl_conf *c,
                              struct tl_conf_ctx *ctx) {
  char text[TL_ADDR_STRLEN];
  for (size_t i = 0; i < s->n; i++) {
    const struct tl_conf_peer *p = &s->peer[i];
    size_t k = 0;
    while (k < p->n_addr && !tl_conf_is_listener(c, (enum tl_transport)p->via[k], &p->addr[k])) k++;
    if (k < p->n_addr)
      tl_conf_warn(
          ctx, tl_block_at(&s->raw->sec[TL_SEC_PEER].b[i], "uri"),
          "The peer %s is this proxy itself: %s is a listener of ours, and nothing is sent "
          "there.",
          p->name, tl_addr_format(&p->addr[k], text));
  }
}

int tl_conf_build_peers(const struct tl_conf *c, const struct tl_peer_table *previous,
                        struct tl_conf_ctx *ctx, struct tl_peer_set **out) {
  struct tl_peer_set *s = tl_peer_set_new(tl_raw_ref(c->raw), tl_raw_unref);
  if (!s) return TL_ENOMEM;
  int rc = fill_set(s, c, previous, ctx);
  if (rc) {
    tl_peer_set_unref(s);
    return rc;
  }
  warn_of_ourselves(s, c, ctx);
  *out = s;
  return TL_OK;
}
