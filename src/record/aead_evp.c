/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AEAD by OpenSSL's EVP: runs everywhere, several times slower on small records
 * than ipsec-mb because of the calls around the cipher.
 */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

#include "aead.h"

static EVP_CIPHER *cipher[TL_CIPHERS]; /* fetched once, shared by all contexts */

struct evp_ctx {
  EVP_CIPHER_CTX *c;
};

static int evp_init(void *ctx, enum tl_cipher id, const uint8_t *key, bool seal) {
  struct evp_ctx *e = ctx;
  if (!e->c && !(e->c = EVP_CIPHER_CTX_new())) return TL_ENOMEM;
  /* Cipher and key fit each other, so only memory can be missing. */
  return EVP_CipherInit_ex(e->c, cipher[id], NULL, key, NULL, seal) == 1 ? TL_OK : TL_ENOMEM;
}

static int init_128(void *ctx, const uint8_t *key, bool seal) {
  return evp_init(ctx, TL_AES_128_GCM, key, seal);
}

static int init_256(void *ctx, const uint8_t *key, bool seal) {
  return evp_init(ctx, TL_AES_256_GCM, key, seal);
}

static int init_chacha(void *ctx, const uint8_t *key, bool seal) {
  return evp_init(ctx, TL_CHACHA20_POLY1305, key, seal);
}

static void evp_wipe(void *ctx) {
  struct evp_ctx *e = ctx;
  EVP_CIPHER_CTX_free(e->c); /* cleanses the key schedule */
  e->c = NULL;
}

static int evp_begin(EVP_CIPHER_CTX *c, const struct tl_aead_input *in) {
  int n;
  return EVP_CipherInit_ex(c, NULL, NULL, NULL, in->nonce, -1) == 1 &&
                 EVP_CipherUpdate(c, NULL, &n, in->aad, (int)in->aad_len) == 1
             ? 0
             : TL_EIO;
}

static int evp_seal(void *ctx, const struct tl_aead_input *in, const uint8_t *src, size_t n,
                    int trailer, uint8_t *dst) {
  EVP_CIPHER_CTX *c = ((struct evp_ctx *)ctx)->c;
  int len;
  if (evp_begin(c, in) < 0) return TL_EIO;
  if (n && EVP_CipherUpdate(c, dst, &len, src, (int)n) != 1) return TL_EIO;
  if (trailer != TL_NO_TRAILER) {
    uint8_t t = (uint8_t)trailer;
    if (EVP_CipherUpdate(c, dst + n++, &len, &t, 1) != 1) return TL_EIO;
  }
  if (EVP_CipherFinal_ex(c, dst + n, &len) != 1) return TL_EIO;
  return EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, TL_TAG_LEN, dst + n) == 1 ? TL_OK : TL_EIO;
}

static int evp_open(void *ctx, const struct tl_aead_input *in, const uint8_t *src, size_t n,
                    uint8_t *dst) {
  EVP_CIPHER_CTX *c = ((struct evp_ctx *)ctx)->c;
  int len;
  uint8_t tag[TL_TAG_LEN];
  memcpy(tag, src + n, sizeof(tag));
  if (evp_begin(c, in) < 0) return TL_EIO;
  if (n && EVP_CipherUpdate(c, dst, &len, src, (int)n) != 1) return TL_EIO;
  if (EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, TL_TAG_LEN, tag) != 1) return TL_EIO;
  return EVP_CipherFinal_ex(c, dst + n, &len) == 1 ? TL_OK : TL_EBADMAC;
}

/* Measured with OpenSSL 3.0. */
enum { GCM_HEAP = 1168, CHACHA_HEAP = 1056 };

static const struct tl_aead table[TL_CIPHERS] = {
    [TL_AES_128_GCM] = {64, GCM_HEAP, init_128, evp_wipe, evp_seal, evp_open},
    [TL_AES_256_GCM] = {64, GCM_HEAP, init_256, evp_wipe, evp_seal, evp_open},
    [TL_CHACHA20_POLY1305] = {64, CHACHA_HEAP, init_chacha, evp_wipe, evp_seal, evp_open},
};

const struct tl_aead *tl_aead_evp(void) {
  static const char *const name[TL_CIPHERS] = {"AES-128-GCM", "AES-256-GCM", "ChaCha20-Poly1305"};
  for (int i = 0; i < TL_CIPHERS; i++)
    if (!cipher[i] && !(cipher[i] = EVP_CIPHER_fetch(NULL, name[i], NULL))) return NULL;
  return table;
}
