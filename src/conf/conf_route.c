/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From checked blocks to the table of routes: names become pointers, lists and
 * networks are read. What each route demands goes into the route index,
 * route/route_table.c.
 */
#include <stdlib.h>

#include "conf/conf_internal.h"

void tl_conf_check_source(const struct tl_block *b, struct tl_conf_ctx *ctx) {
  const struct tl_route_options *r = b->values;
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

static int find_peers(const struct tl_peer_set *peers, char *const *names,
                      const struct tl_conf_peer ***out, size_t *out_n) {
  size_t n = 0;
  while (names && names[n]) n++;
  if (!(*out = calloc(n + 1, sizeof(**out)))) return TL_ENOMEM;
  for (; *out_n < n; ++*out_n)
    if (!((*out)[*out_n] = peer_named(peers, names[*out_n]))) return TL_ECONFIG;
  return TL_OK;
}

static int build_route(const struct tl_conf *c, const struct tl_peer_set *peers,
                       const struct tl_block *b, struct tl_conf_route *r) {
  r->opt = *(const struct tl_route_options *)b->values;
  if ((uint32_t)r->opt.trust == TL_CONF_UNSET) r->opt.trust = TL_TRUST_ANY;
  r->verified_only = r->opt.peer_verified == TL_WORD_TRUE;
  r->unverified_only = r->opt.peer_verified == TL_WORD_FALSE;
  r->relay_request_uri = r->opt.relay != TL_CONF_UNSET;
  r->id = tl_index_name_id(b->title);
  struct tl_tls_domain *domain = tl_conf_domain_named(c, r->opt.tls_domain);
  if (domain) r->domain = tl_tls_domain_ref(domain);
  if (!(r->name = strdup(b->title))) return TL_ENOMEM;
  int rc = tl_conf_build_networks(r->opt.relay_networks, &r->relay_network, &r->n_relay_network);
  if (!rc) rc = find_peers(peers, r->opt.from_peer, &r->from, &r->n_from);
  return rc ? rc : find_peers(peers, r->opt.peers, &r->peer, &r->n_peer);
}

static int fill_table(struct tl_route_table *t, const struct tl_conf *c) {
  const struct tl_blocks *bs = &t->raw->sec[TL_SEC_ROUTE];
  if (!(t->route = calloc(bs->n + 1, sizeof(*t->route)))) return TL_ENOMEM;
  int rc = TL_OK;
  for (size_t i = 0; i < bs->n && !rc; i++) {
    rc = build_route(c, t->peers, &bs->b[i], &t->route[t->n++]);
    if (!rc) rc = tl_route_table_index(t, (uint32_t)i);
  }
  return rc;
}

int tl_conf_build_routes(const struct tl_conf *c, struct tl_peer_set *peers,
                         struct tl_route_table **out) {
  struct tl_route_table *t = tl_route_table_new(peers, tl_raw_ref(c->raw), tl_raw_unref);
  int rc = t ? fill_table(t, c) : TL_ENOMEM;
  if (rc)
    tl_route_table_unref(t);
  else
    *out = t;
  return rc;
}
