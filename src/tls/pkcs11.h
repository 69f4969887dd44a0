/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private keys that stay in a PKCS#11 token and are named by a URI (RFC 7512).
 *
 * Ownership: a struct tl_pkcs11_uri owns its strings until cleared, which wipes
 * the PIN. Threads: loading any thread, one at a time; keys sign in any thread,
 * several at once. Errors: TL_ECONFIG with the sentence in struct tl_blame.
 */
#pragma once

#include "tls/tls_internal.h"

/* The parts of a URI. */
struct tl_pkcs11_uri {
  char *shown;    /* for sentences: without the PIN */
  char *bare;     /* for a provider: without the PIN and its source */
  char *path;     /* what names token and object: without any query */
  char *module;   /* module-path; NULL: none */
  char *pin;      /* pin-value; NULL: none */
  char *pin_file; /* pin-source, a file; NULL: none */
};

/* Splits URI into its parts. *OUT is to be cleared whatever the result. */
int tl_pkcs11_parse(const char *uri, struct tl_pkcs11_uri *out, struct tl_blame *b);
void tl_pkcs11_clear(struct tl_pkcs11_uri *u);

/* The PIN of a token, and the option to blame if it is wrong. */
struct tl_pkcs11_pin {
  const char *text;   /* NULL: there is none */
  const char *from;   /* where it was found, for the sentence */
  const char *option; /* the one to blame */
};

/* The key by OpenSSL's engine "pkcs11". */
int tl_pkcs11_load(const struct tl_pkcs11_uri *u, const struct tl_pkcs11_pin *pin, EVP_PKEY **out,
                   struct tl_blame *b);
/* Signs with KEY as a handshake does, and checks the signature with the certificate LEAF. NULL, or
 * the reason for the failure in words that live until the thread's next OpenSSL call. */
const char *tl_pkcs11_try(EVP_PKEY *key, X509 *leaf);
