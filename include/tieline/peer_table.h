/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The peers with the addresses that they have at present, found by id, address,
 * network and the names of their certificates. A table never changes: when an
 * address does, another one is published with a generation of its own.
 *
 * Ownership: counted references. A table owns its peers, together with those tables
 * that differ from it in addresses only. Threads: read by any; made by the control
 * thread, and published in a view. Errors: NULL: memory is short.
 */
#pragma once

#include "tieline/addr.h"
#include "tieline/binding.h"
#include "tieline/dest_state.h"
#include "tieline/outcome.h"
#include "tieline/peer_index.h"
#include "tieline/peer_lists.h"
#include "tieline/peer_state.h"
#include "tieline/status_set.h"
#include "tieline/tls_choice.h"
#include "tieline/tls_options.h"
#include "tieline/transport.h"

#define TL_PEER_CONNECTIONS_MAX 16

/* What becomes of a Route to third parties that bears no token of ours. */
enum tl_preloaded { TL_PRELOADED_REFUSE, TL_PRELOADED_ALLOW };

/* Requests inside a dialog that we let in: trusted with their connection, or checked again. */
enum tl_in_dialog { TL_IN_DIALOG_TRUST, TL_IN_DIALOG_REVALIDATE };

/* When OPTIONS are sent. */
enum tl_probe_mode { TL_PROBE_ALWAYS, TL_PROBE_WHEN_DOWN };

/* A peer's options as they are configured. Texts and lists belong to the blocks. */
struct tl_peer_options {
  char *uri;
  char *tls_domain, *ca_list;
  char **identity; /* all names that tell it, the one that we demand first; NULL: the host of uri */
  char **domains;  /* others that it may name in From, lower case; NULL: none */
  char **networks, **spki_sha256;
  enum tl_check_from check_from; /* if check_set of the peer says so */
  enum tl_in_dialog in_dialog;
  enum tl_preloaded preloaded_route;
  bool transit;             /* forwards third parties' requests: From is not checked */
  bool tls_only;            /* neither reached nor recognised without TLS */
  uint32_t max_cps;         /* 0: no limit */
  uint32_t cps_burst;       /* 0: as max_cps */
  uint32_t max_calls;       /* concurrent, in the whole process, 0: no limit */
  uint32_t max_connections; /* opened from its address, 0: limits.max_connections_peer */
  uint32_t connections;     /* to each of its addresses, over all workers; 0: one of each worker */
  uint32_t max_message;     /* bytes of a message sent to it, 0: no limit */
  uint32_t probe_ms;        /* 0: none */
  enum tl_probe_mode probe_mode;
  uint32_t probe_timeout_ms, probe_down_after, probe_up_after;
  uint32_t down_after, down_for_ms, slow_start_ms;
  uint32_t heard_within_ms;     /* 0: it need not send us any request */
  char **down_on;               /* NULL: 503 */
  char **probe_ok;              /* NULL: all but 408 and 503 */
  uint32_t max_age_ms;          /* of a connection to it, 0: as its TLS domain says */
  uint32_t retry_after_max_ms;  /* longest pause after a 503 with Retry-After, 0: none */
  uint32_t answer_timeout_ms;   /* to any answer, 0: as long as Timer B or F */
  uint32_t ring_timeout_ms;     /* from ringing to the answer, 0: as long as Timer C */
  char **reroute_on, **stop_on; /* NULL: as the route has them */
};

struct tl_conf_peer {
  char *name;
  uint64_t id; /* the same in each table: hash of the name */
  struct tl_peer_options opt;
  enum tl_transport transport;
  char *host;    /* host part of uri, brackets kept */
  uint16_t port; /* never 0: the transport's default filled in */
  bool sips;
  bool any_port;                 /* uri has none: SRV records say it (RFC 3263) */
  bool any_transport;            /* nor a transport: NAPTR records do */
  bool by_cert;                  /* identified by its certificate alone, unless it has networks */
  bool counts_calls;             /* its calls are, though it has no max_calls */
  bool check_set;                /* check_from is set here, else the TLS domain's applies */
  struct tl_dest_rules rules;    /* for each of its addresses */
  struct tl_status_set down_on;  /* answers to requests that tell that it takes none */
  struct tl_status_set probe_ok; /* answers to probes that tell that it takes requests */
  struct tl_outcomes reroute_on, stop_on;
  struct tl_tls_domain *domain; /* for TLS, a reference; NULL: chosen by destination */
  char *identity;               /* name its certificate must carry */
  uint32_t n_identity,
      n_domain; /* of opt.identity and opt.domains, counted by tl_peer_lists_index */
  size_t n_network;
  struct tl_network *network; /* source networks where no certificate identifies it; none: addr */
  struct tl_binding *binding; /* further demands on its certificate; NULL: none */
  size_t n_addr;              /* found when the table was built, in order of preference */
  struct tl_addr *addr;
  uint8_t *via;                /* enum tl_transport of each address */
  struct tl_peer_state *state; /* a reference, shared by all tables that have the peer */
};

/* What the peers and routes of a table were made of, whose texts they use; its own end drops a
 * reference to it. */
struct tl_raw;
typedef void (*tl_raw_drop_fn)(struct tl_raw *raw);

/* The peers as they are configured. */
struct tl_peer_set {
  _Atomic uint32_t refs;
  uint64_t generation; /* no other set of the process has it */
  size_t n;
  struct tl_conf_peer *peer;
  struct tl_peer_lists lists; /* of the peers */
  struct tl_raw *raw; /* a reference: the blocks that they were made of, in the same order */
  tl_raw_drop_fn drop_raw;
};

/* A destination by the TLS domain of a route, which is not the one that the peer has. */
struct tl_dest_by_route {
  struct tl_dest_by_route *next;
  const struct tl_dest_state *usual;
  struct tl_dest_state *dest; /* a reference */
};
#define TL_DEST_BY_ROUTE_BUCKETS 256u

struct tl_peer_table {
  _Atomic uint32_t refs;
  uint64_t generation; /* no other table of the process has it */
  size_t n;
  const struct tl_conf_peer *peer;
  struct tl_addr_list **addrs; /* of each, a reference */
  uint32_t *first_dest;        /* of each, in DEST */
  struct tl_dest_state **dest; /* of each address of each, references */
  uint32_t n_dest;
  _Atomic uint32_t n_by_route;
  /* Added by whoever asks first, never taken away. */
  _Atomic(struct tl_dest_by_route *) by_route[TL_DEST_BY_ROUTE_BUCKETS];
  struct tl_peer_index index; /* numbers are those of PEER */
  bool bounds_messages;       /* some peer has max_message */
  struct tl_peer_set *set;    /* a reference: what owns PEER */
};

/* Without peers yet; one reference. Takes RAW over, also on failure. */
struct tl_peer_set *tl_peer_set_new(struct tl_raw *raw, tl_raw_drop_fn drop_raw);
struct tl_peer_set *tl_peer_set_ref(struct tl_peer_set *s);
void tl_peer_set_unref(struct tl_peer_set *s);

/* Of the peers of S with their addresses of now, reached by the TLS domains of TLS (NULL: none);
 * one reference. Takes a reference to S. */
struct tl_peer_table *tl_peer_table_new(struct tl_peer_set *s, const struct tl_tls_set *tls);
struct tl_peer_table *tl_peer_table_ref(struct tl_peer_table *t);
void tl_peer_table_unref(struct tl_peer_table *t);

/* Where PEER, of T, is reached. */
static inline const struct tl_addr_list *tl_peer_table_addrs(const struct tl_peer_table *t,
                                                             const struct tl_conf_peer *peer) {
  return t->addrs[peer - t->peer];
}
/* What is known of the K-th of those, by the TLS domain that the peer has where no route says
 * another. */
static inline struct tl_dest_state *tl_peer_table_dest(const struct tl_peer_table *t,
                                                       const struct tl_conf_peer *peer, size_t k) {
  return t->dest[t->first_dest[peer - t->peer] + k];
}
/* What is known of USUAL's address by the TLS domain called DOMAIN, as long as T lives; NULL:
 * memory is short. Takes a lock only when that is first asked for. */
struct tl_dest_state *tl_peer_table_dest_by(const struct tl_peer_table *t,
                                            const struct tl_dest_state *usual, const char *domain);
/* Each of those that have been asked for with USUAL. */
typedef void (*tl_dest_by_route_fn)(void *arg, struct tl_dest_state *dest);
void tl_peer_table_dests_by_route(const struct tl_peer_table *t, const struct tl_dest_state *usual,
                                  tl_dest_by_route_fn fn, void *arg);
/* The peer with ID, or NULL. */
const struct tl_conf_peer *tl_peer_table_by_id(const struct tl_peer_table *t, uint64_t id);
/* The peer called NAME, or NULL. */
const struct tl_conf_peer *tl_peer_table_by_name(const struct tl_peer_table *t, const char *name);

/* Is TLS the only way to P, reached at L? Then nothing that comes in the clear is from it. */
bool tl_conf_peer_only_tls(const struct tl_conf_peer *p, const struct tl_addr_list *l);
/* The TLS domain of TLS by which P is reached at ADDR where no route says another; NULL: none fits.
 */
struct tl_tls_domain *tl_conf_peer_domain(const struct tl_conf_peer *p,
                                          const struct tl_tls_set *tls, const struct tl_addr *addr);
/* The addresses that were found while P's table was built, as a list with one reference; NULL when
 * memory is short. */
struct tl_addr_list *tl_conf_peer_found(const struct tl_conf_peer *p);
/* P's state begins anew with those. */
int tl_conf_peer_begin(const struct tl_conf_peer *p);
