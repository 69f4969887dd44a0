/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does a certificate speak for a SIP domain (RFC 5922 7)? What is read out of
 * real certificates is proved in test_tls_handshake.c.
 */
#include <criterion/criterion.h>

#include "tieline/identity.h"

static struct tl_san sans[8];
static struct tl_identity id;

static void none(void) {
  memset(&id, 0, sizeof(id));
  id.san = sans;
}

static void with(int kind, const char *value) {
  sans[id.n_san].kind = kind;
  sans[id.n_san++].value = (char *)value;
  id.has_san = true;
}

static bool match(const char *domain) { return tl_identity_matches(&id, tl_str_c(domain), false); }

TestSuite(identity, .init = none);

Test(identity, b11_dns_name_without_case_and_final_dot) {
  with(TL_SAN_DNS, "Atlanta.Example");
  cr_assert(match("atlanta.example"));
  cr_assert(match("ATLANTA.example."));
  cr_assert_not(match("sip.atlanta.example"));
  cr_assert_not(match("lanta.example"));
  cr_assert_not(match("atlanta.example.org"));
  cr_assert_not(match(""));
  cr_assert_not(match("."));
}

Test(identity, b11_sip_uri_counts_and_hides_dns_names) {
  with(TL_SAN_DNS, "host.atlanta.example");
  with(TL_SAN_URI, "SIP:atlanta.example");
  cr_assert(match("atlanta.example"));
  cr_assert_not(match("host.atlanta.example"));
}

Test(identity, b11_other_uris_do_not_count) {
  with(TL_SAN_URI, "sips:atlanta.example");
  with(TL_SAN_URI, "https://atlanta.example");
  with(TL_SAN_URI, "sip:alice@atlanta.example");
  with(TL_SAN_URI, "sip:");
  with(TL_SAN_EMAIL, "atlanta.example");
  cr_assert_not(match("atlanta.example"));
  with(TL_SAN_DNS, "atlanta.example");
  cr_assert(match("atlanta.example"));
}

Test(identity, b11_sip_uri_with_port_and_parameters) {
  with(TL_SAN_URI, "sip:atlanta.example:5061;transport=tls");
  cr_assert(match("atlanta.example"));
  cr_assert_not(match("atlanta.example:5061"));
}

Test(identity, b11_wildcards_are_never_honoured) {
  with(TL_SAN_DNS, "*.atlanta.example");
  with(TL_SAN_DNS, "*");
  cr_assert_not(match("sip.atlanta.example"));
  cr_assert_not(match("*.atlanta.example"));
  cr_assert_not(match("*"));
}

Test(identity, b11_common_name_only_without_san_and_only_where_allowed) {
  id.cn = (char *)"atlanta.example";
  cr_assert_not(match("atlanta.example"));
  cr_assert(tl_identity_matches(&id, TL_STR("atlanta.example"), true));
  with(TL_SAN_EMAIL, "a@atlanta.example");
  cr_assert_not(tl_identity_matches(&id, TL_STR("atlanta.example"), true));
}

Test(identity, b11_san_of_unknown_kind_still_hides_the_common_name) {
  id.cn = (char *)"atlanta.example";
  id.has_san = true;
  cr_assert_not(tl_identity_matches(&id, TL_STR("atlanta.example"), true));
}

Test(identity, b11_addresses_match_addresses_only) {
  with(TL_SAN_IP, "192.0.2.1");
  with(TL_SAN_IP, "[2001:db8::1]");
  with(TL_SAN_DNS, "192.0.2.2");
  cr_assert(match("192.0.2.1"));
  cr_assert(match("2001:db8:0::1"));
  cr_assert(match("[2001:db8::1]"));
  cr_assert_not(match("192.0.2.2"));
}

Test(identity, b11_address_needs_a_san_of_its_kind) {
  with(TL_SAN_URI, "sip:192.0.2.1");
  with(TL_SAN_URI, "sip:[2001:db8::1]:5061");
  cr_assert_not(match("192.0.2.1"));
  cr_assert_not(match("[2001:db8::1]"));
  id.cn = (char *)"192.0.2.1";
  id.n_san = 0, id.has_san = false;
  cr_assert_not(tl_identity_matches(&id, TL_STR("192.0.2.1"), true));
}

/* RFC 5922 7.1: whom a certificate names is told by sip: URIs and DNS names alone. */
Test(identity, s3_an_address_names_no_source) {
  static const char *const address[] = {"192.0.2.1", "2001:db8::1", "[2001:db8::1]", "192.0.2.2",
                                        "192.0.2.1."};
  id.verified = true;
  with(TL_SAN_IP, "192.0.2.1");
  with(TL_SAN_IP, "[2001:db8::1]");
  with(TL_SAN_DNS, "192.0.2.2");
  with(TL_SAN_DNS, "atlanta.example");
  with(TL_SAN_EMAIL, "biloxi.example");
  for (size_t i = 0; i < sizeof(address) / sizeof(address[0]); i++) {
    cr_expect_not(tl_identity_speaks_for(&id, tl_str_c(address[i]), true), "%s", address[i]);
    cr_expect_not(tl_identity_may_alias(&id, true, tl_str_c(address[i]), true), "%s", address[i]);
  }
  cr_expect(tl_identity_speaks_for(&id, TL_STR("atlanta.example"), false));
  cr_expect_not(tl_identity_speaks_for(&id, TL_STR("biloxi.example"), false));
  with(TL_SAN_URI, "sip:192.0.2.1");
  cr_expect_not(tl_identity_speaks_for(&id, TL_STR("192.0.2.1"), true));
}

Test(identity, b11_several_common_names_are_none) {
  id.cn = (char *)"atlanta.example";
  id.n_cn = 2;
  cr_assert_not(tl_identity_matches(&id, TL_STR("atlanta.example"), true));
  id.n_cn = 1;
  cr_assert(tl_identity_matches(&id, TL_STR("atlanta.example"), true));
}

Test(identity, b11_what_is_no_name_matches_nothing) {
  with(TL_SAN_DNS, "a..example");
  with(TL_SAN_DNS, ".atlanta.example");
  with(TL_SAN_DNS, "b\xc3\xbc"
                   "cher.example");
  with(TL_SAN_DNS, "a b.example");
  with(TL_SAN_DNS, "xn--bcher-kva.example");
  cr_assert_not(match("a..example"));
  cr_assert_not(match(".atlanta.example"));
  cr_assert_not(match("atlanta.example"));
  cr_assert_not(match("b\xc3\xbc"
                      "cher.example"));
  cr_assert_not(match("a b.example"));
  cr_assert(match("XN--BCHER-KVA.example"));
}

static bool user(const char *name) {
  return tl_identity_matches_user(&id, tl_str_c(name), TL_STR("Atlanta.example."));
}

Test(identity, c11_user_uri_is_compared_exactly) {
  with(TL_SAN_URI, "sip:alice@atlanta.example");
  with(TL_SAN_URI, "sip:%62ob@ATLANTA.example");
  with(TL_SAN_URI, "sip:carol@atlanta.example:5061");
  with(TL_SAN_URI, "sip:dave@atlanta.example;transport=tls");
  with(TL_SAN_URI, "sips:erin@atlanta.example");
  with(TL_SAN_URI, "sip:f%3bg@atlanta.example");
  cr_assert(user("alice"));
  cr_assert(user("%61lice"));
  cr_assert_not(user("Alice"));
  cr_assert_not(user("alic"));
  cr_assert_not(user("alicex"));
  cr_assert(user("bob"));
  cr_assert_not(user("carol"));
  cr_assert_not(user("dave"));
  cr_assert_not(user("erin"));
  cr_assert(user("f%3Bg"));
  cr_assert_not(user("f;g"));
  cr_assert_not(user(""));
  cr_assert_not(match("atlanta.example"));
  cr_assert_not(tl_identity_matches_user(&id, TL_STR("alice"), TL_STR("biloxi.example")));
}

Test(identity, c10_domain_certificate_speaks_for_any_user_by_its_domain) {
  with(TL_SAN_URI, "sip:alice@biloxi.example");
  with(TL_SAN_DNS, "atlanta.example");
  cr_assert(match("atlanta.example"));
  cr_assert_not(user("alice"));
  cr_assert_not(match("biloxi.example"));
}

Test(identity, f8_alias_needs_mutual_tls_and_the_name) {
  with(TL_SAN_DNS, "atlanta.example");
  cr_assert_not(tl_identity_may_alias(NULL, true, TL_STR("atlanta.example"), false));
  cr_assert_not(tl_identity_may_alias(&id, true, TL_STR("atlanta.example"), false));
  id.verified = true;
  cr_assert(tl_identity_may_alias(&id, true, TL_STR("atlanta.example"), false));
  cr_assert_not(tl_identity_may_alias(&id, false, TL_STR("atlanta.example"), false));
  cr_assert_not(tl_identity_may_alias(&id, true, TL_STR("biloxi.example"), false));
  cr_assert_not(tl_identity_may_alias(&id, true, TL_STR("192.0.2.1"), false));
}
