/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of src/tls share and nobody else needs.
 *
 * Ownership: nothing kept. Threads: domain building any; the front context is
 * made once by tl_tls_init. Errors: TL_ECONFIG with the sentence in struct
 * tl_blame.
 */
#pragma once

#include <openssl/ssl.h>
#include <sys/stat.h>

#include "tieline/ca_names.h"
#include "tieline/tls.h"
#include "tieline/tls_choice.h"
#include "tieline/tls_domain.h"
#include "tieline/verify.h"

/* Where a refusal goes: a sentence and the option it blames. */
struct tl_blame {
  char *err;
  size_t cap;
  const char **option;
};
/* Before something that may find no memory: empties OpenSSL's error queue and errno. */
void tl_blame_begin(void);
/* Has an allocation failed since? OpenSSL's queue says so, and is drained; where a provider says
 * nothing, the C library has left errno. */
bool tl_blame_no_memory(void);
/* Writes the sentence, drains OpenSSL's error queue, returns TL_ECONFIG; TL_ENOMEM if an allocation
 * has failed, which is not the fault of the option. */
int tl_blame_option(struct tl_blame *b, const char *option, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* OpenSSL's last reason in words, or errno's; drains nothing. */
const char *tl_blame_reason(void);

/* ---- inputs.c: files, PEM text in the configuration, URIs ---- */

bool tl_input_is_pem(const char *input);
/* INPUT for sentences: the file's name, or what it is instead. */
const char *tl_input_label(const char *input);
/* Opens INPUT, a file or PEM text. *ST is zero for text. TL_ECONFIG after a sentence, TL_ENOMEM. */
int tl_input_open(const char *input, const char *option, struct stat *st, BIO **out,
                  struct tl_blame *b);
/* Reads certificates to the end of BIO: the first to *OUT_LEAF, the others to CHAIN. TL_ENOMEM with
 * what was read until then: OpenSSL keeps a certificate whose key found no memory, but without the
 * key. tl_input_at_end tells whether what ended it was the file's end. */
int tl_input_chain(BIO *bio, X509 **out_leaf, STACK_OF(X509) * chain);
/* No more PEM in what was read: the good end. */
bool tl_input_at_end(void);
/* No passphrase, no terminal: for what must not be encrypted. */
int tl_input_no_password(char *buf, int size, int rwflag, void *arg);
/* A key from a file, PEM text, a token or a URI that OpenSSL's stores understand. */
int tl_input_key(const char *input, const struct tl_tls_options *o, EVP_PKEY **out,
                 struct tl_blame *b);

/* ---- choose_index.c: domains of an indexed set that can fit, in the order of the file ---- */

struct tl_tls_fitting {
  const struct tl_index_map *map;
  uint32_t list[4]; /* nodes: of the name, its wildcard, the address, any address */
  unsigned n;
};
/* LOWER: the name asked for in lower case; it and ADDR may be NULL. */
void tl_tls_fitting_begin(struct tl_tls_fitting *f, const struct tl_tls_set *s, const char *lower,
                          const struct tl_addr *addr);
/* Each domain once; false: there is no more. */
bool tl_tls_fitting_next(struct tl_tls_fitting *f, uint32_t *out_number);

/* ---- credentials*.c ---- */

/* An authority above a certificate: its name, and what identifies it in trusted_ca_keys where its
 * own certificate is known. */
struct tl_authority {
  X509_NAME *name;
  bool known;
  uint8_t cert_sha1[20], key_sha1[20];
};

/* A certificate with its key and chain, and how to know it. Immutable. */
struct tl_credential {
  X509 *leaf;
  EVP_PKEY *key;
  STACK_OF(X509) * chain;
  char *label;                    /* the file's name */
  char **names;                   /* DNS and sip: names in it, lower case, NULL-terminated */
  struct tl_authority *authority; /* from the issuer upward */
  size_t n_authority;
  struct tl_identity *id; /* its fields */
  bool token;             /* the key is in a PKCS#11 token */
  bool complete;          /* the list reaches a root: no other authority is above it */
  bool for_server,
      for_client; /* its extended key usage allows the role (RFC 5280 4.2.1.12, 5924) */
};

/* The kind of its key: RSA, ECDSA ... */
static inline int tl_credential_kind(const struct tl_credential *c) {
  return EVP_PKEY_get_base_id(c->key);
}
static inline bool tl_credential_fits_role(const struct tl_credential *c, bool as_server) {
  return as_server ? c->for_server : c->for_client;
}
/* Appends the domain name in the LEN bytes at P to *LIST of *N names, unless it cannot be one. */
int tl_credential_add_name(char ***list, size_t *n, const char *p, size_t len);

/* All of a domain's certificates and keys, into D and its contexts. */
int tl_domain_load_credentials(struct tl_tls_domain *d, const struct tl_tls_options *o,
                               struct tl_blame *b);
/* The pairs in a directory, sorted by file name. */
int tl_domain_scan_credentials(struct tl_tls_domain *d, const struct tl_tls_options *o,
                               struct tl_blame *b);
/* Adds one more; takes over LEAF, KEY and CHAIN whatever happens. */
int tl_credential_add(struct tl_tls_domain *d, const char *label, X509 *leaf, EVP_PKEY *key,
                      STACK_OF(X509) * chain);
/* Judges a certificate of ours by the clock and, with a warning alone, by its purpose. */
int tl_credential_check(const struct tl_tls_domain *d, const struct tl_tls_options *o,
                        const char *label, X509 *leaf, struct tl_blame *b);
/* Subject, serial and the like of the first certificate. */
int tl_domain_describe_first(struct tl_tls_domain *d, X509 *leaf);
/* Finds the authorities above each credential, in the chains and CAS (may be NULL). */
int tl_credentials_find_authorities(struct tl_tls_domain *d, STACK_OF(X509) * cas);
void tl_credentials_free(struct tl_tls_domain *d);
/* Does a certificate of D end in, or pass through, an authority that W names? */
bool tl_domain_wanted(const struct tl_tls_domain *d, const struct tl_ca_wanted *w);
bool tl_credential_wanted(const struct tl_credential *c, const struct tl_ca_wanted *w);
/* Does A have a certificate under an authority that is above none of B's? */
bool tl_credentials_differ(const struct tl_tls_domain *a, const struct tl_tls_domain *b);
/* Server, in the ClientHello callback: the certificates of D that fit NAME ("" : any) and W best.
 */
int tl_credentials_serve(SSL *ssl, const struct tl_tls_domain *d, const char *name,
                         const struct tl_ca_wanted *w);
/* The certificate of D that SSL showed, borrowed; NULL: none. */
struct tl_identity *tl_credentials_shown(const SSL *ssl, const struct tl_tls_domain *d);
/* Client: chooses the certificate that answers a CertificateRequest. */
int tl_credentials_answer(SSL *ssl, const struct tl_tls_domain *d);

/* ---- domain_files.c ---- */

/* Trust anchors and revocation lists, for the domain's contexts (each may be NULL). CAS gets what
 * is trusted. */
int tl_domain_load_trust(struct tl_tls_domain *d, const struct tl_tls_options *o,
                         STACK_OF(X509) * cas, struct tl_blame *b);
/* The revocation lists of a domain whose trust is loaded, as an object of their own. */
int tl_domain_attach_crls(struct tl_tls_domain *d, const struct tl_tls_options *o);
/* Suites: those the operator names, reduced to the AEAD ones that have keys here. OUT_RSA is set if
 * some of them exchange keys by RSA. */
int tl_domain_set_ciphers(SSL_CTX *ctx, const struct tl_tls_options *o, bool *out_rsa,
                          struct tl_blame *b);

/* OCSP: options against each other, callbacks and staples (after the certificates are loaded), the
 * end. */
int tl_domain_check_ocsp(const struct tl_tls_options *o, struct tl_blame *b);
int tl_domain_set_ocsp(struct tl_tls_domain *d, const struct tl_tls_options *o, struct tl_blame *b);
void tl_domain_free_ocsp(struct tl_tls_domain *d);

/* The context every server-side SSL starts from; the ClientHello callback moves it to a domain's.
 * It holds the ticket keys and the session cache of all domains; the session id context of each
 * domain keeps their sessions apart. */
SSL_CTX *tl_tls_front(void);
/* Called for every context: the keylog hook, without which there are no TLS 1.3 keys. */
void tl_hs_hook_context(SSL_CTX *ctx);
/* A domain's contexts: ClientHellos and the answer to trusted_ca_keys, the choice of a client's
 * certificate. */
int tl_hs_hook_server(SSL_CTX *ctx);
void tl_hs_hook_client(SSL_CTX *ctx);
/* A client context hands over the sessions it could resume. */
void tl_hs_hook_sessions(SSL_CTX *ctx);
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
