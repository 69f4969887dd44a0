/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream connection from inside: what it is made of, who may write what, and which of it survives
 * when it is handed over to another process. Other rooms see tieline/conn.h.
 *
 * Ownership: the worker's; freed by conn.c once CLOSING and no operation is under way. Threads: the
 * worker's own. Errors: none.
 */
#pragma once

#include <urcu/list.h>

#include "tieline/conn.h"
#include "tieline/hash_table.h"
#include "tieline/ktls.h"
#include "tieline/record.h"
#include "tieline/ring.h"
#include "tieline/wheel.h"

struct tl_alias;
struct tl_big; /* a large message being collected */
struct tl_chunk;
struct tl_frame;
struct tl_framer;
struct tl_pending;

/* A TLS connection, one allocation each. */
struct tl_conn_tls {
  struct tl_tls_facts facts; /* the view points to it */
  struct tl_record *record;  /* NULL: the kernel has the keys */
  struct tl_tls_keys *rekey; /* traffic secrets for a KeyUpdate in the kernel, else NULL */
  struct tl_hs *post_hs;     /* waits for a session ticket, NULL: no more */
  struct tl_nondata_state nondata;
  uint64_t key_updates_since_ms; /* their rate is looked at from then on */
  uint32_t key_updates_before;   /* those that came until then */
  uint64_t keys_look_at;         /* records are counted again when so much has passed, see keys.c */
  bool update_request_next;      /* our next KeyUpdate sets update_requested (RFC 8446 4.6.3) */
  bool update_requested;         /* one did, and the peer's has not come yet */
  uint32_t empty_records;        /* received, of data; they count for the age of the key, too */
  uint8_t empty_in_row;
};

/* Bytes on their way out. */
struct tl_out {
  struct tl_chunk *head, *tail;
  uint32_t bytes;      /* not yet taken by the kernel, sealed or not */
  uint32_t n_kernel;   /* chunks that lie in the kernel */
  uint32_t open_rec;   /* plaintext bytes in the record being filled in the tail chunk */
  uint64_t queued_ms;  /* since then it has never been empty; 0: nothing waits */
  uint64_t over_ms;    /* since then it has been over send_buffer, or nearly; 0: it is not */
  uint64_t taken;      /* bytes that the kernel has taken from it */
  uint64_t window_ms;  /* the peer's rate is measured from then on; 0: it is not */
  int64_t window_gone; /* what had reached the peer then */
  uint64_t slow_ms;    /* when that was first found to be too slow, 0: it is not */
};

/* Bytes of an unfinished record or message. */
struct tl_stash {
  uint8_t *p;
  uint32_t n, cap;
};

/*
 * What survives a hand-over to another process, which has the same configuration but neither our
 * memory nor our rings. Handed over is a connection that is OPEN, not doomed and not half-closed,
 * between two sends. Others end where they are.
 *
 *   here                        the descriptor itself; bytes read and not handled, bytes accepted
 *                               and not sent; what was asked for when it was dialed; ages; counts
 *   tls (struct tl_conn_tls)    the domain by its name and digest, certificates as DER, record
 *                               keys and sequence numbers, or the kernel has them with the
 *                               descriptor; the rekeying secrets; counts of KeyUpdates
 *   view                        transport, peer, local, outgoing; the listener by its address
 *   flags marked "kept" below
 *   big                         as bytes of the plain stash
 *
 * What does not: operations and timers, which are begun again; links of lists and tables, which the
 * new process builds; source and transactions, which the proxy works out or hands over itself.
 */
struct tl_conn_kept {
  int fd;
  struct tl_conn_tls *tls;       /* NULL: none, or its handshake is not done */
  struct tl_stash cipher, plain; /* the start of a record, of a message */
  struct tl_stash held;          /* received while paused or past its share of a turn, not looked
                                    at yet */
  uint64_t skip_left;            /* bytes of a refused message still to come */
  struct tl_frame *skipping;     /* the same while its head is longer than we hold, or NULL */
  struct tl_out out;             /* with its chunks flattened */
  char *identity, *sni;          /* outgoing TLS: what the key asked for */
  struct tl_binding *binding;    /* the same */
  uint64_t domain_generation;    /* the same */
  uint64_t born_ms, active_ms;   /* ages: the clocks differ */
  uint32_t max_age_ms;           /* then it retires, 0: never */
  uint64_t msgs_in, msgs_out, bytes_in, bytes_out;
};

/*
 * Flags, grouped by who writes them, and what may be set when:
 *
 *                    DIALING   OPEN                             FINISHING        CLOSING
 *   rx.armed         -         unless one of the next three     reads the end    until it has ended
 *   rx.paused        -         yes                              -                -
 *   rx.parked        -         before anything is read          stays            stays
 *   rx.later         -         to the next turn                 stays            stays
 *   rx.cancelled     -         with armed                       with armed       with armed
 *   view.peer_ended  -         half-closed: answers may leave   yes              yes
 *   view.doomed      -         with tx.broken                   yes              yes
 *   tx.busy          connects  yes                              yes              until it has ended
 *   tx.broken        -         aborts at the end of the turn    the same         stays
 *   tx.no_memory     -         perhaps with tx.broken           the same         stays
 *   tx.notify_sent   -         -                                yes              stays
 *   tx.fin_sent      -         -                                yes              stays
 *   life.hashed      yes       not accepted TLS, half-closed    -                -
 *   life.retired     -         yes; then perhaps life.spared    stays            stays
 *
 * doomed ends reading at once, wherever in a buffer that is; broken waits for the end of the turn,
 * because callers may hold pointers that the end would free. "kept" survives a hand-over.
 */
struct tl_conn_rx {         /* recv.c, stream.c, unfinished.c, park.c */
  bool armed : 1,           /* a receive is in the kernel */
      polled : 1,           /* it is a poll: the bytes are read by relay.c */
      cancelled : 1,        /* and it has been asked to end */
      paused : 1,           /* nothing is read until the peer has read its answers */
      parked : 1,           /* nothing is read until OCSP has answered */
      later : 1,            /* it has had its share of this turn */
      held_end : 1,         /* the end of the stream comes after what is held */
      fin_got : 1,          /* the peer's is in: there is nothing to receive */
      protocol_checked : 1, /* its first bytes look like SIP; kept */
      begun : 1,            /* a part of a message is there, it stands in the order of those */
      another : 1;          /* a message has ended: what follows is another one's; kept */
};

struct tl_conn_tx {    /* send.c, conn.c, slow.c; rekey: keys.c */
  bool busy : 1,       /* a send, a connect or a wait for room is in the kernel */
      broken : 1,      /* half a message is queued: it is aborted at the end of the turn */
      no_memory : 1,   /* for want of it */
      notify_sent : 1, /* our close_notify or last alert is queued */
      fin_sent : 1,    /* and our half is shut */
      rekey : 1,       /* the kernel's sending key must change before the next send */
      zerocopy : 1,    /* its socket knows that bodies in the kernel do not change */
      no_reneg : 1;    /* the kernel is to send a warning no_renegotiation */
  uint8_t alert;       /* finishing, with keys in the kernel: goes out before the end, 0:
                          none */
};

struct tl_conn_life { /* conn.c, accept.c */
  bool marked : 1,    /* it is handled at the end of the turn */
      counted : 1,    /* in the process's connections, and if accepted, its source's */
      hashed : 1,     /* found by its key */
      retired : 1,    /* takes no new requests; kept */
      spared : 1;     /* retired, and kept past its time because a call is being set up */
};

struct tl_conn {
  struct tl_conn_view view; /* first: tieline/conn.h reads it there */
  struct tl_conn_rx rx;
  struct tl_conn_tx tx;
  struct tl_conn_life life;
  struct tl_net *net;
  struct tl_op recv_op, send_op;
  struct tl_timer timer;
  uint32_t slot, gen;
  struct tl_conn_kept kept;

  const struct tl_framer *framer; /* of its transport, see net_internal.h */
  void *framing;                  /* the framer's own, or NULL */

  /* receiving */
  struct tl_conn *later_next; /* of those that go on in the next turn */
  uint64_t spent_turn;        /* the turn that SPENT belongs to */
  uint32_t spent;             /* bytes of it handled in that turn */
  struct tl_big *big;
  uint32_t searched; /* bytes of the plain stash that hold no end of head */
  uint32_t wanted;   /* the message at the start of the plain stash has a head and so many bytes in
                        all; 0: not known yet */
  struct cds_list_head begun_node; /* in the order in which their messages began */
  uint64_t begun_ms;               /* its present message did then */
  uint32_t begun_bytes;            /* counted for it */
  uint64_t stray_ms;               /* when the first of STRAYS came */
  uint32_t strays;                 /* bytes between messages that are no CRLF */

  /* sending */
  struct tl_pending *pend_head, **pend_tail; /* messages waiting for the connection */
  uint32_t n_pend;
  size_t pend_bytes;    /* of those messages */
  uint64_t progress_ms; /* when the kernel last took bytes */
  uint64_t overdue_ms;  /* when its send was first found to take too long, 0: it is not */

  /* its life */
  struct tl_conn *dirty_next;
  struct tl_hash_node by_key; /* of its transport and peer */
  uint64_t picked;            /* order in which several for one key have had their turns */
  struct {
    uint64_t at_ms;       /* not dialed before */
    uint32_t n_failed;    /* dials without success, in a row */
    uint32_t n_open;      /* that were open when the last one was begun */
  } more;                 /* connections beside it, see conn_spread.c */
  struct tl_alias *alias; /* requests for its other end may use it (RFC 5923), or NULL */
  uint32_t n_loose;      /* requests that came on it, answered by no transaction of this worker's */
  uint64_t loose_until;  /* when those are no longer waited for */
  uint64_t half_until;   /* half-closed: it ends then */
  uint64_t retired_ms;   /* when it did */
  uint64_t answered_ms;  /* when a request that came on it last had its final response */
  uint64_t retire_until; /* retired: closed then, idle or not; 0: only when idle */
};

_Static_assert(offsetof(struct tl_conn, view) == 0, "the accessors read it there");
