/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the kernel-TLS tests: a TCP connection over loopback whose one end is ours
 * (handshake by tl_hs, keys into the kernel) and whose other end is OpenSSL over
 * memory BIOs. The test moves the peer's bytes itself, so that it decides what
 * travels in one segment and what stands in which queue when.
 *
 * Ownership: kpair_close frees all. Threads: one. Errors: whatever goes wrong in
 * the surroundings fails the running test.
 */
#pragma once

#include <criterion/criterion.h>
#include <openssl/ssl.h>

#include "tieline/ktls.h"
#include "tieline/tls.h"
#include "tieline/tls_choice.h"
#include "tieline/tls_handshake.h"

/* For what must happen: the machine is emulated and may share its processors. */
#define KPAIR_WAIT_MS 20000

struct kpair {
  bool server; /* our role */
  int fd;      /* our end */
  int peer_fd;
  struct tl_tls_domain *domain;
  struct tl_hs *hs; /* NULL once the session is taken */
  struct tl_hs_result session;
  SSL_CTX *peer_ctx;
  SSL *peer;
  BIO *peer_in, *peer_out;
  uint8_t finished_nonce[8]; /* TLS 1.2: of our own Finished record, read off the wire */
  unsigned app_records;      /* of type 23 in what we sent last in the handshake */
  bool seen_ccs;
};

/* What this kernel can do; skips the running test with the reason where it cannot do kernel TLS. */
const struct tl_ktls_caps *kpair_caps(void);
/* Waits until no other test of this program runs, and keeps them out until this one ends. */
void kpair_alone(void);

/* Contexts, sockets and the ULP. TICKETS: of our server role. Options may be set on k->peer
 * afterwards. */
void kpair_open(struct kpair *k, bool server, enum tl_tls_version v, enum tl_cipher c, int tickets);
/* The same on an existing domain and peer context, for a second connection that resumes. */
void kpair_reopen(struct kpair *k, const struct kpair *first, SSL_SESSION *session);
/* Runs the handshake until ours has finished and the peer has its last flight. */
void kpair_handshake(struct kpair *k);
/* Keys into the kernel; both directions must be on. */
void kpair_install(struct kpair *k);
/* All of the above. */
void kpair_ready(struct kpair *k, bool server, enum tl_tls_version v, enum tl_cipher c);
void kpair_close(struct kpair *k);

/* Puts what the peer's SSL has written on the wire. Returns the number of bytes. */
size_t kpair_flush(struct kpair *k);
/* Lets the peer's SSL take what is on the wire, waiting up to MS for something. False: nothing. */
bool kpair_pump(struct kpair *k, int ms);
/* SSL_write and flush. */
void kpair_peer_send(struct kpair *k, const void *p, size_t n);
/* The peer must receive exactly these bytes. */
void kpair_peer_expect(struct kpair *k, const void *p, size_t n);
/* What the peer's SSL_read gives next: bytes, or an SSL_ERROR_* as a negative number (WANT_READ:
 * nothing came in time). */
int kpair_peer_read(struct kpair *k, void *buf, size_t cap);
/* Ours: blocks up to two seconds until N bytes of data have come, and compares. */
void kpair_expect(struct kpair *k, const void *p, size_t n);
/* Waits until FD is readable; false after MS. */
bool kpair_readable(int fd, int ms);
/* Makes the record that the peer would send, of any type and length, and puts it on the wire. The
 * peer's own SSL must not write afterwards: its sequence number would repeat. */
void kpair_forge(struct kpair *k, uint8_t type, const void *p, size_t n);
