/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading results while printing them, and the printers that have a file of
 * their own (print_tls.c).
 *
 * Ownership: borrows everything. Threads: one. Errors: what is missing reads as
 * "", 0, false.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "control/table.h"

static inline const char *str(const json_t *o, const char *key) {
  const char *s = json_string_value(json_object_get(o, key));
  return s ? s : "";
}
static inline const char *dash(const char *s) { return *s ? s : "-"; }
static inline long long num(const json_t *o, const char *key) {
  return json_integer_value(json_object_get(o, key));
}
static inline bool yes(const json_t *o, const char *key) {
  return json_is_true(json_object_get(o, key));
}

/* Any value as a cell. */
void tl_print_cell(struct tl_table *t, const json_t *v);

void tl_print_show(const json_t *r, FILE *f);
void tl_print_connection(const json_t *r, FILE *f);
void tl_print_handshakes(const json_t *r, FILE *f);
void tl_print_explain(const json_t *r, FILE *f);
