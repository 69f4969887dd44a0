/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lists of peers: long ones go into maps of the set, keyed by peer, kind and
 * member. What is found there is compared with the list itself.
 */
#include "tieline/peer_lists.h"

#include "tieline/err.h"
#include "tieline/peer_table.h"

enum list_kind { IDENTITIES, IDENTITY_ADDRESSES, DOMAINS, KINDS };

static uint64_t owner_of(const struct tl_peer_set *s, const struct tl_conf_peer *p) {
  return (uint64_t)(p - s->peer) + 1;
}

static uint64_t member_key(uint64_t owner, enum list_kind kind, uint64_t member) {
  return tl_index_mix(tl_index_mix(owner * KINDS + kind) ^ member);
}

/* ---- filling ---- */

static uint32_t count_names(char *const *list) {
  uint32_t n = 0;
  while (list && list[n]) n++;
  return n;
}

static int index_names(struct tl_peer_set *s, uint64_t owner, enum list_kind kind,
                       char *const *list) {
  int rc = TL_OK;
  for (uint32_t i = 0; list[i] && rc == TL_OK; i++) {
    const struct tl_str name = tl_str_c(list[i]);
    struct tl_addr a;
    rc = tl_index_map_add(&s->lists.names, member_key(owner, kind, tl_index_host(name)), i);
    if (rc == TL_OK && kind == IDENTITIES && tl_addr_parse(name, 0, &a) == TL_OK)
      rc = tl_index_map_add(&s->lists.names,
                            member_key(owner, IDENTITY_ADDRESSES, tl_network_index_ip(&a)), i);
  }
  return rc;
}

static int index_peer(struct tl_peer_set *s, struct tl_conf_peer *p) {
  const uint64_t owner = owner_of(s, p);
  p->n_identity = count_names(p->opt.identity);
  p->n_domain = count_names(p->opt.domains);
  int rc = TL_OK;
  if (p->n_identity > TL_INDEX_FEW) rc = index_names(s, owner, IDENTITIES, p->opt.identity);
  if (p->n_domain > TL_INDEX_FEW && rc == TL_OK)
    rc = index_names(s, owner, DOMAINS, p->opt.domains);
  for (size_t i = 0; p->n_network > TL_INDEX_FEW && i < p->n_network && rc == TL_OK; i++)
    rc = tl_network_index_add(&s->lists.networks, owner, &p->network[i], (uint32_t)i);
  return rc;
}

int tl_peer_lists_index(struct tl_peer_set *s) {
  int rc = TL_OK;
  for (size_t i = 0; i < s->n && rc == TL_OK; i++) rc = index_peer(s, &s->peer[i]);
  return rc;
}

void tl_peer_lists_clear(struct tl_peer_lists *l) {
  tl_index_map_clear(&l->names);
  tl_network_index_clear(&l->networks);
}

/* ---- finding ---- */

static bool is_address(const char *listed, const struct tl_addr *addr) {
  struct tl_addr a;
  return tl_addr_parse(tl_str_c(listed), 0, &a) == TL_OK && tl_addr_ip_eq(&a, addr);
}

static bool walk_names(char *const *list, struct tl_str name) {
  while (list && *list && !tl_host_eq(tl_str_c(*list), name)) list++;
  return list && *list;
}

static bool find_name(const struct tl_peer_set *s, const struct tl_conf_peer *p,
                      enum list_kind kind, char *const *list, struct tl_str name) {
  const struct tl_index_map *m = &s->lists.names;
  const uint64_t key = member_key(owner_of(s, p), kind, tl_index_host(name));
  for (uint32_t node = tl_index_map_first(m, key); node; node = tl_index_map_node(m, node)->next)
    if (tl_host_eq(tl_str_c(list[tl_index_map_node(m, node)->value]), name)) return true;
  return false;
}

bool tl_peer_has_identity(const struct tl_peer_set *s, const struct tl_conf_peer *p,
                          struct tl_str name) {
  if (!p->opt.identity) return tl_host_eq(tl_str_c(p->identity), name);
  return p->n_identity > TL_INDEX_FEW ? find_name(s, p, IDENTITIES, p->opt.identity, name)
                                      : walk_names(p->opt.identity, name);
}

static bool walk_addresses(char *const *list, const struct tl_addr *addr) {
  while (*list && !is_address(*list, addr)) list++;
  return *list != NULL;
}

bool tl_peer_has_identity_at(const struct tl_peer_set *s, const struct tl_conf_peer *p,
                             const struct tl_addr *addr) {
  const struct tl_index_map *m = &s->lists.names;
  const uint64_t key = member_key(owner_of(s, p), IDENTITY_ADDRESSES, tl_network_index_ip(addr));
  if (!p->opt.identity) return is_address(p->identity, addr);
  if (p->n_identity <= TL_INDEX_FEW) return walk_addresses(p->opt.identity, addr);
  for (uint32_t node = tl_index_map_first(m, key); node; node = tl_index_map_node(m, node)->next)
    if (is_address(p->opt.identity[tl_index_map_node(m, node)->value], addr)) return true;
  return false;
}

bool tl_peer_has_domain(const struct tl_peer_set *s, const struct tl_conf_peer *p,
                        struct tl_str host) {
  return p->n_domain > TL_INDEX_FEW ? find_name(s, p, DOMAINS, p->opt.domains, host)
                                    : walk_names(p->opt.domains, host);
}

static const struct tl_network *walk_networks(const struct tl_conf_peer *p,
                                              const struct tl_addr *addr) {
  const struct tl_network *found = NULL;
  for (size_t i = 0; i < p->n_network; i++)
    if (tl_network_has(&p->network[i], addr) && (!found || p->network[i].bits > found->bits))
      found = &p->network[i];
  return found;
}

const struct tl_network *tl_peer_network(const struct tl_peer_set *s, const struct tl_conf_peer *p,
                                         const struct tl_addr *addr) {
  return p->n_network > TL_INDEX_FEW
             ? tl_network_index_narrowest(&s->lists.networks, owner_of(s, p), p->network, addr)
             : walk_networks(p, addr);
}
