/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIP, SIPS and TEL URIs by the grammar of RFC 3261 25.1. Nothing is unescaped
 * or resolved: a proxy compares and forwards URIs as written.
 */
#include "tieline/uri.h"
#include "lex.h"

/* C is at the end of a run of user characters that began at START: is it a user part? An empty one
 * counts as absent ("sip:@host" exists). */
static int read_userinfo(struct lex *c, const char *start, struct tl_uri *out) {
  if (lex_end(c) || (*c->p != '@' && *c->p != ':')) return 0;
  struct lex at = *c;
  struct tl_str password = {NULL, 0};
  if (lex_byte(&at, ':')) {
    password = lex_run(&at, LEX_PASS);
    /* no '@' follows: it was host and port */
    if (lex_end(&at) || *at.p != '@') return 0;
  }
  out->user = (struct tl_str){start, (size_t)(c->p - start)};
  out->has_user = out->user.n != 0;
  /* with a password it would look like an address in brackets */
  if (*c->p == ':' && (!out->has_user || *start == '[')) return TL_ESYNTAX;
  out->password = password;
  c->p = at.p + 1;
  return 1;
}

struct uri_params {
  const char *end;
  const char *name; /* start of the parameter's name */
  uint32_t first;   /* as in tl_uri */
  bool value;       /* its '=' was seen */
  bool empty;       /* some name was empty */
};

/* AT is not a letter, digit, '-' or '.': does it belong to the parameters? */
static inline bool goes_on(struct uri_params *s, const char *at) {
  if (*at == ';') {
    s->empty |= s->name == at;
    s->name = at + 1;
    if (s->name < s->end) s->first |= UINT32_C(1) << (*s->name & 31);
    s->value = false;
    return true;
  }
  if (*at != '=') return lex_is(*at, LEX_PARAM);
  if (s->value) return false;
  s->empty |= s->name == at;
  s->value = true;
  return true;
}

/* ";name=value;name" as far as it goes: an empty value is allowed (";lr=" exists), an empty name is
 * not. In one pass, since nearly every URI has some. */
static int uri_params(struct lex *c, struct tl_str *out, uint32_t *out_first) {
  const char *start = c->p, *p = start;
  struct uri_params s = {.end = c->e};
  *out = (struct tl_str){start, 0};
  if (lex_end(c) || *p != ';') return TL_OK;
#if defined(__SSE2__)
  for (; c->r - p >= 16 && p < c->e; p += 16) {
    unsigned stop = lex_uncommon(_mm_loadu_si128((const __m128i *)(const void *)p));
    for (; stop; stop &= stop - 1) {
      const char *at = p + __builtin_ctz(stop);
      if (at < c->e && goes_on(&s, at)) continue;
      p = at;
      goto out;
    }
  }
#endif
  while (p < c->e && (lex_is(*p, LEX_HOST) || goes_on(&s, p))) p++;
#if defined(__SSE2__)
out:
#endif
  c->p = p < c->e ? p : c->e;
  out->n = (size_t)(c->p - start);
  *out_first = s.first;
  return s.empty || s.name == c->p ? TL_ESYNTAX : TL_OK;
}

static int sip_uri(struct lex c, struct tl_uri *out) {
  /* '@' occurs unescaped only after the user part, so a second one shows up in hostport. */
  struct lex host = c;
  const char *start = c.p;
  lex_run(&c, LEX_USER);
  int user = read_userinfo(&c, start, out);
  if (user < 0) return user;
  if (!user) c = host;
  if (lex_hostport(&c, false, &out->host, &out->port)) return TL_ESYNTAX;
  if (uri_params(&c, &out->params, &out->param_first)) return TL_ESYNTAX;
  if (lex_byte(&c, '?')) {
    out->headers = lex_run(&c, LEX_HEADER);
    if (out->headers.n == 0) return TL_ESYNTAX;
  }
  return lex_end(&c) ? TL_OK : TL_ESYNTAX;
}

/* RFC 3966: the number goes to USER, its syntax is left to the far end. */
static int tel_uri(struct lex c, struct tl_uri *out) {
  struct tl_str all = lex_run(&c, LEX_USER);
  const char *semi = memchr(all.p, ';', all.n);
  out->has_user = true;
  out->user = all;
  if (semi) {
    out->user.n = (size_t)(semi - all.p);
    out->params = (struct tl_str){semi, all.n - out->user.n};
    out->param_first = UINT32_MAX; /* any may be present */
  }
  return out->user.n && lex_end(&c) ? TL_OK : TL_ESYNTAX;
}

static int by_scheme(struct tl_str scheme, struct lex c, struct tl_uri *out) {
  if (LEX_WORD(scheme, "sip")) {
    out->scheme = TL_SCHEME_SIP;
    return sip_uri(c, out);
  }
  if (LEX_WORD(scheme, "sips")) {
    out->scheme = TL_SCHEME_SIPS;
    return sip_uri(c, out);
  }
  if (LEX_WORD(scheme, "tel")) {
    out->scheme = TL_SCHEME_TEL;
    return tel_uri(c, out);
  }
  out->scheme = TL_SCHEME_OTHER;
  lex_run(&c, LEX_URI);
  return lex_end(&c) ? TL_OK : TL_ESYNTAX;
}

int tl_lex_uri(struct lex c, struct tl_uri *out) {
  struct tl_str scheme;
  out->whole = (struct tl_str){c.p, (size_t)(c.e - c.p)};
  if (lex_scheme(&c, &scheme)) return TL_ESYNTAX;
  if (by_scheme(scheme, c, out)) return TL_ESYNTAX;
  return tl_lex_escapes(out->whole) ? TL_OK : TL_ESYNTAX;
}

int tl_uri_parse(struct tl_str s, struct tl_uri *out) {
  lex_clear(out, sizeof(*out));
  return tl_lex_uri(lex_of(s), out);
}

/* In a SIP URI nothing comes between ';', the name, '=' and the value. */
bool tl_uri_param_search(const struct tl_uri *u, struct tl_str name, struct tl_str *out) {
  if (u->scheme == TL_SCHEME_TEL) return tl_param_find(u->params, name, out);
  const char *p = u->params.p, *end = p + u->params.n;
  while (p && (size_t)(end - p) > name.n) {
    const char *next = ++p; /* after the ';' */
    if (tl_str_ieq((struct tl_str){p, name.n}, name)) {
      next += name.n;
      if (next == end || *next == ';') {
        *out = (struct tl_str){next, 0};
        return true;
      }
      if (*next == '=') {
        next++;
        const char *stop = memchr(next, ';', (size_t)(end - next));
        *out = (struct tl_str){next, (size_t)((stop ? stop : end) - next)};
        return true;
      }
    }
    p = memchr(next, ';', (size_t)(end - next));
  }
  return false;
}

bool tl_uri_transport(const struct tl_uri *u, enum tl_transport *out) {
  struct tl_str value;
  if (!tl_uri_param(u, TL_STR("transport"), &value)) return false;
  if (tl_transport_parse(value, out)) *out = TL_TRANSPORTS;
  return true;
}

static unsigned hex_digit(char c) {
  return c <= '9' ? (unsigned)(c - '0') : ((unsigned)c | 0x20) - 'a' + 10;
}

/* Takes the first character off S, which is not empty. Escapes were checked by tl_lex_uri. */
static unsigned char next_char(struct tl_str *s) {
  bool escape = s->n >= 3 && s->p[0] == '%' && lex_is(s->p[1], LEX_HEX) && lex_is(s->p[2], LEX_HEX);
  unsigned c = escape ? hex_digit(s->p[1]) << 4 | hex_digit(s->p[2]) : (unsigned char)s->p[0];
  size_t n = escape ? 3 : 1;
  s->p += n;
  s->n -= n;
  return (unsigned char)c;
}

bool tl_uri_user_starts(struct tl_str user, struct tl_str prefix) {
  while (prefix.n) {
    if (!user.n || next_char(&user) != next_char(&prefix)) return false;
  }
  return true;
}

struct tl_str tl_uri_user_behind(struct tl_str user, size_t n) {
  while (n-- && user.n) next_char(&user);
  return user;
}

size_t tl_uri_user_chars(struct tl_str user, uint8_t *out, size_t cap) {
  size_t n = user.n < cap ? user.n : cap;
  if (!n) return 0;
  if (!memchr(user.p, '%', n)) {
    memcpy(out, user.p, n);
    return n;
  }
  for (n = 0; user.n && n < cap;) out[n++] = next_char(&user);
  return n;
}
