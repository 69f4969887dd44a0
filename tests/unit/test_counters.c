/* SPDX-License-Identifier: Apache-2.0 */
/* The list of counters: every one has a name of its own and a sentence. */
#include <criterion/criterion.h>
#include <string.h>

#include "tieline/counters.h"

Test(counters, every_counter_has_its_own_name) {
  for (int i = 0; i < TL_C_COUNT; i++) {
    const char *name = tl_counter_name((enum tl_counter)i);
    cr_assert_not_null(name);
    cr_assert_gt(strlen(name), 0);
    cr_assert_null(strpbrk(name, " \t\"="), "%s would need quotes in a log or a metric", name);
    for (int j = 0; j < i; j++) cr_assert_str_neq(name, tl_counter_name((enum tl_counter)j));
  }
}

Test(counters, every_counter_says_what_it_counts) {
  for (int i = 0; i < TL_C_COUNT; i++)
    cr_assert_gt(strlen(tl_counter_help((enum tl_counter)i)), 10);
  cr_assert_str_eq(tl_counter_name(TL_C_HS_FAIL_VERIFY), "handshakes.failed.verify");
}

Test(counters, out_of_range_is_named_not_read) {
  cr_assert_str_eq(tl_counter_name(TL_C_COUNT), "unknown");
  cr_assert_str_eq(tl_counter_help((enum tl_counter) - 1), "no such counter");
}

Test(counters, a_gauge_goes_up_and_down) {
  struct tl_counters c = {0};
  tl_count_add(&c, TL_C_CONN_NOW, 3);
  tl_count_sub(&c, TL_C_CONN_NOW, 2);
  tl_count(&c, TL_C_CONN_ACCEPTED);
  cr_assert_eq(tl_count_get(&c, TL_C_CONN_NOW), 1);
  cr_assert_eq(tl_count_get(&c, TL_C_CONN_ACCEPTED), 1);
  cr_assert_eq(tl_count_get(&c, TL_C_CONN_DIALED), 0);
}
