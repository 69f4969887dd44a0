/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of edits on a message head. Order is kept as edits are added, so that
 * writing is one walk; what the edits mean is the caller's business.
 */
#include "tieline/edit.h"

void tl_edit_init(struct tl_edit *e, const struct tl_msg *m) {
  e->msg = m;
  e->n = 0;
  e->err = 0;
}

/* Where an edit at OFF goes: behind all others at the same place. */
static unsigned position(const struct tl_edit *e, uint32_t off) {
  unsigned i = e->n;
  while (i > 0 && e->op[i - 1].off > off) i--;
  return i;
}

/* Edits may share a place, but bytes disappear once and nothing is put inside them. */
static bool collides(const struct tl_edit *e, unsigned at, uint32_t off, uint32_t del) {
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
  unsigned at = position(e, off);
  if (collides(e, at, off, del)) {
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

size_t tl_edit_len(const struct tl_edit *e) {
  size_t len = e->msg->head_len;
  for (unsigned i = 0; i < e->n; i++) len = len - e->op[i].del + e->op[i].ins.n;
  return len;
}

static char *put(char *dst, const char *src, size_t n) {
  if (n) memcpy(dst, src, n);
  return dst + n;
}

size_t tl_edit_write(const struct tl_edit *e, char *dst) {
  const char *src = e->msg->p;
  char *to = dst;
  size_t at = 0;
  for (unsigned i = 0; i < e->n; i++) {
    const struct tl_edit_op *o = &e->op[i];
    if (o->off > at) {
      to = put(to, src + at, o->off - at);
      at = o->off;
    }
    to = put(to, o->ins.p, o->ins.n);
    if (o->off + o->del > at) at = o->off + o->del;
  }
  to = put(to, src + at, e->msg->head_len - at);
  return (size_t)(to - dst);
}
