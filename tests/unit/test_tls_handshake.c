/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handshakes against OpenSSL in both roles and versions, with every suite: the
 * keys that come out must carry messages both ways, and what must fail fails
 * with everything an operator needs to know.
 */
#include <criterion/criterion.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>

#include "test_tls_duel.h"

TestSuite(tls, .init = pki_open, .fini = pki_close, .timeout = 60);

struct suite {
  const char *name;
  int version;
  enum tl_cipher cipher;
};
static const struct suite suites[] = {
    {"TLS_AES_128_GCM_SHA256", TL_TLS_1_3, TL_AES_128_GCM},
    {"TLS_AES_256_GCM_SHA384", TL_TLS_1_3, TL_AES_256_GCM},
    {"TLS_CHACHA20_POLY1305_SHA256", TL_TLS_1_3, TL_CHACHA20_POLY1305},
    {"ECDHE-ECDSA-AES128-GCM-SHA256", TL_TLS_1_2, TL_AES_128_GCM},
    {"ECDHE-ECDSA-AES256-GCM-SHA384", TL_TLS_1_2, TL_AES_256_GCM},
    {"ECDHE-ECDSA-CHACHA20-POLY1305", TL_TLS_1_2, TL_CHACHA20_POLY1305}};
enum { SUITES = sizeof(suites) / sizeof(*suites) };

static void use_suite(SSL_CTX *ctx, const struct suite *s) {
  SSL_CTX_set_min_proto_version(ctx, s->version);
  SSL_CTX_set_max_proto_version(ctx, s->version);
  if (s->version == TL_TLS_1_3)
    cr_assert_eq(SSL_CTX_set_ciphersuites(ctx, s->name), 1);
  else
    cr_assert_eq(SSL_CTX_set_cipher_list(ctx, s->name), 1);
}

static void both_ways(const struct tl_tls_options *o, bool server, const struct suite *s,
                      const char *peer_cert, const char *groups, bool by_three) {
  struct tl_tls_domain *dom = duel_domain(o);
  SSL_CTX *peer = duel_context(!server, peer_cert);
  struct duel d;
  struct tl_hs_result ses;
  use_suite(peer, s);
  if (groups) SSL_CTX_set1_groups_list(peer, groups);
  duel_begin(&d, peer, server, dom, "server.example", NULL);
  d.by_three = by_three;
  duel_run(&d);
  duel_prove(&d, &ses);
  cr_assert_eq((int)ses.keys.version, s->version);
  cr_assert_eq(ses.keys.cipher, s->cipher);
  cr_assert_eq(ses.server, server);
  cr_assert_eq(ses.domain, dom);
  cr_assert_str_eq(ses.sni, "server.example");
  cr_assert_eq(ses.peer != NULL, !server || (o->policy.verify_cert && peer_cert != NULL));
  cr_assert_eq(ses.peer_verified, ses.peer && o->policy.verify_cert);
  tl_hs_result_clear(&ses);
  duel_end(&d);
  SSL_CTX_free(peer);
  tl_tls_domain_unref(dom);
}

Test(tls, f1_every_suite_and_role_with_ticket_counts) {
  struct tl_tls_options o = duel_options();
  for (int i = 0; i < SUITES; i++) {
    both_ways(&o, false, &suites[i], "server", NULL, false);
    for (o.policy.tickets = 0; o.policy.tickets <= 5; o.policy.tickets += o.policy.tickets ? 3 : 2)
      both_ways(&o, true, &suites[i], NULL, NULL, false);
  }
}

Test(tls, f1_every_suite_with_client_certificates) {
  struct tl_tls_options o = duel_options();
  o.policy.verify_cert = o.policy.require_cert = true;
  for (int i = 0; i < SUITES; i++) {
    both_ways(&o, true, &suites[i], "client", NULL, false);
    both_ways(&o, false, &suites[i], "server", NULL, true);
  }
}

Test(tls, f1_hello_retry_request_in_both_roles) {
  struct tl_tls_options o = duel_options();
  o.groups = "P-256";
  for (int i = 0; i < 3; i++) both_ways(&o, true, &suites[i], NULL, "X25519:P-256", false);
  o.groups = "X25519:P-256";
  for (int i = 0; i < 3; i++) both_ways(&o, false, &suites[i], "server", "P-256", true);
}

/* ---- resumption ---- */

/* One connection of PEER, resuming *IO_SESSION if there is one and leaving the newest there. */
static bool connect_again(SSL_CTX *peer, struct tl_tls_domain *dom, SSL_SESSION **io_session,
                          struct tl_hs_result *ses) {
  struct duel d;
  duel_begin(&d, peer, true, dom, "server.example", NULL);
  if (*io_session) SSL_set_session(d.peer, *io_session);
  duel_run(&d);
  duel_prove(&d, ses);
  SSL_SESSION_free(*io_session);
  *io_session = SSL_get1_session(d.peer);
  cr_assert_eq(SSL_session_reused(d.peer), ses->resumed);
  SSL_set_shutdown(d.peer, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  bool resumed = ses->resumed;
  duel_end(&d);
  return resumed;
}

static void resumption(const struct suite *s, bool tickets, bool mutual) {
  struct tl_tls_options o = duel_options();
  o.policy.verify_cert = o.policy.require_cert = mutual;
  struct tl_tls_domain *dom = duel_domain(&o), *second = duel_domain(&o);
  SSL_CTX *peer = duel_context(false, mutual ? "client" : NULL);
  SSL_SESSION *kept = NULL;
  struct tl_hs_result a, b;
  use_suite(peer, s);
  if (!tickets) SSL_CTX_set_options(peer, SSL_OP_NO_TICKET);
  cr_assert_not(connect_again(peer, dom, &kept, &a));
  for (int i = 0; i < 3; i++) {
    cr_assert(connect_again(peer, dom, &kept, &b), "%s %d", s->name, i);
    cr_assert_eq(b.peer, a.peer, "a resumed session has the identity of the full one");
    cr_assert_eq(b.peer_verified, mutual);
    tl_hs_result_clear(&b);
  }
  cr_assert_not(connect_again(peer, second, &kept, &b), "sessions do not cross domains");
  tl_hs_result_clear(&a);
  tl_hs_result_clear(&b);
  SSL_SESSION_free(kept);
  SSL_CTX_free(peer);
  tl_tls_domain_unref(dom);
  tl_tls_domain_unref(second);
}

Test(tls, resumption_keeps_keys_and_identity_right) {
  for (int i = 0; i < SUITES; i++) {
    resumption(&suites[i], true, false);
    resumption(&suites[i], true, true);
  }
  resumption(&suites[3], false, true); /* TLS 1.2 session ids, from the cache */
}

/* ---- verification ---- */

/* A handshake that must fail; the failure is copied out. */
static struct tl_hs_failure fails(const struct tl_tls_options *o, bool server, const char *cert,
                                  int version, const char *verify_name, int rc) {
  struct tl_tls_domain *dom = duel_domain(o);
  SSL_CTX *peer = duel_context(!server, cert);
  struct duel d;
  SSL_CTX_set_max_proto_version(peer, version);
  duel_begin(&d, peer, server, dom, "server.example", verify_name);
  duel_run(&d);
  cr_assert_eq(d.rc, rc, "%d: %s", d.rc, tl_hs_failure(d.hs)->reason);
  cr_assert_neq(d.peer_rc == 1 && version == TL_TLS_1_2, true, "the peer must see the failure");
  struct tl_hs_failure f = *tl_hs_failure(d.hs);
  struct tl_hs_result s;
  cr_assert_eq(tl_hs_take(d.hs, &s), TL_EINVAL);
  duel_end(&d);
  SSL_CTX_free(peer);
  tl_tls_domain_unref(dom);
  return f;
}

static void mutual_matrix(int version) {
  struct tl_tls_options o = duel_options();
  o.policy.verify_cert = true;
  struct tl_hs_failure f = fails(&o, true, "foreign", version, NULL, TL_EVERIFY);
  cr_assert_eq(f.cause, TL_HS_VERIFY);
  cr_assert_eq(f.verify_code, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
  cr_assert_str_eq(f.subject, "CN=client.example,O=Lab");
  cr_assert_eq(f.alert_sent, SSL_AD_UNKNOWN_CA);
  cr_assert_str_eq(f.domain, "lab");
  f = fails(&o, true, "expired", version, NULL, TL_EVERIFY);
  cr_assert_eq(f.verify_code, X509_V_ERR_CERT_HAS_EXPIRED);
  cr_assert_eq(f.alert_sent, SSL_AD_CERTIFICATE_EXPIRED);
  o.policy.require_cert = true;
  f = fails(&o, true, NULL, version, NULL, TL_EVERIFY);
  cr_assert_eq(f.cause, TL_HS_VERIFY);
  cr_assert(strstr(f.reason, "did not return a certificate"), "%s", f.reason);
  char crl[128];
  snprintf(crl, sizeof(crl), "%s", pki_path("ca.crl"));
  o.crl_file = crl;
  f = fails(&o, true, "revoked", version, NULL, TL_EVERIFY);
  cr_assert_eq(f.verify_code, X509_V_ERR_CERT_REVOKED);
  cr_assert_eq(f.alert_sent, SSL_AD_CERTIFICATE_REVOKED);
}

Test(tls, d19_bad_client_certificates_13) { mutual_matrix(TL_TLS_1_3); }
Test(tls, d19_bad_client_certificates_12) { mutual_matrix(TL_TLS_1_2); }

static void accepted(const struct tl_tls_options *o, const char *cert, bool have, bool verified) {
  struct tl_tls_domain *dom = duel_domain(o);
  SSL_CTX *peer = duel_context(false, cert);
  struct duel d;
  struct tl_hs_result s;
  duel_begin(&d, peer, true, dom, NULL, NULL);
  duel_run(&d);
  duel_prove(&d, &s);
  cr_assert_eq(s.peer != NULL, have);
  cr_assert_eq(s.peer_verified, verified);
  if (have) cr_assert_eq(s.peer->verified, verified);
  tl_hs_result_clear(&s);
  duel_end(&d);
  SSL_CTX_free(peer);
  tl_tls_domain_unref(dom);
}

Test(tls, a1_optional_certificate) {
  struct tl_tls_options o = duel_options();
  accepted(&o, "client", false, false); /* not asked for, so not sent */
  o.policy.verify_cert = true;
  accepted(&o, NULL, false, false); /* A3: anonymous */
  accepted(&o, "client", true, true);
  o.policy.on_unverified = TL_UNVERIFIED_ACCEPT;
  accepted(&o, "foreign", true, false);
  accepted(&o, "expired", true, false);
}

Test(tls, d10_server_certificates_as_client) {
  static const int versions[] = {TL_TLS_1_2, TL_TLS_1_3};
  struct tl_tls_options o = duel_options();
  o.policy.verify_cert = o.policy.verify_name = true;
  for (int i = 0; i < 2; i++) {
    struct tl_hs_failure f = fails(&o, false, "foreign", versions[i], "", TL_EVERIFY);
    cr_assert_eq(f.cause, TL_HS_VERIFY);
    cr_assert_eq(f.alert_sent, SSL_AD_UNKNOWN_CA);
    f = fails(&o, false, "expired", versions[i], "server.example", TL_EVERIFY);
    cr_assert_eq(f.verify_code, X509_V_ERR_CERT_HAS_EXPIRED);
    f = fails(&o, false, "wrong", versions[i], "server.example", TL_EVERIFY);
    cr_assert_eq(f.cause, TL_HS_NAME);
    cr_assert_eq(f.verify_code, X509_V_ERR_HOSTNAME_MISMATCH);
    cr_assert_str_eq(f.subject, "CN=elsewhere.example,O=Lab");
    cr_assert_eq(f.alert_sent, SSL_AD_BAD_CERTIFICATE);
  }
}

static void as_client(const struct tl_tls_options *o, const char *cert, const char *name,
                      bool verified) {
  struct tl_tls_domain *dom = duel_domain(o);
  SSL_CTX *peer = duel_context(true, cert);
  struct duel d;
  struct tl_hs_result s;
  duel_begin(&d, peer, false, dom, name, name);
  duel_run(&d);
  duel_prove(&d, &s);
  cr_assert_eq(s.peer_verified, verified);
  tl_hs_result_clear(&s);
  duel_end(&d);
  SSL_CTX_free(peer);
  tl_tls_domain_unref(dom);
}

Test(tls, d20_no_check_means_no_check) {
  struct tl_tls_options o = duel_options();
  o.policy.verify_name = true;
  as_client(&o, "foreign", "server.example", false);
  as_client(&o, "wrong", "server.example", false);
  o.policy.verify_cert = true;
  as_client(&o, "server", "server.example", true);
}

Test(tls, wrong_name_may_be_accepted_but_is_never_verified) {
  struct tl_tls_options o = duel_options();
  o.policy.verify_cert = o.policy.verify_name = true;
  o.policy.on_unverified = TL_UNVERIFIED_ACCEPT;
  as_client(&o, "wrong", "server.example", false);
  as_client(&o, "foreign", "server.example", false);
}

Test(tls, sni_is_a_name_never_an_address) {
  struct tl_tls_options o = duel_options();
  struct tl_tls_domain *dom = duel_domain(&o);
  SSL_CTX *peer = duel_context(true, "server");
  static const char *const names[] = {"server.example", "server.example.", "127.0.0.1", "[::1]"};
  static const char *const sent[] = {"server.example", "server.example", NULL, NULL};
  for (int i = 0; i < 4; i++) {
    struct duel d;
    duel_begin(&d, peer, false, dom, names[i], NULL);
    duel_run(&d);
    const char *got = SSL_get_servername(d.peer, TLSEXT_NAMETYPE_host_name);
    cr_assert_eq(got != NULL, sent[i] != NULL, "%s", names[i]);
    if (got) cr_assert_str_eq(got, sent[i]);
    duel_end(&d);
  }
  SSL_CTX_free(peer);
  tl_tls_domain_unref(dom);
}

/* ---- policy is the chosen domain's ---- */

Test(tls, policy_follows_the_name) {
  const char *strict_names[] = {"strict.example", NULL}, *open_names[] = {"open.example", NULL};
  struct tl_tls_options o = duel_options();
  o.name = "open";
  o.match_sip_domain = open_names;
  struct tl_tls_domain *list[2];
  list[0] = duel_domain(&o);
  o.name = "strict";
  o.match_sip_domain = strict_names;
  o.policy.verify_cert = o.policy.require_cert = true;
  o.min_version = TL_TLS_1_3;
  list[1] = duel_domain(&o);
  struct tl_tls_set set = {.domain = list, .n = 2, .fallback = NULL};
  static const struct {
    const char *sni, *cert;
    int version, rc, alert;
  } t[] = {{"open.example", NULL, TL_TLS_1_2, 0, 0xff},
           {"open.example", NULL, TL_TLS_1_3, 0, 0xff},
           {"strict.example", "client", TL_TLS_1_3, 0, 0xff},
           {"strict.example", NULL, TL_TLS_1_3, TL_EVERIFY, SSL_AD_CERTIFICATE_REQUIRED},
           {"STRICT.example", "client", TL_TLS_1_2, TL_ETLS, SSL_AD_PROTOCOL_VERSION},
           {"other.example", NULL, TL_TLS_1_3, TL_ETLS, SSL_AD_UNRECOGNIZED_NAME},
           {NULL, NULL, TL_TLS_1_3, TL_ETLS, SSL_AD_UNRECOGNIZED_NAME}};
  for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
    SSL_CTX *peer = duel_context(false, t[i].cert);
    struct duel d;
    struct tl_hs_params p = {.server = true, .set = &set};
    SSL_CTX_set_max_proto_version(peer, t[i].version);
    duel_begin(&d, peer, true, list[0], t[i].sni, NULL);
    tl_hs_free(d.hs);
    cr_assert_eq(tl_hs_new(&p, &d.hs), 0);
    duel_run(&d);
    cr_assert_eq(d.rc, t[i].rc, "%zu: %s", i, tl_hs_failure(d.hs)->reason);
    cr_assert_eq(tl_hs_failure(d.hs)->alert_sent, t[i].alert, "%zu", i);
    if (t[i].rc == TL_ETLS && t[i].alert == SSL_AD_UNRECOGNIZED_NAME)
      cr_assert(strstr(tl_hs_failure(d.hs)->reason, "no TLS domain"));
    duel_end(&d);
    SSL_CTX_free(peer);
  }
  tl_tls_domain_unref(list[0]);
  tl_tls_domain_unref(list[1]);
}

/* ---- what a peer may do wrong ---- */

static void header(const char *bytes, bool server, int cause, const char *text) {
  struct tl_tls_options o = duel_options();
  struct tl_tls_domain *dom = duel_domain(&o);
  SSL_CTX *peer = duel_context(!server, "server");
  struct duel d;
  size_t n;
  duel_begin(&d, peer, server, dom, NULL, NULL);
  cr_assert_eq(tl_hs_record_len(d.hs, (const uint8_t *)bytes, &n), TL_ETLS);
  cr_assert_eq((int)tl_hs_failure(d.hs)->cause, cause);
  cr_assert(strstr(tl_hs_failure(d.hs)->reason, text), "%s", tl_hs_failure(d.hs)->reason);
  duel_end(&d);
  SSL_CTX_free(peer);
  tl_tls_domain_unref(dom);
}

Test(tls, what_is_no_tls_is_told_apart) {
  header("GET / HTTP", true, TL_HS_NOT_TLS, "\"GET /...\"");
  header("INVITE sip:", true, TL_HS_NOT_TLS, "\"INVIT...\"");
  header("\x80\x2e\x01\x03\x01", true, TL_HS_NOT_TLS, "80 2e 01 03 01");
  header("\x15\x03\x03\x00\x02", true, TL_HS_NOT_TLS, "15 03 03 00 02");
  header("SIP/2.0", false, TL_HS_NOT_TLS, "\"SIP/2...\"");
  header("\x16\x03\x01\xff\xff", true, TL_HS_PROTOCOL, "too long");
  header("\x16\x03\x01\x00\x00", true, TL_HS_PROTOCOL, "empty record");
}

Test(tls, garbage_inside_a_record) {
  struct tl_tls_options o = duel_options();
  struct tl_tls_domain *dom = duel_domain(&o);
  SSL_CTX *peer = duel_context(false, NULL);
  struct duel d;
  uint8_t rec[64] = {TL_CT_HANDSHAKE, 3, 1, 0, sizeof(rec) - 5, 0xff, 0xff, 0xff};
  duel_begin(&d, peer, true, dom, NULL, NULL);
  cr_assert_eq(tl_hs_start(d.hs), TL_EAGAIN);
  cr_assert_eq(tl_hs_input(d.hs, rec, sizeof(rec)), TL_ETLS);
  const struct tl_hs_failure *f = tl_hs_failure(d.hs);
  cr_assert_eq(f->cause, TL_HS_PROTOCOL);
  cr_assert_neq(f->alert_sent, 0xff);
  size_t n;
  tl_hs_output(d.hs, &n);
  cr_assert(n >= 7, "an alert is there to be sent");
  duel_end(&d);
  SSL_CTX_free(peer);
  tl_tls_domain_unref(dom);
}

/* A ClientHello with any byte changed gives an answer or an alert, never a session. */
Test(tls, changed_hellos_are_refused_or_answered) {
  const char *names[] = {"server.example", NULL};
  struct tl_tls_options o = duel_options();
  o.match_sip_domain = names;
  struct tl_tls_domain *dom = duel_domain(&o);
  SSL_CTX *peer = duel_context(false, NULL);
  uint8_t hello[1024], rec[1024];
  struct duel d;
  size_t body, n;
  duel_begin(&d, peer, true, dom, "server.example", NULL);
  SSL_do_handshake(d.peer);
  int len = BIO_read(d.from_peer, hello, sizeof(hello));
  duel_end(&d);
  cr_assert(len > 100);
  for (int at = 0; at < len; at++) {
    for (int by = 1; by < 256; by *= 5) {
      duel_begin(&d, peer, true, dom, NULL, NULL);
      memcpy(rec, hello, (size_t)len);
      rec[at] ^= (uint8_t)by;
      int rc = tl_hs_record_len(d.hs, rec, &body);
      if (rc == 0 && (int)body + TL_RECORD_HEADER <= len)
        rc = tl_hs_input(d.hs, rec, body + TL_RECORD_HEADER);
      const struct tl_hs_failure *f = tl_hs_failure(d.hs);
      if (rc == TL_ETLS) {
        cr_assert_neq(f->cause, TL_HS_OK);
        cr_assert(f->reason[0]);
        tl_hs_output(d.hs, &n);
        cr_assert_eq(n > 0, f->alert_sent != 0xff, "an alert was said but not written, or so");
      } else {
        cr_assert(rc == TL_EAGAIN || rc == 0, "%d at %d", rc, at);
      }
      duel_end(&d);
    }
  }
  SSL_CTX_free(peer);
  tl_tls_domain_unref(dom);
}

/* ChangeCipherSpec is skipped in TLS 1.3, but not for ever. */
Test(tls, flood_of_change_cipher_spec_ends) {
  struct tl_tls_options o = duel_options();
  struct tl_tls_domain *dom = duel_domain(&o);
  SSL_CTX *peer = duel_context(false, NULL);
  static const uint8_t ccs[] = {TL_CT_CCS, 3, 3, 0, 1, 1};
  struct duel d;
  size_t body;
  uint8_t hello[2048];
  int rc = TL_EAGAIN, n = 0;
  duel_begin(&d, peer, true, dom, NULL, NULL);
  cr_assert_eq(tl_hs_start(d.hs), TL_EAGAIN);
  SSL_do_handshake(d.peer);
  int len = BIO_read(d.from_peer, hello, sizeof(hello));
  cr_assert_eq(tl_hs_input(d.hs, hello, (size_t)len), TL_EAGAIN);
  while (rc == TL_EAGAIN && n++ < 2000) {
    cr_assert_eq(tl_hs_record_len(d.hs, ccs, &body), 0);
    rc = tl_hs_input(d.hs, ccs, sizeof(ccs));
  }
  cr_assert_eq(rc, TL_ETLS);
  cr_assert(n < 1500);
  duel_end(&d);
  SSL_CTX_free(peer);
  tl_tls_domain_unref(dom);
}

Test(tls, alert_of_the_peer_is_kept) {
  struct tl_tls_options o = duel_options();
  struct tl_tls_domain *dom = duel_domain(&o);
  SSL_CTX *peer = duel_context(false, NULL);
  SSL_CTX *wary = SSL_CTX_new(TLS_client_method()); /* trusts nobody */
  SSL_CTX_set_verify(wary, SSL_VERIFY_PEER, NULL);
  struct duel d;
  duel_begin(&d, wary, true, dom, "server.example", NULL);
  duel_run(&d);
  cr_assert_eq(d.rc, TL_ETLS);
  cr_assert_eq(tl_hs_failure(d.hs)->cause, TL_HS_ALERT);
  cr_assert_eq(tl_hs_failure(d.hs)->alert_received, SSL_AD_UNKNOWN_CA);
  duel_end(&d);
  SSL_CTX_free(peer);
  SSL_CTX_free(wary);
  tl_tls_domain_unref(dom);
}

Test(tls, no_common_suite) {
  struct tl_tls_options o = duel_options();
  struct tl_tls_domain *dom = duel_domain(&o);
  SSL_CTX *peer = duel_context(false, NULL);
  struct duel d;
  SSL_CTX_set_max_proto_version(peer, TLS1_2_VERSION);
  SSL_CTX_set_cipher_list(peer, "ECDHE-ECDSA-AES128-SHA256");
  duel_begin(&d, peer, true, dom, NULL, NULL);
  duel_run(&d);
  cr_assert_eq(d.rc, TL_ETLS);
  cr_assert_str_eq(tl_hs_failure(d.hs)->reason, "no shared cipher");
  duel_end(&d);
  SSL_CTX_free(peer);
  tl_tls_domain_unref(dom);
}

Test(tls, max_fragment_length_is_reported) {
  struct tl_tls_options o = duel_options();
  struct tl_tls_domain *dom = duel_domain(&o);
  for (int i = 0; i < SUITES; i += 3) {
    SSL_CTX *peer = duel_context(false, NULL);
    struct duel d;
    struct tl_hs_result s;
    use_suite(peer, &suites[i]);
    SSL_CTX_set_tlsext_max_fragment_length(peer, TLSEXT_max_fragment_length_1024);
    duel_begin(&d, peer, true, dom, NULL, NULL);
    duel_run(&d);
    duel_prove(&d, &s);
    cr_assert_eq(s.max_fragment, 1024);
    tl_hs_result_clear(&s);
    duel_end(&d);
    SSL_CTX_free(peer);
  }
  tl_tls_domain_unref(dom);
}

/* ---- identities ---- */

Test(tls, e20_identity_holds_every_name) {
  struct tl_tls_options o = duel_options();
  o.policy.verify_cert = true;
  struct tl_tls_domain *dom = duel_domain(&o);
  SSL_CTX *peer = duel_context(true, "server");
  struct duel d;
  struct tl_hs_result s;
  duel_begin(&d, peer, false, dom, "server.example", "server.example");
  duel_run(&d);
  duel_prove(&d, &s);
  const struct tl_identity *id = s.peer;
  cr_assert_str_eq(id->subject, "CN=server.example,O=Lab");
  cr_assert_str_eq(id->issuer, "CN=Lab CA,O=Lab");
  cr_assert_str_eq(id->anchor, "CN=Lab CA,O=Lab");
  cr_assert_str_eq(id->cn, "server.example");
  cr_assert_eq(strlen(id->cert_sha256), 64);
  cr_assert_eq(strlen(id->spki_sha256), 64);
  cr_assert(id->verified && id->has_san);
  cr_assert_eq(id->n_san, 3);
  cr_assert_eq(id->san[0].kind, TL_SAN_DNS);
  cr_assert_str_eq(id->san[1].value, "sip:server.example");
  cr_assert_str_eq(id->san[2].value, "127.0.0.1");
  cr_assert(id->not_before < time(NULL) && id->not_after > time(NULL));
  tl_hs_result_clear(&s);
  duel_end(&d);
  SSL_CTX_free(peer);
  tl_tls_domain_unref(dom);
}

/* Connects again and again with the same certificate: the record must stay the same one. */
struct often {
  struct tl_tls_domain *dom;
  SSL_CTX *peer;
};

static void *connect_often(void *arg) {
  struct often *of = arg;
  struct tl_tls_domain *list[1] = {of->dom};
  struct tl_tls_set set = {.domain = list, .n = 1, .fallback = of->dom};
  SSL_CTX *peer = of->peer;
  struct tl_identity *first = NULL;
  for (int i = 0; i < 20; i++) {
    struct duel d;
    struct tl_hs_result s;
    struct tl_hs_params p = {.server = true, .set = &set};
    memset(&d, 0, sizeof(d));
    cr_assert_eq(tl_hs_new(&p, &d.hs), 0);
    d.peer = SSL_new(peer);
    d.to_peer = BIO_new(BIO_s_mem());
    d.from_peer = BIO_new(BIO_s_mem());
    SSL_set_bio(d.peer, d.to_peer, d.from_peer);
    BIO_set_mem_eof_return(d.to_peer, -1);
    SSL_set_connect_state(d.peer);
    duel_run(&d);
    cr_assert_eq(d.rc, 0);
    cr_assert_eq(tl_hs_take(d.hs, &s), 0);
    if (!first) first = tl_identity_ref(s.peer);
    cr_assert_eq(s.peer, first);
    tl_hs_result_clear(&s);
    duel_end(&d);
  }
  tl_identity_unref(first);
  return NULL;
}

Test(tls, identities_are_shared_between_threads) {
  struct tl_tls_options o = duel_options();
  o.policy.verify_cert = true;
  struct tl_tls_domain *dom = duel_domain(&o);
  struct often of = {dom, duel_context(false, "client")};
  pthread_t t[2];
  for (int i = 0; i < 2; i++) pthread_create(&t[i], NULL, connect_often, &of);
  for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
  SSL_CTX_free(of.peer);
  tl_tls_domain_unref(dom);
}
