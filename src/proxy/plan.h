/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plan: what a request is to become and where it goes. route.c and target.c fill
 * it, forward.c and stateless.c carry it out, explain_answer.c prints it.
 *
 * Ownership: from the worker's pool; a transaction owns its plan until the final
 * response. Slices point into the request: tl_plan_rebind sets them anew for a copy
 * of it. Routes, peers and domains are those of a view that must outlive the plan.
 * Threads: the worker's own. Errors: codes of err.h.
 */
#pragma once

#include "tieline/view.h"
#include "token.h"

#define TL_ROUTES_MAX 64 /* Route values of one request */
#define TL_TARGETS_MAX 8 /* at hand at the same time */

/* An address to try. */
struct tl_target {
  struct tl_addr addr;
  enum tl_transport transport;
  struct tl_tls_domain *domain; /* of the transaction's view */
  const struct tl_conf_peer *peer;
  const struct tl_peer_group *group; /* whose member the peer is here, NULL: it is by itself */
  struct tl_dest_state *dest; /* of the transaction's view; NULL: not judged, it is no peer's */
  bool by_leg;  /* TLS to a bare address: the certificate must be that of the dialog's leg */
  bool trial;   /* it was suspect or down: only who claims it tries it in its order */
  bool skipped; /* another request has claimed it */
};

#define TL_HUNT_HASHES (TL_GROUP_HASH_REQUEST_URI - TL_GROUP_HASH_CALL_ID + 1)

/* Targets that are no longer at hand, by tl_target_key. */
struct tl_tried {
  uint64_t key[TL_ROUTE_ATTEMPTS_MAX];
  size_t n;
};

/* How far the search of a route's peers for targets has come, see hunt.h. */
struct tl_hunt {
  bool on;            /* the targets are those of the route's peers */
  bool left;          /* some address was left to a later pass */
  bool over;          /* none is left that may be tried */
  bool tcp_first;     /* as tl_target_prefer_tcp has it, for those that are still to be found */
  uint8_t pass;       /* which addresses are looked at now */
  uint8_t n_attempt;  /* targets that the request was to be sent to */
  uint32_t next_dest; /* of the route */
  struct tl_group_turn turn;       /* in the group that this is */
  const struct tl_conf_peer *held; /* whose turn it is, but there was no room for its addresses */
  const struct tl_peer_group *held_group;
  uint64_t draw;                 /* decides among hosts of the same priority */
  uint64_t hash[TL_HUNT_HASHES]; /* of what groups go by, where the route has such */
  struct tl_tried *tried;        /* NULL: none; the plan's */
};

struct tl_plan {
  const struct tl_conf_route *route; /* NULL: follows its Route header by right of our token */
  struct tl_uri uri;                 /* the Request-URI, after 16.4 */
  struct tl_uri next_uri;            /* the URI that decides where to */
  uint8_t drop_routes;               /* Route values of ours to remove from the top */
  uint8_t n_routes;     /* Route values in all, except the one that strict_in moved to the URI */
  bool strict_in;       /* a strict router before us put our URI into the Request-URI (16.4) */
  bool strict_out;      /* the next hop is one (16.6 step 6) */
  bool strip_maddr;     /* the maddr of the Request-URI is ours (16.4) */
  bool to_self;         /* a peer's address was left out because it is a listener of ours */
  bool taken_out;       /* or because an administrator says so */
  bool downgrade;       /* a target was left out because it may only be reached by TLS */
  bool secure;          /* sips: TLS to the last hop (RFC 5630) */
  bool reverse;         /* in_dialog: against the request that opened it */
  bool in_dialog;       /* admitted by our Record-Route token: it comes from a leg of the dialog */
  bool rewrite_host;    /* the Request-URI names us: it becomes the peer's */
  bool own;             /* a request of ours: our Via is the only one */
  bool record_route;    /* we ask to stay in its dialog (16.6 step 4) */
  int search_rc;        /* of the search for targets: 0, TL_EAGAIN, TL_ENOTFOUND */
  uint16_t status;      /* that it is refused with where the search found none */
  const char *refusal;  /* reason phrase of a refusal, NULL: that of the status */
  uint32_t pause_ms;    /* of a refusal: when its peers take requests again, 0: not known */
  tl_conn_id flow_conn; /* connection to use if it is alive, 0: none */
  enum tl_transport flow_transport;
  uint64_t leg_peer;         /* in_dialog: the peer that the next leg is, 0: none */
  struct tl_leg_end leg_end; /* and where it was */
  struct tl_addr source;     /* where the request comes from */
  uint64_t caller;           /* for our Record-Route: the peer that it comes from, 0: none */
  uint64_t caller_name;      /* or tl_token_name of its certificate, 0: none verified */
  uint64_t before;           /* and the MAC of our token that it brought, 0: none */
  bool caller_verified;
  const struct tl_conf_peer *unresolved; /* the peer whose name must be looked up */
  struct tl_hunt hunt;
  uint8_t n_target, at; /* AT: the next one to try */
  uint8_t copies;       /* sent at the same time; 0: one */
  struct tl_target target[TL_TARGETS_MAX];
  char host[TL_HOST_MAX]; /* domain of the next hop: SNI and identity (RFC 5922 7.3) */
  char leg[TL_HOST_MAX];  /* the same of the dialog's leg, where that is not a peer; "": none */
};

/* A plan with nothing in it yet, not even cleared: what fills it does that. NULL if memory is
 * short. tl_plan_free gives it back (NULL: nothing). */
struct tl_plan *tl_plan_new(struct tl_proxy *p);
void tl_plan_free(struct tl_proxy *p, struct tl_plan *plan);
/* Empties PLAN, for whatever fills it. */
void tl_plan_clear(struct tl_plan *plan);

/* Sets the Request-URI and the next hop as the flags of PLAN say; ROUTE has the N Route values of
 * M. TL_ESYNTAX: a Route value cannot be read. */
int tl_plan_bind(struct tl_plan *plan, const struct tl_msg *m, const struct tl_nameaddr *route,
                 int n);
/* The same for another copy of the same request, at which the slices of PLAN shall point. */
void tl_plan_rebind(struct tl_plan *plan, const struct tl_msg *m);
/* All values of M's fields ID, those of name-addr, in order; their number, -1 when one cannot be
 * read or they are too many. */
int tl_plan_nameaddrs(const struct tl_msg *m, enum tl_hdr_id id,
                      struct tl_nameaddr out[TL_ROUTES_MAX]);
/* The same of Route. */
int tl_plan_route_values(const struct tl_msg *m, struct tl_nameaddr out[TL_ROUTES_MAX]);

/* The host that decides the next hop where no peer does: of the first Route or Request-URI, its
 * maddr before all else. */
struct tl_str tl_plan_next_host(const struct tl_plan *plan);
/* The name that T's certificate must carry (RFC 5922 7.3). */
const char *tl_plan_identity(const struct tl_plan *plan, const struct tl_target *t);
/* Reason phrase for a request all of whose targets are TLS ones that no TLS domain covers; else
 * NULL. */
const char *tl_plan_lacks_domain(const struct tl_plan *plan);
/* The same for one whose peers have only addresses that are listeners of ours. */
const char *tl_plan_only_us(const struct tl_plan *plan);

/* Do PLAN's targets get the request at the same time? Inside a dialog there is one destination: its
 * address is only tried when the flow fails. */
static inline bool tl_plan_forks(const struct tl_plan *plan) {
  return plan->route && !plan->in_dialog && plan->route->opt.fork == TL_FORK_PARALLEL;
}

/* Is U a SIP URI of an address of ours? */
bool tl_plan_is_local(const struct tl_proxy *p, const struct tl_uri *u);
/* The transport that U asks for, UDP by default. */
enum tl_transport tl_plan_transport(const struct tl_uri *u);
/* The same where U's parameter has been read: NAMED, TL_TRANSPORTS: it names none. */
static inline enum tl_transport tl_plan_transport_named(const struct tl_uri *u,
                                                        enum tl_transport named) {
  if (named == TL_TRANSPORTS) named = TL_UDP;
  return u->scheme == TL_SCHEME_SIPS ? tl_transport_secured(named) : named;
}
