/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which TLS domain a handshake gets: by the name that is asked for, by listener or
 * address, by the authorities that the client trusts. src/control shows the same
 * choice with its reasons.
 *
 * Ownership: a set borrows its domains, what is asked borrows all. Threads: any; a
 * set that is indexed is constant. Errors: TL_ENOMEM for the index; no domain: NULL.
 */
#pragma once

#include "tieline/addr.h"
#include "tieline/index_map.h"
#include "tieline/str.h"
#include "tieline/tls_domain.h"

/* Which rule chose a domain; a client's destination domain takes the place of the server name. */
enum tl_choice {
  TL_CHOICE_NONE,
  TL_CHOICE_SNI_EXACT,
  TL_CHOICE_SNI_WILDCARD,
  TL_CHOICE_LISTENER,
  TL_CHOICE_ADDRESS,
  TL_CHOICE_DEFAULT
};
/* "name_exact", "name_wildcard" ...: what ctl and logs call a rule. */
const char *tl_choice_name(enum tl_choice rule);

/* Candidates for a listener or a destination, in file order; borrowed. */
struct tl_tls_set {
  struct tl_tls_domain **domain;
  size_t n;
  struct tl_tls_domain *fallback; /* named "default", or the only one; may be NULL */
  struct tl_index_map index;      /* private: names and addresses to domains, by number */
  bool indexed;                   /* private */
};
/* Indexes S, whose domains are complete, so that choosing does not look at each of many. Without
 * that it does. TL_ENOMEM. */
int tl_tls_set_index(struct tl_tls_set *s);
/* Frees what the index takes. */
static inline void tl_tls_set_clear(struct tl_tls_set *s) { tl_index_map_clear(&s->index); }
struct tl_ca_wanted;
/* What is asked for; all borrowed. */
struct tl_tls_ask {
  bool server;
  struct tl_str name;             /* server: SNI; client: destination domain; may be empty */
  struct tl_tls_domain *listener; /* server: the listener's own, may be NULL */
  const struct tl_addr *addr;     /* server: the listener's, client: the destination's, or NULL */
  const struct tl_ca_wanted *wanted; /* server: authorities the client trusts, NULL: not said */
};
/* Why a domain was chosen or not, for `explain`. */
struct tl_tls_candidate {
  const struct tl_tls_domain *domain;
  enum tl_choice rule; /* the best one by which it fits, TL_CHOICE_NONE: it does not */
  bool wanted;         /* a certificate of it ends in an authority that the client trusts */
  bool chosen;
  const char *why; /* a phrase, a constant */
};
struct tl_tls_trace {
  struct tl_tls_candidate *candidate; /* room for CAP, the caller's; the set's size + 2 suffices */
  size_t cap, n;
  bool by_authority; /* several fitted equally, and what the client trusts decided */
};
/* The one order of choice, in docs/configuration.md: best rule, then the authority the client
 * trusts, then the order of the file. TRACE and OUT_RULE may be NULL. */
struct tl_tls_domain *tl_tls_choose(const struct tl_tls_set *set, const struct tl_tls_ask *ask,
                                    struct tl_tls_trace *trace, enum tl_choice *out_rule);
/* What both A and B match in a role they share, so that B after A would never be used; NULL if
 * there is nothing, or if what clients trust can tell them apart. In *BUF (CAP bytes). */
const char *tl_tls_domains_clash(const struct tl_tls_domain *a, const struct tl_tls_domain *b,
                                 char *buf, size_t cap);
/* Client side, where neither route nor peer named one: destination domain, address, fallback. */
struct tl_tls_domain *tl_tls_choose_client(const struct tl_tls_set *set, struct tl_str sip_domain,
                                           const struct tl_addr *dest, enum tl_choice *out_rule);
