/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network side of a worker: listeners, connections, datagrams. Bytes come
 * in, framed and scanned messages go up; messages come down and leave in one
 * send per connection and turn of the loop.
 *
 * Ownership: a worker owns everything here. A message passed up lives until the
 * callback returns; a body that must live longer is sent (tl_conn_send_body) or
 * copied. Connections are named by tl_conn_id across turns, by pointer only
 * within one. Threads: the worker's own. Errors: TL_ECLOSED the connection is
 * gone, TL_ELIMIT a bound was reached, TL_ENOMEM.
 */
#pragma once

#include "tieline/addr.h"
#include "tieline/conn_info.h"
#include "tieline/pool.h"
#include "tieline/ring.h"
#include "tieline/runtime.h"
#include "tieline/scan.h"
#include "tieline/slots.h"
#include "tieline/transport.h"
#include "tieline/view.h"
#include "tieline/wheel.h"

struct tl_net;
struct tl_conn;
struct tl_udp;

#define TL_BODY_SEGS 40

/* The body of a received message in pieces; mostly one. */
struct tl_body {
  uint32_t n;   /* pieces */
  uint32_t len; /* bytes in all */
  struct {
    const uint8_t *p;
    uint32_t n;
    int32_t buf; /* receive buffer that holds it, -1: memory valid for this call only */
  } seg[TL_BODY_SEGS];
};

/* Where a message came from or shall go. */
struct tl_flow {
  enum tl_transport transport;
  tl_conn_id conn;     /* streams */
  struct tl_udp *udp;  /* datagrams: the socket; NULL = choose by family */
  struct tl_addr addr; /* the other side */
  bool alias;          /* conn is another worker's, found by tl_alias_elsewhere */
};

/* What the proxy gives the network side. */
struct tl_net_handler {
  /* A good message. C is NULL for a datagram. */
  void (*message)(struct tl_net *net, const struct tl_flow *from, struct tl_conn *c,
                  const struct tl_msg *m, const struct tl_body *body);
  /* Not a message, but a reply can be made: M is usable as tl_scan says. The connection closes
   * after what the proxy sends now has left. */
  void (*bad)(struct tl_net *net, const struct tl_flow *from, struct tl_conn *c,
              const struct tl_msg *m, const struct tl_scan_error *err);
  /* C is going: with RC != 0 what was sent on it may not have arrived. Called once, C still valid.
   */
  void (*closed)(struct tl_net *net, struct tl_conn *c, int rc);
  /* The peer of C sends no more: no answer will come on it, but some may be sent. closed follows.
   * May be NULL. */
  void (*half_closed)(struct tl_net *net, struct tl_conn *c);
  /* Adds to INFO what the proxy knows of C; may be NULL. */
  void (*describe)(struct tl_net *net, struct tl_conn *c, struct tl_conn_info *info);
};

/* Connections to nobody in particular share a key: reuse only for what was verified (FEATURES B13).
 */
struct tl_conn_key {
  enum tl_transport transport;
  struct tl_addr addr;
  struct tl_tls_domain *domain; /* TLS */
  const char *identity;         /* TLS: name the peer must prove, "" = any */
  const char *sni;              /* TLS */
  struct tl_binding *binding;   /* TLS: what its certificate must be besides, NULL: nothing */
  uint32_t max_age_ms;          /* of a connection dialed for it, 0: as its TLS domain says */
};

enum tl_conn_state { TL_CONN_DIALING, TL_CONN_OPEN, TL_CONN_FINISHING, TL_CONN_CLOSING };
/*
 *   DIALING --> OPEN --> FINISHING (send what is left, then close) --> CLOSING --> freed
 *      \__________\___________________________________________________/
 */

#define TL_TLS_INFO_SNI 64

/* Facts about a TLS connection, one allocation each. */
struct tl_conn_tls {
  struct tl_record *record;     /* NULL: the kernel has the keys */
  struct tl_tls_domain *domain; /* a reference */
  struct tl_identity *identity; /* a reference or NULL */
  struct tl_identity *own;      /* the certificate we showed: a reference or NULL */
  struct tl_tls_keys *rekey;
  struct tl_hs *post_hs; /* waits for a session ticket, NULL: no more */
  char *sni;
  struct tl_nondata_state nondata;
  uint64_t key_updates_since_ms; /* their rate is looked at from then on */
  uint32_t key_updates_before;   /* those that came until then */
  uint64_t keys_look_at;         /* records are counted again when so much has passed, see keys.c */
  bool update_request_next;      /* our next KeyUpdate sets update_requested (RFC 8446 4.6.3) */
  bool update_requested;         /* one did, and the peer's has not come yet */
  uint32_t empty_records;        /* received, of data; they count for the age of the key, too */
  uint8_t empty_in_row;
  struct tl_ktls_state ktls;
  uint16_t version;
  uint8_t cipher;
  bool peer_verified, resumed, server;
};

struct tl_chunk;
struct tl_audit;

/* Bytes on their way out. */
struct tl_out {
  struct tl_chunk *head, *tail;
  uint32_t bytes;      /* not yet taken by the kernel, sealed or not */
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

struct tl_big; /* a large message being collected */

struct tl_conn {
  struct tl_op recv_op, send_op;
  struct tl_net *net;
  struct tl_timer timer;
  uint32_t slot, gen;
  int fd;
  uint8_t transport; /* enum tl_transport */
  uint8_t state;     /* enum tl_conn_state */
  uint8_t alert;     /* finishing, with keys in the kernel: goes out before the end, 0: none */
  bool outgoing : 1, recv_armed : 1, send_busy : 1, dirty : 1, paused : 1, protocol_checked : 1,
      notify_sent : 1, notify_got : 1, counted : 1, hashed : 1, cancelled : 1, doomed : 1,
      alias_checked : 1,         /* its peer has asked for an alias (RFC 5923) */
      shared : 1,                /* other workers have sent requests on it */
      retired : 1,               /* takes no new requests */
      fin_sent : 1, fin_got : 1, /* the peer's is in: there is nothing to receive */
      broken : 1,   /* half a message is queued: it is aborted at the end of the turn */
      held_end : 1, /* the end of the stream comes behind what is held */
      parked : 1,   /* nothing is read until OCSP has answered */
      later : 1,    /* it has had its share of this turn */
      spared : 1,   /* retired, and kept past its time because a call is being set up */
      rekey_tx : 1, /* the kernel's sending key must change before the next send */
      begun : 1,    /* a part of a message is there, it stands in the order of those */
      another : 1,  /* a message has ended: what follows is another one's */
      no_reneg : 1; /* the kernel is to send a warning no_renegotiation */
  int listener;     /* accepted: index in the view it came with */
  struct tl_addr peer, local;
  struct tl_conn_tls *tls;
  struct tl_stash cipher, plain;
  struct tl_stash held; /* received while paused or past its share of a turn, not looked at yet */
  struct tl_conn *later_next; /* of those that go on in the next turn */
  uint64_t spent_turn;        /* the turn that SPENT belongs to */
  uint32_t spent;             /* bytes of it handled in that turn */
  struct tl_big *big;
  uint32_t searched;  /* bytes of the plain stash that hold no end of head */
  uint32_t wanted;    /* the message at the start of the plain stash has a head and so many bytes in
                         all; 0: not known yet */
  uint64_t skip_left; /* bytes of a refused message still to come */
  struct tl_conn *begun_next, *begun_prev; /* in the order in which their messages began */
  uint64_t begun_ms;                       /* its present message did then */
  uint32_t begun_bytes;                    /* counted for it */
  struct tl_frame *skipping; /* the same while its head is longer than we hold, or NULL */
  uint64_t stray_ms;         /* when the first of STRAYS came */
  uint32_t strays;           /* bytes between messages that are no CRLF */
  struct tl_out out;
  struct tl_conn *dirty_next;
  struct tl_conn *hash_next;
  uint64_t key_hash;
  char *identity, *sni; /* outgoing TLS: what the key asked for */
  struct tl_binding *binding;
  struct tl_alias *alias; /* requests for its other end may use it (RFC 5923), or NULL */
  uint64_t domain_generation;
  struct tl_pending *pend_head, **pend_tail; /* messages waiting for the connection */
  uint32_t n_pend;
  size_t pend_bytes;    /* of those messages */
  uint32_t n_loose;     /* others that came on it, answered by no transaction of this worker's */
  uint64_t loose_until; /* when those are no longer waited for */
  uint64_t half_until;  /* half-closed: it ends then */
  uint32_t n_open_requests; /* received on it and still without a final response */
  uint32_t max_age_ms;      /* then it retires, 0: never */
  uint64_t retired_ms;      /* when it did */
  uint64_t answered_ms;     /* when a request that came on it last had its final response */
  uint64_t retire_until;    /* retired: closed then, idle or not; 0: only when idle */
  uint64_t born_ms, active_ms, progress_ms;
  uint64_t overdue_ms; /* when its send was first found to take too long, 0: it is not */
  uint64_t msgs_in, msgs_out, bytes_in, bytes_out;
  void *source; /* the proxy's: whom it found on the other side; freed by closed() */
  void *user;   /* the proxy's: client transactions waiting on this connection */
};

#define TL_ALIAS_BUCKETS 1024

/* An address to which TCP could not connect; until_ms 0: free. */
struct tl_unreached {
  struct tl_addr addr;
  uint64_t until_ms;
};
#define TL_UNREACHED_SLOTS 256

struct tl_net {
  struct tl_thread *th;
  struct tl_runtime *rt;
  struct tl_counters *counters;
  struct tl_ring ring;
  struct tl_bufs bufs, dgrams;
  struct tl_wheel wheel;
  uint64_t now_ms;
  struct tl_view *view; /* of this turn; a reference */
  const struct tl_net_handler *handler;
  void *proxy;
  bool draining, stopping;

  struct tl_pool conns, chunks, refs, stash_small, stash_mid, dgram_small;
  struct tl_slots slots; /* of connections */
  uint32_t n_conn;
  struct tl_conn **hash;
  uint32_t hash_mask;
  struct tl_alias *alias[TL_ALIAS_BUCKETS];
  struct tl_alias_told *alias_told[TL_ALIAS_BUCKETS]; /* of other workers' connections */
  uint32_t n_alias_told;
  struct tl_unreached unreached[TL_UNREACHED_SLOTS];
  struct tl_conn *begun_first, *begun_last; /* have a part of a message, the oldest first */
  uint64_t begun_bytes;                     /* memory of those parts */
  struct tl_conn *dirty;
  struct tl_conn *later;  /* have more to handle in the next turn */
  uint64_t turn;          /* counts turns */
  struct tl_conn *feeder; /* connection whose bytes are being handled, for back-pressure */

  struct tl_listener *listeners; /* TCP accepting and UDP sockets */
  struct tl_udp *udps;
  uint32_t dgrams_out;
  uint64_t slow_logged_ms;  /* of the last line about a peer that reads too slowly: its reset */
  uint64_t slow_refused_ms; /* and of one about what is not sent to it */
  unsigned next_handshaker;

  struct tl_audit *audits; /* surveys and orders under way */
  struct tl_op mail_op;
  uint64_t mail_count;
  struct tl_msg msg; /* the message being handled */
  uint64_t scans;    /* heads read, the same one again included; for tests */
  struct tl_body body;
  struct tl_sendmsg *send_scratch;
  uint32_t send_scratch_n;
  uint8_t *scratch; /* one message, limits.max_message + 64 KB */
  size_t scratch_cap;
};

/* Set-up, in the worker's thread. ERR names the listener that failed. */
int tl_net_init(struct tl_net *n, struct tl_thread *th, const struct tl_net_handler *h, void *proxy,
                char *err, size_t cap);
void tl_net_exit(struct tl_net *n);
/* One turn: wait, receive, handle, time out, send. Negative when the ring is unusable. */
int tl_net_turn(struct tl_net *n);

/* The connection that ID names, NULL if it is gone. */
struct tl_conn *tl_conn_get(struct tl_net *n, tl_conn_id id);
tl_conn_id tl_conn_id_of(const struct tl_conn *c);

/* An open or dialing connection for KEY, else a new dial. TL_ELIMIT, TL_ENOMEM. */
int tl_conn_open(struct tl_net *n, const struct tl_conn_key *key, struct tl_conn **out);
/* Could TCP not connect to ADDR lately? Forgotten when it does, and after some minutes. */
bool tl_addr_unreached(struct tl_net *n, const struct tl_addr *addr);
/* Its peer sends no more; what it has asked may still be answered, but nothing new is sent to it.
 */
static inline bool tl_conn_half_closed(const struct tl_conn *c) {
  return c->state == TL_CONN_OPEN && c->notify_got;
}
/* One of C->n_open_requests has its final response. */
void tl_conn_settled(struct tl_conn *c);
/* A request that C brought will be answered by no transaction of this worker's: waited for that
 * long if the peer half-closes. */
void tl_conn_ask(struct tl_conn *c, uint32_t within_ms);
/* Such a request has its final response. */
void tl_conn_answered(struct tl_conn *c);
/* An open connection of TRANSPORT to exactly ADDR for which IDENTITY and DOMAIN hold, or NULL. */
struct tl_conn *tl_conn_find(struct tl_net *n, const struct tl_conn_key *key);

/* A request on C carries a Via of SENT_BY and PORT (0: none) with "alias": if C's verified
 * certificate entitles it, tl_conn_open gives C for keys that lead there. TL_EVERIFY, TL_ENOTSUP:
 * not so. */
int tl_alias_offer(struct tl_conn *c, struct tl_str sent_by, uint16_t port);
/* Where this worker has no connection for KEY: one of another worker's that the other side opened
 * and that serves it (RFC 5923), to be sent on by mail; else 0. */
tl_conn_id tl_alias_elsewhere(struct tl_net *n, const struct tl_conn_key *key);
/* CONN, of another worker and said to serve ADDR, has turned out to be gone. */
void tl_alias_forget(struct tl_net *n, const struct tl_addr *addr, tl_conn_id conn);
/* May C, which another worker found by tl_alias_elsewhere, still be used so? */
bool tl_alias_stands(const struct tl_conn *c);

/*
 * Sending: one message = tl_conn_head once, then the body if any. HEAD is edited straight into the
 * send buffer. On a dialing connection it is queued (bounded by limits.connect_queue).
 */
struct tl_edit;
int tl_conn_send_edit(struct tl_conn *c, const struct tl_edit *e, const struct tl_body *body);
/* A complete message from memory; copied. */
int tl_conn_send(struct tl_conn *c, const void *p, size_t n);

/* Closes after the bytes queued have left (close_notify for TLS). */
void tl_conn_finish(struct tl_conn *c);
/* Closes with a fatal TLS alert, or as tl_conn_finish if ALERT is 0. */
void tl_conn_end(struct tl_conn *c, uint8_t alert);
/* Closes now; RC is what the proxy is told. */
void tl_conn_abort(struct tl_conn *c, int rc);

/* A datagram; copied. U NULL: any socket of ADDR's family. */
int tl_udp_send(struct tl_net *n, struct tl_udp *u, const struct tl_addr *addr, const void *p,
                size_t len);
int tl_udp_send_edit(struct tl_net *n, struct tl_udp *u, const struct tl_addr *addr,
                     const struct tl_edit *e, const struct tl_body *body);

/* Index of the listener to name in Via and Record-Route for TRANSPORT towards ADDR; -1 if there is
 * none at all. Prefers the family, then any of the transport. */
int tl_net_listener_for(const struct tl_net *n, enum tl_transport t, const struct tl_addr *addr);
/* Index of U's listener in the view; -1 if a reload has closed U (it need not exist any more).
 */
int tl_udp_listener(const struct tl_net *n, const struct tl_udp *u);
/* The worker's socket on that listener of the view, NULL if there is none. */
struct tl_udp *tl_udp_of(const struct tl_net *n, int listener);
