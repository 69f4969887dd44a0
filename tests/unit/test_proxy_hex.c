/* SPDX-License-Identifier: Apache-2.0 */
/* Hex as tokens carry it, against the C library's. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/hex.h"

static uint64_t random64(void) {
  return (uint64_t)rand() << 42 ^ (uint64_t)rand() << 21 ^ (uint64_t)rand();
}

Test(proxy_hex, what_is_written_is_read_back_in_either_case) {
  srand(3);
  for (int i = 0; i < 20000; i++) {
    uint64_t v = i == 0 ? 0 : i == 1 ? UINT64_MAX : random64(), back;
    char want[32], got[16];
    snprintf(want, sizeof(want), "%016llx", (unsigned long long)v);
    tl_hex_put64(v, got);
    cr_assert_eq(memcmp(got, want, 16), 0, "%s", want);
    if (i % 2) snprintf(want, sizeof(want), "%016llX", (unsigned long long)v);
    cr_assert_eq(tl_hex_take64(want, &back), TL_OK);
    cr_assert_eq(back, v, "%s", want);
  }
}

Test(proxy_hex, some_digits_of_sixteen) {
  srand(5);
  for (unsigned digits = 1; digits <= 16; digits++) {
    uint64_t v = random64(), low = digits == 16 ? v : v & ((UINT64_C(1) << 4 * digits) - 1), back;
    char text[16];
    memset(text, '~', sizeof(text)); /* what lies behind does not matter */
    tl_hex_put(v, digits, text);
    cr_assert_eq(tl_hex_take(text, digits, &back), TL_OK, "%u", digits);
    cr_assert_eq(back, low, "%u", digits);
    if (digits < 16) cr_assert_eq(text[digits], '~');
  }
}

/* Every byte at every place. */
Test(proxy_hex, anything_else_is_refused) {
  uint64_t v;
  for (int at = 0; at < 16; at++)
    for (int c = 0; c < 256; c++) {
      char text[] = "0123456789abCDEF";
      text[at] = (char)c;
      bool digit = c < 128 && c && strchr("0123456789abcdefABCDEF", c);
      cr_assert_eq(tl_hex_take64(text, &v) == TL_OK, digit, "0x%02x at %d", c, at);
    }
}
