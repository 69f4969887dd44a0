/* SPDX-License-Identifier: Apache-2.0 */
/* The file of token keys: made, read, added to, and every fault that it may have. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tieline/err.h"
#include "tieline/token_keys.h"

static char dir[64], path[96];

static void begin(void) {
  snprintf(dir, sizeof(dir), "/tmp/tieline-token-keys.XXXXXX");
  cr_assert_not_null(mkdtemp(dir));
  snprintf(path, sizeof(path), "%s/token.keys", dir);
}

static void end(void) {
  unlink(path);
  cr_expect_eq(rmdir(dir), 0, "nothing is left beside the file");
}

TestSuite(token_keys, .init = begin, .fini = end, .timeout = 30);

#define HEX "000102030405060708090a0b0c0d0e0f"
#define SEED "seed ffeeddccbbaa99887766554433221100\n"
#define KEY(id, begin) "key " id " " begin " " HEX "\n"

static void write_file(const char *text, mode_t mode) {
  unlink(path);
  FILE *f = fopen(path, "w");
  cr_assert_not_null(f);
  fputs(text, f);
  fclose(f);
  cr_assert_eq(chmod(path, mode), 0);
}

static struct tl_token_keys *good(void) {
  struct tl_token_keys_error err;
  struct tl_token_keys *k = NULL;
  cr_assert_eq(tl_token_keys_read(path, &k, &err), TL_OK, "%d: %s", err.line, err.text);
  return k;
}

Test(token_keys, f24_made_and_read_again) {
  struct tl_token_keys_error err;
  struct tl_token_keys *k = tl_token_keys_new(), *other = tl_token_keys_new();
  cr_assert(k && other);
  cr_expect(!k->kept && k->n == 1);
  cr_expect(memcmp(k->seed, other->seed, 16) != 0 &&
            memcmp(k->key[0].key, other->key[0].key, 16) != 0);
  cr_assert_eq(tl_token_keys_write_new(path, k, geteuid(), getegid(), &err), TL_OK, "%s", err.text);
  struct stat st;
  cr_assert_eq(stat(path, &st), 0);
  cr_expect_eq(st.st_mode & 07777, 0600);
  cr_expect_eq(tl_token_keys_write_new(path, other, geteuid(), getegid(), &err), TL_EEXIST);
  struct tl_token_keys *read = good();
  cr_expect(read->kept && read->n == 1 && read->key[0].id == k->key[0].id);
  cr_expect_arr_eq(read->seed, k->seed, 16);
  cr_expect_arr_eq(read->key[0].key, k->key[0].key, 16);
  tl_token_keys_unref(read), tl_token_keys_unref(k), tl_token_keys_unref(other);
}

Test(token_keys, f24_in_the_order_of_their_begins) {
  write_file("# ours\n\n" KEY("b", "2026-03-01T00:00:00Z") "\t" SEED KEY(
                 "0", "2026-01-01T00:00:00Z") "  " KEY("3", "2026-02-01T12:30:00Z") "# end",
             0600);
  struct tl_token_keys *k = good();
  cr_assert_eq(k->n, 3);
  cr_expect(k->key[0].id == 0 && k->key[1].id == 3 && k->key[2].id == 11);
  cr_expect_eq(k->key[1].begin_s, 1769949000);
  cr_expect_eq(k->key[0].key[15], 15);
  cr_expect_eq(k->seed[0], 0xff);
  const int64_t feb = k->key[1].begin_s, mar = k->key[2].begin_s;
  cr_expect_eq(tl_token_keys_signer(k, 0)->id, 0); /* a clock that was set back */
  cr_expect_eq(tl_token_keys_signer(k, feb - 1)->id, 0);
  cr_expect_eq(tl_token_keys_signer(k, feb)->id, 3);
  cr_expect_eq(tl_token_keys_signer(k, mar + 1000000)->id, 11);
  cr_expect_eq(tl_token_keys_find(k, 3, feb, 60)->id, 3);
  cr_expect_eq(tl_token_keys_find(k, 3, mar + 60, 60)->id, 3);
  cr_expect_null(tl_token_keys_find(k, 3, mar + 61, 60));
  cr_expect_not_null(tl_token_keys_find(k, 11, mar + 1000000, 60));
  cr_expect_not_null(tl_token_keys_find(k, 11, 0, 60)); /* another node's clock is before ours */
  cr_expect_null(tl_token_keys_find(k, 4, feb, 60));
  tl_token_keys_unref(k);
}

Test(token_keys, f24_rules_by_their_breach) {
  static const struct {
    const char *text;
    int line;
    const char *want;
  } b[] = {
      {"", 0, "it has no seed"},
      {SEED, 0, "it has no key"},
      {KEY("1", "2026-01-01T00:00:00Z"), 0, "it has no seed"},
      {SEED SEED, 2, "there is already a seed"},
      {"seed 00\n", 1, "seed has not 32 hex digits"},
      {"seed\n", 1, "seed has not 32 hex digits"},
      {"seed " HEX " x\n", 1, "seed has not 32 hex digits"},
      {SEED "kay 1\n", 2, "a line begins with seed or key, not \"kay\""},
      {SEED "key\n", 2, "a key has an id of one hex digit"},
      {SEED KEY("10", "2026-01-01T00:00:00Z"), 2, "a key has an id of one hex digit"},
      {SEED KEY("g", "2026-01-01T00:00:00Z"), 2, "a key has an id of one hex digit"},
      {SEED "key 1\n", 2, "key 1 has no begin"},
      {SEED KEY("1", "2026-01-01"), 2, "key 1 has no begin"},
      {SEED KEY("1", "2026-13-01T00:00:00Z"), 2, "key 1 has no begin"},
      {SEED "key 1 2026-01-01T00:00:00Z\n", 2, "key 1 has not 32 hex digits"},
      {SEED "key 1 2026-01-01T00:00:00Z " HEX "00\n", 2, "key 1 has not 32 hex digits"},
      {SEED "key 1 2026-01-01T00:00:00Z 000102030405060708090A0B0C0D0E0F\n", 2,
       "key 1 has not 32 hex digits in lower case"},
      {SEED "key 1 2026-01-01T00:00:00Z " HEX " x\n", 2, "key 1 has not 32 hex digits"},
      {SEED KEY("1", "2026-01-01T00:00:00Z") KEY("1", "2026-02-01T00:00:00Z"), 3,
       "there is already a key 1"},
      {SEED KEY("1", "2026-01-01T00:00:00Z") KEY("2", "2026-01-01T00:00:00Z"), 3,
       "key 2 begins when key 1 does"},
  };
  struct tl_token_keys_error err;
  struct tl_token_keys *k = (void *)1;
  for (size_t i = 0; i < sizeof(b) / sizeof(b[0]); i++) {
    write_file(b[i].text, 0600);
    cr_expect_eq(tl_token_keys_read(path, &k, &err), TL_ECONFIG, "%zu", i);
    cr_expect_null(k);
    cr_expect_eq(err.line, b[i].line, "%s: line %d", b[i].text, err.line);
    cr_expect_not_null(strstr(err.text, b[i].want), "wanted %s, got %s", b[i].want, err.text);
    cr_expect_null(strstr(err.text, "000102"), "no key in a sentence");
  }
}

Test(token_keys, f24_what_is_no_file_of_ours_alone) {
  struct tl_token_keys_error err;
  struct tl_token_keys *k;
  cr_expect_eq(tl_token_keys_read(path, &k, &err), TL_ENOTFOUND);
  write_file(SEED KEY("1", "2026-01-01T00:00:00Z"), 0640);
  cr_expect_eq(tl_token_keys_read(path, &k, &err), TL_ECONFIG);
  cr_expect_str_eq(err.text, "it is open to others than its owner: chmod 600");
  cr_expect_eq(tl_token_keys_read(dir, &k, &err), TL_ECONFIG);
  write_file("", 0600);
  FILE *f = fopen(path, "w");
  for (int i = 0; i < 9000; i++) fputc('#', f);
  fclose(f);
  cr_expect_eq(tl_token_keys_read(path, &k, &err), TL_ECONFIG);
  cr_expect_str_eq(err.text, "it is too long");
  f = fopen(path, "w");
  fwrite("# a\0b\n", 1, 6, f);
  fclose(f);
  cr_expect_eq(tl_token_keys_read(path, &k, &err), TL_ECONFIG);
  cr_expect_str_eq(err.text, "it is no text");
}

Test(token_keys, f24_added_and_taken_out) {
  struct tl_token_keys_error err;
  uint8_t id = 99;
  cr_assert_eq(tl_token_keys_add(path, 1000, 900, 50, &id, &err), TL_OK, "%s", err.text);
  cr_expect_eq(id, 1); /* made with the file: it signs at once */
  for (int i = 0; i < 3; i++)
    cr_assert_eq(tl_token_keys_add(path, 1000 + i * 100, 900 + i * 100, 50, &id, &err), TL_OK);
  cr_expect_eq(id, 4);
  struct tl_token_keys *k = good();
  cr_assert_eq(k->n, 3, "%zu", k->n); /* the first has had a successor for over 50 s */
  cr_expect(k->key[0].id == 2 && k->key[2].id == 4);
  uint8_t seed[16];
  memcpy(seed, k->seed, 16);
  tl_token_keys_unref(k);
  cr_expect_eq(tl_token_keys_add(path, 1200, 1100, 50, &id, &err), TL_EEXIST);
  k = good();
  cr_expect_arr_eq(k->seed, seed, 16);
  tl_token_keys_unref(k);
  write_file("junk", 0600);
  cr_expect_eq(tl_token_keys_add(path, 1, 0, 50, &id, &err), TL_ECONFIG);
  cr_expect_eq(err.line, 1);
}

/* Ids go round, and none that is in force is given again. */
Test(token_keys, f24_ids_go_round) {
  struct tl_token_keys_error err;
  uint8_t id = 0, last = 0;
  for (int i = 0; i < 40; i++) {
    cr_assert_eq(tl_token_keys_add(path, 1000 * i, 1000 * i, 5000, &id, &err), TL_OK, "%s",
                 err.text);
    if (i) cr_expect_eq(id, (last + 1) % 16);
    last = id;
  }
  for (int i = 40; i < 60; i++) {
    int rc = tl_token_keys_add(path, 1000 * i, 0, 5000, &id, &err);
    if (rc == TL_OK) continue;
    cr_expect_eq(rc, TL_ELIMIT);
    cr_expect_not_null(strstr(err.text, "16 keys in force"));
    struct tl_token_keys *k = good();
    cr_expect_eq(k->n, 16);
    tl_token_keys_unref(k);
    return;
  }
  cr_assert_fail("a 17th key");
}
