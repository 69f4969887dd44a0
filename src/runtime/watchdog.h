/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds workers that block. In a build with -DTL_WATCHDOG a thread looks at each
 * worker's turn: one that has run or blocked for TL_WATCHDOG_MS without coming
 * round prints its stack on standard error. In any other build nothing of it is
 * left.
 *
 * Time in which the machine gave the processor to others does not count: a
 * worker is judged by its processor time, and by the times at which it was seen
 * asleep within a turn.
 *
 * Ownership: a worker has a slot by its index. Threads: a worker calls these for
 * itself. Errors: none; without memory or a thread nothing is watched.
 */
#pragma once

#define TL_WATCHDOG_MS 50

#ifdef TL_WATCHDOG
/* The calling thread is worker INDEX from now on. */
void tl_watchdog_enter(unsigned index);
/* It ends. */
void tl_watchdog_leave(unsigned index);
/* A turn begins after the wait for events, and ends before the next. */
void tl_watchdog_turn_begin(unsigned index);
void tl_watchdog_turn_end(unsigned index);
#else
static inline void tl_watchdog_enter(unsigned index) { (void)index; }
static inline void tl_watchdog_leave(unsigned index) { (void)index; }
static inline void tl_watchdog_turn_begin(unsigned index) { (void)index; }
static inline void tl_watchdog_turn_end(unsigned index) { (void)index; }
#endif
