/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers in hex: tokens are full of them, and each message carries some, so that
 * sixteen digits are written and read at once where the processor can.
 *
 * Ownership: none. Threads: any. Errors: TL_ENOTFOUND where a character is not a digit.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "tieline/err.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* Sixteen digits, lower case. */
static inline void tl_hex_put64(uint64_t v, char *out) {
#if defined(__SSE2__)
  __m128i bytes = _mm_cvtsi64_si128((int64_t)__builtin_bswap64(v)), low4 = _mm_set1_epi8(15);
  __m128i high = _mm_and_si128(_mm_srli_epi16(bytes, 4), low4), low = _mm_and_si128(bytes, low4);
  __m128i n = _mm_unpacklo_epi8(high, low);
  __m128i letter = _mm_cmpgt_epi8(n, _mm_set1_epi8(9));
  __m128i add =
      _mm_add_epi8(_mm_set1_epi8('0'), _mm_and_si128(letter, _mm_set1_epi8('a' - '0' - 10)));
  _mm_storeu_si128((__m128i *)(void *)out, _mm_add_epi8(n, add));
#else
  for (int i = 15; i >= 0; i--, v >>= 4) out[i] = "0123456789abcdef"[v & 15];
#endif
}

/* The DIGITS low ones of V, at most 16. */
static inline void tl_hex_put(uint64_t v, unsigned digits, char *out) {
  char all[16];
  tl_hex_put64(v, all);
  memcpy(out, all + 16 - digits, digits);
}

/* The first DIGITS, 1 to 16, of the 16 characters at S, all of which are read. They may come back
 * in the other case (RFC 3261 7.3.1). */
static inline int tl_hex_take(const char *s, unsigned digits, uint64_t *out) {
#if defined(__SSE2__)
  __m128i v = _mm_loadu_si128((const __m128i *)(const void *)s);
  __m128i lower = _mm_or_si128(v, _mm_set1_epi8(0x20));
  __m128i digit = _mm_and_si128(_mm_cmpgt_epi8(v, _mm_set1_epi8('0' - 1)),
                                _mm_cmplt_epi8(v, _mm_set1_epi8('9' + 1)));
  __m128i letter = _mm_and_si128(_mm_cmpgt_epi8(lower, _mm_set1_epi8('a' - 1)),
                                 _mm_cmplt_epi8(lower, _mm_set1_epi8('f' + 1)));
  unsigned good = (unsigned)_mm_movemask_epi8(_mm_or_si128(digit, letter));
  __m128i n =
      _mm_add_epi8(_mm_and_si128(v, _mm_set1_epi8(15)), _mm_and_si128(letter, _mm_set1_epi8(9)));
  /* two digits, the first in the low half of each 16 bits, into one byte */
  __m128i pair = _mm_or_si128(_mm_slli_epi16(n, 4), _mm_srli_epi16(n, 8));
  pair = _mm_packus_epi16(_mm_and_si128(pair, _mm_set1_epi16(255)), _mm_setzero_si128());
  uint64_t all = __builtin_bswap64((uint64_t)_mm_cvtsi128_si64(pair));
  *out = all >> (64 - 4 * digits);
  return (~good & (0xffffu >> (16 - digits))) == 0 ? TL_OK : TL_ENOTFOUND;
#else
  uint64_t all = 0;
  bool good = true;
  for (unsigned i = 0; i < digits; i++) {
    unsigned c = (unsigned char)s[i], letter = (c | 0x20) - 'a', digit = c - '0';
    good &= digit <= 9 || letter <= 5;
    all = all << 4 | (digit <= 9 ? digit : (letter + 10) & 15);
  }
  *out = all;
  return good ? TL_OK : TL_ENOTFOUND;
#endif
}

static inline int tl_hex_take64(const char *s, uint64_t *out) { return tl_hex_take(s, 16, out); }
