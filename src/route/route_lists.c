/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is in the lists of routes. A short list is walked; the members of a long one
 * are keys of a map that tells their places, where they are compared.
 */
#include "route/route_lists.h"

#include "tieline/err.h"

enum list_kind { FROM_PEERS, PEERS, DOMAINS, KINDS };

static uint64_t owner_of(const struct tl_route_table *t, const struct tl_conf_route *r) {
  return (uint64_t)(r - t->route) + 1;
}

static uint64_t member_key(const struct tl_route_table *t, const struct tl_conf_route *r,
                           enum list_kind kind, uint64_t member) {
  return tl_index_mix(tl_index_mix(owner_of(t, r) * KINDS + kind) ^ member);
}

/* ---- filling ---- */

static int index_peers(struct tl_route_table *t, const struct tl_conf_route *r, enum list_kind kind,
                       const struct tl_conf_peer *const *list, size_t n) {
  int rc = TL_OK;
  for (size_t i = 0; n > TL_INDEX_FEW && i < n && rc == TL_OK; i++)
    rc = tl_index_map_add(&t->members, member_key(t, r, kind, list[i]->id), (uint32_t)i);
  return rc;
}

static int index_domains(struct tl_route_table *t, struct tl_conf_route *r) {
  char *const *list = r->opt.to_domain;
  int rc = TL_OK;
  if (!list) return TL_OK;
  while (list[r->n_domain]) r->n_domain++;
  for (uint32_t i = 0; r->n_domain > TL_INDEX_FEW && i < r->n_domain && rc == TL_OK; i++)
    rc = tl_index_map_add(&t->members, member_key(t, r, DOMAINS, tl_index_host(tl_str_c(list[i]))),
                          i);
  return rc;
}

int tl_route_lists_index(struct tl_route_table *t, struct tl_conf_route *r) {
  const size_t n = r->n_relay_network;
  int rc = index_domains(t, r);
  if (rc == TL_OK) rc = index_peers(t, r, FROM_PEERS, r->from, r->n_from);
  if (rc == TL_OK) rc = index_peers(t, r, PEERS, r->peer, r->n_peer);
  for (size_t i = 0; n > TL_INDEX_FEW && i < n && rc == TL_OK; i++)
    rc =
        tl_network_index_add(&t->relay_networks, owner_of(t, r), &r->relay_network[i], (uint32_t)i);
  return rc;
}

/* ---- finding ---- */

static bool has_peer(const struct tl_route_table *t, const struct tl_conf_route *r,
                     enum list_kind kind, const struct tl_conf_peer *const *list, size_t n,
                     const struct tl_conf_peer *peer) {
  if (n <= TL_INDEX_FEW) {
    for (size_t i = 0; i < n; i++)
      if (list[i] == peer) return true;
    return false;
  }
  uint32_t node = tl_index_map_first(&t->members, member_key(t, r, kind, peer->id));
  for (; node; node = tl_index_map_node(&t->members, node)->next)
    if (list[tl_index_map_node(&t->members, node)->value] == peer) return true;
  return false;
}

bool tl_route_is_from(const struct tl_route_table *t, const struct tl_conf_route *r,
                      const struct tl_conf_peer *peer) {
  return has_peer(t, r, FROM_PEERS, r->from, r->n_from, peer);
}

bool tl_route_leads_to(const struct tl_route_table *t, const struct tl_conf_route *r,
                       const struct tl_conf_peer *peer) {
  return has_peer(t, r, PEERS, r->peer, r->n_peer, peer);
}

bool tl_route_has_domain(const struct tl_route_table *t, const struct tl_conf_route *r,
                         struct tl_str host) {
  char *const *list = r->opt.to_domain;
  if (r->n_domain <= TL_INDEX_FEW) {
    while (*list && !tl_str_ieq(tl_str_c(*list), host)) list++;
    return *list != NULL;
  }
  uint32_t node = tl_index_map_first(&t->members, member_key(t, r, DOMAINS, tl_index_host(host)));
  for (; node; node = tl_index_map_node(&t->members, node)->next)
    if (tl_str_ieq(tl_str_c(list[tl_index_map_node(&t->members, node)->value]), host)) return true;
  return false;
}

bool tl_route_relays_into(const struct tl_route_table *t, const struct tl_conf_route *r,
                          const struct tl_addr *addr) {
  const size_t n = r->n_relay_network;
  if (n > TL_INDEX_FEW)
    return tl_network_index_narrowest(&t->relay_networks, owner_of(t, r), r->relay_network, addr);
  for (size_t i = 0; i < n; i++)
    if (tl_network_has(&r->relay_network[i], addr)) return true;
  return false;
}
