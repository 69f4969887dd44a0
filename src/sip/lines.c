/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Line ends of a message head by vector comparison (AVX2, SSE2, plain C).
 *
 * Each step turns 64 bytes into three bit masks (CR, LF, NUL); everything else
 * is arithmetic on those masks, the same for all implementations. It does not
 * know what a header is; scan.c does.
 */
#include "lines.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

struct masks {
  uint64_t cr, lf, nul;
};

struct walk {
  uint64_t cr;   /* bit 0: the byte before this block was a CR */
  uint64_t pair; /* bits 0, 1: a CRLF ended two bytes, one byte before this block */
  uint64_t stray, nul;
  uint32_t *next; /* of out->end */
};

/* Notes the line ends in PAIR, a mask of the block at BASE. */
INLINE void note_ends(struct lines *out, struct walk *w, uint64_t pair, uint32_t base) {
  for (; pair; pair &= pair - 1) {
    if (w->next == out->end + LINES_MAX) {
      out->full = 1;
      return;
    }
    *w->next++ = base + (uint32_t)__builtin_ctzll(pair) + 1;
  }
}

/*
 * Takes the block at BASE; VALID has a bit for each byte that exists. Returns 1
 * when the empty line is in it. What follows the empty line is body and may be
 * anything.
 */
INLINE int take_block(struct lines *out, struct walk *w, struct masks m, uint32_t base,
                      uint64_t valid) {
  uint64_t after_cr = (m.cr << 1) | w->cr;
  uint64_t pair = after_cr & m.lf & valid;
  uint64_t empty = pair & ((pair << 2) | w->pair);
  uint64_t stray = (after_cr ^ m.lf) & valid, nul = m.nul & valid;
  if (empty) {
    uint64_t head = empty ^ (empty - 1); /* up to and including the lowest bit */
    note_ends(out, w, pair & head, base);
    w->stray |= stray & head;
    w->nul |= nul & head;
    out->head_len = base + (uint32_t)__builtin_ctzll(empty) + 1;
    return 1;
  }
  note_ends(out, w, pair, base);
  w->stray |= stray;
  w->nul |= nul;
  w->cr = m.cr >> 63;
  w->pair = pair >> 62;
  return 0;
}

/* The last bytes are copied first, so that no load reads past the end. */
INLINE uint64_t last_block(char dst[64], const char *src, uint32_t n) {
  memset(dst, ' ', 64);
  memcpy(dst, src, n);
  return (UINT64_C(1) << n) - 1;
}

INLINE struct masks masks_plain(const char *p) {
  struct masks m = {0, 0, 0};
  for (unsigned i = 0; i < 64; i++) {
    m.cr |= (uint64_t)(p[i] == '\r') << i;
    m.lf |= (uint64_t)(p[i] == '\n') << i;
    m.nul |= (uint64_t)(p[i] == '\0') << i;
  }
  return m;
}

#define FIND(name, attribute, masks_of)                                                            \
  attribute static void name(const char *p, uint32_t n, struct lines *out) {                       \
    struct walk w = {0, 0, 0, 0, out->end};                                                        \
    char tail[64];                                                                                 \
    uint32_t at = 0;                                                                               \
    int done = 0;                                                                                  \
    out->head_len = out->full = 0;                                                                 \
    for (; !done && n - at >= 64; at += 64)                                                        \
      done = take_block(out, &w, masks_of(p + at), at, ~UINT64_C(0));                              \
    if (!done && at < n) {                                                                         \
      uint64_t valid = last_block(tail, p + at, n - at);                                           \
      take_block(out, &w, masks_of(tail), at, valid);                                              \
    }                                                                                              \
    out->n = (uint32_t)(w.next - out->end);                                                        \
    out->stray = w.stray;                                                                          \
    out->nul = w.nul;                                                                              \
  }

FIND(find_plain, , masks_plain)

#if defined(__x86_64__)

INLINE uint64_t eq_sse2(const __m128i b[4], char c) {
  __m128i v = _mm_set1_epi8(c);
  uint64_t m = 0;
  for (unsigned i = 0; i < 4; i++)
    m |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(b[i], v)) << (16 * i);
  return m;
}

INLINE struct masks masks_sse2(const char *p) {
  __m128i b[4];
  for (unsigned i = 0; i < 4; i++) b[i] = _mm_loadu_si128((const __m128i *)(p + 16 * i));
  return (struct masks){eq_sse2(b, '\r'), eq_sse2(b, '\n'), eq_sse2(b, '\0')};
}

#define AVX2 __attribute__((target("avx2")))

AVX2 INLINE uint64_t eq_avx2(__m256i lo, __m256i hi, char c) {
  __m256i v = _mm256_set1_epi8(c);
  uint32_t l = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(lo, v));
  uint32_t h = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(hi, v));
  return l | (uint64_t)h << 32;
}

AVX2 INLINE struct masks masks_avx2(const char *p) {
  __m256i lo = _mm256_loadu_si256((const __m256i *)p);
  __m256i hi = _mm256_loadu_si256((const __m256i *)(p + 32));
  return (struct masks){eq_avx2(lo, hi, '\r'), eq_avx2(lo, hi, '\n'), eq_avx2(lo, hi, '\0')};
}

FIND(find_sse2, , masks_sse2)
FIND(find_avx2, AVX2, masks_avx2)

#endif

/* Best first; written once, before main, so no thread sees it change. */
static struct lines_impl impls[4] = {{"plain", find_plain}};

__attribute__((constructor)) static void choose_impls(void) {
  unsigned n = 0;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) impls[n++] = (struct lines_impl){"avx2", find_avx2};
  impls[n++] = (struct lines_impl){"sse2", find_sse2};
#endif
  impls[n] = (struct lines_impl){"plain", find_plain};
}

void tl_lines_find(const char *p, uint32_t n, struct lines *out) { impls[0].find(p, n, out); }

const struct lines_impl *tl_lines_impls(void) { return impls; }
