/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of status codes. */
#include <criterion/criterion.h>

#include "tieline/status_set.h"

TestSuite(status_set, .timeout = 10);

Test(status_set, codes_and_classes) {
  struct tl_status_set s = {.bit = {0}};
  cr_expect_eq(tl_status_set_add(&s, "503"), 0);
  cr_expect_eq(tl_status_set_add(&s, "6xx"), 0);
  cr_expect_eq(tl_status_set_add(&s, "100"), 0);
  for (unsigned i = 0; i < 1000; i++)
    cr_assert_eq(tl_status_set_has(&s, i), i == 100 || i == 503 || (i >= 600 && i < 700), "%u", i);
}

Test(status_set, what_is_neither_is_refused) {
  struct tl_status_set s = {.bit = {0}};
  static const char *const bad[] = {"",    "5",   "50",  "5033", "x03", "5x3", "50x", "5Xx",
                                    "700", "099", "7xx", "0xx",  "-12", "+12", "5 3"};
  for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
    cr_expect_neq(tl_status_set_add(&s, bad[i]), 0, "%s", bad[i]);
  for (unsigned i = 0; i < 1000; i++) cr_assert_not(tl_status_set_has(&s, i));
}
