/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lexical base of SIP values: character classes, quoted strings, host and
 * port, header parameters. It knows no header by name; see via.c and nameaddr.c.
 */
#include "lex.h"

#include "tieline/addr.h"

/* One row per eight characters; the bits are the LEX_ values of lex.h. A user part may contain more
 * than the grammar allows: '#', '[', ']', '^', '`', '{', '|', '}' and bytes from 0x80, which
 * telephones and gateways send unescaped and which pass through (RFC 3261 16.3 step 1). Characters
 * that end a URI for other parsers, or begin something else, are in no class: control characters,
 * white space, '"', '<', '>', '\\'. */
const uint16_t tl_lex_class[256] = {
    /* clang-format off */
    0x0000, 0x0000, 0x0000, 0x0000, 0x0000, 0x0000, 0x0000, 0x0000, /* 0x00 */
    0x0000, 0x0100, 0x0100, 0x0000, 0x0000, 0x0100, 0x0000, 0x0000, /* 0x08 */
    0x0000, 0x0000, 0x0000, 0x0000, 0x0000, 0x0000, 0x0000, 0x0000, /* 0x10 */
    0x0000, 0x0000, 0x0000, 0x0000, 0x0000, 0x0000, 0x0000, 0x0000, /* 0x18 */
    0x0100, 0x10fd, 0x0000, 0x100c, 0x107c, 0x10fd, 0x107c, 0x10fd, /* 0x20 */
    0x107c, 0x107c, 0x10fd, 0x10fd, 0x001c, 0x10ff, 0x10ff, 0x106c, /* 0x28 */
    0x16ff, 0x16ff, 0x16ff, 0x16ff, 0x16ff, 0x16ff, 0x16ff, 0x16ff, /* 0x30 */
    0x16ff, 0x16ff, 0x10e4, 0x000c, 0x0000, 0x105c, 0x0000, 0x004c, /* 0x38 */
    0x1004, 0x1cff, 0x1cff, 0x1cff, 0x1cff, 0x1cff, 0x1cff, 0x18ff, /* 0x40 */
    0x18ff, 0x18ff, 0x18ff, 0x18ff, 0x18ff, 0x18ff, 0x18ff, 0x18ff, /* 0x48 */
    0x18ff, 0x18ff, 0x18ff, 0x18ff, 0x18ff, 0x18ff, 0x18ff, 0x18ff, /* 0x50 */
    0x18ff, 0x18ff, 0x18ff, 0x10ec, 0x0000, 0x10ec, 0x100c, 0x10ff, /* 0x58 */
    0x108d, 0x1cff, 0x1cff, 0x1cff, 0x1cff, 0x1cff, 0x1cff, 0x18ff, /* 0x60 */
    0x18ff, 0x18ff, 0x18ff, 0x18ff, 0x18ff, 0x18ff, 0x18ff, 0x18ff, /* 0x68 */
    0x18ff, 0x18ff, 0x18ff, 0x18ff, 0x18ff, 0x18ff, 0x18ff, 0x18ff, /* 0x70 */
    0x18ff, 0x18ff, 0x18ff, 0x100c, 0x100c, 0x100c, 0x10fd, 0x0000, /* 0x78 */
    [0x80 ... 0xff] = 0x100c
    /* clang-format on */
};

bool tl_lex_escapes(struct tl_str s) {
  const char *p = s.p, *e = s.p + s.n;
  while (p < e && (p = memchr(p, '%', (size_t)(e - p)))) {
    if (e - p < 3 || !lex_is(p[1], LEX_HEX) || !lex_is(p[2], LEX_HEX)) return false;
    p += 3;
  }
  return true;
}

int tl_lex_u32(struct tl_str s, uint32_t max, uint32_t *out) {
  const char *p = s.p, *e = s.p + s.n;
  uint64_t v = 0;
  if (s.n == 0) return TL_ESYNTAX;
  while (e - p > 10 && *p == '0') p++;
  if (e - p > 10) return TL_ESYNTAX;
  for (; p < e; p++) {
    unsigned digit = (unsigned char)*p - (unsigned)'0';
    if (digit > 9) return TL_ESYNTAX;
    v = v * 10 + digit;
  }
  *out = (uint32_t)v;
  return v <= max ? TL_OK : TL_ESYNTAX;
}

int tl_lex_any_scheme(struct lex *c, struct tl_str *out) {
  const char *start = c->p;
  if (lex_end(c) || !lex_is(*c->p, LEX_ALPHA)) return TL_ESYNTAX;
  while (!lex_end(c) &&
         (lex_is(*c->p, LEX_ALPHA | LEX_DIGIT) || *c->p == '+' || *c->p == '-' || *c->p == '.'))
    c->p++;
  *out = (struct tl_str){start, (size_t)(c->p - start)};
  return lex_byte(c, ':') && !lex_end(c) ? TL_OK : TL_ESYNTAX;
}

int tl_lex_quoted(struct lex *c, struct tl_str *out) {
  const char *start = c->p;
  if (!lex_byte(c, '"')) return TL_ESYNTAX;
  for (;;) {
    lex_run(c, LEX_TOKEN | LEX_WS);
    if (lex_end(c)) return TL_ESYNTAX;
    char at = *c->p++;
    if (at == '"') break;
    if (at != '\\') continue;
    /* quoted-pair takes any ASCII but CR and LF, NUL included (RFC 3261 25.1) */
    if (lex_end(c) || *c->p == '\r' || *c->p == '\n') return TL_ESYNTAX;
    c->p++;
  }
  *out = (struct tl_str){start, (size_t)(c->p - start)};
  return TL_OK;
}

int tl_lex_ipv6(struct lex *c, struct tl_str *out) {
  struct tl_addr addr;
  const char *close = memchr(c->p, ']', (size_t)(c->e - c->p));
  if (!close) return TL_ESYNTAX;
  struct tl_str host = {c->p, (size_t)(close + 1 - c->p)};
  if (tl_addr_parse(host, 0, &addr)) return TL_ESYNTAX;
  c->p = close + 1;
  *out = host;
  return TL_OK;
}
