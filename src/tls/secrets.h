/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traffic keys out of a finished OpenSSL handshake over memory BIOs.
 *
 * A handshake keeps one struct tl_secrets (filled from the keylog callback) and
 * one struct tl_flight (fed with every byte SSL_do_handshake wrote). When it has
 * finished, tl_secrets_derive gives keys, IVs and record sequence numbers.
 *
 * Ownership: all memory is the caller's; tl_secrets_clear and OPENSSL_cleanse
 * wipe it. Threads: one per object. Errors: TL_ETLS when something that must be
 * there is not (a secret, our Finished), TL_ENOTSUP for a suite without AEAD
 * keys here, TL_EIO when libcrypto fails.
 */
#pragma once

#include <openssl/ssl.h>

#include "tieline/record.h"

/* Application traffic secrets number 0 (RFC 8446 7.1); stays zero in TLS 1.2. */
struct tl_secrets {
  uint8_t client[TL_SECRET_MAX], server[TL_SECRET_MAX];
  uint8_t client_len, server_len; /* 0: not seen */
};
/* Takes a line from the keylog callback. Lines with other labels are ignored (0); TL_ESYNTAX for a
 * malformed line with one of the labels. Never logs. */
int tl_secrets_keylog(struct tl_secrets *s, const char *line);
void tl_secrets_clear(struct tl_secrets *s);

/* What both sides wrote during the handshake, record by record. Zero it at the start. */
struct tl_flight {
  unsigned app_records;      /* of type 23 in the last call's output */
  bool ccs;                  /* we have sent ChangeCipherSpec */
  bool have_nonce;           /* TLS 1.2: our Finished was seen, its explicit nonce is below */
  uint8_t finished_nonce[8]; /* only of use with a GCM suite */
  bool peer_ccs;             /* the peer has sent ChangeCipherSpec */
  unsigned peer_records;     /* TLS 1.2: those sent since, protected by its new keys */
};
/* All N bytes that one call of SSL_do_handshake (or SSL_accept, SSL_connect) put into the write
 * BIO; call it after each, also with N = 0, in order. TL_ETLS if they are not whole records. */
int tl_flight_feed(struct tl_flight *f, const uint8_t *p, size_t n);
/* N bytes of whole records from the peer, before SSL_do_handshake reads them. TL_ETLS as above. */
int tl_flight_received(struct tl_flight *f, const uint8_t *p, size_t n);

/* Maps the suite. TL_ENOTSUP unless it is AES-128-GCM, AES-256-GCM or CHACHA20-POLY1305. */
int tl_secrets_cipher(const SSL *ssl, enum tl_cipher *out, uint8_t *out_key_len);

/*
 * Everything at once: version, cipher, keys, IVs, secrets of both directions,
 * and where each direction's records continue:
 *   1.3 sending, server: after the tickets that the last call wrote (F);
 *   1.3 else: record 0. 1.2 sending: record 1 (0 was Finished), GCM with the
 *   explicit nonce that follows the one of our Finished; 1.2 receiving: after
 *   the records over which the peer spread its Finished (F).
 * SSL's handshake must be finished and nothing after it may have been read.
 */
int tl_secrets_derive(SSL *ssl, bool server, const struct tl_secrets *s, const struct tl_flight *f,
                      struct tl_tls_keys *out);
