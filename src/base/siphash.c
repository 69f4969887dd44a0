/* SPDX-License-Identifier: Apache-2.0 */
/* SipHash-c-d as its authors define it, little-endian loads. */
#include "tieline/siphash.h"

#include <string.h>

#define ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))

struct sip {
  uint64_t v0, v1, v2, v3;
};

static inline void sip_round(struct sip *s) {
  s->v0 += s->v1;
  s->v1 = ROTL(s->v1, 13) ^ s->v0;
  s->v0 = ROTL(s->v0, 32);
  s->v2 += s->v3;
  s->v3 = ROTL(s->v3, 16) ^ s->v2;
  s->v0 += s->v3;
  s->v3 = ROTL(s->v3, 21) ^ s->v0;
  s->v2 += s->v1;
  s->v1 = ROTL(s->v1, 17) ^ s->v2;
  s->v2 = ROTL(s->v2, 32);
}

static inline uint64_t load_word(const uint8_t *p) {
  uint64_t v;
  memcpy(&v, p, 8);
  return v;
}

static inline void absorb_word(struct sip *s, uint64_t m, int rounds) {
  s->v3 ^= m;
  for (int i = 0; i < rounds; i++) sip_round(s);
  s->v0 ^= m;
}

static inline uint64_t last_word(const uint8_t *p, size_t n, uint64_t len) {
  uint64_t last = len << 56;
  for (size_t i = 0; i < n; i++) last |= (uint64_t)p[i] << (8 * i);
  return last;
}

static inline uint64_t sip_hash(const uint8_t key[16], const uint8_t *p, size_t n, int c, int d) {
  uint64_t k0 = load_word(key), k1 = load_word(key + 8);
  size_t len = n;
  struct sip s = {k0 ^ 0x736f6d6570736575ull, k1 ^ 0x646f72616e646f6dull,
                  k0 ^ 0x6c7967656e657261ull, k1 ^ 0x7465646279746573ull};
  for (; n >= 8; n -= 8, p += 8) absorb_word(&s, load_word(p), c);
  absorb_word(&s, last_word(p, n, len), c);
  s.v2 ^= 0xff;
  for (int i = 0; i < d; i++) sip_round(&s);
  return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

uint64_t tl_siphash(const uint8_t key[16], const void *p, size_t n) {
  return sip_hash(key, p, n, 2, 4);
}

uint64_t tl_siphash13(const uint8_t key[16], const void *p, size_t n) {
  return sip_hash(key, p, n, 1, 3);
}
