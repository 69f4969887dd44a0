/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A rate of new calls that all workers share: one bucket, without a lock, so that a
 * trunk which enters on a single worker gets all of it. It is the generic cell rate
 * algorithm (ITU-T I.371): the bucket is one time, the one at which it would be full
 * again.
 *
 * Ownership: a part of the peer's state, which outlives reloads. Threads: any;
 * nothing waits. Errors: none.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct tl_call_rate {
  _Atomic uint64_t full_at; /* CLOCK_MONOTONIC in sixteenths of a nanosecond; 0: it is full */
};

/* One more call now, at NOW_NS (CLOCK_MONOTONIC), if in any time T no more than BURST (from 1) and
 * PER_S (from 1) times T have come. Neither needs to be what it was at the last call. */
bool tl_call_rate_take(struct tl_call_rate *r, uint32_t per_s, uint32_t burst, uint64_t now_ns);
