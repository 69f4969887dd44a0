/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scanner: lines.c finds the lines, start_line.c reads the first, this file
 * groups the others into header fields and indexes them, fields.c reads the few
 * that a proxy depends on. It changes nothing and judges nothing else; what a
 * request means is decided in src/proxy.
 *
 * After the first error it goes on as far as it can, so that the request can be
 * answered; the first error stands.
 */
#include "scan_internal.h"

#include "header.h"

static void clear_msg(struct tl_msg *m, const char *p) {
  /* hdr[] is 6 KB and covered by n_hdr: only what stands before it is reset */
  lex_clear(m, offsetof(struct tl_msg, hdr));
  memset(m->first, 0xff, sizeof(m->first));
  m->p = p;
  m->max_forwards = -1;
}

/* Offset of the colon in [AT, END), or END. */
static uint32_t find_colon(const char *p, uint32_t at, uint32_t end) {
#if defined(__SSE2__)
  for (; end - at >= 16; at += 16) {
    __m128i block = _mm_loadu_si128((const __m128i *)(const void *)(p + at));
    unsigned mask = lex_mask(block, ':');
    if (mask) return at + (uint32_t)__builtin_ctz(mask);
  }
#endif
  while (at < end && p[at] != ':') at++;
  return at;
}

static bool is_fold(const char *p, uint32_t at) { return p[at] == ' ' || p[at] == '\t'; }

static __attribute__((noinline)) bool is_token(struct lex c) {
  return lex_run(&c, LEX_TOKEN).n && lex_end(&c);
}

/* The id of the name in [P, END), -1 if it is not a token. Every known name is one. */
static inline int name_id(const char *p, const char *end, const char *r) {
  if (p == end) return -1;
  enum tl_hdr_id id = header_id(p, (size_t)(end - p));
  return id != TL_H_OTHER || is_token((struct lex){p, end, r}) ? (int)id : -1;
}

/* Enters field I, of ID with N bytes of value; true if another of its id came before it. */
static inline bool index_header(struct scan *s, uint16_t i, int id, uint32_t off, uint32_t val,
                                uint32_t n, uint32_t end) {
  struct tl_msg *m = s->m;
  struct tl_hdr *h = &m->hdr[i];
  uint16_t first = m->first[id];
  h->off = off;
  h->val = val;
  h->val_len = n;
  h->end = end;
  h->next = TL_HDR_NONE;
  h->id = (uint8_t)id;
  if (first == TL_HDR_NONE)
    m->first[id] = i;
  else
    m->hdr[s->last[id]].next = i;
  s->last[id] = i;
  return first != TL_HDR_NONE;
}

/* Enters the field in [OFF, END) with the value in [VAL, VAL_END), which may have white space
 * around it. */
static inline void take_value(struct scan *s, const char *p, int id, uint32_t off, uint32_t val,
                              uint32_t val_end, uint32_t end) {
  if (p[val] <= ' ')
    while (val < val_end && lex_is(p[val], LEX_WS)) val++;
  if (p[val_end - 1] <= ' ')
    while (val_end > val && lex_is(p[val_end - 1], LEX_WS)) val_end--;
  bool again = index_header(s, s->m->n_hdr++, id, off, val, val_end - val, end);
  if (SCAN_FIELDS >> id & 1)
    tl_scan_field(s, (enum tl_hdr_id)id, (struct tl_str){p + val, val_end - val}, again);
}

/* The next header field, in [OFF, END); its first line ends at LINE_END. */
static __attribute__((noinline)) void add_header(struct scan *s, uint32_t off, uint32_t line_end,
                                                 uint32_t end) {
  const char *p = s->m->p;
  uint32_t colon = find_colon(p, off, line_end), name_end = colon;
  while (name_end > off && is_fold(p, name_end - 1)) name_end--;
  int id = name_id(p + off, p + name_end, s->r);
  if (colon == line_end || id < 0)
    tl_scan_bad(s, "Bad Header Line");
  else
    take_value(s, p, id, off, colon + 1, end - 2, end);
}

/* The same in the usual case, a name of up to 15 letters directly followed by its colon; false if
 * it is not that. */
static inline bool add_plain_header(struct scan *s, const char *p, uint32_t off, uint32_t end) {
#if defined(__SSE2__)
  if (s->r - p - off < 17) return false;
  __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + off));
  unsigned colon = lex_mask(v, ':');
  unsigned name = (colon - 1) & ~colon; /* a bit for each byte before the colon */
  if (!colon || !name) return false;
  uint32_t n = (uint32_t)__builtin_ctz(colon), val = off + n + 1;
  if (val + 2 > end) return false;
  const struct header_name *e = header_candidate(p + off, n);
  bool known = e->len == n && (header_equal(v, e) & name) == name;
  if (!known && (lex_uncommon(v) & name)) return false;
  take_value(s, p, known ? e->id : TL_H_OTHER, off, val + (p[val] == ' '), end - 2, end);
  return true;
#else
  (void)s, (void)p, (void)off, (void)end;
  return false;
#endif
}

/* Takes the folds after line I - 1 of N; *END moves along. A fold of nothing but white space is
 * refused: the grammar has no place for it between tokens, and some parsers take it for the empty
 * line. */
static __attribute__((noinline)) uint32_t take_folds(struct scan *s, const struct lines *l,
                                                     uint32_t i, uint32_t n, uint32_t *end) {
  const char *p = s->m->p;
  while (i < n && is_fold(p, l->end[i - 1])) {
    struct tl_str line = {p + l->end[i - 1], l->end[i] - l->end[i - 1]};
    if (tl_str_trim(line).n == 0) tl_scan_bad(s, "Blank Folded Line");
    *end = l->end[i++];
    s->m->rewrite |= TL_REWRITE_FOLDS;
  }
  return i;
}

/* L holds N complete lines; a fold after the last of them is visible only if the head is
 * complete. */
static void read_headers(struct scan *s, const struct lines *l, uint32_t n) {
  const char *p = s->m->p;
  uint32_t i = 1, end;
  if (n > 1 && is_fold(p, l->end[0])) {
    tl_scan_bad(s, "White Space Before First Header");
    i = take_folds(s, l, i, n, &end);
  }
  while (i < n) {
    uint32_t off = l->end[i - 1], line_end = l->end[i++];
    end = line_end;
    if (i < n && p[line_end] <= ' ') i = take_folds(s, l, i, n, &end);
    if (s->m->n_hdr == s->fields_max) {
      tl_scan_fail(s, TL_ELIMIT, 400, "Too Many Headers");
      return;
    }
    if (!add_plain_header(s, p, off, end)) add_header(s, off, line_end, end);
  }
}

static void check_present(struct scan *s) {
  static const struct {
    enum tl_hdr_id id;
    const char *reason;
  } need[] = {{TL_H_VIA, "Missing Via"},
              {TL_H_FROM, "Missing From"},
              {TL_H_TO, "Missing To"},
              {TL_H_CALL_ID, "Missing Call-ID"},
              {TL_H_CSEQ, "Missing CSeq"}};
  for (unsigned i = 0; i < sizeof(need) / sizeof(need[0]); i++)
    if (!tl_msg_has(s->m, need[i].id)) tl_scan_bad(s, need[i].reason);
}

static void check_body(struct scan *s, size_t n, bool stream) {
  struct tl_msg *m = s->m;
  size_t rest = n - m->head_len;
  if (!m->has_length) m->rewrite |= TL_REWRITE_LENGTH;
  if (s->length_bad) {
    m->body_len = stream || rest > BODY_MAX ? 0 : (uint32_t)rest;
  } else if (!m->has_length && stream) {
    tl_scan_bad(s, "Missing Content-Length");
  } else if (!m->has_length) {
    m->body_len = (uint32_t)rest;
  } else if (!stream && m->body_len > rest) {
    tl_scan_bad(s, "Content-Length Beyond Datagram"); /* RFC 3261 18.3 */
    m->body_len = (uint32_t)rest;
  }
}

static void no_reply(struct tl_msg *m) {
  memset(&m->via, 0, sizeof(m->via));
  m->via_bad = false;
}

/*
 * A stray CR or LF is a line end to one element and not to another. Where it is
 * inside something that a reply would repeat, no reply is made.
 */
static void refuse_stray(struct scan *s) {
  struct tl_msg *m = s->m;
  tl_scan_bad(s, "Bare CR Or LF In Header");
  for (uint16_t i = 0; i < m->n_hdr; i++)
    for (uint32_t at = m->hdr[i].off; at < m->hdr[i].end; at++) {
      bool cr = m->p[at] == '\r', lf = m->p[at] == '\n';
      if ((cr && m->p[at + 1] != '\n') || (lf && m->p[at - 1] != '\r')) {
        no_reply(m);
        return;
      }
    }
}

/* NUL is legal in one place, as a quoted-pair in a quoted string (RFC 4475 3.1.1.2). */
static bool nul_is_quoted(struct tl_str v) {
  bool quoted = false;
  for (size_t i = 0; i < v.n; i++) {
    if (v.p[i] == '\0') return false;
    if (v.p[i] == '"') quoted = !quoted;
    if (quoted && v.p[i] == '\\') i++;
  }
  return true;
}

static void check_nul(struct scan *s) {
  struct tl_msg *m = s->m;
  bool fine = memchr(m->p, '\0', m->line_end) == NULL;
  for (uint16_t i = 0; fine && i < m->n_hdr; i++) fine = nul_is_quoted(tl_hdr_value(m, i));
  if (!fine) {
    tl_scan_bad(s, "NUL In Header");
    no_reply(m);
  }
}

/*
 * There is no empty line yet: wait for it, or give up. What is known to be
 * hopeless is refused at once, so that a stream of garbage cannot occupy a
 * buffer.
 */
static int judge_incomplete(struct scan *s, const struct lines *l, size_t n, bool stream,
                            size_t max_head) {
  bool over = n >= max_head || l->full;
  uint32_t complete = l->n;
  if (l->n && !tl_scan_start_line(s, l->end[0])) return s->rc;
  if (l->stray && !(stream && l->n && !over)) { /* otherwise its end may be near and certain */
    tl_scan_bad(s, "Bare CR Or LF In Header");
    return s->rc;
  }
  if (stream && !over) return TL_EAGAIN;
  if (!l->n) {
    tl_scan_fail(s, over ? TL_ELIMIT : TL_ESYNTAX, 0, "Not SIP");
    return s->rc;
  }
  if (over) {
    tl_scan_fail(s, TL_ELIMIT, 513, "Message Too Large");
    complete--; /* the last line may continue in a fold that has not arrived */
  } else {
    tl_scan_bad(s, "No Empty Line Behind Headers");
  }
  read_headers(s, l, complete);
  if (l->nul) check_nul(s);
  return s->rc;
}

int tl_scan(const char *p, size_t n, bool stream, size_t max_head, struct tl_msg *out,
            struct tl_scan_error *err) {
  struct lines l;
  const bool own = max_head == TL_SCAN_OWN;
  struct scan s = {
      .m = out, .err = err, .r = p + n, .fields_max = TL_HDR_MAX + (own ? TL_HDR_OWN : 0)};
  if (max_head > BODY_MAX) max_head = BODY_MAX;
  clear_msg(out, p);
  err->status = 0;
  err->reason = "";
  tl_lines_find(p, (uint32_t)(n < max_head ? n : max_head), &l);
  if (!l.head_len) return judge_incomplete(&s, &l, n, stream, max_head);
  out->head_len = l.head_len;
  if (!tl_scan_start_line(&s, l.end[0])) return s.rc;
  if (l.full) tl_scan_fail(&s, TL_ELIMIT, 400, "Too Many Header Lines");
  read_headers(&s, &l, l.n - 1);
  check_present(&s);
  check_body(&s, n, stream);
  if (l.stray) refuse_stray(&s);
  if (l.nul) check_nul(&s);
  if (out->is_request && out->cseq_method.n && !tl_str_eq(out->cseq_method, out->method_name))
    tl_scan_bad(&s, "CSeq Method Differs");
  if (!out->is_request) out->method = tl_method_parse(out->cseq_method);
  out->framed = out->has_length && !s.length_bad && !l.stray && !l.nul && !l.full;
  return s.rc;
}

bool tl_msg_answerable(const struct tl_msg *m) {
  return m->is_request && m->method != TL_M_ACK && (m->via.host.n || m->via_bad);
}
