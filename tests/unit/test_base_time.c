/* SPDX-License-Identifier: Apache-2.0 */
/* Times as text: the calendar's corners, and what no calendar has. */
#include <criterion/criterion.h>
#include <stdint.h>

#include "tieline/time.h"

Test(base_time, times_are_written_as_rfc_3339_has_them) {
  static const struct {
    time_t at;
    const char *want;
  } cases[] = {{0, "1970-01-01T00:00:00Z"},
               {-1, "1969-12-31T23:59:59Z"},
               {951782400, "2000-02-29T00:00:00Z"},
               {1795298400, "2026-11-21T22:00:00Z"},
               {253402300799, "9999-12-31T23:59:59Z"}}; /* RFC 5280 4.1.2.5: no end */
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    char text[TL_TIME_STRLEN];
    cr_expect_str_eq(tl_time_text(cases[i].at, text), cases[i].want);
  }
}

Test(base_time, parts_of_a_second_are_cut_not_rounded) {
  const struct timespec at = {.tv_sec = 1795298400, .tv_nsec = 999999999},
                        early = {.tv_sec = 1795298400, .tv_nsec = 7000000};
  char text[TL_TIME_STRLEN];
  cr_expect_str_eq(tl_time_text_ms(&at, text), "2026-11-21T22:00:00.999Z");
  cr_expect_str_eq(tl_time_text_ms(&early, text), "2026-11-21T22:00:00.007Z");
}

Test(base_time, what_no_calendar_has_is_empty) {
  const struct timespec never = {.tv_sec = INT64_MAX};
  char text[TL_TIME_STRLEN];
  cr_expect_str_eq(tl_time_text(INT64_MAX, text), "");
  cr_expect_str_eq(tl_time_text(INT64_MIN, text), "");
  cr_expect_str_eq(tl_time_text_ms(&never, text), "");
}
