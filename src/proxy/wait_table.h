/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transactions of a worker that wait for an answer (wait.h).
 *
 * Ownership: an entry belongs to its transaction, which ends it when it ends itself; the
 * reference to the sender's identity is the entry's. Threads: the worker's own. Errors: NULL:
 * memory is short.
 */
#pragma once

#include "source.h"
#include "tieline/wheel.h"

struct tl_proxy;
struct tl_stage;
struct tl_txn;
struct tl_waiter;

struct tl_wait {
  struct tl_txn *txn;
  const struct tl_waiter *waiter;
  const struct tl_stage *stage;
  struct tl_timer timer;
  uint32_t slot, gen;
  bool has_source;
  struct tl_source source;   /* as it was: of the transaction's view */
  struct tl_relayed relayed; /* and the sender's connection */
};

/* Without its transaction and all that follows from it; its generation is new. */
struct tl_wait *tl_wait_new(struct tl_proxy *p);
uint64_t tl_wait_cookie(const struct tl_wait *w);
/* NULL: COOKIE's wait is over. */
struct tl_wait *tl_wait_find(const struct tl_proxy *p, uint64_t cookie);
/* W's transaction waits no more. W may be NULL. */
void tl_wait_end(struct tl_wait *w);
/* May one more wait? If not that is counted. */
bool tl_wait_room(struct tl_proxy *p);

int tl_wait_init(struct tl_proxy *p);
/* No transaction is left. */
void tl_wait_exit(struct tl_proxy *p);
