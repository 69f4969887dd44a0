/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates made to harm: each is shown in handshakes of both roles and
 * versions, which must end with the right alert, a reason, text that is safe to
 * log, and without much time or memory spent.
 */
#include <criterion/criterion.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/text.h"
#include "test_tls_duel.h"
#include "tieline/verify.h"

#define LEAF_EXT "subjectAltName=DNS:server.example"

static struct kit_cert root;

static void open_hostile(void) {
  pki_open();
  root = kit_make(&(struct kit_options){.subject = "CN=Root", .ext = {KIT_CA}});
  pki_trust((const struct kit_cert *[]){&root, NULL});
}

TestSuite(verify_hostile, .init = open_hostile, .fini = pki_close, .timeout = 120);

static void check_text(const char *s) {
  const uint8_t *p = (const uint8_t *)s;
  for (size_t n = strlen(s), k; n; p += k, n -= k) {
    uint32_t cp;
    k = tl_utf8_next(p, n, &cp);
    cr_assert(k, "no UTF-8 in %s", s);
    cr_assert_not(tl_text_unsafe(cp), "U+%04X in %s", cp, s);
  }
}

struct expected {
  int code, alert, cause; /* cause 0: TL_HS_VERIFY */
  const char *reason;     /* part of it, NULL: any */
};

static void one(const struct kit_cert *leaf, const struct kit_cert *const *sent, bool server,
                int version, const struct expected *e) {
  struct tl_tls_options o = duel_options();
  o.policy.verify_cert = o.policy.verify_name = o.policy.require_cert = true;
  struct tl_tls_domain *dom = duel_domain(&o);
  SSL_CTX *peer = SSL_CTX_new(server ? TLS_client_method() : TLS_server_method());
  SSL_CTX_set_min_proto_version(peer, version);
  SSL_CTX_set_max_proto_version(peer, version);
  kit_show(peer, leaf, sent);
  struct duel d;
  duel_begin(&d, peer, server, dom, "server.example", server ? NULL : "server.example");
  clock_t before = clock();
  duel_run(&d);
  cr_assert_lt((clock() - before) / CLOCKS_PER_SEC, 20, "it took too long");
  const struct tl_hs_failure *f = tl_hs_failure(d.hs);
  cr_assert_neq(d.rc, 0, "it was accepted");
  cr_assert_eq((int)f->cause, e->cause ? e->cause : (int)TL_HS_VERIFY, "%s", f->reason);
  cr_assert_eq(f->verify_code, e->code, "%ld %s", f->verify_code, f->reason);
  cr_assert_eq(f->alert_sent, e->alert, "%d %s", f->alert_sent, f->reason);
  cr_assert(f->reason[0]);
  if (e->reason) cr_assert(strstr(f->reason, e->reason), "%s", f->reason);
  check_text(f->subject);
  check_text(f->reason);
  duel_end(&d);
  SSL_CTX_free(peer);
  tl_tls_domain_unref(dom);
}

static void refused(const struct kit_cert *leaf, const struct kit_cert *const *sent,
                    const struct expected *e) {
  one(leaf, sent, true, TL_TLS_1_2, e);
  one(leaf, sent, true, TL_TLS_1_3, e);
  one(leaf, sent, false, TL_TLS_1_2, e);
  one(leaf, sent, false, TL_TLS_1_3, e);
}

/* Handshakes in which nobody verifies: the record of such a certificate must be bounded and clean.
 */
static struct tl_identity *recorded(const struct kit_cert *leaf) {
  struct tl_tls_options o = duel_options();
  struct tl_tls_domain *dom = duel_domain(&o);
  SSL_CTX *peer = SSL_CTX_new(TLS_server_method());
  kit_show(peer, leaf, NULL);
  struct duel d;
  struct tl_hs_result s;
  duel_begin(&d, peer, false, dom, "server.example", "server.example");
  duel_run(&d);
  cr_assert_eq(d.rc, 0, "%s", tl_hs_failure(d.hs)->reason);
  cr_assert_eq(tl_hs_take(d.hs, &s), 0);
  cr_assert_not(s.peer_verified || s.peer->verified);
  struct tl_identity *id = tl_identity_ref(s.peer);
  for (int i = 0; i < TL_ID_FIELDS; i++) check_text(tl_identity_field(id, (enum tl_id_field)i));
  for (size_t i = 0; i < id->n_san; i++) check_text(id->san[i].value);
  tl_hs_result_clear(&s);
  duel_end(&d);
  SSL_CTX_free(peer);
  tl_tls_domain_unref(dom);
  return id;
}

static struct kit_cert leaf_with(void (*change)(X509 *x)) {
  return kit_make(&(struct kit_options){.subject = "CN=leaf", .issuer = &root, .change = change});
}

/* ---- names ---- */

static void add_names(X509 *x, int n, const char *format) {
  GENERAL_NAMES *names = GENERAL_NAMES_new();
  for (int i = 0; i < n; i++) {
    char text[64];
    GENERAL_NAME *g = GENERAL_NAME_new();
    ASN1_IA5STRING *s = ASN1_IA5STRING_new();
    snprintf(text, sizeof(text), format, i);
    ASN1_STRING_set(s, text, -1);
    GENERAL_NAME_set0_value(g, GEN_DNS, s);
    sk_GENERAL_NAME_push(names, g);
  }
  cr_assert_eq(X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, 0), 1);
  GENERAL_NAMES_free(names);
}

static void ten_thousand_names(X509 *x) { add_names(x, 10000, "%x.b"); }
static void names_beyond_a_message(X509 *x) { add_names(x, 10000, "server-%d.example"); }

Test(verify_hostile, f8_ten_thousand_names) {
  struct kit_cert leaf = leaf_with(ten_thousand_names);
  refused(&leaf, NULL,
          &(struct expected){X509_V_ERR_CERT_REJECTED, SSL_AD_BAD_CERTIFICATE, 0, "1000 names"});
  struct tl_identity *id = recorded(&leaf);
  cr_assert_eq(id->n_san, TL_ID_SANS_MAX);
  tl_identity_unref(id);
}

Test(verify_hostile, f8_ten_thousand_names_against_many_constraints) {
  char limits[4096] = "nameConstraints=";
  for (int i = 0; i < 100; i++)
    snprintf(limits + strlen(limits), sizeof(limits) - strlen(limits), "%sexcluded;DNS:x%d.example",
             i ? "," : "", i);
  struct kit_cert mid =
      kit_make(&(struct kit_options){.subject = "CN=M", .issuer = &root, .ext = {KIT_CA, limits}});
  struct kit_cert leaf = kit_make(
      &(struct kit_options){.subject = "CN=l", .issuer = &mid, .change = ten_thousand_names});
  refused(&leaf, (const struct kit_cert *[]){&mid, NULL},
          &(struct expected){X509_V_ERR_CERT_REJECTED, SSL_AD_BAD_CERTIFICATE, 0, NULL});
}

Test(verify_hostile, f8_certificate_message_without_measure) {
  struct kit_cert leaf = leaf_with(names_beyond_a_message);
  refused(&leaf, NULL,
          &(struct expected){0, SSL_AD_ILLEGAL_PARAMETER, TL_HS_PROTOCOL, "excessive"});
}

static void add_raw_name(X509 *x, int kind, const char *bytes, int n) {
  GENERAL_NAMES *names = GENERAL_NAMES_new();
  GENERAL_NAME *g = GENERAL_NAME_new();
  ASN1_IA5STRING *s = ASN1_IA5STRING_new();
  ASN1_STRING_set(s, bytes, n);
  GENERAL_NAME_set0_value(g, kind, s);
  sk_GENERAL_NAME_push(names, g);
  cr_assert_eq(X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, 0), 1);
  GENERAL_NAMES_free(names);
}

static void nul_in_dns(X509 *x) { add_raw_name(x, GEN_DNS, "server.example\0.evil.example", 28); }
static void nul_in_uri(X509 *x) { add_raw_name(x, GEN_URI, "sip:server.example\0@evil", 24); }
static void line_in_dns(X509 *x) { add_raw_name(x, GEN_DNS, "server.example\nlevel=error", 26); }
static void escape_in_uri(X509 *x) { add_raw_name(x, GEN_URI, "sip:\033[2Jserver.example", 22); }
static void utf8_in_dns(X509 *x) {
  add_raw_name(x, GEN_DNS,
               "b\xc3\xbc"
               "cher.example",
               15);
}

Test(verify_hostile, f8_nul_and_controls_in_names) {
  static void (*const change[])(X509 *) = {nul_in_dns, nul_in_uri, line_in_dns, escape_in_uri,
                                           utf8_in_dns};
  for (size_t i = 0; i < sizeof(change) / sizeof(*change); i++) {
    struct kit_cert leaf = leaf_with(change[i]);
    refused(
        &leaf, NULL,
        &(struct expected){X509_V_ERR_UNSUPPORTED_NAME_SYNTAX, SSL_AD_BAD_CERTIFICATE, 0, "NUL"});
    struct tl_identity *id = recorded(&leaf);
    cr_assert(id->n_san == 0 && id->has_san);
    cr_assert_not(tl_identity_matches(id, TL_STR("server.example"), true));
    tl_identity_unref(id);
  }
}

static void subject_entry(X509 *x, const char *type, int kind, const char *bytes, int n) {
  cr_assert_eq(X509_NAME_add_entry_by_txt(X509_get_subject_name(x), type, kind,
                                          (const unsigned char *)bytes, n, -1, 0),
               1);
}

static void nul_in_common_name(X509 *x) {
  subject_entry(x, "CN", V_ASN1_UTF8STRING, "server.example\0.evil.example", 28);
}

Test(verify_hostile, f8_nul_in_the_common_name) {
  struct kit_cert leaf = kit_make(
      &(struct kit_options){.subject = "O=Lab", .issuer = &root, .change = nul_in_common_name});
  refused(&leaf, NULL,
          &(struct expected){X509_V_ERR_UNSUPPORTED_NAME_SYNTAX, SSL_AD_BAD_CERTIFICATE, 0,
                             "common name"});
  struct tl_identity *id = recorded(&leaf);
  cr_assert_not(tl_identity_matches(id, TL_STR("server.example"), true));
  tl_identity_unref(id);
}

static void forged_subject(X509 *x) {
  subject_entry(x, "CN", V_ASN1_UTF8STRING, "x\n2026-01-01 level=info msg=\"all is well\"\r\033[2J",
                46);
  subject_entry(x, "OU", V_ASN1_UTF8STRING,
                "\xc2\x9b"
                "31m \xe2\x80\xae"
                "oops\xe2\x80\xa8",
                17);
  subject_entry(x, "ST", V_ASN1_T61STRING, "caf\xe9\n", 5);
  subject_entry(x, "L", V_ASN1_BMPSTRING, "\0A\0\n\x20\x2e", 6); /* right-to-left override */
}

Test(verify_hostile, f8_subject_that_forges_log_lines) {
  struct kit_cert leaf = kit_make(
      &(struct kit_options){.subject = "C=DE", .ext = {LEAF_EXT}, .change = forged_subject});
  refused(
      &leaf, NULL,
      &(struct expected){X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, SSL_AD_UNKNOWN_CA, 0, NULL});
  struct tl_identity *id = recorded(&leaf);
  cr_assert_str_eq(tl_identity_field(id, TL_ID_SUBJECT_COUNTRY), "DE");
  cr_assert(strstr(id->subject, "\\0A"), "%s", id->subject);
  tl_identity_unref(id);
}

static void long_subject(X509 *x) {
  char *text = malloc(40000);
  memset(text, 'a', 40000);
  text[20000] = '\n';
  X509_NAME_add_entry_by_NID(X509_get_subject_name(x), NID_userId, V_ASN1_UTF8STRING,
                             (unsigned char *)text, 40000, -1, 0);
  free(text);
}

Test(verify_hostile, f8_subject_without_measure_is_cut) {
  struct kit_cert leaf =
      kit_make(&(struct kit_options){.subject = "CN=a", .ext = {LEAF_EXT}, .change = long_subject});
  struct tl_identity *id = recorded(&leaf);
  cr_assert(strlen(id->subject) <= 4096, "%zu", strlen(id->subject));
  tl_identity_unref(id);
}

/* ---- numbers ---- */

static void set_serial(X509 *x, int octets) {
  BIGNUM *bn = BN_new();
  BN_rand(bn, octets * 8 - 1, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY);
  BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(x));
  BN_free(bn);
}

static void serial_21(X509 *x) { set_serial(x, 21); }
static void serial_9000(X509 *x) { set_serial(x, 9000); }

Test(verify_hostile, f8_serial_number_without_measure) {
  static void (*const change[])(X509 *) = {serial_21, serial_9000};
  for (size_t i = 0; i < 2; i++) {
    struct kit_cert leaf = kit_make(&(struct kit_options){
        .subject = "CN=a", .issuer = &root, .ext = {LEAF_EXT}, .change = change[i]});
    refused(
        &leaf, NULL,
        &(struct expected){X509_V_ERR_CERT_REJECTED, SSL_AD_BAD_CERTIFICATE, 0, "serial number"});
    struct tl_identity *id = recorded(&leaf);
    cr_assert(strlen(tl_identity_field(id, TL_ID_SERIAL_DECIMAL)) < 200);
    tl_identity_unref(id);
  }
}

static void serial_20(X509 *x) { set_serial(x, 20); }

Test(verify_hostile, e18_serial_number_of_20_octets_is_fine) {
  struct tl_tls_options o = duel_options();
  o.policy.verify_cert = true;
  struct tl_tls_domain *dom = duel_domain(&o);
  struct kit_cert leaf = kit_make(&(struct kit_options){
      .subject = "CN=a", .issuer = &root, .ext = {LEAF_EXT}, .change = serial_20});
  struct tl_identity *id = kit_identity(&leaf, NULL);
  struct tl_verdict v;
  cr_assert_eq(tl_tls_verify_identity(dom, true, id, TL_STR(""), 0, &v), 0, "%s", v.why);
  cr_assert_eq(strlen(tl_identity_field(id, TL_ID_SERIAL)), 40);
  BIGNUM *hex = NULL, *dec = NULL;
  BN_hex2bn(&hex, tl_identity_field(id, TL_ID_SERIAL));
  BN_dec2bn(&dec, tl_identity_field(id, TL_ID_SERIAL_DECIMAL));
  cr_assert_eq(BN_cmp(hex, dec), 0);
  BN_free(hex);
  BN_free(dec);
  tl_identity_unref(id);
  tl_tls_domain_unref(dom);
}

/* 2^P - 1, a prime for the P used here: a long key without a long search. */
static BIGNUM *mersenne(int p) {
  BIGNUM *n = BN_new();
  BN_set_bit(n, p);
  BN_sub_word(n, 1);
  return n;
}

static EVP_PKEY *long_rsa(int p_bits, int q_bits) {
  BN_CTX *ctx = BN_CTX_new();
  BIGNUM *p = mersenne(p_bits), *q = mersenne(q_bits), *n = BN_new(), *e = BN_new(),
         *p1 = BN_dup(p), *q1 = BN_dup(q), *phi = BN_new();
  BN_sub_word(p1, 1);
  BN_sub_word(q1, 1);
  BN_mul(n, p, q, ctx);
  BN_mul(phi, p1, q1, ctx);
  BN_set_word(e, 65537);
  BIGNUM *d = BN_mod_inverse(NULL, e, phi, ctx);
  OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
  OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_N, n);
  OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_E, e);
  OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_D, d);
  OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(b);
  EVP_PKEY_CTX *make = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
  EVP_PKEY *key = NULL;
  EVP_PKEY_fromdata_init(make);
  cr_assert_eq(EVP_PKEY_fromdata(make, &key, EVP_PKEY_KEYPAIR, params), 1);
  EVP_PKEY_CTX_free(make);
  OSSL_PARAM_free(params);
  OSSL_PARAM_BLD_free(b);
  BIGNUM *all[] = {p, q, n, e, p1, q1, phi, d};
  for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) BN_free(all[i]);
  BN_CTX_free(ctx);
  return key;
}

Test(verify_hostile, f8_keys_without_measure) {
  EVP_PKEY *key = long_rsa(4423, 4253); /* 8676 bits */
  struct kit_cert leaf = kit_make(
      &(struct kit_options){.subject = "CN=a", .issuer = &root, .key = key, .ext = {LEAF_EXT}});
  refused(&leaf, NULL,
          &(struct expected){X509_V_ERR_CERT_REJECTED, SSL_AD_BAD_CERTIFICATE, 0, "8192 bits"});
  struct kit_cert mid = kit_make(
      &(struct kit_options){.subject = "CN=M", .issuer = &root, .key = key, .ext = {KIT_CA}});
  struct kit_cert below =
      kit_make(&(struct kit_options){.subject = "CN=b", .issuer = &mid, .ext = {LEAF_EXT}});
  refused(&below, (const struct kit_cert *[]){&mid, NULL},
          &(struct expected){X509_V_ERR_CERT_REJECTED, SSL_AD_BAD_CERTIFICATE, 0, "8192 bits"});
  EVP_PKEY_free(key);
}

/* OpenSSL itself ends at 16,384 bits: nothing that long is computed with at all. */
Test(verify_hostile, f8_key_of_20000_bits_costs_nothing) {
  EVP_PKEY *key = long_rsa(9941, 9689);
  struct kit_cert leaf = kit_make(
      &(struct kit_options){.subject = "CN=a", .issuer = &root, .key = key, .ext = {LEAF_EXT}});
  struct tl_tls_options o = duel_options();
  o.policy.verify_cert = true;
  struct tl_tls_domain *dom = duel_domain(&o);
  struct tl_identity *id = kit_identity(&leaf, NULL);
  struct tl_verdict v;
  clock_t before = clock();
  cr_assert_eq(tl_tls_verify_identity(dom, true, id, TL_STR(""), 0, &v), TL_EVERIFY);
  cr_assert_lt((clock() - before) / CLOCKS_PER_SEC, 2);
  cr_assert_eq(v.alert, SSL_AD_BAD_CERTIFICATE, "%s", v.why);
  tl_identity_unref(id);
  tl_tls_domain_unref(dom);
  EVP_PKEY_free(key);
}

/* ---- chains ---- */

Test(verify_hostile, f8_chain_without_measure) {
  enum { N = 150 };
  static struct kit_cert link[N];
  const struct kit_cert *sent[N + 1] = {NULL};
  for (int i = 0; i < N; i++) {
    char subject[32];
    snprintf(subject, sizeof(subject), "CN=%d", i);
    link[i] = kit_make(&(struct kit_options){
        .subject = subject, .issuer = i ? &link[i - 1] : &root, .ext = {KIT_CA}});
    sent[N - 1 - i] = &link[i];
  }
  struct kit_cert leaf = kit_make(
      &(struct kit_options){.subject = "CN=leaf", .issuer = &link[N - 1], .ext = {LEAF_EXT}});
  refused(&leaf, sent,
          &(struct expected){X509_V_ERR_CERT_CHAIN_TOO_LONG, SSL_AD_UNKNOWN_CA, 0, NULL});
}

Test(verify_hostile, f8_issuers_in_a_circle) {
  struct kit_cert a = kit_make(&(struct kit_options){.subject = "CN=A", .ext = {KIT_CA}}),
                  b = kit_make(
                      &(struct kit_options){.subject = "CN=B", .issuer = &a, .ext = {KIT_CA}}),
                  a_by_b = kit_make(&(struct kit_options){
                      .subject = "CN=A", .issuer = &b, .key = a.key, .ext = {KIT_CA}}),
                  leaf = kit_make(&(struct kit_options){
                      .subject = "CN=l", .issuer = &a_by_b, .ext = {LEAF_EXT}});
  refused(
      &leaf, (const struct kit_cert *[]){&a_by_b, &b, NULL},
      &(struct expected){X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, SSL_AD_UNKNOWN_CA, 0, NULL});
}

/* Nothing is ever fetched from where a certificate says its issuer is. */
Test(verify_hostile, f8_issuer_addresses_in_a_circle) {
  static const char aia[] = "authorityInfoAccess=caIssuers;URI:http://127.0.0.1:9/a.cer,"
                            "caIssuers;URI:http://127.0.0.1:9/b.cer";
  struct kit_cert mid =
      kit_make(&(struct kit_options){.subject = "CN=M", .issuer = &root, .ext = {KIT_CA, aia}});
  struct kit_cert leaf =
      kit_make(&(struct kit_options){.subject = "CN=l", .issuer = &mid, .ext = {LEAF_EXT, aia}});
  refused(
      &leaf, NULL,
      &(struct expected){X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, SSL_AD_UNKNOWN_CA, 0, NULL});
}

Test(verify_hostile, f8_name_outside_of_constraints) {
  struct kit_cert mid = kit_make(&(struct kit_options){
      .subject = "CN=M",
      .issuer = &root,
      .ext = {KIT_CA, "nameConstraints=critical,permitted;DNS:other.example"}});
  struct kit_cert leaf =
      kit_make(&(struct kit_options){.subject = "CN=l", .issuer = &mid, .ext = {LEAF_EXT}});
  refused(&leaf, (const struct kit_cert *[]){&mid, NULL},
          &(struct expected){X509_V_ERR_PERMITTED_VIOLATION, SSL_AD_BAD_CERTIFICATE, 0, NULL});
}

Test(verify_hostile, f8_weak_signatures) {
  struct kit_cert mid = kit_make(
      &(struct kit_options){.subject = "CN=M", .issuer = &root, .rsa_bits = 2048, .ext = {KIT_CA}});
  const EVP_MD *md[] = {EVP_sha1(), EVP_md5()};
  for (size_t i = 0; i < 2; i++) {
    struct kit_cert leaf = kit_make(
        &(struct kit_options){.subject = "CN=l", .issuer = &mid, .md = md[i], .ext = {LEAF_EXT}});
    refused(&leaf, (const struct kit_cert *[]){&mid, NULL},
            &(struct expected){X509_V_ERR_CA_MD_TOO_WEAK, SSL_AD_BAD_CERTIFICATE, 0, NULL});
  }
}

Test(verify_hostile, f8_unknown_critical_extension) {
  struct kit_cert leaf = kit_make(&(struct kit_options){
      .subject = "CN=l", .issuer = &root, .ext = {LEAF_EXT, "1.2.3.4=critical,ASN1:UTF8:x"}});
  refused(&leaf, NULL,
          &(struct expected){X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION, SSL_AD_CERTIFICATE_UNKNOWN, 0,
                             NULL});
}
