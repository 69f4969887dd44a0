/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A builder from inside: lines are collected (number_build.c), then sorted and made into the
 * table (number_fill.c).
 *
 * Ownership: as include/tieline/number_build.h. Threads: one. Errors: TL_ENOMEM.
 */
#pragma once

#include "tieline/number_build.h"

/* The low 4 bits of KEY are 0 for an entry of the side table, whose number is above them. */
struct tl_number_row {
  uint64_t key, cost;
  uint32_t name, line;
  uint16_t priority, weight, rule;
  uint16_t file : 15;
  uint16_t ranked : 1;
};

/* Names by number; NAME has the place for POS of the first. */
struct tl_number_names {
  struct tl_number_name *name;
  uint32_t n, cap, last; /* LAST: the one asked for before */
  struct tl_index_map map;
};

struct tl_number_build {
  tl_number_report_fn report;
  void *arg;
  unsigned problems;
  struct tl_number_row *row;
  uint32_t n, cap;
  bool sorted; /* rows are in order as they came */
  struct tl_number_names target_name, rule_name;
  struct tl_number_table *table; /* its files, side entries and targets grow, see CAP_... */
  uint32_t cap_side, cap_target;
  struct tl_index_map lists; /* by the hash of what is in them; values as those of entries */
};

static inline int tl_number_order(uint64_t a, uint64_t b) { return (a > b) - (a < b); }

/* As they were written. */
static inline int tl_number_row_place(const struct tl_number_row *x,
                                      const struct tl_number_row *y) {
  return x->file != y->file ? tl_number_order(x->file, y->file) : tl_number_order(x->line, y->line);
}

/* In the order in which a number's targets are tried, numbers ascending. */
static inline int tl_number_row_order(const struct tl_number_row *x,
                                      const struct tl_number_row *y) {
  if (x->key != y->key) return tl_number_order(x->key, y->key);
  if (x->priority != y->priority) return tl_number_order(x->priority, y->priority);
  return x->cost != y->cost ? tl_number_order(x->cost, y->cost) : tl_number_row_place(x, y);
}

/* One more of SIZE bytes fits into *P, which has N of *CAP. */
int tl_number_room(void *p, uint32_t n, uint32_t *cap, size_t size);
/* Reports a problem of a line of file number FILE; returns TL_ECONFIG. */
int tl_number_build_fail_at(struct tl_number_build *b, unsigned file, uint32_t line,
                            const char *fmt, ...) __attribute__((format(printf, 4, 5)));
