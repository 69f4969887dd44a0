/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whom a TLS domain trusts: trust anchors, revocation lists, and the names of
 * authorities that its CertificateRequest carries. All files are read when the
 * domain is built and never again, so a snapshot does not change when a file
 * does. Problems are reported as sentences that name the file. Its own
 * certificates are in credentials_load.c.
 */
#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#include "tieline/log.h"
#include "tls/crl_lists.h"
#include "tls/tls_internal.h"
#include "tls/verify_rules.h"

/* A CertificateRequest's list, and the TLS 1.3 extension block it shares with the signature
 * algorithms, end at 65,535 bytes (RFC 5246 7.4.4, RFC 8446 4.3.2). */
#define CA_NAMES_MAX 65000

int tl_domain_describe_first(struct tl_tls_domain *d, X509 *leaf) {
  BIO *mem = BIO_new(BIO_s_mem());
  if (!mem) return TL_ENOMEM;
  bool whole = X509_NAME_print_ex(mem, X509_get_subject_name(leaf), 0, XN_FLAG_RFC2253) >= 0;
  char *p;
  long n = BIO_get_mem_data(mem, &p);
  d->subject = whole ? strndup(n > 0 ? p : "", (size_t)n) : NULL;
  BIO_free(mem);
  struct tm tm;
  if (ASN1_TIME_to_tm(X509_get0_notAfter(leaf), &tm) == 1) d->not_after = timegm(&tm);
  BIGNUM *bn = ASN1_INTEGER_to_BN(X509_get0_serialNumber(leaf), NULL);
  char *hex = bn ? BN_bn2hex(bn) : NULL;
  if (hex) snprintf(d->serial, sizeof(d->serial), "%s", hex);
  whole = d->subject && hex;
  OPENSSL_free(hex);
  BN_free(bn);
  return whole ? TL_OK : TL_ENOMEM;
}

/* What is being collected. */
struct trust {
  struct tl_tls_domain *d;
  const struct tl_tls_options *o;
  struct tl_blame *b;
  X509_STORE *store;
  STACK_OF(X509) * cas; /* all trusted certificates */
  unsigned certs, crls; /* in the current file or directory */
};

/* All that BIO holds, and BIO's end. OpenSSL keeps a certificate or list of which a part found no
 * memory, without that part: none of them is taken. */
static int read_all(BIO *bio, const char *label, const char *option, STACK_OF(X509_INFO) * *out,
                    struct tl_blame *b) {
  tl_blame_begin();
  *out = PEM_X509_INFO_read_bio(bio, NULL, tl_input_no_password, NULL);
  BIO_free(bio);
  if (!*out) return tl_blame_option(b, option, "%s is damaged: %s", label, tl_blame_reason());
  if (!tl_blame_no_memory()) return TL_OK;
  sk_X509_INFO_pop_free(*out, X509_INFO_free);
  return TL_ENOMEM;
}

/* OpenSSL reads a certificate's extensions when it first needs them, and one that finds no memory
 * then is invalid for good: better here, where it can be tried again. */
static int read_extensions(X509 *x) {
  tl_blame_begin();
  X509_check_purpose(x, -1, 0);
  return tl_blame_no_memory() ? TL_ENOMEM : TL_OK;
}

static int add_anchor(struct trust *t, X509 *x) {
  t->certs++;
  if (read_extensions(x)) return TL_ENOMEM;
  if (X509_STORE_add_cert(t->store, x) != 1 || X509_up_ref(x) != 1) return TL_ENOMEM;
  if (sk_X509_push(t->cas, x)) return TL_OK;
  X509_free(x);
  return TL_ENOMEM;
}

static int add_anchors(struct trust *t, const char *input, const char *option) {
  struct stat st;
  BIO *bio;
  int rc = tl_input_open(input, option, &st, &bio, t->b);
  if (rc) return rc;
  STACK_OF(X509_INFO) * sk;
  if ((rc = read_all(bio, tl_input_label(input), option, &sk, t->b))) return rc;
  for (int i = 0; i < sk_X509_INFO_num(sk) && rc == 0; i++)
    if (sk_X509_INFO_value(sk, i)->x509) rc = add_anchor(t, sk_X509_INFO_value(sk, i)->x509);
  sk_X509_INFO_pop_free(sk, X509_INFO_free);
  return rc;
}

/* ---- revocation lists ---- */

static void warn_stale_crl(const struct trust *t, const char *file, X509_CRL *crl) {
  const ASN1_TIME *next = X509_CRL_get0_nextUpdate(crl);
  if (!next || X509_cmp_current_time(next) >= 0) return;
  TL_LOG(TL_LOG_WARN,
         t->d->policy.crl_stale == TL_STALE_ACCEPT
             ? "The revocation list is past its next update, and still counts as crl_stale says."
             : "The revocation list is past its next update: certificates of its issuer will be "
               "refused.",
         TL_FC("tls_domain", t->d->name), TL_FC("file", file));
}

/* Is X the authority that CRL names, and did it sign it? 1, 0, -1: the name alone fits, or -2: it
 * must not sign lists (RFC 5280 4.2.1.3). */
static int judge_issuer(X509 *x, X509_CRL *crl) {
  if (X509_NAME_cmp(X509_get_subject_name(x), X509_CRL_get_issuer(crl)) != 0) return 0;
  if (X509_CRL_verify(crl, X509_get0_pubkey(x)) != 1) return -1;
  return X509_get_key_usage(x) & KU_CRL_SIGN ? 1 : -2;
}

static int issued_by_any(STACK_OF(X509) * sk, X509_CRL *crl) {
  int best = 0;
  for (int i = 0; i < sk_X509_num(sk) && best != 1; i++) {
    int k = judge_issuer(sk_X509_value(sk, i), crl);
    if (k) best = k;
  }
  return best;
}

/* Peers may send intermediate authorities in their chains: the list counts from then on, and its
 * signature is checked then, see crl.c. */
static void warn_unknown_issuer(const struct trust *t, const char *file, const char *issuer) {
  TL_LOG(
      TL_LOG_WARN,
      "The authority of a revocation list is not known yet: the list counts where a peer's chain "
      "brings that authority.",
      TL_FC("tls_domain", t->d->name), TL_FC("file", file), TL_FC("issuer", issuer));
}

/* Checks who signed it: an authority of this domain, one of our own chains, or nobody known yet. */
static int check_issuer(struct trust *t, const char *file, const char *option, X509_CRL *crl) {
  int found = issued_by_any(t->cas, crl);
  for (size_t i = 0; i < t->d->n_cred && found != 1; i++) {
    int k = issued_by_any(t->d->cred[i].chain, crl);
    if (k) found = k;
  }
  ERR_clear_error();
  if (found == 1 || (!found && t->o->ca_system))
    return TL_OK; /* the system's authorities are not listed */
  char *issuer = X509_NAME_oneline(X509_CRL_get_issuer(crl), NULL, 0);
  int rc = TL_OK;
  if (found)
    rc = tl_blame_option(t->b, option,
                         found == -2
                             ? "the revocation list in %s is signed by %s, whose key usage does "
                               "not allow it (cRLSign)"
                             : "the revocation list in %s is not signed by %s, whose name it bears",
                         file, issuer ? issuer : "?");
  else
    warn_unknown_issuer(t, file, issuer ? issuer : "?");
  OPENSSL_free(issuer);
  return rc;
}

/* IN_DIR: unusable lists are skipped. */
static int add_crl(struct trust *t, const char *input, const char *option, bool in_dir,
                   X509_CRL *crl) {
  const char *unusable = tl_crl_unusable(crl);
  int rc = check_issuer(t, input, option, crl);
  if (rc == 0 && unusable && in_dir) {
    TL_LOG(TL_LOG_WARN, "A revocation list in crl_dir is passed over.",
           TL_FC("tls_domain", t->d->name), TL_FC("file", input), TL_FC("reason", unusable));
    return TL_OK;
  }
  if (rc == 0 && unusable) return tl_blame_option(t->b, option, "%s holds %s", input, unusable);
  if (rc == 0 && X509_STORE_add_crl(t->store, crl) != 1) rc = TL_ENOMEM;
  warn_stale_crl(t, input, crl);
  t->crls++;
  return rc;
}

static int add_crls(struct trust *t, const char *input, const char *option, bool in_dir) {
  struct stat st;
  BIO *bio;
  int rc = tl_input_open(input, option, &st, &bio, t->b);
  if (rc) return rc;
  STACK_OF(X509_INFO) * sk;
  if ((rc = read_all(bio, input, option, &sk, t->b))) return rc;
  for (int i = 0; i < sk_X509_INFO_num(sk) && rc == 0; i++) {
    X509_CRL *crl = sk_X509_INFO_value(sk, i)->crl;
    if (crl) rc = add_crl(t, input, option, in_dir, crl);
  }
  sk_X509_INFO_pop_free(sk, X509_INFO_free);
  return rc;
}

/* Adds every file of DIR that holds something usable; unreadable ones are skipped. */
static int add_dir(struct trust *t, const char *dir, const char *option, bool crls) {
  DIR *h = opendir(dir);
  if (!h)
    return tl_blame_option(t->b, option, "cannot read the directory %s: %s", dir, strerror(errno));
  int rc = TL_OK;
  struct dirent *e;
  while (rc == 0 && (e = readdir(h))) {
    char path[4096];
    struct stat st;
    int len = snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
    if (len >= (int)sizeof(path) || stat(path, &st) != 0 || !S_ISREG(st.st_mode)) continue;
    rc = crls ? add_crls(t, path, option, true) : add_anchors(t, path, option);
    if (rc == TL_ECONFIG && !crls) rc = TL_OK;
  }
  closedir(h);
  return rc;
}

static int load_anchors(struct trust *t) {
  const struct tl_tls_options *o = t->o;
  int rc;
  if (o->ca_list) {
    if ((rc = add_anchors(t, o->ca_list, "ca_list"))) return rc;
    if (t->certs == 0)
      return tl_blame_option(t->b, "ca_list", "%s holds no certificate in PEM form",
                             tl_input_label(o->ca_list));
  }
  if (o->ca_dir) {
    t->certs = 0;
    if ((rc = add_dir(t, o->ca_dir, "ca_dir", false))) return rc;
    if (t->certs == 0)
      return tl_blame_option(t->b, "ca_dir", "no file in %s holds a certificate in PEM form",
                             o->ca_dir);
  }
  /* Without a list of its own, a domain trusts the machine's authorities. */
  bool system = o->ca_system || (!o->ca_list && !o->ca_dir);
  return !system || X509_STORE_set_default_paths(t->store) == 1 ? TL_OK : TL_ENOMEM;
}

static int load_crls(struct trust *t) {
  const struct tl_tls_options *o = t->o;
  int rc;
  if (o->crl_file) {
    if ((rc = add_crls(t, o->crl_file, "crl_file", false))) return rc;
    if (t->crls == 0)
      return tl_blame_option(t->b, "crl_file", "%s holds no revocation list in PEM form",
                             o->crl_file);
  }
  if (o->crl_dir) {
    t->crls = 0;
    if ((rc = add_dir(t, o->crl_dir, "crl_dir", true))) return rc;
    if (t->crls == 0)
      return tl_blame_option(t->b, "crl_dir", "no file in %s holds a revocation list in PEM form",
                             o->crl_dir);
  }
  return TL_OK;
}

/* ---- the names in our CertificateRequest ---- */

static int add_name(STACK_OF(X509_NAME) * names, X509 *x) {
  X509_NAME *name = X509_get_subject_name(x);
  for (int i = 0; i < sk_X509_NAME_num(names); i++)
    if (X509_NAME_cmp(sk_X509_NAME_value(names, i), name) == 0) return TL_OK;
  X509_NAME *copy = X509_NAME_dup(name);
  if (copy && sk_X509_NAME_push(names, copy)) return TL_OK;
  X509_NAME_free(copy);
  return TL_ENOMEM;
}

static int names_of_file(struct trust *t, STACK_OF(X509_NAME) * names) {
  const char *file = t->o->ca_names;
  struct stat st;
  BIO *bio;
  int rc = tl_input_open(file, "ca_names", &st, &bio, t->b);
  X509 *x;
  while (rc == 0 && (x = PEM_read_bio_X509(bio, NULL, tl_input_no_password, NULL))) {
    rc = add_name(names, x);
    X509_free(x);
  }
  BIO_free(bio);
  if (rc) return rc;
  if (!tl_input_at_end())
    return tl_blame_option(t->b, "ca_names", "%s is damaged: %s", file, tl_blame_reason());
  if (sk_X509_NAME_num(names) == 0)
    return tl_blame_option(t->b, "ca_names", "%s holds no certificate in PEM form", file);
  return TL_OK;
}

static size_t names_size(STACK_OF(X509_NAME) * names) {
  size_t sum = 0;
  for (int i = 0; i < sk_X509_NAME_num(names); i++) {
    int n = i2d_X509_NAME(sk_X509_NAME_value(names, i), NULL);
    sum += 2 + (size_t)(n > 0 ? n : 0);
  }
  return sum;
}

/* A truncated list would tell a client that its CA is not wanted; no list means any. */
static int announce_names(struct trust *t) {
  struct tl_tls_domain *d = t->d;
  STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();
  int rc = names ? TL_OK : TL_ENOMEM;
  if (rc == 0 && t->o->ca_names) rc = names_of_file(t, names);
  for (int i = 0; rc == 0 && !t->o->ca_names && i < sk_X509_num(t->cas); i++)
    rc = add_name(names, sk_X509_value(t->cas, i));
  if (rc || !t->o->policy.send_ca_names || !d->server) {
    sk_X509_NAME_pop_free(names, X509_NAME_free);
    return rc;
  }
  if (names_size(names) > CA_NAMES_MAX) {
    TL_LOG(TL_LOG_WARN,
           "The CA names of this domain do not fit a certificate request, so none are sent: name "
           "fewer with ca_names.",
           TL_FC("tls_domain", d->name), TL_FI("names", sk_X509_NAME_num(names)),
           TL_FI("bytes", names_size(names)), TL_FI("bytes_max", CA_NAMES_MAX));
    sk_X509_NAME_pop_free(names, X509_NAME_free);
    return TL_OK;
  }
  d->ca_names_n = (unsigned)sk_X509_NAME_num(names);
  d->ca_names_bytes = names_size(names);
  SSL_CTX_set_client_CA_list(d->server, names); /* takes ownership */
  return TL_OK;
}

int tl_domain_load_trust(struct tl_tls_domain *d, const struct tl_tls_options *o,
                         STACK_OF(X509) * cas, struct tl_blame *b) {
  struct trust t = {.d = d, .o = o, .b = b, .store = X509_STORE_new(), .cas = cas};
  int rc = t.store ? load_anchors(&t) : TL_ENOMEM;
  if (rc == 0) tl_path_tell_twins(t.store, cas);
  if (rc == 0) rc = load_crls(&t);
  if (rc == 0) rc = announce_names(&t);
  if (rc == 0 && d->client) SSL_CTX_set1_cert_store(d->client, t.store);
  if (rc == 0 && d->server) SSL_CTX_set1_cert_store(d->server, t.store);
  X509_STORE_free(t.store);
  return rc;
}
