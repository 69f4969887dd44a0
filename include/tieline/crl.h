/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The revocation lists of a TLS domain. Those of files are constant like the
 * domain; with crl_fetch others are added while it is in use, from the
 * distribution points that certificates name. Verification asks here for the
 * list of an issuer; if there is none, the place to fetch it from is noted.
 *
 * Ownership: one per domain, its own. Threads: any; a mutex guards the
 * lists, held for a look-up among few. Not used on a message's way. Errors:
 * TL_EVERIFY with a sentence for a list that cannot be trusted, TL_ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "tieline/err.h"

struct tl_tls_domain;

struct tl_crl; /* one list; constant */
struct tl_crls;

#define TL_CRL_URL_MAX 1024 /* with the NUL */

struct tl_crl_info {
  char issuer[256];
  char number[44];    /* hex, "" if it has none */
  char source[256];   /* file or URL */
  time_t this_update; /* 0: cannot be read */
  time_t next_update; /* 0: none given */
  size_t entries;
  bool fetched;
  uint8_t alarm; /* the level last logged; see tl_crls_alarm */
};

/* FETCH, ALL, ACCEPT_STALE: crl_fetch, crl_check_all, crl_stale = accept. */
struct tl_crls *tl_crls_new(bool fetch, bool all, bool accept_stale);
void tl_crls_free(struct tl_crls *s); /* NULL is fine */
bool tl_crls_fetches(const struct tl_crls *s);
/* Parses a list that is all of N bytes of DER; NULL: it is none. */
struct tl_crl *tl_crl_parse(const uint8_t *der, size_t n);
void tl_crl_free(struct tl_crl *crl); /* NULL is fine */
/* Offers a fetched list to D. It is added if it is signed by an issuer that D trusts or that was in
 * a valid chain of a peer; an older one of the same issuer and source is dropped. TL_EEXIST: it is
 * not newer. TL_ENOTFOUND: the issuer is unknown. TL_EVERIFY: another reason, in WHY. */
int tl_crls_offer(struct tl_tls_domain *d, const struct tl_crl *crl, const char *source, char *why,
                  size_t cap);
/* Lists at most CAP; returns how many there are in OUT. */
size_t tl_crls_list(struct tl_crls *s, struct tl_crl_info *out, size_t cap);
/* Remembers that LEVEL was logged for list I of tl_crls_list. */
void tl_crls_alarm(struct tl_crls *s, size_t i, uint8_t level);
/* S, not yet in use, replaces BEFORE (either may be NULL): it also wants the lists of authorities
 * that were known from peers' chains. */
void tl_crls_inherit(struct tl_crls *s, struct tl_crls *before);
/* A wanted place that was not returned before, or whose lists can be verified since; false: none.
 */
bool tl_crls_wanted(struct tl_crls *s, char out[TL_CRL_URL_MAX]);
/* FN is called, in any thread, when a place becomes wanted. Before any domain is made. */
void tl_crls_on_wanted(void (*fn)(void *arg), void *arg);
/* Fills *OUT from CRL. */
void tl_crl_describe(const struct tl_crl *crl, const char *source, struct tl_crl_info *out);
