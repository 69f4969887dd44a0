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

Test(identity, b11_address_in_a_sip_uri) {
  with(TL_SAN_URI, "sip:192.0.2.1");
  with(TL_SAN_URI, "sip:[2001:db8::1]:5061");
  cr_assert(match("192.0.2.1"));
  cr_assert(match("[2001:db8::1]"));
  cr_assert_not(match("192.0.2.3"));
}
