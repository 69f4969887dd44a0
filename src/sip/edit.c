/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of edits on a message head. It is kept in order as edits are added,
 * so that writing is one pass; what the edits mean is the caller's business,
 * except for those that every head gets which is not in its plain form (enum
 * tl_rewrite).
 */
#include <stdio.h>

#include "tieline/edit.h"

/* RFC 3261 20.14 has one Content-Length: the body's true length, where the first one was. */
static void write_length(struct tl_edit *e) {
  const struct tl_msg *m = e->msg;
  uint16_t i = m->first[TL_H_CONTENT_LENGTH];
  int n = snprintf(e->length, sizeof(e->length), "Content-Length: %u\r\n", m->body_len);
  struct tl_str line = {e->length, (size_t)n};
  if (i == TL_HDR_NONE) {
    tl_edit_insert_lines(e, m->n_hdr, line);
    return;
  }
  tl_edit_replace(e, m->hdr[i].off, m->hdr[i].end - m->hdr[i].off, line);
  while ((i = m->hdr[i].next) != TL_HDR_NONE) tl_edit_remove_header(e, i);
}

void tl_edit_init(struct tl_edit *e, const struct tl_msg *m) {
  e->msg = m;
  e->n = 0;
  e->err = 0;
  if (m->rewrite & TL_REWRITE_LENGTH) write_length(e);
  if (m->rewrite & TL_REWRITE_VERSION)
    tl_edit_replace(e, m->is_request ? m->line_end - 9 : 0, 7, TL_STR("SIP/2.0"));
}

/* The index of an edit at OFF: after all others at the same offset. */
static unsigned insert_position(const struct tl_edit *e, uint32_t off) {
  unsigned i = e->n;
  while (i > 0 && e->op[i - 1].off > off) i--;
  return i;
}

/* Edits may share an offset, but bytes are deleted only once, and nothing is inserted inside
 * them. */
static bool edits_collide(const struct tl_edit *e, unsigned at, uint32_t off, uint32_t del) {
  if (at < e->n && off + del > e->op[at].off) return true;
  for (unsigned i = 0; i < at; i++) {
    const struct tl_edit_op *o = &e->op[i];
    if (o->off == off ? o->del && del : o->off + o->del > off) return true;
  }
  return false;
}

void tl_edit_replace(struct tl_edit *e, uint32_t off, uint32_t del, struct tl_str ins) {
  if (e->err || (del == 0 && ins.n == 0)) return;
  if (off > e->msg->head_len || del > e->msg->head_len - off) {
    e->err = TL_EINVAL;
    return;
  }
  unsigned at = insert_position(e, off);
  if (edits_collide(e, at, off, del)) {
    e->err = TL_EINVAL;
    return;
  }
  if (e->n == TL_EDIT_MAX) {
    e->err = TL_ELIMIT;
    return;
  }
  memmove(&e->op[at + 1], &e->op[at], (e->n - at) * sizeof(e->op[0]));
  e->op[at] = (struct tl_edit_op){off, del, ins};
  e->n++;
}

void tl_edit_replace_str(struct tl_edit *e, struct tl_str old, struct tl_str ins) {
  uintptr_t base = (uintptr_t)e->msg->p, p = (uintptr_t)old.p;
  if (e->err) return;
  if (p < base || p - base > e->msg->head_len || old.n > e->msg->head_len - (p - base)) {
    e->err = TL_EINVAL;
    return;
  }
  tl_edit_replace(e, (uint32_t)(p - base), (uint32_t)old.n, ins);
}

void tl_edit_remove_header(struct tl_edit *e, uint16_t i) {
  if (e->err) return;
  if (i >= e->msg->n_hdr) {
    e->err = TL_EINVAL;
    return;
  }
  const struct tl_hdr *h = &e->msg->hdr[i];
  tl_edit_replace(e, h->off, h->end - h->off, (struct tl_str){NULL, 0});
}

void tl_edit_remove_value(struct tl_edit *e, uint16_t i, size_t used) {
  if (e->err) return;
  if (i >= e->msg->n_hdr || used > e->msg->hdr[i].val_len) {
    e->err = TL_EINVAL;
    return;
  }
  const struct tl_hdr *h = &e->msg->hdr[i];
  if (used == h->val_len)
    tl_edit_remove_header(e, i);
  else
    tl_edit_replace(e, h->val, (uint32_t)used, (struct tl_str){NULL, 0});
}

void tl_edit_insert_lines(struct tl_edit *e, uint16_t i, struct tl_str lines) {
  if (e->err) return;
  if (i > e->msg->n_hdr) {
    e->err = TL_EINVAL;
    return;
  }
  uint32_t off = i < e->msg->n_hdr ? e->msg->hdr[i].off : e->msg->head_len - 2;
  tl_edit_replace(e, off, 0, lines);
}

/* ---- writing ---- */

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

size_t tl_unfold_lines(char *dst, const char *src, size_t n) {
  if (!n) return 0;
  const char *p = src, *end = src + n;
  size_t len = 0;
  bool space = false; /* the last byte written replaces a fold */
  while (p < end) {
    const char *cr = memchr(p, '\r', (size_t)(end - p));
    bool fold = cr && end - cr > 2 && cr[1] == '\n' && is_blank(cr[2]);
    const char *stop = fold ? cr : cr ? cr + 1 : end;
    if (fold)
      while (stop > p && is_blank(stop[-1])) stop--;
    if (dst && stop > p) memcpy(dst + len, p, (size_t)(stop - p));
    len += (size_t)(stop - p);
    if (fold && (!space || stop > p)) {
      if (dst) dst[len] = ' ';
      len++;
    }
    space = fold;
    p = fold ? cr + 2 : stop;
    while (fold && p < end && is_blank(*p)) p++;
  }
  return len;
}

/* Appends at DST + AT; DST is NULL when folds are only counted. */
static size_t put_text(const struct tl_edit *e, char *dst, size_t at, const char *src, size_t n) {
  if (e->msg->rewrite & TL_REWRITE_FOLDS)
    return at + tl_unfold_lines(dst ? dst + at : NULL, src, n);
  if (n) memcpy(dst + at, src, n);
  return at + n;
}

/* Edits begin and end at fields, or at values without the white space around them, so that a fold
 * is never cut in two. */
static size_t apply_edits(const struct tl_edit *e, char *dst) {
  const char *src = e->msg->p;
  size_t at = 0, to = 0;
  for (unsigned i = 0; i < e->n; i++) {
    const struct tl_edit_op *o = &e->op[i];
    if (o->off > at) {
      to = put_text(e, dst, to, src + at, o->off - at);
      at = o->off;
    }
    to = put_text(e, dst, to, o->ins.p, o->ins.n);
    if (o->off + o->del > at) at = o->off + o->del;
  }
  return put_text(e, dst, to, src + at, e->msg->head_len - at);
}

size_t tl_edit_len(const struct tl_edit *e) {
  size_t len = e->msg->head_len;
  if (e->msg->rewrite & TL_REWRITE_FOLDS) return apply_edits(e, NULL);
  for (unsigned i = 0; i < e->n; i++) len = len - e->op[i].del + e->op[i].ins.n;
  return len;
}

size_t tl_edit_write(const struct tl_edit *e, char *dst) { return apply_edits(e, dst); }
