/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions (RFC 3261 16, 17.2; RFC 6026). A request forwarded statefully is a
 * struct tl_txn: server transaction and response context in one. Each copy that was sent out
 * is a struct tl_branch (branch.h), the client transaction. Usually there is one at a time; a
 * route that forks in parallel has one for each target.
 *
 * Ownership: the worker's tables own them; a timer or the final response ends them.
 * Threads: the worker's own. Errors: codes of err.h; a client is told by a response.
 */
#pragma once

#include <urcu/list.h>

#include "source.h"
#include "tieline/net.h"
#include "tieline/pool.h"

struct tl_proxy;
struct tl_txn;
struct tl_branch;
struct tl_plan;
struct tl_saved;
struct tl_view;
struct tl_req;

enum tl_txn_state {
  TL_TXN_WAITING,    /* a stage needs an answer before it goes on, see wait.h */
  TL_TXN_PROCEEDING, /* forwarded, no final response yet */
  TL_TXN_COMPLETED,  /* final response sent; INVITE: waiting for the ACK (Timer H), else Timer J */
  TL_TXN_CONFIRMED,  /* ACK came, Timer I */
  TL_TXN_ACCEPTED,   /* 2xx to INVITE sent, Timer L (RFC 6026) */
};
/*
 *   WAITING -> PROCEEDING -> COMPLETED -> CONFIRMED -> freed
 *                   \------> ACCEPTED ------------> freed
 */

/* The user of a transaction of our own, which has no client to respond to. */
struct tl_txn_user {
  /* It ended with STATUS, BY_US: nobody answered. It is a transaction without a user from here on.
   */
  void (*ended)(struct tl_txn *txn, unsigned status, bool by_us);
  /* It ends and nothing is known by it. */
  void (*gone)(struct tl_txn *txn);
};

struct tl_txn {
  struct cds_list_head completed_node; /* of one of the two lists, see struct tl_completed */
  uint64_t key;                        /* keyed hash of branch, sent-by and method (17.2.3) */
  uint64_t loop;                       /* tl_token_loop of the request */
  uint64_t sender;                     /* tl_source_sender of it */
  struct tl_proxy *proxy;
  uint8_t state, method;
  uint8_t completed; /* in which list, counted from 1; 0: in none */
  bool invite : 1, reliable : 1, cancelled : 1, counted : 1, sent_100 : 1, failed : 1,
      overload : 1,     /* a peer had its share already */
      stranger : 1,     /* a datagram not from a peer: its source may be forged */
      in_dialog : 1,    /* admitted by our token, or our own: it may use the reserve */
      ack : 1,          /* a parked ACK for a 2xx, not really a transaction */
      hunt_ends : 1,    /* a target has answered what ends the hunt, see tl_hunt_ended */
      rang : 1;         /* INVITE: a target has sent a provisional response other than 100 */
  uint16_t via_port;    /* sent-by port of the top Via, 0: none */
  uint16_t status;      /* last response sent */
  uint16_t best_status; /* of the final responses so far, 0: none (16.7 step 6) */
  struct tl_flow from;
  struct tl_flow to; /* last sent or answered; no family: nowhere */
  uint64_t born_ms;
  uint64_t call;           /* a BYE's: the call that it ends, see tl_call_of; 0: none is counted */
  tl_conn_id counted_conn; /* the connection whose n_open_requests counts it, 0: none */
  struct tl_timer timer;   /* 100, H, I, J, L, or a failure to act on */
  struct tl_timer retrans; /* G; retransmissions of a 2xx are not ours */
  uint32_t retrans_ms;
  uint32_t got_len, sent_len;  /* of STRANGER: bytes of its requests, and of our answers to them */
  uint16_t share;              /* of shares[], TL_SENDER_SHARES: none */
  uint8_t n_ack;               /* ACKs for the 2xx that bore the INVITE's branch */
  struct tl_saved *request;    /* as received, until a final response */
  struct tl_saved *reply;      /* last response, unreliable transports only */
  struct tl_saved *best;       /* the response of best_status, with our Via; NULL: made here */
  struct tl_saved *challenges; /* header lines of all 401 and 407 (16.7 step 7) */
  struct tl_view *view;
  struct tl_plan *plan; /* until a final response */
  struct tl_branch *branches;
  struct tl_wait *wait;           /* WAITING, else NULL */
  const struct tl_txn_user *user; /* NULL: it is somebody's request */
  void *user_data;
};

/* Transactions that have their final response, oldest first: they leave early when they are many.
 */
struct tl_completed {
  struct cds_list_head txns;
  uint32_t n;
};

/* An INVITE that was refused and whose transaction has ended: further ACKs for it go nowhere. */
struct tl_past {
  uint64_t key, at_ms; /* 0: free */
};
#define TL_PAST_SLOTS 1024u
#define TL_TXN_PREPARED 8192u /* transactions and branches whose memory is touched at start */

/* Transactions by key. The keys stand by themselves, so that a look-up that finds nothing, which is
 * the common one, touches nothing else. */
struct tl_txn_table {
  uint64_t *key; /* 0: the slot is free */
  struct tl_txn **txn;
  uint32_t mask, used;
};

/* All of one worker. */
struct tl_txns {
  struct tl_txn_table table;
  uint32_t n, max;                  /* without a final response */
  struct tl_completed completed[2]; /* accepted between reliable hops; all others */
  struct tl_pool pool;
  uint32_t shares[TL_SENDER_SHARES]; /* of n, by sender: sources that are not peers, hashed */
  struct tl_past past[TL_PAST_SLOTS];
};

int tl_txn_init(struct tl_proxy *p);
void tl_txn_exit(struct tl_proxy *p);
struct tl_txn *tl_txn_find(struct tl_proxy *p, uint64_t key);
/* May another worker have an INVITE with KEY? False: none has. */
bool tl_txn_elsewhere(const struct tl_proxy *p, uint64_t key);
/* For the request, under its key. NULL when the table is full or memory is short. */
struct tl_txn *tl_txn_new(const struct tl_req *req);
void tl_txn_free(struct tl_txn *txn);
/* Is M the ACK of an INVITE with KEY that was refused and whose transaction has ended? */
bool tl_txn_is_past(struct tl_proxy *p, const struct tl_msg *m, uint64_t key);
/* May a request of BYTES start a transaction? One inside a dialog has a reserve, which the others
 * leave. */
bool tl_txn_room(const struct tl_proxy *p, bool in_dialog, size_t bytes);
/* Has the sender, if it is not a peer, as many as it may while others need them? */
bool tl_txn_has_its_share(const struct tl_req *req);
/* Is a branch left that may still answer? */
bool tl_txn_is_pending(const struct tl_txn *txn);
/* A final response has been sent: what the transaction still needs, and for how long. */
void tl_txn_finished(struct tl_txn *txn, unsigned status);
/* It ends without a response to its client (RFC 4320 4.2). */
void tl_txn_abandon(struct tl_txn *txn);
void tl_txn_confirmed(struct tl_txn *txn);
/* A branch of it has had its time: TXN, which may have waited for nothing else, is gone then. */
void tl_txn_branch_left(struct tl_txn *txn);
/* If TXN has a user, tells it the end. */
void tl_txn_user_ended(struct tl_txn *txn, unsigned status, bool by_us);

/* txn_table.c: open addressing, at most half full; keys are keyed hashes already. */
/* Adds TXN under its key, which is not 0 and may be there already. TL_ENOMEM: no room could be
 * made. */
int tl_txn_table_add(struct tl_txn_table *t, struct tl_txn *txn);
/* Takes TXN, which is in there, out. */
void tl_txn_table_remove(struct tl_txn_table *t, const struct tl_txn *txn);
/* Forgets all of it; the transactions are the caller's. */
void tl_txn_table_free(struct tl_txn_table *t);
/* KEY will be looked for soon: memory may begin to bring what that needs. */
void tl_txn_table_fetch(const struct tl_txn_table *t, uint64_t key);
/* Of several that have KEY the one that was added first, NULL: none. */
struct tl_txn *tl_txn_table_find(const struct tl_txn_table *t, uint64_t key);
