/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of a TLS domain: certificate chains, private keys, trust anchors and
 * revocation lists. All are read when the domain is built and never again, so a
 * snapshot does not change when a file does. Problems come back as sentences
 * that name the file.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tieline/log.h"
#include "tls/internal.h"

/* A CertificateRequest's list, and the TLS 1.3 extension block it shares with others, end at 65,535
 * bytes (RFC 8446 4.3.2). */
#define CA_NAMES_MAX 60000

/* An encrypted key must not make a daemon ask its terminal. */
static int no_password(char *buf, int size, int rwflag, void *arg) {
  (void)buf, (void)size, (void)rwflag, (void)arg;
  return 0;
}

static BIO *open_file(const char *file, const char *option, struct stat *st, struct tl_blame *b) {
  errno = 0;
  int fd = open(file, O_RDONLY | O_CLOEXEC);
  FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;
  if (!f || fstat(fd, st) != 0 || S_ISDIR(st->st_mode)) {
    tl_blame(b, option, "cannot read %s: %s", file,
             f && errno == 0 ? "it is a directory" : strerror(errno));
    if (f)
      fclose(f);
    else if (fd >= 0)
      close(fd);
    return NULL;
  }
  BIO *bio = BIO_new_fp(f, BIO_CLOSE);
  if (!bio) fclose(f);
  return bio;
}

/* PEM reading stops with "no start line" at the end of a good file. */
static bool at_end_of_pem(void) {
  unsigned long e = ERR_peek_last_error();
  bool end = e == 0 || (ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE);
  if (end) ERR_clear_error();
  return end;
}

static int read_chain(const char *file, X509 **out_leaf, STACK_OF(X509) * chain,
                      struct tl_blame *b) {
  struct stat st;
  BIO *bio = open_file(file, "certificate", &st, b);
  if (!bio) return TL_ECONFIG;
  X509 *x;
  while ((x = PEM_read_bio_X509(bio, NULL, no_password, NULL))) {
    if (!*out_leaf)
      *out_leaf = x;
    else if (!sk_X509_push(chain, x))
      X509_free(x);
  }
  BIO_free(bio);
  if (!at_end_of_pem())
    return tl_blame(b, "certificate", "%s holds a damaged certificate: %s", file,
                    tl_blame_reason());
  if (!*out_leaf) return tl_blame(b, "certificate", "%s holds no certificate in PEM form", file);
  return 0;
}

static int read_key(const char *file, const struct tl_tls_options *o, EVP_PKEY **out,
                    struct tl_blame *b) {
  struct stat st;
  BIO *bio = open_file(file, "private_key", &st, b);
  if (!bio) return TL_ECONFIG;
  int rc = 0;
  if ((st.st_mode & S_IRWXO) && !o->allow_readable_key)
    rc = tl_blame(b, "private_key",
                  "%s is open to every user of this machine (mode %03o): chmod o-rwx it, or set "
                  "allow_readable_key = true",
                  file, (unsigned)st.st_mode & 0777);
  else if (!(*out = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL)))
    rc = tl_blame(b, "private_key",
                  "%s holds no private key that can be read without a password: %s", file,
                  tl_blame_reason());
  BIO_free(bio);
  return rc;
}

static int describe_first(struct tl_tls_domain *d, X509 *leaf) {
  BIO *mem = BIO_new(BIO_s_mem());
  if (!mem) return TL_ENOMEM;
  X509_NAME_print_ex(mem, X509_get_subject_name(leaf), 0, XN_FLAG_RFC2253);
  char *p;
  long n = BIO_get_mem_data(mem, &p);
  d->subject = strndup(p, (size_t)n);
  BIO_free(mem);
  struct tm tm;
  if (ASN1_TIME_to_tm(X509_get0_notAfter(leaf), &tm) == 1) d->not_after = timegm(&tm);
  BIGNUM *bn = ASN1_INTEGER_to_BN(X509_get0_serialNumber(leaf), NULL);
  char *hex = bn ? BN_bn2hex(bn) : NULL;
  if (hex) snprintf(d->serial, sizeof(d->serial), "%s", hex);
  OPENSSL_free(hex);
  BN_free(bn);
  return d->subject ? 0 : TL_ENOMEM;
}

static void warn_validity(const struct tl_tls_domain *d, const char *file, X509 *leaf) {
  const char *what = NULL;
  if (X509_cmp_current_time(X509_get0_notAfter(leaf)) < 0) what = "The certificate has expired.";
  if (X509_cmp_current_time(X509_get0_notBefore(leaf)) > 0)
    what = "The certificate is not valid yet.";
  if (what) TL_LOG(TL_LOG_WARN, what, TL_FC("tls_domain", d->name), TL_FC("file", file));
}

static int use_pair(SSL_CTX *ctx, X509 *leaf, EVP_PKEY *key, STACK_OF(X509) * chain,
                    const char *file, struct tl_blame *b) {
  if (!ctx || SSL_CTX_use_cert_and_key(ctx, leaf, key, chain, 0) == 1) return 0;
  if (ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_NOT_REPLACING_CERTIFICATE)
    return tl_blame(b, "certificate",
                    "%s has the same kind of key as a certificate before it; a domain takes one of "
                    "each kind",
                    file);
  return tl_blame(b, "certificate", "OpenSSL refuses %s: %s", file, tl_blame_reason());
}

static int load_pair(struct tl_tls_domain *d, const struct tl_tls_options *o, const char *cert,
                     const char *keyfile, struct tl_blame *b) {
  X509 *leaf = NULL;
  EVP_PKEY *key = NULL;
  STACK_OF(X509) *chain = sk_X509_new_null();
  int rc = chain ? read_chain(cert, &leaf, chain, b) : TL_ENOMEM;
  if (rc) goto out;
  if ((rc = read_key(keyfile, o, &key, b))) goto out;
  if (X509_check_private_key(leaf, key) != 1) {
    rc = tl_blame(b, "private_key", "the key in %s does not belong to the certificate in %s",
                  keyfile, cert);
    goto out;
  }
  warn_validity(d, cert, leaf);
  if (!d->subject && (rc = describe_first(d, leaf))) goto out;
  if (!d->own && (rc = tl_identity_of_cert(leaf, &d->own))) goto out;
  rc = use_pair(d->server, leaf, key, chain, cert, b);
  if (rc == 0) rc = use_pair(d->client, leaf, key, chain, cert, b);
out:
  X509_free(leaf);
  EVP_PKEY_free(key);
  sk_X509_pop_free(chain, X509_free);
  return rc;
}

int tl_domain_load_credentials(struct tl_tls_domain *d, const struct tl_tls_options *o,
                               struct tl_blame *b) {
  size_t certs = 0, keys = 0;
  while (o->certificate && o->certificate[certs]) certs++;
  while (o->private_key && o->private_key[keys]) keys++;
  if (certs != keys)
    return tl_blame(b, "private_key",
                    "%zu certificate files need as many private_key files, not %zu", certs, keys);
  for (size_t i = 0; i < certs; i++) {
    int rc = load_pair(d, o, o->certificate[i], o->private_key[i], b);
    if (rc) return rc;
  }
  return 0;
}

/* What a trust or revocation file gave. */
struct pem_count {
  int certs, crls;
};

static void warn_stale_crl(const struct tl_tls_domain *d, const char *file, X509_CRL *crl) {
  const ASN1_TIME *next = X509_CRL_get0_nextUpdate(crl);
  if (next && X509_cmp_current_time(next) < 0)
    TL_LOG(
        TL_LOG_WARN,
        "The revocation list is past its next update: certificates of its issuer will be refused.",
        TL_FC("tls_domain", d->name), TL_FC("file", file));
}

static int add_name(STACK_OF(X509_NAME) * names, X509 *x) {
  X509_NAME *name = X509_get_subject_name(x);
  for (int i = 0; i < sk_X509_NAME_num(names); i++)
    if (X509_NAME_cmp(sk_X509_NAME_value(names, i), name) == 0) return 0;
  X509_NAME *copy = X509_NAME_dup(name);
  if (copy && sk_X509_NAME_push(names, copy)) return 0;
  X509_NAME_free(copy);
  return TL_ENOMEM;
}

/* Adds the certificates (with WANT_CERTS) and lists of one PEM file to STORE, names to NAMES. */
static int add_pem(struct tl_tls_domain *d, X509_STORE *store, STACK_OF(X509_NAME) * names,
                   const char *file, const char *option, bool want_certs, struct pem_count *n,
                   struct tl_blame *b) {
  struct stat st;
  BIO *bio = open_file(file, option, &st, b);
  if (!bio) return TL_ECONFIG;
  STACK_OF(X509_INFO) *sk = PEM_X509_INFO_read_bio(bio, NULL, no_password, NULL);
  BIO_free(bio);
  if (!sk) return tl_blame(b, option, "%s is damaged: %s", file, tl_blame_reason());
  ERR_clear_error();
  int rc = 0;
  for (int i = 0; i < sk_X509_INFO_num(sk) && rc == 0; i++) {
    X509_INFO *it = sk_X509_INFO_value(sk, i);
    if (it->x509 && want_certs) {
      if (X509_STORE_add_cert(store, it->x509) != 1 || (names && add_name(names, it->x509)))
        rc = TL_ENOMEM;
      n->certs++;
    }
    if (it->crl && !want_certs) {
      if (X509_STORE_add_crl(store, it->crl) != 1) rc = TL_ENOMEM;
      warn_stale_crl(d, file, it->crl);
      n->crls++;
    }
  }
  sk_X509_INFO_pop_free(sk, X509_INFO_free);
  return rc;
}

/* Every file of DIR that holds something of use; the others are passed over. */
static int add_dir(struct tl_tls_domain *d, X509_STORE *store, STACK_OF(X509_NAME) * names,
                   const char *dir, const char *option, bool want_certs, struct pem_count *n,
                   struct tl_blame *b) {
  DIR *h = opendir(dir);
  if (!h) return tl_blame(b, option, "cannot read the directory %s: %s", dir, strerror(errno));
  int rc = 0;
  struct dirent *e;
  while (rc == 0 && (e = readdir(h))) {
    char path[4096];
    struct stat st;
    int len = snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
    if (len >= (int)sizeof(path) || stat(path, &st) != 0 || !S_ISREG(st.st_mode)) continue;
    rc = add_pem(d, store, names, path, option, want_certs, n, b);
    if (rc == TL_ECONFIG) rc = 0;
  }
  closedir(h);
  return rc;
}

static int load_anchors(struct tl_tls_domain *d, const struct tl_tls_options *o, X509_STORE *store,
                        STACK_OF(X509_NAME) * names, struct tl_blame *b) {
  struct pem_count n = {0, 0};
  int rc = 0;
  if (o->ca_list) {
    if ((rc = add_pem(d, store, names, o->ca_list, "ca_list", true, &n, b))) return rc;
    if (n.certs == 0)
      return tl_blame(b, "ca_list", "%s holds no certificate in PEM form", o->ca_list);
  }
  if (o->ca_dir) {
    n.certs = 0;
    rc = add_dir(d, store, o->ca_list ? NULL : names, o->ca_dir, "ca_dir", true, &n, b);
    if (rc) return rc;
    if (n.certs == 0)
      return tl_blame(b, "ca_dir", "no file in %s holds a certificate in PEM form", o->ca_dir);
  }
  /* Without a list of its own a domain trusts whom this machine trusts. */
  if (!o->ca_list && !o->ca_dir && X509_STORE_set_default_paths(store) != 1) return TL_ENOMEM;
  return 0;
}

static int load_crls(struct tl_tls_domain *d, const struct tl_tls_options *o, X509_STORE *store,
                     struct tl_blame *b) {
  struct pem_count n = {0, 0};
  int rc = 0;
  if (o->crl_file) {
    if ((rc = add_pem(d, store, NULL, o->crl_file, "crl_file", false, &n, b))) return rc;
    if (n.crls == 0)
      return tl_blame(b, "crl_file", "%s holds no revocation list in PEM form", o->crl_file);
  }
  if (o->crl_dir) {
    n.crls = 0;
    if ((rc = add_dir(d, store, NULL, o->crl_dir, "crl_dir", false, &n, b))) return rc;
    if (n.crls == 0)
      return tl_blame(b, "crl_dir", "no file in %s holds a revocation list in PEM form",
                      o->crl_dir);
  }
  if (o->crl_file || o->crl_dir)
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK |
                                    (o->crl_check_all ? X509_V_FLAG_CRL_CHECK_ALL : 0));
  return 0;
}

static size_t names_size(STACK_OF(X509_NAME) * names) {
  size_t sum = 0;
  for (int i = 0; i < sk_X509_NAME_num(names); i++) {
    int n = i2d_X509_NAME(sk_X509_NAME_value(names, i), NULL);
    sum += 2 + (size_t)(n > 0 ? n : 0);
  }
  return sum;
}

/* A list cut short would tell a client that its CA is not wanted; no list means any. */
static void announce_names(struct tl_tls_domain *d, STACK_OF(X509_NAME) * names) {
  if (names_size(names) > CA_NAMES_MAX) {
    TL_LOG(TL_LOG_WARN,
           "The CA names of this domain do not fit a certificate request, so none are sent.",
           TL_FC("tls_domain", d->name), TL_FI("names", sk_X509_NAME_num(names)));
    sk_X509_NAME_pop_free(names, X509_NAME_free);
    return;
  }
  SSL_CTX_set_client_CA_list(d->server, names); /* takes the stack */
}

int tl_domain_load_trust(struct tl_tls_domain *d, const struct tl_tls_options *o,
                         struct tl_blame *b) {
  X509_STORE *store = X509_STORE_new();
  STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();
  int rc = store && names ? load_anchors(d, o, store, names, b) : TL_ENOMEM;
  if (rc == 0) rc = load_crls(d, o, store, b);
  if (rc == 0 && d->client) SSL_CTX_set1_cert_store(d->client, store);
  if (rc == 0 && d->server) {
    SSL_CTX_set1_cert_store(d->server, store);
    announce_names(d, names);
    names = NULL;
  }
  sk_X509_NAME_pop_free(names, X509_NAME_free);
  X509_STORE_free(store);
  return rc;
}
