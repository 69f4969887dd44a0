/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of values with their positions, and the reporting of problems: the tools
 * that the other parts of the configuration share. It contains no rules.
 */
#include <stdarg.h>
#include <stdlib.h>

#include "conf/conf_block.h"
#include "tieline/state_path.h"

#define GUESSES_MAX 100 /* problems after which no nearest name is looked for */

int tl_conf_fail(struct tl_conf_ctx *ctx, struct tl_conf_pos at, const char *fmt, ...) {
  char sentence[768];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(sentence, sizeof(sentence), fmt, ap);
  va_end(ap);
  ctx->problems++;
  if (ctx->report) ctx->report(ctx->arg, at.file ? at.file : "", at.line, sentence);
  return TL_ECONFIG;
}

void tl_conf_warn(struct tl_conf_ctx *ctx, struct tl_conf_pos at, const char *fmt, ...) {
  char sentence[768];
  va_list ap;
  if (ctx->quiet) return;
  va_start(ap, fmt);
  vsnprintf(sentence, sizeof(sentence), fmt, ap);
  va_end(ap);
  TL_LOG(TL_LOG_WARN, sentence, TL_FC("file", at.file ? at.file : ""), TL_FI("line", at.line));
}

/* Levenshtein distance, at most CAP. */
static size_t edit_distance(const char *a, const char *b, size_t cap) {
  size_t row[TL_CONF_NAME_MAX + 2], n = strlen(a), m = strlen(b);
  if (m > TL_CONF_NAME_MAX || n > TL_CONF_NAME_MAX || n > m + cap || m > n + cap) return cap;
  for (size_t j = 0; j <= m; j++) row[j] = j;
  for (size_t i = 1; i <= n; i++) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= m; j++) {
      size_t best = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      if (row[j] + 1 < best) best = row[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      row[j] = best;
    }
  }
  return row[m] < cap ? row[m] : cap;
}

const char *tl_conf_nearest(const char *word, const char *const *names) {
  size_t best = strlen(word) / 3 + 2; /* a third of the letters may be wrong, one in short words */
  const char *near = NULL;
  for (; *names; names++) {
    size_t d = edit_distance(word, *names, best);
    if (d < best) best = d, near = *names;
  }
  return near;
}

static int store_default(struct tl_block *b, const struct tl_opt *o) {
  char err[256], path[TL_STATE_PATH_MAX];
  const char *text = o->def;
  if (o->flags & TL_OPT_STATE) {
    int rc = tl_state_path(o->def, path);
    if (rc) return rc;
    text = path;
  }
  return tl_value_store(b, o, &text, 1, NULL, err, sizeof(err));
}

int tl_block_init(struct tl_block *b, const struct tl_conf_section *sec, const char *title) {
  int rc = TL_OK;
  *b = (struct tl_block){.sec = sec,
                         .title = title ? strdup(title) : NULL,
                         .values = calloc(1, sec->size),
                         .at = calloc(sec->n_opt, sizeof(*b->at))};
  if (!b->values || !b->at || (title && !b->title)) return TL_ENOMEM;
  for (size_t i = 0; i < sec->n_opt && !rc; i++) {
    const struct tl_opt *o = &sec->opt[i];
    if (o->def)
      rc = store_default(b, o);
    else if (o->kind == TL_OPT_WORD)
      memcpy((char *)b->values + o->offset, &(uint32_t){TL_CONF_UNSET}, sizeof(uint32_t));
  }
  return rc;
}

void tl_block_free(struct tl_block *b) {
  for (size_t i = 0; b->sec && b->values && i < b->sec->n_opt; i++)
    tl_value_clear(b, &b->sec->opt[i]);
  free(b->title);
  free(b->values);
  free(b->at);
  *b = (struct tl_block){0};
}

struct tl_conf_pos tl_block_at(const struct tl_block *b, const char *name) {
  const struct tl_opt *o = tl_conf_option(b->sec, name);
  return o && b->at[o - b->sec->opt].line ? b->at[o - b->sec->opt] : b->pos;
}

bool tl_block_given(const struct tl_block *b, const char *name) {
  const struct tl_opt *o = tl_conf_option(b->sec, name);
  return o && b->at[o - b->sec->opt].line > 0;
}

/* FNV-1a: titles come from the operator, so nobody can provoke collisions. */
static size_t hash_title(uint32_t owner, const char *title) {
  uint64_t h = (0xcbf29ce484222325u ^ owner) * 0x100000001b3u;
  for (; *title; title++) h = (h ^ (unsigned char)*title) * 0x100000001b3u;
  return (size_t)(h ^ (h >> 32));
}

/* The slot that leads to the block of OWNER titled TITLE, or the free one where it would go. */
static uint32_t *find_slot(const struct tl_blocks *bs, uint32_t owner, const char *title) {
  for (size_t i = hash_title(owner, title);; i++) {
    uint32_t *slot = &bs->slot[i & (bs->n_slot - 1)];
    const struct tl_block *b = *slot ? &bs->b[*slot - 1] : NULL;
    if (!b || (b->owner == owner && strcmp(b->title, title) == 0)) return slot;
  }
}

struct tl_block *tl_blocks_find_in(const struct tl_blocks *bs, uint32_t owner, const char *title) {
  uint32_t found = bs->n_slot ? *find_slot(bs, owner, title) : 0;
  return found ? &bs->b[found - 1] : NULL;
}

struct tl_block *tl_blocks_find(const struct tl_blocks *bs, const char *title) {
  return tl_blocks_find_in(bs, 0, title);
}

/* Owners ascend: their blocks are read one after the other. */
size_t tl_blocks_first_in(const struct tl_blocks *bs, uint32_t owner) {
  size_t from = 0, to = bs->n;
  while (from < to) {
    size_t half = from + (to - from) / 2;
    if (bs->b[half].owner < owner)
      from = half + 1;
    else
      to = half;
  }
  return tl_blocks_are_in(bs, from, owner) ? from : bs->n;
}

/* Room for one more block, at most half of the slots being taken. */
static int grow_blocks(struct tl_blocks *bs) {
  if (bs->n < bs->cap) return TL_OK;
  size_t cap = bs->cap ? 2 * bs->cap : 4;
  struct tl_block *b = realloc(bs->b, cap * sizeof(*b));
  if (!b) return TL_ENOMEM;
  bs->b = b;
  uint32_t *slot = calloc(2 * cap, sizeof(*slot));
  if (!slot) return TL_ENOMEM;
  free(bs->slot);
  bs->slot = slot;
  bs->n_slot = 2 * cap;
  bs->cap = cap;
  for (size_t i = 0; i < bs->n; i++)
    if (b[i].title) *find_slot(bs, b[i].owner, b[i].title) = (uint32_t)i + 1;
  return TL_OK;
}

int tl_blocks_add_in(struct tl_blocks *bs, const struct tl_conf_section *sec, uint32_t owner,
                     const char *title, struct tl_block **out) {
  int rc = grow_blocks(bs);
  if (rc) return rc;
  *out = &bs->b[bs->n++];
  rc = tl_block_init(*out, sec, title);
  (*out)->owner = owner;
  if (rc || !title) return rc;
  *find_slot(bs, owner, title) = (uint32_t)bs->n;
  return TL_OK;
}

int tl_blocks_add(struct tl_blocks *bs, const struct tl_conf_section *sec, const char *title,
                  struct tl_block **out) {
  return tl_blocks_add_in(bs, sec, 0, title, out);
}

void tl_blocks_free(struct tl_blocks *bs) {
  for (size_t i = 0; i < bs->n; i++) tl_block_free(&bs->b[i]);
  free(bs->b);
  free(bs->slot);
  *bs = (struct tl_blocks){0};
}

int tl_conf_fail_unknown(struct tl_conf_ctx *ctx, const struct tl_block *b, const char *option,
                         const char *what, const char *name, const struct tl_blocks *bs) {
  /* each guess compares all names: after so many problems the cause is not a slip of the pen */
  size_t n = ctx->problems < GUESSES_MAX ? bs->n : 0;
  const char **names = calloc(n + 1, sizeof(*names));
  if (!names) return TL_ENOMEM;
  for (size_t i = 0; i < n; i++) names[i] = bs->b[i].title;
  const char *near = tl_conf_nearest(name, names);
  if (near)
    tl_conf_fail(ctx, tl_block_at(b, option), "there is no %s \"%s\"; did you mean \"%s\"?", what,
                 name, near);
  else
    tl_conf_fail(ctx, tl_block_at(b, option), "there is no %s \"%s\"", what, name);
  free(names);
  return TL_ECONFIG;
}
