/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HKDF-Expand-Label and what a live TLS 1.3 connection derives with it.
 *
 * Used by the handshake (first keys) and by KeyUpdate (next keys). The rest of
 * the key schedule is OpenSSL's, during the handshake.
 */
#include "tieline/hkdf.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>

#include "tieline/once.h"

static EVP_KDF *hkdf; /* fetched once: a fetch by name costs as much as the derivation */
static struct tl_once hkdf_once = TL_ONCE_INIT;

static bool fetch_hkdf(void) { return (hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL)) != NULL; }

/* struct HkdfLabel of RFC 8446 7.1 with an empty context. Returns its length. */
static size_t make_label(uint8_t info[64], const char *label, size_t out_len) {
  static const char prefix[] = "tls13 ";
  size_t n = strlen(label), at = 0;
  info[at++] = (uint8_t)(out_len >> 8);
  info[at++] = (uint8_t)out_len;
  info[at++] = (uint8_t)(sizeof(prefix) - 1 + n);
  memcpy(info + at, prefix, sizeof(prefix) - 1);
  at += sizeof(prefix) - 1;
  memcpy(info + at, label, n);
  at += n;
  info[at++] = 0;
  return at;
}

int tl_hkdf_expand_label(const uint8_t *secret, size_t secret_len, const char *label, uint8_t *out,
                         size_t out_len) {
  if ((secret_len != 32 && secret_len != 48) || out_len > secret_len || strlen(label) > 32)
    return TL_EINVAL;
  EVP_KDF_CTX *ctx = tl_once(&hkdf_once, fetch_hkdf) ? EVP_KDF_CTX_new(hkdf) : NULL;
  if (!ctx) return TL_ENOMEM;

  uint8_t info[64];
  size_t info_len = make_label(info, label, out_len);
  int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
  char *digest = secret_len == 48 ? (char *)"SHA2-384" : (char *)"SHA2-256";
  OSSL_PARAM params[] = {
      OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)secret, secret_len),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, info_len),
      OSSL_PARAM_construct_end(),
  };
  int rc = EVP_KDF_derive(ctx, out, out_len, params) == 1 ? TL_OK : TL_ENOMEM;
  EVP_KDF_CTX_free(ctx);
  return rc;
}

int tl_dir_keys_from_secret(struct tl_dir_keys *d, const uint8_t *secret, size_t secret_len,
                            size_t key_len) {
  if (key_len > sizeof(d->key)) return TL_EINVAL;
  struct tl_dir_keys next = {0};
  int rc = tl_hkdf_expand_label(secret, secret_len, "key", next.key, key_len);
  if (rc == 0) rc = tl_hkdf_expand_label(secret, secret_len, "iv", next.iv, sizeof(next.iv));
  if (rc == 0) {
    memcpy(next.secret, secret, secret_len);
    *d = next;
  }
  OPENSSL_cleanse(&next, sizeof(next));
  return rc;
}

int tl_dir_keys_update(struct tl_dir_keys *d, size_t secret_len, size_t key_len) {
  uint8_t next[TL_SECRET_MAX];
  int rc = tl_hkdf_expand_label(d->secret, secret_len, "traffic upd", next, secret_len);
  if (rc == 0) rc = tl_dir_keys_from_secret(d, next, secret_len, key_len);
  OPENSSL_cleanse(next, sizeof(next));
  return rc;
}

int tl_keys_update(struct tl_tls_keys *keys, bool tx) {
  if (keys->version != TL_TLS_1_3 || keys->secret_len == 0) return TL_ENOTSUP;
  return tl_dir_keys_update(tx ? &keys->tx : &keys->rx, keys->secret_len, keys->key_len);
}
