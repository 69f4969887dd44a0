/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of which only a part comes: how long, and how much of them is kept. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test_net_rig.h"

TestSuite(net_unfinished, .timeout = 30);

#define HOUR 3600000u

static char text[700000];

/* A whole message in TEXT, of which the test sends less. Returns the bytes of its head. */
static size_t message(size_t body) {
  int n = snprintf(text, sizeof(text),
                   "MESSAGE sip:a@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bKa\r\n"
                   "From: <sip:b@a>;tag=1\r\nTo: <sip:a@a>\r\nCall-ID: a\r\nCSeq: 1 MESSAGE\r\n"
                   "Content-Length: %zu\r\n\r\n",
                   body);
  memset(text + n, 'x', body);
  text[(size_t)n + body] = 0;
  return (size_t)n;
}

static void send_part(struct tl_conn *c, int fd, const char *p, size_t n) {
  const uint64_t in = c->kept.bytes_in;
  rig_write(fd, p, n);
  RIG_UNTIL(c->kept.bytes_in == in + n);
}

Test(net_unfinished, s13_a_byte_now_and_then_extends_nothing) {
  struct tl_conn *c;
  net_begin("timeouts { message = 1h }");
  int fd = rig_connect(&c);
  message(100000);
  for (unsigned i = 0; i < 59; i++) {
    send_part(c, fd, text + i, 1);
    cr_assert(c->rx.begun);
    c->begun_ms -= HOUR / 60;
    rig_turn();
    cr_assert_eq(rig_count(TL_C_CONN_MESSAGE_TIMEOUT), 0, "byte %u", i);
  }
  send_part(c, fd, text + 59, 1);
  c->begun_ms -= HOUR / 60;
  rig_turn();
  cr_expect_eq(rig_count(TL_C_CONN_MESSAGE_TIMEOUT), 1);
  rig_read_end(fd);
  cr_expect_eq(rig_count(TL_C_UNFINISHED_BYTES), 0);
  close(fd);
  net_end();
}

/* Wherever it stops: N bytes of a message are sent and no more. */
Test(net_unfinished, s13_every_part_of_a_message_has_its_time) {
  static const struct {
    const char *what;
    size_t body, of_head, of_body; /* OF_HEAD 0: all */
  } row[] = {
      {"one byte", 10, 1, 0},
      {"half a head", 10, 40, 0},
      {"a head", 10, 0, 0},
      {"a body to be copied", 1000, 0, 500},
      {"a body of its own", 100000, 0, 50000},
      {"a body too large, which is skipped", 500000, 0, 300000},
  };
  for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
    struct tl_conn *c;
    net_begin("timeouts { message = 1h }");
    int fd = rig_connect(&c);
    const size_t head = message(row[i].body);
    send_part(c, fd, text, (row[i].of_head ? row[i].of_head : head) + row[i].of_body);
    rig_turn();
    cr_assert(c->rx.begun, "%s", row[i].what);
    cr_assert_eq(rig_count(TL_C_CONN_MESSAGE_TIMEOUT), 0, "%s", row[i].what);
    c->begun_ms -= HOUR;
    rig_turn();
    cr_assert_eq(rig_count(TL_C_CONN_MESSAGE_TIMEOUT), 1, "%s", row[i].what);
    close(fd);
    RIG_UNTIL(rig.net->n_conn == 0);
    cr_assert_eq(rig_count(TL_C_UNFINISHED_BYTES), 0, "%s", row[i].what);
    net_end();
  }
}

/* A part of a message is always there, but never of the same one. */
Test(net_unfinished, s13_each_message_has_its_own_time) {
  struct tl_conn *c;
  net_begin("timeouts { message = 1h }");
  int fd = rig_connect(&c);
  message(100);
  const size_t n = strlen(text), half = n / 2;
  send_part(c, fd, text, half);
  for (unsigned i = 0; i < 20; i++) {
    c->begun_ms -= HOUR / 2;
    memmove(text + n, text, half);
    send_part(c, fd, text + half, n);
    cr_assert(c->rx.begun);
    rig_turn();
  }
  cr_expect_eq(rig_count(TL_C_CONN_MESSAGE_TIMEOUT), 0);
  cr_expect_eq(rig_count(TL_C_UNFINISHED_BYTES), c->begun_bytes);
  send_part(c, fd, text + half, n - half);
  cr_expect(!c->rx.begun);
  cr_expect_eq(rig_count(TL_C_UNFINISHED_BYTES), 0);
  close(fd);
  net_end();
}

Test(net_unfinished, s13_who_waits_for_us_is_not_late) {
  struct tl_conn *c;
  net_begin("timeouts { message = 1h }");
  int fd = rig_connect(&c);
  message(1000);
  send_part(c, fd, text, 500);
  c->rx.paused = true;
  c->begun_ms -= 2 * HOUR;
  rig_turn();
  cr_expect_eq(rig_count(TL_C_CONN_MESSAGE_TIMEOUT), 0);
  c->rx.paused = false;
  send_part(c, fd, text + 500, strlen(text) - 500);
  cr_expect_eq(rig.n_got, 1);
  close(fd);
  net_end();
}

#define SENDERS 100

Test(net_unfinished, s13_at_the_bound_the_oldest_goes) {
  struct tl_conn *c[SENDERS], *honest;
  int fd[SENDERS];
  net_begin("limits { max_unfinished = 16m }");
  message(250000);
  for (unsigned i = 0; i < SENDERS; i++) {
    fd[i] = rig_connect(&c[i]);
    send_part(c[i], fd[i], text, 240000);
    rig_turn();
    cr_assert_leq(rig_count(TL_C_UNFINISHED_BYTES), 16u << 20);
  }
  const uint64_t gone = rig_count(TL_C_CONN_UNFINISHED);
  cr_expect_gt(gone, 0);
  cr_expect_lt(gone, SENDERS / 2);
  int last = rig_connect(&honest);
  send_part(honest, last, text, 100);
  send_part(honest, last, text + 100, strlen(text) - 100);
  cr_expect_eq(rig.n_got, 1);
  for (unsigned i = 0; i < SENDERS; i++) {
    if (i < gone) rig_read_end(fd[i]);
    cr_expect(i < gone || tl_conn_is_live(c[i]), "%u", i);
    close(fd[i]);
  }
  close(last);
  net_end();
}
