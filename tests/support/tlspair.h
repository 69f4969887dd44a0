/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TLS handshake in memory between "ours", whose keys are taken out as tieline
 * does, and an OpenSSL peer that then judges what the record layer makes of them.
 *
 * Ownership: tlspair_free frees all. Threads: one per pair. Errors: functions
 * return 0 or end as must.h says.
 */
#pragma once

#include <openssl/ssl.h>

#include "cert_kit.h"
#include "tls/secrets.h"

/* A self-signed P-256 certificate for "localhost", made once per process. */
const struct kit_cert *tlspair_cert(void);
/* Restricted to VERSION and CIPHER; no certificate is verified. */
SSL_CTX *tlspair_ctx(bool server, enum tl_tls_version v, enum tl_cipher c);

struct tlspair {
  /* Puts other records in the place of what the peer wrote, NULL: nothing is changed; *N bytes in
   * BUF. */
  void (*spoil)(struct tlspair *p, uint8_t *buf, size_t *n, size_t cap);
  bool server; /* our role */
  SSL *ours;   /* NULL once the keys are out */
  SSL *peer;
  BIO *peer_in, *peer_out; /* the peer's; our records go in, its records come out */
  SSL_CTX *our_ctx, *peer_ctx;
  struct tl_secrets secrets;
  struct tl_flight flight;
  struct tl_tls_keys keys;
};

/* Both contexts and SSL objects; options may be set on them before tlspair_run. */
void tlspair_init(struct tlspair *p, bool server, enum tl_tls_version v, enum tl_cipher c);
/* The handshake, up to the moment when ours has finished; takes the keys. */
void tlspair_run(struct tlspair *p);
void tlspair_free(struct tlspair *p);

/* Keys of the other end: what we send with these the pair receives. */
struct tl_tls_keys tlspair_mirror(const struct tl_tls_keys *k);
/* The next whole record that the peer wrote, in BUF; its length, 0 if there is none. */
size_t tlspair_next_record(struct tlspair *p, uint8_t *buf, size_t cap);
/* Makes the peer process what it got; SSL_get_error's value. */
int tlspair_peer_read(struct tlspair *p, void *buf, size_t cap, size_t *out_n);
