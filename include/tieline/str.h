/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slices: a pointer and a length into somebody else's bytes.
 *
 * Ownership: a slice owns nothing and lives no longer than what it points to. Do
 * not rely on a NUL after it. Threads: any. Errors: none.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

struct tl_str {
  const char *p;
  size_t n;
};

/* A slice of a string literal. */
#define TL_STR(lit) ((struct tl_str){(lit), sizeof(lit) - 1})

static inline struct tl_str tl_str_c(const char *s) {
  return (struct tl_str){s, s ? strlen(s) : 0};
}

static inline bool tl_str_eq(struct tl_str a, struct tl_str b) {
  return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* ASCII case-insensitive equality. */
static inline bool tl_str_ieq(struct tl_str a, struct tl_str b) {
  if (a.n != b.n || a.n == 0) return a.n == b.n;
  if ((a.p[0] ^ b.p[0]) & ~0x20) return false; /* most that differ do so here */
  return strncasecmp(a.p, b.p, a.n) == 0;
}

/* A host without the dot that says its name is whole. */
static inline struct tl_str tl_host_without_dot(struct tl_str host) {
  if (host.n && host.p[host.n - 1] == '.') host.n--;
  return host;
}

/* Are they the same host name? */
static inline bool tl_host_eq(struct tl_str a, struct tl_str b) {
  return tl_str_ieq(tl_host_without_dot(a), tl_host_without_dot(b));
}

static inline bool tl_str_starts(struct tl_str s, struct tl_str prefix) {
  return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

/* S without leading and trailing SP, HT, CR and LF. */
static inline struct tl_str tl_str_trim(struct tl_str s) {
  while (s.n && (*s.p == ' ' || *s.p == '\t' || *s.p == '\r' || *s.p == '\n')) s.p++, s.n--;
  while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t' || s.p[s.n - 1] == '\r' ||
                 s.p[s.n - 1] == '\n'))
    s.n--;
  return s;
}

/* Decimal digits only, no sign; TL_ESYNTAX on anything else or above MAX. */
int tl_str_u64(struct tl_str s, uint64_t max, uint64_t *out);
