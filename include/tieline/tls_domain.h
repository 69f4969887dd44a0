/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS domains: an immutable pair of OpenSSL contexts (server and client role) with
 * the certificates, built from options.
 *
 * Ownership: domains are reference-counted (atomic). Threads: any. Errors:
 * TL_ECONFIG with text for options, else as said at each function.
 */
#pragma once

#include "tieline/addr.h"
#include "tieline/identity.h"
#include "tieline/record.h"
#include "tieline/tls_options.h"

struct tl_crls;
struct tl_ticket_keys;

struct tl_tls_domain {
  _Atomic uint64_t refs;
  uint64_t generation; /* new for each domain object made in this process */
  uint8_t core[32]; /* digest of all but trust and policy; set once, before the domain is shared */
  char *name;
  struct ssl_ctx_st *server, *client; /* SSL_CTX; NULL when not in that role */
  struct tl_tls_policy policy;
  bool rsa_key_exchange;    /* a suite of ciphers_list has the server decrypt, not sign */
  bool client_cert;         /* has a certificate to show as client */
  char *advertise_host;     /* for Via and Record-Route, NULL: the listener's */
  uint16_t advertise_port;  /* 0: the listener's */
  char **match_sip_domain;  /* NULL-terminated, lower case */
  struct tl_addr *match_ip; /* n_match_ip of them; port 0 matches any */
  size_t n_match_ip;
  bool match_any_ip;          /* "*" among match_ip_address */
  char **own_names;           /* server: those of credentials_dir, if match_sip_domain is unset */
  struct tl_credential *cred; /* private: certificates with their keys, n_cred of them */
  size_t n_cred;
  unsigned ca_names_n;                /* names in our CertificateRequest */
  size_t ca_names_bytes;              /* their list on the wire */
  struct tl_crls *crls;               /* revocation lists, NULL: none are asked for */
  struct tl_identity *own;            /* the first certificate, NULL if it has none */
  char serial[64];                    /* of the first certificate, hex */
  char *subject;                      /* of the first certificate, "" if none */
  time_t not_after;                   /* of the first certificate */
  struct tl_ticket_keys *ticket_keys; /* private; NULL: no role as server */
  char *ocsp_file, *ocsp_url;         /* as in the options, or NULL */
  struct tl_staple *staple;           /* one for each certificate; none: nothing is stapled */
  size_t n_staple;
  char *groups; /* key exchange groups, as written or ours */
};

/* URI, or anything else a key is named by, without the PIN in it. The caller frees; NULL: no
 * memory. */
char *tl_tls_uri_shown(const char *uri);
/* Is it a pkcs11: URI, whose key is in a token? */
bool tl_tls_uri_of_token(const char *input);
/* Is it one with a PIN in it (pin-value)? */
bool tl_tls_uri_has_pin(const char *input);

/* An authority that a domain trusts by name. */
struct tl_authority_info {
  char subject[256];
  time_t not_after;
  uint8_t sha256[32]; /* of the certificate */
};
typedef void (*tl_authority_fn)(void *arg, const struct tl_tls_domain *d,
                                const struct tl_authority_info *a);
/* Calls FN for each of them; for none if D verifies nobody. */
void tl_tls_domain_authorities(const struct tl_tls_domain *d, tl_authority_fn fn, void *arg);

/* The suites that D offers and CAN has not, by version ([0] TLS 1.2, [1] TLS 1.3) and cipher: as
 * TEXT, separated by blanks. */
void tl_tls_domain_suites_without(const struct tl_tls_domain *d, const bool can[2][TL_CIPHERS],
                                  char *text, size_t cap);

/* Signs once with each key of D that is in a token. TL_ETLS with the sentence in ERR. */
int tl_tls_domain_try_keys(const struct tl_tls_domain *d, char *err, size_t cap);

/* Builds a domain. On TL_ECONFIG, ERR (CAP bytes) holds a sentence naming file and cause, and
 * *OUT_OPTION the name of the option to blame (a constant) for file:line. */
int tl_tls_domain_new(const struct tl_tls_options *o, char *err, size_t cap,
                      const char **out_option, struct tl_tls_domain **out);
struct tl_tls_domain *tl_tls_domain_ref(struct tl_tls_domain *d);
void tl_tls_domain_unref(struct tl_tls_domain *d);

/* Reads D's ocsp_file into its staples, NOW deciding whether it is in date. TL_EIO: it cannot be
 * read or is not an answer about D's certificates; TL_EVERIFY: it is, but says nothing good now.
 * WHY gets a sentence. */
int tl_staple_read(struct tl_tls_domain *d, time_t now, char *why, size_t cap);

/* Wipes the keys of T that have ended (else only the next handshake does); how many are left. Any
 * thread. */
unsigned tl_tickets_wipe(struct tl_ticket_keys *t);
