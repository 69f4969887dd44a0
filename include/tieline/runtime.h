/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the threads of one process share: the published snapshot, each other's
 * mailboxes, and the kernel's capabilities.
 *
 * Ownership: one struct tl_runtime, made by main, alive until all threads have
 * joined. Threads: as said at each field. Errors: as said at each function.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "tieline/addr.h"
#include "tieline/conf.h"
#include "tieline/counters.h"
#include "tieline/ktls.h"
#include "tieline/mailbox.h"
#include "tieline/peer_calls.h"
#include "tieline/tls.h"

#define TL_THREADS_MAX 64

enum tl_mail_type {
  TL_MAIL_STOP,        /* control -> any: end the thread (struct tl_mail alone) */
  TL_MAIL_DRAIN,       /* control -> any: stop accepting, finish what is there */
  TL_MAIL_SNAPSHOT,    /* control -> any: a new snapshot is published, take it over */
  TL_MAIL_DIAL,        /* worker -> handshaker: struct tl_dial */
  TL_MAIL_HANDOFF,     /* handshaker -> worker: struct tl_handoff, accepted or dialed */
  TL_MAIL_DUMP,        /* control -> worker and back: struct tl_dump */
  TL_MAIL_CLOSE,       /* control -> worker: struct tl_close_order */
  TL_MAIL_FORWARD,     /* worker -> worker: a message another worker must handle */
  TL_MAIL_SEND,        /* worker -> worker: bytes for a connection of that worker */
  TL_MAIL_SEND_FAILED, /* and the answer when it could not */
  TL_MAIL_CONN_GONE,   /* worker -> worker: a connection they have sent on has ended */
  TL_MAIL_EXPLAIN,     /* control -> worker and back: struct tl_explain (explain.h) */
  TL_MAIL_RESOLVE,     /* worker or control -> resolver and back: struct tl_resolve */
  TL_MAIL_OCSP_ASK,    /* worker -> control: struct tl_ocsp_ask */
  TL_MAIL_UNPARK,      /* and the answer, unless it is TL_MAIL_CLOSE: struct tl_close_order */
  TL_MAIL_FETCH,       /* fetch helper -> control: struct tl_fetch (src/control/fetch.h) */
  TL_MAIL_AUDIT,       /* control -> worker and back: struct tl_audit (audit.h) */
  TL_MAIL_ALIAS,       /* worker -> worker: struct tl_alias_told */
  TL_MAIL_CALL_BEGUN,  /* worker -> worker: a call to keep until its BYE */
  TL_MAIL_CALL_ENDED,  /* worker -> worker: that BYE has come */
  TL_MAIL_BACK,        /* worker -> worker: a response whose caller has lost his connection */
};

struct tl_runtime;

/* A connection's name across threads: worker, slot and generation of the slot. 0 = none. */
typedef uint64_t tl_conn_id;

/* Asks a handshake thread for an outgoing TLS connection. */
struct tl_dial {
  struct tl_mail mail;
  unsigned worker; /* who gets the answer */
  tl_conn_id conn; /* the worker's connection waiting for it */
  struct tl_addr addr;
  struct tl_tls_domain *domain; /* a reference, passed on */
  char sni[256];                /* SIP domain of the next hop */
  char verify_name[256];        /* "" = no name check */
  uint32_t connect_timeout_ms, handshake_timeout_ms;
  uint64_t conf_generation;
};

/* A TLS connection for a worker, or the news that a dial failed. */
struct tl_handoff {
  struct tl_mail mail;
  int rc; /* 0 or why the dial failed (only with conn != 0) */
  int fd;
  tl_conn_id conn;          /* 0: accepted; else the dial answered */
  int listener;             /* accepted: index into the snapshot's listen */
  uint64_t conf_generation; /* of that snapshot */
  struct tl_addr peer, local;
  enum tl_tls_version version;
  enum tl_cipher cipher;
  struct tl_ktls_state ktls;
  struct tl_record *record;  /* user-space records; NULL when the kernel has both directions */
  struct tl_tls_keys *rekey; /* traffic secrets for a KeyUpdate in the kernel, NULL where the kernel
                                cannot rekey; malloc'd, wipe before free */
  struct tl_tls_domain *domain; /* a reference */
  struct tl_identity *identity; /* a reference or NULL */
  struct tl_identity *own;      /* a reference to what we showed, or NULL */
  bool peer_verified, resumed, server;
  struct tl_hs *post_hs; /* waits for a session ticket, or NULL */
  bool ocsp_ask; /* the client's certificate is to be asked about before its messages count */
  unsigned max_fragment;
  char *sni; /* malloc'd or NULL */
};
/* Closes and frees everything in H, for whoever cannot use it. */
void tl_handoff_free(struct tl_handoff *h);

/* One connection as ctl shows it. */
struct tl_conn_info {
  tl_conn_id id;
  unsigned worker;
  enum tl_transport transport;
  bool outgoing;
  const char *state; /* constant: "open", "parked", "retiring", "connecting", "closing" */
  struct tl_addr peer, local;
  enum tl_tls_version version; /* TLS only, as are all below up to sni */
  enum tl_cipher cipher;
  struct tl_ktls_state ktls;
  bool peer_verified, resumed;
  const char *trust;  /* constant: how far the other side is known; NULL: not said */
  char peer_name[64]; /* the peer of the configuration, "" if none */
  char domain[64], identity[128], sni[128];
  uint64_t age_ms, idle_ms;
  uint64_t msgs_in, msgs_out, bytes_in, bytes_out, queued_bytes;
  bool paused;
  uint32_t memory_bytes; /* of user space, without shared buffers */
  /* Only if the dump asks for them: references, NULL without TLS or certificate. */
  struct tl_identity *who, *own; /* the peer's certificate and the one we showed */
  struct tl_tls_domain *tls_domain;
};

/* Which connections a dump is about: those for which all that is set holds. */
#define TL_FILTER_ADDRS 16
struct tl_conn_filter {
  tl_conn_id id;
  bool by_peer; /* one of ADDR (port 0: any), or a verified certificate for PEER_IDENTITY */
  size_t n_addr;
  struct tl_addr addr[TL_FILTER_ADDRS];
  char peer_identity[256]; /* "" : addresses only */
  char identity[256];      /* a domain that the certificate speaks for, or part of its subject */
  char domain[64];         /* name of the TLS domain */
};

/* The worker fills INFO (malloc'd, at most CAP entries) and posts the same mail back to REPLY. */
struct tl_dump {
  struct tl_mail mail;
  struct tl_mailbox *reply;
  unsigned worker;
  size_t cap, n;
  size_t total; /* connections there are that FILTER lets through */
  struct tl_conn_info *info;
  struct tl_conn_filter filter;
  bool who; /* give references to identities and TLS domains */
};
/* Frees D, its entries and their references. */
void tl_dump_free(struct tl_dump *d);

struct tl_close_order {
  struct tl_mail mail;
  tl_conn_id conn;
  uint8_t alert; /* TLS alert to send, 0 = close_notify */
};

/* Is the client's certificate revoked? The connection is closed or goes on by the answer. */
struct tl_ocsp_ask {
  struct tl_mail mail;
  unsigned worker;
  tl_conn_id conn;
  bool parked;                  /* nothing is read from it meanwhile */
  struct tl_tls_domain *domain; /* references */
  struct tl_identity *identity;
};
void tl_ocsp_ask_free(struct tl_ocsp_ask *a);

/* A name to look up: worker or control -> resolver -> the asker, the same object. */
#define TL_RESOLVE_MAX 8
#define TL_RESOLVE_FOR_CONTROL TL_THREADS_MAX
struct tl_resolve {
  struct tl_mail mail;
  unsigned worker; /* the asker, or TL_RESOLVE_FOR_CONTROL */
  uint64_t cookie; /* the asker's */
  uint64_t started_ms;
  enum tl_transport transport;
  bool any_transport; /* none was written: NAPTR decides, TRANSPORT is what is left without */
  bool secure;        /* a sips URI: nothing but TLS */
  char host[256];
  uint16_t port; /* 0: none was written */
  bool fresh;    /* name servers are asked, whatever the cache has */
  int rc;
  bool unsure;    /* a name server was silent about services: those found may be the wrong ones */
  uint32_t ttl_s; /* how long the answer holds: the shortest of its records */
  size_t n;
  struct tl_addr addr[TL_RESOLVE_MAX]; /* in the order to be tried */
  uint8_t via[TL_RESOLVE_MAX];         /* enum tl_transport of each */
  uint8_t group[TL_RESOLVE_MAX];       /* of one service and priority, ascending */
  uint8_t target[TL_RESOLVE_MAX];      /* of one host, ascending */
  uint16_t weight[TL_RESOLVE_MAX];     /* of that host in its group */
};

#define TL_INVITE_SLOTS 0x10000u

struct tl_thread {
  pthread_t thread;
  bool started;
  unsigned index;
  struct tl_runtime *rt;
  struct tl_mailbox mailbox;
  struct tl_counters counters; /* written by its thread only */
  /* A worker's INVITE transactions by their key, written by it only: 0 says for certain that it has
   * none of that key. */
  _Atomic uint16_t invites[TL_INVITE_SLOTS];
};

struct tl_runtime {
  struct tl_ktls_caps caps; /* constant after start */
  uint8_t secret[32];       /* keys branch tokens and Record-Route tokens; constant */
  unsigned n_worker, n_handshaker;
  _Atomic(struct tl_thread *) worker[TL_THREADS_MAX]; /* constant after start */
  _Atomic(struct tl_thread *) handshaker[TL_THREADS_MAX];
  struct tl_thread control; /* control's mailbox and counters; its thread is main's */
  struct tl_mailbox resolver;
  struct tl_counters resolver_counters;
  _Atomic(struct tl_conf *) conf; /* published; read with tl_runtime_conf only */
  _Atomic uint64_t generation;    /* of the published snapshot, read relaxed */
  _Atomic uint32_t connections;   /* stream connections of the whole process */
  struct tl_calls calls;          /* toward peers that have max_calls */
  _Atomic int64_t next_expiry;    /* earliest notAfter that verified connections rest on, 0: none */
  _Atomic bool reverify_pending;  /* a connection came that was made under a former TLS domain */
};

/* The published snapshot with a reference for the caller. */
struct tl_conf *tl_runtime_conf(struct tl_runtime *rt);
/* Publishes C (takes the caller's reference), waits until no reader can still be taking the old
 * one, drops it and tells every thread. Control thread only. */
void tl_runtime_publish(struct tl_runtime *rt, struct tl_conf *c);
/* A verified connection rests on something that ends AT (0: unknown). True when that is the next
 * such moment, so that the control thread must be woken. Any thread. */
bool tl_runtime_expiry(struct tl_runtime *rt, time_t at);
/* Sum of counter ID over all threads. */
uint64_t tl_runtime_counter(const struct tl_runtime *rt, enum tl_counter id);

/* Threads; a worker's are in worker.h. Each start function returns once its thread runs and its
 * listeners are bound, or with the error; LISTEN errors name the address in ERR. */
int tl_handshaker_start(struct tl_runtime *rt, unsigned index, char *err, size_t cap);
int tl_resolver_start(struct tl_runtime *rt);
/* Posts TL_MAIL_STOP and joins. */
void tl_handshaker_stop(struct tl_runtime *rt, unsigned index);
void tl_resolver_stop(struct tl_runtime *rt);
