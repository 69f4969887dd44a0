/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arrays in which each look-up goes to a random place: with small pages it would miss
 * the TLB as well as the cache.
 *
 * Ownership: the caller frees with free(). Threads: any. Errors: NULL: memory is short.
 */
#pragma once

#include <stddef.h>

/* LEN bytes, cleared and aligned to cache lines; on huge pages if it is worth that. */
void *tl_pages_zeroed(size_t len);
