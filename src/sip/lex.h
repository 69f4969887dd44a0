/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Character classes and small steps shared by the parsers of this folder.
 *
 * Ownership: slices into the caller's bytes. Threads: any. Errors: TL_ESYNTAX.
 *
 * LWS here is any run of SP, HT, CR and LF: the scanner has already made sure
 * that CR and LF stand inside a value only as a fold (RFC 3261 7.3.1).
 */
#pragma once

#include "tieline/err.h"
#include "tieline/str.h"

enum {
  LEX_TOKEN = 1,   /* RFC 3261 25.1 token */
  LEX_HOST = 2,    /* letters, digits, '-', '.', and '_', which exists in the wild */
  LEX_URI = 4,     /* any character of an absolute URI, '%', and brackets */
  LEX_USER = 8,    /* user, with '%' */
  LEX_PASS = 16,   /* password, with '%' */
  LEX_PARAM = 32,  /* paramchar of a SIP URI, with '%' */
  LEX_HEADER = 64, /* hname, hvalue, '=' and '&' of a SIP URI, with '%' */
  LEX_VALUE = 128, /* unquoted value of a header parameter: token or host */
  LEX_WS = 256,
  LEX_DIGIT = 512,
  LEX_HEX = 1024,
  LEX_ALPHA = 2048,
};

extern const uint16_t tl_lex_class[256];

static inline bool lex_is(char c, unsigned classes) {
  return (tl_lex_class[(unsigned char)c] & classes) != 0;
}

struct lex {
  const char *p; /* next byte */
  const char *e; /* end */
};

static inline struct lex lex_of(struct tl_str s) { return (struct lex){s.p, s.p + s.n}; }

static inline void lex_ws(struct lex *c) {
  while (c->p < c->e && lex_is(*c->p, LEX_WS)) c->p++;
}

/* The run of bytes in CLASSES from here on, may be empty. */
static inline struct tl_str lex_run(struct lex *c, unsigned classes) {
  const char *start = c->p;
  while (c->p < c->e && lex_is(*c->p, classes)) c->p++;
  return (struct tl_str){start, (size_t)(c->p - start)};
}

static inline bool lex_byte(struct lex *c, char b) {
  if (c->p >= c->e || *c->p != b) return false;
  c->p++;
  return true;
}

static inline bool lex_end(const struct lex *c) { return c->p >= c->e; }

/* All of S is in CLASSES, and each '%' in it starts an escape. */
bool tl_lex_all(struct tl_str s, unsigned classes);

/* Decimal digits only, leading zeros allowed, at most MAX. */
int tl_lex_u32(struct tl_str s, uint32_t max, uint32_t *out);

/* Steps over "scheme:" and gives the scheme (RFC 3261 25.1); something must follow it. */
int tl_lex_scheme(struct lex *c, struct tl_str *out);

/* A quoted string from its opening quote to its closing one. */
int tl_lex_quoted(struct lex *c, struct tl_str *out);

/* Host and optional port (RFC 3261 25.1 hostport); *OUT_PORT is 0 when absent.
 * SPACES: white space around the colon is allowed, as in Via. */
int tl_lex_hostport(struct lex *c, bool spaces, struct tl_str *out_host, uint16_t *out_port);

struct lex_param {
  struct tl_str name;
  struct tl_str value; /* as written, with quotes; p is NULL without '=' */
  struct tl_str text;  /* from ';' to the end of the value */
};

/*
 * The next ";name=value" of a header value. 1: in *OUT. 0: there is none, the
 * cursor stands at the end or at a comma. TL_ESYNTAX otherwise.
 */
int tl_lex_param(struct lex *c, struct lex_param *out);

/* Behind one value of a comma-separated list: the number of bytes from START to
 * the next value, or to the end. TL_ESYNTAX when neither follows. */
int tl_lex_value_end(struct lex *c, const char *start, size_t *out_used);
