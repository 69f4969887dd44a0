/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who the peer of a TLS connection is: its certificate read once into an
 * immutable record, shared by all connections that presented the same chain.
 *
 * Ownership: reference-counted (atomic; taken and dropped once per connection,
 * never per message). Threads: any. Errors: TL_ENOMEM.
 */
#pragma once

#include <openssl/ssl.h>
#include <time.h>

#include "tieline/err.h"
#include "tieline/str.h"

struct tl_san {
  enum { TL_SAN_DNS, TL_SAN_URI, TL_SAN_EMAIL, TL_SAN_IP } kind;
  char *value;
};

struct tl_identity {
  uint64_t refs;
  uint8_t chain_sha256[32];        /* of all certificates sent, the key of the dedup table */
  char cert_sha256[65];            /* hex */
  char spki_sha256[65];            /* hex */
  char *subject, *issuer, *serial; /* RFC 2253 text, hex */
  char *cn;                        /* first common name or NULL */
  char *anchor;                    /* subject of the anchor that verified it, NULL if none did */
  size_t n_path;            /* authorities of the chain that verified, the leaf if it is its own */
  uint8_t (*path_spki)[32]; /* SHA-256 of their public keys */
  time_t not_before, not_after;
  long verify_code; /* X509_V_*: of the handshake that created it */
  bool verified;    /* code was X509_V_OK and verification was on */
  bool has_san;     /* the certificate has the extension, whatever is in it */
  size_t n_san;
  struct tl_san *san;
};

/* Reads the peer of SSL after its handshake. NULL in *OUT (and 0) if it sent no certificate. */
int tl_identity_from_ssl(SSL *ssl, struct tl_identity **out);
struct tl_identity *tl_identity_ref(struct tl_identity *id);
void tl_identity_unref(struct tl_identity *id); /* NULL is fine */

/* RFC 5922 7.1-7.4: does ID speak for DOMAIN (a SIP domain, before SRV)? SAN URI sip:, then SAN
 * DNS, no wildcards; IP literals match SAN IP; CN only if there is no SAN and ALLOW_CN. */
bool tl_identity_matches(const struct tl_identity *id, struct tl_str domain, bool allow_cn);
