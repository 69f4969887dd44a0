/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handshake threads: they accept and dial TLS connections for the workers, do the
 * handshake and hand over what comes of it. They and the workers know each other by
 * mail only.
 *
 * Ownership: the runtime's table of threads. Threads: main's. Errors: as said.
 */
#pragma once

#include "tieline/runtime.h"

/* Returns once its thread runs and its listeners are bound, or with the error, which names the
 * listener in ERR. */
int tl_handshaker_start(struct tl_runtime *rt, unsigned index, char *err, size_t cap);
/* Stops and joins it; its mail is dropped. */
void tl_handshaker_stop(struct tl_runtime *rt, unsigned index);
