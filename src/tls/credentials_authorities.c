/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The authorities above our certificates: by their names and keys both sides can
 * say which certificate suits.
 */
#include <openssl/x509v3.h>
#include <stdlib.h>

#include "tls/tls_internal.h"

/* Certificates above one of ours; a longer chain is a loop. */
#define AUTHORITIES_MAX 16

/* ---- the authorities above them ---- */

/* RFC 6066 6 hashes the modulus of an RSA key, and the subjectPublicKey of others. */
static bool hash_key(X509 *x, uint8_t out[20]) {
  EVP_PKEY *key = X509_get0_pubkey(x);
  BIGNUM *n = NULL;
  if (key && EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA) {
    uint8_t buf[2048];
    bool ok = EVP_PKEY_get_bn_param(key, "n", &n) == 1 && BN_num_bytes(n) <= (int)sizeof(buf);
    int len = ok ? BN_bn2bin(n, buf) : 0;
    BN_free(n);
    return ok && EVP_Digest(buf, (size_t)len, out, NULL, EVP_sha1(), NULL) == 1;
  }
  return X509_pubkey_digest(x, EVP_sha1(), out, NULL) == 1;
}

static int add_authority(struct tl_credential *c, const X509_NAME *name, X509 *known) {
  struct tl_authority *more = realloc(c->authority, (c->n_authority + 1) * sizeof(*more));
  if (!more) return TL_ENOMEM;
  c->authority = more;
  struct tl_authority *a = &more[c->n_authority];
  memset(a, 0, sizeof(*a));
  if (!(a->name = X509_NAME_dup(name))) return TL_ENOMEM;
  c->n_authority++;
  a->known = known && hash_key(known, a->key_sha1) &&
             X509_digest(known, EVP_sha1(), a->cert_sha1, NULL) == 1;
  return TL_OK;
}

static X509 *issuer_in(STACK_OF(X509) * sk, X509 *x) {
  for (int i = 0; i < sk_X509_num(sk); i++)
    if (X509_check_issued(sk_X509_value(sk, i), x) == X509_V_OK) return sk_X509_value(sk, i);
  return NULL;
}

static int find_authorities(struct tl_credential *c, STACK_OF(X509) * cas) {
  X509 *x = c->leaf;
  tl_blame_begin();
  while (c->n_authority < AUTHORITIES_MAX) {
    bool self = X509_check_issued(x, x) == X509_V_OK;
    X509 *up = self ? x : issuer_in(c->chain, x);
    if (!up && cas) up = issuer_in(cas, x);
    int rc = TL_OK;
    if (!self || x == c->leaf) rc = add_authority(c, X509_get_issuer_name(x), up);
    if (rc) return rc;
    c->complete = self;
    if (self || !up) break;
    x = up;
  }
  return tl_blame_no_memory() ? TL_ENOMEM : TL_OK;
}

int tl_credentials_find_authorities(struct tl_tls_domain *d, STACK_OF(X509) * cas) {
  for (size_t i = 0; i < d->n_cred; i++) {
    int rc = find_authorities(&d->cred[i], cas);
    if (rc) return rc;
  }
  return TL_OK;
}

static bool stands_above(const struct tl_authority *a, const struct tl_tls_domain *d) {
  for (size_t i = 0; i < d->n_cred; i++)
    for (size_t k = 0; k < d->cred[i].n_authority; k++)
      if (X509_NAME_cmp(d->cred[i].authority[k].name, a->name) == 0) return true;
  return false;
}

bool tl_credentials_differ(const struct tl_tls_domain *a, const struct tl_tls_domain *b) {
  for (size_t i = 0; i < a->n_cred; i++)
    for (size_t k = 0; k < a->cred[i].n_authority; k++)
      if (!stands_above(&a->cred[i].authority[k], b)) return true;
  return false;
}
