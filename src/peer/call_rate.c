/* SPDX-License-Identifier: Apache-2.0 */
/* The bucket of new calls, see call_rate.h. */
#include "tieline/call_rate.h"

#define TICKS_PER_NS 16u /* a step of 100 ns, at the highest rate, is exact to 1/1600 */
#define TICKS_PER_S (1000000000ull * TICKS_PER_NS)

/* Under a lower burst or a higher rate than at the last call the bucket would be emptier than
 * empty. A second is let pass for: another thread may have read the clock later than this one. */
static uint64_t fill_up(uint64_t full_at, uint64_t now, uint64_t empty) {
  if (full_at < now) return now;
  return full_at > empty + TICKS_PER_S ? empty + TICKS_PER_S : full_at;
}

bool tl_call_rate_take(struct tl_call_rate *r, uint32_t per_s, uint32_t burst, uint64_t now_ns) {
  const uint64_t now = now_ns * TICKS_PER_NS;
  const uint64_t step = (TICKS_PER_S + per_s - 1) / per_s; /* rounded up: never more than PER_S */
  const uint64_t empty = now + burst * step;
  uint64_t was = atomic_load_explicit(&r->full_at, memory_order_relaxed), next;
  bool taken;
  do {
    const uint64_t at = fill_up(was, now, empty);
    taken = at + step <= empty;
    next = taken ? at + step : at;
    if (!taken && next == was) return false;
  } while (!atomic_compare_exchange_weak_explicit(&r->full_at, &was, next, memory_order_relaxed,
                                                  memory_order_relaxed));
  return taken;
}
