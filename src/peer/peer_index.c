/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The peer index: four maps, one for each thing that tells a peer. Networks are
 * looked up once for each length that occurs; their number does not matter.
 */
#include "tieline/peer_index.h"

#include <endian.h>
#include <stdlib.h>

#include "tieline/err.h"

static const unsigned family_bits[2] = {32, 128};

static unsigned family_of(const struct tl_addr *a) { return a->sa.sa_family == AF_INET6; }

/* The first BITS of the address, as two numbers. */
static void mask_address(const struct tl_addr *a, unsigned bits, uint64_t out[2]) {
  uint64_t w[2] = {0, 0};
  if (family_of(a))
    memcpy(w, &a->v6.sin6_addr, sizeof(w));
  else
    memcpy(w, &a->v4.sin_addr, sizeof(a->v4.sin_addr));
  uint64_t high = be64toh(w[0]), low = be64toh(w[1]);
  out[0] = bits == 0 ? 0 : bits >= 64 ? high : high & ~0ull << (64 - bits);
  out[1] = bits <= 64 ? 0 : bits >= 128 ? low : low & ~0ull << (128 - bits);
}

/* Addresses come from the network, but nothing of theirs is ever added: no key is needed. */
static uint64_t address_key(const struct tl_addr *a, unsigned bits) {
  uint64_t w[2];
  mask_address(a, bits, w);
  return tl_index_mix(tl_index_mix(w[0] ^ ((uint64_t)bits << 1 | family_of(a))) ^ w[1]);
}

static uint64_t name_key(struct tl_str name) {
  uint64_t h = 0xcbf29ce484222325u;
  if (name.n && name.p[name.n - 1] == '.') name.n--;
  for (size_t i = 0; i < name.n; i++) h = (h ^ ((unsigned char)name.p[i] | 0x20)) * 0x100000001b3u;
  return tl_index_mix(h);
}

/* ---- filling ---- */

int tl_peer_index_add_id(struct tl_peer_index *x, uint32_t number, uint64_t id) {
  return tl_index_map_add(&x->ids, tl_index_mix(id), number);
}

int tl_peer_index_add_addr(struct tl_peer_index *x, uint32_t number, const struct tl_addr *addr) {
  return tl_index_map_add(&x->hosts, address_key(addr, family_bits[family_of(addr)]), number);
}

int tl_peer_index_add_network(struct tl_peer_index *x, uint32_t number,
                              const struct tl_network *network) {
  unsigned bits = network->bits;
  x->lengths[family_of(&network->addr)][bits / 64] |= 1ull << (bits % 64);
  return tl_index_map_add(&x->networks, address_key(&network->addr, bits), number);
}

int tl_peer_index_add_name(struct tl_peer_index *x, uint32_t number, struct tl_str name) {
  return tl_index_map_add(&x->names, name_key(name), number);
}

void tl_peer_index_clear(struct tl_peer_index *x) {
  tl_index_map_clear(&x->ids);
  tl_index_map_clear(&x->hosts);
  tl_index_map_clear(&x->networks);
  tl_index_map_clear(&x->names);
  memset(x->lengths, 0, sizeof(x->lengths));
}

/* ---- finding ---- */

uint32_t tl_peer_index_by_id(const struct tl_peer_index *x, uint64_t id) {
  uint32_t node = tl_index_map_first(&x->ids, tl_index_mix(id));
  return node ? tl_index_map_node(&x->ids, node)->value : TL_PEER_NONE;
}

static bool offer_list(const struct tl_index_map *m, uint64_t key, tl_peer_index_fn fn, void *arg) {
  const struct tl_index_node *at;
  for (uint32_t node = tl_index_map_first(m, key); node; node = at->next) {
    at = tl_index_map_node(m, node);
    if (!fn(arg, at->value)) return false;
  }
  return true;
}

void tl_peer_index_by_addr(const struct tl_peer_index *x, const struct tl_addr *addr,
                           tl_peer_index_fn fn, void *arg) {
  offer_list(&x->hosts, address_key(addr, family_bits[family_of(addr)]), fn, arg);
}

void tl_peer_index_by_network(const struct tl_peer_index *x, const struct tl_addr *addr,
                              tl_peer_index_fn fn, void *arg) {
  const uint64_t *lengths = x->lengths[family_of(addr)];
  for (int word = 2; word >= 0; word--) {
    for (uint64_t left = lengths[word]; left;) {
      unsigned bit = 63u - (unsigned)__builtin_clzll(left);
      left &= ~(1ull << bit);
      if (!offer_list(&x->networks, address_key(addr, (unsigned)word * 64 + bit), fn, arg)) return;
    }
  }
}

void tl_peer_index_by_name(const struct tl_peer_index *x, struct tl_str name, tl_peer_index_fn fn,
                           void *arg) {
  offer_list(&x->names, name_key(name), fn, arg);
}
