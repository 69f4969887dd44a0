/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interface between the record layer and the libraries that do the AEAD: one
 * table of operations per library and cipher.
 *
 * Ownership: a context is ctx_len bytes inside the record object, aligned to 64;
 * init fills it, wipe releases what it points to (the record layer clears the
 * bytes). Threads: one per context. Errors: TL_EBADMAC, TL_EIO.
 */
#pragma once

#include "tieline/record.h"

#define TL_TAG_LEN 16
#define TL_NO_TRAILER (-1)

/* Readable for 16 bytes: vector code may load a whole register. */
struct tl_aead_input {
  uint8_t nonce[16]; /* 12 are used */
  uint8_t aad[16];
  size_t aad_len;
};

struct tl_aead {
  uint32_t ctx_len;  /* a multiple of 64 */
  uint32_t heap_len; /* about what the library itself allocates per context */
  int (*init)(void *ctx, const uint8_t *key, bool seal);
  void (*wipe)(void *ctx);
  /* Seals N bytes of SRC and, unless TL_NO_TRAILER, the byte TRAILER to DST, followed by the tag.
   * DST and SRC are equal or do not overlap. */
  int (*seal)(void *ctx, const struct tl_aead_input *in, const uint8_t *src, size_t n, int trailer,
              uint8_t *dst);
  /* Opens N bytes of SRC, not counting the tag that follows them. On TL_EBADMAC the contents of DST
   * must not be used. */
  int (*open)(void *ctx, const struct tl_aead_input *in, const uint8_t *src, size_t n,
              uint8_t *dst);
};

/* TL_CIPHERS entries each, or NULL where the library cannot run. Call once, before threads. */
const struct tl_aead *tl_aead_evp(void);
const struct tl_aead *tl_aead_ipsec_mb(void);
/* The table for new objects; chosen on first use if tl_record_backend_set has not been called. */
const struct tl_aead *tl_aead_current(void);
