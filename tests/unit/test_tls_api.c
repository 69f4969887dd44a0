/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS domains as a developer meets them: found for either role, their times
 * read, one and the same used by whatever speaks over it. The headers of tls are
 * all that is included: nothing of SIP, no socket, no thread.
 */
#include <criterion/criterion.h>
#include <openssl/ssl.h>

#include "test_tls_duel.h"

TestSuite(tls_api, .init = pki_open, .fini = pki_close, .timeout = 60);

static struct tl_tls_domain *domain(const char *name, const char **names, bool server, bool client,
                                    uint32_t handshake_ms, uint32_t send_ms) {
  struct tl_tls_options o = duel_options();
  o.name = name;
  o.match_sip_domain = names;
  o.server = server;
  o.client = client;
  o.policy.handshake_timeout_ms = handshake_ms;
  o.policy.send_timeout_ms = send_ms;
  return duel_domain(&o);
}

/* What find_server_domain, find_client_domain and the get_..._timeout calls of the OpenSIPS manager
 * give: the domain, and in it the times. */
Test(tls_api, e24_d37_domains_and_their_times_are_found_in_either_role) {
  const char *a[] = {"a.example", NULL}, *b[] = {"*.b.example", NULL};
  struct tl_tls_domain *all[] = {domain("in", a, true, false, 1500, 2500),
                                 domain("out", a, false, true, 3500, 0),
                                 domain("wild", b, true, true, 0, 4500)};
  struct tl_tls_set set = {.domain = all, .n = 3, .fallback = NULL};
  struct tl_tls_ask ask = {.server = true, .name = TL_STR("A.example.")};
  struct tl_tls_domain *d = tl_tls_choose(&set, &ask, NULL, NULL);
  cr_assert_eq(d, all[0]);
  cr_expect_eq(d->policy.handshake_timeout_ms, 1500);
  cr_expect_eq(d->policy.send_timeout_ms, 2500);
  ask.server = false;
  d = tl_tls_choose(&set, &ask, NULL, NULL);
  cr_assert_eq(d, all[1]);
  cr_expect_eq(d->policy.handshake_timeout_ms, 3500);
  cr_expect_eq(d->policy.send_timeout_ms, 0, "0 stands for the global one");
  ask.name = TL_STR("x.b.example");
  d = tl_tls_choose(&set, &ask, NULL, NULL);
  cr_assert_eq(d, all[2]);
  cr_expect_eq(d->policy.send_timeout_ms, 4500);
  ask.name = TL_STR("c.example");
  cr_expect_null(tl_tls_choose(&set, &ask, NULL, NULL));
  for (int i = 0; i < 3; i++) tl_tls_domain_unref(all[i]);
}

/* Sends TEXT from the peer through S and compares what comes out. */
static void speak(struct duel *d, struct tl_hs_result *s, const char *text) {
  struct tl_record *r;
  struct tl_record_view v;
  uint8_t rec[TL_RECORD_CIPHER_MAX];
  cr_assert_eq(tl_record_new(&s->keys, 0, &r), 0);
  cr_assert_eq(SSL_write(d->peer, text, (int)strlen(text)), (int)strlen(text));
  int n = BIO_read(d->from_peer, rec, sizeof(rec));
  cr_assert_gt(n, 0);
  cr_assert_eq(tl_record_open(r, rec, (size_t)n, &v), 0);
  cr_assert_eq(v.n, strlen(text));
  cr_assert_arr_eq(v.p, text, v.n);
  tl_record_free(r);
}

/* SIP over TLS and a WebSocket upgrade over the same domain, at the same time: it neither knows nor
 * cares, and each holds a reference of its own. */
Test(tls_api, e25_one_domain_for_every_user_of_tls) {
  static const char *const spoken[] = {
      "OPTIONS sip:a.example SIP/2.0\r\n\r\n",
      "GET /sip HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: sip\r\n\r\n"};
  struct tl_tls_options o = duel_options();
  struct tl_tls_domain *dom = duel_domain(&o);
  SSL_CTX *peer = duel_context(false, NULL);
  struct duel d[2];
  struct tl_hs_result s[2];
  for (int i = 0; i < 2; i++) duel_begin(&d[i], peer, true, dom, "server.example", "");
  for (int i = 0; i < 2; i++) {
    duel_run(&d[i]);
    cr_assert_eq(d[i].rc, 0, "%s", tl_hs_failure(d[i].hs)->reason);
    cr_assert_eq(tl_hs_take(d[i].hs, &s[i]), 0);
    cr_expect_eq(s[i].domain, dom);
  }
  tl_tls_domain_unref(dom); /* the sessions keep it */
  for (int i = 0; i < 2; i++) speak(&d[i], &s[i], spoken[i]);
  for (int i = 0; i < 2; i++) {
    cr_expect_str_eq(s[i].domain->name, "lab");
    tl_hs_result_clear(&s[i]);
    duel_end(&d[i]);
  }
  SSL_CTX_free(peer);
}
