/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls toward a peer that has max_calls, in the whole process.
 *
 * Ownership: a part of the peer's state, which every call holds. Threads: any;
 * nothing waits. Errors: none.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct tl_peer_calls {
  _Atomic uint32_t now;     /* calls, those still being set up among them */
  _Atomic uint64_t refused; /* because there were max_calls */
  _Atomic uint64_t expired; /* that no BYE had ended within call_max */
};

/* One more in *COUNT unless there are MAX. */
static inline bool tl_calls_take(_Atomic uint32_t *count, uint32_t max) {
  uint32_t n = atomic_load_explicit(count, memory_order_relaxed);
  while (n < max)
    if (atomic_compare_exchange_weak_explicit(count, &n, n + 1, memory_order_relaxed,
                                              memory_order_relaxed))
      return true;
  return false;
}

static inline void tl_calls_give(_Atomic uint32_t *count) {
  atomic_fetch_sub_explicit(count, 1, memory_order_relaxed);
}
