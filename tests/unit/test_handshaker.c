/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handshake thread over loopback sockets: what a worker gets, in both
 * directions, and what happens to those who misbehave or are too many. The
 * worker is this test: a mailbox and nothing else.
 */
#include <criterion/criterion.h>
#include <openssl/err.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/handshaker.h"
#include "test_tls_duel.h"

static struct tl_runtime rt;
static struct tl_thread worker;
static struct tl_addr at; /* the TLS listener */

/* ---- set-up ---- */

static void on_report(void *arg, const char *file, int line, const char *sentence) {
  (void)arg;
  cr_log_error("%s:%d: %s", file, line, sentence);
}

static struct tl_addr free_address(void) {
  struct tl_addr a;
  socklen_t len = sizeof(a);
  tl_addr_parse(TL_STR("127.0.0.1"), 0, &a);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  cr_assert_eq(bind(fd, &a.sa, tl_addr_len(&a)), 0);
  getsockname(fd, &a.sa, &len);
  close(fd);
  return a;
}

static struct tl_conf *load(const struct tl_conf *previous, const char *extra,
                            const char *domain_extra) {
  char text[4096], where[TL_ADDR_STRLEN];
  struct tl_conf *c;
  snprintf(text, sizeof(text),
           "listen \"tls:%s\" { tls_domain = \"lab\" }\n"
           "control_socket = \"%s\"\n%s\n"
           "tls_domain \"lab\" {\n certificate = \"server.pem\" private_key = \"server.key\"\n"
           " ca_list = \"ca.pem\"\n %s\n}\n"
           "route \"all\" { relay = \"request-uri\" tls_domain = \"lab\" }\n",
           tl_addr_format(&at, where), pki_path("ctl.sock"), extra, domain_extra);
  pki_write_text("lab.conf", text);
  cr_assert_eq(tl_conf_load(pki_path("lab.conf"), previous, on_report, NULL, &c), 0);
  return c;
}

#define OPEN_DOMAIN "verify_cert = false require_cert = false"
#define TIMES(hs, con) "timeouts { handshake = " hs " connect = " con " }\n"

static void begin(const char *extra, const char *domain_extra) {
  char err[256] = "";
  pki_open();
  memset(&rt, 0, sizeof(rt));
  memset(&worker, 0, sizeof(worker));
  at = free_address();
  cr_assert_eq(tl_mailbox_init(&worker.mailbox, 1024), 0);
  worker.rt = &rt;
  rt.n_worker = rt.n_handshaker = 1;
  rt.worker[0] = &worker;
  rt.conf = load(NULL, extra, domain_extra);
  rt.generation = rt.conf->generation;
  tl_ktls_probe(&rt.caps);
  cr_assert_eq(tl_handshaker_start(&rt, 0, err, sizeof(err)), 0, "%s", err);
}

static void end(void) {
  struct tl_mail *m;
  tl_handshaker_stop(&rt, 0);
  while ((m = tl_mailbox_take(&worker.mailbox))) {
    if (m->type != TL_MAIL_HANDOFF) {
      free(m);
      continue;
    }
    struct tl_handoff *h = (struct tl_handoff *)m;
    if (h->fd >= 0) atomic_fetch_sub(&rt.connections, 1);
    tl_handoff_free(h);
  }
  cr_assert_eq(atomic_load(&rt.connections), 0, "connections are counted wrongly");
  cr_assert_eq(tl_count_get(&rt.handshaker[0]->counters, TL_C_HS_NOW), 0);
  tl_mailbox_destroy(&rt.handshaker[0]->mailbox);
  free(rt.handshaker[0]);
  tl_mailbox_destroy(&worker.mailbox);
  tl_conf_unref(rt.conf);
  pki_close();
}

static uint64_t counter(enum tl_counter id) {
  return tl_count_get(&rt.handshaker[0]->counters, id);
}

static void wait_counter(enum tl_counter id, uint64_t least) {
  for (int i = 0; i < 500 && counter(id) < least; i++) usleep(10000);
  cr_assert_geq(counter(id), least, "%s stays at %lu", tl_counter_name(id), counter(id));
}

static struct tl_mail *next_mail(void) {
  struct pollfd p = {.fd = worker.mailbox.efd, .events = POLLIN};
  struct tl_mail *m = tl_mailbox_take(&worker.mailbox);
  for (int i = 0; i < 10 && !m; i++) {
    poll(&p, 1, 1000);
    tl_mailbox_rearm(&worker.mailbox);
    m = tl_mailbox_take(&worker.mailbox);
  }
  cr_assert(m, "no handoff came");
  return m;
}

static struct tl_handoff *next_handoff(void) {
  struct tl_mail *m;
  while ((m = next_mail())->type != TL_MAIL_HANDOFF) free(m); /* news of a snapshot */
  return (struct tl_handoff *)m;
}

static void drop(struct tl_handoff *h) {
  if (h->fd >= 0) atomic_fetch_sub(&rt.connections, 1);
  tl_handoff_free(h);
}

/* ---- the other side ---- */

static int dial(void) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  cr_assert_eq(connect(fd, &at.sa, tl_addr_len(&at)), 0);
  return fd;
}

/* Does the other side close FD within MS? What it sends before does not matter. */
static bool closes(int fd, int ms) {
  uint64_t end_ms = tl_now_ms() + (uint64_t)ms;
  char buf[512];
  for (;;) {
    int left = (int)(end_ms - tl_now_ms());
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (left <= 0 || poll(&p, 1, left) <= 0) return false;
    if (recv(fd, buf, sizeof(buf), 0) <= 0) return true;
  }
}

static SSL *tls_client(SSL_CTX *ctx, int fd) {
  SSL *ssl = SSL_new(ctx);
  SSL_set_fd(ssl, fd);
  SSL_set_tlsext_host_name(ssl, "server.example");
  return ssl;
}

/* Reads N bytes of plaintext from a handed-over socket, in the kernel or with our records. */
static void worker_reads(struct tl_handoff *h, const char *want) {
  uint8_t buf[4096], *p = buf;
  size_t n = strlen(want), have = 0, got = 0;
  struct tl_record_view v = {.p = buf};
  if (!h->record) {
    cr_assert_eq(recv(h->fd, buf, n, MSG_WAITALL), (ssize_t)n);
    cr_assert_arr_eq(buf, want, n);
    return;
  }
  while (got < n) {
    ssize_t k = recv(h->fd, p + have, sizeof(buf) - have, 0);
    cr_assert(k > 0);
    have += (size_t)k;
    while (have && tl_record_open(h->record, p, have, &v) == 0) {
      if (v.type == TL_CT_DATA) {
        cr_assert_arr_eq(v.p, want + got, v.n);
        got += v.n;
      }
      p += v.used;
      have -= v.used;
    }
  }
}

static void worker_writes(struct tl_handoff *h, const char *text) {
  uint8_t rec[4096];
  size_t n = strlen(text), len = n;
  if (h->record)
    cr_assert_eq(tl_record_seal_from(h->record, TL_CT_DATA, (const uint8_t *)text, n, rec, &len),
                 0);
  else
    memcpy(rec, text, n);
  cr_assert_eq(send(h->fd, rec, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void talk(SSL *ssl, struct tl_handoff *h) {
  char buf[64];
  cr_assert_eq(SSL_write(ssl, "ping ping", 9), 9);
  worker_reads(h, "ping ping");
  worker_writes(h, "pong");
  cr_assert_eq(SSL_read(ssl, buf, sizeof(buf)), 4);
  cr_assert_arr_eq(buf, "pong", 4);
}

TestSuite(handshaker, .timeout = 60);

/* ---- accepted ---- */

Test(handshaker, accepted_connections_reach_a_worker) {
  begin("", OPEN_DOMAIN);
  SSL_CTX *ctx = duel_context(false, NULL);
  static const int versions[] = {TL_TLS_1_2, TL_TLS_1_3};
  for (int i = 0; i < 6; i++) {
    SSL_CTX_set_max_proto_version(ctx, versions[i & 1]);
    int fd = dial();
    SSL *ssl = tls_client(ctx, fd);
    cr_assert_eq(SSL_connect(ssl), 1);
    struct tl_handoff *h = next_handoff();
    cr_assert_eq(h->rc, 0);
    cr_assert_eq(h->conn, 0);
    cr_assert_eq(h->listener, 0);
    cr_assert_eq(h->conf_generation, rt.conf->generation);
    cr_assert_eq((int)h->version, versions[i & 1]);
    cr_assert_str_eq(h->sni, "server.example");
    cr_assert_str_eq(h->domain->name, "lab");
    cr_assert(h->server);
    cr_assert(tl_addr_eq(&h->local, &at));
    cr_assert_eq(h->record == NULL, h->ktls.tx == TL_KTLS_ON);
    for (int k = 0; k < 3; k++) talk(ssl, h);
    SSL_free(ssl);
    close(fd);
    drop(h);
  }
  cr_assert_eq(counter(TL_C_HS_OK), 6);
  cr_assert_eq(counter(TL_C_CONN_ACCEPTED), 6);
  SSL_CTX_free(ctx);
  end();
}

/* The client's first data leaves in the same segment as its Finished. */
Test(handshaker, data_behind_finished_stays_in_the_socket) {
  begin("", OPEN_DOMAIN);
  SSL_CTX *ctx = duel_context(false, NULL);
  int fd = dial();
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
  struct tl_handoff *h = next_handoff();
  worker_reads(h, "earlybird");
  drop(h);
  SSL_free(ssl);
  close(fd);
  SSL_CTX_free(ctx);
  end();
}

Test(handshaker, resumed_sessions_carry_data) {
  begin("", OPEN_DOMAIN);
  SSL_CTX *ctx = duel_context(false, NULL);
  SSL_SESSION *kept = NULL;
  for (int i = 0; i < 4; i++) {
    int fd = dial();
    SSL *ssl = tls_client(ctx, fd);
    if (kept) SSL_set_session(ssl, kept);
    cr_assert_eq(SSL_connect(ssl), 1);
    struct tl_handoff *h = next_handoff();
    cr_assert_eq(h->resumed, i > 0);
    talk(ssl, h);
    SSL_SESSION_free(kept);
    kept = SSL_get1_session(ssl);
    SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(ssl);
    close(fd);
    drop(h);
  }
  cr_assert_eq(counter(TL_C_HS_OK_RESUMED), 3);
  SSL_SESSION_free(kept);
  SSL_CTX_free(ctx);
  end();
}

static void rejected(SSL_CTX *ctx) {
  int fd = dial();
  SSL *ssl = tls_client(ctx, fd);
  char c;
  if (SSL_connect(ssl) == 1) cr_assert_leq(SSL_read(ssl, &c, 1), 0);
  unsigned long e = ERR_peek_error();
  cr_assert(strstr(ERR_reason_error_string(e), "alert"), "%s", ERR_reason_error_string(e));
  ERR_clear_error();
  SSL_free(ssl);
  cr_assert(closes(fd, 2000));
  close(fd);
}

Test(handshaker, d19_client_certificates_good_missing_and_bad) {
  begin("", "verify_cert = true require_cert = true");
  SSL_CTX *good = duel_context(false, "client"), *none = duel_context(false, NULL),
          *bad = duel_context(false, "foreign");
  int fd = dial();
  SSL *ssl = tls_client(good, fd);
  cr_assert_eq(SSL_connect(ssl), 1);
  struct tl_handoff *h = next_handoff();
  cr_assert(h->peer_verified);
  cr_assert_str_eq(h->identity->cn, "client.example");
  talk(ssl, h);
  drop(h);
  SSL_free(ssl);
  close(fd);
  rejected(none);
  rejected(bad);
  wait_counter(TL_C_HS_FAIL_VERIFY, 2);
  cr_assert_eq(counter(TL_C_HS_OK), 1);
  SSL_CTX_free(good);
  SSL_CTX_free(none);
  SSL_CTX_free(bad);
  end();
}

/* ---- misbehaviour ---- */

static void send_raw(const char *p, size_t n) {
  int fd = dial();
  cr_assert_eq(send(fd, p, n, MSG_NOSIGNAL), (ssize_t)n);
  cr_assert(closes(fd, 2000));
  close(fd);
}

Test(handshaker, what_is_no_tls_is_closed_and_counted) {
  begin("", OPEN_DOMAIN);
  send_raw("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
  send_raw("OPTIONS sip:a SIP/2.0\r\n\r\n", 25);
  send_raw("\0\0\0\0\0\0\0\0", 8);
  wait_counter(TL_C_HS_FAIL_NOT_TLS, 3);
  send_raw("\x16\x03\x01\x00\x06\xff\xff\xff\xff\xff\xff", 11);
  send_raw("\x16\x03\x01\x7f\xff", 5);
  wait_counter(TL_C_HS_FAIL_PROTOCOL, 2);
  cr_assert_eq(counter(TL_C_HS_OK), 0);
  end();
}

Test(handshaker, d11_half_open_ends_at_its_deadline_even_when_dripping) {
  begin(TIMES("400ms", "5s"), OPEN_DOMAIN);
  uint64_t start = tl_now_ms();
  int silent = dial(), dripping = dial();
  static const char hello[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
  size_t sent = 0;
  while (tl_now_ms() - start < 350) {
    if (sent < 9) cr_assert_eq(send(dripping, hello + sent++, 1, MSG_NOSIGNAL), 1);
    usleep(35000);
  }
  cr_assert(closes(silent, 1000));
  cr_assert(closes(dripping, 1000));
  cr_assert_leq(tl_now_ms() - start, 900);
  wait_counter(TL_C_HS_FAIL_TIMEOUT, 2);
  close(silent);
  close(dripping);
  end();
}

Test(handshaker, peer_that_leaves) {
  begin("", OPEN_DOMAIN);
  int fd = dial();
  cr_assert_eq(send(fd, "\x16\x03\x01\x02", 4, 0), 4);
  close(fd);
  fd = dial();
  close(fd);
  wait_counter(TL_C_HS_FAIL_CLOSED, 2);
  end();
}

/* ---- budgets ---- */

Test(handshaker, budget_pauses_accepting_and_goes_on) {
  begin(TIMES("500ms", "5s") "limits { max_handshakes = 3 }\n", OPEN_DOMAIN);
  SSL_CTX *ctx = duel_context(false, NULL);
  int idle[3];
  for (int i = 0; i < 3; i++) idle[i] = dial();
  wait_counter(TL_C_HS_NOW, 3);
  wait_counter(TL_C_HS_ACCEPT_PAUSED, 1);
  int fd = dial(); /* stays in the backlog until one of the three is over */
  SSL *ssl = tls_client(ctx, fd);
  uint64_t start = tl_now_ms();
  cr_assert_eq(SSL_connect(ssl), 1);
  cr_assert_geq(tl_now_ms() - start, 200);
  cr_assert_leq(counter(TL_C_CONN_ACCEPTED), 6);
  struct tl_handoff *h = next_handoff();
  talk(ssl, h);
  drop(h);
  SSL_free(ssl);
  close(fd);
  for (int i = 0; i < 3; i++) close(idle[i]);
  SSL_CTX_free(ctx);
  end();
}

/* Two silent connections take the share of their address; the third waits and is then served. */
Test(handshaker, one_source_waits_for_its_share) {
  begin(TIMES("600ms", "5s") "limits { max_handshakes_source = 2 }\n", OPEN_DOMAIN);
  SSL_CTX *ctx = duel_context(false, NULL);
  int idle[2] = {dial(), dial()};
  wait_counter(TL_C_HS_NOW, 2);
  usleep(300000);
  int fd = dial(), gone = dial(), late = dial();
  wait_counter(TL_C_HS_NOW, 5);
  close(gone);
  SSL *ssl = tls_client(ctx, fd);
  cr_assert_eq(SSL_connect(ssl), 1);
  struct tl_handoff *h = next_handoff();
  talk(ssl, h);
  drop(h);
  cr_assert(closes(late, 2000));
  SSL_free(ssl);
  close(fd);
  close(late);
  for (int i = 0; i < 2; i++) close(idle[i]);
  wait_counter(TL_C_HS_FAIL_TIMEOUT, 3);
  wait_counter(TL_C_HS_FAIL_CLOSED, 1);
  SSL_CTX_free(ctx);
  end();
}

Test(handshaker, connections_of_the_process_are_bounded) {
  begin("limits { max_connections = 2 }\n", OPEN_DOMAIN);
  int a = dial(), b = dial();
  wait_counter(TL_C_HS_NOW, 2);
  int c = dial();
  cr_assert(closes(c, 2000));
  wait_counter(TL_C_CONN_REFUSED, 1);
  close(a);
  close(b);
  close(c);
  wait_counter(TL_C_HS_FAIL_CLOSED, 2);
  end();
}

/* ---- dialed ---- */

struct peer {
  SSL_CTX *ctx;
  int lfd;
  bool silent;
  bool done; /* the handshake succeeded here */
  pthread_t t;
  struct tl_addr addr;
};

static void *serve_one(void *arg) {
  struct peer *p = arg;
  char buf[64];
  int fd = accept(p->lfd, NULL, NULL);
  if (fd < 0) return NULL;
  if (p->silent) {
    closes(fd, 3000);
    close(fd);
    return NULL;
  }
  SSL *ssl = SSL_new(p->ctx);
  SSL_set_fd(ssl, fd);
  p->done = SSL_accept(ssl) == 1;
  int n = p->done ? SSL_read(ssl, buf, sizeof(buf)) : 0;
  if (n > 0) SSL_write(ssl, buf, n);
  ERR_clear_error();
  SSL_free(ssl);
  close(fd);
  return NULL;
}

static void peer_start(struct peer *p, const char *cert, bool silent) {
  socklen_t len = sizeof(p->addr);
  memset(p, 0, sizeof(*p));
  p->silent = silent;
  p->ctx = duel_context(true, cert);
  tl_addr_parse(TL_STR("127.0.0.1"), 0, &p->addr);
  p->lfd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  cr_assert_eq(bind(p->lfd, &p->addr.sa, tl_addr_len(&p->addr)), 0);
  cr_assert_eq(listen(p->lfd, 8), 0);
  getsockname(p->lfd, &p->addr.sa, &len);
  pthread_create(&p->t, NULL, serve_one, p);
}

static void peer_stop(struct peer *p) {
  pthread_join(p->t, NULL);
  close(p->lfd);
  SSL_CTX_free(p->ctx);
}

static void order(const struct tl_addr *to, const char *name, uint32_t connect_ms, uint32_t hs_ms) {
  struct tl_dial *d = calloc(1, sizeof(*d));
  d->mail.type = TL_MAIL_DIAL;
  d->conn = 77;
  d->addr = *to;
  d->domain = tl_tls_domain_ref(rt.conf->domain[0]);
  snprintf(d->sni, sizeof(d->sni), "%s", name);
  snprintf(d->verify_name, sizeof(d->verify_name), "%s", name);
  d->connect_timeout_ms = connect_ms;
  d->handshake_timeout_ms = hs_ms;
  cr_assert_eq(tl_mailbox_post(&rt.handshaker[0]->mailbox, &d->mail), 0);
}

Test(handshaker, b11_dialed_and_verified) {
  begin("", "verify_cert = true require_cert = false");
  static const int versions[] = {TL_TLS_1_2, TL_TLS_1_3};
  for (int i = 0; i < 2; i++) {
    struct peer p;
    peer_start(&p, "server", false);
    SSL_CTX_set_max_proto_version(p.ctx, versions[i]);
    order(&p.addr, "server.example", 1000, 2000);
    struct tl_handoff *h = next_handoff();
    cr_assert_eq(h->rc, 0);
    cr_assert_eq(h->conn, 77);
    cr_assert_not(h->server);
    cr_assert(h->peer_verified);
    cr_assert_str_eq(h->identity->cn, "server.example");
    cr_assert_eq((int)h->version, versions[i]);
    worker_writes(h, "there and back");
    worker_reads(h, "there and back");
    drop(h);
    peer_stop(&p);
  }
  cr_assert_eq(counter(TL_C_CONN_DIALED), 2);
  end();
}

static void dial_fails(const char *cert, bool silent, const char *name, int rc,
                       enum tl_counter cause) {
  struct peer p;
  peer_start(&p, cert, silent);
  uint64_t before = counter(cause), failed = counter(TL_C_CONN_DIAL_FAILED);
  order(&p.addr, name, 1000, 400);
  struct tl_handoff *h = next_handoff();
  cr_assert_eq(h->rc, rc, "%d", h->rc);
  cr_assert_eq(h->fd, -1);
  cr_assert_eq(h->conn, 77);
  tl_handoff_free(h);
  peer_stop(&p);
  cr_assert_eq(counter(cause), before + 1);
  cr_assert_eq(counter(TL_C_CONN_DIAL_FAILED), failed + 1);
  cr_assert_eq(atomic_load(&rt.connections), 0);
}

Test(handshaker, b11_dial_that_fails_says_why) {
  begin("", "verify_cert = true require_cert = false");
  dial_fails("foreign", false, "server.example", TL_EVERIFY, TL_C_HS_FAIL_VERIFY);
  dial_fails("wrong", false, "server.example", TL_EVERIFY, TL_C_HS_FAIL_NAME);
  dial_fails("server", true, "server.example", TL_ETIMEOUT, TL_C_HS_FAIL_TIMEOUT);
  struct tl_addr nobody = free_address();
  order(&nobody, "server.example", 1000, 1000);
  struct tl_handoff *h = next_handoff();
  cr_assert_eq(h->rc, TL_EIO);
  tl_handoff_free(h);
  cr_assert_eq(counter(TL_C_HS_FAIL_CONNECT), 1);
  end();
}

/* A full backlog drops the SYN: nobody answers. */
Test(handshaker, dial_to_nowhere_times_out) {
  begin("", OPEN_DOMAIN);
  struct tl_addr a = free_address();
  int lfd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fill[4];
  cr_assert_eq(bind(lfd, &a.sa, tl_addr_len(&a)), 0);
  cr_assert_eq(listen(lfd, 0), 0);
  for (int i = 0; i < 4; i++) {
    fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    connect(fill[i], &a.sa, tl_addr_len(&a));
  }
  usleep(50000);
  uint64_t start = tl_now_ms();
  order(&a, "server.example", 300, 1000);
  struct tl_handoff *h = next_handoff();
  cr_assert_eq(h->rc, TL_EIO);
  cr_assert_geq(tl_now_ms() - start, 290);
  cr_assert_leq(tl_now_ms() - start, 900);
  tl_handoff_free(h);
  for (int i = 0; i < 4; i++) close(fill[i]);
  close(lfd);
  end();
}

/* An answer that finds the worker's mailbox full waits for room. */
Test(handshaker, answers_are_never_lost) {
  begin("", OPEN_DOMAIN);
  struct tl_addr nobody = free_address();
  worker.mailbox.cap = 1;
  for (int i = 0; i < 5; i++) order(&nobody, "x.example", 500, 500);
  wait_counter(TL_C_MAIL_FULL, 1);
  for (int i = 0; i < 5; i++) {
    struct tl_handoff *h = next_handoff();
    cr_assert_neq(h->rc, 0);
    tl_handoff_free(h);
  }
  worker.mailbox.cap = 1024;
  end();
}

/* ---- change and end ---- */

static bool connects(const struct tl_addr *a) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  bool ok = connect(fd, &a->sa, tl_addr_len(a)) == 0;
  close(fd);
  return ok;
}

Test(handshaker, d2_listeners_change_with_the_snapshot) {
  begin(TIMES("3s", "5s"), OPEN_DOMAIN);
  struct tl_addr first = at;
  SSL_CTX *ctx = duel_context(false, NULL);
  int under_way = dial(); /* begun with the old snapshot, ends with it */
  wait_counter(TL_C_HS_NOW, 1);
  at = free_address();
  tl_runtime_publish(&rt, load(rt.conf, "", OPEN_DOMAIN));
  for (int i = 0; i < 200 && !connects(&at); i++) usleep(10000);
  cr_assert(connects(&at));
  for (int i = 0; i < 200 && connects(&first); i++) usleep(10000);
  cr_assert_not(connects(&first));
  SSL *ssl = tls_client(ctx, under_way);
  cr_assert_eq(SSL_connect(ssl), 1);
  struct tl_handoff *h = next_handoff();
  cr_assert_eq(h->conf_generation, rt.conf->generation - 1);
  talk(ssl, h);
  drop(h);
  SSL_free(ssl);
  close(under_way);
  SSL_CTX_free(ctx);
  end();
}

Test(handshaker, drain_stops_accepting) {
  begin("", OPEN_DOMAIN);
  struct tl_mail *m = calloc(1, sizeof(*m));
  m->type = TL_MAIL_DRAIN;
  cr_assert_eq(tl_mailbox_post(&rt.handshaker[0]->mailbox, m), 0);
  for (int i = 0; i < 200 && connects(&at); i++) usleep(10000);
  cr_assert_not(connects(&at));
  end();
}

Test(handshaker, stop_in_the_middle_frees_everything) {
  begin("limits { max_handshakes_source = 2 }\n", OPEN_DOMAIN);
  struct peer p;
  int fd[5];
  peer_start(&p, "server", true);
  order(&p.addr, "server.example", 1000, 5000);
  for (int i = 0; i < 5; i++) fd[i] = dial();
  wait_counter(TL_C_HS_NOW, 6);
  end();
  for (int i = 0; i < 5; i++) close(fd[i]);
  peer_stop(&p);
}

Test(handshaker, address_in_use_is_named) {
  char err[256] = "", text[TL_ADDR_STRLEN];
  begin("", OPEN_DOMAIN);
  struct tl_addr a = free_address();
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* no SO_REUSEPORT: nobody else may */
  cr_assert_eq(bind(fd, &a.sa, tl_addr_len(&a)), 0);
  cr_assert_eq(listen(fd, 1), 0);
  struct tl_runtime second;
  memset(&second, 0, sizeof(second));
  struct tl_addr keep = at;
  at = a;
  second.conf = load(NULL, "", OPEN_DOMAIN);
  at = keep;
  second.generation = second.conf->generation;
  cr_assert_eq(tl_handshaker_start(&second, 0, err, sizeof(err)), TL_EIO);
  cr_assert(strstr(err, tl_addr_format(&a, text)), "%s", err);
  cr_assert_null(second.handshaker[0]);
  tl_conf_unref(second.conf);
  close(fd);
  end();
}
