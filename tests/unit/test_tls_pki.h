/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates for the TLS tests, made in the process and written to a directory
 * of its own that goes with the test.
 *
 * Ownership: pki_open and pki_close around each test; files are named, not
 * owned. Threads: one. Errors: the test fails.
 */
#pragma once

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "tieline/tls.h"

struct pki_cert {
  X509 *x;
  EVP_PKEY *key;
};

struct pki_options {
  const char *cn;
  const char *san;               /* openssl.cnf syntax; NULL: no extension */
  const struct pki_cert *issuer; /* NULL: self-signed */
  bool ca, rsa;
  int from_days, to_days; /* relative to now; both 0: yesterday to next year */
};

void pki_open(void);
void pki_close(void);
struct pki_cert pki_make(const struct pki_options *o);
void pki_free(struct pki_cert *c);
/* Writes NAME.pem (C and then CHAIN, if any) and NAME.key of mode 0600. */
void pki_write(const char *name, const struct pki_cert *c, const struct pki_cert *chain);
void pki_write_text(const char *file, const char *text);
/* NAME.crl by CA, revoking REVOKED (may be NULL). */
void pki_write_crl(const char *name, const struct pki_cert *ca, const struct pki_cert *revoked);
/* The same, changed before it is signed. */
void pki_write_crl_with(const char *name, const struct pki_cert *ca, const struct pki_cert *revoked,
                        void (*change)(X509_CRL *crl));
/* Path of FILE in the directory, in one of eight rotating buffers. */
const char *pki_path(const char *file);

/* The usual cast, written by pki_open: ca, server (server.example, sip:server.example,
 * 127.0.0.1), client (client.example), other-ca, foreign (by other-ca), expired, wrong
 * (elsewhere.example), revoked with ca.crl. */
extern struct pki_cert pki_ca;
