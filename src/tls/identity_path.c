/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The authorities under which a certificate was found good: the public keys
 * above it in the verified chain. Names of authorities may repeat, keys do not.
 */
#include <openssl/evp.h>
#include <stdlib.h>

#include "tls/tls_internal.h"

int tl_identity_spki_digest(X509 *x, uint8_t out[32]) {
  unsigned char *der = NULL;
  int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
  int ok = n > 0 && EVP_Digest(der, (size_t)n, out, NULL, EVP_sha256(), NULL);
  OPENSSL_free(der);
  return ok ? TL_OK : TL_ENOMEM;
}

int tl_identity_read_path(SSL *ssl, struct tl_identity *id) {
  STACK_OF(X509) *sk = SSL_get0_verified_chain(ssl);
  int n = sk ? sk_X509_num(sk) : 0;
  int first = n > 1 ? 1 : 0; /* a certificate that is trusted itself is its own authority */
  if (n == 0) return TL_OK;
  if (!(id->path_spki = calloc((size_t)(n - first), sizeof(*id->path_spki)))) return TL_ENOMEM;
  for (int i = first; i < n; i++) {
    if (tl_identity_spki_digest(sk_X509_value(sk, i), id->path_spki[id->n_path])) return TL_ENOMEM;
    id->n_path++;
  }
  return TL_OK;
}
