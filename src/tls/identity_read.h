/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A certificate turned into a record, for identity.c and verify.c.
 *
 * Ownership: text is malloc'ed and the caller's. Threads: any. Errors:
 * TL_ENOMEM.
 */
#pragma once

#include "tieline/identity.h"

/* id-kp-sipDomain (RFC 5924 6). */
#define TL_OID_SIP_DOMAIN "1.3.6.1.5.5.7.3.20"

/* Fills the members of ID, zeroed before, that the certificate X alone determines. */
int tl_identity_read(struct tl_identity *id, X509 *x);
/* Frees what tl_identity_read and others put into ID, not ID. */
void tl_identity_clear(struct tl_identity *id);
/* RFC 2253 text in UTF-8, escaped so that it can be logged; cut where it gets absurdly long. */
char *tl_name_text(const X509_NAME *name);
time_t tl_time_of(const ASN1_TIME *t);
