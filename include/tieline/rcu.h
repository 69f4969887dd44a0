/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Read-copy-update, liburcu's flavour that orders by membarrier(2): a reader pays
 * nothing, and who has published something new waits until nobody can still read
 * what was there. ThreadSanitizer does not see membarrier, so in its builds the
 * same order is told to it here.
 *
 * Ownership: nothing is allocated that a caller could own. Threads: each that reads
 * or waits begins and ends once. Errors: none.
 */
#pragma once

#include <stdint.h>
#include <urcu/urcu-memb.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#include <sanitizer/tsan_interface.h>
/* Any address that all know. */
#define TL_RCU_OF_ALL ((void *)(uintptr_t)urcu_memb_synchronize_rcu)
#define TL_RCU_ACQUIRE() __tsan_acquire(TL_RCU_OF_ALL)
#define TL_RCU_RELEASE() __tsan_release(TL_RCU_OF_ALL)
#else
#define TL_RCU_ACQUIRE() ((void)0)
#define TL_RCU_RELEASE() ((void)0)
#endif

static inline void tl_rcu_thread_begin(void) { urcu_memb_register_thread(); }
static inline void tl_rcu_thread_end(void) { urcu_memb_unregister_thread(); }

/* Until tl_rcu_read_end what the thread has found published stays. It must not wait in between. */
static inline void tl_rcu_read_begin(void) { urcu_memb_read_lock(); }

static inline void tl_rcu_read_end(void) {
  TL_RCU_RELEASE();
  urcu_memb_read_unlock();
}

/* Returns when every reader that was between begin and end has come to its end. */
static inline void tl_rcu_wait(void) {
  urcu_memb_synchronize_rcu();
  TL_RCU_ACQUIRE();
}
