/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Header names to ids, by long or compact form (RFC 3261 7.3.3), any case.
 *
 * Ownership: none. Threads: any. Errors: none, an unknown name is TL_H_OTHER.
 *
 * Length, first and last letter give the one slot of a table where the name
 * could stand, so a header costs one comparison and no jump that depends on it.
 */
#pragma once

#include "lex.h"
#include "tieline/scan.h"

#define HEADER_SLOTS 64
#define HEADER_SLOT(first, last, len) (((len)*5u + (first) + (last)*9u) % HEADER_SLOTS)

struct header_name {
  char text[30]; /* lower case, padded with zeros */
  uint8_t len;   /* 0: empty slot */
  uint8_t id;
};

extern const struct header_name tl_header_names[HEADER_SLOTS];

/* The only entry that the name in the N > 0 bytes at P can match. */
static inline const struct header_name *header_candidate(const char *p, size_t n) {
  unsigned first = (unsigned char)p[0] | 0x20u, last = (unsigned char)p[n - 1] | 0x20u;
  return &tl_header_names[HEADER_SLOT(first, last, n)];
}

#if defined(__SSE2__)
/* One bit for each of 16 bytes that is equal but for case. 0x20 also maps '\r' to '-', but a name
 * cannot contain a CR: it would have ended the line. */
static inline unsigned header_equal(__m128i name, const struct header_name *e) {
  __m128i lower = _mm_or_si128(name, _mm_set1_epi8(0x20));
  __m128i text = _mm_loadu_si128((const __m128i *)(const void *)e->text);
  return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(lower, text));
}
#endif

/* The id of the name in the N > 0 bytes at P. */
static inline enum tl_hdr_id header_id(const char *p, size_t n) {
  const struct header_name *e = header_candidate(p, n);
  return e->len == n && strncasecmp(p, e->text, n) == 0 ? (enum tl_hdr_id)e->id : TL_H_OTHER;
}
