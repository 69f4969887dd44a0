/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network side of a worker: listeners, connections (tieline/conn.h), datagrams. Bytes come
 * in, framed and scanned messages go up; messages come down and leave in one
 * send per connection and turn of the loop.
 *
 * Ownership: a worker owns everything here. A message passed up lives until the
 * callback returns; a body that must live longer is sent (tl_conn_send_edit), copied
 * or kept (tieline/body.h). Threads: the worker's own. Errors: TL_ECLOSED the connection is
 * gone, TL_ELIMIT a bound was reached, TL_ENOMEM.
 */
#pragma once

#include "tieline/body.h"
#include "tieline/conn.h"
#include "tieline/scan.h"
#include "tieline/transport.h"
#include "tieline/view.h"
#include "tieline/wheel.h"

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

/* The first part of a worker's network side, which its proxy reads all the time. Ask it by the
 * functions below; net writes it. The rest is private to src/net, which has these members in the
 * same place under the same names. */
#define TL_NET_HEAD                                                                                \
  struct tl_view *view; /* of this turn; a reference */                                            \
  uint64_t now_ms;                                                                                 \
  struct tl_wheel wheel;                                                                           \
  void *proxy; /* the handler's own */                                                             \
  bool draining, stopping;
struct tl_net_head {
  TL_NET_HEAD
};

static inline const struct tl_net_head *tl_net_head(const struct tl_net *n) {
  return (const struct tl_net_head *)n;
}
/* The view of this turn; a reference of N's. */
static inline struct tl_view *tl_net_view(const struct tl_net *n) { return tl_net_head(n)->view; }
/* The time of this turn. */
static inline uint64_t tl_net_now_ms(const struct tl_net *n) { return tl_net_head(n)->now_ms; }
/* Its timers, which the proxy shares. */
static inline struct tl_wheel *tl_net_wheel(struct tl_net *n) {
  return &((struct tl_net_head *)n)->wheel;
}

/* Memory for one, to be set up; freed by free(). NULL: memory is short. */
struct tl_net *tl_net_alloc(void);
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
