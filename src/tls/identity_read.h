/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates as OpenSSL has them, turned into identity records.
 *
 * Ownership: text is malloc'ed and the caller's; a record returned is a reference. Threads: any.
 * Errors: TL_ENOMEM.
 */
#pragma once

#include <openssl/ssl.h>

#include "tieline/identity.h"

struct tl_verdict;

/* id-kp-sipDomain (RFC 5924 6). */
#define TL_OID_SIP_DOMAIN "1.3.6.1.5.5.7.3.20"

/* Fills the members of ID, zeroed before, that the certificate X alone determines. */
int tl_identity_read(struct tl_identity *id, X509 *x);
/* Frees what tl_identity_read and others put into ID, not ID. */
void tl_identity_clear(struct tl_identity *id);
/* RFC 2253 text in UTF-8, escaped so that it can be logged; cut where it gets absurdly long. */
char *tl_name_text(const X509_NAME *name);
time_t tl_time_of(const ASN1_TIME *t);

/* Reads the peer of SSL after its handshake; V is the result of the verification (NULL: resumed).
 * NULL in *OUT (and 0) if it sent no certificate. */
int tl_identity_from_ssl(SSL *ssl, const struct tl_verdict *v, struct tl_identity **out);
/* The record of LEAF with its whole verified chain, if some connection still holds one; a
 * reference, or NULL. */
struct tl_identity *tl_identity_find(X509 *leaf);
/* A record of a certificate that came from no connection, for instance our own; OTHERS (may be
 * NULL) follow it in the chain. It is neither checked nor shared. */
int tl_identity_of_cert(X509 *cert, STACK_OF(X509) * others, struct tl_identity **out);
