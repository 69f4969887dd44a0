/* SPDX-License-Identifier: Apache-2.0 */
/*
 * References that are counted by several threads, to what a table finds under a lock.
 *
 * Ownership: the count is part of its object. Threads: any. Errors: none.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Gives one reference up, unless it is the last: that goes under the lock of the table, or a
 * look-up could find what is being freed. */
static inline bool tl_refs_drop_unless_last(_Atomic uint32_t *refs) {
  uint32_t n = atomic_load_explicit(refs, memory_order_relaxed);
  while (n > 1)
    if (atomic_compare_exchange_weak_explicit(refs, &n, n - 1, memory_order_acq_rel,
                                              memory_order_relaxed))
      return true;
  return false;
}
