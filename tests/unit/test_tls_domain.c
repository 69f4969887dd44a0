/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS domains from options: what is refused and with which sentence, suites,
 * roles, and the order in which one of several is chosen.
 */
#include <criterion/criterion.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test_tls_pki.h"
#include "tieline/crl.h"
#include "tieline/time.h"

static char err[512];
static const char *option;
static const char *certs[4], *keys[4];

TestSuite(tls_domain, .init = pki_open, .fini = pki_close);

static struct tl_tls_options good(const char *cert) {
  char name[64];
  snprintf(name, sizeof(name), "%s.pem", cert);
  certs[0] = pki_path(name);
  snprintf(name, sizeof(name), "%s.key", cert);
  keys[0] = pki_path(name);
  certs[1] = keys[1] = NULL;
  return (struct tl_tls_options){.name = "lab",
                                 .certificate = certs,
                                 .private_key = keys,
                                 .ca_list = pki_path("ca.pem"),
                                 .policy.verify_cert = true,
                                 .policy.send_ca_names = true,
                                 .policy.resumption = true,
                                 .policy.verify_depth = 9,
                                 .min_version = TL_TLS_1_2,
                                 .max_version = TL_TLS_1_3,
                                 .policy.tickets = 2,
                                 .server = true,
                                 .client = true};
}

static struct tl_tls_domain *make(const struct tl_tls_options *o) {
  struct tl_tls_domain *d = NULL;
  int rc = tl_tls_domain_new(o, err, sizeof(err), &option, &d);
  cr_assert_eq(rc, 0, "%s", err);
  return d;
}

static void refuse(const struct tl_tls_options *o, const char *blamed, const char *text) {
  struct tl_tls_domain *d = (void *)&d;
  err[0] = '\0';
  option = NULL;
  cr_assert_eq(tl_tls_domain_new(o, err, sizeof(err), &option, &d), TL_ECONFIG, "wanted: %s", text);
  cr_assert_null(d);
  cr_assert_str_eq(option, blamed, "%s: %s", option, err);
  cr_assert(strstr(err, text), "\"%s\" lacks \"%s\"", err, text);
}

Test(tls_domain, built_with_facts_of_its_certificate) {
  struct tl_tls_options o = good("server");
  struct tl_tls_domain *d = make(&o);
  cr_assert(d->server && d->client);
  cr_assert_str_eq(d->subject, "CN=server.example,O=Lab");
  cr_assert(strlen(d->serial) > 0);
  cr_assert(d->not_after > time(NULL) + 300 * 86400L);
  struct tl_tls_domain *second = make(&o);
  cr_assert_neq(d->generation, second->generation);
  tl_tls_domain_unref(second);
  tl_tls_domain_unref(d);
}

Test(tls_domain, missing_file_is_named) {
  struct tl_tls_options o = good("server");
  certs[0] = pki_path("nothing.pem");
  refuse(&o, "certificate", "nothing.pem: No such file");
  o = good("server");
  keys[0] = pki_path("nothing.key");
  refuse(&o, "private_key", "nothing.key: No such file");
  o = good("server");
  o.ca_list = pki_path("no-ca.pem");
  refuse(&o, "ca_list", "no-ca.pem: No such file");
  o = good("server");
  o.ca_dir = pki_path("no-dir");
  refuse(&o, "ca_dir", "no-dir: No such file");
  o = good("server");
  certs[0] = "/tmp";
  refuse(&o, "certificate", "it is a directory");
}

Test(tls_domain, key_of_another_certificate) {
  struct tl_tls_options o = good("server");
  keys[0] = pki_path("client.key");
  refuse(&o, "private_key", "does not belong to the certificate in");
  keys[0] = NULL;
  refuse(&o, "private_key", "1 certificate files need as many private_key files, not 0");
}

Test(tls_domain, d6_key_mode_checked) {
  struct tl_tls_options o = good("server");
  cr_assert_eq(chmod(pki_path("server.key"), 0644), 0);
  refuse(&o, "private_key", "open to every user of this machine (mode 644)");
  o.allow_readable_key = true;
  tl_tls_domain_unref(make(&o));
  o.allow_readable_key = false;
  cr_assert_eq(chmod(pki_path("server.key"), 0640), 0);
  tl_tls_domain_unref(make(&o));
}

Test(tls_domain, empty_and_damaged_files) {
  struct tl_tls_options o = good("server");
  pki_write_text("empty.pem", "");
  pki_write_text("bad.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  o.ca_list = pki_path("empty.pem");
  refuse(&o, "ca_list", "empty.pem holds no certificate");
  o.ca_list = pki_path("bad.pem");
  refuse(&o, "ca_list", "bad.pem is damaged");
  o = good("server");
  certs[0] = pki_path("empty.pem");
  refuse(&o, "certificate", "empty.pem holds no certificate");
  certs[0] = pki_path("bad.pem");
  refuse(&o, "certificate", "bad.pem holds a damaged certificate");
  o = good("server");
  keys[0] = pki_path("empty.pem");
  o.allow_readable_key = true;
  refuse(&o, "private_key", "holds no private key");
  o = good("server");
  o.crl_file = pki_path("ca.pem");
  refuse(&o, "crl_file", "holds no revocation list");
}

Test(tls_domain, contradictions) {
  struct tl_tls_options o = good("server");
  o.policy.verify_cert = false;
  o.policy.require_cert = true;
  refuse(&o, "require_cert", "contradicts verify_cert = false");
  o = good("server");
  o.crl_check_all = true;
  refuse(&o, "crl_check_all", "needs crl_file, crl_dir or crl_fetch");
  o = good("server");
  o.min_version = TL_TLS_1_3;
  o.max_version = TL_TLS_1_2;
  refuse(&o, "tls_method", "lowest version is above the highest");
  o.min_version = 0x0301;
  refuse(&o, "tls_method", "only TLS 1.2 and TLS 1.3");
  o = good("server");
  o.server = o.client = false;
  refuse(&o, "role", "server role, the client role or both");
  o.server = true;
  certs[0] = NULL;
  keys[0] = NULL;
  refuse(&o, "certificate", "server role needs a certificate");
}

Test(tls_domain, d8_suites_without_keys_here_are_refused) {
  static const char *const bad[] = {"ECDHE-RSA-AES128-SHA256", "NULL-SHA256",
                                    "ADH-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-CCM",
                                    "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-SHA384"};
  struct tl_tls_options o = good("server");
  for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
    o.ciphers_list = bad[i];
    refuse(&o, "ciphers_list", "is not supported");
  }
  o.ciphers_list = "NULL";
  refuse(&o, "ciphers_list", "leaves no suite");
  o.ciphers_list = "ECDHE-RSA-AES128-GCM-SHA265";
  refuse(&o, "ciphers_list", "no cipher suite called \"ECDHE-RSA-AES128-GCM-SHA265\"");
  o.ciphers_list = NULL;
  o.ciphersuites = "TLS_AES_128_CCM_SHA256";
  refuse(&o, "ciphersuites", "\"TLS_AES_128_CCM_SHA256\" is not supported");
  o.ciphersuites = "TLS_AES_128_GCM_SHA25";
  refuse(&o, "ciphersuites", "is not supported");
}

static void only_aead(SSL_CTX *ctx) {
  STACK_OF(SSL_CIPHER) *sk = SSL_CTX_get_ciphers(ctx);
  cr_assert(sk_SSL_CIPHER_num(sk) > 0);
  for (int i = 0; i < sk_SSL_CIPHER_num(sk); i++) {
    int nid = SSL_CIPHER_get_cipher_nid(sk_SSL_CIPHER_value(sk, i));
    cr_assert(nid == NID_aes_128_gcm || nid == NID_aes_256_gcm || nid == NID_chacha20_poly1305,
              "%s", SSL_CIPHER_get_name(sk_SSL_CIPHER_value(sk, i)));
  }
}

Test(tls_domain, d8_group_words_are_reduced_to_aead) {
  struct tl_tls_options o = good("server");
  o.ciphers_list = "HIGH:!aNULL";
  struct tl_tls_domain *d = make(&o);
  only_aead(d->server);
  only_aead(d->client);
  tl_tls_domain_unref(d);
  o.ciphers_list = NULL;
  d = make(&o);
  only_aead(d->server);
  tl_tls_domain_unref(d);
}

Test(tls_domain, d5_rsa_and_ecdsa_pair_but_not_twice_the_same) {
  struct kit_cert rsa = kit_make(&(struct kit_options){.subject = "O=Lab/CN=server.example",
                                                       .ext = {"subjectAltName=DNS:server.example"},
                                                       .issuer = &pki_ca,
                                                       .rsa_bits = 2048});
  pki_write("rsa", &rsa, NULL);
  struct tl_tls_options o = good("server");
  certs[1] = pki_path("rsa.pem");
  keys[1] = pki_path("rsa.key");
  certs[2] = keys[2] = NULL;
  tl_tls_domain_unref(make(&o));
  certs[1] = certs[0];
  keys[1] = keys[0];
  refuse(&o, "certificate", "same kind of key, issuer and names");
}

Test(tls_domain, f11_certificates_out_of_their_time_are_refused) {
  struct tl_tls_options o = good("expired");
  char want[128], when[TL_TIME_STRLEN];
  o.allow_expired = true;
  struct tl_tls_domain *d = make(&o);
  cr_assert(d->not_after < time(NULL));
  o.allow_expired = false;
  snprintf(want, sizeof(want), "expired.pem has expired on %s; renew it",
           tl_time_text(d->not_after, when));
  refuse(&o, "certificate", want);
  tl_tls_domain_unref(d);
  struct kit_cert early = kit_make(&(struct kit_options){.subject = "O=Lab/CN=a.example",
                                                         .ext = {"subjectAltName=DNS:a.example"},
                                                         .issuer = &pki_ca,
                                                         .from = "2",
                                                         .to = "9"});
  pki_write("early", &early, NULL);
  o = good("early");
  refuse(&o, "certificate", "early.pem is not valid before 20");
  o.allow_expired = true;
  tl_tls_domain_unref(make(&o));
}

/* A list that bears a name of ours and was signed by another is refused. */
Test(tls_domain, e16_lists_of_other_issuers_are_refused) {
  struct tl_tls_options o = good("server");
  struct kit_cert forged =
      kit_make(&(struct kit_options){.subject = "O=Lab/CN=Lab CA", .ext = {KIT_CA}});
  pki_write_crl("forged", &forged, NULL);
  o.crl_file = pki_path("ca.crl");
  tl_tls_domain_unref(make(&o));
  o.crl_file = pki_path("forged.crl");
  refuse(&o, "crl_file", "is not signed by /O=Lab/CN=Lab CA, whose name it bears");
}

/* One whose authority a chain may still bring is taken, from a file and from a directory. */
Test(tls_domain, s20_lists_of_authorities_not_known_yet_are_taken) {
  struct tl_tls_options o = good("server");
  struct tl_crl_info info[3];
  struct kit_cert other =
      kit_make(&(struct kit_options){.subject = "O=Lab/CN=Third CA", .ext = {KIT_CA}});
  pki_write_crl("third", &other, NULL);
  o.crl_file = pki_path("third.crl");
  struct tl_tls_domain *d = make(&o);
  cr_expect_eq(tl_crls_list(d->crls, info, 3), 1);
  tl_tls_domain_unref(d);
  cr_assert_eq(mkdir(pki_path("crls"), 0700), 0);
  pki_write_crl("crls/third", &other, NULL);
  for (size_t n = 1; n <= 2; n++) {
    o = good("server");
    o.crl_dir = pki_path("crls");
    d = make(&o);
    cr_expect_eq(tl_crls_list(d->crls, info, 3), n);
    tl_tls_domain_unref(d);
    pki_write_crl("crls/ca", &pki_ca, NULL);
  }
  unlink(pki_path("crls/third.crl"));
  unlink(pki_path("crls/ca.crl"));
  rmdir(pki_path("crls"));
}

static void as_delta(X509_CRL *crl) {
  ASN1_INTEGER *base = ASN1_INTEGER_new();
  ASN1_INTEGER_set(base, 1);
  cr_assert_eq(X509_CRL_add1_ext_i2d(crl, NID_delta_crl, base, 1, 0), 1);
  ASN1_INTEGER_free(base);
}

static void with_point(X509_CRL *crl, bool indirect, bool users) {
  ISSUING_DIST_POINT *idp = ISSUING_DIST_POINT_new();
  idp->indirectCRL = indirect ? 0xff : 0;
  idp->onlyuser = users ? 0xff : 0;
  cr_assert_eq(X509_CRL_add1_ext_i2d(crl, NID_issuing_distribution_point, idp, 1, 0), 1);
  ISSUING_DIST_POINT_free(idp);
}

static void as_indirect(X509_CRL *crl) { with_point(crl, true, false); }
static void of_users(X509_CRL *crl) { with_point(crl, false, true); }

static void as_unknown(X509_CRL *crl) {
  ASN1_OBJECT *oid = OBJ_txt2obj("1.2.3.4", 1);
  ASN1_OCTET_STRING *null = ASN1_OCTET_STRING_new();
  cr_assert_eq(ASN1_OCTET_STRING_set(null, (const unsigned char *)"\5\0", 2), 1);
  X509_EXTENSION *e = X509_EXTENSION_create_by_OBJ(NULL, oid, 1, null);
  cr_assert_eq(X509_CRL_add_ext(crl, e, -1), 1);
  X509_EXTENSION_free(e);
  ASN1_OCTET_STRING_free(null);
  ASN1_OBJECT_free(oid);
}

/* RFC 5280 5.2: what is not a complete list must not pass for one. */
Test(tls_domain, b19_lists_that_are_not_complete_are_refused) {
  const struct {
    void (*change)(X509_CRL *crl);
    const char *why;
  } lists[] = {{as_delta, "holds a delta list"},
               {as_indirect, "holds an indirect list"},
               {as_unknown, "holds a list with a critical extension that is not known"}};
  struct tl_tls_options o;
  for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
    pki_write_crl_with("odd", &pki_ca, NULL, lists[i].change);
    o = good("server");
    o.crl_file = pki_path("odd.crl");
    refuse(&o, "crl_file", lists[i].why);
  }
  pki_write_crl_with("odd", &pki_ca, NULL, of_users);
  o = good("server");
  o.crl_file = pki_path("odd.crl");
  tl_tls_domain_unref(make(&o));
  /* in a directory a delta list lies beside the complete one */
  cr_assert_eq(mkdir(pki_path("crls"), 0700), 0);
  pki_write_crl_with("crls/delta", &pki_ca, NULL, as_delta);
  pki_write_crl("crls/ca", &pki_ca, NULL);
  o = good("server");
  o.crl_dir = pki_path("crls");
  tl_tls_domain_unref(make(&o));
  unlink(pki_path("crls/ca.crl"));
  o = good("server");
  o.crl_dir = pki_path("crls");
  refuse(&o, "crl_dir", "holds a revocation list");
  unlink(pki_path("crls/delta.crl"));
  rmdir(pki_path("crls"));
}

Test(tls_domain, e10_dh_params_are_read_and_judged) {
  static const char *const files[] = {"ffdhe2048", "dh_1024_160"};
  struct tl_tls_options o = good("server");
  for (int i = 0; i < 2; i++) {
    char name[32];
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_name(NULL, "DH", NULL);
    EVP_PKEY *dh = NULL;
    OSSL_PARAM p[] = {OSSL_PARAM_construct_utf8_string("group", (char *)(uintptr_t)files[i], 0),
                      OSSL_PARAM_construct_end()};
    cr_assert(EVP_PKEY_paramgen_init(c) == 1 && EVP_PKEY_CTX_set_params(c, p) == 1 &&
              EVP_PKEY_generate(c, &dh) == 1);
    snprintf(name, sizeof(name), "%s.pem", files[i]);
    BIO *b = BIO_new_file(pki_path(name), "w");
    PEM_write_bio_Parameters(b, dh);
    BIO_free(b);
    EVP_PKEY_free(dh);
    EVP_PKEY_CTX_free(c);
  }
  o.dh_params = pki_path("ffdhe2048.pem");
  struct tl_tls_domain *d = make(&o);
  bool dhe = false;
  STACK_OF(SSL_CIPHER) *sk = SSL_CTX_get_ciphers(d->server);
  for (int i = 0; i < sk_SSL_CIPHER_num(sk); i++)
    dhe = dhe || SSL_CIPHER_get_kx_nid(sk_SSL_CIPHER_value(sk, i)) == NID_kx_dhe;
  cr_assert(dhe, "with parameters DHE suites are offered");
  tl_tls_domain_unref(d);
  o.dh_params = pki_path("dh_1024_160.pem");
  refuse(&o, "dh_params", "have 1024 bits: use at least 2048");
  o.dh_params = pki_path("server.pem");
  refuse(&o, "dh_params", "holds no Diffie-Hellman parameters");
}

Test(tls_domain, a2_ca_names_come_from_the_list) {
  struct tl_tls_options o = good("server");
  struct tl_tls_domain *d = make(&o);
  STACK_OF(X509_NAME) *sk = SSL_CTX_get_client_CA_list(d->server);
  cr_assert_eq(sk_X509_NAME_num(sk), 1);
  cr_assert_eq(X509_NAME_cmp(sk_X509_NAME_value(sk, 0), X509_get_subject_name(pki_ca.x)), 0);
  tl_tls_domain_unref(d);
}

Test(tls_domain, a2_ca_names_that_do_not_fit_are_not_sent) {
  enum { MANY = 700 };
  char unit[80], name[256];
  FILE *f = fopen(pki_path("many.pem"), "w");
  for (int i = 0; i < MANY; i++) {
    memset(unit, 'a', 60);
    snprintf(unit + 60, sizeof(unit) - 60, "%d", i);
    snprintf(name, sizeof(name), "O=Lab/CN=Lab CA/OU=%s/OU=%s", unit, unit);
    struct kit_cert c = kit_make(&(struct kit_options){
        .subject = name, .issuer = &pki_ca, .ext = {KIT_CA}, .key = pki_ca.key});
    char *text = kit_cert_text(&c);
    fputs(text, f);
    free(text);
  }
  fclose(f);
  struct tl_tls_options o = good("server");
  o.ca_list = pki_path("many.pem");
  struct tl_tls_domain *d = make(&o);
  cr_assert_leq(sk_X509_NAME_num(SSL_CTX_get_client_CA_list(d->server)), 0);
  tl_tls_domain_unref(d);
}

Test(tls_domain, names_and_addresses_are_checked) {
  struct tl_tls_options o = good("server");
  const char *names[] = {"a.*.example", NULL}, *ips[] = {"not-an-ip", NULL};
  o.match_sip_domain = names;
  refuse(&o, "match_sip_domain", "\"a.*.example\" is not a valid domain name");
  o.match_sip_domain = NULL;
  o.match_ip_address = ips;
  refuse(&o, "match_ip_address", "\"not-an-ip\" is not a valid address");
}

/* ---- the order of choice ---- */

static struct tl_tls_domain *named(const char *name, const char **sip, const char **ip) {
  struct tl_tls_options o = good("server");
  o.name = name;
  o.match_sip_domain = sip;
  o.match_ip_address = ip;
  return make(&o);
}

static struct tl_tls_domain *choose_server(const struct tl_tls_set *set, struct tl_str sni,
                                           struct tl_tls_domain *listener,
                                           const struct tl_addr *local, enum tl_choice *out_rule) {
  struct tl_tls_ask ask = {.server = true, .name = sni, .listener = listener, .addr = local};
  return tl_tls_choose(set, &ask, NULL, out_rule);
}

Test(tls_domain, d15_order_of_choice) {
  const char *exact[] = {"Server.Example.", NULL}, *wild[] = {"*.example", NULL};
  const char *ip[] = {"127.0.0.1:5061", NULL};
  struct tl_tls_domain *all[] = {named("wild", wild, NULL), named("exact", exact, NULL),
                                 named("address", NULL, ip), named("default", NULL, NULL)};
  struct tl_tls_set set = {.domain = all, .n = 4, .fallback = all[3]};
  struct tl_addr local, other;
  enum tl_choice rule;
  tl_addr_parse(TL_STR("127.0.0.1"), 5061, &local);
  tl_addr_parse(TL_STR("127.0.0.1"), 5062, &other);
#define PICK(sni, listener, addr) choose_server(&set, TL_STR(sni), listener, addr, &rule)
  cr_assert_eq(PICK("server.EXAMPLE", all[2], &local), all[1]);
  cr_assert_eq(rule, TL_CHOICE_SNI_EXACT);
  cr_assert_eq(PICK("server.example.", all[2], &local), all[1]);
  cr_assert_eq(PICK("other.example", all[2], &local), all[0]);
  cr_assert_eq(rule, TL_CHOICE_SNI_WILDCARD);
  cr_assert_eq(PICK("a.b.example", all[2], &local), all[2]); /* the star is one label */
  cr_assert_eq(rule, TL_CHOICE_LISTENER);
  cr_assert_eq(PICK("", NULL, &local), all[2]);
  cr_assert_eq(rule, TL_CHOICE_ADDRESS);
  cr_assert_eq(PICK("", NULL, &other), all[3]);
  cr_assert_eq(rule, TL_CHOICE_DEFAULT);
  set.fallback = NULL;
  cr_assert_null(PICK("unknown.org", NULL, &other));
  cr_assert_eq(rule, TL_CHOICE_NONE);
#undef PICK
  cr_assert_eq(tl_tls_choose_client(&set, TL_STR("x.example"), &other, &rule), all[0]);
  cr_assert_eq(rule, TL_CHOICE_SNI_WILDCARD);
  cr_assert_eq(tl_tls_choose_client(&set, TL_STR("192.0.2.1"), &local, &rule), all[2]);
  cr_assert_eq(rule, TL_CHOICE_ADDRESS);
  for (int i = 0; i < 4; i++) tl_tls_domain_unref(all[i]);
}

Test(tls_domain, e26_names_and_addresses_both_must_fit) {
  const char *name[] = {"server.example", NULL}, *any[] = {"*", NULL};
  const char *one[] = {"127.0.0.1:5061", NULL}, *two[] = {"127.0.0.1:5062", "10.0.0.1", NULL};
  struct tl_tls_domain *all[] = {named("one", name, one), named("two", name, two),
                                 named("any", NULL, any)};
  struct tl_tls_set set = {.domain = all, .n = 3, .fallback = NULL};
  struct tl_addr a, b, c, d;
  enum tl_choice rule;
  tl_addr_parse(TL_STR("127.0.0.1"), 5061, &a);
  tl_addr_parse(TL_STR("127.0.0.1"), 5062, &b);
  tl_addr_parse(TL_STR("10.0.0.1"), 9, &c);
  tl_addr_parse(TL_STR("10.0.0.2"), 9, &d);
#define PICK(sni, addr) choose_server(&set, TL_STR(sni), NULL, addr, &rule)
  cr_expect_eq(PICK("server.example", &a), all[0]);
  cr_expect_eq(rule, TL_CHOICE_SNI_EXACT);
  cr_expect_eq(PICK("server.example", &b), all[1]);
  cr_expect_eq(PICK("server.example", &c), all[1]);
  cr_expect_eq(PICK("server.example", &d), all[2], "listed by none here");
  cr_expect_eq(rule, TL_CHOICE_ADDRESS);
  cr_expect_eq(PICK("", &b), all[1], "without a name the address alone");
  cr_expect_eq(PICK("other.example", &b), all[2], "another name than those listed");
#undef PICK
  for (int i = 0; i < 3; i++) tl_tls_domain_unref(all[i]);
}

Test(tls_domain, b9_strict_sni_refuses_names_not_listed) {
  const char *name[] = {"server.example", NULL};
  struct tl_tls_options o = good("server");
  o.policy.strict_sni = true;
  o.match_sip_domain = name;
  struct tl_tls_domain *d = make(&o);
  struct tl_tls_set set = {.domain = &d, .n = 1, .fallback = d};
  struct tl_tls_candidate c[4];
  struct tl_tls_trace t = {.candidate = c, .cap = 4};
  struct tl_tls_ask ask = {.server = true, .name = TL_STR("unknown.example"), .listener = d};
  cr_expect_null(tl_tls_choose(&set, &ask, &t, NULL));
  cr_expect_eq(t.n, 1);
  cr_expect_str_eq(c[0].why, "strict_sni: it does not list the name asked for");
  ask.name = TL_STR("SERVER.example");
  cr_expect_eq(tl_tls_choose(&set, &ask, &t, NULL), d);
  ask.name = TL_STR("");
  cr_expect_eq(tl_tls_choose(&set, &ask, &t, NULL), d, "who asks for no name is served");
  cr_expect_eq(c[0].rule, TL_CHOICE_LISTENER);
  cr_expect(c[0].chosen);
  tl_tls_domain_unref(d);
}

/* What stands behind a strict domain does not take its place. */
Test(tls_domain, b9_strict_sni_is_not_passed_by) {
  const char *one[] = {"a.example", NULL}, *two[] = {"b.example", NULL};
  struct tl_tls_options o = good("server");
  o.policy.strict_sni = true;
  o.match_sip_domain = one;
  struct tl_tls_domain *all[] = {make(&o), named("b", two, NULL), named("default", NULL, NULL)};
  struct tl_tls_set set = {.domain = all, .n = 3, .fallback = all[2]};
  enum tl_choice rule;
#define PICK(name, listener) choose_server(&set, TL_STR(name), listener, NULL, &rule)
  cr_expect_null(PICK("x.example", all[0]));
  cr_expect_eq(rule, TL_CHOICE_NONE);
  cr_expect_eq(PICK("b.example", all[0]), all[1], "who lists the name serves it");
  cr_expect_eq(PICK("a.example", all[0]), all[0]);
  cr_expect_eq(PICK("x.example", NULL), all[2], "elsewhere the default");
  cr_expect_eq(PICK("x.example", all[1]), all[1]);
#undef PICK
  for (int i = 0; i < 3; i++) tl_tls_domain_unref(all[i]);
}

Test(tls_domain, e27_default_or_refusal_when_none_matches) {
  const char *other[] = {"other.example", NULL};
  struct tl_tls_domain *all[] = {named("other", other, NULL), named("default", NULL, NULL)};
  struct tl_tls_set set = {.domain = all, .n = 2, .fallback = all[1]};
  enum tl_choice rule;
  cr_expect_eq(choose_server(&set, TL_STR("x.example"), NULL, NULL, &rule), all[1]);
  cr_expect_eq(rule, TL_CHOICE_DEFAULT);
  cr_expect_str_eq(tl_choice_name(rule), "default");
  set.fallback = NULL;
  cr_expect_null(choose_server(&set, TL_STR("x.example"), NULL, NULL, &rule));
  cr_expect_eq(rule, TL_CHOICE_NONE);
  for (int i = 0; i < 2; i++) tl_tls_domain_unref(all[i]);
}

Test(tls_domain, d15_trace_names_every_candidate_and_why) {
  const char *exact[] = {"server.example", NULL}, *wild[] = {"*.example", NULL};
  const char *elsewhere[] = {"elsewhere.org", NULL};
  struct tl_tls_domain *all[] = {named("wild", wild, NULL), named("exact", exact, NULL),
                                 named("elsewhere", elsewhere, NULL)};
  struct tl_tls_set set = {.domain = all, .n = 3, .fallback = NULL};
  struct tl_tls_candidate c[5];
  struct tl_tls_trace t = {.candidate = c, .cap = 5};
  struct tl_tls_ask ask = {.server = true, .name = TL_STR("server.example")};
  cr_expect_eq(tl_tls_choose(&set, &ask, &t, NULL), all[1]);
  cr_assert_eq(t.n, 3);
  cr_expect_eq(c[0].rule, TL_CHOICE_SNI_WILDCARD);
  cr_expect_str_eq(c[0].why, "it lists the name by a wildcard");
  cr_expect(c[1].chosen && !c[0].chosen && !c[2].chosen);
  cr_expect_eq(c[2].rule, TL_CHOICE_NONE);
  cr_expect_str_eq(c[2].why, "it does not list the name");
  cr_expect_not(t.by_authority);
  for (int i = 0; i < 3; i++) tl_tls_domain_unref(all[i]);
}

Test(tls_domain, domain_without_the_role_is_passed_over) {
  const char *exact[] = {"server.example", NULL};
  struct tl_tls_options o = good("server");
  o.match_sip_domain = exact;
  o.server = false;
  struct tl_tls_domain *d = make(&o);
  struct tl_tls_set set = {.domain = &d, .n = 1, .fallback = d};
  cr_assert_null(choose_server(&set, TL_STR("server.example"), d, NULL, NULL));
  cr_assert_eq(tl_tls_choose_client(&set, TL_STR("server.example"), NULL, NULL), d);
  tl_tls_domain_unref(d);
}
