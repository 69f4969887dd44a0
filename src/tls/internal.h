/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of src/tls share and nobody else needs.
 *
 * Ownership: nothing kept. Threads: domain building any; the front context is
 * made once by tl_tls_init. Errors: TL_ECONFIG with the sentence in struct
 * tl_blame.
 */
#pragma once

#include "tieline/tls.h"
#include "tieline/verify.h"

/* Where a refusal goes: a sentence and the option it blames. */
struct tl_blame {
  char *err;
  size_t cap;
  const char **option;
};
/* Writes the sentence, drains OpenSSL's error queue, returns TL_ECONFIG. */
int tl_blame(struct tl_blame *b, const char *option, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* OpenSSL's last reason in words, or errno's; drains nothing. */
const char *tl_blame_reason(void);

/* Files of a domain, for its contexts (each may be NULL). */
int tl_domain_load_credentials(struct tl_tls_domain *d, const struct tl_tls_options *o,
                               struct tl_blame *b);
int tl_domain_load_trust(struct tl_tls_domain *d, const struct tl_tls_options *o,
                         struct tl_blame *b);
/* Suites: those the operator names, reduced to the AEAD ones that have keys here. */
int tl_domain_set_ciphers(SSL_CTX *ctx, const struct tl_tls_options *o, struct tl_blame *b);

/* The context every server-side SSL starts from; the ClientHello callback moves it to a domain's.
 * It holds the ticket keys and the session cache of all domains; the session id context of each
 * domain keeps their sessions apart. */
SSL_CTX *tl_tls_front(void);
/* Index of the SSL's ex_data that points back to its struct tl_hs. */
int tl_tls_ex_index(void);
/* Called for every context: the keylog hook, without which there are no TLS 1.3 keys. */
void tl_hs_hook_context(SSL_CTX *ctx);
/* The front context's callbacks. */
void tl_hs_hook_front(SSL_CTX *front);

/* identity_path.c */
int tl_identity_spki_digest(X509 *x, uint8_t out[32]);
/* Fills path_spki from SSL's verified chain; a resumed session has none. */
int tl_identity_read_path(SSL *ssl, struct tl_identity *id);
/* Verifies the chain that SC was prepared for and applies D's policy: 0 or TL_EVERIFY. NAME as in
 * tl_tls_verify_identity. */
int tl_verify_run(X509_STORE_CTX *sc, const struct tl_tls_domain *d, bool server,
                  struct tl_str name, struct tl_verdict *v);
/* A code for which OpenSSL itself sends the alert that tl_verify_alert gives for CODE. */
int tl_verify_code_for_openssl(int code);

/* Does CERT, not yet a struct tl_identity, speak for DOMAIN? */
bool tl_identity_cert_matches(X509 *cert, struct tl_str domain, bool allow_cn);
