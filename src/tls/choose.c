/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which TLS domain serves a handshake, in the documented order: server side SNI
 * exact, SNI wildcard, the listener's own, the listener's address, the fallback;
 * client side destination domain exact, wildcard, destination address, the
 * fallback. Among domains that fit equally well, the first whose certificate
 * ends in an authority that the client trusts is taken, then the first in the
 * file. A domain without the role is skipped. credentials_show.c chooses
 * the certificate of the domain to show.
 */
#include <ctype.h>
#include <stdio.h>

#include "tls/tls_internal.h"

/* How well a domain fits: lower is better. A rule has room for finer steps. */
enum { STEPS = 4, UNFIT = (TL_CHOICE_DEFAULT + 1) * STEPS };

#define FEW 8 /* domains that are looked at one by one faster than in an index */

static bool has_role(const struct tl_tls_domain *d, bool server) {
  return server ? d->server != NULL : d->client != NULL;
}

/* Lower case, without the trailing dot; false if it cannot be a domain name. An address is not
 * one. */
static bool normalize_name(struct tl_str name, char out[256]) {
  struct tl_addr ignored;
  if (name.n && name.p[name.n - 1] == '.') name.n--;
  if (name.n == 0 || name.n > 255 || tl_addr_parse(name, 0, &ignored) == 0) return false;
  for (size_t i = 0; i < name.n; i++) {
    out[i] = (char)tolower((unsigned char)name.p[i]);
    if (out[i] == '\0') return false;
  }
  out[name.n] = '\0';
  return true;
}

static bool match_name(const char *pattern, const char *name) {
  if (strncmp(pattern, "*.", 2) != 0) return strcmp(pattern, name) == 0;
  const char *dot = strchr(name, '.'); /* the star stands for exactly one label */
  return dot && dot != name && strcmp(dot, pattern + 1) == 0;
}

/* The best of LIST: TL_CHOICE_SNI_EXACT, TL_CHOICE_SNI_WILDCARD or TL_CHOICE_NONE. */
static enum tl_choice by_name(char *const *list, const char *name) {
  enum tl_choice best = TL_CHOICE_NONE;
  for (char *const *p = list; p && *p; p++) {
    if (!match_name(*p, name)) continue;
    if (strncmp(*p, "*.", 2) != 0) return TL_CHOICE_SNI_EXACT;
    best = TL_CHOICE_SNI_WILDCARD;
  }
  return best;
}

/* The best match: 0 with port, 1 without, 2 any address, -1 none. */
static int by_address(const struct tl_tls_domain *d, const struct tl_addr *a) {
  int best = d->match_any_ip ? 2 : -1;
  for (size_t k = 0; a && k < d->n_match_ip; k++) {
    const struct tl_addr *m = &d->match_ip[k];
    if (!tl_addr_ip_eq(m, a)) continue;
    if (tl_addr_port(m) == tl_addr_port(a)) return 0;
    if (!tl_addr_port(m)) best = 1;
  }
  return best;
}

static bool lists_names(const struct tl_tls_domain *d, bool server) {
  return (d->match_sip_domain && *d->match_sip_domain) || (server && d->own_names && *d->own_names);
}

/* By listener, by address or as the fallback: the rules that need no name. */
static int rank_without_name(const struct tl_tls_set *set, const struct tl_tls_ask *ask,
                             const struct tl_tls_domain *d, bool asks_name, const char **why) {
  int address = by_address(d, ask->addr);
  if (d == ask->listener) {
    *why = "the listener's tls_domain";
    return TL_CHOICE_LISTENER * STEPS;
  }
  if (address >= 0 && !(asks_name && lists_names(d, ask->server))) {
    *why = address == 2 ? "match_ip_address \"*\"" : "match_ip_address lists the address";
    return TL_CHOICE_ADDRESS * STEPS + address;
  }
  if (d == set->fallback) {
    *why = "the default, or the only one";
    return TL_CHOICE_DEFAULT * STEPS;
  }
  *why = address >= 0                 ? "it fits the address, but lists other names"
         : asks_name && d->n_match_ip ? "it lists neither this name nor this address"
         : asks_name                  ? "it does not list the name"
                                      : "it does not list the address";
  return UNFIT;
}

/* LOWER: the name asked for in lower case, NULL: none. */
static int rank_domain(const struct tl_tls_set *set, const struct tl_tls_ask *ask,
                       const struct tl_tls_domain *d, const char *lower, const char **why) {
  if (!has_role(d, ask->server)) {
    *why = ask->server ? "it has not the server role" : "it has not the client role";
    return UNFIT;
  }
  enum tl_choice rule = lower ? by_name(d->match_sip_domain, lower) : TL_CHOICE_NONE;
  if (rule == TL_CHOICE_NONE && lower && ask->server) rule = by_name(d->own_names, lower);
  bool limited = d->n_match_ip && !d->match_any_ip; /* names and addresses: both must fit */
  if (rule != TL_CHOICE_NONE && (!limited || !ask->addr || by_address(d, ask->addr) >= 0)) {
    *why = rule == TL_CHOICE_SNI_EXACT ? "it lists the name" : "it lists the name by a wildcard";
    return (int)rule * STEPS +
           (limited ? 0 : 1); /* a domain that lists the address as well fits better */
  }
  if (rule != TL_CHOICE_NONE) {
    *why = "it lists the name, but another address";
    return UNFIT;
  }
  return rank_without_name(set, ask, d, lower != NULL, why);
}

/* The state of the search. */
struct search {
  const struct tl_tls_set *set;
  const struct tl_tls_ask *ask;
  const char *lower;
  struct tl_tls_trace *trace;
  struct tl_tls_domain *best;
  int rank, equals;
  bool best_wanted;
};

static void note_candidate(struct search *s, const struct tl_tls_domain *d, int r, bool wanted,
                           const char *why) {
  struct tl_tls_trace *t = s->trace;
  if (!t || t->n == t->cap) return;
  t->candidate[t->n++] =
      (struct tl_tls_candidate){.domain = d,
                                .rule = r == UNFIT ? TL_CHOICE_NONE : (enum tl_choice)(r / STEPS),
                                .wanted = wanted,
                                .why = why};
}

static void consider_domain(struct search *s, struct tl_tls_domain *d) {
  const char *why = "";
  int r = rank_domain(s->set, s->ask, d, s->lower, &why);
  /* With strict_sni it does not serve by this rule, nor does a domain after it. */
  bool refuses = r != UNFIT && r / STEPS > TL_CHOICE_SNI_WILDCARD && s->lower && s->ask->server &&
                 d->policy.strict_sni;
  if (refuses) why = "strict_sni: it does not list the name asked for";
  /* Authorities are compared only where they can decide, or are to be shown. */
  bool wanted = s->ask->wanted && r != UNFIT && (r <= s->rank || s->trace) &&
                tl_domain_wanted(d, s->ask->wanted);
  note_candidate(s, d, refuses ? UNFIT : r, wanted && !refuses, why);
  if (r == UNFIT || r > s->rank || (r == s->rank && refuses)) return;
  if (r < s->rank || !s->best) {
    s->rank = r;
    s->best = refuses ? NULL : d;
    s->equals = 1;
    s->best_wanted = wanted;
    return;
  }
  s->equals++;
  if (wanted && !s->best_wanted) {
    s->best = d;
    s->best_wanted = true;
  }
}

/* The same result as of consider_all: who fits is among these, in the same order, and the
 * listener's own and the fallback fit by rules that are theirs alone, so they may come last or
 * twice. */
static void consider_fitting(struct search *s) {
  struct tl_tls_fitting f;
  uint32_t number;
  tl_tls_fitting_begin(&f, s->set, s->lower, s->ask->addr);
  while (tl_tls_fitting_next(&f, &number)) consider_domain(s, s->set->domain[number]);
  if (s->ask->listener) consider_domain(s, s->ask->listener);
  if (s->set->fallback) consider_domain(s, s->set->fallback);
}

static bool in_set(const struct tl_tls_set *set, const struct tl_tls_domain *d) {
  for (size_t i = 0; i < set->n; i++)
    if (set->domain[i] == d) return true;
  return false;
}

static void consider_all(struct search *s) {
  const struct tl_tls_set *set = s->set;
  struct tl_tls_domain *listener = s->ask->listener;
  for (size_t i = 0; i < set->n; i++) consider_domain(s, set->domain[i]);
  if (listener && !in_set(set, listener)) consider_domain(s, listener);
  if (set->fallback && set->fallback != listener && !in_set(set, set->fallback))
    consider_domain(s, set->fallback);
}

struct tl_tls_domain *tl_tls_choose(const struct tl_tls_set *set, const struct tl_tls_ask *ask,
                                    struct tl_tls_trace *trace, enum tl_choice *out_rule) {
  char lower[256];
  struct search s = {.set = set, .ask = ask, .trace = trace, .rank = UNFIT};
  if (trace) trace->n = 0;
  if (normalize_name(ask->name, lower)) s.lower = lower;
  if (set->indexed && set->n > FEW && !trace)
    consider_fitting(&s);
  else
    consider_all(&s);
  for (size_t i = 0; trace && i < trace->n; i++)
    trace->candidate[i].chosen = trace->candidate[i].domain == s.best;
  if (trace) trace->by_authority = s.equals > 1 && s.best_wanted;
  if (out_rule) *out_rule = s.best ? (enum tl_choice)(s.rank / STEPS) : TL_CHOICE_NONE;
  return s.best;
}

/* An address that both list, "" if neither limits its addresses, or NULL. */
static const char *common_address(const struct tl_tls_domain *a, const struct tl_tls_domain *b,
                                  char buf[TL_ADDR_STRLEN]) {
  if (a->match_any_ip && b->match_any_ip) return "*";
  for (size_t i = 0; i < a->n_match_ip; i++)
    for (size_t k = 0; k < b->n_match_ip; k++)
      if (tl_addr_eq(&a->match_ip[i], &b->match_ip[k]))
        return tl_addr_port(&a->match_ip[i]) ? tl_addr_format(&a->match_ip[i], buf)
                                             : tl_addr_format_host(&a->match_ip[i], buf);
  return a->n_match_ip || b->n_match_ip || a->match_any_ip || b->match_any_ip ? NULL : "";
}

static const char *common_name(const struct tl_tls_domain *a, const struct tl_tls_domain *b) {
  for (char **p = a->match_sip_domain; *p; p++)
    for (char **q = b->match_sip_domain; *q; q++)
      if (strcmp(*p, *q) == 0) return *p;
  return NULL;
}

const char *tl_tls_domains_clash(const struct tl_tls_domain *a, const struct tl_tls_domain *b,
                                 char *buf, size_t cap) {
  char text[TL_ADDR_STRLEN];
  bool both_serve = a->server && b->server, both_dial = a->client && b->client;
  if (!both_serve && !both_dial) return NULL;
  if (both_serve && tl_credentials_differ(b, a)) return NULL;
  const char *address = common_address(a, b, text), *name = common_name(a, b);
  bool nameless = !*a->match_sip_domain && !*b->match_sip_domain;
  if (!address || (!name && !(nameless && *address))) return NULL;
  snprintf(buf, cap, "%s%s%s", name ? name : "", name && *address ? " at " : "", address);
  return buf;
}

struct tl_tls_domain *tl_tls_choose_client(const struct tl_tls_set *set, struct tl_str sip_domain,
                                           const struct tl_addr *dest, enum tl_choice *out_rule) {
  struct tl_tls_ask ask = {.name = sip_domain, .addr = dest};
  return tl_tls_choose(set, &ask, NULL, out_rule);
}

const char *tl_choice_name(enum tl_choice rule) {
  static const char *const names[] = {[TL_CHOICE_NONE] = "none",
                                      [TL_CHOICE_SNI_EXACT] = "name_exact",
                                      [TL_CHOICE_SNI_WILDCARD] = "name_wildcard",
                                      [TL_CHOICE_LISTENER] = "listener",
                                      [TL_CHOICE_ADDRESS] = "address",
                                      [TL_CHOICE_DEFAULT] = "default"};
  return (unsigned)rule <= TL_CHOICE_DEFAULT ? names[rule] : "?";
}
