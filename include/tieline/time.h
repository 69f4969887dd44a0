/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clock of all deadlines, the soonest of several, and times as text (RFC 3339).
 *
 * Ownership: texts are the caller's. Threads: any. Errors: none.
 */
#pragma once

#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC in milliseconds. */
uint64_t tl_now_ms(void);
/* The same in nanoseconds. */
uint64_t tl_now_ns(void);

#define TL_TIME_NEVER UINT64_MAX /* of a deadline: until something else happens */
/* Lowers *DUE_MS to AT_MS. */
static inline void tl_time_sooner(uint64_t *due_ms, uint64_t at_ms) {
  if (at_ms < *due_ms) *due_ms = at_ms;
}

#define TL_TIME_STRLEN 40
/* "2026-11-21T22:00:00Z"; "" for what no calendar has. Returns OUT. */
const char *tl_time_text(time_t at, char out[TL_TIME_STRLEN]);
/* "2026-11-21T22:00:00.125Z" */
const char *tl_time_text_ms(const struct timespec *at, char out[TL_TIME_STRLEN]);
