/* SPDX-License-Identifier: Apache-2.0 */
/* Slices, numbers in them, and the keyed hash of them. */
#include <criterion/criterion.h>

#include "tieline/err.h"
#include "tieline/siphash.h"
#include "tieline/str.h"

Test(base_str, equality_looks_at_length_and_bytes) {
  struct tl_str none = {NULL, 0};
  cr_expect(tl_str_eq(none, TL_STR("")));
  cr_expect(tl_str_ieq(none, TL_STR("")));
  cr_expect(tl_str_eq(TL_STR("ab"), TL_STR("ab")));
  cr_expect(!tl_str_eq(TL_STR("ab"), TL_STR("abc")));
  cr_expect(!tl_str_eq(TL_STR("ab"), TL_STR("aB")));
  cr_expect(tl_str_ieq(TL_STR("ab"), TL_STR("aB")));
  cr_expect(tl_str_starts(TL_STR("abc"), TL_STR("ab")));
  cr_expect(tl_str_starts(TL_STR("abc"), none));
  cr_expect(!tl_str_starts(TL_STR("a"), TL_STR("ab")));
}

Test(base_str, trim_takes_linear_white_space_off_both_ends) {
  cr_expect(tl_str_eq(tl_str_trim(TL_STR(" \t\r\na b\t ")), TL_STR("a b")));
  cr_expect_eq(tl_str_trim(TL_STR(" \r\n\t ")).n, 0);
  cr_expect_eq(tl_str_trim((struct tl_str){NULL, 0}).n, 0);
}

Test(base_str, numbers_are_digits_within_their_bound) {
  uint64_t v = 0;
  cr_expect(tl_str_u64(TL_STR("18446744073709551615"), UINT64_MAX, &v) == 0 && v == UINT64_MAX);
  cr_expect(tl_str_u64(TL_STR("007"), 7, &v) == 0 && v == 7);
  v = 42;
  static const char *const bad[] = {
      "", "-1", "+1", " 1", "1 ", "0x1", "18446744073709551616", "99999999999999999999999", "8"};
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    uint64_t max = strcmp(bad[i], "8") == 0 ? 7 : UINT64_MAX;
    cr_expect_eq(tl_str_u64(tl_str_c(bad[i]), max, &v), TL_ESYNTAX, "%s", bad[i]);
  }
  cr_expect_eq(v, 42, "untouched on error");
}

/* The vectors that come with the algorithm: key 00..0f, input 00, 01, 02 ... */
Test(base_str, siphash_gives_its_authors_values) {
  static const uint64_t want[] = {
      0x726fdb47dd0e0e31ull, 0x74f839c593dc67fdull, 0x0d6c8009d9a94f5aull,
      0x85676696d7fb7e2dull, 0xcf2794e0277187b7ull, 0x18765564cd99a68dull,
      0xcbc9466e58fee3ceull, 0xab0200f58b01d137ull, 0x93f5f5799a932462ull};
  uint8_t key[16], in[64];
  for (unsigned i = 0; i < 16; i++) key[i] = (uint8_t)i;
  for (unsigned i = 0; i < 64; i++) in[i] = (uint8_t)i;
  for (size_t n = 0; n < sizeof(want) / sizeof(want[0]); n++)
    cr_expect_eq(tl_siphash(key, in, n), want[n], "%zu bytes", n);
  cr_expect_eq(tl_siphash(key, in, 15), 0xa129ca6149be45e5ull);
  cr_expect_eq(tl_siphash13(key, in, 0), 0xabac0158050fc4dcull);
}

Test(base_str, siphash_depends_on_key_and_every_byte) {
  uint8_t key[16] = {1}, in[40] = {0};
  uint64_t plain = tl_siphash(key, in, sizeof(in)), plain13 = tl_siphash13(key, in, sizeof(in));
  for (size_t i = 0; i < sizeof(in); i++) {
    in[i] = 1;
    cr_expect_neq(tl_siphash(key, in, sizeof(in)), plain);
    cr_expect_neq(tl_siphash13(key, in, sizeof(in)), plain13);
    in[i] = 0;
  }
  for (size_t i = 0; i < sizeof(key); i++) {
    key[i] ^= 0x80;
    cr_expect_neq(tl_siphash(key, in, sizeof(in)), plain);
    key[i] ^= 0x80;
  }
  cr_expect_neq(tl_siphash(key, in, sizeof(in) - 1), plain);
}
