/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See kpair.h. Files: the domain wants certificate and key as files, so they are
 * written to a directory of their own and removed with the pair.
 */
#include "kpair.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../support/tlspair.h"
#include "ktls/ktls_internal.h"

/* Held until the process of this test ends; one test takes a module away from the kernel. */
static int lock_fd(void) {
  static int fd = -1;
  if (fd < 0) fd = open("/tmp/tieline-ktls.lock", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  return fd;
}

void kpair_alone(void) { cr_assert_eq(flock(lock_fd(), LOCK_EX), 0); }

const struct tl_ktls_caps *kpair_caps(void) {
  static struct tl_ktls_caps caps;
  if (caps.ulp) return &caps;
  cr_assert_eq(flock(lock_fd(), LOCK_SH), 0);
  if (tl_ktls_probe(&caps) < 0) cr_skip_test("this kernel has no TLS (%s)", strerror(caps.err_ulp));
  return &caps;
}

static struct tl_tls_domain *make_domain(bool server, enum tl_tls_version v, enum tl_cipher c,
                                         int tickets) {
  static const char *const tls12[] = {"ECDHE-ECDSA-AES128-GCM-SHA256",
                                      "ECDHE-ECDSA-AES256-GCM-SHA384",
                                      "ECDHE-ECDSA-CHACHA20-POLY1305"};
  static const char *const tls13[] = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                      "TLS_CHACHA20_POLY1305_SHA256"};
  char dir[] = "/tmp/tieline-ktls-XXXXXX", cert[64], key[64], err[512] = "";
  cr_assert_not_null(mkdtemp(dir));
  snprintf(cert, sizeof(cert), "%s/cert.pem", dir);
  snprintf(key, sizeof(key), "%s/key.pem", dir);
  kit_write_cert(cert, tlspair_cert(), NULL);
  kit_write_key(key, tlspair_cert(), 0600);
  const char *certs[] = {cert, NULL}, *keys[] = {key, NULL}, *option = NULL;
  struct tl_tls_options o = {.name = "test",
                             .certificate = certs,
                             .private_key = keys,
                             .policy.send_ca_names = true,
                             .policy.resumption = true,
                             .policy.verify_depth = 9,
                             .min_version = (int)v,
                             .max_version = (int)v,
                             .ciphers_list = v == TL_TLS_1_2 ? tls12[c] : NULL,
                             .ciphersuites = v == TL_TLS_1_3 ? tls13[c] : NULL,
                             .policy.tickets = tickets,
                             .server = server,
                             .client = !server};
  struct tl_tls_domain *d = NULL;
  cr_assert_eq(tl_tls_domain_new(&o, err, sizeof(err), &option, &d), 0, "%s", err);
  unlink(cert);
  unlink(key);
  rmdir(dir);
  return d;
}

static void make_hs(struct kpair *k) {
  struct tl_tls_set set = {.domain = &k->domain, .n = 1, .fallback = k->domain};
  static struct tl_tls_set kept;
  kept = set;
  struct tl_hs_params p = {.server = k->server, .set = &kept, .domain = k->domain};
  cr_assert_eq(tl_hs_new(&p, &k->hs), 0);
}

static void make_peer(struct kpair *k) {
  k->peer = SSL_new(k->peer_ctx);
  k->peer_in = BIO_new(BIO_s_mem());
  k->peer_out = BIO_new(BIO_s_mem());
  BIO_set_mem_eof_return(k->peer_in, -1);
  SSL_set_bio(k->peer, k->peer_in, k->peer_out);
  k->server ? SSL_set_connect_state(k->peer) : SSL_set_accept_state(k->peer);
}

static void make_sockets(struct kpair *k) {
  int fd[2];
  cr_assert_eq(tl_tcp_pair(fd), 0);
  k->fd = fd[0];
  k->peer_fd = fd[1];
  cr_assert_eq(tl_ktls_attach(k->fd), 0);
}

void kpair_open(struct kpair *k, bool server, enum tl_tls_version v, enum tl_cipher c,
                int tickets) {
  memset(k, 0, sizeof(*k));
  k->server = server;
  k->domain = make_domain(server, v, c, tickets);
  k->peer_ctx = tlspair_ctx(!server, v, c);
  make_sockets(k);
  make_peer(k);
  make_hs(k);
}

void kpair_reopen(struct kpair *k, const struct kpair *first, SSL_SESSION *session) {
  memset(k, 0, sizeof(*k));
  k->server = first->server;
  k->domain = tl_tls_domain_ref(first->domain);
  k->peer_ctx = first->peer_ctx;
  SSL_CTX_up_ref(k->peer_ctx);
  make_sockets(k);
  make_peer(k);
  cr_assert_eq(SSL_set_session(k->peer, session), 1);
  make_hs(k);
}

bool kpair_readable(int fd, int ms) {
  struct pollfd p = {.fd = fd, .events = POLLIN};
  return poll(&p, 1, ms) == 1;
}

size_t kpair_flush(struct kpair *k) {
  char *p;
  long n = BIO_get_mem_data(k->peer_out, &p);
  if (n > 0) cr_assert_eq(send(k->peer_fd, p, (size_t)n, MSG_NOSIGNAL), n);
  (void)BIO_reset(k->peer_out);
  return n > 0 ? (size_t)n : 0;
}

bool kpair_pump(struct kpair *k, int ms) {
  static uint8_t buf[65536];
  bool any = false;
  while (kpair_readable(k->peer_fd, any ? 0 : ms)) {
    ssize_t n = recv(k->peer_fd, buf, sizeof(buf), MSG_DONTWAIT);
    if (n <= 0) break;
    any = true;
    BIO_write(k->peer_in, buf, (int)n);
  }
  return any;
}

/* What the wire shows of our side: the nonce of Finished, the tickets. */
static void watch(struct kpair *k, const uint8_t *p, size_t n) {
  k->app_records = 0;
  while (n >= TL_RECORD_HEADER) {
    size_t len = TL_RECORD_HEADER + ((size_t)p[3] << 8 | p[4]);
    if (p[0] == TL_CT_DATA) k->app_records++;
    if (p[0] == TL_CT_HANDSHAKE && k->seen_ccs) memcpy(k->finished_nonce, p + 5, 8);
    if (p[0] == TL_CT_CCS) k->seen_ccs = true;
    p += len;
    n -= len;
  }
}

static void send_ours(struct kpair *k) {
  size_t n;
  const uint8_t *p = tl_hs_output(k->hs, &n);
  watch(k, p, n);
  if (n) cr_assert_eq(send(k->fd, p, n, MSG_NOSIGNAL), (ssize_t)n);
}

/* One record off our end of the wire, not a byte more. */
static size_t read_record(int fd, uint8_t *buf) {
  cr_assert(kpair_readable(fd, KPAIR_WAIT_MS), "no record came");
  cr_assert_eq(recv(fd, buf, TL_RECORD_HEADER, MSG_WAITALL), TL_RECORD_HEADER);
  size_t body = (size_t)buf[3] << 8 | buf[4];
  cr_assert_eq(recv(fd, buf + TL_RECORD_HEADER, body, MSG_WAITALL), (ssize_t)body);
  return TL_RECORD_HEADER + body;
}

static void peer_step(struct kpair *k) {
  ERR_clear_error();
  int rc = SSL_do_handshake(k->peer);
  cr_assert(rc == 1 || SSL_get_error(k->peer, rc) == SSL_ERROR_WANT_READ, "peer: %s",
            ERR_error_string(ERR_peek_error(), NULL));
}

void kpair_handshake(struct kpair *k) {
  static uint8_t rec[TL_RECORD_CIPHER_MAX];
  int rc = tl_hs_start(k->hs);
  send_ours(k);
  while (rc == TL_EAGAIN) {
    for (int turn = 0; !kpair_readable(k->fd, 0); turn++) {
      cr_assert_lt(turn, KPAIR_WAIT_MS / 50, "the peer is silent");
      kpair_pump(k, turn ? 50 : 0);
      peer_step(k);
      kpair_flush(k);
    }
    rc = tl_hs_input(k->hs, rec, read_record(k->fd, rec));
    send_ours(k);
  }
  cr_assert_eq(rc, 0, "%s", tl_hs_failure(k->hs)->reason);
  kpair_pump(k, 100);
  cr_assert_eq(tl_hs_take(k->hs, &k->session), 0, "%s", tl_hs_failure(k->hs)->reason);
  tl_hs_free(k->hs);
  k->hs = NULL;
}

void kpair_install(struct kpair *k) {
  struct tl_ktls_state s;
  int rc = tl_ktls_install(k->fd, kpair_caps(), &k->session.keys, &s);
  cr_assert_eq(rc, 0, "%s: tx %s, rx %s", tl_strerror(rc), tl_ktls_why_text(s.tx),
               tl_ktls_why_text(s.rx));
  cr_assert(s.tx == TL_KTLS_ON && s.rx == TL_KTLS_ON);
  /* The peer may still have to finish, and a server peer to send its tickets. */
  peer_step(k);
  cr_assert(SSL_is_init_finished(k->peer));
  kpair_flush(k);
}

void kpair_ready(struct kpair *k, bool server, enum tl_tls_version v, enum tl_cipher c) {
  kpair_caps();
  kpair_open(k, server, v, c, 2);
  if (!server) SSL_set_num_tickets(k->peer, 0);
  kpair_handshake(k);
  kpair_install(k);
}

void kpair_close(struct kpair *k) {
  if (k->fd >= 0) close(k->fd);
  if (k->peer_fd >= 0) close(k->peer_fd);
  tl_hs_free(k->hs);
  tl_hs_result_clear(&k->session);
  tl_tls_domain_unref(k->domain);
  SSL_free(k->peer);
  SSL_CTX_free(k->peer_ctx);
}

void kpair_peer_send(struct kpair *k, const void *p, size_t n) {
  cr_assert_eq(SSL_write(k->peer, p, (int)n), (int)n);
  kpair_flush(k);
}

int kpair_peer_read(struct kpair *k, void *buf, size_t cap) {
  int n, err;
  do {
    ERR_clear_error();
    n = SSL_read(k->peer, buf, (int)cap);
    err = SSL_get_error(k->peer, n);
  } while (err == SSL_ERROR_WANT_READ && kpair_pump(k, KPAIR_WAIT_MS));
  return n > 0 ? n : -err;
}

void kpair_peer_expect(struct kpair *k, const void *p, size_t n) {
  static uint8_t buf[65536];
  size_t at = 0;
  while (at < n) {
    int got = kpair_peer_read(k, buf, sizeof(buf) < n - at ? sizeof(buf) : n - at);
    cr_assert_gt(got, 0, "peer after %zu of %zu bytes: %s", at, n,
                 ERR_error_string(ERR_peek_error(), NULL));
    cr_assert_eq(memcmp(buf, (const uint8_t *)p + at, (size_t)got), 0);
    at += (size_t)got;
  }
}

void kpair_expect(struct kpair *k, const void *p, size_t n) {
  static uint8_t buf[65536];
  size_t at = 0, got;
  uint8_t type;
  while (at < n) {
    int rc = tl_ktls_recv(k->fd, buf, sizeof(buf) < n - at ? sizeof(buf) : n - at, &type, &got);
    if (rc == TL_EAGAIN) {
      cr_assert(kpair_readable(k->fd, KPAIR_WAIT_MS), "%zu of %zu bytes came", at, n);
      continue;
    }
    cr_assert_eq(rc, 0, "%s after %zu of %zu bytes", tl_strerror(rc), at, n);
    if (type == TL_CT_HANDSHAKE) continue; /* tickets */
    cr_assert_eq(type, TL_CT_DATA);
    cr_assert_eq(memcmp(buf, (const uint8_t *)p + at, got), 0);
    at += got;
  }
}

void kpair_forge(struct kpair *k, uint8_t type, const void *p, size_t n) {
  struct tl_tls_keys theirs = tlspair_mirror(&k->session.keys);
  struct tl_record *r;
  uint8_t *buf;
  size_t len;
  cr_assert_eq(tl_record_new(&theirs, 0, &r), 0);
  buf = malloc(tl_record_head(r) + n + tl_record_tail(r) + 1);
  cr_assert_eq(tl_record_seal_from(r, type, p, n, buf, &len), 0);
  cr_assert_eq(send(k->peer_fd, buf, len, MSG_NOSIGNAL), (ssize_t)len);
  k->session.keys.rx.seq = tl_record_seq_tx(r);
  free(buf);
  tl_record_free(r);
}
