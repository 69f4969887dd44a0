/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index of networks: each is a key made of its owner, its length and its bits.
 * An address is masked to each length that occurs, from the longest down.
 */
#include "tieline/network_index.h"

#include <endian.h>

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
static uint64_t key_of(uint64_t owner, const struct tl_addr *a, unsigned bits) {
  uint64_t w[2];
  mask_address(a, bits, w);
  w[0] ^= (uint64_t)bits << 1 | family_of(a);
  return tl_index_mix(tl_index_mix(w[0] ^ tl_index_mix(owner)) ^ w[1]);
}

uint64_t tl_network_index_ip(const struct tl_addr *a) {
  return key_of(0, a, family_bits[family_of(a)]);
}

int tl_network_index_add(struct tl_network_index *x, uint64_t owner,
                         const struct tl_network *network, uint32_t value) {
  unsigned bits = network->bits;
  x->lengths[family_of(&network->addr)][bits / 64] |= 1ull << (bits % 64);
  return tl_index_map_add(&x->map, key_of(owner, &network->addr, bits), value);
}

void tl_network_index_clear(struct tl_network_index *x) {
  tl_index_map_clear(&x->map);
  memset(x->lengths, 0, sizeof(x->lengths));
}

void tl_network_index_each(const struct tl_network_index *x, uint64_t owner,
                           const struct tl_addr *addr, tl_index_map_fn fn, void *arg) {
  const uint64_t *lengths = x->lengths[family_of(addr)];
  for (int word = 2; word >= 0; word--) {
    for (uint64_t left = lengths[word]; left;) {
      unsigned bit = 63u - (unsigned)__builtin_clzll(left);
      left &= ~(1ull << bit);
      const uint64_t key = key_of(owner, addr, (unsigned)word * 64 + bit);
      if (!tl_index_map_each(&x->map, key, fn, arg)) return;
    }
  }
}

struct narrowest {
  const struct tl_network *list, *found;
  const struct tl_addr *addr;
};

static bool take_narrowest(void *arg, uint32_t value) {
  struct narrowest *n = arg;
  if (tl_network_has(&n->list[value], n->addr)) n->found = &n->list[value];
  return !n->found;
}

const struct tl_network *tl_network_index_narrowest(const struct tl_network_index *x,
                                                    uint64_t owner, const struct tl_network *list,
                                                    const struct tl_addr *addr) {
  struct narrowest n = {.list = list, .addr = addr};
  tl_network_index_each(x, owner, addr, take_narrowest, &n);
  return n.found;
}
