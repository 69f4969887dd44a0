/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inputs in another form. Nothing here judges a certificate or uses a key;
 * inputs.c and input_keys.c read what a TLS domain is built from.
 */
#include "tieline/tls_input.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>

#include "tls/tls_internal.h"

static bool write_key(BIO *bio, const uint8_t *p, size_t n) {
  const uint8_t *q = p;
  EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &q, (long)n);
  bool ok = key && q == p + n && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1;
  EVP_PKEY_free(key);
  return ok;
}

/* What is inside shows when the TLS domain is built. */
static bool write_sequence(BIO *bio, const char *label, const uint8_t *p, size_t n) {
  return n > 0 && p[0] == (V_ASN1_SEQUENCE | V_ASN1_CONSTRUCTED) &&
         PEM_write_bio(bio, label, "", p, (long)n) > 0;
}

int tl_tls_pem_of_der(enum tl_pem_kind kind, const uint8_t *p, size_t n, char **out) {
  static const char *const label[] = {
      [TL_PEM_CERTIFICATE] = PEM_STRING_X509, [TL_PEM_DH_PARAMETERS] = PEM_STRING_DHPARAMS};
  char *data;
  *out = NULL;
  tl_blame_begin();
  BIO *bio = BIO_new(BIO_s_secmem());
  if (!bio) return TL_ENOMEM;
  bool ok =
      kind == TL_PEM_PRIVATE_KEY ? write_key(bio, p, n) : write_sequence(bio, label[kind], p, n);
  int rc = ok ? TL_OK : tl_blame_no_memory() ? TL_ENOMEM : TL_ESYNTAX;
  long len = ok ? BIO_get_mem_data(bio, &data) : 0;
  if (ok && !(*out = strndup(data, (size_t)len))) rc = TL_ENOMEM;
  BIO_free(bio);
  ERR_clear_error();
  return rc;
}

static char *hex_of_name(const X509_NAME *name) {
  uint8_t *der = NULL;
  int n = i2d_X509_NAME(name, &der);
  char *hex = n > 0 ? malloc((size_t)n * 2 + 1) : NULL;
  for (int i = 0; hex && i < n; i++) snprintf(hex + 2 * i, 3, "%02x", der[i]);
  OPENSSL_free(der);
  return hex;
}

int tl_tls_authority_names(const char *file, tl_der_name_fn fn, void *arg) {
  STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(file);
  int rc = names ? TL_OK : TL_ENOTFOUND;
  ERR_clear_error();
  for (int i = 0; i < sk_X509_NAME_num(names); i++) {
    char *hex = hex_of_name(sk_X509_NAME_value(names, i));
    if (hex)
      fn(arg, hex);
    else
      rc = TL_ENOMEM;
    free(hex);
  }
  sk_X509_NAME_pop_free(names, X509_NAME_free);
  return rc;
}
