/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIP, SIPS and TEL URIs by the grammar of RFC 3261 25.1. Nothing is unescaped
 * or resolved: a proxy compares and forwards URIs as written.
 */
#include "tieline/uri.h"
#include "lex.h"

static int userinfo(struct tl_str s, struct tl_uri *out) {
  const char *colon = memchr(s.p, ':', s.n);
  out->has_user = true;
  out->user = (struct tl_str){s.p, colon ? (size_t)(colon - s.p) : s.n};
  if (colon) out->password = (struct tl_str){colon + 1, s.n - out->user.n - 1};
  if (out->user.n == 0 || !tl_lex_all(out->user, LEX_USER)) return TL_ESYNTAX;
  return tl_lex_all(out->password, LEX_PASS) ? 0 : TL_ESYNTAX;
}

/* ";name=value;name": an empty value is let through (";lr=" exists), an empty name is not. */
static int uri_params(struct lex *c, struct tl_str *out) {
  const char *start = c->p;
  while (lex_byte(c, ';')) {
    struct tl_str name = lex_run(c, LEX_PARAM);
    if (name.n == 0 || !tl_lex_all(name, LEX_PARAM)) return TL_ESYNTAX;
    if (lex_byte(c, '=') && !tl_lex_all(lex_run(c, LEX_PARAM), LEX_PARAM)) return TL_ESYNTAX;
  }
  *out = (struct tl_str){start, (size_t)(c->p - start)};
  return 0;
}

static int sip_uri(struct lex c, struct tl_uri *out) {
  /* '@' stands unescaped nowhere but behind the user, so a second one shows up in hostport. */
  const char *at = memchr(c.p, '@', (size_t)(c.e - c.p));
  if (at) {
    if (userinfo((struct tl_str){c.p, (size_t)(at - c.p)}, out)) return TL_ESYNTAX;
    c.p = at + 1;
  }
  if (tl_lex_hostport(&c, false, &out->host, &out->port)) return TL_ESYNTAX;
  if (uri_params(&c, &out->params)) return TL_ESYNTAX;
  if (lex_byte(&c, '?')) {
    out->headers = (struct tl_str){c.p, (size_t)(c.e - c.p)};
    return out->headers.n && tl_lex_all(out->headers, LEX_HEADER) ? 0 : TL_ESYNTAX;
  }
  return lex_end(&c) ? 0 : TL_ESYNTAX;
}

/* RFC 3966: the number goes to USER, its syntax is the far end's business. */
static int tel_uri(struct lex c, struct tl_uri *out) {
  out->user = lex_run(&c, LEX_USER);
  struct tl_str all = out->user;
  const char *semi = memchr(all.p, ';', all.n);
  if (!lex_end(&c)) return TL_ESYNTAX;
  if (semi) {
    out->user.n = (size_t)(semi - all.p);
    out->params = (struct tl_str){semi, all.n - out->user.n};
  }
  out->has_user = true;
  return out->user.n && tl_lex_all(all, LEX_USER) ? 0 : TL_ESYNTAX;
}

int tl_uri_parse(struct tl_str s, struct tl_uri *out) {
  memset(out, 0, sizeof(*out));
  out->whole = s;
  struct lex c = lex_of(s);
  struct tl_str scheme;
  if (tl_lex_scheme(&c, &scheme)) return TL_ESYNTAX;
  if (tl_str_ieq(scheme, TL_STR("sip"))) {
    out->scheme = TL_SCHEME_SIP;
    return sip_uri(c, out);
  }
  if (tl_str_ieq(scheme, TL_STR("sips"))) {
    out->scheme = TL_SCHEME_SIPS;
    return sip_uri(c, out);
  }
  if (tl_str_ieq(scheme, TL_STR("tel"))) {
    out->scheme = TL_SCHEME_TEL;
    return tel_uri(c, out);
  }
  out->scheme = TL_SCHEME_OTHER;
  lex_run(&c, LEX_URI);
  return lex_end(&c) ? 0 : TL_ESYNTAX;
}

bool tl_uri_transport(const struct tl_uri *u, enum tl_transport *out) {
  struct tl_str value;
  if (!tl_param_find(u->params, TL_STR("transport"), &value)) return false;
  if (tl_transport_parse(value, out)) *out = TL_TRANSPORTS;
  return true;
}
