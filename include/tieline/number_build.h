/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes a table of numbers out of lines, in any order: lines of the same number become one
 * list of targets, and lists that are alike are kept once.
 *
 * Ownership: a builder is its maker's and ends with tl_number_build_free. Threads: one.
 * Errors: TL_ECONFIG after the report; TL_ENOMEM.
 */
#pragma once

#include "tieline/number_table.h"

#define TL_NUMBER_LINES_MAX 20000000u
#define TL_NUMBER_PROBLEMS_MAX 50u /* after so many the rest is not worth reading */
#define TL_NUMBER_NAME_MAX 63u     /* bytes of a target's or a rule's name */
#define TL_NUMBER_FILES_MAX 32u    /* of one table */

/* As tl_conf_report_fn: once per problem. */
typedef void (*tl_number_report_fn)(void *arg, const char *file, int line, const char *sentence);

/* One line. Slices are not kept. */
struct tl_number_line {
  struct tl_number number;
  bool exact;         /* only the whole number, not what begins with it */
  bool ranked;        /* it says something of cost, priority or weight, or has a rule */
  struct tl_str name; /* of the target, not empty */
  struct tl_str rule; /* empty: none */
  uint64_t cost;
  uint16_t priority, weight;
  uint32_t line;
};

struct tl_number_build;

struct tl_number_build *tl_number_build_new(tl_number_report_fn report, void *arg);
void tl_number_build_free(struct tl_number_build *b);
/* The lines that follow are of FILE. */
int tl_number_build_file(struct tl_number_build *b, const char *file);
int tl_number_build_add(struct tl_number_build *b, const struct tl_number_line *line);
/* Reports a problem of a line; returns TL_ECONFIG. */
int tl_number_build_fail(struct tl_number_build *b, uint32_t line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Have there been so many problems that the rest is not worth reading? */
bool tl_number_build_gives_up(const struct tl_number_build *b);
/*
 * The table of all lines; one reference. TL_ECONFIG: there were problems, or two lines contradict
 * each other: the same target twice under one number with other words, two targets where neither
 * line says how they rank, or more than TL_NUMBER_TARGETS_MAX. Lines that are alike count once. B
 * is of no further use, but to be freed.
 */
int tl_number_build_end(struct tl_number_build *b, struct tl_number_table **out);
