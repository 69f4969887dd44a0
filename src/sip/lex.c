/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lexical ground of SIP values: character classes, quoted strings, host and
 * port, header parameters. It knows no header by name; see via.c and nameaddr.c.
 */
#include "lex.h"

#include <arpa/inet.h>

/* One row per eight characters; the bits are the LEX_ values of lex.h. Bytes from 0x80 are in
 * no class: outside quoted strings RFC 3261 has no place for them in what a proxy reads. */
const uint16_t tl_lex_class[256] = {
    /* clang-format off */
    0x000, 0x000, 0x000, 0x000, 0x000, 0x000, 0x000, 0x000, /* 0x00 */
    0x000, 0x100, 0x100, 0x000, 0x000, 0x100, 0x000, 0x000, /* 0x08 */
    0x000, 0x000, 0x000, 0x000, 0x000, 0x000, 0x000, 0x000, /* 0x10 */
    0x000, 0x000, 0x000, 0x000, 0x000, 0x000, 0x000, 0x000, /* 0x18 */
    0x100, 0x0fd, 0x000, 0x000, 0x07c, 0x0fd, 0x07c, 0x0fd, /* 0x20 */
    0x07c, 0x07c, 0x0fd, 0x0fd, 0x01c, 0x0ff, 0x0ff, 0x06c, /* 0x28 */
    0x6ff, 0x6ff, 0x6ff, 0x6ff, 0x6ff, 0x6ff, 0x6ff, 0x6ff, /* 0x30 */
    0x6ff, 0x6ff, 0x0e4, 0x00c, 0x000, 0x05c, 0x000, 0x04c, /* 0x38 */
    0x004, 0xcff, 0xcff, 0xcff, 0xcff, 0xcff, 0xcff, 0x8ff, /* 0x40 */
    0x8ff, 0x8ff, 0x8ff, 0x8ff, 0x8ff, 0x8ff, 0x8ff, 0x8ff, /* 0x48 */
    0x8ff, 0x8ff, 0x8ff, 0x8ff, 0x8ff, 0x8ff, 0x8ff, 0x8ff, /* 0x50 */
    0x8ff, 0x8ff, 0x8ff, 0x0e4, 0x000, 0x0e4, 0x000, 0x0ff, /* 0x58 */
    0x081, 0xcff, 0xcff, 0xcff, 0xcff, 0xcff, 0xcff, 0x8ff, /* 0x60 */
    0x8ff, 0x8ff, 0x8ff, 0x8ff, 0x8ff, 0x8ff, 0x8ff, 0x8ff, /* 0x68 */
    0x8ff, 0x8ff, 0x8ff, 0x8ff, 0x8ff, 0x8ff, 0x8ff, 0x8ff, /* 0x70 */
    0x8ff, 0x8ff, 0x8ff, 0x000, 0x000, 0x000, 0x0fd, 0x000, /* 0x78 */
    /* clang-format on */
};

bool tl_lex_all(struct tl_str s, unsigned classes) {
  for (size_t i = 0; i < s.n; i++) {
    if (!lex_is(s.p[i], classes)) return false;
    if (s.p[i] == '%' &&
        (s.n - i < 3 || !lex_is(s.p[i + 1], LEX_HEX) || !lex_is(s.p[i + 2], LEX_HEX)))
      return false;
  }
  return true;
}

int tl_lex_u32(struct tl_str s, uint32_t max, uint32_t *out) {
  uint64_t v = 0;
  if (s.n == 0) return TL_ESYNTAX;
  for (size_t i = 0; i < s.n; i++) {
    if (!lex_is(s.p[i], LEX_DIGIT)) return TL_ESYNTAX;
    v = v * 10 + (uint64_t)(s.p[i] - '0');
    if (v > max) return TL_ESYNTAX;
  }
  *out = (uint32_t)v;
  return 0;
}

int tl_lex_scheme(struct lex *c, struct tl_str *out) {
  const char *start = c->p;
  if (lex_end(c) || !lex_is(*c->p, LEX_ALPHA)) return TL_ESYNTAX;
  while (!lex_end(c) &&
         (lex_is(*c->p, LEX_ALPHA | LEX_DIGIT) || *c->p == '+' || *c->p == '-' || *c->p == '.'))
    c->p++;
  *out = (struct tl_str){start, (size_t)(c->p - start)};
  return lex_byte(c, ':') && !lex_end(c) ? 0 : TL_ESYNTAX;
}

int tl_lex_quoted(struct lex *c, struct tl_str *out) {
  const char *start = c->p;
  if (!lex_byte(c, '"')) return TL_ESYNTAX;
  for (; c->p < c->e; c->p++) {
    if (*c->p == '"') {
      c->p++;
      *out = (struct tl_str){start, (size_t)(c->p - start)};
      return 0;
    }
    if (*c->p == '\\') {
      /* quoted-pair takes any ASCII but CR and LF, NUL included (RFC 3261 25.1) */
      c->p++;
      if (c->p >= c->e || *c->p == '\r' || *c->p == '\n') return TL_ESYNTAX;
    }
  }
  return TL_ESYNTAX;
}

static int ipv6_reference(struct lex *c, struct tl_str *out) {
  const char *start = c->p;
  char text[INET6_ADDRSTRLEN];
  struct in6_addr addr;
  const char *close = memchr(start, ']', (size_t)(c->e - start));
  size_t n = close ? (size_t)(close - start) - 1 : 0;
  if (n == 0 || n >= sizeof(text)) return TL_ESYNTAX;
  memcpy(text, start + 1, n);
  text[n] = '\0';
  if (memchr(text, '\0', n) || inet_pton(AF_INET6, text, &addr) != 1) return TL_ESYNTAX;
  c->p = close + 1;
  *out = (struct tl_str){start, n + 2};
  return 0;
}

/* Names, and IPv4 as a name of digits: no empty label but a final one. */
static int host_name(struct lex *c, struct tl_str *out) {
  struct tl_str s = lex_run(c, LEX_HOST);
  if (s.n == 0 || s.n > 255 || s.p[0] == '.' || s.p[0] == '-') return TL_ESYNTAX;
  for (size_t i = 1; i < s.n; i++)
    if (s.p[i] == '.' && s.p[i - 1] == '.') return TL_ESYNTAX;
  *out = s;
  return 0;
}

int tl_lex_hostport(struct lex *c, bool spaces, struct tl_str *out_host, uint16_t *out_port) {
  uint32_t port = 0;
  int err;
  if (lex_end(c)) return TL_ESYNTAX;
  err = *c->p == '[' ? ipv6_reference(c, out_host) : host_name(c, out_host);
  if (err) return err;
  *out_port = 0;
  struct lex before = *c;
  if (spaces) lex_ws(c);
  if (!lex_byte(c, ':')) {
    *c = before;
    return 0;
  }
  if (spaces) lex_ws(c);
  err = tl_lex_u32(lex_run(c, LEX_DIGIT), 65535, &port);
  if (err || port == 0) return TL_ESYNTAX;
  *out_port = (uint16_t)port;
  return 0;
}

int tl_lex_param(struct lex *c, struct lex_param *out) {
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
      if (tl_lex_quoted(c, &out->value)) return TL_ESYNTAX;
    } else {
      out->value = lex_run(c, LEX_VALUE);
      if (out->value.n == 0) return TL_ESYNTAX;
    }
    end = c->p;
  }
  out->text = (struct tl_str){start, (size_t)(end - start)};
  return 1;
}

int tl_lex_value_end(struct lex *c, const char *start, size_t *out_used) {
  lex_ws(c);
  if (!lex_end(c)) {
    if (!lex_byte(c, ',')) return TL_ESYNTAX;
    lex_ws(c);
    if (lex_end(c)) return TL_ESYNTAX;
  }
  *out_used = (size_t)(c->p - start);
  return 0;
}
