/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer's identity and a route's conditions on the source of a request: lists,
 * networks, bindings to authorities and keys. Addresses are conf_build.c's.
 */
#include <ctype.h>
#include <stdlib.h>

#include "conf/conf_internal.h"

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

static void check_networks(const struct tl_block *b, const char *option, char *const *list,
                           struct tl_conf_ctx *ctx) {
  struct tl_network net;
  for (; list && *list; list++)
    if (tl_network_parse(tl_str_c(*list), &net))
      tl_conf_fail(ctx, tl_block_at(b, option),
                   "\"%s\" is no network: write \"192.0.2.0/24\" with no bit set behind the "
                   "prefix, or an address",
                   *list);
}

void tl_conf_check_identity(const struct tl_block *b, enum tl_transport t,
                            struct tl_conf_ctx *ctx) {
  const struct tl_v_peer *p = b->values;
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
  check_networks(b, "networks", p->networks, ctx);
  for (char **d = p->spki_sha256; d && *d; d++)
    if (tl_binding_parse_pin(*d, pin))
      tl_conf_fail(ctx, tl_block_at(b, "spki_sha256"),
                   "\"%s\" is no SHA-256 digest of a public key: write 64 hex digits", *d);
  if (p->transit && (p->domains || (p->check_from != TL_CONF_UNSET && p->check_from)))
    tl_conf_fail(ctx, tl_block_at(b, "transit"),
                 "transit lets every From pass, but %s checks it: keep one",
                 p->domains ? "domains" : "check_from");
}

void tl_conf_check_source(const struct tl_block *b, struct tl_conf_ctx *ctx) {
  const struct tl_v_route *r = b->values;
  bool names =
      r->peer_subject || r->peer_issuer || r->peer_san || r->peer_fingerprint || r->peer_anchor;
  if (names && r->peer_verified == TL_WORD_FALSE)
    tl_conf_fail(ctx, tl_block_at(b, "peer_verified"),
                 "peer_verified = false never meets a condition on a verified certificate");
  check_networks(b, "relay_networks", r->relay_networks, ctx);
  if (r->relay_networks && r->relay == TL_CONF_UNSET)
    tl_conf_fail(ctx, tl_block_at(b, "relay_networks"),
                 "relay_networks means nothing without relay: peers are reached wherever they are");
}

/* ---- lists ---- */

static void list_free(char **l) {
  for (size_t i = 0; l && l[i]; i++) free(l[i]);
  free(l);
}

static int copy_list(char *const *from, bool low, char ***out) {
  size_t n = 0;
  while (from && from[n]) n++;
  if (n == 0) return TL_OK;
  if (!(*out = calloc(n + 1, sizeof(**out)))) return TL_ENOMEM;
  for (size_t i = 0; i < n; i++) {
    if (!((*out)[i] = strdup(from[i]))) return TL_ENOMEM;
    for (char *p = (*out)[i]; low && *p; p++) *p = (char)tolower((unsigned char)*p);
  }
  return TL_OK;
}

/* ---- peers ---- */

static int build_networks(char *const *list, struct tl_network **out, size_t *out_n) {
  size_t n = 0;
  while (list && list[n]) n++;
  if (n == 0) return TL_OK;
  if (!(*out = calloc(n, sizeof(**out)))) return TL_ENOMEM;
  for (; *out_n < n; ++*out_n)
    if (tl_network_parse(tl_str_c(list[*out_n]), &(*out)[*out_n])) return TL_ECONFIG;
  return TL_OK;
}

static int build_binding(const struct tl_block *b, struct tl_conf_peer *p,
                         struct tl_conf_ctx *ctx) {
  const struct tl_v_peer *v = b->values;
  char err[512] = "";
  const char *option = "ca_list";
  if (!v->ca_list && !v->spki_sha256) return TL_OK;
  int rc = tl_binding_new(v->ca_list, v->spki_sha256, err, sizeof(err), &option, &p->binding);
  if (rc == TL_ECONFIG)
    rc = tl_conf_fail(ctx, tl_block_at(b, option), "peer \"%s\": %s", b->title, err);
  return rc;
}

int tl_conf_build_identity(const struct tl_conf *c, const struct tl_block *b,
                           struct tl_conf_peer *p, struct tl_conf_ctx *ctx) {
  const struct tl_v_peer *v = b->values;
  enum tl_choice rule;
  struct tl_addr none = {0};
  int rc = copy_list(v->identity, true, &p->identities);
  if (!rc) rc = copy_list(v->domains, true, &p->domains);
  if (!rc) rc = build_networks(v->networks, &p->network, &p->n_network);
  if (!rc) rc = build_binding(b, p, ctx);
  p->transit = v->transit;
  p->tls_only = v->tls_only || p->sips;
  p->preloaded = v->preloaded_route;
  p->revalidate = v->in_dialog == TL_IN_DIALOG_REVALIDATE;
  p->check_set = v->check_from != TL_CONF_UNSET;
  if (p->check_set) p->check_from = (enum tl_check_from)v->check_from;
  const struct tl_tls_domain *d =
      p->domain ? p->domain
                : tl_tls_choose_client(&c->tls_set, tl_str_c(p->identity),
                                       p->n_addr ? &p->addr[0] : &none, &rule);
  p->by_cert = tl_transport_is_secure(p->transport) && (p->binding || (d && d->policy.verify_cert));
  return rc;
}

struct tl_addr_list *tl_conf_peer_found(const struct tl_conf_peer *p) {
  struct tl_addr_list *l = tl_addr_list_new();
  for (size_t i = 0; l && i < p->n_addr && i < TL_PEER_ADDRS_MAX; i++) {
    /* Their order is already final: each is a group of its own. */
    l->at[i].addr = p->addr[i];
    l->at[i].via = p->via[i];
    l->at[i].group = l->at[i].target = (uint8_t)i;
    l->n++;
  }
  return l;
}

void tl_conf_free_identity(struct tl_conf_peer *p) {
  list_free(p->identities);
  list_free(p->domains);
  free(p->network);
  tl_binding_unref(p->binding);
}

/* ---- routes ---- */

int tl_conf_build_source(const struct tl_conf *c, const struct tl_block *b,
                         struct tl_conf_route *r) {
  const struct tl_v_route *v = b->values;
  size_t n = 0;
  int rc = copy_list(v->peer_subject, false, &r->peer_subject);
  if (!rc) rc = copy_list(v->peer_issuer, false, &r->peer_issuer);
  if (!rc) rc = copy_list(v->peer_san, false, &r->peer_san);
  if (!rc) rc = copy_list(v->peer_fingerprint, false, &r->peer_fingerprint);
  if (!rc) rc = copy_list(v->peer_anchor, false, &r->peer_anchor);
  if (!rc) rc = build_networks(v->relay_networks, &r->relay_network, &r->n_relay_network);
  if (rc) return rc;
  r->preloaded = v->preloaded_route;
  r->verified_only = v->peer_verified == TL_WORD_TRUE;
  r->unverified_only = v->peer_verified == TL_WORD_FALSE;
  r->trust = v->trust == TL_CONF_UNSET ? TL_TRUST_ANY : (enum tl_trust)v->trust;
  while (r->from_peer && r->from_peer[n]) n++;
  if (n == 0) return TL_OK;
  if (!(r->from = calloc(n, sizeof(*r->from)))) return TL_ENOMEM;
  for (; r->n_from < n; r->n_from++)
    if (!(r->from[r->n_from] = tl_conf_peer_named(c, r->from_peer[r->n_from]))) return TL_ECONFIG;
  return TL_OK;
}

void tl_conf_free_source(struct tl_conf_route *r) {
  list_free(r->peer_subject);
  list_free(r->peer_issuer);
  list_free(r->peer_san);
  list_free(r->peer_fingerprint);
  list_free(r->peer_anchor);
  free(r->relay_network);
  free(r->from);
}
