/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Start and stop of a worker thread: the network side with the proxy above it.
 *
 * Ownership: the runtime's; counters and mailbox stay when the thread has ended,
 * because other threads may still post. Threads: the control thread calls.
 * Errors: as said at each function.
 */
#pragma once

#include "tieline/runtime.h"

/* Returns once worker INDEX runs and its listeners are bound, or with the error; those of a
 * listener name its address in ERR. */
int tl_worker_start(struct tl_runtime *rt, unsigned index, char *err, size_t cap);
/* Posts TL_MAIL_STOP and joins. */
void tl_worker_stop(struct tl_runtime *rt, unsigned index);
/* True when the worker has no transaction and no unsent byte left (after TL_MAIL_DRAIN). */
bool tl_worker_drained(const struct tl_runtime *rt, unsigned index);
