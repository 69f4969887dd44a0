/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handshake object, for handshake.c and its hooks.
 *
 * Ownership: as in tieline/tls_handshake.h. Threads: one. Errors: as there.
 */
#pragma once

#include "tieline/tls_handshake.h"
#include "tls/secrets.h"
#include "tls/tls_internal.h"

struct tl_hs {
  SSL *ssl;
  BIO *rbio, *wbio; /* the SSL's */
  bool server;
  bool done;                           /* SSL_do_handshake has returned 1 */
  bool taken;                          /* the content of wbio has been handed out */
  bool wrong_name;                     /* the certificate verified, but not its name */
  bool refused;                        /* no domain serves this ClientHello */
  const char *excess;                  /* what it held too much of; NULL: nothing */
  bool cert_asked;                     /* client: the server wants a certificate */
  bool resume_offered, resume_refused; /* see struct tl_hs_result */
  bool unproven;      /* a resumed session whose certificate no longer passes but is accepted */
  bool stapled;       /* see struct tl_hs_result */
  char ocsp_why[160]; /* why the server's staple was refused */
  bool said_keys;     /* the client sent trusted_ca_keys, and it was used */
  unsigned records_in;
  const struct tl_tls_set *set;   /* server: borrowed */
  struct tl_tls_domain *listener; /* server: borrowed, may be NULL */
  struct tl_addr local;           /* server */
  struct tl_tls_domain *domain;   /* a reference; NULL until chosen */
  char verify_name[256];          /* client: "" = no check */
  struct tl_verdict verdict;      /* of the full handshake; a resumed one has none */
  void (*keylog)(const char *line);
  struct tl_secrets secrets;
  struct tl_flight flight;
  /* As client, for resumption. */
  bool resumable; /* sessions may be kept under SESSION_KEY */
  bool late_done; /* a ticket was read */
  unsigned late_records;
  uint8_t session_key[32];
  struct tl_identity *offered_id; /* a reference: of the session offered or kept */
  SSL_SESSION *fresh;             /* of this handshake, a reference */
  struct tl_record *post_hs;      /* seals tickets as the server did */
  struct tl_hs_failure failure;   /* its sni and domain are filled in as they become known */
};

/* ---- ssl_owner.c */

/* Makes HS the owner of its SSL, so that callbacks find it. TL_ENOMEM. */
int tl_hs_own_ssl(struct tl_hs *hs);
struct tl_hs *tl_hs_of_ssl(const SSL *ssl);

/* ---- hello.c */

/* tl_hs_record_len for either role; FIRST: nothing came before. */
int tl_record_header_judge(struct tl_hs_failure *f, bool first, bool server,
                           const uint8_t h[TL_RECORD_HEADER], size_t *out_len);

/* ---- hello_bounds.c */

/* In the ClientHello's callback: what it holds more of than any client needs; NULL: nothing. */
const char *tl_hello_excess(SSL *ssl);

/* ---- session_client.c */

/* Before the first flight to REMOTE (NULL: no resumption): offers a session if there is one. */
int tl_hs_offer(struct tl_hs *hs, const struct tl_addr *remote);
/* S is complete: its session, if it has come already, is kept. */
void tl_hs_remember(struct tl_hs *hs, const struct tl_hs_result *s);
/* At the end, before the SSL is freed. */
void tl_hs_end_session(struct tl_hs *hs);

/* Takes a reference to D and sets the SSL's verification by its policy. */
void tl_hs_enter_domain(struct tl_hs *hs, struct tl_tls_domain *d);
/* The client's certificate is known to be revoked (OCSP): turns V, which was good, into a
 * refusal. */
bool tl_hs_known_revoked(const struct tl_hs *hs, X509 *cert, struct tl_verdict *v);
/* Must the peer's certificate carry verify_name? */
bool tl_hs_wants_name(const struct tl_hs *hs);
