/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one worker has in progress toward a peer, bounded by max_transactions_peer,
 * max_cps and max_calls.
 *
 * Ownership: the worker's, one for each slot of a peer's state, so that a reload
 * forgets nothing. Threads: the worker's own; calls and their rate are
 * counted for all workers together (call.h, call_rate.h). Errors: TL_EBUSY: the peer has its share.
 */
#pragma once

#include "tieline/scan.h"
#include "tieline/view.h"

struct tl_proxy;
struct tl_probe;
struct tl_call_slot;

struct tl_peer_share {
  struct tl_peer_state *state; /* the peer's */
  uint64_t id;                 /* the peer's */
  uint32_t active;             /* requests waiting for a final response */
  uint64_t logged_ms;          /* of the last log line about its failures, 0: never */
  uint32_t unlogged;           /* failures since then without one */
  struct tl_probe *probe;      /* peer_probe.c */
  uint64_t full_logged_ms;     /* of the last log line that it has its max_calls, 0: never */
};

/* This worker's share of PEER, made when it is first asked for. NULL: PEER is NULL, or memory is
 * short. */
struct tl_peer_share *tl_peer_share_of(struct tl_proxy *p, const struct tl_conf_peer *peer);
void tl_peer_share_exit(struct tl_proxy *p);

struct tl_admission {
  struct tl_peer_share *share;
  struct tl_call_slot *slot; /* the caller's */
};
/* May M go to PEER, whose share is SHARE (NULL: it has none), now? TL_EBUSY: it has its share,
 * whichever of its addresses is tried. */
int tl_peer_share_admit(struct tl_proxy *p, struct tl_peer_share *share,
                        const struct tl_conf_peer *peer, const struct tl_msg *m,
                        struct tl_admission *out);
/* A request is on its way under SHARE (may be NULL). */
void tl_peer_share_enter(struct tl_peer_share *share);
/* It has been answered or has failed: *SHARE (may be NULL) is NULL from here on. */
void tl_peer_share_leave(struct tl_peer_share **share);
/* May a failure toward the peer of SHARE (NULL: no peer) have a line in the log now? One a second
 * may; *OUT_UNLOGGED: the failures before it that had none. */
bool tl_peer_share_may_log(struct tl_proxy *p, struct tl_peer_share *share, uint32_t *out_unlogged);
