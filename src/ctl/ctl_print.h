/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The results of ctl commands as tables.
 *
 * Ownership: borrows RESULT. Threads: one. Errors: none.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* Prints the RESULT of COMMAND; ALL includes counters that are zero. Commands without a table of
 * their own are printed as names and values. */
void tl_ctl_print(const char *command, const json_t *result, bool all, FILE *f);
/* The problems of a refused configuration, or nothing. */
void tl_ctl_print_problems(const json_t *error, FILE *f);
