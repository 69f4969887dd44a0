/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The peer index: a map for each thing that tells a peer. Who may be meant stands
 * in one list, so that the first that is taken ends the search.
 */
#include "tieline/peer_index.h"

#include "tieline/err.h"

static uint64_t place_key(enum tl_transport t, const struct tl_addr *a) {
  return tl_index_mix(tl_addr_hash(a) + (uint64_t)t);
}

static uint64_t known_key(enum tl_peer_way way, const struct tl_addr *a) {
  return tl_index_mix(tl_network_index_ip(a) + (uint64_t)way);
}

static uint64_t name_key(struct tl_str name) { return tl_index_mix(tl_index_host(name)); }

/* ---- filling ---- */

int tl_peer_index_add_id(struct tl_peer_index *x, uint32_t number, uint64_t id) {
  return tl_index_map_add(&x->ids, tl_index_mix(id), number);
}

int tl_peer_index_add_addr(struct tl_peer_index *x, uint32_t number, const struct tl_addr *addr) {
  return tl_index_map_add(&x->hosts, tl_network_index_ip(addr), number);
}

int tl_peer_index_add_place(struct tl_peer_index *x, uint32_t number, enum tl_transport t,
                            const struct tl_addr *addr) {
  return tl_index_map_add(&x->places, place_key(t, addr), number);
}

int tl_peer_index_add_only_tls(struct tl_peer_index *x, uint32_t number,
                               const struct tl_addr *addr) {
  return tl_index_map_add(&x->only_tls, tl_network_index_ip(addr), number);
}

int tl_peer_index_add_name(struct tl_peer_index *x, uint32_t number, struct tl_str name) {
  return tl_index_map_add(&x->names, name_key(name), number);
}

int tl_peer_index_add_known(struct tl_peer_index *x, uint32_t number, enum tl_peer_way way,
                            const struct tl_addr *addr) {
  return tl_index_map_add(&x->known_hosts, known_key(way, addr), number);
}

int tl_peer_index_add_known_place(struct tl_peer_index *x, uint32_t number, enum tl_transport t,
                                  const struct tl_addr *addr) {
  return tl_index_map_add(&x->known_places, place_key(t, addr), number);
}

int tl_peer_index_add_network(struct tl_peer_index *x, uint32_t number, enum tl_peer_way way,
                              const struct tl_network *network) {
  return tl_network_index_add(&x->networks, way, network, number);
}

void tl_peer_index_clear(struct tl_peer_index *x) {
  tl_index_map_clear(&x->ids);
  tl_index_map_clear(&x->hosts);
  tl_index_map_clear(&x->places);
  tl_index_map_clear(&x->known_hosts);
  tl_index_map_clear(&x->known_places);
  tl_index_map_clear(&x->only_tls);
  tl_index_map_clear(&x->names);
  tl_network_index_clear(&x->networks);
}

/* ---- finding ---- */

uint32_t tl_peer_index_by_id(const struct tl_peer_index *x, uint64_t id) {
  uint32_t node = tl_index_map_first(&x->ids, tl_index_mix(id));
  return node ? tl_index_map_node(&x->ids, node)->value : TL_PEER_NONE;
}

void tl_peer_index_by_addr(const struct tl_peer_index *x, const struct tl_addr *addr,
                           tl_peer_index_fn fn, void *arg) {
  tl_index_map_each(&x->hosts, tl_network_index_ip(addr), fn, arg);
}

void tl_peer_index_by_place(const struct tl_peer_index *x, enum tl_transport t,
                            const struct tl_addr *addr, tl_peer_index_fn fn, void *arg) {
  tl_index_map_each(&x->places, place_key(t, addr), fn, arg);
}

void tl_peer_index_by_only_tls(const struct tl_peer_index *x, const struct tl_addr *addr,
                               tl_peer_index_fn fn, void *arg) {
  tl_index_map_each(&x->only_tls, tl_network_index_ip(addr), fn, arg);
}

void tl_peer_index_by_name(const struct tl_peer_index *x, struct tl_str name, tl_peer_index_fn fn,
                           void *arg) {
  tl_index_map_each(&x->names, name_key(name), fn, arg);
}

void tl_peer_index_by_known(const struct tl_peer_index *x, enum tl_peer_way way,
                            const struct tl_addr *addr, tl_peer_index_fn fn, void *arg) {
  tl_index_map_each(&x->known_hosts, known_key(way, addr), fn, arg);
}

void tl_peer_index_by_known_place(const struct tl_peer_index *x, enum tl_transport t,
                                  const struct tl_addr *addr, tl_peer_index_fn fn, void *arg) {
  tl_index_map_each(&x->known_places, place_key(t, addr), fn, arg);
}

void tl_peer_index_by_network(const struct tl_peer_index *x, enum tl_peer_way way,
                              const struct tl_addr *addr, tl_peer_index_fn fn, void *arg) {
  tl_network_index_each(&x->networks, way, addr, fn, arg);
}
