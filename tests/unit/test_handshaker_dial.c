/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handshake thread dialing for workers.
 */
#include <criterion/criterion.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "test_handshaker_rig.h"
#include "tieline/time.h"

TestSuite(handshaker_dial, .timeout = 60);

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
    rig_closes(fd, 3000);
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
  d->conn = 77;
  d->addr = *to;
  d->domain = tl_tls_domain_ref(rig_rt.view->conf->domain[0]);
  snprintf(d->sni, sizeof(d->sni), "%s", name);
  snprintf(d->verify_name, sizeof(d->verify_name), "%s", name);
  d->connect_timeout_ms = connect_ms;
  d->handshake_timeout_ms = hs_ms;
  cr_assert_eq(tl_dial_post(rig_rt.handshaker[0], d), 0);
}

Test(handshaker_dial, b11_dialed_and_verified) {
  rig_begin("", "verify_cert = true require_cert = false");
  static const int versions[] = {TL_TLS_1_2, TL_TLS_1_3};
  for (int i = 0; i < 2; i++) {
    struct peer p;
    peer_start(&p, "server", false);
    SSL_CTX_set_max_proto_version(p.ctx, versions[i]);
    order(&p.addr, "server.example", 10000, 10000);
    struct tl_handoff *h = rig_handoff();
    cr_assert_eq(h->rc, 0);
    cr_assert_eq(h->conn, 77);
    cr_assert_not(h->server);
    cr_assert(h->peer_verified);
    cr_assert_str_eq(h->identity->cn, "server.example");
    cr_assert_eq((int)h->version, versions[i]);
    rig_writes(h, "there and back");
    rig_reads(h, "there and back");
    rig_drop(h);
    peer_stop(&p);
  }
  cr_assert_eq(rig_counter(TL_C_CONN_DIALED), 2);
  rig_end();
}

static void dial_fails(const char *cert, bool silent, const char *name, int rc,
                       enum tl_counter cause) {
  struct peer p;
  peer_start(&p, cert, silent);
  uint64_t before = rig_counter(cause);
  order(&p.addr, name, 10000, silent ? 400 : 10000);
  struct tl_handoff *h = rig_handoff();
  cr_assert_eq(h->rc, rc, "%d", h->rc);
  cr_assert_eq(h->fd, -1);
  cr_assert_eq(h->conn, 77);
  tl_handoff_free(h);
  peer_stop(&p);
  cr_assert_eq(rig_counter(cause), before + 1);
  cr_assert_eq(rig_counter(TL_C_CONN_DIAL_FAILED), 0, "the worker counts it");
  cr_assert_eq(atomic_load(&rig_rt.connections), 0);
}

Test(handshaker_dial, b11_dial_that_fails_says_why) {
  rig_begin("", "verify_cert = true require_cert = false");
  dial_fails("foreign", false, "server.example", TL_EVERIFY, TL_C_HS_FAIL_VERIFY);
  dial_fails("wrong", false, "server.example", TL_EVERIFY, TL_C_HS_FAIL_NAME);
  dial_fails("server", true, "server.example", TL_ETIMEOUT, TL_C_HS_FAIL_TIMEOUT);
  struct tl_addr nobody = test_port(SOCK_STREAM);
  order(&nobody, "server.example", 1000, 1000);
  struct tl_handoff *h = rig_handoff();
  cr_assert_eq(h->rc, TL_EIO);
  tl_handoff_free(h);
  cr_assert_eq(rig_counter(TL_C_HS_FAIL_CONNECT), 1);
  rig_end();
}

/* Strangers have us dial servers of theirs that accept and say nothing: they took all places. */
Test(handshaker_dial, s11_silent_servers_keep_no_dial_out) {
  rig_begin("limits { max_handshakes = 8 }\n", "verify_cert = true require_cert = false");
  struct tl_addr a = test_port(SOCK_STREAM);
  int lfd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  cr_assert_eq(bind(lfd, &a.sa, tl_addr_len(&a)), 0);
  cr_assert_eq(listen(lfd, 64), 0); /* the kernel accepts */
  for (int i = 0; i < 8; i++) order(&a, "server.example", 10000, 10000);
  usleep(300000);
  for (int i = 0; i < 2; i++) {
    struct peer p;
    peer_start(&p, "server", false);
    order(&p.addr, "server.example", 10000, 10000);
    struct tl_handoff *h = rig_handoff();
    cr_assert_eq(h->rc, TL_ETIMEOUT);
    tl_handoff_free(h);
    h = rig_handoff();
    cr_assert_eq(h->rc, 0);
    rig_writes(h, "there and back");
    rig_reads(h, "there and back");
    rig_drop(h);
    peer_stop(&p);
    order(&a, "server.example", 10000, 10000); /* into the place that is free again */
    usleep(50000);
  }
  cr_assert_eq(rig_counter(TL_C_HS_GAVE_WAY), 2);
  close(lfd);
  rig_end();
}

/* A full backlog drops the SYN: nobody answers. */
Test(handshaker_dial, dial_to_nowhere_times_out) {
  rig_begin("", OPEN_DOMAIN);
  struct tl_addr a = test_port(SOCK_STREAM);
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
  struct tl_handoff *h = rig_handoff();
  cr_assert_eq(h->rc, TL_EIO);
  cr_assert_geq(tl_now_ms() - start, 290);
  cr_assert_leq(tl_now_ms() - start, 900);
  tl_handoff_free(h);
  for (int i = 0; i < 4; i++) close(fill[i]);
  close(lfd);
  rig_end();
}

/* An answer that finds the worker's mailbox full waits for room. */
Test(handshaker_dial, answers_are_never_lost) {
  rig_begin("", OPEN_DOMAIN);
  struct tl_addr nobody = test_port(SOCK_STREAM);
  rig_worker.mailbox.cap = 1;
  for (int i = 0; i < 5; i++) order(&nobody, "x.example", 500, 500);
  rig_wait(TL_C_MAIL_FULL, 1);
  for (int i = 0; i < 5; i++) {
    struct tl_handoff *h = rig_handoff();
    cr_assert_neq(h->rc, 0);
    tl_handoff_free(h);
  }
  rig_worker.mailbox.cap = 1024;
  rig_end();
}

Test(handshaker_dial, stop_in_the_middle_frees_everything) {
  rig_begin("limits { max_handshakes_source = 2 }\n", OPEN_DOMAIN);
  struct peer p;
  int fd[5];
  peer_start(&p, "server", true);
  order(&p.addr, "server.example", 1000, 5000);
  for (int i = 0; i < 5; i++) fd[i] = rig_dial();
  rig_wait(TL_C_HS_NOW, 6);
  rig_stop();
  for (int i = 0; i < 5; i++) close(fd[i]);
  peer_stop(&p);
}
