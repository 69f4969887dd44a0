/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The certificate maker of the tests in C: keys, certificates of any shape, good
 * and hostile, chains of them, revocation lists, all with OpenSSL's own calls.
 *
 * Ownership: what kit_make and kit_read return stays the kit's until kit_free;
 * who needs it longer takes references. Texts are the caller's to free. Threads:
 * one. Errors: those of must.h.
 */
#pragma once

#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/types.h>

#include "tieline/identity.h"

struct kit_cert {
  X509 *x;
  EVP_PKEY *key;
};

struct kit_options {
  const char *subject;           /* "O=Lab/CN=x", parts by '/'; NULL: O=Lab */
  const struct kit_cert *issuer; /* NULL: itself */
  const char *ext[6];            /* "basicConstraints=critical,CA:TRUE" in openssl.cnf syntax */
  const char *from, *to;         /* days from now, "-1" and "365" if NULL */
  long serial;                   /* 0: the next one */
  const EVP_MD *md;              /* NULL: SHA-256 */
  EVP_PKEY *key;                 /* a reference is taken; NULL: a new one */
  unsigned rsa_bits;             /* of a new key, 0: on P-256 */
  void (*change)(X509 *x);       /* before it is signed */
  const struct kit_cert *signer; /* who signs, if not the issuer */
};

#define KIT_CA "basicConstraints=critical,CA:TRUE"

struct kit_cert kit_make(const struct kit_options *o);
/* For CHANGE: its key is of a kind that nobody knows. */
void kit_odd_key(X509 *x);
/* Adds an extension. */
void kit_extend(X509 *x, X509 *issuer, const char *name_value);
void kit_free(void);

/* PEM. */
char *kit_cert_text(const struct kit_cert *c);
char *kit_key_text(const struct kit_cert *c);
/* Writes C and then CHAIN, if any; the key with MODE. */
void kit_write_cert(const char *path, const struct kit_cert *c, const struct kit_cert *chain);
void kit_write_key(const char *path, const struct kit_cert *c, mode_t mode);
/* KEY_PATH may be NULL. */
struct kit_cert kit_read(const char *cert_path, const char *key_path);
/* A revocation list by CA with REVOKED (may be NULL), changed by CHANGE (may be NULL) before it is
 * signed. */
void kit_write_crl(const char *path, const struct kit_cert *ca, const struct kit_cert *revoked,
                   void (*change)(X509_CRL *crl));

/* Has CTX show LEAF and then OTHERS (NULL-terminated, may be NULL). */
void kit_show(SSL_CTX *ctx, const struct kit_cert *leaf, const struct kit_cert *const *others);
/* An identity without a connection; to be dropped with tl_identity_unref. */
struct tl_identity *kit_identity(const struct kit_cert *leaf, const struct kit_cert *const *others);
