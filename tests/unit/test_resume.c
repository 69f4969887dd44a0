/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resumption as server: a session goes on only in the same domain, by keys of
 * ours, and while its client's certificate still passes; else there is a full
 * handshake. Issue item 4.12.
 */
#include <criterion/criterion.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <unistd.h>

#include "test_tls_duel.h"
#include "tls/ticket_keys.h"

TestSuite(resume, .init = pki_open, .fini = pki_close, .timeout = 60);

/* One connection that offers *IO_SESSION and leaves the newest there. */
static void connect_once(SSL_CTX *peer, struct tl_tls_domain *dom, SSL_SESSION **io_session,
                         struct tl_hs_result *out) {
  struct duel d;
  duel_begin(&d, peer, true, dom, "server.example", NULL);
  if (*io_session) SSL_set_session(d.peer, *io_session);
  duel_run(&d);
  duel_prove(&d, out);
  SSL_SESSION_free(*io_session);
  *io_session = SSL_get1_session(d.peer);
  SSL_set_shutdown(d.peer, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  duel_end(&d);
}

/* The second of two connections, with WHAT done in between. */
static struct tl_hs_result again(int version, bool keep_first,
                                 void (*what)(struct tl_tls_options *o, struct tl_tls_domain *d)) {
  struct tl_tls_options o = duel_options();
  o.policy.verify_cert = o.policy.require_cert = true;
  o.policy.ocsp.client = TL_OCSP_CLIENT_SOFT;
  struct tl_tls_domain *dom = duel_domain(&o);
  SSL_CTX *peer = duel_context(false, "client");
  SSL_SESSION *kept = NULL;
  struct tl_hs_result a, b;
  SSL_CTX_set_max_proto_version(peer, version);
  connect_once(peer, dom, &kept, &a);
  cr_assert_not(a.resumed || a.resume_offered);
  if (!keep_first) tl_hs_result_clear(&a);
  if (what) what(&o, dom);
  connect_once(peer, dom, &kept, &b);
  if (keep_first) {
    cr_assert_eq(b.peer, a.peer, "the identity is that of the full handshake");
    tl_hs_result_clear(&a);
  }
  cr_assert(b.peer_verified);
  tl_hs_result_clear(&b);
  SSL_SESSION_free(kept);
  SSL_CTX_free(peer);
  tl_tls_domain_unref(dom);
  return b;
}

static void forget_keys(struct tl_tls_options *o, struct tl_tls_domain *d) {
  (void)o;
  d->ticket_keys->present.set = d->ticket_keys->former.set = false;
}

static void age_keys(struct tl_tls_domain *d, uint64_t ms) {
  d->ticket_keys->present.born_ms -= ms;
  d->ticket_keys->former.born_ms -= ms;
}

Test(resume, i4_12_a_session_goes_on_while_its_identity_is_known) {
  for (int v = TLS1_2_VERSION; v <= TLS1_3_VERSION; v++) {
    struct tl_hs_result s = again(v, true, NULL);
    cr_assert(s.resumed && s.resume_offered && !s.resume_refused);
    /* The ticket holds the leaf alone: with nobody left who knows the chain, it is asked again. */
    s = again(v, false, NULL);
    cr_assert(!s.resumed && s.resume_offered && s.resume_refused);
  }
}

Test(resume, i4_12_a_ticket_of_forgotten_keys_means_a_full_handshake) {
  for (int v = TLS1_2_VERSION; v <= TLS1_3_VERSION; v++) {
    struct tl_hs_result s = again(v, true, forget_keys);
    cr_assert(!s.resumed && s.resume_offered && !s.resume_refused);
  }
}

static void half_a_life(struct tl_tls_options *o, struct tl_tls_domain *d) {
  (void)o;
  age_keys(d, TL_TICKET_LIFE_S * 500 + 1000);
}

static void a_life(struct tl_tls_options *o, struct tl_tls_domain *d) {
  (void)o;
  age_keys(d, TL_TICKET_LIFE_S * 1000 + 1000);
}

Test(resume, i4_12_keys_rotate_and_the_former_one_opens_for_its_life) {
  for (int v = TLS1_2_VERSION; v <= TLS1_3_VERSION; v++) {
    struct tl_hs_result s = again(v, true, half_a_life);
    cr_assert(s.resumed);
    s = again(v, true, a_life);
    cr_assert(!s.resumed && s.resume_offered);
  }
}

/* ticket_lifetime is what the client is told, how long the session holds, and twice the time that a
 * key seals; every domain has its own, and no key outlives it. */
Test(resume, i4_12_a_lifetime_is_its_domains) {
  static const uint32_t life_s[] = {10, 604800};
  for (int v = TLS1_2_VERSION; v <= TLS1_3_VERSION; v++)
    for (int i = 0; i < 2; i++) {
      struct tl_tls_options o = duel_options();
      o.policy.ticket_lifetime_ms = 1000 * life_s[i];
      struct tl_tls_domain *dom = duel_domain(&o), *other = duel_domain(&o);
      SSL_CTX *peer = duel_context(false, NULL);
      SSL_SESSION *kept = NULL;
      struct tl_hs_result s;
      SSL_CTX_set_max_proto_version(peer, v);
      cr_expect_eq(tl_tickets_wipe(dom->ticket_keys), 0, "none before it is needed");
      connect_once(peer, dom, &kept, &s);
      cr_expect_eq(SSL_SESSION_get_ticket_lifetime_hint(kept), life_s[i]);
      tl_hs_result_clear(&s);
      age_keys(dom, life_s[i] * UINT64_C(500));
      connect_once(peer, dom, &kept, &s);
      cr_expect(s.resumed, "by the former key, life %u", life_s[i]);
      cr_expect_eq(tl_tickets_wipe(dom->ticket_keys), 2);
      cr_expect_eq(tl_tickets_wipe(other->ticket_keys), 0);
      tl_hs_result_clear(&s);
      age_keys(dom, life_s[i] * UINT64_C(500));
      cr_expect_eq(tl_tickets_wipe(dom->ticket_keys), 1, "the first is wiped, the second opens");
      connect_once(peer, dom, &kept, &s);
      cr_expect(s.resumed, "by the second key, which came with the resumption");
      tl_hs_result_clear(&s);
      age_keys(dom, life_s[i] * UINT64_C(1000));
      cr_expect_eq(tl_tickets_wipe(dom->ticket_keys), 0, "without a handshake");
      connect_once(peer, dom, &kept, &s);
      cr_expect(!s.resumed && s.resume_offered);
      tl_hs_result_clear(&s);
      SSL_SESSION_free(kept);
      SSL_CTX_free(peer);
      tl_tls_domain_unref(dom);
      tl_tls_domain_unref(other);
    }
}

/* The session's own age counts too, with a ticket or an id: OpenSSL looks at the wall clock. */
Test(resume, i4_12_a_session_past_its_lifetime_is_refused) {
  struct tl_tls_options o = duel_options();
  o.policy.ticket_lifetime_ms = 1000;
  struct tl_tls_domain *dom = duel_domain(&o);
  for (int v = TLS1_2_VERSION; v <= TLS1_3_VERSION; v++) {
    SSL_CTX *peer = duel_context(false, NULL);
    SSL_SESSION *kept = NULL;
    struct tl_hs_result s;
    SSL_CTX_set_max_proto_version(peer, v);
    SSL_CTX_set_options(peer, v == TLS1_2_VERSION ? SSL_OP_NO_TICKET : 0);
    connect_once(peer, dom, &kept, &s);
    tl_hs_result_clear(&s);
    usleep(2100000);
    SSL_SESSION_set_timeout(kept, 1000); /* the client would still offer it */
    connect_once(peer, dom, &kept, &s);
    cr_expect_not(s.resumed);
    tl_hs_result_clear(&s);
    SSL_SESSION_free(kept);
    SSL_CTX_free(peer);
  }
  tl_tls_domain_unref(dom);
}

Test(resume, i4_12_a_revoked_client_cannot_resume) {
  struct tl_tls_options o = duel_options();
  o.policy.verify_cert = o.policy.require_cert = true;
  o.policy.ocsp.client = TL_OCSP_CLIENT_SOFT;
  struct tl_tls_domain *dom = duel_domain(&o);
  for (int v = TLS1_2_VERSION; v <= TLS1_3_VERSION; v++) {
    SSL_CTX *peer = duel_context(false, "client");
    SSL_SESSION *kept = NULL;
    struct tl_hs_result a;
    struct duel d;
    SSL_CTX_set_max_proto_version(peer, v);
    connect_once(peer, dom, &kept, &a);
    struct tl_ocsp_known k = {.status = TL_OCSP_REVOKED, .until = time(NULL) + 100};
    cr_assert_eq(X509_digest(sk_X509_value(a.peer->chain, 0), EVP_sha256(), k.sha256, NULL), 1);
    tl_ocsp_remember(&k);
    duel_begin(&d, peer, true, dom, "server.example", NULL);
    SSL_set_session(d.peer, kept);
    duel_run(&d);
    cr_assert_eq(d.rc, TL_EVERIFY);
    cr_assert_eq(tl_hs_failure(d.hs)->verify_code, X509_V_ERR_CERT_REVOKED);
    duel_end(&d);
    k.until = 1;
    tl_ocsp_remember(&k);
    tl_hs_result_clear(&a);
    SSL_SESSION_free(kept);
    SSL_CTX_free(peer);
  }
  tl_tls_domain_unref(dom);
}

Test(resume, i4_12_resumption_false_means_never) {
  struct tl_tls_options o = duel_options();
  o.policy.resumption = false;
  struct tl_tls_domain *dom = duel_domain(&o);
  for (int v = TLS1_2_VERSION; v <= TLS1_3_VERSION; v++)
    for (int tickets = 0; tickets < 2; tickets++) {
      SSL_CTX *peer = duel_context(false, NULL);
      SSL_SESSION *kept = NULL;
      SSL_CTX_set_max_proto_version(peer, v);
      if (!tickets) SSL_CTX_set_options(peer, SSL_OP_NO_TICKET);
      for (int i = 0; i < 3; i++) {
        struct tl_hs_result s;
        connect_once(peer, dom, &kept, &s);
        cr_assert_not(s.resumed);
        tl_hs_result_clear(&s);
      }
      SSL_SESSION_free(kept);
      SSL_CTX_free(peer);
    }
  tl_tls_domain_unref(dom);
}
