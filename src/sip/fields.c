/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The header values that the scanner itself reads: those that a proxy must be
 * able to rely on in every message (RFC 3261 16.3). All others stay bytes.
 */
#include "scan_internal.h"

#define CSEQ_MAX 0x7fffffffu /* RFC 3261 8.1.1.5: less than 2**31 */

static struct lex cursor_over(const struct scan *s, struct tl_str v) {
  return (struct lex){v.p, v.p + v.n, s->r};
}

/* The topmost value is kept; the others in its field must be Via values too, or an element that
 * reads the field as a whole would see another field. */
static void read_via(struct scan *s, struct tl_str v) {
  struct tl_via below;
  size_t used, at;
  int err = tl_lex_via(cursor_over(s, v), &s->m->via, &used);
  s->m->via_bad = err != 0;
  for (; !err && used < v.n; used += at) {
    lex_clear(&below, sizeof(below));
    err = tl_lex_via(cursor_over(s, (struct tl_str){v.p + used, v.n - used}), &below, &at);
  }
  if (!err) return;
  if (s->m->via_bad) memset(&s->m->via, 0, sizeof(s->m->via));
  tl_scan_bad(s, "Bad Via");
}

/* From and To: one value and its tag. Returns its URI. Of two tags, two elements could each take a
 * different one. */
static struct tl_str read_party(struct scan *s, struct tl_str v, struct tl_str *out_tag,
                                const char *complaint) {
  struct tl_nameaddr na;
  size_t used;
  if (tl_lex_nameaddr(cursor_over(s, v), &na, out_tag, &used) || used != v.n)
    tl_scan_bad(s, complaint);
  return na.uri;
}

static void read_cseq(struct scan *s, struct tl_str v) {
  struct lex c = cursor_over(s, v);
  int err = lex_number(&c, CSEQ_MAX, &s->m->cseq);
  const char *gap = c.p;
  lex_ws(&c);
  struct tl_str method = lex_run(&c, LEX_TOKEN);
  if (err || gap + method.n == c.p || method.n == 0 || !lex_end(&c)) {
    tl_scan_bad(s, "Bad CSeq");
    return;
  }
  s->m->cseq_method = method;
}

/* Any visible characters: the grammar's "word" leaves out some that live systems use ('=', ','),
 * and nothing in a proxy depends on them. */
static void read_call_id(struct scan *s, struct tl_str v) {
  struct lex c = cursor_over(s, v);
  while (lex_run(&c, LEX_TOKEN), !lex_end(&c) && (unsigned char)*c.p > ' ' && *c.p != 0x7f) c.p++;
  if (v.n == 0 || !lex_end(&c)) {
    tl_scan_bad(s, "Bad Call-ID");
    return;
  }
  s->m->call_id = v;
}

static int read_number(const struct scan *s, struct tl_str v, uint32_t max, uint32_t *out) {
  struct lex c = cursor_over(s, v);
  return lex_number(&c, max, out) == 0 && lex_end(&c) ? TL_OK : TL_ESYNTAX;
}

static void read_max_forwards(struct scan *s, struct tl_str v) {
  uint32_t n = 0;
  if (read_number(s, v, 255, &n)) {
    tl_scan_bad(s, "Bad Max-Forwards");
    return;
  }
  s->m->max_forwards = (int32_t)n;
}

/* Is V the value of a field that is written exactly as we would write it? */
static bool plain_length(const struct scan *s, struct tl_str v) {
  static const char name[] = "Content-Length: ";
  const size_t n = sizeof(name) - 1;
  return (size_t)(v.p - s->m->p) > n && memcmp(v.p - n, name, n) == 0 && v.p[v.n] == '\r' &&
         (v.n == 1 || v.p[0] != '0');
}

/* Two equal ones mean the same to everybody who reads both; two different ones are how messages are
 * smuggled. */
static void read_content_length(struct scan *s, struct tl_str v) {
  uint32_t n = 0;
  if (++s->lengths > 1 || !plain_length(s, v)) s->m->rewrite |= TL_REWRITE_LENGTH;
  if (s->lengths > LENGTHS_MAX) {
    s->lengths = LENGTHS_MAX;
    tl_scan_bad(s, "Several Content-Length");
  }
  if (read_number(s, v, BODY_MAX, &n)) {
    tl_scan_bad(s, "Bad Content-Length");
    s->length_bad = true;
  } else if (s->m->has_length && n != s->m->body_len) {
    tl_scan_bad(s, "Conflicting Content-Length");
    s->length_bad = true;
  } else {
    s->m->has_length = true;
    s->m->body_len = n;
  }
}

static bool refuse_repeated(struct scan *s, bool again, const char *reason) {
  if (again) tl_scan_bad(s, reason);
  return again;
}

void tl_scan_field(struct scan *s, enum tl_hdr_id id, struct tl_str v, bool again) {
  switch (id) {
  case TL_H_VIA:
    if (!again) read_via(s, v);
    break;
  case TL_H_FROM:
    if (!refuse_repeated(s, again, "Several From"))
      s->m->from_uri = read_party(s, v, &s->m->from_tag, "Bad From");
    break;
  case TL_H_TO:
    if (!refuse_repeated(s, again, "Several To")) read_party(s, v, &s->m->to_tag, "Bad To");
    break;
  case TL_H_CALL_ID:
    if (!refuse_repeated(s, again, "Several Call-ID")) read_call_id(s, v);
    break;
  case TL_H_CSEQ:
    if (!refuse_repeated(s, again, "Several CSeq")) read_cseq(s, v);
    break;
  case TL_H_MAX_FORWARDS:
    if (!refuse_repeated(s, again, "Several Max-Forwards")) read_max_forwards(s, v);
    break;
  case TL_H_CONTENT_LENGTH: read_content_length(s, v); break;
  default: break;
  }
}
