/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small stand-in for Criterion where that one cannot run: its arena lies at
 * addresses that ThreadSanitizer keeps for itself, and its runner does not let
 * another decide how often a test runs. criterion.c has what the macros call, a
 * runner of ours the rest. Only what our tests use of Criterion is there; a new
 * use fails to link.
 *
 * Ownership: nothing is handed over. Threads: the main thread. Errors: exit
 * statuses of the test's process.
 */
#pragma once

#include <criterion/criterion.h>
#include <stdbool.h>

enum { PLAIN_FAILED = 90, PLAIN_SKIPPED = 91 };

/* The tests of the program; entries may be NULL. */
extern struct criterion_test *__start_cr_tst[], *__stop_cr_tst[];

/* Runs T in this process and ends it. */
_Noreturn void plain_run(const struct criterion_test *t);
/* How a test's process ends; exit unless a runner sets another. */
extern void (*plain_end)(int status);
/* Is T chosen by PATTERN (SUITE/NAME, NULL: all) and not disabled? */
bool plain_wanted(const struct criterion_test *t, const char *pattern);
/* Seconds that T may take, with what a sanitizer costs. */
double plain_limit_s(const struct criterion_test *t);
/* Seconds of a clock that only goes forward. */
double plain_clock_s(void);
