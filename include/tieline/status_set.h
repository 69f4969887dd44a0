/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A set of SIP status codes, written as codes and classes: "503", "5xx".
 *
 * Ownership: a value. Threads: any. Errors: TL_ESYNTAX.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define TL_STATUS_FIRST 100u
#define TL_STATUS_END 700u

/* All zero: empty. */
struct tl_status_set {
  uint64_t bit[(TL_STATUS_END - TL_STATUS_FIRST + 63) / 64];
};

/* TEXT is one code or class. TL_ESYNTAX: neither. */
int tl_status_set_add(struct tl_status_set *s, const char *text);

static inline void tl_status_set_remove(struct tl_status_set *s, unsigned status) {
  status -= TL_STATUS_FIRST;
  s->bit[status / 64] &= ~(UINT64_C(1) << status % 64);
}
static inline bool tl_status_set_has(const struct tl_status_set *s, unsigned status) {
  if (status < TL_STATUS_FIRST || status >= TL_STATUS_END) return false;
  status -= TL_STATUS_FIRST;
  return s->bit[status / 64] >> status % 64 & 1;
}
