/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Warnings of what expires soon. What control shows of it is in tieline/trust.h.
 *
 * Ownership: struct tl_expiry is the caller's. Threads: the control thread's.
 * Errors: NULL: memory is short; without memory a warning may be missing.
 */
#pragma once

#include "tieline/trust.h"

/* L knows the chains of peers. */
struct tl_expiry *tl_expiry_new(struct tl_runtime *rt, const struct tl_ledger *l);
void tl_expiry_free(struct tl_expiry *e); /* NULL is fine */
/* Logs what expires soon, once a minute; returns when to call again. */
uint64_t tl_expiry_turn(struct tl_expiry *e, uint64_t now_ms);
/* The lists have changed: the next turn looks at all dates. */
void tl_expiry_again(struct tl_expiry *e);
