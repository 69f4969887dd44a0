/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a host to its addresses, as RFC 3263 4 has it: NAPTR when neither transport
 * nor port was given, SRV when no port was, then A and AAAA of each host. The walk
 * says what to ask next; its driver asks, at once or with patience, and gives the
 * answers.
 *
 * Ownership: a walk is its driver's, and holds no memory of its own. Threads: one
 * at a time. Errors: as said.
 */
#pragma once

#include "tieline/dns.h"
#include "tieline/locate.h"

#define TL_WALK_ADDRS 8
#define TL_WALK_TARGETS (TL_SERVICES_MAX * TL_SRV_MAX) /* hosts followed */
#define TL_WALK_EACH 8                                 /* addresses of one family kept per host */

struct tl_walk_wanted {
  const char *host; /* lives as long as the walk; without a dot at its end */
  uint16_t port;    /* 0: none was given */
  enum tl_transport transport;
  bool any_transport; /* none was given: NAPTR decides, TRANSPORT is what is left without */
  bool secure;        /* a sips URI: nothing but TLS */
  bool plain;         /* nothing is asked about services */
};

struct tl_walk_found {
  size_t n;
  struct tl_addr addr[TL_WALK_ADDRS]; /* in the order to be tried */
  uint8_t via[TL_WALK_ADDRS];         /* enum tl_transport of each */
  uint8_t group[TL_WALK_ADDRS];       /* of one service and priority, ascending */
  uint8_t target[TL_WALK_ADDRS];      /* of one host, ascending */
  uint16_t weight[TL_WALK_ADDRS];     /* of that host in its group */
  uint32_t ttl_s;                     /* how long it holds */
  bool unsure; /* no answer about some services: those found may be the wrong ones */
};

/* Numeric addresses, and hosts in the hosts file: nothing need be asked about them. */
bool tl_walk_at_hand(const struct tl_walk_wanted *w, struct tl_walk_found *out);

struct tl_walk;

/* One question; its place in the walk says which. */
struct tl_walk_query {
  struct tl_dns_wait wait; /* first; for a driver that has patience */
  struct tl_walk *walk;
  bool open; /* asked, not answered */
  uint16_t type;
  uint8_t at; /* SRV: of which service; addresses: of which target */
};

struct tl_walk_target {
  char host[256];
  uint16_t port, priority, weight;
  uint8_t service;
  struct tl_walk_query a, aaaa;
  struct tl_addr addr[2][TL_WALK_EACH]; /* IPv4, IPv6 */
  size_t n[2];
};

/* Asks for NAME; gives the answer to tl_walk_answer, from within or later. An answer to either of A
 * and AAAA may bring addresses of both families. */
typedef void (*tl_walk_ask_fn)(struct tl_walk_query *q, const char *name);

/* The fields are private. */
struct tl_walk {
  struct tl_walk_wanted wanted;
  tl_walk_ask_fn ask;
  unsigned n_open;   /* questions without an answer */
  unsigned srv_left; /* of those that look for hosts */
  bool name_error;   /* some answer was "no such name" */
  bool service_none; /* some service is decidedly not there */
  bool no_services;  /* an answer about services is missing: silence does not mean there are none */
  bool unsure;
  uint32_t ttl_s; /* shortest so far */
  struct tl_walk_query naptr, srv[TL_SERVICES_MAX];
  struct tl_services services;
  size_t n_target;
  struct tl_walk_target target[TL_WALK_TARGETS]; /* of each service in its order */
};

/* Asks the first questions. */
void tl_walk_begin(struct tl_walk *k, const struct tl_walk_wanted *w, tl_walk_ask_fn ask);
/* A is the answer to Q; may ask more. A driver looks at tl_walk_is_over afterwards. */
void tl_walk_answer(struct tl_walk_query *q, const struct tl_dns_answer *a);
static inline bool tl_walk_is_over(const struct tl_walk *k) { return k->n_open == 0; }
/* Ends it; FORGET is called for each question that is open. What was found until then is good. */
void tl_walk_end(struct tl_walk *k, void (*forget)(struct tl_walk_query *q));
/* What was found. Where that is nothing: TL_ENOTFOUND, there is decidedly none, or TL_EIO. */
int tl_walk_result(const struct tl_walk *k, struct tl_walk_found *out);
