/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The harness of the handshake tests; no test by itself.
 */
#include "test_tls_duel.h"

#include <criterion/criterion.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>

const struct tl_addr *duel_remote;
static const char *cert_list[2], *key_list[2];

SSL_CTX *duel_context(bool server, const char *cert) {
  SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
  char file[64];
  cr_assert(ctx);
  SSL_CTX_load_verify_file(ctx, pki_path("ca.pem"));
  if (!cert) return ctx;
  snprintf(file, sizeof(file), "%s.pem", cert);
  cr_assert_eq(SSL_CTX_use_certificate_chain_file(ctx, pki_path(file)), 1);
  snprintf(file, sizeof(file), "%s.key", cert);
  cr_assert_eq(SSL_CTX_use_PrivateKey_file(ctx, pki_path(file), SSL_FILETYPE_PEM), 1);
  return ctx;
}

struct tl_tls_options duel_options(void) {
  static char cert[128], key[128], ca[128];
  snprintf(cert, sizeof(cert), "%s", pki_path("server.pem"));
  snprintf(key, sizeof(key), "%s", pki_path("server.key"));
  snprintf(ca, sizeof(ca), "%s", pki_path("ca.pem"));
  cert_list[0] = cert;
  key_list[0] = key;
  return (struct tl_tls_options){.name = "lab",
                                 .certificate = cert_list,
                                 .private_key = key_list,
                                 .ca_list = ca,
                                 .policy.send_ca_names = true,
                                 .policy.resumption = true,
                                 .policy.verify_depth = 9,
                                 .min_version = TL_TLS_1_2,
                                 .max_version = TL_TLS_1_3,
                                 .policy.tickets = 2,
                                 .server = true,
                                 .client = true};
}

struct tl_tls_domain *duel_domain(const struct tl_tls_options *o) {
  struct tl_tls_domain *d;
  char err[256];
  const char *option;
  cr_assert_eq(tl_tls_domain_new(o, err, sizeof(err), &option, &d), 0, "%s", err);
  return d;
}

void duel_begin(struct duel *d, SSL_CTX *peer, bool server, struct tl_tls_domain *dom,
                const char *sni, const char *verify_name) {
  static struct tl_tls_domain *list[1];
  static struct tl_tls_set set;
  list[0] = dom;
  set = (struct tl_tls_set){.domain = list, .n = 1, .fallback = dom};
  struct tl_hs_params p = {.server = server};
  if (server)
    p.set = &set;
  else
    p.domain = dom;
  p.remote = duel_remote;
  p.sni = tl_str_c(sni);
  p.verify_name = tl_str_c(verify_name);
  duel_begin_with(d, peer, &p);
}

void duel_begin_with(struct duel *d, SSL_CTX *peer, const struct tl_hs_params *p) {
  memset(d, 0, sizeof(*d));
  cr_assert_eq(tl_hs_new(p, &d->hs), 0);
  d->peer = SSL_new(peer);
  d->to_peer = BIO_new(BIO_s_mem());
  d->from_peer = BIO_new(BIO_s_mem());
  BIO_set_mem_eof_return(d->to_peer, -1);
  SSL_set_bio(d->peer, d->to_peer, d->from_peer);
  if (p->server) {
    if (p->sni.n) SSL_set_tlsext_host_name(d->peer, p->sni.p);
    SSL_set_connect_state(d->peer);
  } else {
    SSL_set_accept_state(d->peer);
  }
  d->rc = TL_EAGAIN;
}

static void step_peer(struct duel *d) {
  ERR_clear_error();
  d->peer_rc = SSL_do_handshake(d->peer);
  ERR_clear_error();
}

static void deliver(struct duel *d) {
  size_t n;
  const uint8_t *p = tl_hs_output(d->hs, &n);
  for (size_t at = 0; at < n;) {
    int chunk = d->by_three && n - at > 3 ? 3 : (int)(n - at);
    BIO_write(d->to_peer, p + at, chunk);
    at += (size_t)chunk;
    if (d->by_three) step_peer(d);
  }
  tl_hs_output(d->hs, &n);
  cr_assert_eq(n, 0, "output was given out twice");
}

/* One record, exactly as the handshake thread reads it. */
static bool feed_record(struct duel *d) {
  uint8_t rec[TL_RECORD_CIPHER_MAX]; /* not static: threads run duels side by side */
  size_t body;
  if (BIO_pending(d->from_peer) < TL_RECORD_HEADER || d->rc != TL_EAGAIN) return false;
  BIO_read(d->from_peer, rec, TL_RECORD_HEADER);
  d->rc = tl_hs_record_len(d->hs, rec, &body);
  if (d->rc) return false;
  cr_assert_eq(BIO_read(d->from_peer, rec + TL_RECORD_HEADER, (int)body), (int)body);
  d->rc = tl_hs_input(d->hs, rec, TL_RECORD_HEADER + body);
  return true;
}

void duel_run(struct duel *d) {
  d->rc = tl_hs_start(d->hs);
  for (int i = 0; i < 50; i++) {
    deliver(d);
    step_peer(d);
    bool moved = false;
    while (feed_record(d)) {
      moved = true;
      deliver(d);
    }
    if (!moved && i > 3) break;
  }
  deliver(d);
  step_peer(d);
}

void duel_end(struct duel *d) {
  tl_hs_free(d->hs);
  SSL_free(d->peer);
  memset(d, 0, sizeof(*d));
}

static void peer_reads(struct duel *d, struct tl_record *r, const uint8_t *msg, size_t n) {
  static uint8_t rec[TL_RECORD_CIPHER_MAX], got[TL_RECORD_PLAIN_MAX];
  size_t len;
  cr_assert_eq(tl_record_seal_from(r, TL_CT_DATA, msg, n, rec, &len), 0);
  BIO_write(d->to_peer, rec, (int)len);
  int k = SSL_read(d->peer, got, sizeof(got));
  cr_assert_eq(k, (int)n, "%s", ERR_reason_error_string(ERR_peek_error()));
  cr_assert_arr_eq(got, msg, n);
}

static void peer_writes(struct duel *d, struct tl_record *r, const uint8_t *msg, size_t n) {
  static uint8_t rec[TL_RECORD_CIPHER_MAX];
  struct tl_record_view v;
  cr_assert_eq(SSL_write(d->peer, msg, (int)n), (int)n);
  int k = BIO_read(d->from_peer, rec, sizeof(rec));
  cr_assert_eq(tl_record_open(r, rec, (size_t)k, &v), 0);
  cr_assert_eq(v.type, TL_CT_DATA);
  cr_assert_eq(v.n, n);
  cr_assert_arr_eq(v.p, msg, n);
}

/* An OpenSSL server's tickets come behind the handshake, under the keys just taken. */
static void read_tickets(struct duel *d, struct tl_record *r) {
  static uint8_t buf[8192];
  struct tl_record_view v;
  int n = BIO_read(d->from_peer, buf, sizeof(buf));
  for (size_t at = 0; n > 0 && at < (size_t)n; at += v.used) {
    cr_assert_eq(tl_record_open(r, buf + at, (size_t)n - at, &v), 0);
    cr_assert_eq(v.type, TL_CT_HANDSHAKE);
  }
}

void duel_prove(struct duel *d, struct tl_hs_result *s) {
  static const size_t sizes[] = {1, 700, 16384, 2, 33};
  static uint8_t msg[TL_RECORD_PLAIN_MAX];
  struct tl_record *r;
  cr_assert_eq(d->rc, 0, "%s", tl_hs_failure(d->hs)->reason);
  cr_assert_eq(d->peer_rc, 1);
  cr_assert_eq(tl_hs_take(d->hs, s), 0, "%s", tl_hs_failure(d->hs)->reason);
  cr_assert_eq(tl_record_new(&s->keys, s->max_fragment, &r), 0);
  read_tickets(d, r);
  for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
    memset(msg, (int)('a' + i), sizes[i]);
    if (!s->max_fragment || sizes[i] <= s->max_fragment) {
      peer_reads(d, r, msg, sizes[i]);
      peer_writes(d, r, msg, sizes[i]);
    }
  }
  tl_record_free(r);
}
