/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of numbers out of text: what lines mean, alone and together, and what is said of wrong
 * ones. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tieline/err.h"
#include "tieline/number_csv.h"

TestSuite(number_csv, .timeout = 60);

/* What was reported, "file:line: sentence" each on a line. */
static char said[1 << 14];

static void note(void *arg, const char *file, int line, const char *sentence) {
  const size_t n = strlen(said);
  cr_assert_eq(arg, said);
  snprintf(said + n, sizeof(said) - n, "%s:%d: %s\n", file, line, sentence);
}

static int read_text(struct tl_number_build *b, const char *file, const char *text, size_t n) {
  int rc = tl_number_build_file(b, file);
  FILE *f = fmemopen((char *)(uintptr_t)text, n, "r");
  cr_assert_not_null(f);
  if (!rc) rc = tl_number_csv_read(b, f);
  fclose(f);
  return rc;
}

static int load_two(const char *a, size_t n_a, const char *b, struct tl_number_table **out) {
  said[0] = '\0';
  *out = NULL;
  struct tl_number_build *build = tl_number_build_new(note, said);
  cr_assert_not_null(build);
  int rc = read_text(build, "a.csv", a, n_a);
  if (!rc && b) rc = read_text(build, "b.csv", b, strlen(b));
  if (!rc) rc = tl_number_build_end(build, out);
  tl_number_build_free(build);
  cr_expect_eq(rc != 0, said[0] != '\0', "%d: %s", rc, said);
  return rc;
}

static int load(const char *text, struct tl_number_table **out) {
  return load_two(text, strlen(text), NULL, out);
}

/* The targets of NUMBER as "name cost priority weight rule", a comma between; "-": none. */
static const char *targets_of(const struct tl_number_table *t, const char *number) {
  static char text[1024];
  struct tl_number n;
  struct tl_number_match m;
  cr_assert(tl_number_read(tl_str_c(number), &n));
  if (!tl_number_find(t, &n, &m)) return "-";
  text[0] = '\0';
  for (unsigned i = 0; i < m.n; i++) {
    const struct tl_number_target *x = &m.target[i];
    const size_t at = strlen(text);
    snprintf(text + at, sizeof(text) - at, "%s%s %lu %u %u%s%s", i ? ", " : "",
             t->target_name[x->name].text, x->cost, x->priority, x->weight, x->rule ? " " : "",
             x->rule ? t->rule_name[x->rule - 1].text : "");
  }
  return text;
}

static void expect_targets(const char *csv, const char *number, const char *want) {
  struct tl_number_table *t;
  cr_assert_eq(load(csv, &t), 0, "%s", csv);
  cr_expect_str_eq(targets_of(t, number), want, "%s\n%s", csv, number);
  tl_number_table_unref(t);
}

Test(number_csv, f18_every_way_to_write_a_file) {
  static const struct {
    const char *csv, *number, *targets;
  } vectors[] = {
      {"+49(30)-1,a\n", "49301", "a 0 1 1"},
      {"\xef\xbb\xbf"
       "49,a\r\n\r\n",
       "49", "a 0 1 1"},
      {"\xef\xbb\xbf"
       "prefix,target\r\n49,a\r\n",
       "49", "a 0 1 1"},
      {"# a deck\n\n   \n49,a\n", "49", "a 0 1 1"},
      {"prefix,target,cost\n49,a,0.0123\n", "49", "a 12300 1 1"},
      {"Target,Cost,Prefix\na,1.5,49\n", "49", "a 1500000 1 1"},
      {"number,peer,rate,priority,weight,rule\n49,a,2,3,4,night\n", "49", "a 2000000 3 4 night"},
      {"49,a,2,3,4,night\n", "49", "a 2000000 3 4 night"},
      {"49,a,,,,\n", "49", "a 0 1 1"},
      {"49,a,,7\n", "49", "a 0 7 1"},
      {" 49 ,\ta\t, .5 ,0,0\n", "49", "a 500000 0 0"},
      {"\"49\",\"a \"\"b\"\", c\" ,\"1\"\n", "49", "a \"b\", c 1000000 1 1"},
      {"49,a,1000000000,65535,65535\n", "49", "a 1000000000000000 65535 65535"},
      {"49,a,0.000001\n", "49", "a 1 1 1"},
      {"911$,a\n", "911", "a 0 1 1"},
      {"911$,a\n", "9112", "-"},
      {"911$,a\n91,b\n", "9112", "b 0 1 1"},
      {"911$,a\n911,b\n", "911", "a 0 1 1"},
      {"\"#31#\",a\n", "#31#49", "a 0 1 1"},
      {"*31,a\n", "*3149", "a 0 1 1"},
      {"#31#,a\n", "#31#49", "-"},
      {"12345678901234567890,a\n", "123456789012345678901", "a 0 1 1"},
  };
  for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
    expect_targets(vectors[i].csv, vectors[i].number, vectors[i].targets);
}

Test(number_csv, f18_lines_of_a_number_are_one_list) {
  static const char deck[] = "49,d,0.2\n49,c,0.1\n33,x\n49,b,0.1\n49,a,0.9,0\n49,c,0.1\n";
  expect_targets(deck, "4930", "a 900000 0 1, c 100000 1 1, b 100000 1 1, d 200000 1 1");
  expect_targets("49,a\n49,a\n", "49", "a 0 1 1");
  expect_targets("49,a\n49,b,1\n", "49", "a 0 1 1, b 1000000 1 1");
  expect_targets("49,a,0,1,70\n49,b,0,1,30\n", "49", "a 0 1 70, b 0 1 30");
  expect_targets("49,a,1,,,day\n49,a,2,,,night\n49,b,3\n", "49",
                 "a 1000000 1 1 day, a 2000000 1 1 night, b 3000000 1 1");
}

Test(number_csv, f18_lists_are_kept_once) {
  struct tl_number_table *t;
  cr_assert_eq(load("1,a,1\n1,b,2\n2,b,2\n2,a,1\n3,a,1\n4,a,1\n5,a,2\n6,b,2\n*1,a,1\n", &t), 0);
  cr_expect_eq(t->n_entry, 7);
  cr_expect_eq(t->n_list, 4);
  cr_expect_eq(t->n_target, 5);
  cr_expect_eq(t->n_target_name, 2);
  cr_expect_eq(t->target_name[1].line, 2);
  cr_expect_str_eq(targets_of(t, "22"), "a 1000000 1 1, b 2000000 1 1");
  tl_number_table_unref(t);
}

Test(number_csv, f18_several_files_are_one_table) {
  struct tl_number_table *t;
  static const char a[] = "target,prefix,cost\na,49,2\na,33,2\n";
  cr_assert_eq(load_two(a, strlen(a), "49,b,1\n44,b,1\n", &t), 0);
  cr_expect_str_eq(targets_of(t, "4930"), "b 1000000 1 1, a 2000000 1 1");
  cr_expect_str_eq(targets_of(t, "33"), "a 2000000 1 1");
  cr_expect_str_eq(targets_of(t, "44"), "b 1000000 1 1");
  cr_expect_eq(t->n_file, 2);
  cr_expect_eq(t->target_name[1].file, 1);
  tl_number_table_unref(t);
}

Test(number_csv, f18_what_is_wrong_is_said_by_line) {
  static const struct {
    const char *csv, *said;
  } vectors[] = {
      {"49,a\n4x,b\n", "a.csv:2: \"4x\" is no number: it has digits, * and #, at most 40\n"},
      {"12A,b\n", "a.csv:1: \"12A\" is no number: it has letters\n"},
      {"tel:49,b\n", "a.csv:1: \"tel:49\" is no number: it has digits, * and #, at most 40\n"},
      {"49;x,b\n", "a.csv:1: \"49;x\" is no number: it has digits, * and #, at most 40\n"},
      {"$,b\n", "a.csv:1: \"$\" is no number: it has digits, * and #, at most 40\n"},
      {",b\n", "a.csv:1: the prefix is empty\n"},
      {"49\n", "a.csv:1: the line is too short: it needs a prefix and a target\n"},
      {"49,\n", "a.csv:1: the line names no target\n"},
      {"\n#x\n49,a,1,1,1,r,x\n", "a.csv:3: the line has 7 columns, there are 6\n"},
      {"prefix,target\n49,a,\n", "a.csv:2: the line has 3 columns, there are 2\n"},
      {"prefix,target,kost\n49,a\n",
       "a.csv:1: \"kost\" is no column: they are prefix, target, cost, priority, weight, "
       "time_rule\n"},
      {"prefix,number,target\n", "a.csv:1: \"number\" names a column that is there already\n"},
      {"prefix,cost\n", "a.csv:1: the columns lack target\n"},
      {"target,cost\n", "a.csv:1: the columns lack prefix\n"},
      {"49,a,x\n", "a.csv:1: \"x\" is no cost: 0 to 1000000000 with up to six decimals\n"},
      {"49,a,-1\n", "a.csv:1: \"-1\" is no cost: 0 to 1000000000 with up to six decimals\n"},
      {"49,a,1.\n", "a.csv:1: \"1.\" is no cost: 0 to 1000000000 with up to six decimals\n"},
      {"49,a,.\n", "a.csv:1: \".\" is no cost: 0 to 1000000000 with up to six decimals\n"},
      {"49,a,1.0000001\n",
       "a.csv:1: \"1.0000001\" is no cost: 0 to 1000000000 with up to six decimals\n"},
      {"49,a,1000000001\n",
       "a.csv:1: \"1000000001\" is no cost: 0 to 1000000000 with up to six decimals\n"},
      {"49,a,1,65536\n", "a.csv:1: \"65536\" is no priority: 0 to 65535\n"},
      {"49,a,1,1,1.5\n", "a.csv:1: \"1.5\" is no weight: 0 to 65535\n"},
      {"\"49,a\n", "a.csv:1: a quote does not end, or has something behind it\n"},
      {"\"49\"x,a\n", "a.csv:1: a quote does not end, or has something behind it\n"},
      {"49,a\n33,a\n49,b\n",
       "a.csv:3: 49 leads to \"b\" here, but to \"a\" at a.csv:1, and neither line has a cost, "
       "priority or weight by which they would rank\n"},
      {"49,a,2\n49,a,1\n",
       "a.csv:2: 49 leads to \"a\" here with another cost, priority or weight than at a.csv:1\n"},
      {"*1$,a\n*1$,b\n",
       "a.csv:2: *1$ leads to \"b\" here, but to \"a\" at a.csv:1, and neither line has a cost, "
       "priority or weight by which they would rank\n"},
      {"x,a\n,b\n49,a\n49,b\n",
       "a.csv:1: \"x\" is no number: it has digits, * and #, at most 40\n"
       "a.csv:2: the prefix is empty\n"
       "a.csv:4: 49 leads to \"b\" here, but to \"a\" at a.csv:3, and neither line has a cost, "
       "priority or weight by which they would rank\n"},
  };
  struct tl_number_table *t;
  for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
    cr_expect_eq(load(vectors[i].csv, &t), TL_ECONFIG, "%s", vectors[i].csv);
    cr_expect_str_eq(said, vectors[i].said, "%s", vectors[i].csv);
  }
}

Test(number_csv, f18_contradictions_between_files) {
  struct tl_number_table *t;
  cr_expect_eq(load_two("1,x\n49,a\n", 9, "49,b\n", &t), TL_ECONFIG);
  cr_expect_str_eq(said, "b.csv:1: 49 leads to \"b\" here, but to \"a\" at a.csv:2, and neither "
                         "line has a cost, priority or weight by which they would rank\n");
}

Test(number_csv, f18_bytes_that_are_no_text) {
  static const char nul[] = "49,a\0b\n4\0009,a\n";
  struct tl_number_table *t;
  cr_expect_eq(load_two(nul, sizeof(nul) - 1, NULL, &t), TL_ECONFIG);
  cr_expect(strstr(said, "a.csv:1: a target's name has 1 to 63 characters\n"), "%s", said);
  cr_expect(strstr(said, "a.csv:2: "), "%s", said);
}

/* Lines longer than the reader's buffer, and at its edges. */
Test(number_csv, f18_long_lines) {
  static char text[300000];
  struct tl_number_table *t;
  memset(text, 'x', 200000);
  memcpy(text, "49,", 3);
  memcpy(text + 200000, "\n44,b\n", 6);
  cr_expect_eq(load_two(text, 200006, NULL, &t), TL_ECONFIG);
  cr_expect_str_eq(said, "a.csv:1: the line is longer than 4096 bytes\n");
  cr_expect_eq(load_two(text, 200000, NULL, &t), TL_ECONFIG);
  cr_expect_str_eq(said, "a.csv:1: the line is longer than 4096 bytes\n");
  size_t n = 0;
  for (unsigned i = 0; i < 20000; i++)
    n += (size_t)sprintf(text + n, "%u,t%u\n", 100000 + i, i % 3);
  cr_assert_eq(load_two(text, n, NULL, &t), 0);
  cr_expect_eq(t->n_entry, 20000);
  for (unsigned i = 0; i < 20000; i++) {
    char number[16], want[16];
    sprintf(number, "%u", 100000 + i);
    sprintf(want, "t%u 0 1 1", i % 3);
    cr_assert_str_eq(targets_of(t, number), want, "%s", number);
  }
  tl_number_table_unref(t);
}

Test(number_csv, f18_after_so_many_problems_the_rest_is_not_read) {
  static char text[20000];
  struct tl_number_table *t;
  size_t n = 0;
  for (unsigned i = 0; i < 1000; i++) n += (size_t)sprintf(text + n, "x%u,t\n", i);
  cr_expect_eq(load_two(text, n, NULL, &t), TL_ECONFIG);
  cr_expect(strstr(said, "a.csv:50: there may be more problems"), "%s", said);
  cr_expect_null(strstr(said, "a.csv:51:"), "%s", said);
  for (unsigned i = n = 0; i < 1000; i++) n += (size_t)sprintf(text + n, "%u,t%u\n", i / 2, i % 2);
  cr_expect_eq(load_two(text, n, NULL, &t), TL_ECONFIG);
  cr_expect(strstr(said, "there may be more problems"), "%s", said);
}

Test(number_csv, f18_more_targets_than_a_list_has) {
  char text[400];
  struct tl_number_table *t;
  size_t n = 0;
  for (unsigned i = 0; i < 17; i++) n += (size_t)sprintf(text + n, "49,t%u,%u\n", i, i);
  cr_expect_eq(load_two(text, n, NULL, &t), TL_ECONFIG);
  cr_expect_str_eq(said, "a.csv:17: 49 has more than 16 targets\n");
  n -= strlen("49,t16,16\n");
  cr_assert_eq(load_two(text, n, NULL, &t), 0);
  cr_expect_eq(t->n_target, 16);
  tl_number_table_unref(t);
}

Test(number_csv, f18_files_by_name) {
  char good[] = "/tmp/tieline-number-XXXXXX", missing[] = "/tmp/tieline-number-none/x.csv";
  char *files[] = {good, missing};
  struct tl_number_table *t;
  int fd = mkstemp(good);
  cr_assert_geq(fd, 0);
  cr_assert_eq(write(fd, "49,a\n", 5), 5);
  close(fd);
  said[0] = '\0';
  cr_assert_eq(tl_number_csv_load(files, 1, note, said, &t), 0);
  cr_expect_str_eq(targets_of(t, "49"), "a 0 1 1");
  tl_number_table_unref(t);
  cr_expect_eq(tl_number_csv_load(files, 2, note, said, &t), TL_ECONFIG);
  cr_expect(strstr(said, "x.csv:0: it cannot be read: No such file"), "%s", said);
  unlink(good);
}
