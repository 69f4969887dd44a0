/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credentials_dir: every certificate in a directory whose key is in the
 * directory, too. Files are recognised by content, never by name. Of two with
 * the same meaning the one that is valid longer is used, so that a renewed
 * certificate may lie beside the old one.
 */
#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#include "tieline/log.h"
#include "tls/tls_internal.h"

#define FILES_MAX 20000

struct found_cert {
  char *label;
  X509 *leaf;
  STACK_OF(X509) * chain;
};
struct found_key {
  char *label;
  EVP_PKEY *key;
  bool used;
};
struct found {
  struct found_cert *cert;
  struct found_key *key;
  size_t n_cert, n_key;
};

static void found_free(struct found *f) {
  for (size_t i = 0; i < f->n_cert; i++) {
    free(f->cert[i].label);
    X509_free(f->cert[i].leaf);
    sk_X509_pop_free(f->cert[i].chain, X509_free);
  }
  for (size_t i = 0; i < f->n_key; i++) {
    free(f->key[i].label);
    EVP_PKEY_free(f->key[i].key);
  }
  free(f->cert);
  free(f->key);
}

/* Which kinds of PEM a file holds. */
static int look_into(const char *file, bool *certs, bool *keys) {
  tl_blame_begin();
  BIO *bio = BIO_new_file(file, "r");
  char *name = NULL, *header = NULL;
  unsigned char *data = NULL;
  long n = 0;
  *certs = *keys = false;
  while (bio && PEM_read_bio(bio, &name, &header, &data, &n) == 1) {
    size_t len = strlen(name);
    if (strcmp(name, PEM_STRING_X509) == 0) *certs = true;
    if (len >= 11 && strcmp(name + len - 11, "PRIVATE KEY") == 0) *keys = true;
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_clear_free(data, (size_t)n);
  }
  BIO_free(bio);
  return tl_blame_no_memory() ? TL_ENOMEM : TL_OK;
}

static int take_certs(struct found *f, const char *file) {
  struct found_cert *more = realloc(f->cert, (f->n_cert + 1) * sizeof(*more));
  if (!more) return TL_ENOMEM;
  f->cert = more;
  struct found_cert *c = &more[f->n_cert++];
  *c = (struct found_cert){.label = strdup(file), .chain = sk_X509_new_null()};
  tl_blame_begin();
  BIO *bio = BIO_new_file(file, "r");
  int rc = bio && c->chain ? tl_input_chain(bio, &c->leaf, c->chain) : TL_ENOMEM;
  BIO_free(bio);
  if (tl_blame_no_memory()) rc = TL_ENOMEM;
  return c->label && c->leaf ? rc : TL_ENOMEM;
}

static int take_key(struct found *f, const char *file, const struct tl_tls_options *o,
                    struct tl_blame *b) {
  struct found_key *more = realloc(f->key, (f->n_key + 1) * sizeof(*more));
  if (!more) return TL_ENOMEM;
  f->key = more;
  more[f->n_key] = (struct found_key){.label = strdup(file)};
  int rc = tl_input_key(file, o, &more[f->n_key].key, b);
  f->n_key++;
  /* The sentence names the file; the option to blame is the directory's. */
  if (rc == TL_ECONFIG && b->option) *b->option = "credentials_dir";
  return rc;
}

static int read_dir(struct found *f, const struct tl_tls_options *o, struct tl_blame *b) {
  struct dirent **entry = NULL;
  const char *dir = o->credentials_dir;
  int n = scandir(dir, &entry, NULL, alphasort), rc = TL_OK;
  if (n < 0)
    return tl_blame_option(b, "credentials_dir", "cannot read the directory %s: %s", dir,
                           strerror(errno));
  if (n > FILES_MAX)
    rc = tl_blame_option(b, "credentials_dir", "%s holds more than %d files", dir, FILES_MAX);
  for (int i = 0; i < n; i++) {
    char path[4096];
    struct stat st;
    bool certs, keys;
    int len = snprintf(path, sizeof(path), "%s/%s", dir, entry[i]->d_name);
    bool skip = entry[i]->d_name[0] == '.' || len >= (int)sizeof(path) || stat(path, &st) != 0 ||
                !S_ISREG(st.st_mode);
    free(entry[i]);
    if (rc || skip) continue;
    rc = look_into(path, &certs, &keys);
    if (rc == 0 && certs) rc = take_certs(f, path);
    if (rc == 0 && keys) rc = take_key(f, path, o, b);
  }
  free(entry);
  return rc;
}

static struct found_key *key_of(struct found *f, X509 *leaf) {
  for (size_t i = 0; i < f->n_key; i++)
    if (EVP_PKEY_eq(X509_get0_pubkey(leaf), f->key[i].key) == 1) return &f->key[i];
  ERR_clear_error();
  return NULL;
}

static int key_kind(X509 *x) {
  EVP_PKEY *key = X509_get0_pubkey(x);
  return key ? EVP_PKEY_get_base_id(key) : NID_undef;
}

/* Is there another for the same names, kind of key and issuer that is valid longer? */
static bool is_replaced(const struct found *f, size_t i) {
  X509 *x = f->cert[i].leaf;
  for (size_t k = 0; k < f->n_cert; k++) {
    X509 *y = f->cert[k].leaf;
    int pos = X509_get_ext_by_NID(x, NID_subject_alt_name, -1);
    int pos_y = X509_get_ext_by_NID(y, NID_subject_alt_name, -1);
    if (k == i || pos < 0 || pos_y < 0) continue;
    if (ASN1_OCTET_STRING_cmp(X509_EXTENSION_get_data(X509_get_ext(x, pos)),
                              X509_EXTENSION_get_data(X509_get_ext(y, pos_y))) != 0 ||
        X509_NAME_cmp(X509_get_issuer_name(x), X509_get_issuer_name(y)) != 0 ||
        key_kind(x) != key_kind(y))
      continue;
    int day = 0, sec = 0;
    if (ASN1_TIME_diff(&day, &sec, X509_get0_notAfter(x), X509_get0_notAfter(y)) != 1) continue;
    if (day > 0 || sec > 0 || (day == 0 && sec == 0 && k < i)) return true;
  }
  return false;
}

static int add_pair(struct tl_tls_domain *d, const struct tl_tls_options *o, struct found_cert *c,
                    struct found_key *k, struct tl_blame *b) {
  int rc = tl_credential_check(d, o, c->label, c->leaf, b);
  if (rc == TL_ECONFIG && b->option) *b->option = "credentials_dir";
  if (rc) return rc;
  if (EVP_PKEY_up_ref(k->key) != 1) return TL_ENOMEM;
  X509 *leaf = c->leaf;
  STACK_OF(X509) *chain = c->chain;
  c->leaf = NULL;
  c->chain = NULL;
  k->used = true;
  return tl_credential_add(d, c->label, leaf, k->key, chain);
}

int tl_domain_scan_credentials(struct tl_tls_domain *d, const struct tl_tls_options *o,
                               struct tl_blame *b) {
  struct found f = {0};
  size_t before = d->n_cred;
  int rc = read_dir(&f, o, b);
  bool *skip = rc == 0 ? calloc(f.n_cert + 1, sizeof(*skip)) : NULL;
  if (rc == 0 && !skip) rc = TL_ENOMEM;
  for (size_t i = 0; rc == 0 && i < f.n_cert; i++)
    skip[i] = !key_of(&f, f.cert[i].leaf) || is_replaced(&f, i);
  for (size_t i = 0; rc == 0 && i < f.n_cert; i++) {
    struct found_key *k = key_of(&f, f.cert[i].leaf);
    if (!skip[i])
      rc = add_pair(d, o, &f.cert[i], k, b);
    else if (!k && X509_check_ca(f.cert[i].leaf) == 0)
      TL_LOG(TL_LOG_WARN, "A certificate in the directory has no key there: passed over.",
             TL_FC("tls_domain", d->name), TL_FC("file", f.cert[i].label));
  }
  if (rc == 0 && d->n_cred == before)
    rc = tl_blame_option(b, "credentials_dir",
                         "no file in %s holds a certificate with its key beside it",
                         o->credentials_dir);
  free(skip);
  found_free(&f);
  ERR_clear_error();
  return rc;
}
