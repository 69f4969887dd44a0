/* SPDX-License-Identifier: Apache-2.0 */
/* The level up to which lines are written, and the names of levels. */
#include <stdatomic.h>

#include "tieline/err.h"
#include "tieline/log.h"

_Atomic int tl_log_level_now = TL_LOG_INFO;

void tl_log_set_level(enum tl_log_level lvl) {
  atomic_store_explicit(&tl_log_level_now, (int)lvl, memory_order_relaxed);
}

static const char *const level_names[] = {"error", "warn", "info", "debug"};

const char *tl_log_level_name(enum tl_log_level lvl) {
  return (unsigned)lvl < 4 ? level_names[lvl] : "unknown";
}

int tl_log_level_parse(struct tl_str s, enum tl_log_level *out) {
  for (int i = 0; i < 4; i++)
    if (tl_str_eq(s, tl_str_c(level_names[i]))) {
      *out = (enum tl_log_level)i;
      return TL_OK;
    }
  return TL_EINVAL;
}
