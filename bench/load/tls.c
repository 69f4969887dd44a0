/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS contexts of the load generator: versions, suites, certificates for both
 * sides. Without --cert the callees make themselves a throwaway self-signed
 * certificate. Moves no bytes; io.c does.
 */
#include "load.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

#include "../../tests/support/cert_kit.h"

static int self_signed(SSL_CTX *ctx) {
  struct kit_cert c = kit_make(&(struct kit_options){.subject = "CN=load.invalid"});
  bool ok = SSL_CTX_use_certificate(ctx, c.x) == 1 && SSL_CTX_use_PrivateKey(ctx, c.key) == 1;
  kit_free();
  return ok ? 0 : -1;
}

static int set_cipher(SSL_CTX *ctx, const char *name) {
  /* A TLS 1.3 suite is named TLS_..., and limits nothing below 1.3; the other way round too. */
  if (!strncmp(name, "TLS_", 4)) return SSL_CTX_set_ciphersuites(ctx, name) == 1 ? 0 : -1;
  return SSL_CTX_set_cipher_list(ctx, name) == 1 ? 0 : -1;
}

static int use_cert(SSL_CTX *ctx) {
  if (SSL_CTX_use_certificate_chain_file(ctx, L.o.cert) != 1) return -1;
  const char *key = L.o.key ? L.o.key : L.o.cert;
  return SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) == 1 ? 0 : -1;
}

static SSL_CTX *make(bool server) {
  SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
  if (!ctx) return NULL;
  SSL_CTX_set_min_proto_version(ctx, L.o.tls_min);
  SSL_CTX_set_max_proto_version(ctx, L.o.tls_max);
  SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  /* One read takes what many records hold: the generator must cost little. */
  SSL_CTX_set_read_ahead(ctx, 1);
  SSL_CTX_set_default_read_buffer_len(ctx, 65536);
  int rc = 0;
  if (L.o.cipher) rc |= set_cipher(ctx, L.o.cipher);
  if (server || L.o.client_cert) rc |= L.o.cert ? use_cert(ctx) : self_signed(ctx);
  if (server && L.o.tickets >= 0) SSL_CTX_set_num_tickets(ctx, (size_t)L.o.tickets);
  if (L.o.ca) rc |= SSL_CTX_load_verify_locations(ctx, L.o.ca, NULL) == 1 ? 0 : -1;
  if (server ? L.o.require_cert : L.o.ca != NULL)
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | (server ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), NULL);
  if (rc) {
    ERR_print_errors_fp(stderr);
    SSL_CTX_free(ctx);
    return NULL;
  }
  return ctx;
}

int tls_setup(void) {
  if (L.o.require_cert && !L.o.ca) {
    fputs("load: --require-cert needs --ca\n", stderr);
    return -1;
  }
  L.ctx_caller = make(false);
  L.ctx_callee = make(true);
  return L.ctx_caller && L.ctx_callee ? 0 : -1;
}

void tls_close(struct conn *c) {
  if (!c->ssl) return;
  if (c->state == CONN_OPEN) SSL_shutdown(c->ssl);
  SSL_free(c->ssl);
  c->ssl = NULL;
  ERR_clear_error();
}

void tls_describe(SSL *ssl, char *out, size_t cap) {
  snprintf(out, cap, "%s %s", SSL_get_version(ssl), SSL_get_cipher_name(ssl));
}
