/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables of numbers out of text: a line is a prefix or number and the name of its target, then
 * cost, priority, weight and time rule if they are needed, with commas between. '$' behind a
 * number makes it the whole number. A first line of column names puts them in another order.
 * Empty lines, those that begin with '#', and a byte order mark are passed over; a field may
 * stand in quotes.
 *
 * Ownership: the caller's. Threads: any; it reads files and may take seconds. Errors:
 * TL_ECONFIG after the report, by file and line; TL_ENOMEM.
 */
#pragma once

#include <stdio.h>

#include "tieline/number_build.h"

/* The lines of F into B, whose file has been named. TL_ECONFIG only where the rest of F is of no
 * use; what else is wrong tl_number_build_end tells. */
int tl_number_csv_read(struct tl_number_build *b, FILE *f);
/* The table of FILES, N of them, as if they were one; one reference. */
int tl_number_csv_load(char *const *files, size_t n, tl_number_report_fn report, void *arg,
                       struct tl_number_table **out);
