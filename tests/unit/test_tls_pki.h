/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the TLS tests share: a directory of the test's own with the certificates
 * of a usual cast, made by the certificate kit, and more as a test wants them.
 *
 * Ownership: pki_open and pki_close around each test, the latter with kit_free;
 * files are named, not owned. Threads: one. Errors: the test fails.
 */
#pragma once

#include "../support/cert_kit.h"
#include "tieline/tls.h"
#include "tieline/tls_choice.h"
#include "tieline/tls_handshake.h"

void pki_open(void);
void pki_close(void);
/* Writes NAME.pem (C and then CHAIN, if any) and NAME.key of mode 0600. */
void pki_write(const char *name, const struct kit_cert *c, const struct kit_cert *chain);
void pki_write_text(const char *file, const char *text);
/* NAME.crl by CA, revoking REVOKED (may be NULL). */
void pki_write_crl(const char *name, const struct kit_cert *ca, const struct kit_cert *revoked);
/* The same, changed before it is signed. */
void pki_write_crl_with(const char *name, const struct kit_cert *ca, const struct kit_cert *revoked,
                        void (*change)(X509_CRL *crl));
/* "ca.pem" of these certificates, NULL-terminated; replaces the usual one. */
void pki_trust(const struct kit_cert *const *roots);
/* Path of FILE in the directory, in one of eight rotating buffers. */
const char *pki_path(const char *file);

/* The usual cast, written by pki_open: ca, server (server.example, sip:server.example,
 * 127.0.0.1), client (client.example), other-ca, foreign (by other-ca), expired, wrong
 * (elsewhere.example), revoked with ca.crl. */
extern struct kit_cert pki_ca;
