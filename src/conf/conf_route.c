/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From checked blocks to the table of routes: names become pointers, lists and
 * networks are read. What each route demands goes into the route index,
 * route_table.c.
 */
#include <stdlib.h>

#include "conf/conf_internal.h"

void tl_conf_check_source(const struct tl_block *b, struct tl_conf_ctx *ctx) {
  const struct tl_v_route *r = b->values;
  bool names =
      r->peer_subject || r->peer_issuer || r->peer_san || r->peer_fingerprint || r->peer_anchor;
  if (names && r->peer_verified == TL_WORD_FALSE)
    tl_conf_fail(ctx, tl_block_at(b, "peer_verified"),
                 "peer_verified = false never meets a condition on a verified certificate");
  tl_conf_check_networks(b, "relay_networks", r->relay_networks, ctx);
  if (r->relay_networks && r->relay == TL_CONF_UNSET)
    tl_conf_fail(ctx, tl_block_at(b, "relay_networks"),
                 "relay_networks means nothing without relay: peers are reached wherever they are");
}

/* Peers stand in the order of their blocks. */
static const struct tl_conf_peer *peer_named(const struct tl_peer_set *peers, const char *name) {
  const struct tl_blocks *bs = &peers->raw->sec[TL_SEC_PEER];
  const struct tl_block *b = tl_blocks_find(bs, name);
  return b ? &peers->peer[b - bs->b] : NULL;
}

static int build_source(const struct tl_peer_set *peers, const struct tl_block *b,
                        struct tl_conf_route *r) {
  const struct tl_v_route *v = b->values;
  size_t n = 0;
  int rc = tl_conf_list_copy(v->peer_subject, false, &r->peer_subject);
  if (!rc) rc = tl_conf_list_copy(v->peer_issuer, false, &r->peer_issuer);
  if (!rc) rc = tl_conf_list_copy(v->peer_san, false, &r->peer_san);
  if (!rc) rc = tl_conf_list_copy(v->peer_fingerprint, false, &r->peer_fingerprint);
  if (!rc) rc = tl_conf_list_copy(v->peer_anchor, false, &r->peer_anchor);
  if (!rc) rc = tl_conf_build_networks(v->relay_networks, &r->relay_network, &r->n_relay_network);
  if (rc) return rc;
  r->preloaded = v->preloaded_route;
  r->verified_only = v->peer_verified == TL_WORD_TRUE;
  r->unverified_only = v->peer_verified == TL_WORD_FALSE;
  r->trust = v->trust == TL_CONF_UNSET ? TL_TRUST_ANY : (enum tl_trust)v->trust;
  while (r->from_peer && r->from_peer[n]) n++;
  if (n == 0) return TL_OK;
  if (!(r->from = calloc(n, sizeof(*r->from)))) return TL_ENOMEM;
  for (; r->n_from < n; r->n_from++)
    if (!(r->from[r->n_from] = peer_named(peers, r->from_peer[r->n_from]))) return TL_ECONFIG;
  return TL_OK;
}

static int build_route(const struct tl_conf *c, const struct tl_peer_set *peers,
                       const struct tl_block *b, struct tl_conf_route *r) {
  const struct tl_v_route *v = b->values;
  int rc;
  size_t n = 0;
  r->name = strdup(b->title);
  r->id = tl_conf_stable_id(b->title);
  r->to_prefix = v->to_prefix ? strdup(v->to_prefix) : NULL;
  r->prepend = v->prepend ? strdup(v->prepend) : NULL;
  r->strip = v->strip;
  r->relay_request_uri = v->relay != TL_CONF_UNSET;
  r->fork = (enum tl_fork)v->fork; /* the words stand in the order of the enum */
  r->stateless = v->stateless;
  struct tl_tls_domain *domain = tl_conf_domain_named(c, v->tls_domain);
  if (domain) r->domain = tl_tls_domain_ref(domain);
  if (!r->name || (v->to_prefix && !r->to_prefix) || (v->prepend && !r->prepend)) return TL_ENOMEM;
  if ((rc = tl_conf_list_copy(v->to_domain, true, &r->to_domain)) ||
      (rc = tl_conf_list_copy(v->from_peer, false, &r->from_peer)))
    return rc;
  if ((rc = build_source(peers, b, r))) return rc;
  while (v->peers && v->peers[n]) n++;
  if (!(r->peer = calloc(n + 1, sizeof(*r->peer)))) return TL_ENOMEM;
  for (; r->n_peer < n; r->n_peer++)
    if (!(r->peer[r->n_peer] = peer_named(peers, v->peers[r->n_peer]))) return TL_ECONFIG;
  return 0;
}

static int fill_table(struct tl_route_table *t, const struct tl_conf *c) {
  const struct tl_blocks *bs = &t->raw->sec[TL_SEC_ROUTE];
  if (!(t->route = calloc(bs->n + 1, sizeof(*t->route)))) return TL_ENOMEM;
  int rc = 0;
  for (size_t i = 0; i < bs->n && !rc; i++) {
    rc = build_route(c, t->peers, &bs->b[i], &t->route[t->n++]);
    if (!rc) rc = tl_route_table_index(t, (uint32_t)i);
  }
  return rc;
}

int tl_conf_build_routes(const struct tl_conf *c, struct tl_peer_set *peers,
                         struct tl_route_table **out) {
  struct tl_route_table *t = tl_route_table_new(peers, c->raw);
  int rc = t ? fill_table(t, c) : TL_ENOMEM;
  if (rc)
    tl_route_table_unref(t);
  else
    *out = t;
  return rc;
}
