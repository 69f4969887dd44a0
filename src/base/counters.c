/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The counters' names and sentences, from the one list in counters.h. Summing
 * over threads is the runtime's business.
 */
#include "tieline/counters.h"

#include <stddef.h>

static const char *const names[] = {
#define NAME(id, name, help) [TL_C_##id] = (name),
    TL_COUNTERS(NAME)
#undef NAME
};

static const char *const helps[] = {
#define HELP(id, name, help) [TL_C_##id] = (help),
    TL_COUNTERS(HELP)
#undef HELP
};

const char *tl_counter_name(enum tl_counter id) {
  return (size_t)id < TL_C_COUNT ? names[id] : "unknown";
}

const char *tl_counter_help(enum tl_counter id) {
  return (size_t)id < TL_C_COUNT ? helps[id] : "no such counter";
}
