/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration: one immutable snapshot, built whole or not at all. Its peers
 * and routes are tables of their own; a struct tl_view has all three.
 *
 * Ownership: counted references; a snapshot and all it points to lives until the
 * last tl_conf_unref. Threads: read by any, changed by none.
 * Errors: TL_ECONFIG, each problem reported as "file:line: sentence".
 */
#pragma once

#include <stdatomic.h>
#include <stdio.h>

#include "tieline/addr.h"
#include "tieline/log.h"
#include "tieline/tls_choice.h"
#include "tieline/transport.h"

/* A listener's options as they are configured; the texts belong to the blocks. */
struct tl_listen_options {
  char *advertise, *tls_domain;
};

struct tl_conf_listen {
  char *name; /* as written: "tls:0.0.0.0:5061" */
  struct tl_listen_options opt;
  enum tl_transport transport;
  struct tl_addr addr;
  char *advertise_host; /* host for Via and Record-Route, IPv6 in brackets */
  uint16_t advertise_port;
  struct tl_tls_domain *domain; /* tls only; NULL: chosen by SNI alone */
};

/* What to do with requests that name one of our domains in From without being entitled to it. */
enum tl_anti_spoof {
  TL_SPOOF_OFF,
  TL_SPOOF_PEERS, /* refused from peers and from holders of certificates */
  TL_SPOOF_ALL,   /* refused from everybody */
};

/* What happens to the connections of a TLS domain that a reload changed. */
enum tl_reload_drain { TL_DRAIN_GRACEFUL, TL_DRAIN_NOW, TL_DRAIN_KEEP };

/* Where a large body is between two connections. */
enum tl_body_relay { TL_BODY_RELAY_BUFFER, TL_BODY_RELAY_SPLICE };

/* The options outside any block, as they are configured; the texts belong to the blocks. The enums'
 * values stand in the order of the table's words. */
struct tl_conf_options {
  uint32_t workers, handshakers;
  char *user; /* to drop privileges to, NULL: none */
  char *control_socket;
  char *keylog_file; /* not NULL if allow_keylog */
  char *identity_map;
  char *key_file;        /* of our tokens, see token_keys.h */
  char *peer_state_file; /* of administrators' states */
  char **domains;
  enum tl_log_level log_level;
  enum tl_log_format log_format;
  enum tl_log_target log_target;
  enum tl_records_mode records;
  enum tl_body_relay body_relay;
  enum tl_reload_drain reload_drain;
  enum tl_anti_spoof anti_spoof;
  uint32_t crl_refresh_ms;
  uint32_t dns_ttl_min_ms, dns_ttl_max_ms;
  uint32_t call_max_ms; /* after which a call without a BYE is forgotten, and its token expires */
  bool allow_keylog;
  bool log_calls;
  bool server_header;
  bool watch_files; /* reload when a file of the configuration changes */
};

/* A line of the identity map. */
struct tl_conf_mapping {
  char *key;
  char **granted; /* "domain" and "user@domain", NULL-terminated, domains in lower case */
};

struct tl_conf_limits {
  uint32_t max_connections;        /* stream connections of the whole process */
  uint32_t max_connections_source; /* incoming ones from one source */
  uint32_t max_connections_peer;  /* incoming ones from the address of a peer without a limit of its
                                     own */
  uint32_t max_unfinished;        /* bytes of messages received in part, of the whole process */
  uint32_t max_transactions;      /* per worker */
  uint32_t max_transactions_peer; /* of those, waiting for one peer */
  uint32_t max_waiting;           /* of those, before they are sent: for an answer from elsewhere */
  uint32_t max_kept;              /* bytes of messages saved for transactions, per worker */
  uint32_t max_open_calls;        /* toward peers with max_calls, of the whole process */
  uint32_t max_message;           /* bytes of one SIP message */
  uint32_t max_head;              /* bytes of its head */
  uint32_t max_handshakes;        /* in progress, per handshake thread */
  uint32_t max_handshakes_source; /* in progress from one source */
  uint32_t max_half_open;         /* without a complete ClientHello, per handshake thread */
  uint32_t max_half_open_source;  /* of those, from one source */
  uint32_t send_buffer;           /* bytes waiting per connection before more is refused */
  uint32_t send_min_rate;         /* bytes a second that a peer with a backlog must take, 0: any */
  uint32_t udp_answer_factor; /* bytes retransmitted per byte received from a UDP source that is not
                                 a peer */
  uint32_t connect_queue;     /* messages waiting per connection being established */
  uint32_t recv_buffers;      /* buffers in a worker's receive ring, a power of two */
  uint32_t zero_copy_body;    /* bodies of at least this many bytes are sent without a copy */
  uint32_t splice_body;       /* the same, with body_relay = splice without leaving the kernel */
};

struct tl_conf_timeouts { /* all in milliseconds */
  uint32_t hello, handshake, connect, message, send, idle, half_closed, drain, retire;
  uint32_t call_setup_max;
  uint32_t t1, t2, t4; /* RFC 3261 17.1.1.1 */
  uint32_t timer_b, timer_c, timer_f;
  uint32_t trying; /* INVITE without an answer for this long gets a 100 */
};

struct tl_conf {
  _Atomic uint64_t refs;
  uint64_t generation; /* 1 for the first, one more with each reload */
  char *file;
  struct tl_conf_options opt;
  struct tl_conf_limits limits;
  struct tl_conf_timeouts timeouts;
  size_t n_listen;
  struct tl_conf_listen *listen;
  size_t n_domain;
  struct tl_tls_domain **domain;
  struct tl_tls_set tls_set;
  char **local_domains; /* lower case, NULL-terminated: `domains` and every advertised host */
  struct tl_token_keys *token_keys;     /* a reference */
  struct tl_conf_map *map;              /* private: for tl_conf_mapped; NULL: no identity_map */
  struct tl_conf_names *names;          /* private: for tl_conf_is_local */
  struct tl_listen_index *listen_index; /* private: for tl_conf_listener_at and its like */
  struct tl_raw *raw;                   /* private: the values as written, for print and reload */
};

/* Where C's tokens have keys of the process alone, because there is no key_file yet: makes the
 * file, for the user that C names, with those keys. TL_EIO, and ERR says why: it cannot be made.
 * Before C is published. */
int tl_conf_keep_token_keys(struct tl_conf *c, char *err, size_t cap);
/* Does C name key_file itself? */
bool tl_conf_wants_key_file(const struct tl_conf *c);

/* Called once per problem. LINE 0: the file as a whole. Warnings go to the log instead. */
typedef void (*tl_conf_report_fn)(void *arg, const char *file, int line, const char *sentence);

struct tl_view;

/* Reads FILE and builds everything it names: certificates, keys, addresses. With PREVIOUS, options
 * that cannot change while running are compared with it (a change is refused with file:line), what
 * is known of its peers is taken over, and the generation counts on from it. */
int tl_conf_load(const char *file, const struct tl_view *previous, tl_conf_report_fn report,
                 void *arg, struct tl_view **out);
struct tl_conf *tl_conf_ref(struct tl_conf *c);
void tl_conf_unref(struct tl_conf *c);
/* The resolved configuration, every option with its value; EXPLAIN adds each option's reason. */
void tl_conf_print(const struct tl_view *v, bool explain, FILE *f);

/* Calls FN for each file and directory that C names, its own files included, and also for PEM text
 * and URIs given in the place of a file. */
typedef void (*tl_conf_file_fn)(void *arg, const char *path);
void tl_conf_each_file(const struct tl_conf *c, tl_conf_file_fn fn, void *arg);

/* The TLS domain of C named NAME (may be NULL), or NULL. Constant time. */
struct tl_tls_domain *tl_conf_domain_named(const struct tl_conf *c, const char *name);
/* Is D one of C's own, not one of the same name that another configuration has? Constant time. */
bool tl_conf_has_domain(const struct tl_conf *c, const struct tl_tls_domain *d);

/* Every option of the language with default and reason, as Markdown: the table in the manual. */
void tl_conf_reference(FILE *f);

/* Is HOST one of our domains or addresses? PORT 0: none was written. Numeric hosts need the port of
 * a listener; a name of `domains` is ours with any port. No allocation, constant time. */
bool tl_conf_is_local(const struct tl_conf *c, struct tl_str host, uint16_t port);
/* The listener of C with transport T and address A, by its place; -1: none. Constant time. */
int tl_conf_listener_at(const struct tl_conf *c, enum tl_transport t, const struct tl_addr *a);
/* The one that accepts what comes to LOCAL, an address of this machine, by T; -1: none. */
int tl_conf_listener_of(const struct tl_conf *c, enum tl_transport t, const struct tl_addr *local);
/* Does a listener of C have PORT, or advertise it, whatever its transport? Constant time. */
bool tl_conf_listens_on(const struct tl_conf *c, uint16_t port);
/* Does sending to TO by T reach a listener of ours? Constant time. */
bool tl_conf_is_listener(const struct tl_conf *c, enum tl_transport t, const struct tl_addr *to);
/* Is HOST the name of one of our domains, with or without PORT? Numeric hosts are nobody's domain.
 */
bool tl_conf_is_local_domain(const struct tl_conf *c, struct tl_str host, uint16_t port);

/* What the identity map says of KEY, a common name, subjectAltName value or SHA-256 digest in hex;
 * NULL if nothing, or KEY is NULL. */
const struct tl_conf_mapping *tl_conf_mapped(const struct tl_conf *c, const char *key);
