/* SPDX-License-Identifier: Apache-2.0 */
/* The clock of all deadlines, and times as text; what else a time is written like, its file does.
 */
#include "tieline/time.h"

#include <stdio.h>

uint64_t tl_now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t tl_now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* How far OUT is filled; 0 and "" for what no calendar has. */
static size_t put_seconds(time_t at, char out[TL_TIME_STRLEN]) {
  struct tm tm;
  const size_t n =
      gmtime_r(&at, &tm) ? strftime(out, TL_TIME_STRLEN - 8, "%Y-%m-%dT%H:%M:%S", &tm) : 0;
  out[n] = '\0';
  return n;
}

const char *tl_time_text(time_t at, char out[TL_TIME_STRLEN]) {
  const size_t n = put_seconds(at, out);
  if (n) snprintf(out + n, TL_TIME_STRLEN - n, "Z");
  return out;
}

const char *tl_time_text_ms(const struct timespec *at, char out[TL_TIME_STRLEN]) {
  const size_t n = put_seconds(at->tv_sec, out);
  if (n) snprintf(out + n, TL_TIME_STRLEN - n, ".%03dZ", (int)(at->tv_nsec / 1000000));
  return out;
}
