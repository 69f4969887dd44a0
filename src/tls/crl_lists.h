/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The side of tieline/crl.h that faces OpenSSL: how verifications come to the
 * lists of a domain, and how those get in.
 *
 * Ownership, threads and errors as in tieline/crl.h.
 */
#pragma once

#include <openssl/x509.h>

#include "tieline/crl.h"

struct tl_crl {
  X509_CRL *x;
};

/* Has the verifications with STORE ask S; S must live as long. */
int tl_crls_attach(struct tl_crls *s, X509_STORE *store);
/* Records a list of a file that is in the store already: for display. */
int tl_crls_note(struct tl_crls *s, X509_CRL *crl, const char *source);
/* Wants the lists at the distribution points (http) of X, which are ISSUER's, NULL: not known. Both
 * must come from a valid chain, or be ours. */
void tl_crls_want(struct tl_crls *s, const X509 *x, X509 *issuer);
/* For X509_STORE_CTX_set_verify_cb, where the store's lists count for all levels: forgives a list
 * that is stale or missing if accept_stale, and above the peer's own certificate unless all. */
int tl_crl_judge(int ok, X509_STORE_CTX *sc);
/* Why CRL alone does not tell which certificates are revoked; NULL: it does. */
const char *tl_crl_unusable(const X509_CRL *crl);
/* Adds a fetched list that is signed by an issuer in STORE or in a valid chain of a peer, and drops
 * an older one of the same issuer and source. TL_EEXIST: it is not newer. TL_ENOTFOUND: the issuer
 * is unknown. TL_EVERIFY: another reason, in WHY. */
int tl_crls_take(struct tl_crls *s, X509_STORE *store, X509_CRL *crl, const char *source, char *why,
                 size_t cap);
