/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the traffic keys out of OpenSSL when a handshake has finished.
 *
 * OpenSSL 3.0 has no call that gives them, so TLS 1.3 secrets come through the
 * keylog callback and the TLS 1.2 key block is computed again from the master
 * secret. Where records continue is counted from the bytes that OpenSSL wrote,
 * never assumed: the number of tickets depends on options and on resumption, and
 * OpenSSL starts the explicit nonce of TLS 1.2 GCM at a random value.
 *
 * It installs nothing: see src/ktls and src/record.
 */
#include "tls/secrets.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "tieline/hkdf.h"
#include "tieline/once.h"
#include "tieline/str.h"

static EVP_KDF *prf;
static struct tl_once prf_once = TL_ONCE_INIT;

static bool fetch_prf(void) { return (prf = EVP_KDF_fetch(NULL, "TLS1-PRF", NULL)) != NULL; }

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/* Decodes the hex number P to its end. */
static int decode_secret(const char *p, uint8_t out[TL_SECRET_MAX], uint8_t *out_len) {
  size_t n = strcspn(p, " \r\n");
  if (n != 64 && n != 96) return TL_ESYNTAX;
  for (size_t i = 0; i < n / 2; i++) {
    int hi = hex_digit(p[2 * i]), lo = hex_digit(p[2 * i + 1]);
    if (hi < 0 || lo < 0) return TL_ESYNTAX;
    out[i] = (uint8_t)(hi << 4 | lo);
  }
  *out_len = (uint8_t)(n / 2);
  return TL_OK;
}

int tl_secrets_keylog(struct tl_secrets *s, const char *line) {
  static const char client[] = "CLIENT_TRAFFIC_SECRET_0 ", server[] = "SERVER_TRAFFIC_SECRET_0 ";
  bool is_client = strncmp(line, client, sizeof(client) - 1) == 0;
  if (!is_client && strncmp(line, server, sizeof(server) - 1) != 0) return TL_OK;
  const char *p = line + sizeof(client) - 1; /* both labels have the same length */
  p += strspn(p, "0123456789abcdefABCDEF");  /* the client random */
  if (*p++ != ' ') return TL_ESYNTAX;
  return is_client ? decode_secret(p, s->client, &s->client_len)
                   : decode_secret(p, s->server, &s->server_len);
}

void tl_secrets_clear(struct tl_secrets *s) { OPENSSL_cleanse(s, sizeof(*s)); }

int tl_flight_feed(struct tl_flight *f, const uint8_t *p, size_t n) {
  f->app_records = 0;
  while (n) {
    if (n < TL_RECORD_HEADER) return TL_ETLS;
    size_t body = (size_t)p[3] << 8 | p[4];
    if (n - TL_RECORD_HEADER < body) return TL_ETLS;
    if (p[0] == TL_CT_DATA) f->app_records++;
    if (p[0] == TL_CT_CCS) f->ccs = true;
    /* After our CCS the only handshake message is Finished. TLS 1.3 sends its encrypted handshake
     * as type 23, so the middlebox CCS there is not followed by such a record. */
    if (p[0] == TL_CT_HANDSHAKE && f->ccs && !f->have_nonce && body >= sizeof(f->finished_nonce)) {
      memcpy(f->finished_nonce, p + TL_RECORD_HEADER, sizeof(f->finished_nonce));
      f->have_nonce = true;
    }
    p += TL_RECORD_HEADER + body;
    n -= TL_RECORD_HEADER + body;
  }
  return TL_OK;
}

int tl_flight_received(struct tl_flight *f, const uint8_t *p, size_t n) {
  while (n) {
    if (n < TL_RECORD_HEADER) return TL_ETLS;
    size_t len = TL_RECORD_HEADER + ((size_t)p[3] << 8 | p[4]);
    if (n < len) return TL_ETLS;
    if (f->peer_ccs) f->peer_records++;
    if (p[0] == TL_CT_CCS) f->peer_ccs = true;
    p += len;
    n -= len;
  }
  return TL_OK;
}

int tl_secrets_cipher(const SSL *ssl, enum tl_cipher *out, uint8_t *out_key_len) {
  const SSL_CIPHER *c = SSL_get_current_cipher(ssl);
  switch (c ? SSL_CIPHER_get_cipher_nid(c) : NID_undef) {
  case NID_aes_128_gcm:
    *out = TL_AES_128_GCM;
    *out_key_len = 16;
    return TL_OK;
  case NID_aes_256_gcm:
    *out = TL_AES_256_GCM;
    *out_key_len = 32;
    return TL_OK;
  case NID_chacha20_poly1305:
    *out = TL_CHACHA20_POLY1305;
    *out_key_len = 32;
    return TL_OK;
  default: return TL_ENOTSUP;
  }
}

static int derive_13(SSL *ssl, bool server, const struct tl_secrets *s, const struct tl_flight *f,
                     struct tl_tls_keys *k) {
  const EVP_MD *md = SSL_CIPHER_get_handshake_digest(SSL_get_current_cipher(ssl));
  int len = md ? EVP_MD_get_size(md) : 0;
  if (len <= 0 || s->client_len != len || s->server_len != len) return TL_ETLS;
  k->secret_len = (uint8_t)len;
  const uint8_t *tx = server ? s->server : s->client, *rx = server ? s->client : s->server;
  int rc = tl_dir_keys_from_secret(&k->tx, tx, (size_t)len, k->key_len);
  if (rc == 0) rc = tl_dir_keys_from_secret(&k->rx, rx, (size_t)len, k->key_len);
  /* A client's last flight uses its handshake keys although its records are of type 23. */
  if (rc == 0 && server) k->tx.seq = f->app_records;
  return rc;
}

/* Key block of RFC 5246 6.3: AEAD suites have no MAC keys. */
static int key_block(SSL *ssl, uint8_t *out, size_t n) {
  static const char label[] = "key expansion";
  uint8_t master[SSL_MAX_MASTER_KEY_LENGTH], seed[sizeof(label) - 1 + 2 * SSL3_RANDOM_SIZE];
  memcpy(seed, label, sizeof(label) - 1);
  uint8_t *random = seed + sizeof(label) - 1;
  if (SSL_get_server_random(ssl, random, SSL3_RANDOM_SIZE) != SSL3_RANDOM_SIZE ||
      SSL_get_client_random(ssl, random + SSL3_RANDOM_SIZE, SSL3_RANDOM_SIZE) != SSL3_RANDOM_SIZE)
    return TL_ETLS;
  size_t master_len = SSL_SESSION_get_master_key(SSL_get_session(ssl), master, sizeof(master));
  const EVP_MD *md = SSL_CIPHER_get_handshake_digest(SSL_get_current_cipher(ssl));
  bool ready = md && master_len && tl_once(&prf_once, fetch_prf);
  EVP_KDF_CTX *ctx = ready ? EVP_KDF_CTX_new(prf) : NULL;
  int rc = TL_ENOMEM; /* the handshake has used the same PRF, so nothing else can be missing */
  if (!ctx) goto out;

  char *digest = (char *)(uintptr_t)EVP_MD_get0_name(md);
  OSSL_PARAM params[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SECRET, master, master_len),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, seed, sizeof(seed)),
      OSSL_PARAM_construct_end(),
  };
  if (EVP_KDF_derive(ctx, out, n, params) == 1) rc = TL_OK;
out:
  EVP_KDF_CTX_free(ctx);
  OPENSSL_cleanse(master, sizeof(master));
  return rc;
}

static void add_one(uint8_t nonce[8]) {
  for (int i = 7; i >= 0 && ++nonce[i] == 0; i--) continue;
}

static int derive_12(SSL *ssl, bool server, const struct tl_flight *f, struct tl_tls_keys *k) {
  bool gcm = k->cipher != TL_CHACHA20_POLY1305;
  if (!f->have_nonce || !f->peer_records) return TL_ETLS;
  uint8_t block[2 * 32 + 2 * 12];
  size_t key = k->key_len, iv = gcm ? 4 : 12;
  int rc = key_block(ssl, block, 2 * key + 2 * iv);
  if (rc == 0) {
    struct tl_dir_keys *client = server ? &k->rx : &k->tx, *srv = server ? &k->tx : &k->rx;
    memcpy(client->key, block, key);
    memcpy(srv->key, block + key, key);
    memcpy(client->iv, block + 2 * key, iv);
    memcpy(srv->iv, block + 2 * key + iv, iv);
    k->tx.seq = 1;
    k->rx.seq = f->peer_records; /* usually 1: Finished, but it may be split */
    if (gcm) {
      memcpy(k->tx.explicit_iv, f->finished_nonce, sizeof(k->tx.explicit_iv));
      add_one(k->tx.explicit_iv);
    }
  }
  OPENSSL_cleanse(block, sizeof(block));
  return rc;
}

int tl_secrets_derive(SSL *ssl, bool server, const struct tl_secrets *s, const struct tl_flight *f,
                      struct tl_tls_keys *out) {
  struct tl_tls_keys k = {0};
  if (!SSL_is_init_finished(ssl)) return TL_ETLS;
  int rc = tl_secrets_cipher(ssl, &k.cipher, &k.key_len);
  if (rc < 0) return rc;
  switch (SSL_version(ssl)) {
  case TLS1_3_VERSION:
    k.version = TL_TLS_1_3;
    rc = derive_13(ssl, server, s, f, &k);
    break;
  case TLS1_2_VERSION:
    k.version = TL_TLS_1_2;
    rc = derive_12(ssl, server, f, &k);
    break;
  default: rc = TL_ENOTSUP;
  }
  if (rc == 0) *out = k;
  OPENSSL_cleanse(&k, sizeof(k));
  return rc;
}
