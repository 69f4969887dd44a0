/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Request-Line and Status-Line (RFC 3261 7.1, 7.2), with no tolerance for extra
 * white space: it is the line on which two elements must not differ.
 */
#include "scan_internal.h"

static bool not_sip(struct scan *s) {
  tl_scan_fail(s, TL_ESYNTAX, 0, "Not SIP");
  return false;
}

static void status_line(struct scan *s, struct tl_str line) {
  struct tl_msg *m = s->m;
  uint32_t status = 0;
  struct lex c = {line.p + 8, line.p + line.n, s->r};
  struct tl_str digits = lex_digits(&c);
  if (digits.n != 3 || tl_lex_u32(digits, 699, &status) || status < 100) {
    tl_scan_fail(s, TL_ESYNTAX, 400, "Bad Status Code");
    return;
  }
  m->status = (uint16_t)status;
  /* the space before an empty reason phrase is often omitted */
  if (lex_end(&c)) return;
  if (!lex_byte(&c, ' ')) {
    tl_scan_fail(s, TL_ESYNTAX, 400, "Bad Status Line");
    return;
  }
  m->reason = (struct tl_str){c.p, (size_t)(c.e - c.p)};
}

/* "SIP/" digits "." digits, in any case: SIP, though perhaps not our version. */
static bool is_version(struct tl_str v) {
  if (v.n == 7 && memcmp(v.p, "SIP/2.0", 7) == 0) return true;
  if (v.n < 7 || strncasecmp(v.p, "SIP/", 4) != 0) return false;
  struct lex c = {v.p + 4, v.p + v.n, v.p + v.n};
  return lex_digits(&c).n && lex_byte(&c, '.') && lex_digits(&c).n && lex_end(&c);
}

static bool is_ours(struct tl_str v) { return tl_str_ieq(v, TL_STR("SIP/2.0")); }

/* The last word of LINE, trailing white space ignored. */
static struct tl_str last_word(struct tl_str line) {
  const char *e = line.p + line.n;
  while (e > line.p && lex_is(e[-1], LEX_WS)) e--;
  const char *start = e;
  while (start > line.p && !lex_is(start[-1], LEX_WS)) start--;
  return (struct tl_str){start, (size_t)(e - start)};
}

/*
 * The URI of a request must be well-formed, and a SIP URI in it carries no
 * headers (RFC 3261 19.1.1); an unknown scheme is for the proxy to answer with
 * 416, not a syntax error.
 */
static bool good_uri(const struct scan *s, struct tl_str uri, struct tl_uri *out) {
  return tl_lex_uri((struct lex){uri.p, uri.p + uri.n, s->r}, out) == 0 && out->headers.n == 0;
}

/* LINE has exactly the two spaces of a request line and no other white space. */
static bool two_spaces(struct tl_str line) {
  unsigned n = 0;
  for (size_t i = 0; i < line.n; i++)
    n += lex_is(line.p[i], LEX_WS) ? (line.p[i] == ' ' ? 1 : 3) : 0;
  return n == 2;
}

/* The version at the end of LINE, by a shorter way when the line is as it should be. */
static bool version_of(struct scan *s, struct tl_str line, struct tl_str *out) {
  if (line.n > 8 && memcmp(line.p + line.n - 8, " SIP/2.0", 8) == 0) {
    *out = (struct tl_str){line.p + line.n - 7, 7};
    return true;
  }
  *out = last_word(line);
  if (!is_version(*out)) return false;
  s->m->rewrite |= TL_REWRITE_VERSION;
  if (!is_ours(*out)) tl_scan_fail(s, TL_ESYNTAX, 505, "SIP Version Not Supported");
  return true;
}

static bool request_line(struct scan *s, struct tl_str line) {
  struct tl_msg *m = s->m;
  struct lex c = {line.p, line.p + line.n, s->r};
  struct tl_str method = lex_run(&c, LEX_TOKEN), version;
  if (method.n == 0 || lex_end(&c) || *c.p != ' ' || !version_of(s, line, &version))
    return not_sip(s);
  m->is_request = true;
  m->method_name = method;
  m->method = tl_method_parse(method);
  c.p++;
  struct tl_str uri = {c.p, version.p > c.p ? (size_t)(version.p - 1 - c.p) : 0};
  if (uri.n && version.p[-1] == ' ' && version.p + version.n == c.e && good_uri(s, uri, &m->ruri))
    m->uri = uri;
  else
    tl_scan_fail(s, TL_ESYNTAX, 400, two_spaces(line) ? "Bad Request-URI" : "Bad Request Line");
  return true;
}

bool tl_scan_start_line(struct scan *s, uint32_t end) {
  struct tl_str line = {s->m->p, end - 2};
  s->m->line_end = end;
  /* '/' cannot be in a method, so this prefix begins a response or nothing */
  if (line.n >= 4 && line.p[3] == '/' && LEX_WORD(((struct tl_str){line.p, 3}), "sip")) {
    if (line.n < 8 || line.p[7] != ' ' || !is_version((struct tl_str){line.p, 7}))
      return not_sip(s);
    if (memcmp(line.p, "SIP/2.0", 7) != 0) {
      s->m->rewrite |= TL_REWRITE_VERSION;
      if (!is_ours((struct tl_str){line.p, 7}))
        tl_scan_fail(s, TL_ESYNTAX, 505, "SIP Version Not Supported");
    }
    status_line(s, line);
    return true;
  }
  return request_line(s, line);
}
