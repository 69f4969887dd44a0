/* SPDX-License-Identifier: Apache-2.0 */
/* Look-ups of numbers against a plain search through all entries: random tables of every size and
 * kind of entry, random numbers. Draws follow from fixed numbers, so each run is the same. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "tieline/err.h"
#include "tieline/number_build.h"

TestSuite(number_table, .timeout = 120);

enum { MOST = 20000 };

struct entry {
  char text[TL_NUMBER_MAX + 1];
  bool exact;
  uint32_t target;
};

static struct entry entry[MOST];
static size_t n_entry;
static uint64_t state;

static uint32_t draw(uint32_t below) {
  state += 0x9e3779b97f4a7c15u;
  return (uint32_t)(tl_index_mix(state) >> 32) % below;
}

/* Of these characters, the first of them not the last four. */
static void draw_text(char *text, const char *chars, unsigned least, unsigned most) {
  const unsigned n = least + draw(most - least + 1);
  for (unsigned i = 0; i < n; i++) {
    text[i] = chars[draw((uint32_t)strlen(chars))];
    if (i == 0 && text[i] >= 'A') text[i] = '*';
  }
  text[n] = '\0';
}

static bool is_there(const struct entry *e) {
  for (size_t i = 0; i < n_entry; i++)
    if (entry[i].exact == e->exact && strcmp(entry[i].text, e->text) == 0) return true;
  return false;
}

static struct tl_number number_of(const char *text) {
  struct tl_number n;
  cr_assert(tl_number_read(tl_str_c(text), &n), "%s", text);
  return n;
}

static struct tl_number_table *build(void) {
  struct tl_number_build *b = tl_number_build_new(NULL, NULL);
  struct tl_number_table *t = NULL;
  cr_assert_not_null(b);
  cr_assert_eq(tl_number_build_file(b, "t.csv"), 0);
  for (size_t i = 0; i < n_entry; i++) {
    char name[16];
    snprintf(name, sizeof(name), "t%u", entry[i].target);
    const struct tl_number_line line = {.number = number_of(entry[i].text),
                                        .exact = entry[i].exact,
                                        .name = tl_str_c(name),
                                        .line = (uint32_t)i + 1};
    cr_assert_eq(tl_number_build_add(b, &line), 0);
  }
  cr_assert_eq(tl_number_build_end(b, &t), 0);
  tl_number_build_free(b);
  cr_assert_eq(t->n_entry, n_entry);
  return t;
}

/* The plain search. */
static const struct entry *search(const char *text) {
  const struct entry *best = NULL;
  for (size_t i = 0; i < n_entry; i++) {
    const struct entry *e = &entry[i];
    const size_t n = strlen(e->text);
    if (e->exact ? strcmp(e->text, text) != 0 : strncmp(e->text, text, n) != 0) continue;
    if (!best || n > strlen(best->text) || (n == strlen(best->text) && e->exact)) best = e;
  }
  return best;
}

static void expect_same(const struct tl_number_table *t, const char *text) {
  const struct tl_number n = number_of(text);
  const struct entry *want = search(text);
  struct tl_number_match m;
  char name[16];
  if (!tl_number_find(t, &n, &m)) {
    cr_assert_null(want, "%s is not found, but %s is there", text, want ? want->text : "");
    return;
  }
  cr_assert_not_null(want, "%s is found", text);
  snprintf(name, sizeof(name), "t%u", want->target);
  cr_assert_eq(m.n, 1);
  cr_assert_str_eq(t->target_name[m.target->name].text, name, "%s", text);
  cr_assert_eq(m.length, strlen(want->text), "%s", text);
  cr_assert_eq(m.exact, want->exact, "%s", text);
}

/* A table of N entries of CHARS, and numbers that begin as those do or do not. */
static void against_the_plain_search(size_t n, const char *chars, unsigned least, unsigned most,
                                     unsigned exact_in, unsigned numbers) {
  state = n;
  for (n_entry = 0; n_entry < n;) {
    struct entry *e = &entry[n_entry];
    draw_text(e->text, chars, least, most);
    e->exact = exact_in && draw(exact_in) == 0;
    e->target = draw(50);
    if (!is_there(e)) n_entry++;
  }
  struct tl_number_table *t = build();
  for (unsigned i = 0; i < numbers; i++) {
    char text[2 * TL_NUMBER_MAX + 1];
    unsigned keep = 0;
    if (n && draw(3)) {
      const char *from = entry[draw((uint32_t)n)].text;
      keep = 1 + draw((uint32_t)strlen(from));
      memcpy(text, from, keep);
    }
    draw_text(text + keep, chars, keep ? 0 : 1, keep ? 10 : 20);
    if (strlen(text) <= TL_NUMBER_MAX) expect_same(t, text);
  }
  tl_number_table_unref(t);
}

Test(number_table, f18_longest_match_of_digits) {
  static const size_t sizes[] = {0, 1, 2, 3, 10, 100, 1000};
  for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
    against_the_plain_search(sizes[i], "0123456789", 3, 12, 0, 2000);
    against_the_plain_search(sizes[i], "01", 10, 15, 0, 2000);
  }
  against_the_plain_search(5000, "0123456789", 4, 8, 0, 2000);
}

Test(number_table, f18_short_and_exact_entries) {
  against_the_plain_search(60, "0123456789", 1, 2, 3, 3000);
  against_the_plain_search(500, "0123", 1, 15, 2, 3000);
  against_the_plain_search(500, "01", 1, 15, 2, 3000);
}

Test(number_table, f18_long_entries_and_those_with_symbols) {
  against_the_plain_search(300, "01", 13, 18, 2, 3000);
  against_the_plain_search(300, "01", 14, TL_NUMBER_MAX, 3, 3000);
  against_the_plain_search(1000, "01*#AD", 1, 8, 4, 3000);
  against_the_plain_search(1000, "012*", 1, 20, 4, 3000);
}

/* All entries in one bucket's neighbourhood would be an accident: those of a whole table stand
 * under one head here, each with others beside it. */
Test(number_table, f18_dense_entries) {
  n_entry = 0;
  for (unsigned i = 0; i < MOST; i++) {
    struct entry *e = &entry[n_entry++];
    snprintf(e->text, sizeof(e->text), "4930%05u", i);
    e->exact = false;
    e->target = i % 7;
  }
  struct tl_number_table *t = build();
  for (unsigned i = 0; i < MOST; i++) {
    struct tl_number_match m;
    struct tl_number n = number_of(entry[i].text);
    cr_assert(tl_number_find(t, &n, &m));
    cr_assert_eq(m.length, 9);
    cr_assert_eq((unsigned)atoi(t->target_name[m.target->name].text + 1), i % 7);
    n = number_of("4930");
    cr_assert_not(tl_number_find(t, &n, &m));
  }
  cr_expect_eq(t->n_list, 7, "lists that are alike are kept once: %u", t->n_list);
  tl_number_table_unref(t);
}

/* The index of a list has room for its place and length. */
Test(number_table, f18_a_reference_keeps_a_table) {
  n_entry = 1;
  entry[0] = (struct entry){.text = "49", .target = 3};
  struct tl_number_table *t = build();
  cr_expect_eq(tl_number_table_ref(t), t);
  tl_number_table_unref(t);
  expect_same(t, "4930");
  cr_expect_geq(tl_number_table_bytes(t), sizeof(*t) + sizeof(struct tl_number_bucket));
  tl_number_table_unref(t);
  tl_number_table_unref(NULL);
}
