/* SPDX-License-Identifier: Apache-2.0 */
/* One JSON value as a cell of a table. */
#include "ctl/print_json.h"

/* Any value on one line. */
void tl_print_cell(struct tl_table *t, const json_t *v) {
  char buf[512] = "";
  size_t i, at = 0;
  const json_t *e;
  if (json_is_string(v))
    tl_table_cell(t, json_string_value(v));
  else if (json_is_integer(v))
    tl_table_cellf(t, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
  else if (json_is_boolean(v))
    tl_table_cell(t, json_is_true(v) ? "yes" : "no");
  else if (json_is_array(v)) {
    json_array_foreach((json_t *)(uintptr_t)v, i, e) {
      int w = snprintf(buf + at, sizeof(buf) - at, "%s%s", at ? ", " : "",
                       json_is_string(e) ? json_string_value(e) : "?");
      if (w < 0 || (size_t)w >= sizeof(buf) - at) break;
      at += (size_t)w;
    }
    tl_table_cell(t, or_dash(buf));
  } else {
    tl_table_cell(t, "-");
  }
}
