/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handshake thread against those who misbehave or are too many.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <unistd.h>

#include "test_handshaker_rig.h"

TestSuite(handshaker_limits, .timeout = 60);

/* ---- misbehaviour ---- */

static void send_raw(const char *p, size_t n) {
  int fd = rig_dial();
  cr_assert_eq(send(fd, p, n, MSG_NOSIGNAL), (ssize_t)n);
  cr_assert(rig_closes(fd, 2000));
  close(fd);
}

Test(handshaker_limits, what_is_no_tls_is_closed_and_counted) {
  rig_begin("", OPEN_DOMAIN);
  send_raw("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
  send_raw("OPTIONS sip:a SIP/2.0\r\n\r\n", 25);
  send_raw("\0\0\0\0\0\0\0\0", 8);
  rig_wait(TL_C_HS_FAIL_NOT_TLS, 3);
  send_raw("\x16\x03\x01\x00\x06\xff\xff\xff\xff\xff\xff", 11);
  send_raw("\x16\x03\x01\x7f\xff", 5);
  rig_wait(TL_C_HS_FAIL_PROTOCOL, 2);
  cr_assert_eq(rig_counter(TL_C_HS_OK), 0);
  rig_end();
}

Test(handshaker_limits, d11_half_open_ends_at_its_deadline_even_when_dripping) {
  rig_begin(TIMES("400ms", "60s"), OPEN_DOMAIN);
  const uint64_t start = tl_now_ms();
  int silent = rig_dial(), dripping = rig_dial();
  /* A record of 512 bytes, one byte every 35 ms: a deadline that each byte moved would never come
   * in the ten seconds that this takes. */
  static const char hello[300] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
  size_t sent = 0;
  while (sent < sizeof hello && send(dripping, hello + sent, 1, MSG_NOSIGNAL) == 1 &&
         !rig_closes(dripping, 35))
    sent++;
  cr_assert_lt(sent, sizeof hello, "the drip kept it open");
  cr_assert(rig_closes(silent, 1000));
  cr_assert_leq(tl_now_ms() - start, 900);
  rig_wait(TL_C_HS_FAIL_TIMEOUT, 2);
  close(silent);
  close(dripping);
  rig_end();
}

Test(handshaker_limits, peer_that_leaves) {
  rig_begin("", OPEN_DOMAIN);
  int fd = rig_dial();
  cr_assert_eq(send(fd, "\x16\x03\x01\x02", 4, 0), 4);
  close(fd);
  fd = rig_dial();
  close(fd);
  rig_wait(TL_C_HS_FAIL_CLOSED, 2);
  rig_end();
}

/* ---- budgets ---- */

/* Closes a connection a moment later, while the test waits in a handshake of its own. */
static void *close_soon(void *fd) {
  usleep(300000);
  close(*(int *)fd);
  return NULL;
}

/* A handshake on FD that cannot begin before IDLE has gone. */
static void served_after(int fd, int *idle, SSL_CTX *ctx) {
  pthread_t t;
  SSL *ssl = rig_client(ctx, fd);
  uint64_t start = tl_now_ms();
  pthread_create(&t, NULL, close_soon, idle);
  cr_assert_eq(SSL_connect(ssl), 1);
  cr_assert_geq(tl_now_ms() - start, 290);
  pthread_join(t, NULL);
  struct tl_handoff *h = rig_handoff();
  rig_talk(ssl, h);
  rig_drop(h);
  SSL_free(ssl);
  close(fd);
}

Test(handshaker_limits, budget_pauses_accepting_and_goes_on) {
  rig_begin("limits { max_handshakes = 3 }\n", OPEN_DOMAIN);
  SSL_CTX *ctx = duel_context(false, NULL);
  int idle[3];
  for (int i = 0; i < 3; i++) idle[i] = rig_dial();
  rig_wait(TL_C_HS_NOW, 3);
  rig_wait(TL_C_HS_ACCEPT_PAUSED, 1);
  int fd = rig_dial(); /* stays in the backlog */
  usleep(100000);
  cr_assert_eq(rig_counter(TL_C_CONN_ACCEPTED), 3);
  served_after(fd, &idle[0], ctx);
  cr_assert_eq(rig_counter(TL_C_CONN_ACCEPTED), 4);
  close(idle[1]);
  close(idle[2]);
  SSL_CTX_free(ctx);
  rig_end();
}

/* Two silent connections take the share of their address: the third waits and is served when one of
 * them goes, before the fourth, which was closed while it waited. */
Test(handshaker_limits, one_source_waits_for_its_share) {
  rig_begin("limits { max_handshakes_source = 2 }\n", OPEN_DOMAIN);
  SSL_CTX *ctx = duel_context(false, NULL);
  int idle[2] = {rig_dial(), rig_dial()};
  rig_wait(TL_C_HS_NOW, 2);
  int fd = rig_dial(), gone = rig_dial(), last = rig_dial();
  rig_wait(TL_C_HS_NOW, 5);
  close(gone);
  served_after(fd, &idle[0], ctx);
  rig_wait(TL_C_HS_FAIL_CLOSED, 2); /* idle[0] and gone; the last has begun */
  cr_assert_eq(rig_counter(TL_C_HS_REFUSED_SOURCE), 0);
  close(idle[1]);
  close(last);
  rig_wait(TL_C_HS_FAIL_CLOSED, 4);
  SSL_CTX_free(ctx);
  rig_end();
}

Test(handshaker_limits, who_waits_keeps_its_deadline) {
  rig_begin(TIMES("2s", "30s") "limits { max_handshakes_source = 1 }\n", OPEN_DOMAIN);
  uint64_t start = tl_now_ms();
  int first = rig_dial(), second = rig_dial();
  cr_assert(rig_closes(first, 10000));
  cr_assert(rig_closes(second, 10000));
  cr_assert_leq(tl_now_ms() - start, 3800, "the second must not get a deadline of its own");
  rig_wait(TL_C_HS_FAIL_TIMEOUT, 2);
  close(first);
  close(second);
  rig_end();
}

Test(handshaker_limits, connections_of_the_process_are_bounded) {
  rig_begin("limits { max_connections = 2 }\n", OPEN_DOMAIN);
  int a = rig_dial(), b = rig_dial();
  rig_wait(TL_C_HS_NOW, 2);
  int c = rig_dial();
  cr_assert(rig_closes(c, 2000));
  rig_wait(TL_C_CONN_REFUSED, 1);
  close(a);
  close(b);
  close(c);
  rig_wait(TL_C_HS_FAIL_CLOSED, 2);
  rig_end();
}
