/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: a file of numbers. What is refused has a reason; in what passes each entry
 * is found by its own characters, has a list within bounds and in order, and is what a longer
 * number finds unless a longer entry does.
 */
#include <stdlib.h>

#include "number/number_key.h"
#include "tieline/err.h"
#include "tieline/number_csv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define MUST(x)                                                                                    \
  do {                                                                                             \
    if (!(x)) abort();                                                                             \
  } while (0)

static unsigned problems;

static void note(void *arg, const char *file, int line, const char *sentence) {
  (void)arg;
  MUST(line >= 0 && *sentence && *file);
  problems++;
}

static void in_order(const struct tl_number_table *t, const struct tl_number_match *m) {
  MUST(m->n >= 1 && m->n <= TL_NUMBER_TARGETS_MAX);
  MUST(m->target >= t->target && m->target + m->n <= t->target + t->n_target);
  for (unsigned i = 0; i < m->n; i++) {
    const struct tl_number_target *x = &m->target[i];
    MUST(x->name < t->n_target_name && x->rule <= t->n_rule_name);
    if (!i) continue;
    MUST(x[-1].priority < x->priority || (x[-1].priority == x->priority && x[-1].cost <= x->cost));
  }
}

static void find_entry(const struct tl_number_table *t, const char *text, unsigned n) {
  struct tl_number number;
  struct tl_number_match m;
  char longer[TL_NUMBER_MAX + 1];
  const bool exact = text[n - 1] == TL_NUMBER_EXACT;
  n -= exact;
  MUST(tl_number_read((struct tl_str){text, n}, &number) && number.n == n);
  MUST(tl_number_find(t, &number, &m) && m.length == n && (m.exact || !exact));
  in_order(t, &m);
  if (exact || n == TL_NUMBER_MAX) return;
  memcpy(longer, text, n);
  longer[n] = '7';
  MUST(tl_number_read((struct tl_str){longer, n + 1}, &number));
  MUST(tl_number_find(t, &number, &m) && m.length >= n);
}

static void find_all(const struct tl_number_table *t) {
  uint32_t n = t->side.n;
  for (uint32_t i = 0; i < t->side.n; i++) find_entry(t, t->side.entry[i].text, t->side.entry[i].n);
  for (uint32_t i = 0; i < t->n_bucket * TL_NUMBER_BUCKET_KEYS; i++) {
    const uint64_t key = t->bucket[i / TL_NUMBER_BUCKET_KEYS].key[i % TL_NUMBER_BUCKET_KEYS];
    char text[TL_NUMBER_MAX];
    for (unsigned k = 0; k < (key & 15); k++) {
      const unsigned digit = tl_number_key_digit(key, k);
      text[k] = digit == TL_NUMBER_END_DIGIT ? TL_NUMBER_EXACT : (char)('0' + digit);
    }
    if (key) find_entry(t, text, key & 15);
    n += key != 0;
  }
  MUST(n == t->n_entry);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct tl_number_table *t = NULL;
  FILE *f = size ? fmemopen((void *)(uintptr_t)data, size, "r") : NULL;
  struct tl_number_build *b = f ? tl_number_build_new(note, NULL) : NULL;
  problems = 0;
  if (b && tl_number_build_file(b, "fuzz.csv") == TL_OK) {
    int rc = tl_number_csv_read(b, f);
    MUST(rc != TL_ECONFIG || problems);
    if (!rc) rc = tl_number_build_end(b, &t);
    MUST(rc == TL_OK || rc == TL_ENOMEM || (rc == TL_ECONFIG && problems));
    if (rc == TL_OK) find_all(t);
  }
  tl_number_build_free(b);
  tl_number_table_unref(t);
  if (f) fclose(f);
  return 0;
}
