/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who the peer of a TLS connection is: its certificate read once into an
 * immutable record, shared by all connections that presented the same chain.
 *
 * Ownership: reference-counted (atomic; taken and dropped once per connection,
 * never per message). Threads: any. Errors: TL_ENOMEM.
 */
#pragma once

#include <time.h>

#include "tieline/err.h"
#include "tieline/str.h"

struct x509_st; /* X509 of OpenSSL */

struct tl_verdict;

struct tl_san {
  enum { TL_SAN_DNS, TL_SAN_URI, TL_SAN_EMAIL, TL_SAN_IP } kind;
  char *value;
};

/* What tl_identity_field returns as text: about the certificate, its holder and its issuer. */
enum tl_id_field {
  TL_ID_SUBJECT, /* RFC 2253 text */
  TL_ID_SUBJECT_CN,
  TL_ID_SUBJECT_LOCALITY,
  TL_ID_SUBJECT_COUNTRY,
  TL_ID_SUBJECT_STATE,
  TL_ID_SUBJECT_ORGANIZATION,
  TL_ID_SUBJECT_UNIT,
  TL_ID_ISSUER,
  TL_ID_ISSUER_CN,
  TL_ID_ISSUER_LOCALITY,
  TL_ID_ISSUER_COUNTRY,
  TL_ID_ISSUER_STATE,
  TL_ID_ISSUER_ORGANIZATION,
  TL_ID_ISSUER_UNIT,
  TL_ID_SERIAL, /* hexadecimal */
  TL_ID_SERIAL_DECIMAL,
  TL_ID_VERSION,    /* "3" */
  TL_ID_KEY,        /* "EC 256", "RSA 2048" */
  TL_ID_SIGNATURE,  /* "ecdsa-with-SHA256" */
  TL_ID_EKU,        /* "serverAuth,sipDomain", object identifiers where there is no name */
  TL_ID_NOT_BEFORE, /* RFC 3339 */
  TL_ID_NOT_AFTER,
  TL_ID_CERT_SHA256,
  TL_ID_SPKI_SHA256,
  TL_ID_ANCHOR, /* "" if no chain was verified */
  TL_ID_VERIFY, /* "ok", "not checked" or the failure in words */
  TL_ID_FIELDS
};

/* Yes or no answers about a certificate, from the code of its verification. */
enum tl_id_flag { TL_ID_VERIFIED, TL_ID_REVOKED, TL_ID_EXPIRED, TL_ID_SELFSIGNED, TL_ID_FLAGS };

/* Names beyond this number are not kept; a certificate with more never verifies. */
#define TL_ID_SANS_MAX 1000

struct tl_identity {
  _Atomic uint64_t refs;
  uint8_t chain_sha256[32];        /* of all certificates sent, the key of the dedup table */
  char cert_sha256[65];            /* hex */
  char spki_sha256[65];            /* hex */
  char *subject, *issuer, *serial; /* RFC 2253 text, hex */
  char *cn;                        /* first common name or NULL */
  char *anchor;                    /* subject of the trust anchor, NULL if not verified */
  size_t n_path;            /* authorities in the verified chain; the leaf if it is its own */
  uint8_t (*path_spki)[32]; /* SHA-256 of their public keys */
  time_t not_before, not_after;
  time_t chain_not_after; /* earliest notAfter in the verified chain; else not_after */
  long verify_code;       /* X509_V_*: of the handshake that created it */
  bool checked;           /* verification was on */
  bool verified;          /* code was X509_V_OK and verification was on */
  bool has_san;           /* the certificate has the extension, whatever its content */
  size_t n_cn;            /* common names in the subject */
  size_t n_san;
  struct tl_san *san;
  char *text[TL_ID_FIELDS];    /* for tl_identity_field; NULL: another member holds it */
  struct stack_st_X509 *chain; /* STACK_OF(X509), for src/tls: as sent, the peer's own first */
  bool chain_complete;         /* false: resumed, only the first certificate is known */
};

struct tl_identity *tl_identity_ref(struct tl_identity *id);
void tl_identity_unref(struct tl_identity *id); /* NULL is fine */

/* UTF-8 without anything that could forge a line or move a cursor; "" if the certificate has no
 * such field. Belongs to ID. */
const char *tl_identity_field(const struct tl_identity *id, enum tl_id_field field);
bool tl_identity_flag(const struct tl_identity *id, enum tl_id_flag flag);
/* The SHA-256 of the certificate itself; false: not known. */
bool tl_identity_cert_digest(const struct tl_identity *id, uint8_t out[32]);
/* The certificate itself, borrowed; NULL: not known. */
struct x509_st *tl_identity_leaf(const struct tl_identity *id);
void tl_cert_unref(struct x509_st *cert); /* NULL is fine */
/* Certificates that the peer sent, its own included. */
size_t tl_identity_chain_len(const struct tl_identity *id);

/* "subject", "subject_cn", "serial_decimal", "not_after" ...; "verified", "revoked" ... */
const char *tl_id_field_name(enum tl_id_field field);
const char *tl_id_flag_name(enum tl_id_flag flag);
/* "dns", "uri", "email", "ip". */
const char *tl_san_kind_name(int kind);

/* RFC 5922 7.1-7.4: does ID speak for DOMAIN (a SIP domain, before SRV)? SAN URI sip:, then SAN
 * DNS, no wildcards; CN only if there is no SAN and ALLOW_CN. Never for an IP literal: that is not
 * a domain. This is how a peer is identified. Says nothing about whether the certificate verified.
 */
bool tl_identity_speaks_for(const struct tl_identity *id, struct tl_str domain, bool allow_cn);
/* Calls FN with each domain that ID speaks for, as tl_identity_speaks_for says. */
typedef void (*tl_identity_domain_fn)(void *arg, struct tl_str domain);
void tl_identity_each_domain(const struct tl_identity *id, bool allow_cn, tl_identity_domain_fn fn,
                             void *arg);
/* Does ID match the DOMAIN that was dialled? The same, but an IP literal is proved by a SAN IP. */
bool tl_identity_matches(const struct tl_identity *id, struct tl_str domain, bool allow_cn);
/* Is the SIP user USER@HOST named by a SAN URI, exactly? USER as in the request, escapes and all.
 */
bool tl_identity_matches_user(const struct tl_identity *id, struct tl_str user, struct tl_str host);
/* RFC 5923 8: may requests for SENT_BY (host of the Via that carries "alias") go back over the
 * connection that ID's holder opened? Only if mutual TLS (PEER_VERIFIED) proved that it speaks for
 * that host. */
bool tl_identity_may_alias(const struct tl_identity *id, bool peer_verified, struct tl_str sent_by,
                           bool allow_cn);
