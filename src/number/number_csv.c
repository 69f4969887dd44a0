/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader of number files: one pass through one buffer. What lines mean together is
 * number_fill.c's.
 */
#include "tieline/number_csv.h"

#include <errno.h>
#include <stdlib.h>

#include "tieline/err.h"

#define LINE_BYTES_MAX 4096u
#define READ_BYTES 65536u
#define COST_MAX 1000000000u
#define COST_DECIMALS 6u

enum column { NUMBER, TARGET, COST, PRIORITY, WEIGHT, TIME_RULE, COLUMNS };

struct reader {
  FILE *f;
  struct tl_number_build *build;
  uint32_t line;
  size_t from, to;     /* what of BUF has been read and not used */
  bool over;           /* F has no more */
  bool begun;          /* a line other than a comment has been there */
  unsigned n_column;   /* of a line */
  uint8_t at[COLUMNS]; /* column of the Nth field */
  char buf[READ_BYTES];
};

/* ---- lines ---- */

static void fill(struct reader *r) {
  memmove(r->buf, r->buf + r->from, r->to - r->from);
  r->to -= r->from;
  r->from = 0;
  const size_t n = fread(r->buf + r->to, 1, sizeof(r->buf) - r->to, r->f);
  r->to += n;
  r->over = n == 0;
}

/* The next line without its end; false: there is none. Of one that is too long the rest is skipped
 * and *OUT_TOO_LONG set. */
static bool next_line(struct reader *r, struct tl_str *out, bool *out_too_long) {
  *out_too_long = false;
  for (;;) {
    char *p = r->buf + r->from;
    size_t n = r->to - r->from;
    const char *end = n ? memchr(p, '\n', n) : NULL;
    if (!end && !r->over && n <= LINE_BYTES_MAX) {
      fill(r);
      continue;
    }
    if (!end && n == 0) return *out_too_long;
    if (end) n = (size_t)(end - p);
    r->from += n + (end != NULL);
    *out_too_long |= n > LINE_BYTES_MAX;
    *out = (struct tl_str){p, n};
    if (end || r->over) return true;
  }
}

/* ---- fields ---- */

static struct tl_str trim(const char *p, const char *end) {
  return tl_str_trim((struct tl_str){p, (size_t)(end - p)});
}

/* The field at *AT in quotes, which is unescaped where it stands: "" is one quote. False: something
 * is wrong with the quotes. *AT is behind it, at a comma or at END. */
static bool quoted(char **at, const char *end, struct tl_str *out) {
  char *p = *at + 1, *to = p;
  *out = (struct tl_str){p, 0};
  for (; p < end; *to++ = *p++) {
    if (*p != '"') continue;
    if (p + 1 == end || p[1] != '"') break;
    p++;
  }
  if (p == end) return false;
  out->n = (size_t)(to - out->p);
  for (p++; p < end && *p != ','; p++)
    if (*p != ' ' && *p != '\t' && *p != '\r') return false;
  *at = p;
  return true;
}

/* The fields of LINE, at most MAX of them in OUT; returns how many there are, or -1. */
static int split(struct tl_str line, struct tl_str *out, unsigned max) {
  char *p = (char *)line.p; /* of the reader's buffer */
  const char *const end = p + line.n;
  for (unsigned n = 0;; p++) {
    struct tl_str field;
    while (p < end && (*p == ' ' || *p == '\t')) p++;
    if (p < end && *p == '"') {
      if (!quoted(&p, end, &field)) return -1;
    } else {
      const char *start = p, *comma = p < end ? memchr(p, ',', (size_t)(end - p)) : NULL;
      p += (comma ? comma : end) - p;
      field = trim(start, p);
    }
    if (n < max) out[n] = field;
    n++;
    if (p == end) return (int)n;
  }
}

/* ---- columns ---- */

static const struct {
  const char *name;
  enum column column;
} names[] = {{"prefix", NUMBER}, {"number", NUMBER},  {"prefix_or_number", NUMBER},
             {"target", TARGET}, {"peer", TARGET},    {"group", TARGET},
             {"cost", COST},     {"rate", COST},      {"priority", PRIORITY},
             {"weight", WEIGHT}, {"rule", TIME_RULE}, {"time_rule", TIME_RULE}};

static enum column column_named(struct tl_str name) {
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
    if (tl_str_ieq(name, tl_str_c(names[i].name))) return names[i].column;
  return COLUMNS;
}

static int print_width(struct tl_str s) { return s.n < 64 ? (int)s.n : 64; }

static int fail_at(struct reader *r, const char *sentence, struct tl_str s) {
  return tl_number_build_fail(r->build, r->line, "\"%.*s\" %s", print_width(s), s.p, sentence);
}

/* The first line may name the columns. Later lines cannot be told without, so that is fatal. */
static int read_names(struct reader *r, const struct tl_str *field, unsigned n) {
  unsigned seen = 0;
  for (unsigned i = 0; i < n; i++) {
    const enum column c = column_named(field[i]);
    if (c == COLUMNS)
      return fail_at(r, "is no column: they are prefix, target, cost, priority, weight, time_rule",
                     field[i]);
    if (seen >> c & 1) return fail_at(r, "names a column that is there already", field[i]);
    seen |= 1u << c;
    r->at[i] = (uint8_t)c;
  }
  r->n_column = n;
  if (~seen & (1u << NUMBER | 1u << TARGET))
    return tl_number_build_fail(r->build, r->line, "the columns lack %s",
                                seen >> NUMBER & 1 ? "target" : "prefix");
  return TL_OK;
}

/* ---- values ---- */

static int read_number(struct reader *r, struct tl_str s, struct tl_number_line *out) {
  const struct tl_str whole = s;
  if (!s.n) return tl_number_build_fail(r->build, r->line, "the prefix is empty");
  out->exact = s.p[s.n - 1] == TL_NUMBER_EXACT;
  s.n -= out->exact;
  if (memchr(s.p, ';', s.n) || memchr(s.p, '%', s.n) || !tl_number_read(s, &out->number))
    return fail_at(r, "is no number: it has digits, * and #, at most 40", whole);
  for (unsigned i = 0; i < out->number.n; i++)
    if (out->number.text[i] >= 'A') return fail_at(r, "is no number: it has letters", whole);
  return TL_OK;
}

/* Digits, and up to six decimals, in millionths. */
static int read_cost(struct reader *r, struct tl_str s, struct tl_number_line *out) {
  const char *dot = s.n ? memchr(s.p, '.', s.n) : NULL;
  struct tl_str whole = {s.p, dot ? (size_t)(dot - s.p) : s.n};
  struct tl_str part = {dot ? dot + 1 : s.p, dot ? s.n - whole.n - 1 : 0};
  uint64_t units = 0, millionths = 0;
  if ((whole.n + part.n == 0) || (whole.n && tl_str_u64(whole, COST_MAX, &units)) ||
      (dot && part.n == 0) || part.n > COST_DECIMALS ||
      (part.n && tl_str_u64(part, UINT64_MAX, &millionths)))
    return fail_at(r, "is no cost: 0 to 1000000000 with up to six decimals", s);
  for (size_t i = part.n; i < COST_DECIMALS; i++) millionths *= 10;
  out->cost = units * 1000000 + millionths;
  return TL_OK;
}

static int read_small(struct reader *r, struct tl_str s, const char *sentence, uint16_t *out) {
  uint64_t v;
  if (tl_str_u64(s, UINT16_MAX, &v)) return fail_at(r, sentence, s);
  *out = (uint16_t)v;
  return TL_OK;
}

/* An empty field is as if it were not there. */
static int read_field(struct reader *r, enum column c, struct tl_str s,
                      struct tl_number_line *out) {
  if (c == NUMBER) return read_number(r, s, out);
  if (!s.n && c == TARGET)
    return tl_number_build_fail(r->build, r->line, "the line names no target");
  out->ranked |= s.n && c != TARGET;
  if (!s.n) return TL_OK;
  switch (c) {
  case TARGET: out->name = s; return TL_OK;
  case COST: return read_cost(r, s, out);
  case PRIORITY: return read_small(r, s, "is no priority: 0 to 65535", &out->priority);
  case WEIGHT: return read_small(r, s, "is no weight: 0 to 65535", &out->weight);
  default: out->rule = s; return TL_OK;
  }
}

/* ---- the whole ---- */

static int read_fields(struct reader *r, const struct tl_str *field, unsigned n) {
  struct tl_number_line line = {.priority = 1, .weight = 1, .line = r->line};
  bool named = false;
  for (unsigned i = 0; i < n; i++) {
    int rc = read_field(r, r->at[i], field[i], &line);
    if (rc) return rc;
    named |= r->at[i] == TARGET;
  }
  if (!named || !line.number.n)
    return tl_number_build_fail(r->build, r->line,
                                "the line is too short: it needs a prefix and "
                                "a target");
  return tl_number_build_add(r->build, &line);
}

/* TL_ECONFIG: the rest is of no use. */
static int read_line(struct reader *r, struct tl_str line) {
  struct tl_str field[COLUMNS];
  if (r->line == 1 && tl_str_starts(line, TL_STR("\xef\xbb\xbf"))) line.p += 3, line.n -= 3;
  line = tl_str_trim(line);
  if (!line.n || line.p[0] == '#') return TL_OK;
  const int n = split(line, field, COLUMNS);
  const bool first = !r->begun;
  r->begun = true;
  if (n < 0) {
    tl_number_build_fail(r->build, r->line, "a quote does not end, or has something behind it");
  } else if ((unsigned)n > r->n_column) {
    tl_number_build_fail(r->build, r->line, "the line has %d columns, there are %u", n,
                         r->n_column);
  } else if (first && column_named(field[0]) != COLUMNS) {
    return read_names(r, field, (unsigned)n);
  } else {
    int rc = read_fields(r, field, (unsigned)n);
    if (rc != TL_ECONFIG) return rc;
  }
  if (!tl_number_build_gives_up(r->build)) return TL_OK;
  return TL_ECONFIG;
}

int tl_number_csv_read(struct tl_number_build *b, FILE *f) {
  struct reader *r = malloc(sizeof(*r));
  struct tl_str line;
  bool too_long;
  int rc = TL_OK;
  if (!r) return TL_ENOMEM;
  *r = (struct reader){.f = f, .build = b, .n_column = COLUMNS};
  for (unsigned i = 0; i < COLUMNS; i++) r->at[i] = (uint8_t)i;
  while (!rc && next_line(r, &line, &too_long)) {
    r->line++;
    if (too_long)
      tl_number_build_fail(b, r->line, "the line is longer than %u bytes", LINE_BYTES_MAX);
    else
      rc = read_line(r, line);
  }
  if (!rc && ferror(f)) rc = tl_number_build_fail(b, 0, "it cannot be read to its end");
  free(r);
  return rc;
}

static int read_file(struct tl_number_build *b, const char *file) {
  int rc = tl_number_build_file(b, file);
  if (rc) return rc;
  FILE *f = fopen(file, "re");
  if (!f) return tl_number_build_fail(b, 0, "it cannot be read: %s", strerror(errno));
  rc = tl_number_csv_read(b, f);
  fclose(f);
  return rc;
}

int tl_number_csv_load(char *const *files, size_t n, tl_number_report_fn report, void *arg,
                       struct tl_number_table **out) {
  struct tl_number_build *b = tl_number_build_new(report, arg);
  int rc = b ? TL_OK : TL_ENOMEM;
  for (size_t i = 0; i < n && !rc; i++) rc = read_file(b, files[i]);
  if (!rc) rc = tl_number_build_end(b, out);
  tl_number_build_free(b);
  return rc;
}
