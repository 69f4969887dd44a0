/* SPDX-License-Identifier: Apache-2.0 */
/*
 * build/bench/numbers [N...]: tables of numbers. First 1,000,000 prefixes of 3 to 12 digits and as
 * many numbers of 15 at most: the time to read each from CSV, memory, and what random look-ups
 * cost. Then the same look-ups with N entries (default 10 to 2,000,000), half of them numbers. Keys
 * are drawn before: half are numbers of the table, half begin like its prefixes or like nothing.
 *
 * The mean is of a row of look-ups each of which waits for the one before. Percentiles are of
 * single ones by the clock, whose own cost is printed and contained in them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tieline/number_csv.h"
#include "tieline/pages.h"

#define KEYS 1000000u
#define ROUNDS 3

static uint64_t state = 1;

static uint64_t draw(void) { return tl_index_mix(state += 0x9e3779b97f4a7c15u); }

static double ns_of(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double cpu_ns(void) { return ns_of(CLOCK_THREAD_CPUTIME_ID); }
static double now_ns(void) { return ns_of(CLOCK_MONOTONIC); }

/* ---- tables ---- */

static void draw_digits(char *text, unsigned n) {
  for (unsigned i = 0; i < n; i++) text[i] = (char)('0' + draw() % 10);
  if (text[0] == '0') text[0] = '1'; /* no country code begins with it */
  text[n] = '\0';
}

static struct tl_index_map seen; /* of the files of one table */

/* A text of N digits, from LEAST to MOST, that has not been drawn before. */
static void draw_new(char *text, unsigned least, unsigned most) {
  uint64_t id;
  do {
    draw_digits(text, least + (unsigned)(draw() % (most - least + 1)));
    id = tl_index_name_id(text);
  } while (tl_index_map_first(&seen, id));
  if (tl_index_map_add(&seen, id, 0)) exit(2);
}

/* 100 carriers, each with 20 prices. */
static void write_prefix(FILE *f) {
  char text[16];
  draw_new(text, 3, 12);
  fprintf(f, "%s,carrier-%u,0.%03u\n", text, (unsigned)(draw() % 100), (unsigned)(draw() % 20));
}

static void write_number(FILE *f) {
  char text[16];
  draw_new(text, 11, 14);
  fprintf(f, "+%s,subscriber-%u,0\n", text, (unsigned)(draw() % 200));
}

static void complain(void *arg, const char *file, int line, const char *sentence) {
  (void)arg;
  fprintf(stderr, "%s:%d: %s\n", file, line, sentence);
}

static struct tl_number_table *load(char *const *files, size_t n, double *out_s) {
  struct tl_number_table *t;
  const double began = cpu_ns();
  if (tl_number_csv_load(files, n, complain, NULL, &t)) exit(2);
  *out_s = (cpu_ns() - began) / 1e9;
  return t;
}

/* A file of N lines of WRITE; its name is the caller's to free. */
static char *file_of(unsigned n, void (*write)(FILE *)) {
  char name[] = "/tmp/tieline-numbers-XXXXXX";
  const int fd = mkstemp(name);
  FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
  if (!f) exit(2);
  for (unsigned i = 0; i < n; i++) write(f);
  if (fclose(f)) exit(2);
  return strdup(name);
}

static void drop_file(char *name) {
  tl_index_map_clear(&seen);
  unlink(name);
  free(name);
}

/* ---- keys ---- */

/* Numbers of NUMBERS, a file of them, in random order and as often as is needed; and others. */
static struct tl_number *draw_keys(const char *numbers, unsigned n_number) {
  struct tl_number *key = tl_pages_zeroed(KEYS * sizeof(*key)),
                   *known = calloc(n_number, sizeof(*known));
  FILE *f = fopen(numbers, "r");
  char text[128];
  unsigned n = 0;
  if (!key || !known || !f) exit(2);
  for (; n < n_number && fgets(text, sizeof(text), f); n++)
    if (!tl_number_read((struct tl_str){text, strcspn(text, ",")}, &known[n])) exit(2);
  fclose(f);
  for (unsigned i = 0; i < KEYS; i++) {
    draw_digits(text, 15);
    if (draw() % 2 && n)
      key[i] = known[draw() % n];
    else if (!tl_number_read((struct tl_str){text, 10 + draw() % 6}, &key[i]))
      exit(2);
  }
  free(known);
  return key;
}

/* ---- look-ups ---- */

struct result {
  double mean_ns, p50_ns, p99_ns, found; /* FOUND: the share of keys */
};

static double mean_of_row(const struct tl_number_table *t, const struct tl_number *key,
                          unsigned *out_found) {
  struct tl_number_match m;
  unsigned found = 0, last = 0;
  const double began = cpu_ns();
  for (unsigned i = 0; i < KEYS; i++) {
    /* It is the Ith key, but the compiler does not know that LAST has no part in it. */
    unsigned at = i + last;
    __asm__ volatile("sub %1, %0" : "+r"(at) : "r"(last));
    if ((last = tl_number_find(t, &key[at], &m))) last += m.target->priority;
    found += last > 0;
  }
  *out_found = found;
  return (cpu_ns() - began) / KEYS;
}

static int by_size(const void *a, const void *b) {
  const float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

static volatile unsigned priorities;

static void single_ones(const struct tl_number_table *t, const struct tl_number *key, float *took) {
  struct tl_number_match m;
  for (unsigned i = 0; i < KEYS; i++) {
    const double began = now_ns();
    if (tl_number_find(t, &key[i], &m)) priorities += m.target->priority;
    took[i] = (float)(now_ns() - began);
  }
  qsort(took, KEYS, sizeof(*took), by_size);
}

/* The least of some rounds: others use the machine, too. */
static struct result look_up(const struct tl_number_table *t, const struct tl_number *key) {
  struct result best = {1e9, 1e9, 1e9, 0};
  float *took = calloc(KEYS, sizeof(*took));
  unsigned found;
  if (!took) exit(2);
  for (int i = 0; i < ROUNDS; i++) {
    const double mean_ns = mean_of_row(t, key, &found);
    single_ones(t, key, took);
    if (mean_ns < best.mean_ns) best.mean_ns = mean_ns;
    if (took[KEYS / 2] < best.p50_ns) best.p50_ns = took[KEYS / 2];
    if (took[KEYS / 100 * 99] < best.p99_ns) best.p99_ns = took[KEYS / 100 * 99];
  }
  best.found = (double)found / KEYS;
  free(took);
  return best;
}

static double clock_ns(void) {
  double least = 1e9;
  for (unsigned i = 0; i < 10000; i++) {
    const double began = now_ns(), took = now_ns() - began;
    if (took > 0 && took < least) least = took;
  }
  return least;
}

static double reading_ns(void) {
  static const char *const users[] = {"+4930123456789", "12025550123", "+1-202-555-0123",
                                      "%2B4930123456"};
  struct tl_number n;
  unsigned digits = 0;
  const double began = cpu_ns();
  for (unsigned i = 0; i < KEYS; i++) {
    if (!tl_number_read(tl_str_c(users[i & 3]), &n)) exit(2);
    digits += n.n;
  }
  return digits ? (cpu_ns() - began) / KEYS : 0;
}

/* ---- reports ---- */

static void report_table(const char *what, const struct tl_number_table *t, double read_s) {
  printf("%-32s %9u entries, %6u lists, read in %5.2f s, %6.1f MB\n", what, t->n_entry, t->n_list,
         read_s, (double)tl_number_table_bytes(t) / 1e6);
}

static void report_one(const char *what, char *const *files, size_t n) {
  double read_s;
  struct tl_number_table *t = load(files, n, &read_s);
  report_table(what, t, read_s);
  tl_number_table_unref(t);
}

static void report_series(unsigned n) {
  char *files[] = {file_of((n + 1) / 2, write_prefix), file_of(n / 2, write_number)};
  double read_s;
  struct tl_number_table *t = load(files, 2, &read_s);
  struct tl_number *key = draw_keys(files[1], n / 2);
  const struct result r = look_up(t, key);
  printf("%9u %9u %8.2f %8.1f %8.0f %8.0f %8.0f %7.0f\n", n, t->n_entry, read_s,
         (double)tl_number_table_bytes(t) / 1e6, r.mean_ns, r.p50_ns, r.p99_ns, 100 * r.found);
  free(key);
  tl_number_table_unref(t);
  drop_file(files[0]);
  drop_file(files[1]);
}

int main(int argc, char **argv) {
  static const unsigned sizes[] = {10, 100, 1000, 10000, 100000, 1000000, 2000000};
  char *files[] = {file_of(1000000, write_prefix), file_of(1000000, write_number)};
  report_one("1,000,000 lines of prefixes:", files, 1);
  report_one("1,000,000 lines of numbers:", files + 1, 1);
  report_one("both:", files, 2);
  drop_file(files[0]);
  drop_file(files[1]);
  printf("a number out of a user part: %.0f ns; the clock: %.0f ns\n", reading_ns(), clock_ns());
  printf("%9s %9s %8s %8s %8s %8s %8s %7s\n", "lines", "entries", "read s", "MB", "mean ns",
         "p50 ns", "p99 ns", "found %");
  for (int i = 1; i < argc; i++) report_series((unsigned)strtoul(argv[i], NULL, 10));
  for (size_t i = 0; argc == 1 && i < sizeof(sizes) / sizeof(*sizes); i++) report_series(sizes[i]);
  return 0;
}
