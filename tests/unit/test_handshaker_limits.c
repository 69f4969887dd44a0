/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handshake thread against those who misbehave or are too many.
 */
#include <criterion/criterion.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "test_handshaker_rig.h"
#include "tieline/time.h"

TestSuite(handshaker_limits, .timeout = 120);

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
  while (sent < sizeof(hello) && send(dripping, hello + sent, 1, MSG_NOSIGNAL) == 1 &&
         !rig_closes(dripping, 35))
    sent++;
  cr_assert_lt(sent, sizeof(hello), "the drip kept it open");
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

/* Connects and sends the ClientHello of a client that then says nothing: a handshake in progress.
 */
static int dial_and_stall(SSL_CTX *ctx) {
  SSL *ssl = SSL_new(ctx);
  BIO *out = BIO_new(BIO_s_mem());
  char *p;
  SSL_set_bio(ssl, BIO_new(BIO_s_mem()), out);
  SSL_set_tlsext_host_name(ssl, "server.example");
  cr_assert_neq(SSL_connect(ssl), 1);
  long n = BIO_get_mem_data(out, &p);
  int fd = rig_dial();
  cr_assert_eq(send(fd, p, (size_t)n, MSG_NOSIGNAL), n);
  SSL_free(ssl);
  return fd;
}

/* Waits until COUNTER is N; gauges go up and down. */
static void wait_for(enum tl_counter counter, uint64_t n) {
  for (int i = 0; i < 1000 && rig_counter(counter) != n; i++) usleep(10000);
  cr_assert_eq(rig_counter(counter), n, "%s stays at %lu", tl_counter_name(counter),
               rig_counter(counter));
}

static void is_served(int fd, SSL_CTX *ctx) {
  SSL *ssl = rig_client(ctx, fd);
  cr_assert_eq(SSL_connect(ssl), 1);
  struct tl_handoff *h = rig_handoff();
  rig_talk(ssl, h);
  rig_drop(h);
  SSL_free(ssl);
  close(fd);
}

/* Two handshakes have all places: the third waits, and begins when one of them has gone. */
Test(handshaker_limits, budget_lets_handshakes_wait_and_goes_on) {
  rig_begin("limits { max_handshakes = 2 }\n", OPEN_DOMAIN);
  SSL_CTX *ctx = duel_context(false, NULL);
  int idle[2];
  for (int i = 0; i < 2; i++) idle[i] = dial_and_stall(ctx);
  rig_wait(TL_C_HS_NOW, 2);
  wait_for(TL_C_HS_HALF_OPEN, 0);
  served_after(rig_dial(), &idle[0], ctx);
  close(idle[1]);
  SSL_CTX_free(ctx);
  rig_end();
}

/* Two handshakes take the share of their source: the third, which leaves while it waits, and the
 * fourth come when one of them goes. */
Test(handshaker_limits, one_source_waits_for_its_share) {
  rig_begin("limits { max_handshakes_source = 2 }\n", OPEN_DOMAIN);
  SSL_CTX *ctx = duel_context(false, NULL);
  int idle[2] = {dial_and_stall(ctx), dial_and_stall(ctx)};
  rig_wait(TL_C_HS_NOW, 2);
  wait_for(TL_C_HS_HALF_OPEN, 0);
  int gone = dial_and_stall(ctx);
  rig_wait(TL_C_HS_NOW, 3);
  wait_for(TL_C_HS_HALF_OPEN, 0);
  close(gone);
  served_after(rig_dial(), &idle[0], ctx);
  rig_wait(TL_C_HS_FAIL_CLOSED, 2); /* idle[0] and gone */
  cr_assert_eq(rig_counter(TL_C_HS_REFUSED_SOURCE), 0);
  close(idle[1]);
  rig_wait(TL_C_HS_FAIL_CLOSED, 3);
  SSL_CTX_free(ctx);
  rig_end();
}

Test(handshaker_limits, who_waits_keeps_its_deadline) {
  rig_begin(TIMES("2s", "30s") "limits { max_handshakes_source = 1 }\n", OPEN_DOMAIN);
  SSL_CTX *ctx = duel_context(false, NULL);
  uint64_t start = tl_now_ms();
  int first = dial_and_stall(ctx), second = dial_and_stall(ctx);
  cr_assert(rig_closes(first, 10000));
  cr_assert(rig_closes(second, 10000));
  cr_assert_leq(tl_now_ms() - start, 3800, "the second must not get a deadline of its own");
  rig_wait(TL_C_HS_FAIL_TIMEOUT, 2);
  close(first);
  close(second);
  SSL_CTX_free(ctx);
  rig_end();
}

Test(handshaker_limits, connections_of_the_process_are_bounded) {
  rig_begin("limits { max_connections = 2 }\n", OPEN_DOMAIN);
  SSL_CTX *ctx = duel_context(false, NULL);
  int a = dial_and_stall(ctx), b = dial_and_stall(ctx);
  rig_wait(TL_C_HS_NOW, 2);
  wait_for(TL_C_HS_HALF_OPEN, 0);
  int c = rig_dial();
  cr_assert(rig_closes(c, 2000));
  rig_wait(TL_C_CONN_REFUSED, 1);
  close(a);
  close(b);
  close(c);
  rig_wait(TL_C_HS_FAIL_CLOSED, 2);
  SSL_CTX_free(ctx);
  rig_end();
}

/* ---- half-open */

/* What half-open ones have sent: nothing, part of a header, of a record, of a ClientHello. */
static const struct {
  const char *p;
  size_t n;
} begun[] = {{"", 0},
             {"\x16\x03\x01", 3},
             {"\x16\x03\x01\x02\x00\x01\x00", 7},
             {"\x16\x03\x01\x00\x01\x01", 6},
             {"\x16\x03\x01\x00\x06\x01\x00\x01\xfc\x03\x03\x16\x03", 13}};
#define BEGUN (sizeof(begun) / sizeof(*begun))

static int dial_half_open(size_t which) {
  int fd = rig_dial();
  cr_assert_eq(send(fd, begun[which].p, begun[which].n, MSG_NOSIGNAL), (ssize_t)begun[which].n);
  return fd;
}

/* However many there are, they take no place from a handshake, of all or of their source. */
Test(handshaker_limits, s11_half_open_ones_hold_no_place) {
  rig_begin("limits { max_handshakes = 1 max_handshakes_source = 1 }\n"
            "timeouts { hello = 60s handshake = 60s }\n",
            OPEN_DOMAIN);
  SSL_CTX *ctx = duel_context(false, NULL);
  int fd[4 * BEGUN];
  for (size_t i = 0; i < 4 * BEGUN; i++) fd[i] = dial_half_open(i % BEGUN);
  wait_for(TL_C_HS_HALF_OPEN, 4 * BEGUN);
  for (int i = 0; i < 3; i++) is_served(rig_dial(), ctx);
  cr_assert_eq(rig_counter(TL_C_HS_GAVE_WAY), 0);
  cr_assert_eq(rig_counter(TL_C_HS_HALF_OPEN), 4 * BEGUN);
  for (size_t i = 0; i < 4 * BEGUN; i++) close(fd[i]);
  wait_for(TL_C_HS_NOW, 0);
  SSL_CTX_free(ctx);
  rig_end();
}

/* At each bound the oldest goes, at once, and who speaks is served. */
static void oldest_gives_way(const char *bound, size_t n) {
  char extra[160];
  int fd[8];
  snprintf(extra, sizeof(extra), "limits { %s = %zu }\ntimeouts { hello = 60s handshake = 60s }\n",
           bound, n);
  rig_begin(extra, OPEN_DOMAIN);
  SSL_CTX *ctx = duel_context(false, NULL);
  for (size_t i = 0; i < n; i++) {
    fd[i] = dial_half_open(i % BEGUN);
    wait_for(TL_C_HS_HALF_OPEN, i + 1);
  }
  is_served(rig_dial(), ctx);
  cr_assert(rig_closes(fd[0], 20000), "%s: the oldest is still there", bound);
  cr_assert_eq(rig_counter(TL_C_HS_GAVE_WAY), 1, "%s", bound);
  cr_assert_eq(rig_counter(TL_C_HS_FAIL_TIMEOUT), 1, "%s", bound);
  cr_assert_eq(rig_counter(TL_C_CONN_REFUSED), 0, "%s", bound);
  wait_for(TL_C_HS_HALF_OPEN, n - 1);
  for (size_t i = 1; i < n; i++) cr_assert_not(rig_closes(fd[i], 0), "%s: %zu", bound, i);
  for (size_t i = 0; i < n; i++) close(fd[i]);
  wait_for(TL_C_HS_NOW, 0);
  SSL_CTX_free(ctx);
  rig_end();
}

Test(handshaker_limits, s11_at_each_bound_the_oldest_half_open_one_gives_way) {
  oldest_gives_way("max_half_open", 5);
  oldest_gives_way("max_half_open_source", 5);
  oldest_gives_way("max_connections", 5);
}

/* The ClientHello has a deadline of its own, which bytes do not move. */
Test(handshaker_limits, s11_the_client_hello_has_its_own_deadline) {
  rig_begin("timeouts { hello = 300ms handshake = 1h }\n", OPEN_DOMAIN);
  SSL_CTX *ctx = duel_context(false, NULL);
  int fd[BEGUN], stalled = dial_and_stall(ctx);
  for (size_t i = 0; i < BEGUN; i++) fd[i] = dial_half_open(i);
  for (size_t i = 0; i < BEGUN; i++) cr_assert(rig_closes(fd[i], 20000), "%zu", i);
  rig_wait(TL_C_HS_FAIL_TIMEOUT, BEGUN);
  cr_assert_eq(rig_counter(TL_C_HS_NOW), 1, "whose ClientHello is there has the whole time");
  for (size_t i = 0; i < BEGUN; i++) close(fd[i]);
  close(stalled);
  wait_for(TL_C_HS_NOW, 0);
  SSL_CTX_free(ctx);
  rig_end();
}

/* A neighbour: all places are with clients that sent a ClientHello and then nothing. */
Test(handshaker_limits, s11_who_stalls_after_the_client_hello_gives_way_to_who_waits) {
  rig_begin("limits { max_handshakes = 2 }\ntimeouts { handshake = 1h }\n", OPEN_DOMAIN);
  SSL_CTX *ctx = duel_context(false, NULL);
  int fd[2] = {dial_and_stall(ctx), dial_and_stall(ctx)};
  rig_wait(TL_C_HS_NOW, 2);
  wait_for(TL_C_HS_HALF_OPEN, 0);
  is_served(rig_dial(), ctx);
  cr_assert(rig_closes(fd[0], 20000));
  cr_assert_eq(rig_counter(TL_C_HS_GAVE_WAY), 1);
  for (int i = 0; i < 2; i++) close(fd[i]);
  wait_for(TL_C_HS_NOW, 0);
  SSL_CTX_free(ctx);
  rig_end();
}

/* A ClientHello cut into records of SIZE bytes is read like a whole one. */
static void cut_hello_is_read(SSL_CTX *ctx, size_t size) {
  SSL *ssl = SSL_new(ctx);
  BIO *out = BIO_new(BIO_s_mem());
  uint8_t *p, rec[5 + 512];
  SSL_set_bio(ssl, BIO_new(BIO_s_mem()), out);
  SSL_set_tlsext_host_name(ssl, "server.example");
  cr_assert_neq(SSL_connect(ssl), 1);
  size_t n = (size_t)BIO_get_mem_data(out, &p);
  int fd = rig_dial();
  for (size_t at = 5, take; at < n; at += take) {
    take = n - at < size ? n - at : size;
    const uint8_t header[5] = {0x16, 3, 1, (uint8_t)(take >> 8), (uint8_t)take};
    memcpy(rec, header, 5);
    memcpy(rec + 5, p + at, take);
    cr_assert_eq(send(fd, rec, 5 + take, MSG_NOSIGNAL), (ssize_t)(5 + take));
  }
  SSL_set_fd(ssl, fd);
  cr_assert_eq(SSL_connect(ssl), 1, "in records of %zu bytes", size);
  struct tl_handoff *h = rig_handoff();
  rig_talk(ssl, h);
  rig_drop(h);
  SSL_free(ssl);
  close(fd);
}

Test(handshaker_limits, s11_a_client_hello_in_many_records_is_read) {
  static const size_t size[] = {1, 2, 3, 4, 5, 7, 64, 200, 512};
  rig_begin("", OPEN_DOMAIN);
  SSL_CTX *ctx = duel_context(false, NULL);
  for (size_t i = 0; i < sizeof(size) / sizeof(*size); i++) cut_hello_is_read(ctx, size[i]);
  SSL_CTX_free(ctx);
  rig_end();
}

/* Two addresses of one /64 are one source; its queues and counts survive others' coming and going.
 */
Test(handshaker_limits, s11_sources_are_counted_by_prefix) {
  static struct tl_hs_conn c[600];
  struct tl_hash_table s = {.n = 0};
  char text[64];
  for (int i = 0; i < 600; i++) {
    struct tl_addr a;
    snprintf(text, sizeof(text), "2001:db8:0:%x::%x", i % 200, i + 1);
    cr_assert_eq(tl_addr_parse(tl_str_c(text), (uint16_t)(1000 + i), &a), 0);
    tl_addr_source_prefix(&a, &c[i].source);
    cr_assert_eq(tl_hs_source_open(&s, &c[i]), 0);
  }
  cr_assert_eq(s.n, 200);
  for (int i = 0; i < 200; i++) {
    cr_assert_eq(tl_hs_source_oldest(&s, &c[i], 4), NULL);
    cr_assert_eq(tl_hs_source_oldest(&s, &c[400 + i], 3), &c[i]);
    tl_hs_source_opened(&s, &c[i]);
    cr_assert_eq(tl_hs_source_oldest(&s, &c[i], 2), &c[200 + i]);
    cr_assert_eq(tl_hs_source_enter(&s, &c[i], 1), 0);
    cr_assert_eq(tl_hs_source_enter(&s, &c[200 + i], 1), TL_ELIMIT);
  }
  for (int i = 0; i < 200; i++) {
    tl_hs_source_opened(&s, &c[200 + i]);
    tl_hs_source_opened(&s, &c[400 + i]);
    if (i % 2) tl_hs_source_leave(&s, &c[i]);
  }
  cr_assert_eq(s.n, 100);
  for (int i = 0; i < 200; i += 2) {
    cr_assert_eq(tl_hs_source_enter(&s, &c[i], 1), TL_ELIMIT);
    tl_hs_source_leave(&s, &c[i]);
  }
  cr_assert_eq(s.n, 0);
  tl_hash_free(&s);
}
