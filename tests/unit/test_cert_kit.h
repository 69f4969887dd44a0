/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates of any shape for the tests of verification, good and hostile, and
 * chains of them.
 *
 * Ownership: kit_free frees all that kit_make made. Threads: one. Errors: the
 * test fails.
 */
#pragma once

#include <openssl/ssl.h>

#include "test_tls_pki.h"
#include "tieline/verify.h"

struct kit_options {
  const char *subject;           /* "O=Lab/CN=x", parts by '/'; NULL: O=Lab */
  const struct pki_cert *issuer; /* NULL: itself */
  const char *ext[6];            /* "basicConstraints=critical,CA:TRUE" in openssl.cnf syntax */
  const char *from, *to;         /* days from now, "-1" and "365" if NULL */
  const EVP_MD *md;              /* NULL: SHA-256 */
  EVP_PKEY *key;                 /* a reference is taken; NULL: a new one on P-256 */
  void (*change)(X509 *x);       /* before it is signed */
  const struct pki_cert *signer; /* who signs, if not the issuer */
};

struct pki_cert kit_make(const struct kit_options *o);
/* Adds an extension. */
void kit_extend(X509 *x, X509 *issuer, const char *name_value);
/* All certificates and keys of this test. */
void kit_free(void);
/* "ca.pem" of these certificates, NULL-terminated; replaces the usual one. */
void kit_trust(const struct pki_cert *const *roots);
/* Has CTX show LEAF and then OTHERS (NULL-terminated, may be NULL). */
void kit_show(SSL_CTX *ctx, const struct pki_cert *leaf, const struct pki_cert *const *others);
/* An identity without a connection; to be dropped with tl_identity_unref. */
struct tl_identity *kit_identity(const struct pki_cert *leaf, const struct pki_cert *const *others);
