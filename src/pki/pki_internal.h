/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared by the files of `tieline pki`: pki.c (commands and options), make.c
 * (certificates), store.c (files), index.c (issued certificates, CRLs),
 * pki_show.c.
 *
 * The directory holds for each authority NAME.pem, NAME.key, NAME.index (the
 * format of `openssl ca`, so that `openssl ocsp -index` serves from it) and
 * NAME.crl; for each certificate NAME.pem (with the authorities between it and
 * the root) and NAME.key. Keys have mode 0600. Nothing is overwritten without
 * --force.
 *
 * Ownership: objects returned are the caller's. Threads: one. Errors: 0 or enum
 * tl_err after a sentence on standard error.
 */
#pragma once

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>

#define TL_PKI_NAMES 64 /* subject alternative names of one certificate */
#define TL_PKI_PATH 512

struct tl_pki_san {
  int kind; /* GEN_DNS, GEN_URI, GEN_IPADD, GEN_EMAIL */
  const char *value;
};

/* What the command line asked for; strings are argv's. */
struct tl_pki_request {
  const char *dir;
  const char *name;      /* of the files, NULL: the first domain */
  const char *authority; /* the signer */
  const char *cn, *organization, *unit, *locality, *state, *country;
  const char *key; /* kind of the key */
  const char *eku;
  const char *reason;
  const char *crl_url, *ocsp_url;
  const char *file;   /* of token keys */
  time_t from, until; /* 0: now, now + days */
  long days;
  bool force;
  struct tl_pki_san san[TL_PKI_NAMES];
  size_t n_san;
};

/* Prints the sentence, with OpenSSL's reason if there is one. Returns CODE. */
int tl_pki_fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- make.c */

/* EC P-256, EC P-384, RSA 2048 or RSA 4096 by its name; NULL after a sentence. */
EVP_PKEY *tl_pki_key(const char *kind);
enum tl_pki_kind { TL_PKI_ROOT, TL_PKI_INTERMEDIATE, TL_PKI_LEAF };
/* A certificate for KEY signed by ISSUER (both NULL for a root: by KEY itself). */
X509 *tl_pki_certificate(const struct tl_pki_request *r, enum tl_pki_kind kind, EVP_PKEY *key,
                         X509 *issuer, EVP_PKEY *issuer_key);
/* Adds an extension in OpenSSL's configuration syntax; TEXT must not come from outside. */
int tl_pki_extend(X509 *x, X509_CRL *crl, X509 *issuer, int nid, const char *text);
/* Is TEXT fit for a subject alternative name of KIND? Says why not. */
bool tl_pki_san_ok(int kind, const char *text);

/* ---- store.c */

/* DIR/NAME+SUFFIX; TL_EINVAL for names that could leave the directory. */
int tl_pki_path(const char *dir, const char *name, const char *suffix, char out[TL_PKI_PATH]);
int tl_pki_directory(const char *dir);
/* TL_EEXIST after a sentence if PATH exists and FORCE is not set. */
int tl_pki_free_to_write(const char *path, bool force);
/* Each writes a temporary file and renames it, so that nobody sees half of one. */
int tl_pki_write_key(const char *path, EVP_PKEY *key, bool force);
int tl_pki_write_chain(const char *path, STACK_OF(X509) * chain, bool force);
int tl_pki_write_crl(const char *path, X509_CRL *crl);
int tl_pki_write_text(const char *path, const BIO *mem);
X509 *tl_pki_read_cert(const char *path);
STACK_OF(X509) * tl_pki_read_chain(const char *path);
EVP_PKEY *tl_pki_read_key(const char *path);

/* An authority: certificate, chain without the root, key. */
struct tl_pki_authority {
  const char *dir, *name;
  STACK_OF(X509) * chain; /* its own certificate first */
  X509 *x;                /* in chain */
  EVP_PKEY *key;
};
int tl_pki_authority_open(const char *dir, const char *name, struct tl_pki_authority *out);
void tl_pki_authority_close(struct tl_pki_authority *a);

/* ---- index.c */

int tl_pki_index_add(const struct tl_pki_authority *a, const X509 *x, const char *file);
/* Marks X, issued by A, revoked now for REASON (a word of RFC 5280 5.3.1, NULL: unspecified). */
int tl_pki_index_revoke(const struct tl_pki_authority *a, const X509 *x, const char *reason);
/* Writes NAME.crl anew from the index, for DAYS. */
int tl_pki_crl(const struct tl_pki_authority *a, long days);

/* ---- pki_show.c */

/* Prints certificates, revocation lists and keys of FILE in words; of keys only kind and mode. */
int tl_pki_show(const char *file, FILE *f);
