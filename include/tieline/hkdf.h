/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of the TLS 1.3 key schedule that a live connection needs: from
 * traffic secret to key and IV, and from one traffic secret to the next (RFC
 * 8446 7.1-7.3).
 *
 * Ownership: all memory is the caller's, who wipes it. Threads: any. Errors:
 * TL_EINVAL for lengths out of range; TL_ENOMEM when libcrypto fails, which has
 * nothing else to object to.
 */
#pragma once

#include "tieline/record.h"

/* HKDF-Expand-Label(SECRET, LABEL, "", OUT_LEN). SECRET_LEN 32 means SHA-256, 48 SHA-384; OUT_LEN
 * up to SECRET_LEN. LABEL is without its "tls13 " prefix. */
int tl_hkdf_expand_label(const uint8_t *secret, size_t secret_len, const char *label, uint8_t *out,
                         size_t out_len);
/* Fills D from traffic SECRET: key, iv, secret; seq = 0. */
int tl_dir_keys_from_secret(struct tl_dir_keys *d, const uint8_t *secret, size_t secret_len,
                            size_t key_len);
/* Moves D to its next traffic secret ("traffic upd", RFC 8446 7.2), sequence number 0. */
int tl_dir_keys_update(struct tl_dir_keys *d, size_t secret_len, size_t key_len);
/* Moves the sending or receiving direction of KEYS likewise. TL_ENOTSUP in TLS 1.2. */
int tl_keys_update(struct tl_tls_keys *keys, bool tx);
