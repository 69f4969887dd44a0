/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables for people: aligned columns of text.
 *
 * Ownership: a table copies its cells; tl_table_free frees it. Threads: one.
 * Errors: none; a table that ran out of memory prints that it did.
 */
#pragma once

#include <stddef.h>
#include <stdio.h>

struct tl_column {
  const char *head;
  enum { TL_LEFT, TL_RIGHT } align;
};

struct tl_table;

/* Columns must outlive the table. NULL when out of memory; all calls accept that. */
struct tl_table *tl_table_new(const struct tl_column *column, size_t n);
void tl_table_free(struct tl_table *t);
/* The next cell, row by row. Characters that could move the cursor are replaced by '?'. */
void tl_table_cell(struct tl_table *t, const char *text);
void tl_table_cellf(struct tl_table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Heads (unless all are empty) and rows; the last column is not padded. */
void tl_table_print(const struct tl_table *t, FILE *f);

/* "12ms", "5.1s", "3m07s", "2h05m", "4d03h"; returns BUF. */
const char *tl_table_duration(long long ms, char buf[24]);
