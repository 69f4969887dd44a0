/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handshake thread over loopback sockets: what a worker gets of accepted
 * connections, where their keys go, what operators read, how it changes and ends.
 */
#include <criterion/criterion.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "test_handshaker_rig.h"
#include "tieline/log_limit.h"

TestSuite(handshaker, .timeout = 60);

/* ---- accepted ---- */

Test(handshaker, accepted_connections_reach_a_worker) {
  rig_begin("", OPEN_DOMAIN);
  SSL_CTX *ctx = duel_context(false, NULL);
  static const int versions[] = {TL_TLS_1_2, TL_TLS_1_3};
  for (int i = 0; i < 6; i++) {
    SSL_CTX_set_max_proto_version(ctx, versions[i & 1]);
    int fd = rig_dial();
    SSL *ssl = rig_client(ctx, fd);
    cr_assert_eq(SSL_connect(ssl), 1);
    struct tl_handoff *h = rig_handoff();
    cr_assert_eq(h->rc, 0);
    cr_assert_eq(h->conn, 0);
    cr_assert_eq(tl_conf_listener_of(rig_rt.view->conf, h->transport, &h->local), 0);
    cr_assert_eq((int)h->version, versions[i & 1]);
    cr_assert_str_eq(h->sni, "server.example");
    cr_assert_str_eq(h->domain->name, "lab");
    cr_assert(h->server);
    cr_assert(tl_addr_eq(&h->local, &rig_at));
    cr_assert_eq(h->record == NULL, h->ktls.tx == TL_KTLS_ON);
    for (int k = 0; k < 3; k++) rig_talk(ssl, h);
    SSL_free(ssl);
    close(fd);
    rig_drop(h);
  }
  cr_assert_eq(rig_counter(TL_C_HS_OK), 6);
  cr_assert_eq(rig_counter(TL_C_CONN_ACCEPTED), 6);
  SSL_CTX_free(ctx);
  rig_end();
}

/* The client's first data leaves in the same segment as its Finished. */
Test(handshaker, data_behind_finished_stays_in_the_socket) {
  rig_begin("", OPEN_DOMAIN);
  SSL_CTX *ctx = duel_context(false, NULL);
  int fd = rig_dial();
  SSL *ssl = SSL_new(ctx);
  BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
  uint8_t buf[16384];
  SSL_set_bio(ssl, in, out);
  BIO_set_mem_eof_return(in, -1);
  SSL_set_connect_state(ssl);
  while (SSL_do_handshake(ssl) != 1) {
    int n = BIO_read(out, buf, sizeof(buf));
    if (n > 0) cr_assert_eq(send(fd, buf, (size_t)n, 0), n);
    ssize_t k = recv(fd, buf, sizeof(buf), 0);
    cr_assert(k > 0);
    BIO_write(in, buf, (int)k);
  }
  cr_assert_eq(SSL_write(ssl, "early", 5), 5);
  cr_assert_eq(SSL_write(ssl, "bird", 4), 4);
  int n = BIO_read(out, buf, sizeof(buf));
  cr_assert_eq(send(fd, buf, (size_t)n, 0), n);
  struct tl_handoff *h = rig_handoff();
  rig_reads(h, "earlybird");
  rig_drop(h);
  SSL_free(ssl);
  close(fd);
  SSL_CTX_free(ctx);
  rig_end();
}

Test(handshaker, resumed_sessions_carry_data) {
  rig_begin("", OPEN_DOMAIN);
  SSL_CTX *ctx = duel_context(false, NULL);
  SSL_SESSION *kept = NULL;
  for (int i = 0; i < 4; i++) {
    int fd = rig_dial();
    SSL *ssl = rig_client(ctx, fd);
    if (kept) SSL_set_session(ssl, kept);
    cr_assert_eq(SSL_connect(ssl), 1);
    struct tl_handoff *h = rig_handoff();
    cr_assert_eq(h->resumed, i > 0);
    rig_talk(ssl, h);
    SSL_SESSION_free(kept);
    kept = SSL_get1_session(ssl);
    SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(ssl);
    close(fd);
    rig_drop(h);
  }
  cr_assert_eq(rig_counter(TL_C_HS_OK_RESUMED), 3);
  SSL_SESSION_free(kept);
  SSL_CTX_free(ctx);
  rig_end();
}

static void rejected(SSL_CTX *ctx) {
  int fd = rig_dial();
  SSL *ssl = rig_client(ctx, fd);
  char c;
  if (SSL_connect(ssl) == 1) cr_assert_leq(SSL_read(ssl, &c, 1), 0);
  unsigned long e = ERR_peek_error();
  cr_assert(strstr(ERR_reason_error_string(e), "alert"), "%s", ERR_reason_error_string(e));
  ERR_clear_error();
  SSL_free(ssl);
  cr_assert(rig_closes(fd, 2000));
  close(fd);
}

Test(handshaker, d19_client_certificates_good_missing_and_bad) {
  rig_begin("", "verify_cert = true require_cert = true");
  SSL_CTX *good = duel_context(false, "client"), *none = duel_context(false, NULL),
          *bad = duel_context(false, "foreign");
  int fd = rig_dial();
  SSL *ssl = rig_client(good, fd);
  cr_assert_eq(SSL_connect(ssl), 1);
  struct tl_handoff *h = rig_handoff();
  cr_assert(h->peer_verified);
  cr_assert_str_eq(h->identity->cn, "client.example");
  rig_talk(ssl, h);
  rig_drop(h);
  SSL_free(ssl);
  close(fd);
  rejected(none);
  rejected(bad);
  rig_wait(TL_C_HS_FAIL_VERIFY, 2);
  cr_assert_eq(rig_counter(TL_C_HS_OK), 1);
  SSL_CTX_free(good);
  SSL_CTX_free(none);
  SSL_CTX_free(bad);
  rig_end();
}

/* ---- where the keys go ---- */

static struct tl_handoff *one_call(SSL_CTX *ctx) {
  int fd = rig_dial();
  SSL *ssl = rig_client(ctx, fd);
  cr_assert_eq(SSL_connect(ssl), 1);
  struct tl_handoff *h = rig_handoff();
  rig_talk(ssl, h);
  SSL_free(ssl);
  close(fd);
  return h;
}

Test(handshaker, records_user_never_asks_the_kernel) {
  rig_begin("records = \"user\"\n", OPEN_DOMAIN);
  SSL_CTX *ctx = duel_context(false, NULL);
  struct tl_handoff *h = one_call(ctx);
  cr_assert(h->record);
  cr_assert_eq(h->ktls.tx, TL_KTLS_CONFIG);
  cr_assert_eq(h->ktls.rx, TL_KTLS_CONFIG);
  cr_assert_eq(rig_counter(TL_C_KTLS_OFF_CONFIG), 1);
  rig_drop(h);
  SSL_CTX_free(ctx);
  rig_end();
}

Test(handshaker, records_auto_and_kernel) {
  rig_begin("", OPEN_DOMAIN " records = \"kernel\"");
  SSL_CTX *ctx = duel_context(false, NULL);
  if (rig_rt.caps.ulp) {
    struct tl_handoff *h = one_call(ctx);
    cr_assert_null(h->record);
    cr_assert_eq(rig_counter(TL_C_KTLS_TX_ON), 1);
    cr_assert_eq(rig_counter(TL_C_KTLS_RX_ON), 1);
    rig_drop(h);
  } else { /* what was asked for cannot be had: no connection rather than another kind */
    int fd = rig_dial();
    SSL *ssl = rig_client(ctx, fd);
    SSL_connect(ssl);
    cr_assert(rig_closes(fd, 2000));
    rig_wait(TL_C_HS_FAIL_INTERNAL, 1);
    cr_assert_eq(rig_counter(TL_C_HS_OK), 0);
    SSL_free(ssl);
    close(fd);
  }
  SSL_CTX_free(ctx);
  rig_end();
}

/* Also where this kernel has no TLS: it is never asked. */
Test(handshaker, f1_auto_leaves_a_slow_cipher_to_user_space) {
  struct tl_ktls_caps caps = {.ulp = true};
  memset(caps.tx, true, sizeof(caps.tx));
  memset(caps.rx, true, sizeof(caps.rx));
  caps.slow[TL_AES_128_GCM] = caps.slow[TL_AES_256_GCM] = true;
  rig_kernel = &caps;
  rig_begin("", OPEN_DOMAIN);
  SSL_CTX *ctx = duel_context(false, NULL);
  for (unsigned n = 1; n <= 2; n++) {
    cr_assert_eq(SSL_CTX_set_max_proto_version(ctx, n == 1 ? TLS1_2_VERSION : TLS1_3_VERSION), 1);
    cr_assert_eq(SSL_CTX_set_ciphersuites(ctx, "TLS_AES_256_GCM_SHA384"), 1);
    cr_assert_eq(SSL_CTX_set_cipher_list(ctx, "ECDHE-ECDSA-AES128-GCM-SHA256"), 1);
    struct tl_handoff *h = one_call(ctx);
    cr_assert(h->record);
    cr_assert(h->ktls.tx == TL_KTLS_SLOW && h->ktls.rx == TL_KTLS_SLOW);
    cr_assert_eq(rig_counter(TL_C_KTLS_OFF_SLOW), n);
    rig_drop(h);
  }
  SSL_CTX_free(ctx);
  rig_end();
}

Test(handshaker, f1_max_fragment_length_keeps_records_in_user_space) {
  rig_begin("", OPEN_DOMAIN);
  SSL_CTX *ctx = duel_context(false, NULL);
  SSL_CTX_set_tlsext_max_fragment_length(ctx, TLSEXT_max_fragment_length_512);
  struct tl_handoff *h = one_call(ctx);
  cr_assert(h->record);
  cr_assert_eq(h->max_fragment, 512);
  cr_assert_eq(tl_record_max_plain(h->record), 512);
  cr_assert_eq(h->ktls.tx, TL_KTLS_FRAGMENT);
  rig_drop(h);
  SSL_CTX_free(ctx);
  rig_end();
}

/* ---- lines for operators ---- */

static int saved_stderr;

static void catch_log(void) {
  fflush(stderr);
  saved_stderr = dup(2);
  FILE *f = fopen(pki_path("log"), "w");
  dup2(fileno(f), 2);
  fclose(f);
}

/* What was logged since catch_log. */
static char *caught(void) {
  static char text[65536];
  fflush(stderr);
  dup2(saved_stderr, 2);
  close(saved_stderr);
  FILE *f = fopen(pki_path("log"), "r");
  text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
  fclose(f);
  return text;
}

static int count_of(const char *text, const char *what) {
  int n = 0;
  for (const char *p = text; (p = strstr(p, what)); p++) n++;
  return n;
}

Test(handshaker, f10_failure_line_names_everything) {
  rig_begin("", "verify_cert = true require_cert = true");
  SSL_CTX *bad = duel_context(false, "foreign");
  catch_log();
  rejected(bad);
  rig_wait(TL_C_HS_FAIL_VERIFY, 1);
  usleep(50000);
  const char *text = caught();
  static const char *const want[] = {
      "role=server",        "peer=127.0.0.1:",
      "sni=server.example", "tls_domain=lab",
      "cause=verify",       "reason=\"unable to get local issuer certificate\"",
      "verify_code=20",     "subject=\"CN=client.example,O=Lab\"",
      "verify_depth=0",     "alert_sent=unknown_ca"};
  cr_assert_eq(count_of(text, "A TLS handshake failed."), 1, "%s", text);
  for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++)
    cr_assert(strstr(text, want[i]), "%s is not in %s", want[i], text);
  SSL_CTX_free(bad);
  rig_end();
}

Test(handshaker, flood_of_failures_gets_ten_lines_and_a_sum) {
  rig_begin("", OPEN_DOMAIN);
  catch_log();
  for (int i = 0; i < 30; i++) {
    int fd = rig_dial();
    cr_assert_eq(send(fd, "GET / HTTP/1.0\r\n\r\n", 18, MSG_NOSIGNAL), 18);
    close(fd);
  }
  rig_wait(TL_C_HS_FAIL_NOT_TLS, 30);
  for (int ms; (ms = tl_log_report_held()) > 0;) usleep((useconds_t)ms * 1000);
  const char *text = caught();
  int lines = count_of(text, "A TLS handshake failed.");
  cr_assert(lines >= 10 && lines <= 20, "%d lines", lines); /* more as time passes */
  cr_assert(strstr(text, "More lines of the same kind were held back."), "%s", text);
  cr_assert(strstr(text, lines == 10 ? "count=20" : "count="), "%s", text);
  rig_end();
}

Test(handshaker, who_says_nothing_gets_no_line) {
  rig_begin("", OPEN_DOMAIN);
  catch_log();
  close(rig_dial());
  rig_wait(TL_C_HS_FAIL_CLOSED, 1);
  usleep(50000);
  cr_assert_eq(count_of(caught(), "handshake failed"), 0);
  rig_end();
}

/* ---- change and end ---- */

static bool connects(const struct tl_addr *a) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  bool ok = connect(fd, &a->sa, tl_addr_len(a)) == 0;
  close(fd);
  return ok;
}

Test(handshaker, d2_listeners_change_with_the_snapshot) {
  rig_begin(TIMES("30s", "30s"), OPEN_DOMAIN);
  struct tl_addr first = rig_at;
  SSL_CTX *ctx = duel_context(false, NULL);
  int under_way = rig_dial(); /* begun with the old snapshot, ends with it */
  rig_wait(TL_C_HS_NOW, 1);
  rig_at = test_port(SOCK_STREAM);
  tl_runtime_publish(&rig_rt, rig_load(rig_rt.view, "", OPEN_DOMAIN));
  for (int i = 0; i < 200 && !connects(&rig_at); i++) usleep(10000);
  cr_assert(connects(&rig_at));
  for (int i = 0; i < 200 && connects(&first); i++) usleep(10000);
  cr_assert_not(connects(&first));
  SSL *ssl = rig_client(ctx, under_way);
  cr_assert_eq(SSL_connect(ssl), 1);
  struct tl_handoff *h = rig_handoff();
  cr_assert_eq(tl_conf_listener_of(rig_rt.view->conf, h->transport, &h->local), -1, "no more");
  rig_talk(ssl, h);
  rig_drop(h);
  SSL_free(ssl);
  close(under_way);
  SSL_CTX_free(ctx);
  rig_end();
}

Test(handshaker, drain_stops_accepting) {
  rig_begin("", OPEN_DOMAIN);
  tl_thread_drain(rig_rt.handshaker[0]);
  for (int i = 0; i < 200 && connects(&rig_at); i++) usleep(10000);
  cr_assert_not(connects(&rig_at));
  rig_end();
}

Test(handshaker, address_in_use_is_named) {
  char err[256] = "", text[TL_ADDR_STRLEN];
  rig_begin("", OPEN_DOMAIN);
  struct tl_addr a = test_port(SOCK_STREAM);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* no SO_REUSEPORT: nobody else may */
  cr_assert_eq(bind(fd, &a.sa, tl_addr_len(&a)), 0);
  cr_assert_eq(listen(fd, 1), 0);
  struct tl_runtime second;
  memset(&second, 0, sizeof(second));
  struct tl_addr keep = rig_at;
  rig_at = a;
  tl_runtime_publish(&second, rig_load(NULL, "", OPEN_DOMAIN));
  rig_at = keep;
  cr_assert_eq(tl_handshaker_start(&second, 0, err, sizeof(err)), TL_EIO);
  cr_assert(strstr(err, tl_addr_format(&a, text)), "%s", err);
  cr_assert_null(second.handshaker[0]);
  tl_view_unref(second.view);
  close(fd);
  rig_end();
}
