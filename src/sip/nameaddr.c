/* SPDX-License-Identifier: Apache-2.0 */
/*
 * name-addr and addr-spec values: From, To, Contact, Route, Record-Route. The
 * URI is only delimited here and checked for characters that no URI has;
 * tl_uri_parse reads it when its parts are needed.
 */
#include "lex.h"
#include "tieline/uri.h"

/* Unquoted display names are tokens (RFC 3261 25.1); bytes from 0x80 are let through, since
 * phones send UTF-8 names without quotes and nothing here depends on them. */
static bool display_char(char c) {
  return (unsigned char)c >= 0x80 || lex_is(c, LEX_TOKEN | LEX_WS);
}

/* Leaves the cursor at '<' and returns true when the value has the name-addr form. */
static bool skip_display_name(struct lex *c) {
  struct lex at = *c;
  struct tl_str quoted;
  if (!lex_end(&at) && *at.p == '"') {
    if (lex_far(tl_lex_quoted, &at, &quoted)) return false;
    lex_ws(&at);
  } else {
    while (!lex_end(&at) && display_char(*at.p)) at.p++;
  }
  if (lex_end(&at) || *at.p != '<') return false;
  *c = at;
  return true;
}

static bool has_scheme(const struct lex *c, struct tl_str uri) {
  struct lex u = {uri.p, uri.p + uri.n, c->r};
  struct tl_str scheme;
  return lex_scheme(&u, &scheme) == 0;
}

static int read_bracketed(struct lex *c, struct tl_str *out) {
  c->p++;
  *out = lex_run(c, LEX_URI);
  return lex_byte(c, '>') && has_scheme(c, *out) ? TL_OK : TL_ESYNTAX;
}

/* Without brackets, what follows a ';' belongs to the header, and '?' and ',' may not be in the
 * URI at all (RFC 3261 20). "*" is a Contact (20.10). */
static int read_bare(struct lex *c, struct tl_str *out) {
  *out = lex_run(c, LEX_BARE);
  return has_scheme(c, *out) || tl_str_eq(*out, TL_STR("*")) ? TL_OK : TL_ESYNTAX;
}

static int keep_tag(struct tl_str *tag, const struct lex_param *p) {
  if (!LEX_WORD(p->name, "tag")) return TL_OK;
  if (tag->n || p->value.n == 0 || p->value.p[0] == '"') return TL_ESYNTAX;
  *tag = p->value;
  return TL_OK;
}

int tl_lex_nameaddr(struct lex c, struct tl_nameaddr *out, struct tl_str *out_tag,
                    size_t *out_used) {
  const char *begin = c.p;
  struct lex_param p;
  int got;
  memset(out, 0, sizeof(*out));
  lex_ws(&c);
  const char *start = c.p;
  int err = skip_display_name(&c) ? read_bracketed(&c, &out->uri) : read_bare(&c, &out->uri);
  if (err) return err;
  const char *end = c.p;
  while ((got = lex_param(&c, &p)) == 1) {
    if (!out->params.p) out->params.p = p.text.p;
    end = p.text.p + p.text.n;
    if (out_tag && keep_tag(out_tag, &p)) return TL_ESYNTAX;
  }
  if (got < 0) return got;
  if (out->params.p) out->params.n = (size_t)(end - out->params.p);
  out->whole = (struct tl_str){start, (size_t)(end - start)};
  return lex_value_end(&c, begin, out_used);
}

int tl_nameaddr_parse(struct tl_str v, struct tl_nameaddr *out, size_t *out_used) {
  return tl_lex_nameaddr(lex_of(v), out, NULL, out_used);
}

bool tl_param_find(struct tl_str params, struct tl_str name, struct tl_str *out) {
  struct lex c = lex_of(params);
  struct tl_str quoted;
  /* Serves header and URI parameters, so a value may hold what either may. */
  while (!lex_end(&c)) {
    lex_ws(&c);
    if (!lex_byte(&c, ';')) return false;
    lex_ws(&c);
    struct tl_str key = lex_run(&c, LEX_TOKEN | LEX_PARAM), value = {c.p, 0};
    lex_ws(&c);
    if (lex_byte(&c, '=')) {
      lex_ws(&c);
      if (!lex_end(&c) && *c.p == '"' && tl_lex_quoted(&c, &quoted) == 0)
        value = quoted;
      else
        value = lex_run(&c, LEX_VALUE | LEX_PARAM);
    }
    if (tl_str_ieq(key, name)) {
      *out = value;
      return true;
    }
    lex_ws(&c);
  }
  return false;
}
