/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker threads: each runs one io_uring loop with its connections and
 * transactions.
 *
 * Ownership: the runtime's. Threads: the control thread's. Errors: with a sentence
 * in ERR that names the listener.
 */
#pragma once

#include "tieline/runtime.h"

/* Returns once the thread runs and its listeners are bound, or with the error. */
int tl_worker_start(struct tl_runtime *rt, unsigned index, char *err, size_t cap);
/* Stops and joins it; its mail is dropped. The mailbox stays, for threads that still run. */
void tl_worker_stop(struct tl_runtime *rt, unsigned index);
/* Has the worker no transaction and no unsent byte left, after tl_thread_drain? */
bool tl_worker_drained(const struct tl_runtime *rt, unsigned index);
