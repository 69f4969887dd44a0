/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network side of a worker: listeners, connections (tieline/conn.h), datagrams. Bytes come
 * in, framed and scanned messages go up; messages come down and leave in one
 * send per connection and turn of the loop.
 *
 * Ownership: a worker owns everything here. A message passed up lives until the
 * callback returns; a body that must live longer is sent (tl_conn_send_edit) or
 * copied. Threads: the worker's own. Errors: TL_ECLOSED the connection is
 * gone, TL_ELIMIT a bound was reached, TL_ENOMEM.
 */
#pragma once

#include "tieline/conn.h"
#include "tieline/pool.h"
#include "tieline/ring.h"
#include "tieline/runtime.h"
#include "tieline/scan.h"
#include "tieline/slots.h"
#include "tieline/transport.h"
#include "tieline/view.h"
#include "tieline/wheel.h"

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
