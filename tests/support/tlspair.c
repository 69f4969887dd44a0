/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In-memory handshakes for tests. Everything that goes wrong here is a fault of
 * the test's surroundings, so it ends there.
 */
#include "tlspair.h"

#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "must.h"

const struct kit_cert *tlspair_cert(void) {
  static struct kit_cert c;
  if (c.x) return &c;
  c = kit_make(
      &(struct kit_options){.subject = "CN=localhost", .ext = {"subjectAltName=DNS:localhost"}});
  X509_up_ref(c.x); /* it outlives the kit's */
  EVP_PKEY_up_ref(c.key);
  return &c;
}

SSL_CTX *tlspair_ctx(bool server, enum tl_tls_version v, enum tl_cipher c) {
  static const char *const tls12[] = {"ECDHE-ECDSA-AES128-GCM-SHA256",
                                      "ECDHE-ECDSA-AES256-GCM-SHA384",
                                      "ECDHE-ECDSA-CHACHA20-POLY1305"};
  static const char *const tls13[] = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                      "TLS_CHACHA20_POLY1305_SHA256"};
  SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
  MUST(ctx);
  MUST(SSL_CTX_set_min_proto_version(ctx, (int)v));
  MUST(SSL_CTX_set_max_proto_version(ctx, (int)v));
  MUST(v == TL_TLS_1_3 ? SSL_CTX_set_ciphersuites(ctx, tls13[c])
                       : SSL_CTX_set_cipher_list(ctx, tls12[c]));
  if (server) {
    MUST(SSL_CTX_use_certificate(ctx, tlspair_cert()->x));
    MUST(SSL_CTX_use_PrivateKey(ctx, tlspair_cert()->key));
  }
  SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
  return ctx;
}

static void on_keylog(const SSL *ssl, const char *line) {
  struct tlspair *p = SSL_get_app_data(ssl);
  MUST(tl_secrets_keylog(&p->secrets, line) == 0);
}

static SSL *make_ssl(SSL_CTX *ctx, bool server) {
  SSL *ssl = SSL_new(ctx);
  BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
  MUST(ssl && in && out);
  BIO_set_mem_eof_return(in, -1);
  SSL_set_bio(ssl, in, out);
  server ? SSL_set_accept_state(ssl) : SSL_set_connect_state(ssl);
  return ssl;
}

void tlspair_init(struct tlspair *p, bool server, enum tl_tls_version v, enum tl_cipher c) {
  memset(p, 0, sizeof(*p));
  p->server = server;
  p->our_ctx = tlspair_ctx(server, v, c);
  p->peer_ctx = tlspair_ctx(!server, v, c);
  SSL_CTX_set_keylog_callback(p->our_ctx, on_keylog);
  p->ours = make_ssl(p->our_ctx, server);
  p->peer = make_ssl(p->peer_ctx, !server);
  SSL_set_app_data(p->ours, p);
  p->peer_in = SSL_get_rbio(p->peer);
  p->peer_out = SSL_get_wbio(p->peer);
}

/* All that FROM holds, at once, because tl_flight_feed wants the output of one call. */
static size_t drain(BIO *from, uint8_t *buf, size_t cap) {
  size_t n = BIO_ctrl_pending(from);
  MUST(n <= cap);
  return n ? (size_t)BIO_read(from, buf, (int)n) : 0;
}

static bool step(SSL *ssl) {
  ERR_clear_error();
  int rc = SSL_do_handshake(ssl);
  MUST(rc == 1 || SSL_get_error(ssl, rc) == SSL_ERROR_WANT_READ);
  return rc == 1;
}

void tlspair_run(struct tlspair *p) {
  uint8_t buf[16384];
  bool done = false;
  for (int turn = 0; !done; turn++) {
    MUST(turn < 20);
    done = step(p->ours);
    size_t n = drain(SSL_get_wbio(p->ours), buf, sizeof(buf));
    MUST(tl_flight_feed(&p->flight, buf, n) == 0);
    if (n) BIO_write(p->peer_in, buf, (int)n);
    step(p->peer);
    if (done) break;
    n = drain(p->peer_out, buf, sizeof(buf));
    if (n && p->spoil) p->spoil(p, buf, &n, sizeof(buf));
    MUST(tl_flight_received(&p->flight, buf, n) == 0);
    if (n) BIO_write(SSL_get_rbio(p->ours), buf, (int)n);
  }
  MUST(SSL_is_init_finished(p->peer));
  MUST(BIO_ctrl_pending(SSL_get_rbio(p->ours)) == 0);
  MUST(tl_secrets_derive(p->ours, p->server, &p->secrets, &p->flight, &p->keys) == 0);
  SSL_free(p->ours);
  p->ours = NULL;
}

void tlspair_free(struct tlspair *p) {
  SSL_free(p->ours);
  SSL_free(p->peer);
  SSL_CTX_free(p->our_ctx);
  SSL_CTX_free(p->peer_ctx);
}

struct tl_tls_keys tlspair_mirror(const struct tl_tls_keys *k) {
  struct tl_tls_keys m = *k;
  m.tx = k->rx;
  m.rx = k->tx;
  return m;
}

size_t tlspair_next_record(struct tlspair *p, uint8_t *buf, size_t cap) {
  if (BIO_ctrl_pending(p->peer_out) < TL_RECORD_HEADER) return 0;
  MUST(BIO_read(p->peer_out, buf, TL_RECORD_HEADER) == TL_RECORD_HEADER);
  int body = buf[3] << 8 | buf[4];
  MUST((size_t)body + TL_RECORD_HEADER <= cap);
  MUST(BIO_read(p->peer_out, buf + TL_RECORD_HEADER, body) == body);
  return (size_t)body + TL_RECORD_HEADER;
}

int tlspair_peer_read(struct tlspair *p, void *buf, size_t cap, size_t *out_n) {
  ERR_clear_error();
  int n = SSL_read(p->peer, buf, (int)cap);
  *out_n = n > 0 ? (size_t)n : 0;
  return SSL_get_error(p->peer, n);
}
