/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stream connections as seen from outside src/net: found, asked, sent on, ended. What is behind the
 * view is net's alone (src/net/conn.h).
 *
 * Ownership: a worker owns its connections. They are named by tl_conn_id across turns, by pointer
 * only within one. Threads: the worker's own. Errors: TL_ECLOSED the connection is gone, TL_ELIMIT
 * a bound was reached, TL_ENOMEM.
 */
#pragma once

#include "tieline/addr.h"
#include "tieline/conn_info.h"
#include "tieline/runtime.h"
#include "tieline/transport.h"

struct tl_net;
struct tl_conn;
struct tl_udp;
struct tl_edit;
struct tl_body;

/* Where a message came from or shall go. */
struct tl_flow {
  enum tl_transport transport;
  tl_conn_id conn;     /* with connections */
  struct tl_udp *udp;  /* datagrams: the socket; NULL = choose by family */
  struct tl_addr addr; /* the other side */
  bool alias;          /* conn is another worker's, found by tl_alias_elsewhere */
};

/* Connections to nobody in particular share a key: reuse only for what was verified (FEATURES B13).
 */
struct tl_conn_key {
  enum tl_transport transport;
  struct tl_addr addr;
  struct tl_tls_domain *domain; /* secure transports, as the next three */
  const char *identity;         /* name the peer must prove, "" = any */
  const char *sni;
  struct tl_binding *binding; /* what its certificate must be besides, NULL: nothing */
  uint32_t max_age_ms;        /* of a connection dialed for it, 0: as its TLS domain says */
  uint32_t n_conn; /* of this worker, which what is sent for it takes in turn; 0: one, and none
                      besides an alias */
  uint64_t draw;   /* decides among them, 0: it is the next one's turn */
};

enum tl_conn_state { TL_CONN_DIALING, TL_CONN_OPEN, TL_CONN_FINISHING, TL_CONN_CLOSING };
/*
 *   DIALING --> OPEN --> FINISHING (send what is left, then close) --> CLOSING --> freed
 *      \__________\___________________________________________________/
 */

/* What the handshake of a TLS connection found. */
struct tl_tls_facts {
  struct tl_tls_domain *domain; /* a reference */
  struct tl_identity *identity; /* the peer's certificate: a reference or NULL */
  struct tl_identity *own;      /* the certificate we showed: a reference or NULL */
  char *sni;
  struct tl_ktls_state ktls;
  uint16_t version;
  uint8_t cipher;
  bool peer_verified, resumed, server;
};

/* The proxy's own; net only keeps it. */
struct tl_conn_owner {
  void *source; /* whom it found on the other side; freed by closed() */
  void *user;   /* client transactions waiting on this connection */
};

/* The first part of a connection, which is read for every message. Ask it by the functions below;
 * net writes it, and the proxy through these functions alone. */
struct tl_conn_view {
  const struct tl_tls_facts *tls;
  struct tl_conn_owner owner;
  struct tl_addr peer, local;
  int listener;             /* accepted: index in the configuration's listen, -1: it is gone */
  uint32_t n_open_requests; /* received on it and still without a final response */
  uint8_t transport;        /* enum tl_transport */
  uint8_t state;            /* enum tl_conn_state */
  bool outgoing;            /* we have dialed it */
  bool peer_ended;          /* by close_notify or FIN: the peer sends no more */
  bool doomed;              /* it is ending: nothing is read from it any more */
  struct {
    bool checked : 1; /* its peer has asked for an alias (RFC 5923) */
    bool shared : 1;  /* other workers have sent requests on it */
  } alias;
};

static inline const struct tl_conn_view *tl_conn_view(const struct tl_conn *c) {
  return (const struct tl_conn_view *)c;
}
static inline struct tl_conn_owner *tl_conn_owner(struct tl_conn *c) {
  return &((struct tl_conn_view *)c)->owner;
}
static inline enum tl_transport tl_conn_transport(const struct tl_conn *c) {
  return (enum tl_transport)tl_conn_view(c)->transport;
}
static inline const struct tl_addr *tl_conn_peer(const struct tl_conn *c) {
  return &tl_conn_view(c)->peer;
}
static inline const struct tl_addr *tl_conn_local(const struct tl_conn *c) {
  return &tl_conn_view(c)->local;
}
/* Accepted: the index of its listener in the configuration, -1: it has none. */
static inline int tl_conn_listener(const struct tl_conn *c) { return tl_conn_view(c)->listener; }
/* NULL: it is not TLS, or the handshake is not done. */
static inline const struct tl_tls_facts *tl_conn_tls(const struct tl_conn *c) {
  return tl_conn_view(c)->tls;
}
/* Its TLS domain, NULL: it has none. */
static inline struct tl_tls_domain *tl_conn_domain(const struct tl_conn *c) {
  const struct tl_tls_facts *t = tl_conn_tls(c);
  return t ? t->domain : NULL;
}
/* Its peer's certificate if that was verified and still is, else NULL. C's reference. */
static inline struct tl_identity *tl_conn_verified(const struct tl_conn *c) {
  const struct tl_tls_facts *t = tl_conn_tls(c);
  return t && t->peer_verified ? t->identity : NULL;
}
static inline bool tl_conn_is_outgoing(const struct tl_conn *c) {
  return tl_conn_view(c)->outgoing;
}
/* Neither dialing nor ending. */
static inline bool tl_conn_is_open(const struct tl_conn *c) {
  return tl_conn_view(c)->state == TL_CONN_OPEN;
}
/* It is or has been open: something may have been sent on it. */
static inline bool tl_conn_was_open(const struct tl_conn *c) {
  return tl_conn_local(c)->sa.sa_family != 0;
}
/* Finishing or closing: closed() has been or is being called. */
static inline bool tl_conn_is_over(const struct tl_conn *c) {
  return tl_conn_view(c)->state > TL_CONN_OPEN;
}
/* Its peer sends no more; what it has asked may still be answered, but nothing new is sent to it.
 */
static inline bool tl_conn_half_closed(const struct tl_conn *c) {
  return tl_conn_is_open(c) && tl_conn_view(c)->peer_ended;
}
/* Open, in both directions. */
static inline bool tl_conn_is_live(const struct tl_conn *c) {
  const struct tl_conn_view *v = tl_conn_view(c);
  return v->state == TL_CONN_OPEN && !v->doomed && !v->peer_ended;
}

/* Has its peer asked for an alias already? See tl_alias_offer. */
static inline bool tl_conn_alias_checked(const struct tl_conn *c) {
  return tl_conn_view(c)->alias.checked;
}
static inline bool tl_conn_is_shared(const struct tl_conn *c) {
  return tl_conn_view(c)->alias.shared;
}

/* The connection that ID names, NULL if it is gone. */
struct tl_conn *tl_conn_get(struct tl_net *n, tl_conn_id id);
tl_conn_id tl_conn_id_of(const struct tl_conn *c);
/* The flow of what comes on C. */
struct tl_flow tl_conn_flow(const struct tl_conn *c);
/* All connections of N, in no order: the next one from *IO_AT on, which begins at 0; NULL: that
 * was the last. */
struct tl_conn *tl_conn_next(struct tl_net *n, uint32_t *io_at);
/* How many steps that takes at most. */
uint32_t tl_conn_slots(const struct tl_net *n);
/* Did A begin after B? */
bool tl_conn_is_newer(const struct tl_conn *a, const struct tl_conn *b);

/* An open or dialing connection for KEY, else a new dial. Where KEY wants several they are dialed
 * one by one as they are needed: what is sent waits for none of them while another is open.
 * TL_ELIMIT, TL_ENOMEM. */
int tl_conn_open(struct tl_net *n, const struct tl_conn_key *key, struct tl_conn **out);
/* An open connection of TRANSPORT to exactly ADDR for which IDENTITY and DOMAIN hold, or NULL. */
struct tl_conn *tl_conn_find(struct tl_net *n, const struct tl_conn_key *key);
/* Could TCP not connect to ADDR recently? Forgotten when it does, and after some minutes. */
bool tl_addr_unreached(struct tl_net *n, const struct tl_addr *addr);

/* A transaction of this worker's will answer a request that came on C: until it is released, a
 * half-closed or retired C stays open. */
static inline void tl_conn_hold_request(struct tl_conn *c) {
  ((struct tl_conn_view *)c)->n_open_requests++;
}
/* It has its final response. */
void tl_conn_release_request(struct tl_conn *c);
/* A request that C brought will be answered by no transaction of this worker's: waited for that
 * long if the peer half-closes. */
void tl_conn_ask(struct tl_conn *c, uint32_t within_ms);
/* Such a request has its final response. */
void tl_conn_answered(struct tl_conn *c);

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
/* Another worker sends a request on C. */
void tl_conn_share(struct tl_conn *c);

/*
 * Sending: one message = one tl_conn_send_edit, body included. The head is edited straight into the
 * send buffer. On a dialing connection it is queued (bounded by limits.connect_queue).
 */
int tl_conn_send_edit(struct tl_conn *c, const struct tl_edit *e, const struct tl_body *body);
/* A complete message from memory; copied. */
int tl_conn_send(struct tl_conn *c, const void *p, size_t n);

/* Closes after the bytes queued have left (close_notify for TLS). */
void tl_conn_finish(struct tl_conn *c);
/* Closes with a fatal TLS alert, or as tl_conn_finish if ALERT is 0. */
void tl_conn_end(struct tl_conn *c, uint8_t alert);
/* Closes now; RC is what the proxy is told. */
void tl_conn_abort(struct tl_conn *c, int rc);
