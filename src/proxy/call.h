/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls toward peers that have max_calls: a slot at the peer from the INVITE on, a
 * call from its 2xx to the end of the dialog's BYE. How it works stands in call.c.
 *
 * Ownership: slots belong to the branch that took them; calls to the table of the worker
 * that keeps them. Threads: the worker's own; the numbers are shared by all workers
 * (peer_calls.h). Errors: TL_ELIMIT: the peer is full, or no more can be counted.
 */
#pragma once

#include <urcu/list.h>

#include "tieline/hash_table.h"
#include "tieline/net.h"

struct tl_proxy;
struct tl_peer_share;
struct tl_call_slot;

/* Calls that one worker keeps until their BYE, oldest first. */
struct tl_call_table {
  struct tl_proxy *proxy;
  struct tl_hash_table by_key;
  struct cds_list_head by_age; /* the oldest first */
  struct tl_timer timer;
};

/* One more call toward the peer of SHARE, which may have MAX. */
int tl_call_take(struct tl_proxy *p, struct tl_peer_share *share, uint32_t max,
                 struct tl_call_slot **out);
/* SLOT (may be NULL) belongs to a branch that is given up: it takes no room at its peer from here
 * on, but a late 2xx still makes it a call. */
void tl_call_give_up(struct tl_proxy *p, struct tl_call_slot *slot);
/* SLOT (may be NULL) belongs to a branch that has ended. */
void tl_call_drop(struct tl_proxy *p, struct tl_call_slot *slot);
/* M is a 2xx to the branch that has SLOT: its dialog is a call from now on, unless it already is.
 * Before M is forwarded. */
void tl_call_answered(struct tl_proxy *p, struct tl_call_slot *slot, const struct tl_msg *m);
/* The key of the call that M ends; 0: M is not a BYE, or no call is counted. */
uint64_t tl_call_of(struct tl_proxy *p, const struct tl_msg *m);
/* The call with KEY (0: none) is over. */
void tl_call_ended(struct tl_proxy *p, uint64_t key);
/* Its BYE was answered with STATUS. */
void tl_call_answer(struct tl_proxy *p, uint64_t key, unsigned status);
void tl_call_exit(struct tl_proxy *p);
