/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A timing wheel: timers of one thread, start and stop in constant time.
 *
 * Ownership: the timer is part of the caller's object and must be stopped before
 * the object goes. Threads: one. Errors: none. A timer never fires early and at
 * most two ticks (TL_WHEEL_TICK_MS) late while its thread runs.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TL_WHEEL_TICK_MS 4
#define TL_WHEEL_BITS 8
#define TL_WHEEL_LEVELS 4

struct tl_timer {
  struct tl_timer *next, **link; /* link == NULL: not running */
  uint64_t due;                  /* in ticks */
  void (*fn)(struct tl_timer *t, void *arg);
};

struct tl_wheel {
  uint64_t now; /* in ticks */
  uint32_t running;
  struct tl_timer *slot[TL_WHEEL_LEVELS][1 << TL_WHEEL_BITS];
};

void tl_wheel_init(struct tl_wheel *w, uint64_t now_ms);
/* Starts or restarts T to fire DELAY_MS after the wheel's current time. */
void tl_timer_start(struct tl_wheel *w, struct tl_timer *t, uint32_t delay_ms);
void tl_timer_stop(struct tl_wheel *w, struct tl_timer *t);
static inline bool tl_timer_running(const struct tl_timer *t) { return t->link != NULL; }
/* Moves time to NOW_MS and fires what is due, with ARG. */
void tl_wheel_advance(struct tl_wheel *w, uint64_t now_ms, void *arg);
/* Milliseconds until something may be due, at most MAX_MS. */
uint32_t tl_wheel_next_ms(const struct tl_wheel *w, uint32_t max_ms);
