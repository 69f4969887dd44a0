/* SPDX-License-Identifier: Apache-2.0 */
/* Large arrays on huge pages. Objects of one size come from pool.c. */
#include "tieline/pages.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CACHE_LINE ((size_t)64)
#define HUGE_PAGE ((size_t)2 << 20)

void *tl_pages_zeroed(size_t len) {
  const size_t align = len < HUGE_PAGE ? CACHE_LINE : HUGE_PAGE;
  const size_t whole = (len + align - 1) & ~(align - 1);
  void *p = aligned_alloc(align, whole ? whole : align);
  if (!p) return NULL;
  if (align == HUGE_PAGE) madvise(p, whole, MADV_HUGEPAGE); /* advice only */
  return memset(p, 0, whole);
}
