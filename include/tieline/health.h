/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Run-time state of a peer: whether it answers probes, and until when it has asked
 * for no requests.
 *
 * Ownership: a part of the peer's state. Threads: written by the worker that probes,
 * the pause by any; read by any (relaxed). Errors: none.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct tl_health {
  _Atomic bool down;               /* several probes in a row failed: routing skips it */
  _Atomic uint32_t failures;       /* in a row */
  _Atomic uint32_t status;         /* of the last answer, 0: none yet */
  _Atomic uint32_t rtt_ms;         /* of the last answer */
  _Atomic uint64_t sent, lost;     /* probes sent, and those that failed */
  _Atomic uint64_t pause_until_ms; /* by tl_now_ms, from Retry-After in a 503; 0: none */
};

/* Nothing is known of it. */
static inline void tl_health_begin(struct tl_health *h) {
  h->down = false;
  h->failures = h->status = h->rtt_ms = 0;
  h->sent = h->lost = h->pause_until_ms = 0;
}

/* Sends it no requests before UNTIL_MS (tl_now_ms). */
static inline void tl_health_pause(struct tl_health *h, uint64_t until_ms) {
  atomic_store_explicit(&h->pause_until_ms, until_ms, memory_order_relaxed);
}
/* How much longer it is paused, 0: it accepts requests. */
static inline uint64_t tl_health_pause_ms(const struct tl_health *h, uint64_t now_ms) {
  uint64_t until = atomic_load_explicit(&h->pause_until_ms, memory_order_relaxed);
  return until > now_ms ? until - now_ms : 0;
}

static inline bool tl_health_is_down(const struct tl_health *h) {
  return atomic_load_explicit(&h->down, memory_order_relaxed);
}
