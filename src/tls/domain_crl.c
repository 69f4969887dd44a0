/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts a domain's revocation lists into an object of their own, beside the
 * contexts that were loaded with them: for display, and to be extended by
 * crl_fetch.
 */
#include "tls/crl_lists.h"
#include "tls/tls_internal.h"

static int note_lists(struct tl_crls *s, X509_STORE *store, const struct tl_tls_options *o) {
  STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(store);
  const char *source = o->crl_file ? o->crl_file : o->crl_dir ? o->crl_dir : "";
  int rc = 0;
  for (int i = 0; rc == 0 && i < sk_X509_OBJECT_num(objects); i++) {
    X509_CRL *crl = X509_OBJECT_get0_X509_CRL(sk_X509_OBJECT_value(objects, i));
    if (crl) rc = tl_crls_note(s, crl, source);
  }
  return rc == TL_ELIMIT ? TL_OK : rc; /* they are in force all the same */
}

int tl_domain_attach_crls(struct tl_tls_domain *d, const struct tl_tls_options *o) {
  SSL_CTX *ctx = d->server ? d->server : d->client;
  X509_STORE *store = SSL_CTX_get_cert_store(ctx); /* both roles have the same one */
  if (!o->crl_file && !o->crl_dir && !o->crl_fetch) return TL_OK;
  d->crls = tl_crls_new(o->crl_fetch, o->crl_check_all, o->policy.crl_stale == TL_STALE_ACCEPT);
  if (!d->crls) return TL_ENOMEM;
  /* All levels in any case: tl_crl_judge forgives those whose list is not demanded. */
  X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
  int rc = note_lists(d->crls, store, o);
  if (rc == 0) rc = tl_crls_attach(d->crls, store);
  if (rc || !o->crl_fetch) return rc;
  /* Most peers are certified by the same authority as we are. */
  for (size_t i = 0; i < d->n_cred; i++)
    tl_crls_want(d->crls, d->cred[i].leaf, sk_X509_value(d->cred[i].chain, 0));
  return TL_OK;
}

int tl_crls_offer(struct tl_tls_domain *d, const struct tl_crl *crl, const char *source, char *why,
                  size_t cap) {
  X509_STORE *store = SSL_CTX_get_cert_store(d->server ? d->server : d->client);
  return tl_crls_take(d->crls, store, crl->x, source, why, cap);
}
