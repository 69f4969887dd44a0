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
struct tl_req;
struct tl_stage;
struct tl_txn;
struct tl_waiter;

struct tl_wait {
  struct tl_txn *txn;
  const struct tl_waiter *waiter;
  const struct tl_stage *stage;
  struct tl_timer timer;
  uint32_t slot, gen;
  bool in_dialog; /* or our own */
  bool has_source;
  struct tl_source source;       /* as it was: of the transaction's view */
  struct tl_passed_on passed_on; /* and the sender's connection */
};

/* REQ's, which has its transaction, but not yet what follows from that; its generation is new. */
struct tl_wait *tl_wait_new(const struct tl_req *req);
uint64_t tl_wait_cookie(const struct tl_wait *w);
/* NULL: COOKIE's wait is over. */
struct tl_wait *tl_wait_find(const struct tl_proxy *p, uint64_t cookie);
/* W's transaction waits no more. W may be NULL. */
void tl_wait_end(struct tl_wait *w);
/* May REQ wait, too? If not that is counted. One inside a dialog, or of our own, has a reserve; a
 * sender that is not a peer has its part of the room, and another for what is inside dialogs. */
bool tl_wait_room(const struct tl_req *req);

int tl_wait_init(struct tl_proxy *p);
/* No transaction is left. */
void tl_wait_exit(struct tl_proxy *p);
