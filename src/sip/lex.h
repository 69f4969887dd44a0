/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Character classes and small steps shared by the parsers of this folder.
 *
 * Ownership: slices into the caller's bytes. Threads: any. Errors: TL_ESYNTAX.
 *
 * LWS here is any run of SP, HT, CR and LF: the scanner has already made sure
 * that CR and LF occur inside a value only as a fold (RFC 3261 7.3.1).
 */
#pragma once

#include "tieline/err.h"
#include "tieline/str.h"
#include "tieline/uri.h"
#include "tieline/via.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum {
  LEX_TOKEN = 1,   /* RFC 3261 25.1 token */
  LEX_HOST = 2,    /* letters, digits, '-', '.', and '_', which exists in the wild */
  LEX_URI = 4,     /* any character of an absolute URI, '%', and what a user part may have */
  LEX_USER = 8,    /* user, with '%' and what exists in the wild */
  LEX_PASS = 16,   /* password, with '%' */
  LEX_PARAM = 32,  /* paramchar of a SIP URI, with '%' */
  LEX_HEADER = 64, /* hname, hvalue, '=' and '&' of a SIP URI, with '%' */
  LEX_VALUE = 128, /* unquoted value of a header parameter: token or host */
  LEX_WS = 256,
  LEX_DIGIT = 512,
  LEX_HEX = 1024,
  LEX_ALPHA = 2048,
  LEX_BARE = 4096, /* URI without brackets: LEX_URI less ';', ',' and '?' */
};

extern const uint16_t tl_lex_class[256];

static inline bool lex_is(char c, unsigned classes) {
  return (tl_lex_class[(unsigned char)c] & classes) != 0;
}

/*
 * A cursor. Bytes from E to R exist but are not part of the value: vector loads
 * may touch them, results never do. The scanner sets R to the end of what was
 * received, all other callers to E.
 */
struct lex {
  const char *p; /* next byte */
  const char *e; /* end */
  const char *r; /* end of what may be loaded */
};

/*
 * Clears N bytes through the library. With a constant N gcc 12 puts "rep stos"
 * here, whose start-up alone costs more than the rest of a short parse.
 */
static inline void lex_clear(void *p, size_t n) {
  __asm__("" : "+r"(n));
  memset(p, 0, n);
}

static inline struct lex lex_of(struct tl_str s) { return (struct lex){s.p, s.p + s.n, s.p + s.n}; }

static inline void lex_ws(struct lex *c) {
  while (c->p < c->e && lex_is(*c->p, LEX_WS)) c->p++;
}

static inline struct tl_str lex_digits(struct lex *c) {
  const char *start = c->p;
  while (c->p < c->e && lex_is(*c->p, LEX_DIGIT)) c->p++;
  return (struct tl_str){start, (size_t)(c->p - start)};
}

#if defined(__SSE2__)
/* One bit for each of 16 bytes that is not a letter, digit, '-' or '.': those are in every class
 * that lex_run is used with. */
static inline unsigned lex_uncommon(__m128i v) {
  __m128i lower = _mm_or_si128(v, _mm_set1_epi8(0x20));
  __m128i letter = _mm_cmplt_epi8(_mm_add_epi8(lower, _mm_set1_epi8((char)(0x80 - 'a'))),
                                  _mm_set1_epi8((char)(0x80 + 26)));
  /* '-' to '9', except '/', which lies between them */
  __m128i digit = _mm_cmplt_epi8(_mm_add_epi8(v, _mm_set1_epi8((char)(0x80 - '-'))),
                                 _mm_set1_epi8((char)(0x80 + 13)));
  __m128i slash = _mm_cmpeq_epi8(v, _mm_set1_epi8('/'));
  __m128i common = _mm_or_si128(letter, _mm_andnot_si128(slash, digit));
  return (unsigned)_mm_movemask_epi8(common) ^ 0xffffu;
}

static inline unsigned lex_mask(__m128i v, char b) {
  return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8(b)));
}

/* The same for LEX_URI: one bit for each byte that is not in it, and for '!' and '~'. */
static inline unsigned lex_uncommon_uri(__m128i v) {
  __m128i even = _mm_or_si128(v, _mm_set1_epi8(2)); /* '<' to '>', '\\' to '^' */
  __m128i angle = _mm_cmpeq_epi8(even, _mm_set1_epi8('>'));
  __m128i slant = _mm_cmpeq_epi8(even, _mm_set1_epi8('^'));
  __m128i tick = _mm_cmpeq_epi8(v, _mm_set1_epi8('`'));
  __m128i low = _mm_cmplt_epi8(v, _mm_set1_epi8('$')); /* '#', '"', white space, from 0x80 */
  __m128i high = _mm_cmpgt_epi8(v, _mm_set1_epi8('z'));
  __m128i stop = _mm_or_si128(_mm_or_si128(angle, slant), _mm_or_si128(tick, low));
  return (unsigned)_mm_movemask_epi8(_mm_or_si128(stop, high));
}
#endif

/* The run of bytes in CLASSES from here on; may be empty. CLASSES includes letters and digits. */
static inline __attribute__((always_inline)) struct tl_str lex_run(struct lex *c,
                                                                   unsigned classes) {
  const char *start = c->p, *p = start;
#if defined(__SSE2__)
  while (c->r - p >= 16 && p < c->e) {
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    unsigned stop = classes == LEX_URI ? lex_uncommon_uri(v) : lex_uncommon(v);
    for (; stop; stop &= stop - 1) {
      const char *at = p + __builtin_ctz(stop);
      if (at >= c->e || !lex_is(*at, classes)) {
        p = at;
        goto out;
      }
    }
    p += 16;
  }
#endif
  while (p < c->e && lex_is(*p, classes)) p++;
#if defined(__SSE2__)
out:
#endif
  if (p > c->e) p = c->e;
  c->p = p;
  return (struct tl_str){start, (size_t)(p - start)};
}

/*
 * Is S the word LOWER of N characters (a constant, lower case), in any case?
 * 0x20 also maps '\r' to '-', so where S may contain a CR, LOWER has only
 * letters.
 */
static inline __attribute__((always_inline)) bool lex_word(struct tl_str s, const char *lower,
                                                           size_t n) {
  uint64_t a, b, c, d, fold = UINT64_C(0x2020202020202020);
  if (s.n != n) return false;
  if (n >= 8) {
    for (size_t i = 0; i + 8 <= n; i += 8) {
      memcpy(&a, s.p + i, 8);
      memcpy(&b, lower + i, 8);
      if ((a | fold) != b) return false;
    }
    memcpy(&a, s.p + n - 8, 8);
    memcpy(&b, lower + n - 8, 8);
    return (a | fold) == b;
  }
  if (n >= 4) {
    a = b = c = d = 0;
    memcpy(&a, s.p, 4);
    memcpy(&b, lower, 4);
    memcpy(&c, s.p + n - 4, 4);
    memcpy(&d, lower + n - 4, 4);
    fold = 0x20202020u;
    return (a | fold) == b && (c | fold) == d;
  }
  for (size_t i = 0; i < n; i++)
    if ((s.p[i] | 0x20) != lower[i]) return false;
  return true;
}

#define LEX_WORD(s, lower) lex_word(s, lower, sizeof(lower) - 1)

static inline bool lex_byte(struct lex *c, char b) {
  if (c->p >= c->e || *c->p != b) return false;
  c->p++;
  return true;
}

static inline bool lex_end(const struct lex *c) { return c->p >= c->e; }

/* Each '%' in S starts an escape of two hexadecimal digits. */
bool tl_lex_escapes(struct tl_str s);

/* Decimal digits only, leading zeros allowed, at most MAX. */
int tl_lex_u32(struct tl_str s, uint32_t max, uint32_t *out);

/* The number that begins here, of any number of digits: leading zeros allowed, at most MAX. */
static inline int lex_number(struct lex *c, uint32_t max, uint32_t *out) {
  const char *start = c->p;
  uint64_t v = 0;
  for (; c->p < c->e; c->p++) {
    unsigned digit = (unsigned char)*c->p - (unsigned)'0';
    if (digit > 9) break;
    v = v * 10 + digit;
    if (v > max) return TL_ESYNTAX;
  }
  *out = (uint32_t)v;
  return c->p > start ? TL_OK : TL_ESYNTAX;
}

/* A quoted string from its opening quote to its closing one. */
int tl_lex_quoted(struct lex *c, struct tl_str *out);

int tl_lex_ipv6(struct lex *c, struct tl_str *out);
int tl_lex_any_scheme(struct lex *c, struct tl_str *out);

/* Calls one of the functions above with a copy of the cursor, so that the caller's own can stay in
 * registers. */
static inline int lex_far(int (*step)(struct lex *, struct tl_str *), struct lex *c,
                          struct tl_str *out) {
  struct lex far = *c;
  struct tl_str got = {NULL, 0};
  int err = step(&far, &got);
  *c = far;
  *out = got;
  return err;
}

/* Steps over "scheme:" and gives the scheme (RFC 3261 25.1); something must follow it. */
static inline int lex_scheme(struct lex *c, struct tl_str *out) {
  if (c->e - c->p > 4 && c->p[3] == ':' && LEX_WORD(((struct tl_str){c->p, 3}), "sip")) {
    *out = (struct tl_str){c->p, 3};
    c->p += 4;
    return TL_OK;
  }
  return lex_far(tl_lex_any_scheme, c, out);
}

static inline bool lex_double_dot(struct tl_str s) {
  for (size_t i = 1; i < s.n; i++)
    if (s.p[i] == '.' && s.p[i - 1] == '.') return true;
  return false;
}

/* Names, and IPv4 as a name of digits: no empty label except the last. */
static inline int lex_host_name(struct lex *c, struct tl_str *out) {
  struct tl_str s = {c->p, 0};
#if defined(__SSE2__)
  /* up to 32 characters at once, which is nearly every name */
  if (c->r - c->p >= 32) {
    __m128i lo = _mm_loadu_si128((const __m128i *)(const void *)c->p);
    __m128i hi = _mm_loadu_si128((const __m128i *)(const void *)(c->p + 16));
    uint32_t stop = lex_uncommon(lo) | lex_uncommon(hi) << 16;
    uint32_t dots = lex_mask(lo, '.') | lex_mask(hi, '.') << 16;
    uint32_t name = (stop - 1) & ~stop; /* a bit for each byte in front of the first stop */
    size_t n = stop ? (size_t)__builtin_ctz(stop) : 32;
    if (n < 32 && n < (size_t)(c->e - c->p) && c->p[n] != '_') {
      if (dots & (dots >> 1) & name) return TL_ESYNTAX;
      s.n = n;
    }
  }
#endif
  if (s.n == 0) {
    s = lex_run(c, LEX_HOST);
    if (lex_double_dot(s)) return TL_ESYNTAX;
  }
  if (s.n == 0 || s.n > 255 || s.p[0] == '.' || s.p[0] == '-') return TL_ESYNTAX;
  c->p = s.p + s.n;
  *out = s;
  return TL_OK;
}

/* Host and optional port (RFC 3261 25.1 hostport); *OUT_PORT is 0 when absent. SPACES: white space
 * around the colon is allowed, as in Via, and so is port 0, which counts as absent there: its
 * sender listens on no other. */
static inline int lex_hostport(struct lex *c, bool spaces, struct tl_str *out_host,
                               uint16_t *out_port) {
  uint32_t port = 0;
  int err;
  if (lex_end(c)) return TL_ESYNTAX;
  err = *c->p == '[' ? lex_far(tl_lex_ipv6, c, out_host) : lex_host_name(c, out_host);
  if (err) return err;
  *out_port = 0;
  struct lex before = *c;
  if (spaces) lex_ws(c);
  if (!lex_byte(c, ':')) {
    *c = before;
    return TL_OK;
  }
  if (spaces) lex_ws(c);
  if (lex_number(c, 65535, &port) || (port == 0 && !spaces)) return TL_ESYNTAX;
  *out_port = (uint16_t)port;
  return TL_OK;
}

struct lex_param {
  struct tl_str name;
  struct tl_str value; /* as written, with quotes; p is NULL without '=' */
  struct tl_str text;  /* from ';' to the end of the value */
};

/*
 * The next ";name=value" of a header value. 1: in *OUT. 0: there is none, the
 * cursor is at the end or at a comma. Otherwise TL_ESYNTAX.
 */
static inline int lex_param(struct lex *c, struct lex_param *out) {
  const char *start, *end;
  lex_ws(c);
  if (lex_end(c) || *c->p == ',') return 0;
  start = c->p;
  if (!lex_byte(c, ';')) return TL_ESYNTAX;
  lex_ws(c);
  out->name = lex_run(c, LEX_TOKEN);
  if (out->name.n == 0) return TL_ESYNTAX;
  out->value = (struct tl_str){NULL, 0};
  end = c->p;
  lex_ws(c);
  if (lex_byte(c, '=')) {
    lex_ws(c);
    if (!lex_end(c) && *c->p == '"') {
      if (lex_far(tl_lex_quoted, c, &out->value)) return TL_ESYNTAX;
    } else {
      out->value = lex_run(c, LEX_VALUE);
      if (out->value.n == 0) return TL_ESYNTAX;
    }
    end = c->p;
  }
  out->text = (struct tl_str){start, (size_t)(end - start)};
  return 1;
}

/* After one value of a comma-separated list: the number of bytes from START to the next value, or
 * to the end. TL_ESYNTAX when neither follows. */
static inline int lex_value_end(struct lex *c, const char *start, size_t *out_used) {
  lex_ws(c);
  if (!lex_end(c)) {
    if (!lex_byte(c, ',')) return TL_ESYNTAX;
    lex_ws(c);
    if (lex_end(c)) return TL_ESYNTAX;
  }
  *out_used = (size_t)(c->p - start);
  return TL_OK;
}

/* tl_via_parse and tl_nameaddr_parse for a cursor; a Via or URI to fill must be all zeros, as the
 * scanner's are. OUT_TAG, if not NULL, gets the tag parameter; a second one, or one without a
 * token, is an error. */
int tl_lex_via(struct lex c, struct tl_via *out, size_t *out_used);
int tl_lex_nameaddr(struct lex c, struct tl_nameaddr *out, struct tl_str *out_tag,
                    size_t *out_used);
int tl_lex_uri(struct lex c, struct tl_uri *out);
