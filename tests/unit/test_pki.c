/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `tieline pki` as called from the command line, its files judged by OpenSSL.
 */
#include "tieline/pki.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/txt_db.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../support/cert_kit.h"

static char dir[64], said[65536];

static const char *in_dir(const char *name) {
  static char path[4][128];
  static unsigned at;
  char *p = path[at++ % 4];
  snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
  return p;
}

static void make_dir(void) {
  snprintf(dir, sizeof(dir), "/tmp/tl-pki-XXXXXX");
  cr_assert(mkdtemp(dir));
}

static void drop_dir(void) {
  char cmd[96];
  snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
  cr_assert_eq(system(cmd), 0);
}

TestSuite(pki, .init = make_dir, .fini = drop_dir);

/* Runs the command with the directory's option behind it; what it printed is in SAID. */
static int pki(const char *words) {
  char copy[1024], *argv[40] = {(char *)(uintptr_t) "tieline"}, *save = NULL;
  int argc = 1, saved[2] = {dup(1), dup(2)};
  snprintf(copy, sizeof(copy), "%s --ca-dir %s", words, dir);
  if (strncmp(words, "show", 4) == 0) snprintf(copy, sizeof(copy), "%s", words);
  for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) argv[argc++] = w;
  int fd = open(in_dir("said"), O_RDWR | O_CREAT | O_TRUNC, 0600);
  fflush(NULL);
  dup2(fd, 1);
  dup2(fd, 2);
  int rc = tl_pki_main(argc, argv);
  fflush(NULL);
  dup2(saved[0], 1);
  dup2(saved[1], 2);
  ssize_t n = pread(fd, said, sizeof(said) - 1, 0);
  said[n > 0 ? n : 0] = '\0';
  close(fd);
  close(saved[0]);
  close(saved[1]);
  return rc;
}

static X509 *cert(const char *name) {
  FILE *f = fopen(in_dir(name), "r");
  cr_assert(f, "%s", name);
  X509 *x = PEM_read_X509(f, NULL, NULL, NULL);
  fclose(f);
  cr_assert(x);
  return x;
}

static X509_CRL *crl(const char *name) {
  FILE *f = fopen(in_dir(name), "r");
  cr_assert(f, "%s", name);
  X509_CRL *c = PEM_read_X509_CRL(f, NULL, NULL, NULL);
  fclose(f);
  cr_assert(c);
  return c;
}

/* X509_V_* of LEAF under the root "ca", with MIDDLE and CRL's list if named. */
static int verdict(const char *leaf, const char *middle, const char *list) {
  X509_STORE *store = X509_STORE_new();
  X509_STORE_CTX *sc = X509_STORE_CTX_new();
  STACK_OF(X509) *between = sk_X509_new_null();
  X509 *root = cert("ca.pem"), *x = cert(leaf), *m = middle ? cert(middle) : NULL;
  X509_CRL *c = list ? crl(list) : NULL;
  X509_STORE_add_cert(store, root);
  if (m) sk_X509_push(between, m);
  if (c) X509_STORE_add_crl(store, c);
  if (c) X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
  X509_STORE_CTX_init(sc, store, x, between);
  X509_verify_cert(sc);
  int code = X509_STORE_CTX_get_error(sc);
  X509_STORE_CTX_free(sc);
  X509_STORE_free(store);
  sk_X509_pop_free(between, X509_free);
  X509_free(root);
  X509_free(x);
  X509_CRL_free(c);
  return code;
}

static unsigned mode(const char *name) {
  struct stat st;
  cr_assert_eq(stat(in_dir(name), &st), 0, "%s", name);
  return st.st_mode & 07777;
}

static bool there(const char *name) { return access(in_dir(name), F_OK) == 0; }

static long crl_number(void) {
  X509_CRL *c = crl("ca.crl");
  ASN1_INTEGER *n = X509_CRL_get_ext_d2i(c, NID_crl_number, NULL, NULL);
  long number = ASN1_INTEGER_get(n);
  ASN1_INTEGER_free(n);
  X509_CRL_free(c);
  return number;
}

Test(pki, d18_root_and_certificate_verify_and_keys_are_private) {
  cr_assert_eq(pki("root-ca --days 10"), 0, "%s", said);
  cr_assert_eq(pki("cert --domain atlanta.example --uri sip:alice@atlanta.example --ip ::1 "
                   "--ip 192.0.2.1 --email a@atlanta.example"),
               0, "%s", said);
  cr_assert_eq(mode("ca.key"), 0600u);
  cr_assert_eq(mode("atlanta.example.key"), 0600u);
  cr_assert_eq(verdict("atlanta.example.pem", NULL, NULL), X509_V_OK);
  X509 *x = cert("atlanta.example.pem");
  GENERAL_NAMES *san = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
  static const int kinds[] = {GEN_DNS, GEN_URI, GEN_URI, GEN_IPADD, GEN_IPADD, GEN_EMAIL};
  cr_assert_eq(sk_GENERAL_NAME_num(san), 6);
  for (int i = 0; i < 6; i++) cr_assert_eq(sk_GENERAL_NAME_value(san, i)->type, kinds[i]);
  cr_assert_eq(X509_check_host(x, "atlanta.example", 0, 0, NULL), 1);
  cr_assert_eq(X509_check_ip_asc(x, "192.0.2.1", 0), 1);
  cr_assert_eq(X509_check_ip_asc(x, "::1", 0), 1);
  cr_assert_eq(X509_check_purpose(x, X509_PURPOSE_SSL_SERVER, 0), 1);
  cr_assert_eq(X509_check_purpose(x, X509_PURPOSE_SSL_CLIENT, 0), 1);
  cr_assert_eq(X509_check_ca(x), 0);
  GENERAL_NAMES_free(san);
  X509_free(x);
}

Test(pki, d18_nothing_is_overwritten_without_force) {
  cr_assert_eq(pki("root-ca"), 0, "%s", said);
  X509 *before = cert("ca.pem");
  cr_assert_eq(pki("root-ca"), 1);
  cr_assert(strstr(said, "--force"), "%s", said);
  X509 *same = cert("ca.pem");
  cr_assert_eq(X509_cmp(before, same), 0);
  cr_assert_eq(pki("root-ca --force"), 0, "%s", said);
  X509 *other = cert("ca.pem");
  cr_assert_neq(X509_cmp(before, other), 0);
  cr_assert_eq(pki("cert --domain a.example"), 0, "%s", said);
  unlink(in_dir("a.example.pem")); /* the key alone is enough to refuse */
  cr_assert_eq(pki("cert --domain a.example"), 1);
  cr_assert(!there("a.example.pem"));
  X509_free(before);
  X509_free(same);
  X509_free(other);
}

Test(pki, d18_intermediate_goes_with_what_it_signs) {
  cr_assert_eq(pki("root-ca"), 0, "%s", said);
  cr_assert_eq(pki("intermediate --name regional"), 0, "%s", said);
  cr_assert_eq(pki("cert --ca regional --domain b.example --key rsa"), 0, "%s", said);
  cr_assert_eq(verdict("b.example.pem", "regional.pem", NULL), X509_V_OK);
  cr_assert_eq(verdict("b.example.pem", NULL, NULL), X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
  FILE *f = fopen(in_dir("b.example.pem"), "r");
  X509 *leaf = PEM_read_X509(f, NULL, NULL, NULL), *second = PEM_read_X509(f, NULL, NULL, NULL);
  X509 *third = PEM_read_X509(f, NULL, NULL, NULL);
  fclose(f);
  X509 *regional = cert("regional.pem");
  cr_assert_eq(X509_cmp(second, regional), 0);
  cr_assert_null(third, "the root goes to nobody");
  cr_assert(EVP_PKEY_is_a(X509_get0_pubkey(leaf), "RSA"));
  cr_assert_eq(pki("cert --ca b.example --domain c.example"), 1, "a leaf signs nothing");
  X509_free(leaf);
  X509_free(second);
  X509_free(regional);
}

Test(pki, d18_revoked_is_listed_and_refused) {
  cr_assert_eq(pki("root-ca"), 0, "%s", said);
  cr_assert_eq(pki("cert --domain a.example"), 0, "%s", said);
  cr_assert_eq(pki("cert --domain b.example"), 0, "%s", said);
  cr_assert_eq(pki("crl"), 0, "%s", said);
  cr_assert_eq(crl_number(), 1);
  cr_assert_eq(verdict("a.example.pem", NULL, "ca.crl"), X509_V_OK);
  cr_assert_eq(pki("revoke a.example --reason keycompromise --days 7"), 0, "%s", said);
  cr_assert_eq(crl_number(), 2);
  cr_assert_eq(verdict("a.example.pem", NULL, "ca.crl"), X509_V_ERR_CERT_REVOKED);
  cr_assert_eq(verdict("b.example.pem", NULL, "ca.crl"), X509_V_OK);
  cr_assert_eq(pki("revoke a.example"), 1, "twice");
  cr_assert_eq(pki("revoke b.example --reason boredom"), 1);
  cr_assert_eq(pki("revoke nobody"), 1);
  cr_assert_eq(verdict("b.example.pem", NULL, "ca.crl"), X509_V_OK);
  BIO *b = BIO_new_file(in_dir("ca.index"), "r");
  TXT_DB *db = TXT_DB_read(b, 6); /* as `openssl ocsp -index` does */
  cr_assert_eq(sk_OPENSSL_PSTRING_num(db->data), 2);
  cr_assert_eq(sk_OPENSSL_PSTRING_value(db->data, 0)[0][0], 'R');
  cr_assert_eq(sk_OPENSSL_PSTRING_value(db->data, 1)[0][0], 'V');
  TXT_DB_free(db);
  BIO_free(b);
}

Test(pki, d18_purposes_and_times_as_asked) {
  static const char sip_domain[] = "1.3.6.1.5.5.7.3.20";
  char oid[64];
  cr_assert_eq(pki("root-ca"), 0, "%s", said);
  cr_assert_eq(pki("cert --domain s.example --eku sip"), 0, "%s", said);
  X509 *x = cert("s.example.pem");
  EXTENDED_KEY_USAGE *eku = X509_get_ext_d2i(x, NID_ext_key_usage, NULL, NULL);
  cr_assert_eq(sk_ASN1_OBJECT_num(eku), 1);
  OBJ_obj2txt(oid, sizeof(oid), sk_ASN1_OBJECT_value(eku, 0), 1);
  cr_assert_str_eq(oid, sip_domain);
  sk_ASN1_OBJECT_pop_free(eku, ASN1_OBJECT_free);
  X509_free(x);
  cr_assert_eq(pki("cert --domain n.example --eku none"), 0, "%s", said);
  x = cert("n.example.pem");
  cr_assert_eq(X509_get_ext_by_NID(x, NID_ext_key_usage, -1), -1);
  X509_free(x);
  cr_assert_eq(pki("cert --domain old.example --from 2020-01-01 --until 2021-01-01T12:00:00Z"), 0,
               "%s", said);
  cr_assert_eq(verdict("old.example.pem", NULL, NULL), X509_V_ERR_CERT_HAS_EXPIRED);
}

Test(pki, d18_bad_words_are_refused_and_leave_nothing) {
  static const char *const bad[] = {"cert --domain a..b",
                                    "cert --domain a,URI:sip:evil.example",
                                    "cert --uri http://a.example --name u",
                                    "cert --ip 300.1.1.1 --name i",
                                    "cert --domain a.example --eku everything",
                                    "cert --domain a.example --key dsa",
                                    "cert --domain a.example --days 0",
                                    "cert --domain a.example --until 2001-01-01",
                                    "cert --domain a.example --name ../a",
                                    "cert --domain a.example --name ca",
                                    "cert --domain a.example --ca nobody",
                                    "cert --domain a.example --reason superseded",
                                    "cert --domain a.example --crl-url http://a/,URI:http://b/",
                                    "cert --domain a.example surplus",
                                    "cert",
                                    "crl --domain a.example",
                                    "bake",
                                    "show /nonexistent.pem"};
  cr_assert_eq(pki("root-ca"), 0, "%s", said);
  for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
    cr_assert_eq(pki(bad[i]), 1, "%s: %s", bad[i], said);
    cr_assert(strlen(said) > 10, "%s says nothing", bad[i]);
    cr_assert(!there("a.example.pem") && !there("a.example.key") && !there("ca.index"), "%s",
              bad[i]);
  }
}

Test(pki, d18_show_of_a_certificate_whose_key_nobody_knows) {
  char words[128];
  const struct kit_cert odd = kit_make(&(struct kit_options){.change = kit_odd_key});
  kit_write_cert(in_dir("odd.pem"), &odd, NULL);
  snprintf(words, sizeof(words), "show %s", in_dir("odd.pem"));
  cr_expect_eq(pki(words), 0, "%s", said);
  cr_expect(strstr(said, "key            cannot be read\n"), "%s", said);
  kit_free();
}

Test(pki, d18_show_tells_what_is_in_a_file_but_no_key) {
  char words[256];
  cr_assert_eq(pki("root-ca"), 0, "%s", said);
  cr_assert_eq(pki("cert --domain a.example --dns b.example --eku sip"), 0, "%s", said);
  cr_assert_eq(pki("revoke a.example"), 0, "%s", said);
  snprintf(words, sizeof(words), "show %s %s %s", in_dir("a.example.pem"), in_dir("ca.crl"),
           in_dir("a.example.key"));
  cr_assert_eq(pki(words), 0, "%s", said);
  X509 *x = cert("a.example.pem");
  BIGNUM *n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL);
  char *hex = BN_bn2hex(n);
  const char *first = strstr(said, hex);
  cr_assert(first && strstr(first + 1, hex), "serial in certificate and list: %s", said);
  cr_assert(strstr(said, "SIP domains    a.example\n"), "the URI alone speaks: %s", said);
  cr_assert(strstr(said, "DNS:b.example") && strstr(said, "RFC 5924"), "%s", said);
  cr_assert(strstr(said, "private key") && strstr(said, "0600"), "%s", said);
  cr_assert(!strstr(said, "BEGIN"), "%s", said);
  OPENSSL_free(hex);
  BN_free(n);
  X509_free(x);
}
