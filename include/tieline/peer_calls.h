/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many calls there are toward each peer that has max_calls, in the whole
 * process.
 *
 * Ownership: one struct tl_calls in the runtime. Its records are found by the
 * peer's name and live until tl_calls_free, so neither a reload nor a peer that
 * is gone and comes back forgets a call. Threads: any; nothing waits. Errors:
 * NULL when memory is short.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct tl_calls;

struct tl_peer_calls {
  struct tl_peer_calls *next;
  struct tl_calls *all;     /* the table it is in */
  _Atomic uint32_t now;     /* calls, those still being set up among them */
  _Atomic uint64_t refused; /* because there were max_calls */
  _Atomic uint64_t expired; /* that no BYE had ended within call_max */
  char name[];
};

struct tl_calls {
  _Atomic(struct tl_peer_calls *) peers;
  _Atomic uint32_t open; /* of all peers */
};

/* The record of the peer called NAME; NULL if there is none yet. */
struct tl_peer_calls *tl_calls_find(const struct tl_calls *c, const char *name);
/* The same; makes it. */
struct tl_peer_calls *tl_calls_of(struct tl_calls *c, const char *name);

/* One more in *COUNT unless there are MAX. */
bool tl_calls_take(_Atomic uint32_t *count, uint32_t max);
void tl_calls_give(_Atomic uint32_t *count);

/* Nobody uses it any more. */
void tl_calls_free(struct tl_calls *c);
