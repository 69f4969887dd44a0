/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys of entries: up to 15 digits of 4 bits from the top, and their count below. An exact
 * entry has one digit more, which none else has. In the order of keys a prefix stands before
 * what begins with it.
 *
 * Ownership: none. Threads: any. Errors: none.
 */
#pragma once

#include "tieline/number_table.h"

#define TL_NUMBER_HEAD 3u       /* digits by which lengths are kept */
#define TL_NUMBER_EXACT_BIT 1u  /* of tl_number_table.lengths */
#define TL_NUMBER_END_DIGIT 15u /* behind the digits of an exact entry */

/* The first N digits of DIGITS, N from 1 to 15. */
static inline uint64_t tl_number_key(uint64_t digits, unsigned n) {
  return (digits & ~(~(uint64_t)0 >> 4 * n)) | n;
}

/* DIGITS, which are N, at most 14, and no others. */
static inline uint64_t tl_number_exact_key(uint64_t digits, unsigned n) {
  return digits | (uint64_t)TL_NUMBER_END_DIGIT << (60 - 4 * n) | (n + 1);
}

static inline unsigned tl_number_key_digit(uint64_t key, unsigned i) {
  return (unsigned)(key >> (60 - 4 * i)) & 15;
}

/* The bucket that KEY with its HASH belongs into. */
static inline uint32_t tl_number_home(const struct tl_number_table *t, uint64_t hash) {
  return (uint32_t)((hash >> 32) * t->n_bucket >> 32);
}

/* Its bit in tl_number_bucket.spilt. */
static inline uint32_t tl_number_spilt_bit(uint64_t hash) { return 1u << (hash & 31); }

/* The first three digits of DIGITS as a number. */
static inline unsigned tl_number_head(uint64_t digits) {
  return tl_number_key_digit(digits, 0) * 100 + tl_number_key_digit(digits, 1) * 10 +
         tl_number_key_digit(digits, 2);
}

/* The side table's hash of texts, character by character from 0 on. */
static inline uint64_t tl_number_hash(uint64_t hash, char c) {
  return tl_index_mix((hash ^ (unsigned char)c) + 1);
}
