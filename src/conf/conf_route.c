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

static int find_peers(const struct tl_peer_set *peers, char *const *names,
                      const struct tl_conf_peer ***out, size_t *out_n) {
  size_t n = 0;
  while (names && names[n]) n++;
  if (!(*out = calloc(n + 1, sizeof(**out)))) return TL_ENOMEM;
  for (; *out_n < n; ++*out_n)
    if (!((*out)[*out_n] = tl_conf_peer_named(peers, names[*out_n]))) return TL_ECONFIG;
  return TL_OK;
}

static int find_dest(const struct tl_route_table *t, const char *name, struct tl_route_dest *out) {
  const struct tl_blocks *groups = &t->raw->sec[TL_SEC_GROUP];
  const struct tl_block *g = tl_blocks_find(groups, name);
  if (g)
    out->group = &t->group[g - groups->b];
  else
    out->peer = tl_conf_peer_named(t->peers, name);
  return out->group || out->peer ? TL_OK : TL_ECONFIG;
}

static int find_dests(const struct tl_route_table *t, char *const *names, struct tl_conf_route *r) {
  size_t n = 0;
  int rc = TL_OK;
  while (names && names[n]) n++;
  if (!(r->dest = calloc(n + 1, sizeof(*r->dest)))) return TL_ENOMEM;
  for (; r->n_dest < n && rc == TL_OK; r->n_dest++)
    rc = find_dest(t, names[r->n_dest], &r->dest[r->n_dest]);
  for (size_t i = 0; i < r->n_dest; i++) r->has_groups |= r->dest[i].group != NULL;
  return rc;
}

/* PEER is one that R leads to; SEEN has those before it. */
static int add_peer(struct tl_conf_route *r, const struct tl_conf_peer *peer,
                    struct tl_index_map *seen) {
  const uint64_t key = tl_index_mix(peer->id);
  if (tl_index_map_first(seen, key)) return TL_OK;
  r->peer[r->n_peer] = peer;
  return tl_index_map_add(seen, key, (uint32_t)r->n_peer++);
}

static int list_peers(struct tl_conf_route *r) {
  struct tl_index_map seen = {.mask = 0};
  size_t n = 0;
  int rc = TL_OK;
  for (size_t i = 0; i < r->n_dest; i++) n += r->dest[i].group ? r->dest[i].group->n : 1;
  if (!(r->peer = calloc(n + 1, sizeof(*r->peer)))) return TL_ENOMEM;
  for (size_t i = 0; i < r->n_dest && rc == TL_OK; i++) {
    const struct tl_route_dest *d = &r->dest[i];
    if (d->peer) rc = add_peer(r, d->peer, &seen);
    for (size_t k = 0; d->group && k < d->group->n && rc == TL_OK; k++)
      rc = add_peer(r, d->group->member[k].peer, &seen);
  }
  tl_index_map_clear(&seen);
  return rc;
}

static int build_route(const struct tl_conf *c, const struct tl_route_table *t,
                       const struct tl_block *b, struct tl_conf_route *r) {
  r->opt = *(const struct tl_route_options *)b->values;
  if ((uint32_t)r->opt.trust == TL_CONF_UNSET) r->opt.trust = TL_TRUST_ANY;
  r->verified_only = r->opt.peer_verified == TL_WORD_TRUE;
  r->unverified_only = r->opt.peer_verified == TL_WORD_FALSE;
  r->relay_request_uri = r->opt.relay != TL_CONF_UNSET;
  r->id = tl_index_name_id(b->title);
  tl_conf_build_outcomes(b, "reroute_on", r->opt.reroute_on, &r->reroute_on);
  tl_conf_build_outcomes(b, "stop_on", r->opt.stop_on, &r->stop_on);
  struct tl_tls_domain *domain = tl_conf_domain_named(c, r->opt.tls_domain);
  if (domain) r->domain = tl_tls_domain_ref(domain);
  if (!(r->name = strdup(b->title))) return TL_ENOMEM;
  int rc = tl_conf_build_networks(r->opt.relay_networks, &r->relay_network, &r->n_relay_network);
  if (!rc) rc = find_peers(t->peers, r->opt.from_peer, &r->from, &r->n_from);
  if (!rc) rc = find_dests(t, r->opt.peers, r);
  return rc ? rc : list_peers(r);
}

static int fill_table(struct tl_route_table *t, const struct tl_conf *c) {
  const struct tl_blocks *bs = &t->raw->sec[TL_SEC_ROUTE];
  if (!(t->route = calloc(bs->n + 1, sizeof(*t->route)))) return TL_ENOMEM;
  int rc = tl_conf_build_groups(t);
  for (size_t i = 0; i < bs->n && !rc; i++) {
    rc = build_route(c, t, &bs->b[i], &t->route[t->n++]);
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
