/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What we write into messages and recognise later: our branch, the parameter "tl"
 * of our Record-Route, To tags; and keyed hashes that are equal for what means the
 * same. All are keyed, so nobody can forge one: Record-Route by keys that outlive the
 * process (token_keys.h), the others by its own secret.
 *
 * Ownership: none; slices point into the caller's text. Threads: the worker's own.
 * Errors: TL_ENOTFOUND: not one of ours; TL_EBADMAC: forged.
 */
#pragma once

#include "tieline/net.h"
#include "tieline/scan.h"

struct tl_proxy;
struct tl_identity;

#define TL_BRANCH_LEN 55 /* "z9hG4bK" and 48 hex digits */
#define TL_HOST_MAX 256

/* ---- branches ---- */

/* Hash of what would be the same if M came round again (16.6 step 8, RFC 5393 4.2). */
uint64_t tl_token_loop(const struct tl_proxy *p, const struct tl_msg *m);
/* Our Via branch for branch slot SLOT of generation GEN: TL_BRANCH_LEN characters. */
void tl_token_branch(const struct tl_proxy *p, uint32_t slot, uint32_t gen, uint64_t loop,
                     char *out);
struct tl_token {
  unsigned worker; /* TL_STATELESS: forwarded without a transaction, and nothing is proven yet */
  uint32_t slot, gen;
  uint64_t loop; /* stateless: the connection the request came on, 0 = none */
};
#define TL_STATELESS 255u
/* 0 and the parts, TL_ENOTFOUND if it is not ours, TL_EBADMAC if forged. */
int tl_token_branch_parse(const struct tl_proxy *p, struct tl_str branch, struct tl_token *out);

/* A request forwarded without a transaction, and what its responses must match. */
struct tl_passage {
  uint64_t key;     /* tl_token_txn_key */
  tl_conn_id from;  /* the connection it came on, 0: none */
  uint64_t sent_by; /* tl_token_sent_by of our Via */
  uint64_t via;     /* tl_token_via of the Via below ours */
  uint64_t flow;    /* tl_token_flow of where it goes */
  struct tl_str call_id, method;
  uint32_t cseq;
};
/* Its branch, the same each time it comes within 17 minutes (16.11): TL_BRANCH_LEN characters. */
void tl_token_stateless(const struct tl_proxy *p, const struct tl_passage *w, uint32_t now_s,
                        char *out);
/* The branch of a request that has no response, the ACK for a 2xx with KEY that came on FROM: no
 * response passes tl_token_stateless_check with it. TL_BRANCH_LEN characters. */
void tl_token_unanswered(const struct tl_proxy *p, uint64_t key, tl_conn_id from, char *out);
/* BRANCH was given to W, whose key and connection are in it, no more than 34 minutes ago: 0, else
 * TL_EBADMAC. */
int tl_token_stateless_check(const struct tl_proxy *p, struct tl_str branch,
                             const struct tl_passage *w, uint32_t now_s);

/* ---- hashes ---- */

/* Equal for what means the same: of a sent-by; of all that determines where responses go; of the
 * remote end of FLOW. For datagrams that is the IP; for a connection the address, which each
 * worker's connection to there shares and nobody else's, or the connection itself where the address
 * is not known. Never 0. */
uint64_t tl_token_sent_by(struct tl_proxy *p, struct tl_str host, uint16_t port);
uint64_t tl_token_via(const struct tl_proxy *p, const struct tl_via *v);
uint64_t tl_token_flow(const struct tl_proxy *p, const struct tl_flow *flow);
/* Of A's IP, never 0. */
uint32_t tl_token_host(const struct tl_proxy *p, const struct tl_addr *a);
/* Of whom ID's certificate names: holder, first alternative name, and the authority that vouches
 * for it. Never 0. */
uint64_t tl_token_name(const struct tl_proxy *p, const struct tl_identity *id);
/* Table key of a request's server transaction (17.2.3); CANCEL and ACK find their INVITE, if they
 * come from its SENDER, that of tl_source_sender (RFC 3261 22.1), and with its Call-ID. Never 0. */
uint64_t tl_token_txn_key(const struct tl_proxy *p, const struct tl_msg *m, uint64_t sender);
/* Of From tag, Call-ID and CSeq: equal in all copies of a request that forked (8.2.2.2). */
uint64_t tl_token_merge(const struct tl_proxy *p, const struct tl_msg *m);
/* Of Call-ID and both tags: equal for all requests and responses of a dialog, in either direction.
 * Never 0. */
uint64_t tl_token_dialog(const struct tl_proxy *p, const struct tl_msg *m);
/* A To tag for responses made here, the same for each retransmission: 16 characters. */
void tl_token_tag(const struct tl_proxy *p, const struct tl_msg *m, char *out);
/* Frees the cache of sent-by hashes. */
void tl_token_exit(struct tl_proxy *p);

/* ---- Record-Route ---- */

/* How hard it is to pretend to be a leg, in ascending order. */
enum tl_leg_security {
  TL_LEG_DATAGRAM,  /* an address is easily forged */
  TL_LEG_CONNECTED, /* answers have reached it */
  TL_LEG_SECURE,    /* and nobody read them on the way */
  TL_LEG_VERIFIED   /* and a certificate named it */
};

/* Where a leg of a dialog was when the dialog began. */
struct tl_leg_end {
  uint8_t security; /* enum tl_leg_security */
  uint16_t port;    /* at which it takes requests, as far as known */
  uint32_t host;    /* tl_token_host of its address, 0: not known */
};

/* What the parameter "tl" of our Record-Route says, and proves that we have said. The caller is the
 * party that opened the dialog, the callee the next hop of its request. */
struct tl_route_token {
  uint64_t route;
  uint32_t made_s;             /* seconds of wall clock, tl_token_now */
  struct tl_leg_end end[2];    /* the caller's, the callee's */
  tl_conn_id flow_conn;        /* the connection the dialog came in on (RFC 5626 5.1), 0: none */
  tl_conn_id callee_flow_conn; /* the one it left on, 0: none, or another process's */
  uint64_t caller;             /* the peer that the caller is, 0: none */
  uint64_t caller_name;        /* tl_token_name of a caller that is not a peer, 0: no certificate */
  uint64_t callee;             /* the peer that the callee is, 0: none */
  struct tl_str domain;        /* or the domain that it was verified for; empty: none */
  uint64_t before; /* the MAC of the token that the callee of that one brought, 0: none */
  uint64_t mac;    /* read: the hash over all of it, which names the token */
  bool reverse;    /* read: the request travels against the one that opened the dialog */
};
#define TL_RR_TOKEN_LEN 67 /* the least */
#define TL_RR_TOKEN_MAX (TL_RR_TOKEN_LEN + 6 * 18 + 2 + TL_HOST_MAX)
/* Writes its value for the dialog of M; returns its length. */
size_t tl_token_route(const struct tl_proxy *p, const struct tl_route_token *t,
                      const struct tl_msg *m, char out[TL_RR_TOKEN_MAX]);
/* Slices of OUT point into TOKEN. */
int tl_token_route_parse(const struct tl_proxy *p, struct tl_str token, const struct tl_msg *m,
                         struct tl_route_token *out);
/* The time that tokens carry. */
uint32_t tl_token_now(void);
