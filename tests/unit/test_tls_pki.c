/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes certificates with OpenSSL's own calls; no test of anything by itself.
 */
#include "test_tls_pki.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct pki_cert pki_ca;

static char dir[64];
static long next_serial = 1000;

const char *pki_path(const char *file) {
  static char buf[8][384];
  static unsigned at;
  char *p = buf[at++ % 8];
  snprintf(p, sizeof(buf[0]), "%s/%s", dir, file);
  return p;
}

static void add_ext(X509 *x, X509 *issuer, int nid, const char *value) {
  X509V3_CTX ctx;
  X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
  X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
  cr_assert(e, "extension %s", value);
  X509_add_ext(x, e, -1);
  X509_EXTENSION_free(e);
}

struct pki_cert pki_make(const struct pki_options *o) {
  bool usual = o->from_days == 0 && o->to_days == 0;
  struct pki_cert c = {X509_new(), o->rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256")};
  cr_assert(c.x && c.key);
  X509_set_version(c.x, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(c.x), next_serial++);
  X509_gmtime_adj(X509_getm_notBefore(c.x), 86400L * (usual ? -1 : o->from_days));
  X509_gmtime_adj(X509_getm_notAfter(c.x), 86400L * (usual ? 365 : o->to_days));
  X509_NAME *name = X509_get_subject_name(c.x);
  X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const unsigned char *)"Lab", -1, -1, 0);
  if (o->cn)
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)o->cn, -1, -1, 0);
  const struct pki_cert *issuer = o->issuer ? o->issuer : &c;
  X509_set_issuer_name(c.x, X509_get_subject_name(issuer->x));
  X509_set_pubkey(c.x, c.key);
  if (o->ca) add_ext(c.x, issuer->x, NID_basic_constraints, "critical,CA:TRUE");
  if (o->san) add_ext(c.x, issuer->x, NID_subject_alt_name, o->san);
  cr_assert(X509_sign(c.x, issuer->key, EVP_sha256()) > 0);
  return c;
}

void pki_free(struct pki_cert *c) {
  X509_free(c->x);
  EVP_PKEY_free(c->key);
  c->x = NULL;
  c->key = NULL;
}

static FILE *create(const char *name, const char *suffix, int mode) {
  char file[64];
  snprintf(file, sizeof(file), "%s%s", name, suffix);
  int fd = open(pki_path(file), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  cr_assert(fd >= 0, "%s", pki_path(file));
  return fdopen(fd, "w");
}

void pki_write(const char *name, const struct pki_cert *c, const struct pki_cert *chain) {
  FILE *f = create(name, ".pem", 0644);
  PEM_write_X509(f, c->x);
  if (chain) PEM_write_X509(f, chain->x);
  fclose(f);
  f = create(name, ".key", 0600);
  PEM_write_PrivateKey(f, c->key, NULL, NULL, 0, NULL, NULL);
  fclose(f);
}

void pki_write_text(const char *file, const char *text) {
  FILE *f = create(file, "", 0600);
  fputs(text, f);
  fclose(f);
}

void pki_write_crl_with(const char *name, const struct pki_cert *ca, const struct pki_cert *revoked,
                        void (*change)(X509_CRL *crl)) {
  X509_CRL *crl = X509_CRL_new();
  ASN1_TIME *t = X509_gmtime_adj(NULL, -60), *next = X509_gmtime_adj(NULL, 86400);
  X509_CRL_set_version(crl, 1);
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
  cr_assert(X509_CRL_sign(crl, ca->key, EVP_sha256()) > 0);
  FILE *f = create(name, ".crl", 0644);
  PEM_write_X509_CRL(f, crl);
  fclose(f);
  X509_CRL_free(crl);
  ASN1_TIME_free(t);
  ASN1_TIME_free(next);
}

void pki_write_crl(const char *name, const struct pki_cert *ca, const struct pki_cert *revoked) {
  pki_write_crl_with(name, ca, revoked, NULL);
}

static struct pki_cert cast(const char *name, const struct pki_cert *ca, const char *cn,
                            const char *san, int to_days) {
  struct pki_options o = {.cn = cn, .san = san, .issuer = ca};
  if (to_days) o.from_days = -30, o.to_days = to_days;
  struct pki_cert c = pki_make(&o);
  pki_write(name, &c, NULL);
  return c;
}

void pki_open(void) {
  snprintf(dir, sizeof(dir), "/tmp/tieline-pki-XXXXXX");
  cr_assert(mkdtemp(dir));
  pki_ca = pki_make(&(struct pki_options){.cn = "Lab CA", .ca = true});
  struct pki_cert other = pki_make(&(struct pki_options){.cn = "Other CA", .ca = true});
  pki_write("ca", &pki_ca, NULL);
  pki_write("other-ca", &other, NULL);
  const char *server = "DNS:server.example,URI:sip:server.example,IP:127.0.0.1";
  struct pki_cert all[] = {
      cast("server", &pki_ca, "server.example", server, 0),
      cast("client", &pki_ca, "client.example", "DNS:client.example,email:a@client.example", 0),
      cast("foreign", &other, "client.example", "DNS:client.example", 0),
      cast("expired", &pki_ca, "client.example", "DNS:server.example", -1),
      cast("wrong", &pki_ca, "elsewhere.example", "DNS:elsewhere.example", 0),
      cast("revoked", &pki_ca, "client.example", "DNS:server.example", 0)};
  size_t n = sizeof(all) / sizeof(*all);
  pki_write_crl("ca", &pki_ca, &all[n - 1]);
  for (size_t i = 0; i < n; i++) pki_free(&all[i]);
  pki_free(&other);
}

void pki_close(void) {
  DIR *d = opendir(dir);
  struct dirent *e;
  while (d && (e = readdir(d)))
    if (e->d_name[0] != '.') unlink(pki_path(e->d_name));
  if (d) closedir(d);
  rmdir(dir);
  pki_free(&pki_ca);
}
