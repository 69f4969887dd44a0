/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source of a request: which peer it comes from, with what trust, which routes
 * are open to it and what its From may assert. Worked out once for each connection (or
 * address of datagrams) and view.
 *
 * Ownership: of streams the connection's owner's (conn.h), else the worker's table's; valid
 * until the next view. Threads: the worker's own.
 * Errors: NULL when memory is short: then nothing is known of the source.
 */
#pragma once

#include "tieline/net.h"
#include "tieline/view.h"

struct tl_proxy;
struct tl_identity;
struct tl_conn_info;

#define TL_SOURCE_MAPPINGS 4
#define TL_SOURCE_JUDGED 8   /* routes remembered, a power of two */
#define TL_SOURCE_VERDICTS 8 /* domains remembered */
struct tl_source {
  uint64_t published;              /* of the view that all of it belongs to */
  uint64_t sender;                 /* see tl_source_sender */
  uint64_t name;                   /* tl_token_name of its certificate, 0: none */
  const struct tl_conf_peer *peer; /* the one that fits best, NULL: none */
  enum tl_trust trust;
  enum tl_check_from check;
  bool verified, allow_cn;
  bool guarded; /* may not use our domains in From */
  bool by_port; /* several peers fit the address: the port of a datagram may tell them apart */
  uint8_t n_map;
  const struct tl_conf_mapping *map[TL_SOURCE_MAPPINGS]; /* what the identity map adds */
  uint8_t next, verdict[TL_SOURCE_VERDICTS];             /* see identity_check.c */
  uint64_t key[TL_SOURCE_VERDICTS];                      /* keyed hashes of domains, 0: free */
  /* Routes whose conditions on the certificate were judged last: their number + 1, times two, and
   * whether they hold. */
  uint32_t judged[TL_SOURCE_JUDGED];
};

/* What another worker knew of the sender of a message that it passed on. */
struct tl_passed_on {
  struct tl_identity *identity; /* of its connection, if verified */
  unsigned n_seen;              /* workers that have seen the message before this one */
  bool allow_cn, dialled;       /* more about that connection */
  enum tl_check_from check;
};

/* Where a message comes from. */
struct tl_origin {
  const struct tl_flow *from;
  struct tl_conn *c; /* that it came on; NULL: a datagram, or passed on by another worker */
  const struct tl_passed_on *passed_on; /* NULL: it was not passed on */
};

/* The source of what comes from there. */
struct tl_source *tl_source_of(struct tl_proxy *p, const struct tl_origin *origin);
/* Is the sender the peer with id PEER of the present view? S: as tl_source_of. */
bool tl_source_is(struct tl_proxy *p, const struct tl_source *s, const struct tl_origin *origin,
                  uint64_t peer);
/* Names the sender: the same for all connections of a peer or certificate, else for one address and
 * transport, whatever the port: NATs and phones change it, and a client that has lost its
 * connection comes back from another. Modulo 8 it is an enum tl_sender; never 0. */
enum tl_sender { TL_SENDER_PEER = 1, TL_SENDER_IDENTITY, TL_SENDER_ADDRESS };
uint64_t tl_source_sender(const struct tl_proxy *p, const struct tl_source *s,
                          const struct tl_origin *origin);
/* While half of a table is in use, no sender that is not a peer has more than this part of it:
 * what is never answered leaves room for others. */
#define TL_SENDER_PART 8u
#define TL_SENDER_SHARES 4096u
/* The place of SENDER (tl_source_sender), at ORIGIN, among the shares of a table;
 * TL_SENDER_SHARES: it is a peer, or ourselves. */
uint16_t tl_source_share(uint64_t sender, const struct tl_origin *origin);
/* The verified certificate of the sender, else NULL. */
const struct tl_identity *tl_source_identity(const struct tl_source *s,
                                             const struct tl_origin *origin);
/* What must be known of the sender where its connection is not: by another worker, or later.
 * Without a reference to the identity. */
struct tl_passed_on tl_source_passed_on(const struct tl_origin *origin);
/* May requests of S (NULL: nothing is known of it), whose verified certificate is ID (NULL: it has
 * none), take route NUMBER of T, which is the view's? */
bool tl_source_may_take(struct tl_source *s, const struct tl_identity *id,
                        const struct tl_route_table *t, uint32_t number);

/* C is closing. */
void tl_source_drop(struct tl_conn *c);
void tl_source_exit(struct tl_proxy *p);
/* What ctl shows of it. */
void tl_source_describe(struct tl_net *n, struct tl_conn *c, struct tl_conn_info *out);
