/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is due when: a heap by time, so that nothing is walked before its time.
 *
 * Ownership: the memory is the heap's. Threads: one. Errors: TL_ENOMEM.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct tl_due {
  uint64_t at_ms, what;
};

/* Empty when cleared. */
struct tl_due_heap {
  struct tl_due *at; /* the soonest first; I is before 2I + 1 and 2I + 2 */
  size_t n, cap;
};

/* Room for N in all. */
int tl_due_reserve(struct tl_due_heap *h, size_t n);
/* There is room. */
void tl_due_push(struct tl_due_heap *h, uint64_t at_ms, uint64_t what);
/* Takes out the soonest, which there is. */
struct tl_due tl_due_pop(struct tl_due_heap *h);
/* When the soonest is due, UINT64_MAX: nothing is. */
static inline uint64_t tl_due_next_ms(const struct tl_due_heap *h) {
  return h->n ? h->at[0].at_ms : UINT64_MAX;
}
void tl_due_free(struct tl_due_heap *h);
