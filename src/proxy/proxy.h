/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The proxy of one worker: transactions (RFC 3261 16, 17; RFC 6026), routing,
 * forwarding. Between the files of src/proxy: worker.c (thread), request.c
 * (validation, CANCEL, ACK), route.c (where to), forward.c (send), edit.c,
 * response.c, txn.c (tables and life), local.c (answers made here), token.c.
 *
 * A request forwarded statefully is a struct tl_txn (server transaction and
 * response context); each copy sent out is a struct tl_branch (client
 * transaction). Today a transaction has one live branch at a time, the list is
 * there for forking.
 *
 * Ownership: everything belongs to the worker. Threads: the worker's own.
 * Errors: codes of err.h; what a peer must learn is sent as a response.
 */
#pragma once

#include "tieline/edit.h"
#include "tieline/net.h"
#include "tieline/reply.h"
#include "tieline/uri.h"

#define TL_BRANCH_LEN 55 /* "z9hG4bK" and 48 hex digits */
#define TL_ROUTES_MAX 64 /* Route values of one request */
#define TL_TARGETS_MAX 8
#define TL_HOST_MAX 256

/* What this worker has under way toward a peer. */
struct tl_peer_load {
  struct tl_peer_load *next;
  char *name;
  uint32_t active; /* requests waiting for a final answer */
  double tokens;   /* new calls that may start now */
  uint64_t at_ms;
  bool started;
  uint64_t logged_ms;          /* of the last line about its failures, 0: never */
  uint32_t unlogged;           /* failures since that had none */
  struct tl_peer_calls *calls; /* of all workers; NULL: it has had no max_calls yet */
  uint64_t full_logged_ms;     /* of the last line that it has its max_calls, 0: never */
};

/* A snapshot that transactions of this worker still use; counted here, without atomics. */
struct tl_snap {
  struct tl_conf *conf;
  struct tl_peer_load **load;       /* one for each peer of conf; NULL: memory was short */
  struct tl_addr_list **peer_addrs; /* the same: where it is reached, a reference each */
  uint32_t peer_addrs_seen;         /* the changes of rt that they know of */
  uint32_t refs;
};

/* Bytes kept for later: the request for failover, a response for retransmission. */
struct tl_saved {
  uint32_t len, cap;
  char data[];
};

enum tl_txn_state {
  TL_TXN_WAITING,    /* its next hop is being looked up */
  TL_TXN_PROCEEDING, /* forwarded, no final response yet */
  TL_TXN_COMPLETED,  /* final response sent; INVITE: waiting for the ACK (Timer H), else Timer J */
  TL_TXN_CONFIRMED,  /* ACK came, Timer I */
  TL_TXN_ACCEPTED,   /* 2xx to INVITE sent, Timer L (RFC 6026) */
};
/*
 *   WAITING -> PROCEEDING -> COMPLETED -> CONFIRMED -> freed
 *                   \------> ACCEPTED ------------> freed
 */

enum tl_branch_state {
  TL_BR_CALLING,    /* sent, nothing heard (Trying for other methods) */
  TL_BR_PROCEEDING, /* 1xx heard */
  TL_BR_COMPLETED,  /* final heard, Timer D or K */
  TL_BR_ACCEPTED,   /* 2xx to INVITE heard, Timer M */
};

/* One place to try. */
struct tl_target {
  struct tl_addr addr;
  enum tl_transport transport;
  struct tl_tls_domain *domain; /* of the transaction's snapshot */
  const struct tl_conf_peer *peer;
  bool by_leg; /* TLS to a bare address: the certificate is to be that of the dialog's leg */
};

/* Where a leg of a dialog was when the dialog began. */
struct tl_leg_end {
  uint8_t security; /* enum tl_transport; TL_LEG_VERIFIED: TLS, and a certificate told who it is */
  uint16_t port;    /* at which it takes requests, as far as known */
  uint32_t host;    /* tl_token_host of its address, 0: not known */
};
#define TL_LEG_VERIFIED ((uint8_t)TL_TRANSPORTS)

/*
 * What a request is to become, found by route.c. Slices point into the request;
 * tl_route_rebind sets them anew when it is scanned again.
 */
struct tl_plan {
  const struct tl_conf_route *route; /* NULL: follows its Route header by right of our token */
  struct tl_uri uri;                 /* the Request-URI, after 16.4 */
  struct tl_uri next_uri;            /* URI that decides where to */
  uint8_t drop_routes;               /* Route values of ours to remove from the top */
  uint8_t n_routes;     /* Route values in all, but what strict_in took for the Request-URI */
  bool strict_in;       /* a strict router before us put our URI into the Request-URI (16.4) */
  bool strict_out;      /* the next hop is one (16.6 step 6) */
  bool strip_maddr;     /* the maddr of the Request-URI is ours (16.4) */
  bool to_self;         /* a peer's address was left out because it is a listener of ours */
  bool downgrade;       /* a target was left out because it is to be reached by TLS only */
  bool secure;          /* sips: TLS to the last hop (RFC 5630) */
  bool reverse;         /* in_dialog: against the request that opened it */
  bool in_dialog;       /* let in by our Record-Route token: it comes from a leg of the dialog */
  bool rewrite_host;    /* Request-URI names us: it becomes the peer's */
  bool own;             /* a request of ours: our Via is the only one */
  const char *refusal;  /* reason phrase of a refusal, NULL: the status's own */
  uint32_t pause_ms;    /* of a refusal: when its peers want requests again, 0: not known */
  tl_conn_id flow_conn; /* connection to use if it is alive, 0: none */
  enum tl_transport flow_transport;
  uint64_t leg_peer;         /* in_dialog: the peer that the next leg is, 0: none */
  struct tl_leg_end leg_end; /* and where it was */
  struct tl_addr source;     /* where the request comes from */
  uint64_t caller;           /* for our Record-Route: the peer that it comes from, 0: none */
  uint64_t caller_name;      /* or what names its certificate, 0: none verified */
  uint64_t before;           /* and the mac of our token that it brought, 0: none */
  bool caller_verified;
  const struct tl_conf_peer *unresolved; /* peer whose name must be looked up */
  uint8_t n_target, at;                  /* next one to try */
  uint8_t copies;                        /* sent at the same time; 0: one */
  struct tl_target target[TL_TARGETS_MAX];
  char host[TL_HOST_MAX]; /* domain of the next hop: SNI and identity (RFC 5922 7.3) */
  char leg[TL_HOST_MAX];  /* the same of the dialog's leg, where that is no peer's; "": none */
};

struct tl_branch;
struct tl_probe;
struct tl_call_slot;
struct tl_call;

struct tl_txn {
  struct tl_txn *linger_next, **linger_link; /* of one of the two lists, see struct tl_linger */
  uint64_t key;                              /* keyed hash of branch, sent-by and method (17.2.3) */
  uint64_t loop;                             /* tl_token_loop of the request */
  uint64_t sender;                           /* tl_source_sender of it */
  struct tl_proxy *proxy;
  uint8_t state, method;
  uint8_t lingers; /* in which list, if linger_link is set */
  bool invite : 1, reliable : 1, cancelled : 1, counted : 1, sent_100 : 1, failed : 1,
      overload : 1,     /* a peer had its share already */
      stranger : 1,     /* a datagram of no peer: its source may be forged */
      in_dialog : 1,    /* let in by our token, or our own: it may use the reserve */
      ack : 1;          /* a parked ACK for a 2xx, no transaction in truth */
  uint16_t via_port;    /* sent-by port of the top Via, 0: none */
  uint16_t status;      /* last response sent */
  uint16_t best_status; /* of the final responses so far, 0: none (16.7 step 6) */
  struct tl_flow from;
  struct tl_flow to; /* last sent or answered; no family: nowhere */
  uint64_t born_ms;
  uint64_t call;           /* a BYE's: the call that it ends, see tl_call_of; 0: none is counted */
  tl_conn_id counted_conn; /* the connection whose n_open_requests counts it, 0: none */
  struct tl_timer timer;   /* 100, H, I, J, L, or a failure to act on */
  struct tl_timer retrans; /* G, and retransmissions of 2xx are not ours */
  uint32_t retrans_ms;
  uint32_t got_len, sent_len;  /* of STRANGER: bytes of its requests, and of our answers to them */
  uint16_t share;              /* of shares[], TL_SHARES: none */
  uint8_t n_ack;               /* ACKs for the 2xx that bore the INVITE's branch */
  struct tl_saved *request;    /* as received, until a final response */
  struct tl_saved *reply;      /* last response, unreliable transports only */
  struct tl_saved *best;       /* that response without our Via; NULL: made here */
  struct tl_saved *challenges; /* header lines of all 401 and 407 (16.7 step 7) */
  struct tl_snap *snap;
  struct tl_plan *plan; /* until a final response */
  struct tl_branch *branches;
  struct tl_probe *probe; /* made here to see whether a peer answers; NULL: somebody's request */
};

struct tl_branch {
  struct tl_branch *next;                   /* of the transaction */
  struct tl_branch *conn_next, **conn_link; /* of the connection it was sent on */
  struct tl_txn *txn;
  struct tl_peer_load *load;      /* counted there until answered, NULL: toward no peer */
  struct tl_call_slot *call_slot; /* of a new call, at a peer with max_calls; else NULL */
  uint32_t slot, gen;
  uint8_t state;
  bool invite : 1, reliable : 1, cancel_sent : 1, cancel_wanted : 1,
      lost : 1;   /* its connection has ended while the callee rang, see lost.c */
  uint8_t target; /* of the plan, counted from 1; 0: on its flow */
  struct tl_flow flow;
  struct tl_identity *was; /* lost: whose certificate was verified there; a reference or NULL */
  uint64_t sent_by;        /* tl_token_sent_by of our Via */
  uint64_t peer;           /* toward which peer, 0: none's */
  struct tl_timer timer;   /* B, C, D, F, K, M */
  struct tl_timer retrans; /* A, E */
  uint32_t retrans_ms;
  struct tl_saved *sent;   /* as forwarded: INVITE always, others on unreliable transports */
  struct tl_saved *cancel; /* repeated until it is answered, unreliable transports only */
};

struct tl_slot {
  void *p;
  uint32_t gen;
};

/* A table of objects named by slot and generation. */
struct tl_slots {
  struct tl_slot *at;
  uint32_t *free;
  uint32_t n_free, n, cap;
};

/* Transactions that have their final response, oldest first: they leave early when they are many.
 */
struct tl_linger {
  struct tl_txn *first, **last;
  uint32_t n;
};

/* Calls that this worker keeps until their BYE, oldest first; see calls.c. */
struct tl_call_table {
  struct tl_proxy *proxy;
  struct tl_call **bucket; /* by key; NULL: there was none yet */
  uint32_t mask, n;
  struct tl_call *first, **last;
  struct tl_timer timer;
};

/* A request that was answered here, as RFC 3261 8.2.2.2 compares it. */
struct tl_merge {
  uint64_t id, key;
  uint64_t at_ms; /* 0: free */
};
#define TL_MERGE_SLOTS 1024u
/* An INVITE that was refused and whose transaction has ended: more ACKs for it go nowhere. */
struct tl_past {
  uint64_t key, at_ms; /* 0: free */
};
#define TL_PAST_SLOTS 1024u
/* Who requests of one connection (or address) come from, worked out once for each snapshot. */
#define TL_SOURCE_MAPPINGS 4
#define TL_SOURCE_VERDICTS 8 /* domains remembered */
#define TL_SOURCE_SLOTS 256  /* addresses of datagrams remembered */
struct tl_source {
  uint64_t generation;             /* of the snapshot that all of it belongs to */
  uint32_t peer_addrs_seen;        /* and the peers' addresses then */
  uint64_t sender;                 /* see tl_source_sender */
  uint64_t name;                   /* tl_leg_name of its certificate, 0: none */
  const struct tl_conf_peer *peer; /* the one that fits best, NULL: none */
  enum tl_trust trust;
  enum tl_check_from check;
  bool verified, allow_cn;
  bool guarded; /* may not use our domains in From */
  bool by_port; /* several peers fit the address: a datagram's port may tell which */
  uint8_t n_map;
  const struct tl_conf_mapping *map[TL_SOURCE_MAPPINGS]; /* what the identity map adds */
  uint8_t next, verdict[TL_SOURCE_VERDICTS];
  uint64_t key[TL_SOURCE_VERDICTS]; /* keyed hashes of domains, 0: free */
  uint64_t route[];                 /* a bit for each route whose conditions on the source hold */
};
struct tl_source_slot {
  struct tl_addr at; /* port 0: of all that have none of their own */
  struct tl_source *source;
};

/* The hash of a sent-by that was seen before, see tl_token_sent_by; 0: free. */
#define TL_SENT_BY_SLOTS 8u
struct tl_sent_by {
  uint64_t hash;
  uint16_t port;
  uint8_t n;
  char host[53];
};

#define TL_REMOTE_BUCKETS 1024u
#define TL_SHARES 4096u
/* What is made of a head fits: the largest max_head, and what we add. What is not used costs
 * nothing. */
#define OUT_MAX ((1u << 20) + 8192)

/* Transactions by key. The keys stand by themselves, so that a look-up that finds nothing, which is
 * the common one, touches nothing else. */
struct tl_txn_table {
  uint64_t *key; /* 0: the slot is free */
  struct tl_txn **txn;
  uint32_t mask, used;
};

struct tl_proxy {
  struct tl_thread th; /* first: runtime.worker points here */
  struct tl_net net;
  struct tl_snap *snap;
  struct tl_peer_load *loads;
  struct tl_peer_load nobody; /* for the log: targets that are no peer's */
  struct tl_slots branch_slots;
  struct tl_txn_table txn_table;
  uint32_t n_txn;
  uint32_t shares[TL_SHARES]; /* of those, by who asked: sources that are no peers, hashed */
  struct tl_linger linger[2]; /* accepted between reliable hops; all others */
  size_t saved_large;         /* bytes kept for later that no pool bounds */
  struct tl_pool txs, branches, plans, saved_small, saved_mid;
  struct tl_branch *remote[TL_REMOTE_BUCKETS]; /* out on connections of other workers */
  struct tl_nameaddr routes[TL_ROUTES_MAX];    /* of the request being planned */
  struct tl_msg msg3;                          /* and for accounting */
  struct tl_call_start *starts;                /* of calls, see account.c */
  struct tl_call_table calls;
  struct tl_msg msg2; /* saved requests are read again into this */
  char out[OUT_MAX];  /* messages made here */
  struct tl_merge merged[TL_MERGE_SLOTS];
  struct tl_past past[TL_PAST_SLOTS];
  struct tl_probe *probes;
  uint64_t probed_generation; /* of the snapshot whose peers they are */
  uint32_t max_txn;
  struct tl_source_slot sources[TL_SOURCE_SLOTS];
  struct tl_sent_by sent_by[TL_SENT_BY_SLOTS];
  struct {
    struct tl_identity *identity; /* of the connection at the other worker, if verified */
    bool allow_cn, dialled;       /* the same connection's */
    enum tl_check_from check;
    struct tl_source *source;
  } xw_from;              /* of the message being handled */
  uint64_t describe_ms;   /* the turn in which ctl asked */
  uint32_t describe_left; /* connections that it may still look up in it */
  bool quiet;             /* a question of ctl's is being answered: nothing goes to the log */
  uint64_t sender;        /* of the request being handled, see tl_source_sender; 0: our own */
  struct {
    uint64_t sender, at_ms;
    tl_conn_id conn; /* 0: none was found */
  } back;            /* the last search of back.c */
  unsigned xw_hops;  /* workers that have seen the message being handled, this one not counted */
};

/* worker.c: what the network side hands up to a proxy. */
extern const struct tl_net_handler tl_proxy_handler;

static inline struct tl_proxy *tl_proxy_of(struct tl_net *n) { return n->proxy; }
static inline struct tl_counters *tl_proxy_counters(struct tl_proxy *p) { return &p->th.counters; }

/* token.c */
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
/* A request that goes without a transaction, and what its responses must be like. */
struct tl_passage {
  uint64_t key;     /* tl_token_tx_key */
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
/* Keyed hashes, equal for what means the same: of a sent-by, of all that tells where responses go,
 * of who is at the other end of HOP: of datagrams the IP, of a connection the address, which is the
 * same in each worker's connection to there and in nobody else's, or where that is not known the
 * connection. Never 0. */
uint64_t tl_token_sent_by(struct tl_proxy *p, struct tl_str host, uint16_t port);
uint64_t tl_token_via(const struct tl_proxy *p, const struct tl_via *v);
uint64_t tl_token_flow(const struct tl_proxy *p, const struct tl_flow *flow);
/* What our Record-Route parameter "tl" says, and proves that we have said. The caller is whoever
 * opened the dialog, the callee the next hop of his request. */
struct tl_route_token {
  uint64_t route;
  uint32_t made_s;             /* seconds of wall clock, tl_token_now */
  struct tl_leg_end end[2];    /* the caller's, the callee's */
  tl_conn_id flow_conn;        /* the connection the dialog came in on (RFC 5626 5.1), 0: none */
  tl_conn_id callee_flow_conn; /* the one it left on, 0: none */
  uint64_t caller;             /* the peer that the caller is, 0: none */
  uint64_t caller_name;        /* tl_leg_name of a caller who is no peer, 0: no certificate */
  uint64_t callee;             /* the peer that the callee is, 0: none */
  struct tl_str domain;        /* or the domain that it was verified for; empty: none */
  uint64_t before;             /* the mac of the one that the callee of that brought, 0: none */
  uint64_t mac;                /* read: the hash over it all, which names it */
  bool reverse; /* read: the request travels against the one that opened the dialog */
};
#define TL_RR_TOKEN_LEN 67 /* the least */
#define TL_RR_TOKEN_MAX (TL_RR_TOKEN_LEN + 5 * 18 + 2 + TL_HOST_MAX)
/* Its value for the dialog of M; how long it is. */
size_t tl_token_route(const struct tl_proxy *p, const struct tl_route_token *t,
                      const struct tl_msg *m, char out[TL_RR_TOKEN_MAX]);
/* Slices of OUT point into TOKEN. */
int tl_token_route_parse(const struct tl_proxy *p, struct tl_str token, const struct tl_msg *m,
                         struct tl_route_token *out);
/* The time that tokens carry. */
uint32_t tl_token_now(void);
/* A keyed hash of A's IP, never 0. */
uint32_t tl_token_host(const struct tl_proxy *p, const struct tl_addr *a);
/* Table key of a request's server transaction (17.2.3); CANCEL and ACK find their INVITE, if they
 * come from the sender of it, p->sender (RFC 3261 22.1), and with its Call-ID. */
uint64_t tl_token_tx_key(const struct tl_proxy *p, const struct tl_msg *m); /* never 0 */
/* From tag, Call-ID and CSeq: equal in all copies of a request that forked (8.2.2.2). */
uint64_t tl_token_merge(const struct tl_proxy *p, const struct tl_msg *m);
/* Call-ID and both tags: equal for all requests and responses of a dialog, whoever sends them.
 * Never 0. */
uint64_t tl_token_dialog(const struct tl_proxy *p, const struct tl_msg *m);
/* A To tag for answers made here, the same for each retransmission: 16 characters. */
void tl_token_tag(const struct tl_proxy *p, const struct tl_msg *m, char *out);

/* txn.c */
/* txn_table.c: open addressing, at most half full; keys are keyed hashes already. */
/* Adds TX under its key, which is not 0 and may be there already. TL_ENOMEM: no room could be made.
 */
int tl_txn_table_add(struct tl_txn_table *t, struct tl_txn *txn);
/* Takes TX, which is in there, out. */
void tl_txn_table_remove(struct tl_txn_table *t, const struct tl_txn *txn);
/* Forgets all of it; the transactions are the caller's. */
void tl_txn_table_free(struct tl_txn_table *t);
/* KEY will be looked for soon: memory may begin to bring what that needs. */
void tl_txn_table_fetch(const struct tl_txn_table *t, uint64_t key);
/* Of several that have KEY the one that was added first, NULL: none. */
struct tl_txn *tl_txn_table_find(const struct tl_txn_table *t, uint64_t key);

int tl_txn_tables_init(struct tl_proxy *p);
void tl_txn_tables_exit(struct tl_proxy *p);
struct tl_txn *tl_txn_find(struct tl_proxy *p, uint64_t key);
/* May some worker have an INVITE with KEY? False: none has. */
bool tl_txn_somewhere(struct tl_proxy *p, uint64_t key);
/* NULL when the table is full or memory is short. */
struct tl_txn *tl_txn_new(struct tl_proxy *p, const struct tl_msg *m, const struct tl_flow *from,
                          uint64_t key);
void tl_txn_free(struct tl_txn *txn);
/* Is M the ACK of an INVITE with KEY that was refused and whose transaction has ended? */
bool tl_txn_is_past(struct tl_proxy *p, const struct tl_msg *m, uint64_t key);
struct tl_branch *tl_branch_new(struct tl_txn *txn);
struct tl_branch *tl_branch_find(struct tl_proxy *p, uint32_t slot, uint32_t gen);
void tl_branch_free(struct tl_branch *b);
/* C NULL: to the connection of another worker that B's hop names. */
void tl_branch_attach(struct tl_branch *b, struct tl_conn *c);
void tl_branch_detach(struct tl_branch *b);
/* Kept for TX. NULL: memory is short, or TX has no room; that is counted. */
struct tl_saved *tl_saved_new(const struct tl_txn *txn, size_t len);
void tl_saved_free(struct tl_proxy *p, struct tl_saved *s);
/* May a request of BYTES start a transaction? One inside a dialog has a reserve, which the others
 * leave. */
bool tl_txn_room(const struct tl_proxy *p, bool in_dialog, size_t bytes);
/* Has FROM, who is no peer, as many as it may while others need them? */
bool tl_txn_has_its_share(const struct tl_proxy *p, const struct tl_flow *from);
/* A final response has been sent: what the transaction still needs, and for how long. */
void tl_txn_finished(struct tl_txn *txn, unsigned status);
/* The client is told nothing (RFC 4320 4.2). */
void tl_txn_abandon(struct tl_txn *txn);
void tl_txn_confirmed(struct tl_txn *txn);
void tl_snap_refresh(struct tl_proxy *p);
/* Where PEER, of S, is reached. */
const struct tl_addr_list *tl_snap_places(const struct tl_snap *s, const struct tl_conf_peer *peer);

/* request.c */
void tl_request(struct tl_proxy *p, const struct tl_flow *from, struct tl_conn *c,
                const struct tl_msg *m, const struct tl_body *body);

/* route.c */
/* Fills PLAN for M, up to its targets. 0; TL_EAGAIN: the next hop's name must be resolved first
 * (plan->host, plan->next_uri); TL_ENOTFOUND: refuse with *OUT_STATUS. */
int tl_route_plan(struct tl_proxy *p, const struct tl_flow *from, struct tl_conn *c,
                  const struct tl_msg *m, struct tl_plan *plan, unsigned *out_status);
/* NULL if the request of PLAN from S (NULL: not known) may take R, the Ith route; else a phrase. */
const char *tl_route_why_not(const struct tl_conf_route *r, size_t i, const struct tl_plan *plan,
                             const struct tl_source *s);
/* Reason phrase for a request all of whose targets are TLS ones that no TLS domain is for; else
 * NULL. */
const char *tl_route_lacks_domain(const struct tl_plan *plan);
/* The same for one whose peers are nowhere but at listeners of ours. */
const char *tl_route_only_us(const struct tl_plan *plan);
/* The host that decides the next hop where no peer does: of the first Route or Request-URI, its
 * maddr before all else. */
struct tl_str tl_route_next_host(const struct tl_plan *plan);
/* The slices of PLAN point into a message: sets them anew after M was scanned again. */
void tl_route_rebind(struct tl_plan *plan, const struct tl_msg *m);
/* The name that T's certificate must carry (RFC 5922 7.3). */
const char *tl_route_identity(const struct tl_plan *plan, const struct tl_target *t);
/* Fills PLAN for M, a request of our own to PEER. TL_EAGAIN: its name must be resolved first. */
int tl_route_to_peer(struct tl_proxy *p, struct tl_plan *plan, const struct tl_msg *m,
                     const struct tl_conf_peer *peer);
/* RFC 3261 18.1.1: a request near the path MTU goes by TCP first, where UDP was meant, unless TCP
 * could not connect to there lately. */
void tl_route_prefer_tcp(struct tl_proxy *p, struct tl_plan *plan);
/* Asks the resolver for PLAN's next hop on behalf of TX. */
int tl_route_resolve(struct tl_txn *txn);
/* Adds what a lookup gave. SNAP: the transaction's, which the targets will point into. */
void tl_route_resolved(struct tl_proxy *p, const struct tl_snap *snap, struct tl_plan *plan,
                       const struct tl_resolve *r);
bool tl_route_is_local(struct tl_proxy *p, const struct tl_uri *u);
/* All Route values of M in order; their number, -1 when one cannot be read or they are too many. */
int tl_route_values(const struct tl_msg *m, struct tl_nameaddr out[TL_ROUTES_MAX]);
enum tl_transport tl_route_transport(const struct tl_uri *u);

/* guard.c */
/* NULL if a request from FROM may go to TO although only a URI in it names TO; else why not, behind
 * "not sent there: ". */
const char *tl_guard_refusal(const struct tl_conf *conf, const struct tl_addr *to,
                             const struct tl_addr *from);
/* Is TO an address of ours, by whatever transport? */
bool tl_guard_is_listener(const struct tl_conf *conf, const struct tl_addr *to);
/* Why PLAN is refused: one line SENTENCE at LEVEL in the log. REASON is the phrase of the
 * answer, NULL: the status's own. */
void tl_guard_deny(struct tl_proxy *p, struct tl_plan *plan, const char *reason,
                   enum tl_log_level level, const char *sentence);
/* Takes out of PLAN what its relay may not lead to. False: nothing is left; *OUT_STATUS and the
 * plan's refusal say why. */
bool tl_guard_relay(struct tl_proxy *p, const struct tl_conf *conf, struct tl_plan *plan,
                    unsigned *out_status);

/* leg.c: whom a Record-Route token lets in, and where to */
/* What the token is to say of M, which came from FROM as PLAN says and goes to TO; T: the target,
 * NULL: a flow. STAYS: the neighbour at FROM is part of the dialog. */
struct tl_route_token tl_leg_token(struct tl_proxy *p, const struct tl_plan *plan,
                                   const struct tl_msg *m, const struct tl_target *t,
                                   const struct tl_flow *from, const struct tl_flow *to,
                                   bool stays);
/* Keyed hash of whom ID's certificate names: holder, first alternative name, and the authority that
 * says so. Never 0. */
uint64_t tl_leg_name(const struct tl_proxy *p, const struct tl_identity *id);
/* Whom the request comes from, kept in PLAN for tl_leg_token. */
void tl_leg_source(struct tl_proxy *p, struct tl_plan *plan, const struct tl_source *s,
                   const struct tl_flow *from, const struct tl_conn *c, const struct tl_msg *m);
/* SAYS was read from M. Does it count: a request of a dialog, young enough, and from where that leg
 * is? If not that is counted, and M is to be judged as a first request. */
bool tl_leg_counts(struct tl_proxy *p, const struct tl_route_token *says, const struct tl_msg *m,
                   const struct tl_source *s, const struct tl_flow *from, struct tl_conn *c);
/* A request that has been round by way of others shows one token of ours behind the other. Does
 * NEXT stand for the leg behind that of SAYS, in the same dialog? */
bool tl_leg_follows(const struct tl_route_token *says, const struct tl_route_token *next);
/* Takes the targets out of PLAN, in a dialog, that the next leg never was and that the dialog's
 * route would not allow. SNAP: the plan's. False: none is left of those it had. */
bool tl_leg_bound(struct tl_proxy *p, const struct tl_snap *snap, struct tl_plan *plan);

/* source.c */
/* Is what sends from FROM the PEER of the present snapshot? S, C: as tl_source_of. */
bool tl_source_is(struct tl_proxy *p, const struct tl_source *s, const struct tl_flow *from,
                  const struct tl_conn *c, uint64_t peer);
/* Who sends: the same for all connections of a peer or certificate, else one address by one
 * transport, whatever the port: NATs and telephones change it, and who has lost his connection
 * comes back by another. Modulo 8 it is an enum tl_sender; never 0. */
enum tl_sender { TL_SENDER_PEER = 1, TL_SENDER_IDENTITY, TL_SENDER_ADDRESS };
uint64_t tl_source_sender(struct tl_proxy *p, const struct tl_flow *from, struct tl_conn *c);
/* What a verified certificate told of the sender, else NULL. */
const struct tl_identity *tl_source_identity(const struct tl_proxy *p, const struct tl_source *s,
                                             const struct tl_conn *c);
/* C: the connection that M came on; NULL: a datagram, or passed on by another worker. NULL when
 * memory is short: then nothing is known of the source. */
struct tl_source *tl_source_of(struct tl_proxy *p, const struct tl_flow *from, struct tl_conn *c);
/* May requests of S take the ROUTE-th route? */
bool tl_source_may_take(const struct tl_source *s, size_t route);
void tl_source_drop(struct tl_conn *c);
void tl_source_exit(struct tl_proxy *p);
/* What ctl shows of it. */
void tl_source_describe(struct tl_net *n, struct tl_conn *c, struct tl_conn_info *out);

/* explain.c */
struct tl_explain;
/* Answers E and posts it back. */
void tl_explain_answer(struct tl_proxy *p, struct tl_explain *e);

/* identity_check.c */
/* NULL, or the reason phrase of the 403 that M deserves; counted and logged. */
const char *tl_identity_refuse(struct tl_proxy *p, struct tl_source *s, const struct tl_flow *from,
                               const struct tl_conn *c, const struct tl_msg *m,
                               const struct tl_plan *plan);

/* account.c: the log of calls, if it is wanted */
/* TX has its final response; its working set is still there. */
void tl_account_done(struct tl_txn *txn, unsigned status);
/* M was refused without a transaction. */
void tl_account_refused(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m,
                        unsigned status);
void tl_account_exit(struct tl_proxy *p);

/* forward.c */
/* Sends the transaction's request to its next target, or answers when none is left. M and BODY: the
 * request when it is at hand, NULL: from the saved one. */
void tl_forward_next(struct tl_txn *txn, const struct tl_msg *m, const struct tl_body *body);
/* Without a transaction: ACK for a 2xx, and whatever a stateless route takes. */
int tl_forward_stateless(struct tl_proxy *p, const struct tl_flow *from, struct tl_plan *plan,
                         const struct tl_msg *m, const struct tl_body *body);
/* M is not answered by a transaction of this worker's: its connection, if FROM's is here, waits for
 * the answer to pass should its peer half-close. */
void tl_forward_awaited(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m);
/* Does PEER, NULL: nobody known, take what E makes of a message with BODY? If not that is counted.
 */
bool tl_forward_fits(struct tl_proxy *p, const struct tl_conf_peer *peer, const struct tl_edit *e,
                     const struct tl_body *body);
/* RFC 3261 18.1.1: is M, as it will go out, too large for a datagram? */
bool tl_forward_near_mtu(const struct tl_msg *m, const struct tl_body *body);
/* Reads a saved message again; BODY is what of it was saved. */
int tl_forward_rescan(struct tl_proxy *p, const struct tl_saved *s, bool stream, struct tl_msg *m,
                      struct tl_body *body);
/* The branch's connection or transport failed (16.9), or it timed out: as if STATUS had come. */
/* What a request is answered that could not be sent: 503 asks its sender to go elsewhere, and some
 * leave a server alone that says so; what the request itself is to blame for is no reason. */
unsigned tl_forward_status(int rc);
#define TL_TOO_MUCH "Too Much To Rewrite" /* says such a 400 */
void tl_forward_failed(struct tl_branch *b, unsigned status);
void tl_forward_cancel(struct tl_txn *txn);
void tl_forward_cancel_branch(struct tl_branch *b);
/* The way to T. ELSEWHERE: a connection of another worker will do, whose loss only a branch would
 * hear of. */
int tl_forward_open(struct tl_proxy *p, const struct tl_plan *plan, const struct tl_target *t,
                    bool elsewhere, struct tl_flow *out, struct tl_conn **out_c);
int tl_forward_bytes(struct tl_proxy *p, const struct tl_flow *flow, const void *data, size_t n);

/* edit.c */
/* Texts that edits insert; they live until the message is written. */
#define TL_VIA_MAX 1024u /* a top Via; a longer one is refused, because received must be added */
#define TL_VIA_TEXT (TL_VIA_MAX + 96)
struct tl_edit_texts {
  char via[TL_VIA_TEXT], own[2304], uri[1024], route[2048], forwards[48], breadth[8];
  char *branch;        /* ours, to be overwritten before the message is */
  uint64_t sent_by;    /* tl_token_sent_by of our Via */
  struct tl_str below; /* the Via below it, as it goes out */
};
#define TL_BREADTH_MAX 60u
/* How many copies of M may be out at the same time: its Max-Breadth, TL_BREADTH_MAX at most and if
 * it says nothing that can be read (RFC 5393 5.3.3). */
unsigned tl_edit_breadth(const struct tl_msg *m);
/* Edits M as PLAN says, to go from FROM to TO; T NULL: to plan->flow_conn. BRANCH: TL_BRANCH_LEN
 * bytes. TL_ESYNTAX: M has too much to be rewritten. */
int tl_edit_request(struct tl_proxy *p, struct tl_edit *e, const struct tl_msg *m,
                    const struct tl_plan *plan, const struct tl_target *t,
                    const struct tl_flow *from, const struct tl_flow *to, const char *branch,
                    struct tl_edit_texts *x);

/* load.c */
struct tl_peer_load **tl_load_of(struct tl_proxy *p, const struct tl_conf *conf);
void tl_load_exit(struct tl_proxy *p);
struct tl_admission {
  struct tl_peer_load *load;
  struct tl_call_slot *call_slot; /* the caller's */
};
/* May M go to PEER (NULL: no peer) now? TL_EBUSY: it has its share, whichever address is tried. */
int tl_load_admit(struct tl_txn *txn, const struct tl_conf_peer *peer, const struct tl_msg *m,
                  struct tl_admission *out);
void tl_load_enter(struct tl_branch *b, const struct tl_admission *a);
void tl_load_leave(struct tl_branch *b);
/* pause.c: the final response M came for B, which still has its load; a 503 may ask for a pause. */
void tl_pause_asked(struct tl_branch *b, const struct tl_msg *m);
/* May a failure toward PEER (NULL: no peer) of TX have a line in the log now? One a second may;
 * *OUT_UNLOGGED: those before it that had none. */
bool tl_load_may_log(const struct tl_txn *txn, const struct tl_conf_peer *peer,
                     uint32_t *out_unlogged);

/* calls.c: calls toward peers that have max_calls */
/* One more call toward the peer of L. TL_ELIMIT: it has MAX, or no more can be counted. */
int tl_call_take(struct tl_proxy *p, struct tl_peer_load *l, uint32_t max,
                 struct tl_call_slot **out);
/* AT (may be NULL) belongs to a branch that is at its end. */
void tl_call_drop(struct tl_proxy *p, struct tl_call_slot *at);
/* M is a 2xx to the branch that has AT: its dialog is a call from now on, if it is not yet. Before
 * M is passed on. */
void tl_call_answered(struct tl_proxy *p, struct tl_call_slot *at, const struct tl_msg *m);
/* What names the call that M ends; 0: M is no BYE, or no call is counted. */
uint64_t tl_call_of(struct tl_proxy *p, const struct tl_msg *m);
/* It is over; CALL 0: none. */
void tl_call_ended(struct tl_proxy *p, uint64_t call);
/* Its BYE was answered STATUS. */
void tl_call_answer(struct tl_proxy *p, uint64_t call, unsigned status);
/* Takes mail of the two types about calls. */
void tl_call_mail(struct tl_proxy *p, struct tl_mail *mail);
void tl_call_exit(struct tl_proxy *p);

/* response.c */
/* No branch is left that could still answer: the next target, or the best response (16.7 step 6).
 */
void tl_response_settle(struct tl_txn *txn);
/* Would STATUS be a better answer than OLD (0: none)? */
bool tl_response_better(unsigned status, unsigned old);
bool tl_response_pending(const struct tl_txn *txn);

void tl_response(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m,
                 const struct tl_body *body);
/* May what comes from FROM answer B? Only where B was sent to may: on its connection; of datagrams
 * at that address, or another of the same peer. */
bool tl_branch_is_from_flow(struct tl_proxy *p, const struct tl_branch *b,
                            const struct tl_flow *from);

/* lost.c: INVITEs that outlive their connection */
/* B's connection, at WAS, has ended for RC; IDENTITY: its peer's, if verified. B waits on when the
 * callee rings, else it fails. */
void tl_branch_lost(struct tl_branch *b, const struct tl_flow *was, struct tl_identity *identity,
                    int rc);
/* Is whoever sends from FROM, another connection than B's, proven to be whom B was sent to, or,
 * when that connection is gone and had no verified certificate, at the same address? */
bool tl_branch_is_same_party(struct tl_proxy *p, const struct tl_branch *b,
                             const struct tl_flow *from);
/* That party's connection is FROM from now on. */
void tl_branch_moved(struct tl_branch *b, const struct tl_flow *from);
/* CANCEL or ACK, on a new connection when the old one is gone. */
int tl_branch_send(struct tl_branch *b, const void *data, size_t n);

/* back.c: responses to senders whose connection has ended */
/* Has the connection that brought TX ended, or nearly? */
bool tl_back_needed(const struct tl_txn *txn);
/* What E makes of a response to TX goes by another connection of its sender, or by a new one. */
int tl_back_send(struct tl_txn *txn, const struct tl_edit *e, const struct tl_body *body);
/* A whole response, for which nothing is dialled. */
int tl_back_bytes(struct tl_txn *txn, const void *data, size_t n);
/* Takes mail of the type TL_MAIL_BACK. */
void tl_back_mail(struct tl_proxy *p, struct tl_mail *mail);

/* merged.c */
enum tl_merged {
  TL_MERGED_NO,
  TL_MERGED_YES,       /* another copy of M has been answered: 482 */
  TL_MERGED_ELSEWHERE, /* another worker decides, M is with it now */
};
enum tl_merged tl_merged(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m,
                         const struct tl_body *body);

/* probe.c */
/* Takes up the probes that the present snapshot wants, drops others. Once a turn. */
void tl_probe_refresh(struct tl_proxy *p);
void tl_probe_exit(struct tl_proxy *p);
/* If TX is a probe: it ended with STATUS, OURS: nobody answered. It is none from here on. */
void tl_probe_ended(struct tl_txn *txn, unsigned status, bool ours);
/* If TX is a probe: it ends and nothing is known by it. */
void tl_probe_gone(struct tl_txn *txn);

/* xworker.c: between workers */
/* Lets WORKER handle M. HOPS: workers that will have seen it then. */
void tl_xw_message(struct tl_proxy *p, unsigned worker, const struct tl_flow *from,
                   const struct tl_msg *m, const struct tl_body *body, unsigned hops);
/* The next worker in turn, for a request whose transaction is not here; false when all have seen
 * it. */
bool tl_xw_onwards(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m,
                   const struct tl_body *body);
/* Does another worker own connection ID? */
bool tl_xw_is_remote(const struct tl_proxy *p, tl_conn_id id);
/* Sends on a connection of another worker. If it cannot, BRANCH (may be NULL) fails later. */
int tl_xw_send(struct tl_proxy *p, tl_conn_id id, const void *data, size_t n);
int tl_xw_send_edit(struct tl_proxy *p, tl_conn_id id, const struct tl_edit *e,
                    const struct tl_body *body, const struct tl_branch *branch);
/* Posts MAIL to WORKER; if that fails it stays the caller's. BYTES: what it holds of messages. */
int tl_xw_post(struct tl_proxy *p, unsigned worker, struct tl_mail *mail);
int tl_xw_post_bytes(struct tl_proxy *p, unsigned worker, struct tl_mail *mail, uint32_t bytes);
/* Writes BODY (may be NULL) to DST; its length. */
size_t tl_xw_copy_body(char *dst, const struct tl_body *body);
/* For mail that nobody will read. */
void tl_xw_free(struct tl_mail *mail);
/* The list with the branches that were sent on connection ID of another worker. */
struct tl_branch **tl_xw_branches(struct tl_proxy *p, tl_conn_id id);
/* C is going for RC: the other workers' branches on it are lost. */
void tl_xw_conn_gone(struct tl_proxy *p, const struct tl_conn *c, int rc);
/* Takes mail of the four relay types; frees it. */
void tl_xw_mail(struct tl_proxy *p, struct tl_mail *mail);

/* local.c */
/* Answers M without a transaction. */
void tl_local_answer(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m,
                     unsigned status, struct tl_str reason, struct tl_str extra);
/* Answers the request of TX; a final one moves it on. */
void tl_local_tx_answer(struct tl_txn *txn, unsigned status, struct tl_str reason,
                        struct tl_str extra);
/* The top Via as it must stand in what we send back and on: received and rport filled in
 * (18.2.1, RFC 3581). Returns an empty slice when nothing changes. */
struct tl_str tl_local_via(const struct tl_msg *m, const struct tl_flow *from, char *buf,
                           size_t cap);
/* Bytes of the first Via field that its topmost value takes, comma and white space behind it
 * included. */
size_t tl_local_via_used(const struct tl_msg *m);
/* Where answers to M go. */
struct tl_flow tl_local_way_back(const struct tl_msg *m, const struct tl_flow *from);
