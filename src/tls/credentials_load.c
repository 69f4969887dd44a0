/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the certificates and keys of a domain and puts the first of each kind of
 * key (RSA, ECDSA ...) into its contexts. Directories are credentials_dir.c's.
 */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>

#include "tls/identity_read.h"
#include "tls/pkcs11.h"
#include "tls/tls_internal.h"
#include "tls/verify_rules.h"

static int read_chain(const char *input, X509 **out_leaf, STACK_OF(X509) * chain,
                      struct tl_blame *b) {
  struct stat st;
  BIO *bio;
  int rc = tl_input_open(input, "certificate", &st, &bio, b);
  if (rc) return rc;
  rc = tl_input_chain(bio, out_leaf, chain);
  BIO_free(bio);
  if (rc) return rc;
  const char *what = tl_input_label(input);
  if (!tl_input_at_end())
    return tl_blame_option(b, "certificate", "%s holds a damaged certificate: %s", what,
                           tl_blame_reason());
  if (!*out_leaf)
    return tl_blame_option(b, "certificate", "%s holds no certificate in PEM form", what);
  return TL_OK;
}

/* A token's public key may belong to another object: a signature proves the pair. */
static int check_pair(const char *keyfile, const char *cert, EVP_PKEY *key, X509 *leaf,
                      struct tl_blame *b) {
  char *shown = tl_tls_uri_shown(tl_input_label(keyfile));
  const char *in = tl_input_label(cert), *why = NULL;
  int rc = shown ? TL_OK : TL_ENOMEM;
  if (rc == 0 && X509_check_private_key(leaf, key) != 1)
    rc = tl_blame_option(b, "private_key", "the key in %s does not belong to the certificate in %s",
                         shown, in);
  if (rc == 0 && tl_tls_uri_of_token(keyfile) && (why = tl_pkcs11_try(key, leaf)))
    rc = tl_blame_option(b, "private_key",
                         "the key in %s does not sign for the certificate in %s: %s", shown, in,
                         why);
  free(shown);
  return rc;
}

static int load_pair(struct tl_tls_domain *d, const struct tl_tls_options *o, const char *cert,
                     const char *keyfile, struct tl_blame *b) {
  X509 *leaf = NULL;
  EVP_PKEY *key = NULL;
  STACK_OF(X509) *chain = sk_X509_new_null();
  int rc = chain ? read_chain(cert, &leaf, chain, b) : TL_ENOMEM;
  if (rc == 0) rc = tl_input_key(keyfile, o, &key, b);
  if (rc == 0) rc = check_pair(keyfile, cert, key, leaf, b);
  if (rc == 0) rc = tl_credential_check(d, o, tl_input_label(cert), leaf, b);
  if (rc == 0) {
    rc = tl_credential_add(d, tl_input_label(cert), leaf, key, chain);
    if (rc == 0) d->cred[d->n_cred - 1].token = tl_tls_uri_of_token(keyfile);
    return rc;
  }
  X509_free(leaf);
  EVP_PKEY_free(key);
  sk_X509_pop_free(chain, X509_free);
  return rc;
}

static bool same_names(const struct tl_credential *a, const struct tl_credential *b) {
  size_t n = 0, m = 0;
  while (a->names[n]) n++;
  while (b->names[m]) m++;
  for (size_t i = 0; i < n; i++) {
    bool found = false;
    for (size_t k = 0; k < m && !found; k++) found = strcmp(a->names[i], b->names[k]) == 0;
    if (!found) return false;
  }
  return n == m;
}

static bool same_roles(const struct tl_credential *x, const struct tl_credential *y) {
  return x->for_server == y->for_server && x->for_client == y->for_client;
}

/* Of two that nothing distinguishes, the second would never be shown. */
static int check_distinct(const struct tl_tls_domain *d, struct tl_blame *b) {
  for (size_t i = 0; i < d->n_cred; i++)
    for (size_t k = 0; k < i; k++) {
      const struct tl_credential *x = &d->cred[i], *y = &d->cred[k];
      if (tl_credential_kind(x) == tl_credential_kind(y) && same_names(x, y) && same_roles(x, y) &&
          X509_NAME_cmp(X509_get_issuer_name(x->leaf), X509_get_issuer_name(y->leaf)) == 0)
        return tl_blame_option(
            b, "certificate",
            "%s has the same kind of key, issuer and names as %s before it, so it "
            "would never be shown",
            x->label, y->label);
    }
  return TL_OK;
}

/* A server must show something: if no certificate allows the role, all are used. For a client RFC
 * 5246 7.4.6 and RFC 8446 4.4.2 have the empty list. */
static void judge_roles(struct tl_tls_domain *d, const struct tl_tls_options *o) {
  bool any = false;
  for (size_t i = 0; i < d->n_cred; i++) {
    struct tl_credential *c = &d->cred[i];
    c->for_server = tl_leaf_for_role(c->leaf, false);
    c->for_client = o->policy.eku == TL_EKU_IGNORE || tl_leaf_for_role(c->leaf, true);
    any = any || c->for_server;
  }
  for (size_t i = 0; i < d->n_cred && !any; i++) d->cred[i].for_server = true;
}

static bool first_of_kind(const struct tl_tls_domain *d, size_t i, bool as_server) {
  if (!tl_credential_fits_role(&d->cred[i], as_server)) return false;
  for (size_t k = 0; k < i; k++)
    if (tl_credential_fits_role(&d->cred[k], as_server) &&
        tl_credential_kind(&d->cred[k]) == tl_credential_kind(&d->cred[i]))
      return false;
  return true;
}

static int use_in(SSL_CTX *ctx, const struct tl_credential *c, struct tl_blame *b) {
  if (!ctx || SSL_CTX_use_cert_and_key(ctx, c->leaf, c->key, c->chain, 0) == 1) return TL_OK;
  return tl_blame_option(b, "certificate", "OpenSSL refuses %s: %s", c->label, tl_blame_reason());
}

static int fill_contexts(struct tl_tls_domain *d, struct tl_blame *b) {
  for (size_t i = 0; i < d->n_cred; i++) {
    int rc = first_of_kind(d, i, true) ? use_in(d->server, &d->cred[i], b) : TL_OK;
    if (rc == 0 && first_of_kind(d, i, false)) rc = use_in(d->client, &d->cred[i], b);
    if (rc) return rc;
  }
  int rc = d->n_cred ? tl_domain_describe_first(d, d->cred[0].leaf) : TL_OK;
  for (size_t i = 0; i < d->n_cred && rc == 0; i++)
    rc = tl_identity_of_cert(d->cred[i].leaf, d->cred[i].chain, &d->cred[i].id);
  if (rc == 0 && d->n_cred) d->own = tl_identity_ref(d->cred[0].id);
  return rc;
}

/* Without match_sip_domain, the domain serves the names of the certificates in the directory. */
static int collect_names(struct tl_tls_domain *d) {
  size_t n = 0;
  if (d->match_sip_domain && *d->match_sip_domain) return TL_OK;
  for (size_t i = 0; i < d->n_cred; i++)
    for (char **p = d->cred[i].names; *p; p++)
      if (tl_credential_add_name(&d->own_names, &n, *p, strlen(*p))) return TL_ENOMEM;
  return TL_OK;
}

int tl_domain_load_credentials(struct tl_tls_domain *d, const struct tl_tls_options *o,
                               struct tl_blame *b) {
  size_t certs = 0, keys = 0;
  int rc = 0;
  while (o->certificate && o->certificate[certs]) certs++;
  while (o->private_key && o->private_key[keys]) keys++;
  if (certs != keys)
    return tl_blame_option(b, "private_key",
                           "%zu certificate files need as many private_key files, not %zu", certs,
                           keys);
  for (size_t i = 0; i < certs && rc == 0; i++)
    rc = load_pair(d, o, o->certificate[i], o->private_key[i], b);
  if (rc == 0) judge_roles(d, o);
  if (rc == 0) rc = check_distinct(d, b);
  if (rc == 0 && o->credentials_dir) rc = tl_domain_scan_credentials(d, o, b);
  if (rc == 0 && o->credentials_dir && !certs) rc = collect_names(d);
  if (rc == 0) judge_roles(d, o);
  return rc ? rc : fill_contexts(d, b);
}

int tl_tls_domain_try_keys(const struct tl_tls_domain *d, char *err, size_t cap) {
  for (size_t i = 0; i < d->n_cred; i++) {
    const char *why = d->cred[i].token ? tl_pkcs11_try(d->cred[i].key, d->cred[i].leaf) : NULL;
    if (!why) continue;
    snprintf(err, cap,
             "tls_domain \"%s\": the token does not sign for the certificate in %s: %s; the user "
             "that tieline runs as needs access to the token",
             d->name, d->cred[i].label, why);
    ERR_clear_error();
    return TL_ETLS;
  }
  return TL_OK;
}
