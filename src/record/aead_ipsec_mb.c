/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AEAD by Intel's ipsec-mb: its direct (one buffer, no job queue) functions.
 *
 * They touch nothing but their arguments, so only the addresses of the functions
 * that suit this processor are kept, and the library's manager (hundreds of
 * kilobytes of job queues) is freed again. What a call leaves on the stack
 * belongs to one nonce and is of no use for another record.
 */
#include "aead.h"

#ifdef __x86_64__
#include <intel-ipsec-mb.h>
#include <openssl/crypto.h>
#include <string.h>

static struct {
  aes_gcm_pre_t pre_128, pre_256;
  aes_gcm_enc_dec_t enc_128, dec_128, enc_256, dec_256;
  aes_gcm_init_t init_128, init_256;
  aes_gcm_enc_dec_update_t update_128, update_256;
  aes_gcm_enc_dec_finalize_t final_128, final_256;
  chacha_poly_init_t chacha_init;
  chacha_poly_enc_dec_update_t chacha_enc, chacha_dec;
  chacha_poly_finalize_t chacha_final;
} mb;

struct gcm_ctx {
  struct gcm_key_data key __attribute__((aligned(64)));
};

struct chacha_ctx {
  uint8_t key[64]; /* 32 are used */
};

_Static_assert(sizeof(struct gcm_ctx) % 64 == 0, "contexts lie side by side on cache lines");

static int gcm_init_128(void *ctx, const uint8_t *key, bool seal) {
  (void)seal;
  mb.pre_128(key, ctx);
  return TL_OK;
}

static int gcm_init_256(void *ctx, const uint8_t *key, bool seal) {
  (void)seal;
  mb.pre_256(key, ctx);
  return TL_OK;
}

/* Below this, copying and sealing in one call is faster than four calls (bench/aead.c). */
#define COPY_MAX 1024

/* The inner type byte of TLS 1.3 follows the plaintext. Where it can be put there, one call does
 * all; otherwise a second update adds it. Returns where to read from, NULL for the second case. */
static const uint8_t *with_trailer(const uint8_t *src, size_t *n, int trailer, uint8_t *dst) {
  if (trailer == TL_NO_TRAILER) return src;
  if (src != dst && *n > COPY_MAX) return NULL;
  if (src != dst && *n) memcpy(dst, src, *n);
  dst[(*n)++] = (uint8_t)trailer;
  return dst;
}

static int gcm_seal_128(void *ctx, const struct tl_aead_input *in, const uint8_t *src, size_t n,
                        int trailer, uint8_t *dst) {
  struct gcm_context_data state;
  const uint8_t *from = with_trailer(src, &n, trailer, dst);
  if (from) {
    mb.enc_128(ctx, &state, dst, from, n, in->nonce, in->aad, in->aad_len, dst + n, TL_TAG_LEN);
    return TL_OK;
  }
  uint8_t t = (uint8_t)trailer;
  mb.init_128(ctx, &state, in->nonce, in->aad, in->aad_len);
  mb.update_128(ctx, &state, dst, src, n);
  mb.update_128(ctx, &state, dst + n, &t, 1);
  mb.final_128(ctx, &state, dst + n + 1, TL_TAG_LEN);
  return TL_OK;
}

static int gcm_seal_256(void *ctx, const struct tl_aead_input *in, const uint8_t *src, size_t n,
                        int trailer, uint8_t *dst) {
  struct gcm_context_data state;
  const uint8_t *from = with_trailer(src, &n, trailer, dst);
  if (from) {
    mb.enc_256(ctx, &state, dst, from, n, in->nonce, in->aad, in->aad_len, dst + n, TL_TAG_LEN);
    return TL_OK;
  }
  uint8_t t = (uint8_t)trailer;
  mb.init_256(ctx, &state, in->nonce, in->aad, in->aad_len);
  mb.update_256(ctx, &state, dst, src, n);
  mb.update_256(ctx, &state, dst + n, &t, 1);
  mb.final_256(ctx, &state, dst + n + 1, TL_TAG_LEN);
  return TL_OK;
}

static int check_tag(const uint8_t *computed, const uint8_t *received) {
  return CRYPTO_memcmp(computed, received, TL_TAG_LEN) == 0 ? TL_OK : TL_EBADMAC;
}

static int gcm_open_128(void *ctx, const struct tl_aead_input *in, const uint8_t *src, size_t n,
                        uint8_t *dst) {
  struct gcm_context_data state;
  uint8_t tag[TL_TAG_LEN];
  mb.dec_128(ctx, &state, dst, src, n, in->nonce, in->aad, in->aad_len, tag, TL_TAG_LEN);
  return check_tag(tag, src + n);
}

static int gcm_open_256(void *ctx, const struct tl_aead_input *in, const uint8_t *src, size_t n,
                        uint8_t *dst) {
  struct gcm_context_data state;
  uint8_t tag[TL_TAG_LEN];
  mb.dec_256(ctx, &state, dst, src, n, in->nonce, in->aad, in->aad_len, tag, TL_TAG_LEN);
  return check_tag(tag, src + n);
}

static int chacha_init(void *ctx, const uint8_t *key, bool seal) {
  (void)seal;
  memcpy(ctx, key, 32);
  return TL_OK;
}

static int chacha_seal(void *ctx, const struct tl_aead_input *in, const uint8_t *src, size_t n,
                       int trailer, uint8_t *dst) {
  struct chacha20_poly1305_context_data state;
  const uint8_t *from = with_trailer(src, &n, trailer, dst);
  mb.chacha_init(ctx, &state, in->nonce, in->aad, in->aad_len);
  if (n) mb.chacha_enc(ctx, &state, dst, from ? from : src, n);
  if (!from) {
    uint8_t t = (uint8_t)trailer;
    mb.chacha_enc(ctx, &state, dst + n++, &t, 1);
  }
  mb.chacha_final(&state, dst + n, TL_TAG_LEN);
  return TL_OK;
}

static int chacha_open(void *ctx, const struct tl_aead_input *in, const uint8_t *src, size_t n,
                       uint8_t *dst) {
  struct chacha20_poly1305_context_data state;
  uint8_t tag[TL_TAG_LEN];
  mb.chacha_init(ctx, &state, in->nonce, in->aad, in->aad_len);
  if (n) mb.chacha_dec(ctx, &state, dst, src, n);
  mb.chacha_final(&state, tag, TL_TAG_LEN);
  return check_tag(tag, src + n);
}

static void mb_wipe(void *ctx) { (void)ctx; /* nothing outside the context */ }

static const struct tl_aead table[TL_CIPHERS] = {
    [TL_AES_128_GCM] = {sizeof(struct gcm_ctx), 0, gcm_init_128, mb_wipe, gcm_seal_128,
                        gcm_open_128},
    [TL_AES_256_GCM] = {sizeof(struct gcm_ctx), 0, gcm_init_256, mb_wipe, gcm_seal_256,
                        gcm_open_256},
    [TL_CHACHA20_POLY1305] = {sizeof(struct chacha_ctx), 0, chacha_init, mb_wipe, chacha_seal,
                              chacha_open},
};

static void take_functions(const IMB_MGR *m) {
  mb.pre_128 = m->gcm128_pre;
  mb.pre_256 = m->gcm256_pre;
  mb.enc_128 = m->gcm128_enc;
  mb.dec_128 = m->gcm128_dec;
  mb.enc_256 = m->gcm256_enc;
  mb.dec_256 = m->gcm256_dec;
  mb.init_128 = m->gcm128_init;
  mb.init_256 = m->gcm256_init;
  mb.update_128 = m->gcm128_enc_update;
  mb.update_256 = m->gcm256_enc_update;
  mb.final_128 = m->gcm128_enc_finalize;
  mb.final_256 = m->gcm256_enc_finalize;
  mb.chacha_init = m->chacha20_poly1305_init;
  mb.chacha_enc = m->chacha20_poly1305_enc_update;
  mb.chacha_dec = m->chacha20_poly1305_dec_update;
  mb.chacha_final = m->chacha20_poly1305_finalize;
}

const struct tl_aead *tl_aead_ipsec_mb(void) {
  static bool ready;
  if (ready) return table;
  IMB_MGR *m = alloc_mb_mgr(0);
  if (!m) return NULL;
  IMB_ARCH arch = IMB_ARCH_NONE;
  /* Below AVX its functions are slower than OpenSSL's or, without AES-NI, emulated in tables. */
  const uint64_t need = IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ | IMB_FEATURE_AVX;
  if ((m->features & need) == need) {
    init_mb_mgr_auto(m, &arch);
    bool tested =
        !(m->features & IMB_FEATURE_SELF_TEST) || (m->features & IMB_FEATURE_SELF_TEST_PASS);
    ready = arch >= IMB_ARCH_AVX && tested && imb_get_errno(m) == 0;
  }
  if (ready) take_functions(m);
  free_mb_mgr(m);
  return ready ? table : NULL;
}

#else

const struct tl_aead *tl_aead_ipsec_mb(void) { return NULL; }

#endif
