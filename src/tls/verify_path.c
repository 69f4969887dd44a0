/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Helps OpenSSL to find the way from a peer's certificate up to an authority. It
 * climbs by the first certificate that fits and does not return from a dead end,
 * so the ones that lead to trust must come first. This file judges nothing.
 */
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "tls/verify_rules.h"

/* Longer chains are tried in the order received: sorting has quadratic cost. */
#define ORDER_MAX 32

static bool in_store(X509_STORE_CTX *sc, const X509_NAME *name) {
  STACK_OF(X509) *found = X509_STORE_CTX_get1_certs(sc, name);
  bool any = sk_X509_num(found) > 0;
  sk_X509_pop_free(found, X509_free);
  return any;
}

/* Is the issuer of certificate I one of those known to lead to trust? */
static bool below_leading(STACK_OF(X509) * sk, const bool *leads, int i) {
  const X509_NAME *issuer = X509_get_issuer_name(sk_X509_value(sk, i));
  for (int k = 0; k < sk_X509_num(sk); k++)
    if (leads[k] && X509_NAME_cmp(X509_get_subject_name(sk_X509_value(sk, k)), issuer) == 0)
      return true;
  return false;
}

/* By names alone: a self-signed certificate leads nowhere, whether or not it is in the store. */
static void find_leading(X509_STORE_CTX *sc, STACK_OF(X509) * sk, bool *leads) {
  int n = sk_X509_num(sk);
  for (int i = 0; i < n; i++) {
    X509 *x = sk_X509_value(sk, i);
    leads[i] = !(X509_get_extension_flags(x) & EXFLAG_SS) && in_store(sc, X509_get_issuer_name(x));
  }
  for (bool more = true; more;) {
    more = false;
    for (int i = 0; i < n; i++) {
      if (leads[i] || X509_get_extension_flags(sk_X509_value(sk, i)) & EXFLAG_SS) continue;
      leads[i] = below_leading(sk, leads, i);
      more |= leads[i];
    }
  }
}

STACK_OF(X509) * tl_path_order(X509_STORE_CTX *sc) {
  STACK_OF(X509) *sk = X509_STORE_CTX_get0_untrusted(sc);
  int n = sk_X509_num(sk);
  bool leads[ORDER_MAX] = {false};
  if (n < 3 || n > ORDER_MAX) return NULL; /* the peer's own and one more: nothing to sort */
  STACK_OF(X509) *out = sk_X509_new_reserve(NULL, n);
  if (!out) return NULL;
  find_leading(sc, sk, leads);
  for (int pass = 1; pass >= 0; pass--)
    for (int i = 0; i < n; i++)
      if (leads[i] == (bool)pass) sk_X509_push(out, sk_X509_value(sk, i));
  return out;
}

/* ---- authorities with the same name ---- */

static bool has_twins(STACK_OF(X509) * cas) {
  for (int i = 0; i < sk_X509_num(cas); i++)
    for (int k = 0; k < i; k++) {
      X509 *a = sk_X509_value(cas, i), *b = sk_X509_value(cas, k);
      if (X509_NAME_cmp(X509_get_subject_name(a), X509_get_subject_name(b)) == 0 &&
          EVP_PKEY_eq(X509_get0_pubkey(a), X509_get0_pubkey(b)) != 1)
        return true;
    }
  return false;
}

/* Where no key identifier (RFC 5280 4.2.1.1) distinguishes two of the same name, signatures do. */
static int issued_by(X509_STORE_CTX *sc, X509 *x, X509 *issuer) {
  (void)sc;
  if (X509_check_issued(issuer, x) != X509_V_OK) return 0;
  if (x == issuer || (X509_get0_authority_key_id(x) && X509_get0_subject_key_id(issuer))) return 1;
  EVP_PKEY *key = X509_get0_pubkey(issuer);
  ERR_set_mark();
  int ok = key && X509_verify(x, key) == 1;
  ERR_pop_to_mark();
  return ok;
}

void tl_path_tell_twins(X509_STORE *store, STACK_OF(X509) * cas) {
  if (has_twins(cas)) X509_STORE_set_check_issued(store, issued_by);
}
