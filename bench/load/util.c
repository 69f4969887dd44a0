/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small tools of the load generator: clock, random numbers, growing buffers
 * with appenders, addresses. Knows nothing of SIP. An allocation that fails
 * ends the program: it is a test tool.
 */
#include "load.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t mono_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* xorshift64*: repeatable by --seed, which is why the C library's is not used. */
uint64_t next_random(void) {
  L.rnd ^= L.rnd >> 12;
  L.rnd ^= L.rnd << 25;
  L.rnd ^= L.rnd >> 27;
  return L.rnd * 2685821657736338717u;
}

void buf_room(struct buf *b, size_t n) {
  if (b->off && b->off == b->len) b->off = b->len = 0;
  if (b->len + n <= b->cap) return;
  if (b->off) {
    memmove(b->p, b->p + b->off, b->len - b->off);
    b->len -= b->off;
    b->off = 0;
    if (b->len + n <= b->cap) return;
  }
  size_t cap = b->cap ? b->cap : 4096;
  while (cap < b->len + n) cap *= 2;
  char *p = realloc(b->p, cap);
  if (!p) {
    perror("realloc");
    exit(3);
  }
  b->p = p;
  b->cap = cap;
}

void put(struct buf *b, const void *p, size_t n) {
  buf_room(b, n);
  memcpy(b->p + b->len, p, n);
  b->len += n;
}

void put_s(struct buf *b, const char *s) { put(b, s, strlen(s)); }

void put_str(struct buf *b, struct str s) { put(b, s.p, s.n); }

void put_u(struct buf *b, uint64_t v) {
  char t[20];
  size_t at = sizeof(t);
  do {
    t[--at] = (char)('0' + v % 10);
    v /= 10;
  } while (v);
  put(b, t + at, sizeof(t) - at);
}

void put_hex(struct buf *b, uint32_t v, unsigned digits) {
  char t[8];
  for (unsigned i = 0; i < digits; i++)
    t[i] = "0123456789abcdef"[(v >> (4 * (digits - 1 - i))) & 15];
  put(b, t, digits);
}

bool get_hex(const char *p, unsigned digits, uint32_t *out) {
  uint32_t v = 0;
  for (unsigned i = 0; i < digits; i++) {
    char c = p[i];
    if (c >= '0' && c <= '9')
      v = v << 4 | (uint32_t)(c - '0');
    else if (c >= 'a' && c <= 'f')
      v = v << 4 | (uint32_t)(c - 'a' + 10);
    else
      return false;
  }
  *out = v;
  return true;
}

bool str_is(struct str a, const char *s) { return a.n == strlen(s) && !memcmp(a.p, s, a.n); }

bool str_eq(struct str a, struct str b) { return a.n == b.n && !memcmp(a.p, b.p, a.n); }

bool str_starts(struct str a, struct str prefix) {
  return a.n >= prefix.n && !memcmp(a.p, prefix.p, prefix.n);
}

void addr_text(struct addr *a) {
  char host[INET6_ADDRSTRLEN] = "?";
  if (a->ss.ss_family == AF_INET6) {
    const struct sockaddr_in6 *s = (const struct sockaddr_in6 *)&a->ss;
    inet_ntop(AF_INET6, &s->sin6_addr, host, sizeof(host));
    snprintf(a->text, sizeof(a->text), "[%s]:%u", host, ntohs(s->sin6_port));
  } else {
    const struct sockaddr_in *s = (const struct sockaddr_in *)&a->ss;
    inet_ntop(AF_INET, &s->sin_addr, host, sizeof(host));
    snprintf(a->text, sizeof(a->text), "%s:%u", host, ntohs(s->sin_port));
  }
}

int addr_parse(const char *host, unsigned port, struct addr *out) {
  char bare[64], service[8];
  size_t n = strlen(host);
  if (n >= sizeof(bare) || port > 65535) return -1;
  if (host[0] == '[' && n > 2 && host[n - 1] == ']') {
    memcpy(bare, host + 1, n - 2);
    bare[n - 2] = 0;
  } else {
    memcpy(bare, host, n + 1);
  }
  snprintf(service, sizeof(service), "%u", port);
  struct addrinfo hint = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
  struct addrinfo *ai;
  if (getaddrinfo(bare, service, &hint, &ai)) return -1;
  memset(out, 0, sizeof(*out));
  memcpy(&out->ss, ai->ai_addr, ai->ai_addrlen);
  out->len = ai->ai_addrlen;
  freeaddrinfo(ai);
  addr_text(out);
  return 0;
}

int addr_parse_text(const char *host_port, struct addr *out) {
  const char *colon = strrchr(host_port, ':');
  char host[64];
  if (!colon || (size_t)(colon - host_port) >= sizeof(host)) return -1;
  memcpy(host, host_port, (size_t)(colon - host_port));
  host[colon - host_port] = 0;
  char *end;
  unsigned long port = strtoul(colon + 1, &end, 10);
  if (*end || end == colon + 1 || port > 65535) return -1;
  return addr_parse(host, (unsigned)port, out);
}
