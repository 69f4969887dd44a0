/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OCSP: which answers hold, what is stapled and what a staple does to a
 * handshake, in both versions of TLS.
 */
#include <criterion/criterion.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "test_ocsp_answer.h"
#include "test_tls_duel.h"

TestSuite(ocsp, .init = pki_open, .fini = pki_close, .timeout = 60);

enum { GOOD = V_OCSP_CERTSTATUS_GOOD, REVOKED = V_OCSP_CERTSTATUS_REVOKED };

/* ---- answers ---- */

static int judge(const struct ocsp_answer *a, X509 *cert, struct tl_ocsp_verdict *v) {
  uint8_t *der;
  size_t n = ocsp_answer(a, &der);
  int rc = tl_ocsp_judge(der, n, cert, pki_ca.x, time(NULL), v);
  OPENSSL_free(der);
  return rc;
}

Test(ocsp, b20_only_answers_that_hold_are_believed) {
  X509 *server = ocsp_cert("server"), *client = ocsp_cert("client");
  struct kit_cert yes = ocsp_delegate(true), no = ocsp_delegate(false);
  struct kit_cert self =
      kit_make(&(struct kit_options){.subject = "O=Lab/CN=Lab CA", .ext = {KIT_CA}});
  const struct {
    struct ocsp_answer a;
    enum tl_ocsp_status status; /* NONE: refused */
    const char *why;
  } table[] = {
      {{server, pki_ca.x, NULL, GOOD, -60, 600, NULL}, TL_OCSP_GOOD, ""},
      {{server, pki_ca.x, NULL, GOOD, -60, 600, EVP_sha256()}, TL_OCSP_GOOD, ""},
      {{server, pki_ca.x, NULL, GOOD, -60, 0, NULL}, TL_OCSP_GOOD, ""},
      {{server, pki_ca.x, NULL, GOOD, 200, 600, NULL}, TL_OCSP_GOOD, ""}, /* clocks differ */
      {{server, pki_ca.x, &yes, GOOD, -60, 600, NULL}, TL_OCSP_GOOD, ""},
      {{server, pki_ca.x, NULL, REVOKED, -60, 600, NULL}, TL_OCSP_REVOKED, "keyCompromise"},
      {{server, pki_ca.x, NULL, V_OCSP_CERTSTATUS_UNKNOWN, -60, 600, NULL}, TL_OCSP_UNKNOWN, ""},
      {{server, pki_ca.x, NULL, GOOD, -600, -1, NULL}, TL_OCSP_NONE, "out of date"},
      {{server, pki_ca.x, NULL, GOOD, -90000, 0, NULL}, TL_OCSP_NONE, "out of date"},
      {{server, pki_ca.x, NULL, GOOD, 3600, 7200, NULL}, TL_OCSP_NONE, "future"},
      {{server, pki_ca.x, NULL, GOOD, -60, -120, NULL}, TL_OCSP_NONE, "no sense"},
      {{client, pki_ca.x, NULL, GOOD, -60, 600, NULL}, TL_OCSP_NONE, "another certificate"},
      {{server, pki_ca.x, &no, GOOD, -60, 600, NULL}, TL_OCSP_NONE, "not signed"},
      {{server, pki_ca.x, &self, GOOD, -60, 600, NULL}, TL_OCSP_NONE, "not signed"},
  };
  for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
    struct tl_ocsp_verdict v;
    int rc = judge(&table[i].a, server, &v);
    cr_assert_eq(rc, table[i].status == TL_OCSP_NONE ? TL_EVERIFY : 0, "%zu: %s", i, v.why);
    cr_assert_eq((int)v.status, (int)table[i].status, "%zu: %s", i, v.why);
    cr_assert(strstr(v.why, table[i].why), "%zu: %s", i, v.why);
    if (rc == 0) cr_assert_gt(v.next_update, time(NULL));
  }
}

Test(ocsp, b20_damaged_answers_are_refused_whatever_byte_is_hit) {
  X509 *server = ocsp_cert("server");
  const struct ocsp_answer a = {server, pki_ca.x, NULL, GOOD, -60, 600, NULL};
  struct tl_ocsp_verdict v;
  uint8_t *der;
  size_t n = ocsp_answer(&a, &der);
  for (size_t i = 0; i < n; i += 3) {
    cr_assert_eq(tl_ocsp_judge(der, i, server, pki_ca.x, time(NULL), &v), TL_EVERIFY);
    der[i] ^= 0x41;
    if (tl_ocsp_judge(der, n, server, pki_ca.x, time(NULL), &v) == 0)
      cr_assert_eq((int)v.status, TL_OCSP_GOOD, "byte %zu made it say something else", i);
    der[i] ^= 0x41;
  }
  OPENSSL_free(der);
  OCSP_RESPONSE *r = OCSP_response_create(OCSP_RESPONSE_STATUS_TRYLATER, NULL);
  der = NULL;
  n = (size_t)i2d_OCSP_RESPONSE(r, &der);
  cr_assert_eq(tl_ocsp_judge(der, n, server, pki_ca.x, time(NULL), &v), TL_EVERIFY);
  cr_assert(strstr(v.why, "trylater"), "%s", v.why);
  OCSP_RESPONSE_free(r);
  OPENSSL_free(der);
}

Test(ocsp, f6_the_issuer_is_who_signed_not_who_is_named) {
  X509 *server = ocsp_cert("server");
  struct kit_cert twin =
      kit_make(&(struct kit_options){.subject = "O=Lab/CN=Lab CA", .ext = {KIT_CA}});
  STACK_OF(X509) *chain = sk_X509_new_null();
  sk_X509_push(chain, server);
  sk_X509_push(chain, twin.x); /* the right name, another key */
  cr_assert_null(tl_ocsp_issuer(server, chain, NULL));
  sk_X509_push(chain, pki_ca.x);
  X509 *found = tl_ocsp_issuer(server, chain, NULL);
  cr_assert_not_null(found);
  cr_assert_eq(X509_cmp(found, pki_ca.x), 0);
  X509_free(found);
  sk_X509_free(chain);
}

/* ---- our staple ---- */

static struct tl_tls_domain *stapling_domain(void) {
  struct tl_tls_options o = duel_options();
  o.policy.verify_cert = true; /* so that the authority is known */
  o.policy.ocsp.staple = TL_STAPLE_FETCH;
  return duel_domain(&o);
}

static int set_staple(struct tl_tls_domain *d, int status, long from_s, long to_s, time_t now) {
  const struct ocsp_answer a = {d->staple[0].cert, pki_ca.x, NULL, status, from_s, to_s, NULL};
  struct tl_ocsp_verdict v;
  uint8_t *der;
  size_t n = ocsp_answer(&a, &der);
  int rc = tl_staple_set(&d->staple[0], der, n, now, &v);
  OPENSSL_free(der);
  return rc;
}

/* Length of the staple that a client gets; 0: none. */
static long staple_seen(struct tl_tls_domain *d, int version, bool ask) {
  SSL_CTX *ctx = duel_context(false, NULL);
  SSL_CTX_set_min_proto_version(ctx, version);
  SSL_CTX_set_max_proto_version(ctx, version);
  struct duel du;
  struct tl_hs_result s;
  const uint8_t *der = NULL;
  duel_begin(&du, ctx, true, d, "server.example", NULL);
  if (ask) SSL_set_tlsext_status_type(du.peer, TLSEXT_STATUSTYPE_ocsp);
  duel_run(&du);
  long n = SSL_get_tlsext_status_ocsp_resp(du.peer, &der);
  struct tl_ocsp_verdict v;
  if (n > 0)
    cr_assert_eq(tl_ocsp_judge(der, (size_t)n, d->staple[0].cert, pki_ca.x, time(NULL), &v), 0);
  duel_prove(&du, &s);
  cr_assert_eq(s.stapled, n > 0);
  tl_hs_result_clear(&s);
  duel_end(&du);
  SSL_CTX_free(ctx);
  return n > 0 ? n : 0;
}

Test(ocsp, b20_our_staple_goes_to_who_asks_in_both_versions) {
  struct tl_tls_domain *d = stapling_domain();
  cr_assert_eq(d->n_staple, 1);
  cr_assert_eq(staple_seen(d, TLS1_2_VERSION, true), 0);
  cr_assert_eq(staple_seen(d, TLS1_3_VERSION, true), 0);
  cr_assert_eq(set_staple(d, GOOD, -60, 600, time(NULL)), 0);
  for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
    cr_assert_gt(staple_seen(d, version, true), 0);
    cr_assert_eq(staple_seen(d, version, false), 0);
  }
  tl_tls_domain_unref(d);
}

Test(ocsp, b20_nothing_stale_or_bad_is_ever_stapled) {
  struct tl_tls_domain *d = stapling_domain();
  cr_assert_eq(set_staple(d, REVOKED, -60, 600, time(NULL)), TL_EVERIFY);
  cr_assert_eq(set_staple(d, GOOD, -600, -1, time(NULL)), TL_EVERIFY);
  cr_assert_eq(staple_seen(d, TLS1_3_VERSION, true), 0);
  /* Good when it was taken in, out of date when it is asked for. */
  cr_assert_eq(set_staple(d, GOOD, -600, -1, time(NULL) - 300), 0);
  cr_assert_eq(staple_seen(d, TLS1_3_VERSION, true), 0);
  cr_assert_eq(staple_seen(d, TLS1_2_VERSION, true), 0);
  /* A bad answer leaves the good one before it alone. */
  cr_assert_eq(set_staple(d, GOOD, -60, 600, time(NULL)), 0);
  cr_assert_eq(set_staple(d, REVOKED, -60, 600, time(NULL)), TL_EVERIFY);
  cr_assert_gt(staple_seen(d, TLS1_3_VERSION, true), 0);
  tl_tls_domain_unref(d);
}

Test(ocsp, b20_a_domain_built_anew_keeps_the_staple_of_the_same_certificate) {
  struct tl_tls_domain *before = stapling_domain(), *after = stapling_domain();
  cr_assert_eq(set_staple(before, GOOD, -60, 600, time(NULL)), 0);
  tl_staple_inherit(&after->staple[0], &before->staple[0], time(NULL));
  cr_assert_gt(staple_seen(after, TLS1_3_VERSION, true), 0);
  tl_tls_domain_unref(before);
  tl_tls_domain_unref(after);
}

static void write_der(const char *file, const uint8_t *p, size_t n) {
  FILE *f = fopen(pki_path(file), "w");
  fwrite(p, 1, n, f);
  fclose(f);
}

Test(ocsp, b20_a_file_is_stapled_and_a_wrong_one_is_named) {
  struct tl_tls_options o = duel_options();
  X509 *server = ocsp_cert("server"), *client = ocsp_cert("client");
  char file[256], err[512];
  const char *option;
  struct tl_tls_domain *d = NULL;
  snprintf(file, sizeof(file), "%s", pki_path("staple.der"));
  o.policy.verify_cert = true;
  o.policy.ocsp.staple = TL_STAPLE_FILE;
  cr_assert_eq(tl_tls_domain_new(&o, err, sizeof(err), &option, &d), TL_ECONFIG);
  cr_assert_str_eq(option, "ocsp_staple");
  o.ocsp_file = file;
  cr_assert_eq(tl_tls_domain_new(&o, err, sizeof(err), &option, &d), TL_ECONFIG);
  cr_assert(strstr(err, "cannot be read"), "%s", err);
  for (int i = 0; i < 3; i++) { /* of another certificate, out of date, good */
    const struct ocsp_answer a = {i ? server : client, pki_ca.x, NULL, GOOD, -600,
                                  i == 1 ? -1 : 600,   NULL};
    uint8_t *der;
    size_t n = ocsp_answer(&a, &der);
    write_der("staple.der", der, n);
    OPENSSL_free(der);
    int rc = tl_tls_domain_new(&o, err, sizeof(err), &option, &d);
    cr_assert_eq(rc, i ? 0 : TL_ECONFIG, "%d: %s", i, err);
    if (rc) {
      cr_assert_str_eq(option, "ocsp_file");
      cr_assert(strstr(err, file) && strstr(err, "another certificate"), "%s", err);
      continue;
    }
    cr_assert_eq(staple_seen(d, TLS1_3_VERSION, true) > 0, i == 2);
    tl_tls_domain_unref(d);
  }
}

Test(ocsp, b20_options_that_contradict_are_refused) {
  const struct {
    struct tl_ocsp_policy p;
    bool server, client, verify;
    const char *option, *url, *file;
  } table[] = {
      {{.staple = TL_STAPLE_FETCH}, false, true, true, "ocsp_staple", NULL, NULL},
      {{.stapled = TL_STAPLED_ASK}, true, false, true, "ocsp_stapled", NULL, NULL},
      {{.stapled = TL_STAPLED_ASK}, true, true, false, "ocsp_stapled", NULL, NULL},
      {{.client = TL_OCSP_CLIENT_SOFT}, false, true, true, "ocsp_client", NULL, NULL},
      {{.client = TL_OCSP_CLIENT_HARD}, true, true, false, "ocsp_client", NULL, NULL},
      {{0}, true, true, true, "ocsp_url", "https://ocsp.example/", NULL},
      {{0}, true, true, true, "ocsp_file", NULL, "x.der"},
  };
  for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
    struct tl_tls_options o = duel_options();
    struct tl_tls_domain *d;
    char err[512];
    const char *option = "";
    o.policy.ocsp = table[i].p;
    o.ocsp_url = table[i].url;
    o.ocsp_file = table[i].file;
    o.server = table[i].server;
    o.client = table[i].client;
    o.policy.verify_cert = table[i].verify;
    cr_assert_eq(tl_tls_domain_new(&o, err, sizeof(err), &option, &d), TL_ECONFIG, "%zu", i);
    cr_assert_str_eq(option, table[i].option);
  }
}

/* ---- the server's staple ---- */

static uint8_t *their_staple;
static size_t their_n;

static int give_staple(SSL *ssl, void *arg) {
  (void)arg;
  if (!their_staple) return SSL_TLSEXT_ERR_NOACK;
  SSL_set_tlsext_status_ocsp_resp(ssl, OPENSSL_memdup(their_staple, their_n), (long)their_n);
  return SSL_TLSEXT_ERR_OK;
}

struct theirs {
  int status; /* -1: no staple, -2: garbage */
  long to_s;
  enum tl_ocsp_stapled want;
  bool ok;
  const char *reason;
};

static X509 *must_staple(SSL_CTX *ctx) {
  struct kit_cert c =
      kit_make(&(struct kit_options){.subject = "CN=x",
                                     .issuer = &pki_ca,
                                     .ext = {"subjectAltName=URI:sip:server.example",
                                             "tlsfeature=status_request_v2,status_request"}});
  kit_show(ctx, &c, NULL);
  return c.x;
}

/* MUST: the certificate says must-staple (RFC 7633). */
static void against(const struct theirs *t, bool must, int version, bool accept) {
  struct tl_tls_options o = duel_options();
  o.policy.verify_cert = true;
  o.policy.on_unverified = accept ? TL_UNVERIFIED_ACCEPT : TL_UNVERIFIED_REJECT;
  o.policy.ocsp.stapled = t->want;
  struct tl_tls_domain *d = duel_domain(&o);
  SSL_CTX *ctx = duel_context(true, "server");
  X509 *server = must ? must_staple(ctx) : ocsp_cert("server");
  SSL_CTX_set_max_proto_version(ctx, version);
  SSL_CTX_set_tlsext_status_cb(ctx, give_staple);
  const struct ocsp_answer a = {server, pki_ca.x, NULL, t->status, -600, t->to_s, NULL};
  their_staple = NULL;
  if (t->status >= 0) their_n = ocsp_answer(&a, &their_staple);
  if (t->status == -2) their_staple = OPENSSL_memdup("\x30\x03garbage", their_n = 9);
  struct duel du;
  struct tl_hs_result s;
  duel_begin(&du, ctx, false, d, "server.example", "server.example");
  duel_run(&du);
  if (t->ok || accept) {
    duel_prove(&du, &s);
    cr_assert_eq(s.peer_verified, t->ok);
    cr_assert_eq(s.stapled, t->ok && t->status == GOOD && t->to_s > 0 && t->want != TL_STAPLED_OFF);
    tl_hs_result_clear(&s);
  } else {
    const struct tl_hs_failure *f = tl_hs_failure(du.hs);
    cr_assert_eq(du.rc, TL_EVERIFY, "%s", f->reason);
    cr_assert_eq((int)f->cause, (int)TL_HS_VERIFY);
    cr_assert_eq(f->alert_sent, SSL_AD_BAD_CERTIFICATE_STATUS_RESPONSE);
    cr_assert(strstr(f->reason, t->reason), "%s", f->reason);
  }
  duel_end(&du);
  OPENSSL_free(their_staple);
  SSL_CTX_free(ctx);
  tl_tls_domain_unref(d);
}

Test(ocsp, f6_the_servers_staple_is_checked) {
  static const struct theirs table[] = {
      {GOOD, 600, TL_STAPLED_OFF, true, ""},
      {REVOKED, 600, TL_STAPLED_OFF, true, ""}, /* not asked for, not sent */
      {GOOD, 600, TL_STAPLED_ASK, true, ""},
      {-1, 600, TL_STAPLED_ASK, true, ""},
      {-2, 600, TL_STAPLED_ASK, true, ""},
      {GOOD, -1, TL_STAPLED_ASK, true, ""},
      {REVOKED, 600, TL_STAPLED_ASK, false, "revoked: keyCompromise"},
      {GOOD, 600, TL_STAPLED_REQUIRE, true, ""},
      {-1, 600, TL_STAPLED_REQUIRE, false, "stapled no OCSP answer"},
      {-2, 600, TL_STAPLED_REQUIRE, false, "no OCSP response"},
      {GOOD, -1, TL_STAPLED_REQUIRE, false, "out of date"},
      {V_OCSP_CERTSTATUS_UNKNOWN, 600, TL_STAPLED_REQUIRE, false, "does not know"},
      {REVOKED, 600, TL_STAPLED_REQUIRE, false, "revoked: keyCompromise"},
  };
  for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
    for (int v = TLS1_2_VERSION; v <= TLS1_3_VERSION; v++) {
      against(&table[i], false, v, false);
      against(&table[i], false, v, true);
    }
}

/* Who asks for answers does not take such a certificate without one, even if he requires none. */
Test(ocsp, b20_must_staple_is_heeded) {
  static const struct theirs table[] = {
      {-1, 600, TL_STAPLED_OFF, true, ""},
      {GOOD, 600, TL_STAPLED_ASK, true, ""},
      {-1, 600, TL_STAPLED_ASK, false, "stapled no OCSP answer"},
      {GOOD, -1, TL_STAPLED_ASK, false, "out of date"},
  };
  for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
    for (int v = TLS1_2_VERSION; v <= TLS1_3_VERSION; v++) against(&table[i], true, v, false);
}

/* ---- what is known of clients ---- */

Test(ocsp, f6_verdicts_are_kept_until_they_end_and_their_number_is_bounded) {
  const time_t now = time(NULL);
  struct tl_ocsp_known k = {.status = TL_OCSP_GOOD, .until = now + 10}, got;
  cr_assert_not(tl_ocsp_recall(k.sha256, now, &got));
  tl_ocsp_remember(&k);
  cr_assert(tl_ocsp_recall(k.sha256, now, &got));
  cr_assert_not(tl_ocsp_recall(k.sha256, now + 10, &got));
  k.status = TL_OCSP_REVOKED; /* the newer one counts */
  tl_ocsp_remember(&k);
  cr_assert(tl_ocsp_recall(k.sha256, now, &got));
  cr_assert_eq((int)got.status, TL_OCSP_REVOKED);
  for (unsigned i = 1; i < 3 * TL_OCSP_KNOWN_MAX; i++) {
    k.sha256[0] = (uint8_t)i, k.sha256[1] = (uint8_t)(i >> 8), k.sha256[2] = (uint8_t)(i >> 16);
    tl_ocsp_remember(&k);
    cr_assert(tl_ocsp_recall(k.sha256, now, &got), "%u", i);
  }
  cr_assert_leq(tl_ocsp_known_all(now, NULL, 0), TL_OCSP_KNOWN_MAX);
}

/* The next update, or the longest wait if that is shorter, a tenth less at most; after a failure
 * half a minute; never now, so that nobody is asked without pause. */
Test(ocsp, f6_when_a_verdict_ends_and_is_asked_for_again) {
  const time_t now = 1000000;
  struct tl_ocsp_verdict v = {.status = TL_OCSP_GOOD, .next_update = now + 1000};
  static const struct {
    enum tl_ocsp_status status;
    int next_update;
    uint32_t recheck_s;
    int least, most;
  } row[] = {
      {TL_OCSP_GOOD, 1000, 3600, 900, 1000},
      {TL_OCSP_GOOD, 604800, 3600, 3240, 3600},
      {TL_OCSP_GOOD, 2, 3600, 2, 2},
      {TL_OCSP_GOOD, 0, 3600, 1, 1},
      {TL_OCSP_GOOD, -5, 3600, 1, 1},
      {TL_OCSP_GOOD, 5000, 0, 1, 1},
      {TL_OCSP_NONE, 0, 3600, 27, 30},
      {TL_OCSP_UNKNOWN, 9999, 3600, 27, 30},
      {TL_OCSP_NONE, 0, 5, 5, 5},
      {TL_OCSP_REVOKED, 9999, 60, 9999, 9999},
      {TL_OCSP_REVOKED, -1, 60, 1, 1},
  };
  for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
    time_t least = 0, most = 0;
    v.status = row[i].status;
    v.next_update = now + row[i].next_update;
    for (uint32_t r = 0; r < 5000; r++) {
      const time_t at = tl_ocsp_until(&v, now, row[i].recheck_s, r * 2654435761u) - now;
      if (!least || at < least) least = at;
      if (at > most) most = at;
    }
    cr_expect_geq(least, row[i].least, "row %zu: %ld", i, (long)least);
    cr_expect_leq(most, row[i].most, "row %zu: %ld", i, (long)most);
    cr_expect(least == most || most - least > (row[i].most - row[i].least) / 2, "row %zu", i);
  }
}

Test(ocsp, f6_the_next_verdict_to_end_is_found) {
  struct tl_ocsp_known k = {.status = TL_OCSP_GOOD};
  cr_expect_eq(tl_ocsp_known_next(0), 0);
  for (uint8_t i = 1; i <= 3; i++) {
    k.sha256[0] = i;
    k.until = 100 * (4 - i);
    tl_ocsp_remember(&k);
  }
  cr_expect_eq(tl_ocsp_known_next(0), 100);
  cr_expect_eq(tl_ocsp_known_next(100), 200, "what has ended is over");
  cr_expect_eq(tl_ocsp_known_next(299), 300);
  cr_expect_eq(tl_ocsp_known_next(300), 0);
}

Test(ocsp, f6_a_client_known_to_be_revoked_fails_the_handshake) {
  struct tl_tls_options o = duel_options();
  o.policy.verify_cert = o.policy.require_cert = true;
  o.policy.ocsp.client = TL_OCSP_CLIENT_SOFT;
  struct tl_tls_domain *d = duel_domain(&o);
  X509 *client = ocsp_cert("client");
  struct tl_ocsp_known k = {.status = TL_OCSP_REVOKED, .until = time(NULL) + 100};
  for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++)
    for (int known = 0; known < 2; known++) {
      SSL_CTX *ctx = duel_context(false, "client");
      struct duel du;
      SSL_CTX_set_max_proto_version(ctx, version);
      cr_assert_eq(X509_digest(client, EVP_sha256(), k.sha256, NULL), 1);
      k.until = known ? time(NULL) + 100 : 1;
      tl_ocsp_remember(&k);
      duel_begin(&du, ctx, true, d, "server.example", NULL);
      duel_run(&du);
      const struct tl_hs_failure *f = tl_hs_failure(du.hs);
      cr_assert_eq(du.rc, known ? TL_EVERIFY : 0, "%s", f->reason);
      if (known) cr_assert_eq(f->alert_sent, SSL_AD_CERTIFICATE_REVOKED);
      if (known) cr_assert_eq(f->verify_code, X509_V_ERR_CERT_REVOKED);
      duel_end(&du);
      SSL_CTX_free(ctx);
    }
  tl_tls_domain_unref(d);
}
