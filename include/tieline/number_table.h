/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What numbers lead to: the longest entry that a number begins with, and the targets of
 * that entry in the order in which they are to be tried. A table never changes.
 *
 * Digits are packed into 64 bits with their count, so that an entry is a key of one hash
 * table. A number is looked up by all its beginnings at once, of those lengths that occur
 * under its first digits: the caches miss for all of them together.
 *
 * Ownership: counted references; what a search finds lives as long as its table.
 * Threads: any; number_build.h makes tables. Errors: none.
 */
#pragma once

#include "tieline/index_map.h"
#include "tieline/number.h"

#define TL_NUMBER_TARGETS_MAX 16 /* of one entry */
#define TL_NUMBER_EXACT '$'      /* stands behind an entry that is the whole number */

/* Targets and time rules are named by who fills a table: the table knows them by number. */
struct tl_number_target {
  uint64_t cost;     /* in millionths of whatever the lines count in */
  uint32_t name;     /* of tl_number_table.target_name */
  uint16_t priority; /* the lowest first, then the least cost, then as written */
  uint16_t weight;   /* share among those of equal priority and cost; 0: only after the others */
  uint16_t rule;     /* 0: at any time, else 1 + the place in tl_number_table.rule_name */
};

struct tl_number_name {
  char *text;
  uint32_t line; /* where it was first */
  uint16_t file; /* of tl_number_table.file */
};

#define TL_NUMBER_BUCKET_KEYS 5

/* A cache line. */
struct tl_number_bucket {
  uint64_t key[TL_NUMBER_BUCKET_KEYS];   /* 0: free; they fill from the front */
  uint32_t value[TL_NUMBER_BUCKET_KEYS]; /* see tl_number_table.target */
  uint32_t spilt; /* which further keys are in the next bucket, a bit for each by its hash */
};

/* Entries that do not fit into a key: with '*', '#' or letters, or of more digits. */
struct tl_number_side {
  struct tl_number_long {
    uint32_t value;
    uint8_t n;
    char text[TL_NUMBER_MAX + 1]; /* TL_NUMBER_EXACT among it */
  } * entry;
  uint32_t n;
  uint64_t lengths; /* bit N: there are entries of N characters */
  struct tl_index_map map;
};

struct tl_number_table {
  _Atomic uint32_t refs;
  uint32_t n_bucket, n_entry;
  struct tl_number_bucket *bucket;
  uint16_t lengths[1000]; /* by the first three digits; bit N: entries of N digits; bit 0: of
                             exactly as many digits as a number has */
  struct tl_number_side side;
  struct tl_number_target *target; /* lists, each once; a value is 16 times a list's first target
                                      and its length less 1 */
  uint32_t n_target, n_list;
  struct tl_number_name *target_name, *rule_name;
  uint32_t n_target_name, n_rule_name;
  char **file; /* what it was read from */
  uint16_t n_file;
};

struct tl_number_table *tl_number_table_ref(struct tl_number_table *t);
void tl_number_table_unref(struct tl_number_table *t); /* T may be NULL */
/* Memory that T takes. */
size_t tl_number_table_bytes(const struct tl_number_table *t);

struct tl_number_match {
  const struct tl_number_target *target; /* N, in order */
  uint8_t n;
  uint8_t length; /* characters of the number that the entry has */
  bool exact;     /* it is the whole number, and only for that */
};

/* The longest entry of T that NUMBER begins with, an exact one before all. False: none. */
bool tl_number_find(const struct tl_number_table *t, const struct tl_number *number,
                    struct tl_number_match *out);
