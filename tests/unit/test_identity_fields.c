/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an identity record says of a certificate, field by field: the peer's as
 * a handshake brings it, and our own.
 */
#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>

#include "test_tls_duel.h"

static struct kit_cert root, full;

static void open_fields(void) {
  pki_open();
  root = kit_make(&(struct kit_options){
      .subject = "C=AT/ST=Tirol/L=Innsbruck/O=Root Org/OU=Trust/CN=Field root", .ext = {KIT_CA}});
  full = kit_make(&(struct kit_options){
      .subject = "C=DE/ST=Bayern/L=M\xc3\xbcnchen/O=Lab, Inc./OU=Voice/OU=Second/CN=peer.example",
      .issuer = &root,
      .ext = {"subjectAltName=DNS:peer.example,DNS:b.example,URI:sip:peer.example,"
              "URI:sip:alice@peer.example,email:noc@peer.example,IP:192.0.2.7,IP:2001:db8::7",
              "extendedKeyUsage=clientAuth,serverAuth,1.3.6.1.5.5.7.3.20"}});
  pki_trust((const struct kit_cert *[]){&root, NULL});
}

TestSuite(identity_fields, .init = open_fields, .fini = pki_close, .timeout = 60);

/* What a client that shows LEAF leaves in our record. */
static struct tl_identity *shown(const struct kit_cert *leaf, const struct tl_tls_options *o) {
  struct tl_tls_domain *dom = duel_domain(o);
  SSL_CTX *peer = SSL_CTX_new(TLS_client_method());
  kit_show(peer, leaf, NULL);
  struct duel d;
  struct tl_hs_result s;
  duel_begin(&d, peer, true, dom, NULL, NULL);
  duel_run(&d);
  cr_assert_eq(d.rc, 0, "%s", tl_hs_failure(d.hs)->reason);
  cr_assert_eq(tl_hs_take(d.hs, &s), 0);
  struct tl_identity *id = tl_identity_ref(s.peer);
  cr_assert_eq(s.peer_verified, id->verified);
  tl_hs_result_clear(&s);
  duel_end(&d);
  SSL_CTX_free(peer);
  tl_tls_domain_unref(dom);
  return id;
}

static struct tl_tls_options verifying(void) {
  struct tl_tls_options o = duel_options();
  o.policy.verify_cert = true;
  return o;
}

static void is(const struct tl_identity *id, enum tl_id_field field, const char *want) {
  cr_expect_str_eq(tl_identity_field(id, field), want, "%s is \"%s\"", tl_id_field_name(field),
                   tl_identity_field(id, field));
}

Test(identity_fields, e19_parts_of_subject_and_issuer) {
  struct tl_tls_options o = verifying();
  struct tl_identity *id = shown(&full, &o);
  is(id, TL_ID_SUBJECT_CN, "peer.example");
  is(id, TL_ID_SUBJECT_LOCALITY, "M\xc3\xbcnchen");
  is(id, TL_ID_SUBJECT_COUNTRY, "DE");
  is(id, TL_ID_SUBJECT_STATE, "Bayern");
  is(id, TL_ID_SUBJECT_ORGANIZATION, "Lab, Inc.");
  is(id, TL_ID_SUBJECT_UNIT, "Voice");
  is(id, TL_ID_ISSUER_CN, "Field root");
  is(id, TL_ID_ISSUER_LOCALITY, "Innsbruck");
  is(id, TL_ID_ISSUER_COUNTRY, "AT");
  is(id, TL_ID_ISSUER_STATE, "Tirol");
  is(id, TL_ID_ISSUER_ORGANIZATION, "Root Org");
  is(id, TL_ID_ISSUER_UNIT, "Trust");
  is(id, TL_ID_SUBJECT,
     "CN=peer.example,OU=Second,OU=Voice,O=Lab\\, Inc.,L=M\xc3\xbcnchen,ST=Bayern,C=DE");
  is(id, TL_ID_ISSUER, "CN=Field root,OU=Trust,O=Root Org,L=Innsbruck,ST=Tirol,C=AT");
  is(id, TL_ID_ANCHOR, tl_identity_field(id, TL_ID_ISSUER));
  tl_identity_unref(id);
}

static void check_number(const struct tl_identity *id, const struct kit_cert *c) {
  BIGNUM *want = ASN1_INTEGER_to_BN(X509_get0_serialNumber(c->x), NULL);
  char *hex = BN_bn2hex(want), *dec = BN_bn2dec(want);
  is(id, TL_ID_SERIAL, hex);
  is(id, TL_ID_SERIAL_DECIMAL, dec);
  OPENSSL_free(hex);
  OPENSSL_free(dec);
  BN_free(want);
}

static void check_digest(const struct tl_identity *id, enum tl_id_field field, unsigned char *der,
                         int n) {
  unsigned char md[32];
  char hex[65];
  EVP_Digest(der, (size_t)n, md, NULL, EVP_sha256(), NULL);
  for (int i = 0; i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", md[i]);
  is(id, field, hex);
  OPENSSL_free(der);
}

static void check_facts(const struct tl_identity *id, const struct kit_cert *c) {
  unsigned char *der = NULL;
  int n = i2d_X509(c->x, &der);
  check_digest(id, TL_ID_CERT_SHA256, der, n);
  der = NULL;
  n = i2d_PUBKEY(c->key, &der);
  check_digest(id, TL_ID_SPKI_SHA256, der, n);
  check_number(id, c);
  is(id, TL_ID_VERSION, "3");
  is(id, TL_ID_KEY, "EC 256");
  is(id, TL_ID_SIGNATURE, "ecdsa-with-SHA256");
}

Test(identity_fields, e18_number_version_key_and_fingerprints) {
  struct tl_tls_options o = verifying();
  struct tl_identity *id = shown(&full, &o);
  check_facts(id, &full);
  is(id, TL_ID_EKU, "clientAuth,serverAuth,sipDomain");
  tl_identity_unref(id);
}

Test(identity_fields, e20_every_alternative_name_by_kind) {
  static const struct tl_san want[] = {
      {TL_SAN_DNS, (char *)"peer.example"},       {TL_SAN_DNS, (char *)"b.example"},
      {TL_SAN_URI, (char *)"sip:peer.example"},   {TL_SAN_URI, (char *)"sip:alice@peer.example"},
      {TL_SAN_EMAIL, (char *)"noc@peer.example"}, {TL_SAN_IP, (char *)"192.0.2.7"},
      {TL_SAN_IP, (char *)"[2001:db8::7]"}};
  static const char *const kinds[] = {"dns", "dns", "uri", "uri", "email", "ip", "ip"};
  struct tl_tls_options o = verifying();
  struct tl_identity *id = shown(&full, &o);
  cr_assert_eq(id->n_san, sizeof(want) / sizeof(*want));
  for (size_t i = 0; i < id->n_san; i++) {
    cr_expect_eq((int)id->san[i].kind, (int)want[i].kind);
    cr_expect_str_eq(id->san[i].value, want[i].value);
    cr_expect_str_eq(tl_san_kind_name((int)id->san[i].kind), kinds[i]);
  }
  cr_expect(tl_identity_matches_user(id, TL_STR("alice"), TL_STR("peer.example")));
  tl_identity_unref(id);
}

Test(identity_fields, e22_validity_as_text_and_time) {
  struct tl_tls_options o = verifying();
  struct tl_identity *id = shown(&full, &o);
  struct tm tm;
  char text[40];
  ASN1_TIME_to_tm(X509_get0_notAfter(full.x), &tm);
  strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
  is(id, TL_ID_NOT_AFTER, text);
  cr_expect_eq(id->not_after, timegm(&tm));
  ASN1_TIME_to_tm(X509_get0_notBefore(full.x), &tm);
  strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
  is(id, TL_ID_NOT_BEFORE, text);
  cr_expect(id->chain_not_after <= id->not_after && id->chain_not_after > time(NULL));
  tl_identity_unref(id);
}

/* The whole chain ends with the first certificate in it that does. */
Test(identity_fields, e22_chain_ends_with_its_shortest) {
  struct kit_cert brief =
      kit_make(&(struct kit_options){.subject = "CN=Brief", .ext = {KIT_CA}, .to = "3"});
  struct kit_cert leaf = kit_make(&(struct kit_options){.subject = "CN=l", .issuer = &brief});
  pki_trust((const struct kit_cert *[]){&brief, NULL});
  struct tl_tls_options o = verifying();
  struct tl_identity *id = shown(&leaf, &o);
  cr_expect(id->chain_not_after < time(NULL) + 4 * 86400, "%ld", (long)id->chain_not_after);
  cr_expect(id->not_after > time(NULL) + 300 * 86400L);
  tl_identity_unref(id);
}

/* ---- flags ---- */

static void flags(const struct kit_cert *leaf, const char *crl, int flag, const char *verify) {
  struct tl_tls_options o = verifying();
  o.policy.on_unverified = TL_UNVERIFIED_ACCEPT;
  o.crl_file = crl;
  struct tl_identity *id = shown(leaf, &o);
  for (int i = 0; i < TL_ID_FLAGS; i++)
    cr_expect_eq(tl_identity_flag(id, (enum tl_id_flag)i), i == flag, "%s of %s",
                 tl_id_flag_name((enum tl_id_flag)i), verify);
  is(id, TL_ID_VERIFY, verify);
  cr_expect_eq(tl_identity_field(id, TL_ID_ANCHOR)[0] != '\0', flag == TL_ID_VERIFIED);
  tl_identity_unref(id);
}

Test(identity_fields, e21_verified_revoked_expired_selfsigned) {
  struct kit_cert expired =
      kit_make(&(struct kit_options){.subject = "CN=e", .issuer = &root, .from = "-9", .to = "-1"});
  struct kit_cert self = kit_make(&(struct kit_options){.subject = "CN=s"});
  char crl[128];
  pki_write_crl("fields", &root, &full);
  snprintf(crl, sizeof(crl), "%s", pki_path("fields.crl"));
  flags(&full, NULL, TL_ID_VERIFIED, "ok");
  flags(&full, crl, TL_ID_REVOKED, "certificate revoked");
  flags(&expired, NULL, TL_ID_EXPIRED, "certificate has expired");
  flags(&self, NULL, TL_ID_SELFSIGNED, "self-signed certificate");
}

/* ---- ours ---- */

Test(identity_fields, e18_our_own_certificate) {
  const char *cert[] = {NULL, NULL}, *key[] = {NULL, NULL};
  struct tl_tls_options o = duel_options();
  pki_write("full", &full, &root);
  cert[0] = pki_path("full.pem"), key[0] = pki_path("full.key");
  o.certificate = cert;
  o.private_key = key;
  struct tl_tls_domain *d = duel_domain(&o);
  cr_assert(d->own);
  check_facts(d->own, &full);
  is(d->own, TL_ID_SUBJECT_CN, "peer.example");
  is(d->own, TL_ID_ISSUER_CN, "Field root");
  is(d->own, TL_ID_VERIFY, "not checked");
  cr_expect_eq(d->own->n_san, 7);
  cr_expect_eq(sk_X509_num(d->own->chain), 2);
  cr_expect_not(tl_identity_flag(d->own, TL_ID_VERIFIED));
  tl_tls_domain_unref(d);
}

/* With an RSA and an ECDSA certificate, the record is of the one that was shown. */
static void shown_by_us(const struct tl_tls_options *o, bool server, bool ask, const char *sigalgs,
                        const char *want) {
  struct tl_tls_domain *dom = duel_domain(o);
  SSL_CTX *peer = duel_context(!server, server ? NULL : "server");
  struct duel d;
  struct tl_hs_result s;
  if (sigalgs) cr_assert_eq(SSL_CTX_set1_sigalgs_list(peer, sigalgs), 1);
  if (ask) SSL_CTX_set_verify(peer, SSL_VERIFY_PEER, NULL);
  duel_begin(&d, peer, server, dom, "server.example", NULL);
  duel_run(&d);
  cr_assert_eq(d.rc, 0, "%s", tl_hs_failure(d.hs)->reason);
  cr_assert_eq(tl_hs_take(d.hs, &s), 0);
  cr_assert_eq(s.own != NULL, want != NULL);
  if (want) is(s.own, TL_ID_KEY, want);
  tl_hs_result_clear(&s);
  duel_end(&d);
  SSL_CTX_free(peer);
  tl_tls_domain_unref(dom);
}

Test(identity_fields, e18_our_certificate_that_was_shown) {
  struct tl_tls_options o = duel_options();
  const char *cert[] = {NULL, NULL, NULL}, *key[] = {NULL, NULL, NULL};
  struct kit_cert rsa = kit_make(&(struct kit_options){.subject = "O=Lab/CN=server.example",
                                                       .ext = {"subjectAltName=DNS:server.example"},
                                                       .issuer = &pki_ca,
                                                       .rsa_bits = 2048});
  pki_write("rsa", &rsa, NULL);
  pki_write("ca", &pki_ca, NULL);
  static const char *const files[] = {"server.pem", "server.key", "rsa.pem", "rsa.key"};
  char path[4][128];
  for (int i = 0; i < 4; i++) snprintf(path[i], sizeof(path[i]), "%s", pki_path(files[i]));
  cert[0] = path[0], key[0] = path[1], cert[1] = path[2], key[1] = path[3];
  o.certificate = cert;
  o.private_key = key;
  shown_by_us(&o, true, false, "rsa_pss_rsae_sha256:RSA+SHA256", "RSA 2048");
  shown_by_us(&o, true, false, "ECDSA+SHA256", "EC 256");
  shown_by_us(&o, false, true, "ECDSA+SHA256", "EC 256");
  shown_by_us(&o, false, false, NULL, NULL); /* nobody asked */
}

Test(identity_fields, e18_no_certificate_of_our_own) {
  struct tl_tls_options o = duel_options();
  o.certificate = o.private_key = NULL;
  o.server = false;
  struct tl_tls_domain *d = duel_domain(&o);
  cr_assert_null(d->own);
  tl_tls_domain_unref(d);
}

/* ---- records ---- */

Test(identity_fields, b2_same_chain_by_another_anchor_is_another_identity) {
  struct kit_cert other = kit_make(&(struct kit_options){.subject = "CN=Other name of the root",
                                                         .key = root.key,
                                                         .ext = {"basicConstraints=CA:TRUE"}});
  struct kit_cert cross = kit_make(&(struct kit_options){
      .subject = "C=AT/ST=Tirol/L=Innsbruck/O=Root Org/OU=Trust/CN=Field root",
      .issuer = &other,
      .key = root.key,
      .ext = {"basicConstraints=CA:TRUE"}});
  struct tl_tls_options o = verifying();
  struct tl_identity *a = shown(&full, &o), *same = shown(&full, &o);
  cr_expect_eq(a, same);
  pki_trust((const struct kit_cert *[]){&cross, &other, NULL});
  struct tl_identity *b = shown(&full, &o);
  cr_expect_neq(a, b);
  is(b, TL_ID_ANCHOR, "CN=Other name of the root");
  tl_identity_unref(a);
  tl_identity_unref(same);
  tl_identity_unref(b);
}

Test(identity_fields, e20_names_of_fields_are_distinct) {
  for (int i = 0; i < TL_ID_FIELDS; i++)
    for (int k = 0; k < i; k++)
      cr_expect_str_neq(tl_id_field_name((enum tl_id_field)i),
                        tl_id_field_name((enum tl_id_field)k));
  cr_expect_str_eq(tl_id_field_name(TL_ID_FIELDS), "?");
  cr_expect_str_eq(tl_id_flag_name(TL_ID_FLAGS), "?");
  cr_expect_str_eq(tl_san_kind_name(17), "?");
}
