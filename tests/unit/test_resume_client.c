/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resumption as client, in both versions: what is kept, what is offered, and
 * what keeps a session from being offered. Issue item 4.12.
 */
#include <criterion/criterion.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "test_tls_duel.h"

TestSuite(resume_client, .init = pki_open, .fini = pki_close, .timeout = 60);

static struct tl_addr here, there;

static SSL_CTX *server(int version) {
  SSL_CTX *ctx = duel_context(true, "server");
  tl_addr_parse(tl_str_c("192.0.2.1"), 5061, &here);
  tl_addr_parse(tl_str_c("192.0.2.2"), 5061, &there);
  SSL_CTX_set_min_proto_version(ctx, version);
  SSL_CTX_set_max_proto_version(ctx, version);
  SSL_CTX_set_session_id_context(ctx, (const uint8_t *)"peer", 4);
  return ctx;
}

static struct tl_tls_domain *client(bool resumption) {
  struct tl_tls_options o = duel_options();
  o.policy.verify_cert = o.policy.verify_name = true;
  o.policy.resumption = resumption;
  return duel_domain(&o);
}

/* What the worker does: every handshake record behind the handshake goes to LATE. */
static void read_late(struct duel *d, const struct tl_hs_result *s, struct tl_hs *late) {
  uint8_t buf[8192];
  struct tl_record_view v;
  struct tl_record *r;
  bool over = false;
  cr_assert_eq(tl_record_new(&s->keys, 0, &r), 0);
  int n = BIO_read(d->from_peer, buf, sizeof(buf));
  for (size_t at = 0; n > 0 && at < (size_t)n && !over; at += v.used) {
    cr_assert_eq(tl_record_open(r, buf + at, (size_t)n - at, &v), 0);
    if (v.type == TL_CT_HANDSHAKE) over = tl_hs_post_input(late, v.p, v.n);
  }
  cr_assert(over, "a ticket ends the wait");
  tl_record_free(r);
}

static struct tl_hs_result connect_to(SSL_CTX *peer, struct tl_tls_domain *dom,
                                      const struct tl_addr *remote, const char *name) {
  struct duel d;
  struct tl_hs_result s;
  duel_remote = remote;
  duel_begin(&d, peer, false, dom, "server.example", name);
  duel_run(&d);
  cr_assert_eq(d.rc, 0, "%s", tl_hs_failure(d.hs)->reason);
  cr_assert_eq(tl_hs_take(d.hs, &s), 0, "%s", tl_hs_failure(d.hs)->reason);
  cr_assert(s.peer_verified);
  cr_assert_eq(s.resumed, SSL_session_reused(d.peer));
  struct tl_hs *late = tl_hs_post(d.hs, &s);
  cr_assert_eq(late != NULL, s.keys.version == TL_TLS_1_3 && remote && dom->policy.resumption);
  if (late) read_late(&d, &s, late);
  SSL_set_shutdown(d.peer, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  duel_end(&d);
  duel_remote = NULL;
  return s;
}

static bool resumes(SSL_CTX *peer, struct tl_tls_domain *dom, const struct tl_addr *remote,
                    const char *name) {
  struct tl_hs_result s = connect_to(peer, dom, remote, name);
  bool resumed = s.resumed;
  cr_assert(!resumed || s.resume_offered);
  cr_assert_str_eq(s.peer->cn, "server.example");
  tl_hs_result_clear(&s);
  return resumed;
}

Test(resume_client, i4_12_the_second_connection_resumes_and_the_third_too) {
  for (int v = TLS1_2_VERSION; v <= TLS1_3_VERSION; v++) {
    SSL_CTX *peer = server(v);
    struct tl_tls_domain *dom = client(true);
    cr_assert_not(resumes(peer, dom, &here, "server.example"));
    for (int i = 0; i < 3; i++) cr_assert(resumes(peer, dom, &here, "server.example"), "%x", v);
    tl_tls_domain_unref(dom);
    SSL_CTX_free(peer);
  }
}

Test(resume_client, i4_12_never_to_another_address_name_domain_or_without_leave) {
  for (int v = TLS1_2_VERSION; v <= TLS1_3_VERSION; v++) {
    SSL_CTX *peer = server(v);
    struct tl_tls_domain *dom = client(true), *other = client(true), *never = client(false);
    cr_assert_not(resumes(peer, dom, &here, "server.example"));
    cr_assert_not(resumes(peer, dom, &there, "server.example"));
    cr_assert_not(resumes(peer, dom, &here, ""));
    cr_assert_not(resumes(peer, other, &here, "server.example"));
    for (int i = 0; i < 2; i++) cr_assert_not(resumes(peer, never, &here, "server.example"));
    cr_assert(resumes(peer, dom, &here, "server.example"));
    tl_tls_domain_unref(dom);
    tl_tls_domain_unref(other);
    tl_tls_domain_unref(never);
    SSL_CTX_free(peer);
  }
}

Test(resume_client, i4_12_a_server_that_forgot_gets_a_full_handshake) {
  for (int v = TLS1_2_VERSION; v <= TLS1_3_VERSION; v++) {
    SSL_CTX *peer = server(v), *again = server(v);
    struct tl_tls_domain *dom = client(true);
    cr_assert_not(resumes(peer, dom, &here, "server.example"));
    struct tl_hs_result s = connect_to(again, dom, &here, "server.example");
    cr_assert(!s.resumed && s.resume_offered);
    tl_hs_result_clear(&s);
    tl_tls_domain_unref(dom);
    SSL_CTX_free(peer);
    SSL_CTX_free(again);
  }
}
