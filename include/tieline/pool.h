/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools of equal-sized objects for one thread. Memory comes in chunks from the
 * kernel and goes back when a chunk is empty, except for some kept in reserve.
 *
 * Ownership: objects go back to the pool they came from. Threads: one.
 * Errors: NULL when the kernel has no memory or MAX objects are out.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tl_pool_chunk;

struct tl_pool {
  size_t size; /* of an object, a multiple of 64 */
  size_t per_chunk;
  size_t chunk_len; /* a power of two, chunks are aligned to it */
  size_t max, used; /* objects; max 0: no bound */
  size_t keep;      /* empty chunks kept for reuse; 1 unless the owner changes it */
  size_t n_empty;
  bool secret; /* set by the owner at the start: objects hold keys, no core file shows them */
  struct tl_pool_chunk *partial, *full, *empty;
};

/* SIZE bytes per object, at most MAX alive (0: unbounded). */
void tl_pool_init(struct tl_pool *p, size_t size, size_t max);
/* All objects must be back. */
void tl_pool_destroy(struct tl_pool *p);
void *tl_pool_get(struct tl_pool *p); /* not cleared */
void tl_pool_put(struct tl_pool *p, void *obj);
/* Touches the memory of N free objects once, so that no page faults come later. */
void tl_pool_touch(struct tl_pool *p, uint32_t n);
