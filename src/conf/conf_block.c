/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of values with their positions, and the reporting of problems: the tools
 * that the other parts of the configuration share. It contains no rules.
 */
#include <stdarg.h>
#include <stdlib.h>

#include "conf/conf_internal.h"

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

int tl_block_init(struct tl_block *b, const struct tl_conf_section *sec, const char *title) {
  char err[256];
  int rc = 0;
  *b = (struct tl_block){.sec = sec,
                         .title = title ? strdup(title) : NULL,
                         .values = calloc(1, sec->size),
                         .at = calloc(sec->n_opt, sizeof(*b->at))};
  if (!b->values || !b->at || (title && !b->title)) return TL_ENOMEM;
  for (size_t i = 0; i < sec->n_opt && !rc; i++) {
    const struct tl_opt *o = &sec->opt[i];
    if (o->def)
      rc = tl_value_store(b, o, &o->def, 1, NULL, err, sizeof(err));
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

struct tl_block *tl_blocks_find(const struct tl_blocks *bs, const char *title) {
  for (size_t i = 0; i < bs->n; i++)
    if (strcmp(bs->b[i].title, title) == 0) return &bs->b[i];
  return NULL;
}

int tl_conf_fail_unknown(struct tl_conf_ctx *ctx, const struct tl_block *b, const char *option,
                         const char *what, const char *name, const struct tl_blocks *bs) {
  const char **names = calloc(bs->n + 1, sizeof(*names));
  if (!names) return TL_ENOMEM;
  for (size_t i = 0; i < bs->n; i++) names[i] = bs->b[i].title;
  const char *near = tl_conf_nearest(name, names);
  if (near)
    tl_conf_fail(ctx, tl_block_at(b, option), "there is no %s \"%s\"; did you mean \"%s\"?", what,
                 name, near);
  else
    tl_conf_fail(ctx, tl_block_at(b, option), "there is no %s \"%s\"", what, name);
  free(names);
  return TL_ECONFIG;
}

void tl_raw_free(struct tl_raw *r) {
  if (!r) return;
  for (size_t i = 0; i < TL_SECTIONS; i++) {
    for (size_t k = 0; k < r->sec[i].n; k++) tl_block_free(&r->sec[i].b[k]);
    free(r->sec[i].b);
  }
  tl_conf_source_free(&r->source);
  free(r->dir);
  free(r->database);
  free(r);
}
