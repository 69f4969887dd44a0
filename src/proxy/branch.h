/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Branches: the client transactions of a forwarded request (RFC 3261 17.1). branch.c
 * has their life, branch_lost.c those that outlive their connection.
 *
 * Ownership: a branch belongs to its transaction. Threads: the worker's own.
 * Errors: codes of err.h.
 */
#pragma once

#include <urcu/list.h>

#include "plan.h"
#include "tieline/net.h"
#include "tieline/pool.h"
#include "tieline/slots.h"

struct tl_proxy;
struct tl_txn;
struct tl_saved;
struct tl_peer_share;
struct tl_call_slot;
struct tl_identity;
struct tl_late;
struct tl_origin;

enum tl_branch_state {
  TL_BR_CALLING,    /* sent, nothing heard (Trying for other methods) */
  TL_BR_PROCEEDING, /* 1xx heard */
  TL_BR_COMPLETED,  /* final heard, Timer D or K */
  TL_BR_ACCEPTED,   /* 2xx to INVITE heard, Timer M */
  TL_BR_GIVEN_UP, /* an INVITE that is awaited no more but may still be answered, see given_up.h */
};
/*
 *   CALLING -> PROCEEDING -> COMPLETED -> freed
 *         \          \-----> ACCEPTED --> freed
 *          \          \----> GIVEN_UP --> freed, or COMPLETED or ACCEPTED by a late answer
 *           \--- (any of them, without a provisional response)
 */

struct tl_branch {
  struct tl_branch *next;                   /* of the transaction */
  struct tl_branch *conn_next, **conn_link; /* of the connection it was sent on */
  struct tl_txn *txn;
  struct tl_peer_share *peer_share; /* counted there until answered, NULL: toward no peer */
  struct tl_call_slot *call_slot;   /* of a new call, at a peer with max_calls; else NULL */
  uint32_t slot, gen;
  uint8_t state;
  bool invite : 1, reliable : 1, cancel_sent : 1, cancel_wanted : 1,
      rings : 1,   /* more than a 100 has come */
      bounded : 1, /* PROCEEDING: TIMER is the peer's ring_timeout or the route's setup_timeout */
      lost : 1;    /* its connection has ended while an answer may still come, see branch_lost.c */
  struct tl_flow flow;
  struct tl_target target; /* where that leads or may lead again; no family: not known */
  struct tl_identity *was; /* lost: whose certificate was verified there; a reference or NULL */
  uint64_t sent_by;        /* tl_token_sent_by of our Via */
  uint64_t peer;           /* toward which peer, 0: none */
  struct tl_timer timer;   /* B, C, D, F, K, M, or what a peer may take for less */
  struct tl_timer retrans; /* A, E */
  uint32_t retrans_ms;
  uint32_t more_ms;      /* CALLING: TIMER is the peer's answer_timeout, and B or F so much later */
  struct tl_saved *sent; /* as forwarded: INVITE always, others on unreliable transports */
  struct tl_saved *cancel; /* repeated until it is answered, unreliable transports only */
  struct cds_list_head given_up_node; /* GIVEN_UP: of the worker's */
  uint64_t given_up_ms;
  struct tl_late *late; /* what late answers have opened, see late.h; NULL: nothing */
};

#define TL_REMOTE_BUCKETS 1024u
/* All of one worker. */
struct tl_branches {
  struct tl_slots slots;
  struct tl_pool pool;
  struct tl_branch *remote[TL_REMOTE_BUCKETS]; /* out on connections of other workers */
  struct cds_list_head given_up;               /* the oldest first */
  uint32_t n_given_up;
};

int tl_branch_init(struct tl_proxy *p);
void tl_branch_exit(struct tl_proxy *p);
struct tl_branch *tl_branch_new(struct tl_txn *txn);
struct tl_branch *tl_branch_find(struct tl_proxy *p, uint32_t slot, uint32_t gen);
void tl_branch_free(struct tl_branch *b);
/* Reads the request as it was forwarded on B. TL_ENOTFOUND: it was not kept. */
int tl_branch_sent(const struct tl_branch *b, struct tl_msg *out);
/* C NULL: to the connection of another worker that B's flow names. */
void tl_branch_attach(struct tl_branch *b, struct tl_conn *c);
void tl_branch_detach(struct tl_branch *b);
/* The list with the branches that were sent on connection ID of another worker. */
struct tl_branch **tl_branch_remote(struct tl_proxy *p, tl_conn_id id);

/* May what comes from FROM answer B? Only from where B was sent to: on its connection; for
 * datagrams at that address, or another one of the same peer. */
bool tl_branch_is_from_flow(struct tl_proxy *p, const struct tl_branch *b,
                            const struct tl_flow *from);

/* ---- branch_lost.c: INVITEs that outlive their connection ---- */

/* B's connection, at WAS, has ended for RC; IDENTITY: its peer's, if verified. B waits on when the
 * callee rings, else it fails; WAS has no number when nothing was ever sent there. */
void tl_branch_lost(struct tl_branch *b, const struct tl_flow *was, struct tl_identity *identity,
                    int rc);
/* Is the sender, on another connection than B's, proven to be the party that B was sent to,
 * or, when that connection is gone and had no verified certificate, at the same address? */
bool tl_branch_is_same_party(struct tl_proxy *p, const struct tl_branch *b,
                             const struct tl_origin *origin);
/* That party's connection is FROM from now on. */
void tl_branch_moved(struct tl_branch *b, const struct tl_flow *from);
/* Sends CANCEL or ACK, on a new connection when the old one is gone. */
int tl_branch_send(struct tl_branch *b, const void *data, size_t n);
