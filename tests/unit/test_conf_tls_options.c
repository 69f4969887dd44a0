/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS domains as an operator writes them: method words, PEM text, keys that need
 * more than a file, and what makes one of two domains useless.
 */
#include <criterion/criterion.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "conf/conf_internal.h"
#include "test_conf_util.h"
#include "tieline/ktls.h"

TestSuite(conf_tls_options, .init = conf_setup, .fini = conf_teardown);

#define L "listen \"tcp:127.0.0.1:5999\" {}\n"
#define CERT "certificate = a.pem private_key = a.key ca_list = a.pem "

static struct tl_conf *good(const char *text) {
  struct conf_try t = conf_try(text, NULL);
  cr_assert_eq(t.rc, 0, "%s\n%s", text, t.complaint[0]);
  return t.conf;
}

static void bad(const char *text, const char *want) {
  struct conf_try t = conf_try(text, NULL);
  cr_expect_eq(t.rc, TL_ECONFIG, "%s", text);
  cr_expect(conf_complains(&t, want), "wanted: %s\ngot: %s", want, t.complaint[0]);
  conf_try_free(&t);
}

static char *slurp(const char *file) {
  static char text[8192];
  FILE *f = fopen(conf_path(file), "r");
  cr_assert(f);
  text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
  fclose(f);
  return text;
}

Test(conf_tls_options, d4_e7_words_of_tls_method) {
  static const struct {
    const char *text;
    int min, max;
    const char *note;
  } ok[] = {{"TLSv1_2", TL_TLS_1_2, TL_TLS_1_2, NULL},
            {"tlsv1_3", TL_TLS_1_3, TL_TLS_1_3, NULL},
            {"TLSv1_2-TLSv1_3", TL_TLS_1_2, TL_TLS_1_3, NULL},
            {"TLSv1_2-", TL_TLS_1_2, TL_TLS_1_3, NULL},
            {"TLSv1_3-", TL_TLS_1_3, TL_TLS_1_3, NULL},
            {"-TLSv1_2", TL_TLS_1_2, TL_TLS_1_2, NULL},
            {"TLSv1.2+", TL_TLS_1_2, TL_TLS_1_3, NULL},
            {"TLSv1_2, TLSv1_3", TL_TLS_1_2, TL_TLS_1_3, NULL},
            {"SSLv23", TL_TLS_1_2, TL_TLS_1_3, "nothing older is spoken"}};
  static const struct {
    const char *text, *note;
  } no[] = {{"SSLv2", "broken and not spoken"},
            {"SSLv3", "broken and not spoken"},
            {"TLSv1", "broken and not spoken"},
            {"TLSv1_1", "broken and not spoken"},
            {"TLSv1-TLSv1_3", "broken and not spoken"},
            {"SSLv3, TLSv1_2", "broken and not spoken"},
            {"TLSv1_3-TLSv1_2", "lowest version is above"},
            {"-", "no TLS version"},
            {"", "no TLS version"},
            {"TLSv1_4", "no TLS version"}};
  const char *note;
  int min, max;
  for (size_t i = 0; i < sizeof(ok) / sizeof(*ok); i++) {
    cr_expect_eq(tl_conf_parse_method(ok[i].text, &min, &max, &note), 0, "%s", ok[i].text);
    cr_expect(min == ok[i].min && max == ok[i].max, "%s: %x-%x", ok[i].text, min, max);
    cr_expect(ok[i].note ? note && strstr(note, ok[i].note) : !note, "%s", ok[i].text);
  }
  for (size_t i = 0; i < sizeof(no) / sizeof(*no); i++) {
    cr_expect_eq(tl_conf_parse_method(no[i].text, &min, &max, &note), TL_ECONFIG, "%s", no[i].text);
    cr_expect(note && strstr(note, no[i].note), "%s: %s", no[i].text, note);
  }
}

Test(conf_tls_options, b4_e2_certificate_and_key_as_text) {
  conf_certificate("a", 1, 0600);
  char *pem = strdup(slurp("a.pem")), *key = strdup(slurp("a.key")), *text = NULL;
  cr_assert(asprintf(&text,
                     L "tls_domain \"x\" {\n certificate = \"%s\"\n private_key = '%s'\n"
                       " ca_list = \"%s\" }\n",
                     pem, key, pem) > 0);
  /* conf_try writes the file readable by all, which a key in it must not be */
  bad(text, "a private key stands in");
  char *allowed = NULL;
  cr_assert(asprintf(&allowed, "%.*s allow_readable_key = true }\n", (int)strlen(text) - 2, text) >
            0);
  struct tl_conf *c = good(allowed);
  cr_expect_str_eq(c->domain[0]->subject, "CN=a");
  cr_expect_neq(c->domain[0]->server, NULL);
  char *printed = conf_printed(c, false);
  cr_expect_not_null(strstr(printed, "-----BEGIN CERTIFICATE-----|"), "one line that loads again");
  cr_expect_not_null(strstr(printed, "private_key = { \"-----BEGIN (not shown; SHA-256 "));
  char *body = strchr(key, '\n') + 1;
  *strchr(body, '\n') = '\0';
  cr_expect_null(strstr(printed, body), "the key is never printed");
  free(printed);
  tl_conf_unref(c);
  free(text);
  free(allowed);
  free(pem);
  free(key);
  bad(L "log_level = \"a\nb\"\n", "the string that starts here has no closing quote");
}

static void encrypt_key(const char *from, const char *to, const char *pass) {
  FILE *f = fopen(conf_path(from), "r");
  EVP_PKEY *key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
  fclose(f);
  cr_assert(key);
  f = fopen(conf_path(to), "w");
  cr_assert(f && fchmod(fileno(f), 0600) == 0);
  cr_assert_eq(
      PEM_write_PKCS8PrivateKey(f, key, EVP_aes_256_cbc(), pass, (int)strlen(pass), NULL, NULL), 1);
  fclose(f);
  EVP_PKEY_free(key);
}

Test(conf_tls_options, d17_encrypted_keys_and_uris) {
  char text[600];
  conf_certificate("a", 1, 0600);
  encrypt_key("a.key", "sealed.key", "open sesame");
  conf_write("pass", "open sesame\nanother line\n");
  conf_write("wrong", "wrong\n");
  conf_write("none", "\n");
  cr_assert(chmod(conf_path("pass"), 0600) == 0 && chmod(conf_path("wrong"), 0600) == 0 &&
            chmod(conf_path("none"), 0600) == 0);
#define SEALED                                                                                     \
  L "tls_domain \"x\" { certificate = a.pem ca_list = a.pem\n private_key = sealed.key\n"
  tl_conf_unref(good(SEALED " private_key_passphrase_file = pass }\n"));
  bad(SEALED "}\n", "t.conf:3: tls_domain \"x\": ");
  bad(SEALED "}\n", "set private_key_passphrase_file");
  bad(SEALED " private_key_passphrase_file = wrong }\n", "does not open");
  bad(SEALED " private_key_passphrase_file = none }\n", "holds no passphrase in its first line");
  cr_assert_eq(chmod(conf_path("pass"), 0644), 0);
  bad(SEALED " private_key_passphrase_file = pass }\n", "t.conf:4: tls_domain \"x\": ");
  cr_assert_eq(chmod(conf_path("pass"), 0600), 0);
  const char *pass[] = {"", " private_key_passphrase_file = pass"};
  const char *file[] = {"a.key", "sealed.key"};
  for (int i = 0; i < 2; i++) {
    snprintf(text, sizeof(text),
             L "tls_domain \"x\" { certificate = a.pem ca_list = a.pem private_key = \"file:%s\"%s"
               " }\n",
             conf_path(file[i]), pass[i]);
    tl_conf_unref(good(text));
  }
  cr_assert_eq(chmod(conf_path("a.key"), 0644), 0);
  snprintf(text, sizeof(text),
           L "tls_domain \"x\" { certificate = a.pem ca_list = a.pem private_key = \"file:%s\" }\n",
           conf_path("a.key"));
  bad(text, "is open to every user of this machine (mode 644)");
  cr_assert_eq(setenv("OPENSSL_ENGINES", conf_path("no-engines"), 1), 0);
  bad(L "tls_domain \"x\" { certificate = a.pem ca_list = a.pem\n"
        " private_key = \"pkcs11:object=none\" }\n",
      "t.conf:3: tls_domain \"x\": pkcs11:object=none: OpenSSL has neither a provider nor the "
      "engine for PKCS#11: install the package libengine-pkcs11-openssl");
}

Test(conf_tls_options, e1_domains_that_match_the_same) {
  conf_certificate("a", 1, 0600);
  conf_certificate("b", 2, 0600);
  bad(L "tls_domain \"x\" { " CERT " match_sip_domain = \"v.example\" }\n"
        "tls_domain \"y\" { " CERT "\n match_sip_domain = { \"w.example\", \"V.example.\" } }\n",
      "t.conf:4: tls_domain \"y\" matches v.example as tls_domain \"x\" at");
  bad(L "tls_domain \"x\" { " CERT " match_ip_address = \"127.0.0.1:5061\" }\n"
        "tls_domain \"y\" { " CERT "\n match_ip_address = \"127.0.0.1:5061\" }\n",
      "t.conf:4: tls_domain \"y\" matches 127.0.0.1:5061 as");
  bad(L "tls_domain \"x\" { ca_list = a.pem match_sip_domain = \"v.example\" }\n"
        "tls_domain \"y\" { ca_list = b.pem\n match_sip_domain = \"v.example\" }\n",
      "t.conf:4: tls_domain \"y\" matches v.example");
  tl_conf_unref(good(L "tls_domain \"x\" { " CERT " match_sip_domain = \"v.example\" }\n"
                       "tls_domain \"y\" { certificate = b.pem private_key = b.key "
                       "ca_list = b.pem match_sip_domain = \"v.example\" }\n"));
  tl_conf_unref(good(L "tls_domain \"x\" { " CERT " match_sip_domain = \"v.example\" "
                       "match_ip_address = \"127.0.0.1:1\" }\n"
                       "tls_domain \"y\" { " CERT " match_sip_domain = \"v.example\" "
                       "match_ip_address = \"127.0.0.1:2\" }\n"));
  tl_conf_unref(good(L "tls_domain \"x\" { " CERT " role = server match_sip_domain = \"v.e\" }\n"
                       "tls_domain \"y\" { ca_list = a.pem match_sip_domain = \"v.e\" }\n"));
}

Test(conf_tls_options, d13_e8_e15_every_option_reaches_its_domain) {
  conf_certificate("a", 1, 0600);
  struct tl_conf *c =
      good(L "tls_domain \"x\" { " CERT " match_ip_address = { \"127.0.0.1:5061\", \"*\" }\n"
             " handshake_timeout = 3s send_timeout = 4s max_age = 1h max_records = 1000 strict_sni "
             "= true\n"
             " crl_stale = accept check_from = from+pai send_ca_names = false }\n");
  const struct tl_tls_domain *d = c->domain[0];
  cr_expect_eq(d->policy.handshake_timeout_ms, 3000);
  cr_expect_eq(d->policy.send_timeout_ms, 4000);
  cr_expect_eq(d->policy.max_age_ms, 3600000);
  cr_expect_eq(d->policy.max_records, 1000);
  cr_expect(d->policy.strict_sni && d->policy.crl_stale == TL_STALE_ACCEPT && d->match_any_ip);
  cr_expect_eq(d->n_match_ip, 1);
  cr_expect_eq((int)d->policy.check_from, (int)TL_CHECK_FROM_PAI);
  cr_expect_eq(d->ca_names_n, 0);
  cr_expect_leq(sk_X509_NAME_num(SSL_CTX_get_client_CA_list(d->server)), 0);
  tl_conf_unref(c);
}

Test(conf_tls_options, f11_contradictions_are_named) {
  conf_certificate("a", 1, 0600);
  bad(L "tls_domain \"x\" { " CERT "\n verify_cert = false\n require_cert = true }\n",
      "t.conf:4: tls_domain \"x\": require_cert = true contradicts verify_cert = false");
  conf_write("empty.pem", "");
  bad(L "tls_domain \"x\" { certificate = a.pem private_key = a.key\n ca_list = empty.pem }\n",
      "t.conf:3: tls_domain \"x\": ");
}

Test(conf_tls_options, table_fits_the_arrays_that_walk_it) {
  for (int i = 0; i < TL_SECTIONS; i++) cr_expect_leq(tl_conf_sections[i].n_opt, 100);
}

Test(conf_tls_options, d8_suites_the_kernel_cannot_take_are_named) {
  struct tl_ktls_caps can;
  char text[600];
  conf_certificate("a", 1, 0600);
  struct tl_conf *c =
      good(L "tls_domain \"x\" { " CERT " }\ntls_domain \"y\" { role = client " CERT " }\n");
  memset(&can, 1, sizeof(can));
  tl_conf_not_offloaded(c->domain[0], &can, text, sizeof(text));
  cr_expect_str_eq(text, "");
  can.rx[1][TL_CHACHA20_POLY1305] = false;
  tl_conf_not_offloaded(c->domain[0], &can, text, sizeof(text));
  cr_expect_str_eq(text, "TLS_CHACHA20_POLY1305_SHA256");
  can.tx[0][TL_AES_256_GCM] = false;
  tl_conf_not_offloaded(c->domain[1], &can, text, sizeof(text));
  cr_expect_str_eq(text, "TLS_CHACHA20_POLY1305_SHA256 ECDHE-ECDSA-AES256-GCM-SHA384 "
                         "ECDHE-RSA-AES256-GCM-SHA384");
  tl_conf_unref(c);
}

Test(conf_tls_options, f2_splice_reaches_records_in_the_kernel) {
  struct tl_ktls_caps can = {.ulp = true}, none = {.ulp = false}, slow = can;
  slow.slow[TL_AES_128_GCM] = slow.slow[TL_AES_256_GCM] = true;
  conf_certificate("a", 1, 0600);
  for (int i = 0; i < 2; i++) {
    char text[600];
    snprintf(text, sizeof(text),
             "records = %s\nbody_relay = splice\n" L "tls_domain \"x\" { " CERT " }\n"
             "tls_domain \"y\" { role = client " CERT "\n records = user }\n"
             "tls_domain \"z\" { role = client " CERT "\n records = kernel }\n",
             i ? "user" : "auto");
    struct tl_conf *c = good(text);
    cr_expect_eq(tl_conf_domain_splices(c, 0, &can), i == 0);
    cr_expect_not(tl_conf_domain_splices(c, 1, &can));
    cr_expect(tl_conf_domain_splices(c, 2, &can));
    cr_expect_not(tl_conf_domain_splices(c, 2, &none));
    cr_expect_not(tl_conf_domain_splices(c, 0, &slow), "auto leaves its records in user space");
    cr_expect(tl_conf_domain_splices(c, 2, &slow), "kernel insists");
    tl_conf_unref(c);
  }
}

/* RFC 8446 5.5 is not a matter of taste: max_records goes down only. */
Test(conf_tls_options, b18_record_limit_can_only_be_lowered) {
  conf_certificate("a", 1, 0600);
  struct tl_conf *c = good(L "tls_domain \"x\" { " CERT " }\n");
  cr_expect_eq(c->domain[0]->policy.max_records, 23726566u);
  tl_conf_unref(c);
  bad(L "tls_domain \"x\" { " CERT "\n max_records = 23726567 }\n", "t.conf:3: ");
  bad(L "tls_domain \"x\" { " CERT " max_records = 63 }\n", "max_records");
}

Test(conf_tls_options, i4_12_ticket_lifetime_has_bounds) {
  conf_certificate("a", 1, 0600);
  struct tl_conf *c = good(L "tls_domain \"x\" { " CERT " }\n"
                             "tls_domain \"y\" { " CERT " match_sip_domain = \"v.example\"\n"
                             " ticket_lifetime = 168h }\n");
  cr_expect_eq(c->domain[0]->policy.ticket_lifetime_ms / 1000, 7200);
  cr_expect_eq(c->domain[1]->policy.ticket_lifetime_ms / 1000, 604800);
  tl_conf_unref(c);
  bad(L "tls_domain \"x\" { " CERT "\n ticket_lifetime = 169h }\n", "t.conf:3: ");
  bad(L "tls_domain \"x\" { " CERT " ticket_lifetime = 0 }\n", "ticket_lifetime");
}

/* What other products offer as find_server_domain, find_client_domain and get_..._timeout: one
 * lookup for both roles, the object itself, and no transport in sight. */
Test(conf_tls_options, d37_e24_e25_domains_are_found_without_a_transport) {
  conf_certificate("a", 1, 0600);
  struct tl_conf *c = good(L "tls_domain \"s\" { " CERT " role = server send_timeout = 7s\n"
                             " match_ip_address = \"127.0.0.1:5061\" }\n"
                             "tls_domain \"c\" { " CERT " role = client handshake_timeout = 9s\n"
                             " match_sip_domain = \"far.example\" }\n");
  struct tl_addr local;
  cr_assert_eq(tl_addr_parse(TL_STR("127.0.0.1"), 5061, &local), 0);
  const struct tl_tls_ask ask = {.server = true, .addr = &local};
  struct tl_tls_domain *s = tl_tls_choose(&c->tls_set, &ask, NULL, NULL);
  struct tl_tls_domain *d = tl_tls_choose_client(&c->tls_set, TL_STR("far.example"), NULL, NULL);
  cr_assert(s && d);
  cr_expect_str_eq(s->name, "s");
  cr_expect_eq(s->policy.send_timeout_ms, 7000);
  cr_expect_str_eq(d->name, "c");
  cr_expect_eq(d->policy.handshake_timeout_ms, 9000);
  cr_expect_null(tl_tls_choose_client(&c->tls_set, TL_STR("near.example"), NULL, NULL));
  struct tl_tls_domain *kept = tl_tls_domain_ref(s);
  tl_conf_unref(c);
  cr_expect_str_eq(kept->name, "s", "who holds a domain keeps it");
  tl_tls_domain_unref(kept);
}
