/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accessors for printing results, and the printers in print_tls.c and print_peers.c.
 *
 * Ownership: borrows everything. Threads: one. Errors: a missing field reads as
 * "", 0 or false.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "ctl/table.h"

static inline const char *field_text(const json_t *o, const char *key) {
  const char *s = json_string_value(json_object_get(o, key));
  return s ? s : "";
}
static inline const char *or_dash(const char *s) { return *s ? s : "-"; }
static inline long long field_num(const json_t *o, const char *key) {
  return json_integer_value(json_object_get(o, key));
}
static inline bool field_true(const json_t *o, const char *key) {
  return json_is_true(json_object_get(o, key));
}

/* Any value as a cell. */
void tl_print_cell(struct tl_table *t, const json_t *v);

/* Says so where R is not complete. */
static inline void tl_print_incomplete(const json_t *r, FILE *f) {
  if (!field_true(r, "complete"))
    fputs("Not every worker answered in time: the list is short.\n", f);
}
void tl_print_show(const json_t *r, FILE *f);
void tl_print_peers(const json_t *r, FILE *f);
void tl_print_connection(const json_t *r, FILE *f);
void tl_print_handshakes(const json_t *r, FILE *f);
void tl_print_explain(const json_t *r, FILE *f);
