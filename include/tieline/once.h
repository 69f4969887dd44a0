/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process makes once, when it is first needed: pthread_once for things
 * that can fail. A failure is not remembered, so that a moment without memory
 * does not cost the thing for as long as the process lives.
 *
 * Ownership: what is made is the caller's. Threads: any; who comes while it is
 * made waits. Errors: see tl_once.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct tl_once {
  _Atomic bool made;
  pthread_mutex_t mu; /* held while it is made */
};

#define TL_ONCE_INIT                                                                               \
  { .mu = PTHREAD_MUTEX_INITIALIZER }

/* Calls MAKE unless an earlier call of it has succeeded. False: it has failed, and the next call
 * tries again. What MAKE wrote is seen by every thread for which this is true. */
bool tl_once(struct tl_once *o, bool (*make)(void));
