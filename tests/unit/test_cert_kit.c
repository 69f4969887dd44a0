/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes certificates that no tool would, with OpenSSL's own calls; no test by
 * itself.
 */
#include "test_cert_kit.h"
#include "tls/identity_read.h"

#include <criterion/criterion.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>

static struct pki_cert made[512];
static size_t n_made;
static long serial = 7000;

void kit_extend(X509 *x, X509 *issuer, const char *name_value) {
  char name[64];
  const char *eq = strchr(name_value, '=');
  X509V3_CTX ctx;
  cr_assert(eq && eq - name_value < (long)sizeof(name));
  snprintf(name, sizeof(name), "%.*s", (int)(eq - name_value), name_value);
  CONF *none = NCONF_new(NULL); /* certificate policies want one, also where they name no section */
  X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
  X509V3_set_nconf(&ctx, none);
  X509_EXTENSION *e = X509V3_EXT_nconf(NULL, &ctx, name, eq + 1);
  cr_assert(e, "%s", name_value);
  NCONF_free(none);
  cr_assert_eq(X509_add_ext(x, e, -1), 1);
  X509_EXTENSION_free(e);
}

static void set_name(X509_NAME *name, const char *text) {
  char copy[512], *save = NULL;
  snprintf(copy, sizeof(copy), "%s", text);
  for (char *p = strtok_r(copy, "/", &save); p; p = strtok_r(NULL, "/", &save)) {
    char *eq = strchr(p, '=');
    cr_assert(eq);
    *eq = '\0';
    cr_assert_eq(
        X509_NAME_add_entry_by_txt(name, p, MBSTRING_UTF8, (unsigned char *)eq + 1, -1, -1, 0), 1);
  }
}

static long days(const char *text, long otherwise) {
  return text ? strtol(text, NULL, 10) : otherwise;
}

struct pki_cert kit_make(const struct kit_options *o) {
  struct pki_cert c = {X509_new(), o->key};
  cr_assert(c.x && n_made < sizeof(made) / sizeof(*made));
  if (o->key)
    EVP_PKEY_up_ref(o->key);
  else
    c.key = EVP_EC_gen("P-256");
  X509_set_version(c.x, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(c.x), serial++);
  X509_time_adj_ex(X509_getm_notBefore(c.x), (int)days(o->from, -1), 0, NULL);
  X509_time_adj_ex(X509_getm_notAfter(c.x), (int)days(o->to, 365), 0, NULL);
  set_name(X509_get_subject_name(c.x), o->subject ? o->subject : "O=Lab");
  const struct pki_cert *issuer = o->issuer ? o->issuer : &c;
  X509_set_issuer_name(c.x, X509_get_subject_name(issuer->x));
  X509_set_pubkey(c.x, c.key);
  for (size_t i = 0; i < sizeof(o->ext) / sizeof(*o->ext) && o->ext[i]; i++)
    kit_extend(c.x, issuer->x, o->ext[i]);
  if (o->change) o->change(c.x);
  cr_assert(X509_sign(c.x, (o->signer ? o->signer : issuer)->key, o->md ? o->md : EVP_sha256()) >
            0);
  /* as it comes from the wire: nothing cached while it was made */
  unsigned char *der = NULL;
  int n = i2d_X509(c.x, &der);
  const unsigned char *p = der;
  X509_free(c.x);
  c.x = d2i_X509(NULL, &p, n);
  OPENSSL_free(der);
  cr_assert(c.x);
  made[n_made++] = c;
  return c;
}

void kit_free(void) {
  while (n_made) pki_free(&made[--n_made]);
}

void kit_trust(const struct pki_cert *const *roots) {
  FILE *f = fopen(pki_path("ca.pem"), "we");
  cr_assert(f);
  for (; *roots; roots++) PEM_write_X509(f, (*roots)->x);
  fclose(f);
}

void kit_show(SSL_CTX *ctx, const struct pki_cert *leaf, const struct pki_cert *const *others) {
  SSL_CTX_set_security_level(ctx, 0); /* what it shows is judged by the other side */
  cr_assert_eq(SSL_CTX_use_certificate(ctx, leaf->x), 1);
  cr_assert_eq(SSL_CTX_use_PrivateKey(ctx, leaf->key), 1);
  for (; others && *others; others++) cr_assert_eq(SSL_CTX_add1_chain_cert(ctx, (*others)->x), 1);
}

struct tl_identity *kit_identity(const struct pki_cert *leaf,
                                 const struct pki_cert *const *others) {
  STACK_OF(X509) *sk = sk_X509_new_null();
  struct tl_identity *id;
  for (; others && *others; others++) sk_X509_push(sk, (*others)->x);
  cr_assert_eq(tl_identity_of_cert(leaf->x, sk, &id), 0);
  sk_X509_free(sk);
  return id;
}
