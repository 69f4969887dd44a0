/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The authorities that a domain trusts by name, for display and for warnings
 * before they end. Those in directories are not loaded before they are needed.
 */
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>

#include "tls/identity_read.h"
#include "tls/tls_internal.h"

static bool describe_authority(X509 *x, struct tl_authority_info *out) {
  if (X509_digest(x, EVP_sha256(), out->sha256, NULL) != 1) return false;
  char *subject = tl_name_text(X509_get_subject_name(x));
  snprintf(out->subject, sizeof(out->subject), "%s", subject ? subject : "");
  free(subject);
  out->not_after = tl_time_of(X509_get0_notAfter(x));
  return true;
}

void tl_tls_domain_authorities(const struct tl_tls_domain *d, tl_authority_fn fn, void *arg) {
  struct tl_authority_info info;
  if (!d->policy.verify_cert) return;
  X509_STORE *store = SSL_CTX_get_cert_store(d->server ? d->server : d->client);
  X509_STORE_lock(store);
  STACK_OF(X509_OBJECT) *sk = X509_STORE_get0_objects(store);
  for (int i = 0; i < sk_X509_OBJECT_num(sk); i++) {
    X509 *x = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(sk, i));
    if (x && describe_authority(x, &info)) fn(arg, d, &info);
  }
  X509_STORE_unlock(store);
}
