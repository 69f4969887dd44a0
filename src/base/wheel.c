/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hierarchical timing wheel: four levels of 256 slots, 4 ms a tick (about 200
 * days). A timer sits in the level whose span covers its delay and moves down a
 * level when the hand reaches its slot.
 *
 * A slot's list has a head of one pointer, not the two of liburcu's lists, so that the
 * slots that every turn reads take half of the cache, and zeros are an empty wheel.
 */
#include "tieline/wheel.h"

#include <string.h>

#define SLOTS (1u << TL_WHEEL_BITS)
#define MASK (SLOTS - 1)

void tl_wheel_init(struct tl_wheel *w, uint64_t now_ms) {
  memset(w, 0, sizeof(*w));
  w->now = now_ms / TL_WHEEL_TICK_MS;
}

static void place_timer(struct tl_wheel *w, struct tl_timer *t) {
  uint64_t left = t->due - w->now;
  unsigned level = 0;
  while (level < TL_WHEEL_LEVELS - 1 && left >= (1ull << (TL_WHEEL_BITS * (level + 1)))) level++;
  struct tl_timer **slot = &w->slot[level][(t->due >> (TL_WHEEL_BITS * level)) & MASK];
  t->next = *slot;
  t->link = slot;
  if (t->next) t->next->link = &t->next;
  *slot = t;
}

static void unlink_timer(struct tl_timer *t) {
  *t->link = t->next;
  if (t->next) t->next->link = t->link;
  t->link = NULL;
}

void tl_timer_start(struct tl_wheel *w, struct tl_timer *t, uint32_t delay_ms) {
  if (t->link)
    unlink_timer(t);
  else
    w->running++;
  /* All but a millisecond of the current tick may be over; the quotient is rounded up. */
  t->due = w->now + ((uint64_t)delay_ms + 2 * (TL_WHEEL_TICK_MS - 1)) / TL_WHEEL_TICK_MS;
  place_timer(w, t);
}

void tl_timer_stop(struct tl_wheel *w, struct tl_timer *t) {
  if (!t->link) return;
  unlink_timer(t);
  w->running--;
}

static void cascade_level(struct tl_wheel *w, unsigned level) {
  struct tl_timer **slot = &w->slot[level][(w->now >> (TL_WHEEL_BITS * level)) & MASK];
  struct tl_timer *t = *slot;
  *slot = NULL;
  while (t) {
    struct tl_timer *next = t->next;
    place_timer(w, t);
    t = next;
  }
}

static void advance_tick(struct tl_wheel *w, void *arg) {
  w->now++;
  for (unsigned level = 1; level < TL_WHEEL_LEVELS; level++) {
    if (w->now & ((1ull << (TL_WHEEL_BITS * level)) - 1)) break;
    cascade_level(w, level);
  }
  struct tl_timer **slot = &w->slot[0][w->now & MASK];
  while (*slot) {
    struct tl_timer *t = *slot;
    unlink_timer(t);
    w->running--;
    t->fn(t, arg);
  }
}

void tl_wheel_advance(struct tl_wheel *w, uint64_t now_ms, void *arg) {
  uint64_t target = now_ms / TL_WHEEL_TICK_MS;
  while (w->now < target) {
    if (w->running == 0) {
      w->now = target;
      return;
    }
    advance_tick(w, arg);
  }
}

/* Are this slot and the three after it? */
static bool are_empty(struct tl_timer *const *slot) {
  return !((uintptr_t)slot[0] | (uintptr_t)slot[1] | (uintptr_t)slot[2] | (uintptr_t)slot[3]);
}

uint32_t tl_wheel_next_ms(const struct tl_wheel *w, uint32_t max_ms) {
  if (w->running == 0) return max_ms;
  uint32_t max_ticks = max_ms / TL_WHEEL_TICK_MS;
  /* The next cascade may bring timers down, so never sleep past it. */
  uint32_t to_cascade = SLOTS - (uint32_t)(w->now & MASK);
  if (max_ticks > to_cascade) max_ticks = to_cascade;
  struct tl_timer *const *at = &w->slot[0][w->now & MASK];
  uint32_t i = 1;
  /* Up to the cascade the slots follow each other. Most are empty, and every turn asks. */
  while (i + 4 <= max_ticks && are_empty(at + i)) i += 4;
  while (i < max_ticks && !at[i]) i++;
  return i * TL_WHEEL_TICK_MS;
}
