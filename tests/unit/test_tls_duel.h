/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tieline handshake against a plain OpenSSL peer, in memory.
 *
 * Ownership: duel_end frees both sides. Threads: one. Errors: the test fails.
 */
#pragma once

#include <openssl/ssl.h>

#include "test_tls_pki.h"

struct duel {
  struct tl_hs *hs;
  SSL *peer;
  BIO *to_peer, *from_peer;
  int rc;        /* of the last tl_hs_start, tl_hs_input or tl_hs_record_len */
  int peer_rc;   /* of the last SSL_do_handshake */
  bool by_three; /* feed the peer's bytes three at a time: must make no difference */
};

/* A peer context with CERT's files (NULL: none) that trusts ca.pem. */
SSL_CTX *duel_context(bool server, const char *cert);
/* Options of a domain with server.pem, both roles. */
struct tl_tls_options duel_options(void);
struct tl_tls_domain *duel_domain(const struct tl_tls_options *o);
/* Sets up D: tieline as server for domain DOM, or (SERVER false) as client. */
void duel_begin(struct duel *d, SSL_CTX *peer, bool server, struct tl_tls_domain *dom,
                const char *sni, const char *verify_name);
/* The same with parameters of one's own; as server SNI is what the peer asks for. */
void duel_begin_with(struct duel *d, SSL_CTX *peer, const struct tl_hs_params *p);
/* Where tieline as client says it leads; NULL: it resumes nothing. */
extern const struct tl_addr *duel_remote;
/* Runs until both sides are done or one has failed. */
void duel_run(struct duel *d);
void duel_end(struct duel *d);
/* Takes the session and proves its keys: messages both ways, many and of odd sizes. */
void duel_prove(struct duel *d, struct tl_hs_result *s);
