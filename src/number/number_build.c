/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines for a table: their numbers as keys, their names as numbers. What the lines of one
 * number mean together is found in number_fill.c.
 */
#include "number/number_build.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "number/number_key.h"
#include "tieline/err.h"

#define LEAST_ROOM 64u

int tl_number_room(void *p, uint32_t n, uint32_t *cap, size_t size) {
  void **array = p;
  if (n < *cap) return TL_OK;
  const uint32_t more = *cap ? 2 * *cap : LEAST_ROOM;
  void *larger = realloc(*array, more * size);
  if (!larger) return TL_ENOMEM;
  *array = larger;
  *cap = more;
  return TL_OK;
}

/* ---- problems ---- */

static int fail(struct tl_number_build *b, unsigned file, uint32_t line, const char *fmt,
                va_list ap) {
  char sentence[512];
  vsnprintf(sentence, sizeof(sentence), fmt, ap);
  b->problems++;
  if (b->report && b->problems <= TL_NUMBER_PROBLEMS_MAX)
    b->report(b->arg, b->table->file[file], (int)line, sentence);
  if (b->report && b->problems == TL_NUMBER_PROBLEMS_MAX)
    b->report(b->arg, b->table->file[file], (int)line,
              "there may be more problems: the rest is not looked at");
  return TL_ECONFIG;
}

int tl_number_build_fail_at(struct tl_number_build *b, unsigned file, uint32_t line,
                            const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  int rc = fail(b, file, line, fmt, ap);
  va_end(ap);
  return rc;
}

int tl_number_build_fail(struct tl_number_build *b, uint32_t line, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  int rc = fail(b, b->table->n_file - 1u, line, fmt, ap);
  va_end(ap);
  return rc;
}

bool tl_number_build_gives_up(const struct tl_number_build *b) {
  return b->problems >= TL_NUMBER_PROBLEMS_MAX;
}

/* ---- builders ---- */

struct tl_number_build *tl_number_build_new(tl_number_report_fn report, void *arg) {
  struct tl_number_build *b = calloc(1, sizeof(*b));
  struct tl_number_table *t = calloc(1, sizeof(*t));
  if (!b || !t) {
    free(b);
    free(t);
    return NULL;
  }
  t->refs = 1;
  *b = (struct tl_number_build){.report = report, .arg = arg, .sorted = true, .table = t};
  return b;
}

/* Until they are the table's. */
static void names_free(struct tl_number_names *names) {
  for (uint32_t i = 0; i < names->n; i++) free(names->name[i].text);
  free(names->name);
  tl_index_map_clear(&names->map);
}

void tl_number_build_free(struct tl_number_build *b) {
  if (!b) return;
  names_free(&b->target_name);
  names_free(&b->rule_name);
  tl_index_map_clear(&b->lists);
  tl_number_table_unref(b->table);
  free(b->row);
  free(b);
}

int tl_number_build_file(struct tl_number_build *b, const char *file) {
  struct tl_number_table *t = b->table;
  if (t->n_file == TL_NUMBER_FILES_MAX) return TL_ELIMIT;
  if (!t->file && !(t->file = calloc(TL_NUMBER_FILES_MAX, sizeof(*t->file)))) return TL_ENOMEM;
  if (!(t->file[t->n_file] = strdup(file))) return TL_ENOMEM;
  t->n_file++;
  return TL_OK;
}

/* ---- names ---- */

static bool is_named(const struct tl_number_names *names, uint32_t i, struct tl_str name) {
  return tl_str_eq(tl_str_c(names->name[i].text), name);
}

static int add_name(struct tl_number_names *names, struct tl_str name, uint64_t hash,
                    const struct tl_number_build *b, uint32_t line) {
  char *text;
  if (tl_number_room(&names->name, names->n, &names->cap, sizeof(*names->name)) ||
      !(text = strndup(name.p, name.n)))
    return TL_ENOMEM;
  if (tl_index_map_add(&names->map, hash, names->n)) {
    free(text);
    return TL_ENOMEM;
  }
  names->last = names->n;
  names->name[names->n++] = (struct tl_number_name){text, line, (uint16_t)(b->table->n_file - 1)};
  return TL_OK;
}

/* The number of NAME, which has no NUL; a line often repeats the name of the one before. */
static int number_of_name(struct tl_number_names *names, struct tl_str name,
                          const struct tl_number_build *b, uint32_t line, uint32_t *out) {
  uint64_t hash = 0;
  int rc = TL_OK;
  if (!names->n || !is_named(names, names->last, name)) {
    for (size_t i = 0; i < name.n; i++) hash = tl_number_hash(hash, name.p[i]);
    uint32_t at = tl_index_map_first(&names->map, hash);
    while (at && !is_named(names, tl_index_map_node(&names->map, at)->value, name))
      at = tl_index_map_node(&names->map, at)->next;
    if (at)
      names->last = tl_index_map_node(&names->map, at)->value;
    else
      rc = add_name(names, name, hash, b, line);
  }
  *out = names->last;
  return rc;
}

/* ---- keys ---- */

/* Entries of the side table are numbered here already, and get their values when all lines are
 * there. */
static int long_key(struct tl_number_build *b, const struct tl_number *number, bool exact,
                    uint64_t *out) {
  struct tl_number_side *s = &b->table->side;
  struct tl_number_long e = {.n = (uint8_t)(number->n + exact)};
  uint64_t hash = 0;
  memcpy(e.text, number->text, number->n);
  if (exact) e.text[number->n] = TL_NUMBER_EXACT;
  for (unsigned i = 0; i < e.n; i++) hash = tl_number_hash(hash, e.text[i]);
  for (uint32_t at = tl_index_map_first(&s->map, hash); at;) {
    const struct tl_index_node *node = tl_index_map_node(&s->map, at);
    *out = (uint64_t)node->value << 4;
    if (s->entry[node->value].n == e.n && memcmp(s->entry[node->value].text, e.text, e.n) == 0)
      return TL_OK;
    at = node->next;
  }
  if (tl_number_room(&s->entry, s->n, &b->cap_side, sizeof(*s->entry)) ||
      tl_index_map_add(&s->map, hash, s->n))
    return TL_ENOMEM;
  if (!exact) s->lengths |= (uint64_t)1 << e.n;
  *out = (uint64_t)s->n << 4;
  s->entry[s->n++] = e;
  return TL_OK;
}

static int key_of(struct tl_number_build *b, const struct tl_number *number, bool exact,
                  uint64_t *out) {
  if (number->n > number->n_digit || number->n + (unsigned)exact > TL_NUMBER_DIGITS)
    return long_key(b, number, exact, out);
  *out = exact ? tl_number_exact_key(number->digits, number->n)
               : tl_number_key(number->digits, number->n);
  return TL_OK;
}

/* ---- lines ---- */

static int check_line(struct tl_number_build *b, const struct tl_number_line *line) {
  if (b->n == TL_NUMBER_LINES_MAX)
    return tl_number_build_fail(b, line->line, "there are more than %u lines", TL_NUMBER_LINES_MAX);
  if (!line->name.n || line->name.n > TL_NUMBER_NAME_MAX ||
      memchr(line->name.p, '\0', line->name.n))
    return tl_number_build_fail(b, line->line, "a target's name has 1 to %u characters",
                                TL_NUMBER_NAME_MAX);
  if (line->rule.n > TL_NUMBER_NAME_MAX ||
      (line->rule.n && memchr(line->rule.p, '\0', line->rule.n)))
    return tl_number_build_fail(b, line->line, "a time rule's name has at most %u characters",
                                TL_NUMBER_NAME_MAX);
  if (b->rule_name.n >= UINT16_MAX - 1)
    return tl_number_build_fail(b, line->line, "there are more than %u time rules", UINT16_MAX - 1);
  return TL_OK;
}

int tl_number_build_add(struct tl_number_build *b, const struct tl_number_line *line) {
  uint32_t rule = 0;
  struct tl_number_row row = {.cost = line->cost,
                              .line = line->line,
                              .priority = line->priority,
                              .weight = line->weight,
                              .file = (uint16_t)((b->table->n_file - 1u) & 0x7fff),
                              .ranked = line->ranked};
  int rc = check_line(b, line);
  if (!rc) rc = tl_number_room(&b->row, b->n, &b->cap, sizeof(*b->row));
  if (!rc) rc = number_of_name(&b->target_name, line->name, b, line->line, &row.name);
  if (!rc && line->rule.n) {
    rc = number_of_name(&b->rule_name, line->rule, b, line->line, &rule);
    row.rule = (uint16_t)(rule + 1);
  }
  if (!rc) rc = key_of(b, &line->number, line->exact, &row.key);
  if (rc) return rc;
  b->sorted &= b->n == 0 || tl_number_row_order(&b->row[b->n - 1], &row) <= 0;
  b->row[b->n++] = row;
  return TL_OK;
}
