/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Aligned columns. Width counts code points, which suits the names that occur
 * here; East Asian widths are not considered.
 */
#include "ctl/table.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

struct tl_table {
  const struct tl_column *column;
  size_t n_column, n_cell, cap;
  char **cell;
  bool oom;
};

struct tl_table *tl_table_new(const struct tl_column *column, size_t n) {
  struct tl_table *t = calloc(1, sizeof(*t));
  if (!t) return NULL;
  t->column = column;
  t->n_column = n;
  return t;
}

void tl_table_free(struct tl_table *t) {
  if (!t) return;
  for (size_t i = 0; i < t->n_cell; i++) free(t->cell[i]);
  free(t->cell);
  free(t);
}

static char *clean_text(const char *text) {
  const size_t n = strlen(text);
  char *out = malloc(n + 1);
  size_t m = 0;
  if (!out) return NULL;
  for (size_t i = 0; i < n;) {
    uint32_t cp = 0;
    size_t used = tl_utf8_next((const uint8_t *)text + i, n - i, &cp);
    const bool fine = used && !tl_text_unsafe(cp);
    memcpy(out + m, fine ? text + i : "?", fine ? used : 1);
    m += fine ? used : 1;
    i += used ? used : 1;
  }
  out[m] = 0;
  return out;
}

void tl_table_cell(struct tl_table *t, const char *text) {
  if (!t || t->oom) return;
  if (t->n_cell == t->cap) {
    size_t cap = t->cap ? t->cap * 2 : 64;
    char **p = realloc(t->cell, cap * sizeof(*p));
    t->oom = p == NULL;
    if (!p) return;
    t->cell = p;
    t->cap = cap;
  }
  char *s = clean_text(text);
  t->oom = s == NULL;
  if (s) t->cell[t->n_cell++] = s;
}

void tl_table_cellf(struct tl_table *t, const char *fmt, ...) {
  char buf[1024];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(buf, sizeof(buf), fmt, ap);
  va_end(ap);
  tl_table_cell(t, buf);
}

static size_t display_width(const char *s) {
  size_t n = 0;
  for (; *s; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
  return n;
}

static void print_cell(const struct tl_column *col, size_t w, bool last, const char *s, FILE *f) {
  const size_t have = display_width(s), pad = w > have ? w - have : 0;
  if (col->align == TL_RIGHT) fprintf(f, "%*s", (int)pad, "");
  fputs(s, f);
  if (last)
    fputc('\n', f);
  else
    fprintf(f, "%*s", (int)(col->align == TL_LEFT ? pad + 2 : 2), "");
}

static void print_all(const struct tl_table *t, size_t *w, FILE *f) {
  const size_t n = t->n_column;
  bool heads = false;
  for (size_t i = 0; i < n; i++) {
    w[i] = display_width(t->column[i].head);
    heads = heads || w[i];
  }
  for (size_t i = 0; i < t->n_cell; i++) {
    const size_t have = display_width(t->cell[i]);
    if (have > w[i % n]) w[i % n] = have;
  }
  for (size_t i = 0; heads && i < n; i++)
    print_cell(&t->column[i], w[i], i + 1 == n, t->column[i].head, f);
  for (size_t i = 0; i < t->n_cell; i++)
    print_cell(&t->column[i % n], w[i % n], i % n + 1 == n, t->cell[i], f);
}

void tl_table_print(const struct tl_table *t, FILE *f) {
  size_t *w = t && !t->oom ? calloc(t->n_column, sizeof(*w)) : NULL;
  if (w)
    print_all(t, w, f);
  else
    fputs("out of memory\n", f);
  free(w);
}

const char *tl_table_duration(long long ms, char buf[24]) {
  const long long s = ms / 1000;
  if (ms < 1000)
    snprintf(buf, 24, "%lldms", ms);
  else if (s < 60)
    snprintf(buf, 24, "%lld.%llds", s, ms / 100 % 10);
  else if (s < 3600)
    snprintf(buf, 24, "%lldm%02llds", s / 60, s % 60);
  else if (s < 86400)
    snprintf(buf, 24, "%lldh%02lldm", s / 3600, s / 60 % 60);
  else
    snprintf(buf, 24, "%lldd%02lldh", s / 86400, s / 3600 % 24);
  return buf;
}
