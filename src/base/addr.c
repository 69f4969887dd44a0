/* SPDX-License-Identifier: Apache-2.0 */
/* Socket addresses as values: parse, compare, format. No name resolution. */
#include "tieline/addr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/auxv.h>

#include "tieline/err.h"

/* Dotted decimal as inet_pton takes it (no leading zeros); it runs for every message. */
static bool parse_v4(struct tl_str s, uint32_t *out) {
  uint32_t addr = 0;
  size_t i = 0;
  for (int part = 0; part < 4; part++) {
    uint32_t v = 0;
    size_t digits = 0;
    if (part && (i == s.n || s.p[i++] != '.')) return false;
    while (i < s.n && (unsigned char)(s.p[i] - '0') <= 9 && digits < 4) {
      v = v * 10 + (uint32_t)(s.p[i++] - '0');
      digits++;
    }
    if (digits == 0 || v > 255 || (digits > 1 && s.p[i - digits] == '0')) return false;
    addr = addr << 8 | v;
  }
  *out = htonl(addr);
  return i == s.n;
}

/* RFC 5118 4.10: the grammar of RFC 3261 puts a third colon in front of an IPv4 address at the end,
 * and both spellings must be tolerated. */
static bool parse_v6(struct tl_str s, struct in6_addr *out) {
  char text[INET6_ADDRSTRLEN];
  if (s.n >= sizeof(text) || memchr(s.p, '\0', s.n)) return false;
  memcpy(text, s.p, s.n);
  text[s.n] = '\0';
  char *odd = strstr(text, ":::");
  if (odd && strchr(odd, '.') && !strchr(odd + 3, ':')) memmove(odd, odd + 1, strlen(odd));
  return inet_pton(AF_INET6, text, out) == 1;
}

int tl_addr_parse(struct tl_str host, uint16_t port, struct tl_addr *out) {
  memset(out, 0, sizeof(*out));
  bool bracket = host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']';
  if (bracket) host.p++, host.n -= 2;
  if (host.n == 0) return TL_ESYNTAX;
  if (!bracket && parse_v4(host, &out->v4.sin_addr.s_addr)) {
    out->v4.sin_family = AF_INET;
    out->v4.sin_port = htons(port);
    return TL_OK;
  }
  if (!memchr(host.p, ':', host.n) || !parse_v6(host, &out->v6.sin6_addr)) return TL_ESYNTAX;
  out->v6.sin6_family = AF_INET6;
  out->v6.sin6_port = htons(port);
  return TL_OK;
}

socklen_t tl_addr_len(const struct tl_addr *a) {
  return a->sa.sa_family == AF_INET6 ? sizeof(a->v6) : sizeof(a->v4);
}

uint16_t tl_addr_port(const struct tl_addr *a) {
  return ntohs(a->sa.sa_family == AF_INET6 ? a->v6.sin6_port : a->v4.sin_port);
}

void tl_addr_set_port(struct tl_addr *a, uint16_t port) {
  if (a->sa.sa_family == AF_INET6)
    a->v6.sin6_port = htons(port);
  else
    a->v4.sin_port = htons(port);
}

bool tl_addr_ip_eq(const struct tl_addr *a, const struct tl_addr *b) {
  if (a->sa.sa_family != b->sa.sa_family) return false;
  if (a->sa.sa_family == AF_INET6)
    return memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof(a->v6.sin6_addr)) == 0;
  return a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
}

bool tl_addr_eq(const struct tl_addr *a, const struct tl_addr *b) {
  return tl_addr_ip_eq(a, b) && tl_addr_port(a) == tl_addr_port(b);
}

bool tl_addr_is_any(const struct tl_addr *a) {
  if (a->sa.sa_family == AF_INET6) return IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr);
  return a->v4.sin_addr.s_addr == htonl(INADDR_ANY);
}

/* Peers choose addresses and ports, so the hash is keyed per process: the kernel gives each process
 * 16 random bytes. */
static uint64_t seed[2] = {0, 0x9e3779b97f4a7c15ull};

static __attribute__((constructor)) void take_seed(void) {
  const void *random = (const void *)getauxval(AT_RANDOM);
  if (random) memcpy(seed, random, sizeof(seed));
  seed[1] |= 1;
}

/* The high half of the product folded into the low one: each bit of V reaches every bit. */
static uint64_t mix_hash(uint64_t h, uint64_t v) {
  unsigned __int128 x = (unsigned __int128)(h ^ v ^ seed[0]) * seed[1];
  return (uint64_t)x ^ (uint64_t)(x >> 64);
}

/* With one multiplier in a thousand, neighbours came to lie in the same places: a fixed one behind
 * it parts them. */
static uint64_t spread_hash(uint64_t h) {
  h *= 0x9e3779b97f4a7c15u;
  return h ^ (h >> 32);
}

uint64_t tl_addr_hash(const struct tl_addr *a) {
  uint64_t h = mix_hash(a->sa.sa_family, tl_addr_port(a));
  if (a->sa.sa_family == AF_INET6) {
    uint64_t w[2];
    memcpy(w, &a->v6.sin6_addr, sizeof(w));
    return spread_hash(mix_hash(mix_hash(h, w[0]), w[1]));
  }
  return spread_hash(mix_hash(h, a->v4.sin_addr.s_addr));
}

/* The well-known prefix of RFC 6052 2.1: behind a NAT64 every IPv4 host has such an address. */
static bool is_translated(const struct in6_addr *a) {
  static const uint8_t prefix[12] = {0x00, 0x64, 0xff, 0x9b};
  return memcmp(a, prefix, sizeof(prefix)) == 0;
}

void tl_addr_source_prefix(const struct tl_addr *a, struct tl_addr *out) {
  memset(out, 0, sizeof(*out));
  if (a->sa.sa_family == AF_INET6) {
    const struct in6_addr *ip = &a->v6.sin6_addr;
    if (!IN6_IS_ADDR_V4MAPPED(ip) && !is_translated(ip)) {
      out->v6.sin6_family = AF_INET6;
      memcpy(&out->v6.sin6_addr, ip, 8);
      return;
    }
    memcpy(&out->v4.sin_addr, ip->s6_addr + 12, sizeof(out->v4.sin_addr));
  } else {
    out->v4.sin_addr = a->v4.sin_addr;
  }
  out->v4.sin_family = AF_INET;
}

const char *tl_addr_format_host(const struct tl_addr *a, char buf[TL_ADDR_STRLEN]) {
  char ip[INET6_ADDRSTRLEN] = "?";
  if (a->sa.sa_family == AF_INET6) {
    inet_ntop(AF_INET6, &a->v6.sin6_addr, ip, sizeof(ip));
    snprintf(buf, TL_ADDR_STRLEN, "[%s]", ip);
  } else {
    inet_ntop(AF_INET, &a->v4.sin_addr, ip, sizeof(ip));
    snprintf(buf, TL_ADDR_STRLEN, "%s", ip);
  }
  return buf;
}

const char *tl_addr_format(const struct tl_addr *a, char buf[TL_ADDR_STRLEN]) {
  tl_addr_format_host(a, buf);
  size_t n = strlen(buf);
  snprintf(buf + n, TL_ADDR_STRLEN - n, ":%u", tl_addr_port(a));
  return buf;
}

/* ---- networks ---- */

static const uint8_t *bytes_of(const struct tl_addr *a, unsigned *bits) {
  *bits = a->sa.sa_family == AF_INET6 ? 128 : 32;
  return *bits == 128 ? a->v6.sin6_addr.s6_addr : (const uint8_t *)&a->v4.sin_addr;
}

static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned n) {
  unsigned rest = n % 8;
  if (memcmp(a, b, n / 8) != 0) return false;
  return rest == 0 || (a[n / 8] >> (8 - rest)) == (b[n / 8] >> (8 - rest));
}

static bool tail_is_zero(const uint8_t *a, unsigned from, unsigned to) {
  for (unsigned i = from; i < to; i++)
    if (a[i / 8] & (0x80u >> i % 8)) return false;
  return true;
}

int tl_network_parse(struct tl_str s, struct tl_network *out) {
  const char *slash = s.n ? memchr(s.p, '/', s.n) : NULL;
  struct tl_str host = {s.p, slash ? (size_t)(slash - s.p) : s.n};
  unsigned most, bits = 0;
  if (tl_addr_parse(host, 0, &out->addr)) return TL_ESYNTAX;
  const uint8_t *p = bytes_of(&out->addr, &most);
  if (slash) {
    const char *d = slash + 1, *end = s.p + s.n;
    if (d == end || end - d > 3) return TL_ESYNTAX;
    for (; d < end; d++) {
      if (*d < '0' || *d > '9') return TL_ESYNTAX;
      bits = bits * 10 + (unsigned)(*d - '0');
    }
  } else {
    bits = most;
  }
  if (bits > most || !tail_is_zero(p, bits, most)) return TL_ESYNTAX;
  out->bits = (uint8_t)bits;
  return TL_OK;
}

bool tl_network_has(const struct tl_network *n, const struct tl_addr *a) {
  unsigned most;
  if (n->addr.sa.sa_family != a->sa.sa_family) return false;
  return same_bits(bytes_of(&n->addr, &most), bytes_of(a, &most), n->bits);
}
