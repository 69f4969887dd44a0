/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The routes, found by id and by what they demand of a request. A table never
 * changes: another one is published with a generation of its own.
 *
 * Ownership: counted references. A table owns its routes and holds the peers that
 * they lead to. Threads: read by any; made by the control thread, and published in a
 * view. Errors: NULL: memory is short.
 */
#pragma once

#include "tieline/index_map.h"
#include "tieline/peer_group.h"
#include "tieline/peer_table.h"
#include "tieline/route_index.h"

/* What is known about the other side of a connection. Each level implies those after it. */
enum tl_trust {
  TL_TRUST_VERIFIED,  /* its certificate was verified */
  TL_TRUST_ENCRYPTED, /* TLS, but no verified certificate */
  TL_TRUST_ANY,
};

#define TL_ROUTE_ATTEMPTS_MAX 64

/* What a route does with several targets (RFC 3261 16.6). */
enum tl_fork {
  TL_FORK_FAILOVER, /* the next one when one cannot serve: by default no connection, silence, 408,
                       500, 502, 503, 504 */
  TL_FORK_SERIAL,   /* by default after any final response but 2xx and 6xx */
  TL_FORK_PARALLEL, /* all at once */
};

/* A route's options as they are configured. Texts and lists belong to the blocks. */
struct tl_route_options {
  char *to_prefix;  /* prefix of the Request-URI's user, NULL: any */
  char **to_domain; /* Request-URI hosts, lower case; NULL: any */
  char **from_peer; /* peers the request may come from; NULL: any */
  char **peers, **relay_networks;
  char *tls_domain;
  uint32_t peer_verified, relay; /* as words, see struct tl_conf_route */
  enum tl_trust trust;           /* required of the source */
  /* Globs, one of which must match the verified certificate; NULL: any. */
  char **peer_subject, **peer_issuer, **peer_san, **peer_fingerprint, **peer_anchor;
  uint32_t strip; /* characters off the user's front */
  char *prepend;  /* put before the user, NULL: nothing */
  enum tl_fork fork;
  uint32_t max_attempts;     /* targets that are tried, at most TL_ROUTE_ATTEMPTS_MAX */
  uint32_t setup_timeout_ms; /* after which no further one is, nor one awaited that does not ring */
  char **reroute_on, **stop_on; /* NULL: as fork has it */
  bool reroute_after_ringing;   /* a further one is tried although an earlier one rang */
  enum tl_preloaded preloaded_route;
  bool stateless; /* forwarded without a transaction (RFC 3261 16.11) */
};

/* What a route leads to: a peer or a group of them. */
struct tl_route_dest {
  const struct tl_conf_peer *peer; /* NULL: a group */
  struct tl_peer_group *group;     /* of the same table */
};

struct tl_conf_route {
  char *name;
  uint64_t id; /* the same in each table: hash of the name */
  struct tl_route_options opt;
  struct tl_outcomes reroute_on, stop_on;
  uint32_t n_domain;                   /* of opt.to_domain, counted by tl_route_table_index */
  bool verified_only, unverified_only; /* peer_verified */
  bool relay_request_uri;              /* relay: to where the Request-URI (or next Route) points */
  size_t n_from;
  const struct tl_conf_peer **from; /* from_peer as peers */
  size_t n_relay_network;
  struct tl_network *relay_network; /* inner networks that relay may reach from outside */
  struct tl_tls_domain *domain;     /* a reference: overrides for TLS targets; may be NULL */
  bool has_groups;                  /* some of dest are */
  size_t n_dest;
  struct tl_route_dest *dest; /* tried in order */
  size_t n_peer;
  const struct tl_conf_peer **peer; /* all that it leads to, each once */
};

struct tl_route_table {
  _Atomic uint32_t refs;
  uint64_t generation; /* no other table of the process has it */
  size_t n;
  struct tl_conf_route *route;
  size_t n_group;
  struct tl_peer_group *group; /* in the order of their blocks */
  struct tl_route_index index; /* numbers are those of ROUTE */
  struct tl_index_map ids;
  struct tl_index_map members;            /* private: of long lists of routes, see route_lists.c */
  struct tl_network_index relay_networks; /* private: the same */
  struct tl_peer_set *peers;              /* a reference: those that the routes lead to */
  struct tl_raw *raw;                     /* a reference: the blocks that they were made of */
  tl_raw_drop_fn drop_raw;
};

/* An empty table; one reference. Takes a reference to PEERS, and RAW over, also on failure. */
struct tl_route_table *tl_route_table_new(struct tl_peer_set *peers, struct tl_raw *raw,
                                          tl_raw_drop_fn drop_raw);
/* Route NUMBER of T, which is still its maker's, is there: it can be found from now on. */
int tl_route_table_index(struct tl_route_table *t, uint32_t number);
struct tl_route_table *tl_route_table_ref(struct tl_route_table *t);
void tl_route_table_unref(struct tl_route_table *t);
/* The route with that id, or NULL. */
const struct tl_conf_route *tl_route_table_by_id(const struct tl_route_table *t, uint64_t id);

/* What is in the lists of R, a route of T: from_peer, all peers that it leads to, to_domain,
 * relay_networks. A thousand members cost no more than ten. */
bool tl_route_is_from(const struct tl_route_table *t, const struct tl_conf_route *r,
                      const struct tl_conf_peer *peer);
bool tl_route_leads_to(const struct tl_route_table *t, const struct tl_conf_route *r,
                       const struct tl_conf_peer *peer);
bool tl_route_has_domain(const struct tl_route_table *t, const struct tl_conf_route *r,
                         struct tl_str host);
bool tl_route_relays_into(const struct tl_route_table *t, const struct tl_conf_route *r,
                          const struct tl_addr *addr);
