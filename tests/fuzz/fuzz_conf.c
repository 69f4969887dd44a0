/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: the text of a configuration, through tokens, grammar, values and
 * checks. What passes is printed block by block and must pass again, to the same
 * values. No file is opened and no name is looked up.
 */
#include <stdlib.h>

#include "conf/conf_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ignore(void *arg, const char *file, int line, const char *sentence) {
  (void)file;
  (void)arg;
  if (line < 0 || !*sentence) abort();
}

static struct tl_raw *load(const char *text, size_t n) {
  struct tl_conf_ctx ctx = {.report = ignore, .quiet = true};
  struct tl_raw *r = tl_raw_new();
  if (!r) return NULL;
  r->dir = strdup("/etc/tieline");
  int rc = tl_conf_source_text(&r->source, &ctx, "fuzz.conf", text, n, false);
  if (!rc) rc = tl_conf_parse(r, &ctx);
  tl_conf_source_drop_tokens(&r->source);
  if (!rc) rc = tl_conf_check(r, &ctx);
  if ((rc == TL_ECONFIG) != (ctx.problems > 0)) abort(); /* no refusal without a reason */
  if (rc) {
    tl_raw_unref(r);
    return NULL;
  }
  return r;
}

static void print_name(const char *s, FILE *f) {
  for (; *s; s++) {
    if (*s == '"' || *s == '\\' || *s == '$') fputc('\\', f);
    fputc(*s, f);
  }
}

static void print_blocks(const struct tl_raw *r, size_t section, size_t owner, FILE *f) {
  for (size_t k = 0; k < r->sec[section].n; k++) {
    const struct tl_block *b = &r->sec[section].b[k];
    if (b->owner != owner) continue;
    if (b->sec->name) fprintf(f, "%s ", b->sec->name);
    if (b->title) fputc('"', f), print_name(b->title, f), fputc('"', f);
    fputs(b->sec->name ? " {\n" : "", f);
    for (size_t o = 0; o < b->sec->n_opt; o++) {
      if (b->sec->opt[o].flags & TL_OPT_ALIAS) continue;
      fprintf(f, "%s = ", b->sec->opt[o].name);
      tl_value_print(&b->sec->opt[o], b, f);
      fputc('\n', f);
    }
    for (size_t i = 1; section && i < TL_SECTIONS; i++)
      if (tl_conf_sections[i].within == section) print_blocks(r, i, k, f);
    fputs(b->sec->name ? "}\n" : "", f);
  }
}

static char *print(const struct tl_raw *r, size_t *n) {
  char *text = NULL;
  FILE *f = open_memstream(&text, n);
  if (!f) return NULL;
  for (size_t i = 0; i < TL_SECTIONS; i++)
    if (!tl_conf_sections[i].within) print_blocks(r, i, 0, f);
  fclose(f);
  return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  size_t n, n2;
  struct tl_raw *r = load((const char *)data, size), *again = NULL;
  if (!r) return 0;
  char *text = print(r, &n), *text2 = NULL;
  if (text && !(again = load(text, n))) abort();
  if (again && (text2 = print(again, &n2)) && strcmp(text, text2) != 0) abort();
  free(text);
  free(text2);
  tl_raw_unref(r);
  tl_raw_unref(again);
  return 0;
}
