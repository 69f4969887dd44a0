/* SPDX-License-Identifier: Apache-2.0 */
/* See cert_kit.h. */
#include "cert_kit.h"

#include <fcntl.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "must.h"
#include "tls/identity_read.h"

static struct kit_cert *made;
static size_t n_made;

static struct kit_cert keep(struct kit_cert c) {
  MUST(made = realloc(made, (n_made + 1) * sizeof(*made)));
  return made[n_made++] = c;
}

void kit_free(void) {
  for (; n_made; n_made--) {
    X509_free(made[n_made - 1].x);
    EVP_PKEY_free(made[n_made - 1].key);
  }
  free(made);
  made = NULL;
}

/* ---- certificates */

void kit_odd_key(X509 *x) {
  X509_PUBKEY *pub = X509_get_X509_PUBKEY(x);
  uint8_t *bits = OPENSSL_memdup("\4key", 4);
  MUST(bits && X509_PUBKEY_set0_param(pub, OBJ_txt2obj("1.3.6.1.4.1.99999.1", 1), V_ASN1_NULL, NULL,
                                      bits, 4));
}

void kit_extend(X509 *x, X509 *issuer, const char *name_value) {
  char name[64];
  const char *eq = strchr(name_value, '=');
  X509V3_CTX ctx;
  MUST(eq && eq - name_value < (long)sizeof(name));
  snprintf(name, sizeof(name), "%.*s", (int)(eq - name_value), name_value);
  CONF *none = NCONF_new(NULL); /* certificate policies want one, also where they name no section */
  X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
  X509V3_set_nconf(&ctx, none);
  X509_EXTENSION *e = X509V3_EXT_nconf(NULL, &ctx, name, eq + 1);
  MUST(e);
  NCONF_free(none);
  MUST(X509_add_ext(x, e, -1) == 1);
  X509_EXTENSION_free(e);
}

static void set_name(X509_NAME *name, const char *text) {
  char copy[512], *save = NULL;
  snprintf(copy, sizeof(copy), "%s", text);
  for (char *p = strtok_r(copy, "/", &save); p; p = strtok_r(NULL, "/", &save)) {
    char *eq = strchr(p, '=');
    MUST(eq);
    *eq = '\0';
    MUST(X509_NAME_add_entry_by_txt(name, p, MBSTRING_UTF8, (unsigned char *)eq + 1, -1, -1, 0));
  }
}

static EVP_PKEY *key_of(const struct kit_options *o) {
  if (!o->key) return o->rsa_bits ? EVP_RSA_gen(o->rsa_bits) : EVP_EC_gen("P-256");
  EVP_PKEY_up_ref(o->key);
  return o->key;
}

/* As it comes from the wire: nothing cached while it was made. */
static X509 *anew(X509 *x) {
  unsigned char *der = NULL;
  int n = i2d_X509(x, &der);
  const unsigned char *p = der;
  X509_free(x);
  x = d2i_X509(NULL, &p, n);
  OPENSSL_free(der);
  return x;
}

static void set_days(ASN1_TIME *t, const char *days) {
  X509_time_adj_ex(t, (int)strtol(days, NULL, 10), 0, NULL);
}

struct kit_cert kit_make(const struct kit_options *o) {
  static long serial = 7000;
  struct kit_cert c = {X509_new(), key_of(o)};
  MUST(c.x && c.key);
  X509_set_version(c.x, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(c.x), o->serial ? o->serial : serial++);
  set_days(X509_getm_notBefore(c.x), o->from ? o->from : "-1");
  set_days(X509_getm_notAfter(c.x), o->to ? o->to : "365");
  set_name(X509_get_subject_name(c.x), o->subject ? o->subject : "O=Lab");
  const struct kit_cert *issuer = o->issuer ? o->issuer : &c;
  X509_set_issuer_name(c.x, X509_get_subject_name(issuer->x));
  X509_set_pubkey(c.x, c.key);
  for (size_t i = 0; i < sizeof(o->ext) / sizeof(*o->ext) && o->ext[i]; i++)
    kit_extend(c.x, issuer->x, o->ext[i]);
  if (o->change) o->change(c.x);
  MUST(X509_sign(c.x, (o->signer ? o->signer : issuer)->key, o->md ? o->md : EVP_sha256()) > 0);
  MUST(c.x = anew(c.x));
  return keep(c);
}

/* ---- texts and files */

static char *text_of(BIO *b) {
  char *p, *text;
  long n = BIO_get_mem_data(b, &p);
  MUST(text = strndup(p, (size_t)n));
  BIO_free(b);
  return text;
}

char *kit_cert_text(const struct kit_cert *c) {
  BIO *b = BIO_new(BIO_s_mem());
  MUST(PEM_write_bio_X509(b, c->x) == 1);
  return text_of(b);
}

char *kit_key_text(const struct kit_cert *c) {
  BIO *b = BIO_new(BIO_s_mem());
  MUST(PEM_write_bio_PrivateKey(b, c->key, NULL, NULL, 0, NULL, NULL) == 1);
  return text_of(b);
}

static FILE *create(const char *path, mode_t mode) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  MUST(fd >= 0 && fchmod(fd, mode) == 0);
  return fdopen(fd, "w");
}

void kit_write_cert(const char *path, const struct kit_cert *c, const struct kit_cert *chain) {
  FILE *f = create(path, 0644);
  MUST(PEM_write_X509(f, c->x) == 1 && (!chain || PEM_write_X509(f, chain->x) == 1));
  fclose(f);
}

void kit_write_key(const char *path, const struct kit_cert *c, mode_t mode) {
  FILE *f = create(path, mode);
  MUST(PEM_write_PrivateKey(f, c->key, NULL, NULL, 0, NULL, NULL) == 1);
  fclose(f);
}

struct kit_cert kit_read(const char *cert_path, const char *key_path) {
  struct kit_cert c = {0};
  FILE *f = fopen(cert_path, "re");
  MUST(f && (c.x = PEM_read_X509(f, NULL, NULL, NULL)));
  fclose(f);
  if (!key_path) return keep(c);
  f = fopen(key_path, "re");
  MUST(f && (c.key = PEM_read_PrivateKey(f, NULL, NULL, NULL)));
  fclose(f);
  return keep(c);
}

void kit_write_crl(const char *path, const struct kit_cert *ca, const struct kit_cert *revoked,
                   void (*change)(X509_CRL *crl)) {
  X509_CRL *crl = X509_CRL_new();
  ASN1_TIME *t = X509_gmtime_adj(NULL, -60), *next = X509_gmtime_adj(NULL, 86400);
  X509_CRL_set_version(crl, X509_CRL_VERSION_2);
  X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->x));
  X509_CRL_set1_lastUpdate(crl, t);
  X509_CRL_set1_nextUpdate(crl, next);
  if (revoked) {
    X509_REVOKED *r = X509_REVOKED_new();
    X509_REVOKED_set_serialNumber(r, X509_get_serialNumber(revoked->x));
    X509_REVOKED_set_revocationDate(r, t);
    X509_CRL_add0_revoked(crl, r);
  }
  X509_CRL_sort(crl);
  if (change) change(crl);
  MUST(X509_CRL_sign(crl, ca->key, EVP_sha256()) > 0);
  FILE *f = create(path, 0644);
  MUST(PEM_write_X509_CRL(f, crl) == 1);
  fclose(f);
  X509_CRL_free(crl);
  ASN1_TIME_free(t);
  ASN1_TIME_free(next);
}

/* ---- what is shown */

void kit_show(SSL_CTX *ctx, const struct kit_cert *leaf, const struct kit_cert *const *others) {
  SSL_CTX_set_security_level(ctx, 0); /* what it shows is judged by the other side */
  MUST(SSL_CTX_use_certificate(ctx, leaf->x) == 1);
  MUST(SSL_CTX_use_PrivateKey(ctx, leaf->key) == 1);
  for (; others && *others; others++) MUST(SSL_CTX_add1_chain_cert(ctx, (*others)->x) == 1);
}

struct tl_identity *kit_identity(const struct kit_cert *leaf,
                                 const struct kit_cert *const *others) {
  STACK_OF(X509) *sk = sk_X509_new_null();
  struct tl_identity *id;
  for (; others && *others; others++) sk_X509_push(sk, (*others)->x);
  MUST(tl_identity_of_cert(leaf->x, sk, &id) == 0);
  sk_X509_free(sk);
  return id;
}
