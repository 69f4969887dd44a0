/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS domains of a configuration: defaults, inheritance, roles, and which of
 * them outlive a reload.
 */
#include <criterion/criterion.h>
#include <malloc.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "../support/cert_kit.h"
#include "conf/conf_block.h"
#include "test_conf_util.h"

TestSuite(conf_tls, .init = conf_setup, .fini = conf_teardown);

#define L "listen \"tcp:127.0.0.1:5999\" {}\n"
#define CERT "certificate = a.pem private_key = a.key ca_list = a.pem "

static struct tl_conf *good(const char *text, const struct tl_conf *previous) {
  struct conf_try t = conf_try(text, previous);
  cr_assert_eq(t.rc, 0, "%s\n%s", text, t.complaint[0]);
  return t.conf;
}

static const struct tl_tls_options *values(const struct tl_conf *c, size_t i) {
  return c->raw->sec[TL_SEC_DOMAIN].b[i].values;
}

Test(conf_tls, e3_secure_defaults) {
  conf_certificate("a", 1, 0600);
  struct tl_conf *c = good(L "tls_domain \"d\" { " CERT "}\n", NULL);
  const struct tl_tls_domain *d = c->domain[0];
  cr_expect(d->policy.verify_cert && d->policy.require_cert && d->policy.verify_name);
  cr_expect_not(d->policy.allow_cn || d->policy.on_unverified == TL_UNVERIFIED_ACCEPT);
  cr_expect(d->server && d->client, "both roles");
  cr_expect_eq(values(c, 0)->policy.verify_depth, 9);
  cr_expect_str_eq(values(c, 0)->tls_method, "TLSv1_2-TLSv1_3");
  cr_expect_eq(SSL_CTX_get_min_proto_version(d->server), TLS1_2_VERSION);
  cr_expect_eq(c->tls_set.fallback, d, "the only domain is the default");
  cr_expect_eq(c->tls_set.n, 1);
  tl_conf_unref(c);
}

Test(conf_tls, d4_tls_method) {
  conf_certificate("a", 1, 0600);
  struct tl_conf *c = good(L "tls_domain \"x\" { " CERT "tls_method = TLSv1_3 }\n"
                             "tls_domain \"y\" { " CERT "tls_method = \"TLSv1_2\" }\n",
                           NULL);
  cr_expect_eq(SSL_CTX_get_min_proto_version(c->domain[0]->server), TLS1_3_VERSION);
  cr_expect_eq(SSL_CTX_get_max_proto_version(c->domain[1]->client), TLS1_2_VERSION);
  cr_expect_null(c->tls_set.fallback, "two domains, none named default");
  tl_conf_unref(c);
}

Test(conf_tls, roles) {
  conf_certificate("a", 1, 0600);
  struct tl_conf *c = good(L "tls_domain \"s\" { " CERT "role = server }\n"
                             "tls_domain \"c\" { " CERT "role = client }\n"
                             "tls_domain \"n\" { ca_list = a.pem }\n",
                           NULL);
  cr_expect(c->domain[0]->server && !c->domain[0]->client);
  cr_expect(!c->domain[1]->server && c->domain[1]->client);
  cr_expect(!c->domain[2]->server && c->domain[2]->client, "without certificate: client");
  tl_conf_unref(c);
}

Test(conf_tls, d14_unset_options_come_from_default) {
  conf_certificate("a", 1, 0600);
  conf_certificate("b", 2, 0600);
  struct tl_conf *c =
      good(L "tls_domain \"first\" { verify_depth = 2 }\n"
             "tls_domain \"default\" { " CERT " verify_depth = 4 require_cert = false tickets = 3\n"
             "  match_sip_domain = \"d.example\" records = user }\n"
             "tls_domain \"own\" { certificate = b.pem private_key = b.key ca_list = b.pem\n"
             "  require_cert = true }\n",
           NULL);
  const struct tl_tls_options *first = values(c, 0), *own = values(c, 2);
  cr_expect_eq(first->policy.verify_depth, 2, "what is set stays");
  cr_expect_eq(first->policy.tickets, 3);
  cr_expect_not(first->policy.require_cert);
  cr_expect_str_eq(first->certificate[0], values(c, 1)->certificate[0]);
  cr_expect_null(first->match_sip_domain, "what it serves is its own");
  cr_expect_eq(c->domain[0]->policy.records, TL_RECORDS_USER);
  cr_expect_eq(own->policy.verify_depth, 4);
  cr_expect(own->policy.require_cert);
  cr_expect_str_eq(own->certificate[0], conf_path("b.pem"));
  cr_expect_eq(c->tls_set.fallback, c->domain[1]);
  tl_conf_unref(c);
}

/* A domain with its own authorities must not silently trust the default's as well. */
Test(conf_tls, trust_and_credentials_are_inherited_whole_or_not_at_all) {
  conf_certificate("a", 1, 0600);
  conf_certificate("b", 2, 0600);
  struct tl_conf *c = good(L "tls_domain \"default\" { ca_dir = \".\" }\n"
                             "tls_domain \"x\" { ca_list = b.pem }\n"
                             "tls_domain \"y\" { verify_cert = false ca_dir = \"\" }\n",
                           NULL);
  cr_expect_null(values(c, 1)->ca_dir);
  cr_expect_str_eq(values(c, 1)->ca_list, conf_path("b.pem"));
  cr_expect_null(values(c, 2)->ca_dir, "an empty string unsets what would be inherited");
  tl_conf_unref(c);
  struct conf_try t = conf_try(L "tls_domain \"default\" { " CERT "}\n"
                                 "tls_domain \"x\" { certificate = b.pem }\n",
                               NULL);
  cr_expect(conf_complains(&t, "t.conf:3: tls_domain \"x\" has 1 certificates and 0 private keys"),
            "%s", t.complaint[0]);
}

/* It is compared with the one that counts: the names are the same, and so is who has signed. */
Test(conf_tls, a_directory_has_a_certificate_whose_key_nobody_knows) {
  const struct kit_cert ca = kit_make(&(struct kit_options){.ext = {KIT_CA}});
  struct kit_options o = {
      .subject = "CN=a", .issuer = &ca, .ext = {"subjectAltName=DNS:a.example"}};
  const struct kit_cert good_one = kit_make(&o);
  o.change = kit_odd_key;
  const struct kit_cert odd_one = kit_make(&o);
  cr_assert_eq(mkdir(conf_path("found"), 0700), 0);
  kit_write_cert(conf_path("found/a.pem"), &good_one, NULL);
  kit_write_key(conf_path("found/a.key"), &good_one, 0600);
  kit_write_cert(conf_path("found/odd.pem"), &odd_one, NULL);
  struct tl_conf *c =
      good(L "tls_domain \"d\" { credentials_dir = found verify_cert = false }\n", NULL);
  cr_expect(c->domain[0]->server, "it has a certificate");
  tl_conf_unref(c);
  kit_free();
}

Test(conf_tls, records_of_the_top_level_are_the_default) {
  conf_certificate("a", 1, 0600);
  struct tl_conf *c = good(L "records = user\ntls_domain \"x\" { " CERT "}\n"
                             "tls_domain \"y\" { " CERT "records = auto }\n",
                           NULL);
  cr_expect_eq(c->domain[0]->policy.records, TL_RECORDS_USER);
  cr_expect_eq(c->domain[1]->policy.records, TL_RECORDS_AUTO);
  tl_conf_unref(c);
}

/* ---- reload ---- */

#define TWO                                                                                        \
  L "tls_domain \"x\" { " CERT "}\ntls_domain \"y\" { certificate = b.pem private_key = b.key "    \
    "ca_list = b.pem }\n"

Test(conf_tls, b16_reload_keeps_domains_that_did_not_change) {
  conf_certificate("a", 1, 0600);
  conf_certificate("b", 2, 0600);
  struct tl_conf *one = good(TWO, NULL), *two = good(TWO "log_level = debug\n", one);
  cr_expect_eq(two->domain[0], one->domain[0]);
  cr_expect_eq(two->domain[1], one->domain[1]);
  conf_certificate("b", 77, 0600);
  struct tl_conf *three = good(TWO, two);
  cr_expect_eq(three->domain[0], one->domain[0], "its files are as they were");
  cr_expect_neq(three->domain[1], one->domain[1], "its certificate is another");
  cr_expect_str_neq(three->domain[1]->serial, one->domain[1]->serial);
  cr_expect_gt(three->domain[1]->generation, one->domain[1]->generation);
  tl_conf_unref(one);
  tl_conf_unref(two);
  cr_expect_str_eq(three->domain[0]->name, "x", "shared domains outlive the older snapshots");
  tl_conf_unref(three);
}

/* A connection of an older configuration may have a domain of the same name. */
Test(conf_tls, b16_a_configuration_knows_its_own_domains) {
  conf_certificate("a", 1, 0600);
  conf_certificate("b", 2, 0600);
  struct tl_conf *one = good(TWO, NULL);
  conf_certificate("b", 77, 0600);
  struct tl_conf *two = good(TWO, one), *three = good(L "tls_domain \"y\" { " CERT "}\n", two);
  for (int i = 0; i < 2; i++) {
    cr_expect_eq(tl_conf_domain_named(one, one->domain[i]->name), one->domain[i]);
    cr_expect(tl_conf_has_domain(one, one->domain[i]));
    cr_expect(tl_conf_has_domain(two, two->domain[i]));
  }
  cr_expect(tl_conf_has_domain(two, one->domain[0]), "it has not changed");
  cr_expect_not(tl_conf_has_domain(two, one->domain[1]));
  cr_expect_not(tl_conf_has_domain(one, two->domain[1]));
  cr_expect_not(tl_conf_has_domain(three, one->domain[0]), "it is gone");
  cr_expect_not(tl_conf_has_domain(three, two->domain[1]));
  cr_expect_null(tl_conf_domain_named(three, "x"));
  cr_expect_null(tl_conf_domain_named(three, NULL));
  tl_conf_unref(one);
  tl_conf_unref(two);
  tl_conf_unref(three);
}

Test(conf_tls, reload_with_another_option_makes_a_new_domain) {
  conf_certificate("a", 1, 0600);
  struct tl_conf *one = good(L "tls_domain \"x\" { " CERT "}\n", NULL),
                 *two = good(L "tls_domain \"x\" { " CERT "tickets = 0 }\n", one);
  cr_expect_neq(one->domain[0], two->domain[0]);
  tl_conf_unref(one);
  tl_conf_unref(two);
}

Test(conf_tls, f11_reload_looks_at_the_mode_of_keys_again) {
  conf_certificate("a", 1, 0600);
  struct tl_conf *one = good(L "tls_domain \"x\" { " CERT "}\n", NULL);
  cr_assert_eq(chmod(conf_path("a.key"), 0644), 0);
  struct conf_try t = conf_try(L "tls_domain \"x\" { " CERT "}\n", one);
  cr_expect_eq(t.rc, TL_ECONFIG);
  cr_expect(conf_complains(&t, "t.conf:2: tls_domain \"x\": "), "%s", t.complaint[0]);
  cr_expect_str_eq(one->domain[0]->name, "x", "the old snapshot is untouched");
  tl_conf_unref(one);
}

Test(conf_tls, files_are_relative_to_the_configuration) {
  conf_certificate("a", 1, 0600);
  struct tl_conf *c = good(L "tls_domain \"x\" { " CERT "}\n", NULL);
  cr_expect_str_eq(values(c, 0)->certificate[0], conf_path("a.pem"));
  cr_expect_str_eq(values(c, 0)->ca_list, conf_path("a.pem"));
  tl_conf_unref(c);
}

Test(conf_tls, e10_groups_and_their_older_name) {
  conf_certificate("a", 1, 0600);
  conf_certificate("b", 2, 0600);
  struct tl_conf *c = good(L "tls_domain \"x\" { certificate = \"a.pem\" private_key = a.key "
                             "ca_list = a.pem groups = \"X25519:P-256\" }\n"
                             "tls_domain \"y\" { " CERT "ec_curve = \"P-256\" }\n",
                           NULL);
  cr_expect_str_eq(values(c, 0)->groups, "X25519:P-256");
  cr_expect_str_eq(values(c, 1)->groups, "P-256", "ec_curve is groups");
  tl_conf_unref(c);
}

/* ---- memory ---- */

int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static void load_once(bool bad, struct tl_conf *previous) {
  struct conf_try t =
      conf_try(bad ? L "tls_domain \"x\" { " CERT "}\npeer \"p\" { uri = \"sip:a b\" }\n"
                   : L "tls_domain \"x\" { " CERT "}\nroute \"r\" { peers = p }\n"
                       "peer \"p\" { uri = \"sips:127.0.0.1\" }\n",
               previous);
  cr_assert_eq(t.rc, bad ? TL_ECONFIG : 0, "%s", t.complaint[0]);
  conf_try_free(&t);
}

/* Good and refused loads, with and without a previous snapshot, give everything back. */
Test(conf_tls, loads_and_reloads_leak_nothing) {
  conf_certificate("a", 1, 0600);
  struct tl_conf *one = good(L "tls_domain \"x\" { " CERT "}\n", NULL);
  size_t before = 0;
  for (int i = 0; i < 300; i++) {
    load_once(i % 2, i % 3 ? one : NULL);
    if (i == 50) before = mallinfo2().uordblks;
  }
  size_t after = mallinfo2().uordblks;
  /* the allocator itself moves by some kilobytes; a lost string per load would be more */
  cr_expect_leq(after, before + 65536, "%zu bytes became %zu in 250 loads", before, after);
  tl_conf_unref(one);
  if (__lsan_do_recoverable_leak_check) cr_expect_eq(__lsan_do_recoverable_leak_check(), 0);
}
