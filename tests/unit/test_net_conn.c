/* SPDX-License-Identifier: Apache-2.0 */
/* Connections outward, their names and keys, datagrams, and what a reload does to listeners. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test_net_rig.h"
#include "tieline/edit.h"
#include "tieline/time.h"

TestSuite(net_conn, .timeout = 30);

static int listener(struct tl_addr *a) {
  socklen_t len = sizeof(*a);
  tl_addr_parse(TL_STR("127.0.0.1"), 0, a);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  cr_assert_eq(bind(fd, &a->sa, sizeof(a->v4)), 0);
  cr_assert_eq(listen(fd, 64), 0);
  getsockname(fd, &a->sa, &len);
  return fd;
}

static struct tl_conn_key key_of(const struct tl_addr *a) {
  return (struct tl_conn_key){.transport = TL_TCP, .addr = *a};
}

Test(net_conn, item_2_judged_messages_wait_for_the_connection_in_order_and_bounded) {
  struct tl_addr at;
  struct tl_conn *c, *again;
  char text[16], back[16];
  net_begin("limits { connect_queue = 50 }");
  int l = listener(&at);
  struct tl_conn_key key = key_of(&at);
  cr_assert_eq(tl_conn_open(rig.net, &key, &c), 0);
  cr_expect_eq(c->view.state, TL_CONN_DIALING);
  cr_assert_eq(tl_conn_open(rig.net, &key, &again), 0);
  cr_expect_eq(c, again, "one connection for one key");
  for (unsigned i = 0; i < 50; i++) {
    size_t n = (size_t)sprintf(text, "<%06u>", i);
    cr_assert_eq(tl_conn_send(c, text, n), 0);
  }
  cr_expect_eq(tl_conn_send(c, text, 8), TL_ELIMIT);
  cr_expect_eq(rig_count(TL_C_WAIT_DIAL), 50);
  RIG_UNTIL(c->view.state == TL_CONN_OPEN);
  int fd = accept(l, NULL, NULL);
  for (unsigned i = 0; i < 50; i++) {
    sprintf(text, "<%06u>", i);
    rig_read(fd, back, 8);
    cr_assert(memcmp(text, back, 8) == 0, "%u", i);
  }
  cr_expect_eq(rig_count(TL_C_WAIT_DIAL), 0);
  cr_expect_eq(tl_conn_find(rig.net, &key), c);
  close(fd);
  RIG_UNTIL(rig.net->n_conn == 0);
  cr_expect_null(tl_conn_find(rig.net, &key));
  close(l);
  net_end();
}

Test(net_conn, s12_what_waits_for_a_dial_is_bounded_in_bytes) {
  struct tl_addr at;
  struct tl_conn *c;
  static char large[10000], got[10000];
  net_begin("limits { send_buffer = 4k }");
  int l = listener(&at), n = 0;
  struct tl_conn_key key = key_of(&at);
  cr_assert_eq(tl_conn_open(rig.net, &key, &c), 0);
  while (n < 100 && tl_conn_send(c, large, sizeof(large)) == 0) n++;
  cr_expect(n >= 3 && n <= 5, "%d messages of 10,000 bytes wait", n);
  RIG_UNTIL(c->view.state == TL_CONN_OPEN);
  int fd = accept(l, NULL, NULL);
  for (int i = 0; i < n; i++) rig_read(fd, got, sizeof(got));
  cr_expect_eq(c->pend_bytes, 0);
  close(fd);
  RIG_UNTIL(rig.net->n_conn == 0);
  close(l);
  net_end();
}

Test(net_conn, a_refused_dial_drops_what_waits_and_says_so) {
  struct tl_addr at;
  struct tl_conn *c;
  net_begin("");
  close(listener(&at));
  struct tl_conn_key key = key_of(&at);
  cr_assert_eq(tl_conn_open(rig.net, &key, &c), 0);
  for (int i = 0; i < 3; i++) tl_conn_send(c, "waits", 5);
  RIG_UNTIL(rig.n_closed == 1);
  cr_expect_neq(rig.closed_rc, 0);
  RIG_UNTIL(rig.net->n_conn == 0);
  cr_expect_eq(rig_count(TL_C_CONN_DIAL_FAILED), 1);
  cr_expect_eq(rig_count(TL_C_WAIT_DIAL), 0);
  net_end();
}

/* A listener with a full backlog: the kernel drops further SYNs. */
static int swallowing(struct tl_addr *at, int fill[4]) {
  socklen_t len = sizeof(*at);
  tl_addr_parse(TL_STR("127.0.0.1"), 0, at);
  int l = socket(AF_INET, SOCK_STREAM, 0);
  cr_assert_eq(bind(l, &at->sa, sizeof(at->v4)), 0);
  cr_assert_eq(listen(l, 0), 0);
  getsockname(l, &at->sa, &len);
  for (int i = 0; i < 4; i++) {
    fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    connect(fill[i], &at->sa, sizeof(at->v4));
  }
  return l;
}

Test(net_conn, a_dial_without_an_answer_ends_at_its_time) {
  struct tl_addr at;
  struct tl_conn *c;
  int fill[4];
  net_begin("timeouts { connect = 150ms }");
  int l = swallowing(&at, fill);
  struct tl_conn_key key = key_of(&at);
  cr_assert_eq(tl_conn_open(rig.net, &key, &c), 0);
  tl_conn_send(c, "waits", 5);
  RIG_UNTIL(rig.n_closed == 1);
  cr_expect_eq(rig.closed_rc, TL_ETIMEOUT);
  RIG_UNTIL(rig.net->n_conn == 0);
  for (int i = 0; i < 4; i++) close(fill[i]);
  close(l);
  net_end();
}

/* Dials AT and waits for the end of that; is AT remembered then? */
static bool remembered(const struct tl_addr *at) {
  struct tl_conn_key key = key_of(at);
  unsigned before = rig.n_closed;
  struct tl_conn *c;
  cr_assert_eq(tl_conn_open(rig.net, &key, &c), 0);
  RIG_UNTIL(rig.n_closed > before || c->view.state == TL_CONN_OPEN);
  return tl_addr_unreached(rig.net, at);
}

/* One of them would push the other out of the table. */
static bool share_a_place(const struct tl_addr *a, const struct tl_addr *b) {
  return tl_addr_hash(a) % TL_UNREACHED_SLOTS == tl_addr_hash(b) % TL_UNREACHED_SLOTS;
}

Test(net_conn, s24_where_tcp_does_not_connect_is_remembered) {
  struct tl_addr silent, refusing, there;
  int fill[4];
  net_begin("timeouts { connect = 150ms }");
  int l = swallowing(&silent, fill), l2 = listener(&there);
  do {
    close(listener(&refusing));
  } while (share_a_place(&silent, &refusing));
  cr_expect_not(tl_addr_unreached(rig.net, &silent));
  cr_expect(remembered(&silent) && remembered(&refusing) && !remembered(&there));
  /* A refusal may be a restart; what answers nothing is left alone for longer. */
  rig.net->now_ms += 11000;
  cr_expect(tl_addr_unreached(rig.net, &silent) && !tl_addr_unreached(rig.net, &refusing));
  rig.net->now_ms += 300000;
  cr_expect_not(tl_addr_unreached(rig.net, &silent));
  rig.net->now_ms = tl_now_ms();
  /* Another port of the same host is another place, and a connection ends it. */
  cr_expect(tl_addr_unreached(rig.net, &silent) && !tl_addr_unreached(rig.net, &there));
  for (int i = 0; i < 4; i++) close(fill[i]);
  close(l);
  int again = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  setsockopt(again, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  cr_assert_eq(bind(again, &silent.sa, sizeof(silent.v4)), 0);
  cr_assert_eq(listen(again, 4), 0);
  cr_expect_not(remembered(&silent));
  close(again);
  close(l2);
  net_end();
}

Test(net_conn, max_connections_hold_both_ways_and_come_free) {
  struct tl_conn *c[3];
  struct tl_addr at;
  int fd[3];
  char byte;
  net_begin("limits { max_connections = 3 }");
  for (int i = 0; i < 3; i++) fd[i] = rig_connect(&c[i]);
  int l = listener(&at);
  struct tl_conn_key key = key_of(&at);
  struct tl_conn *out;
  cr_expect_eq(tl_conn_open(rig.net, &key, &out), TL_ELIMIT);
  int over = socket(AF_INET, SOCK_STREAM, 0);
  cr_assert_eq(connect(over, &rig.tcp.sa, sizeof(rig.tcp.v4)), 0);
  RIG_UNTIL(rig_count(TL_C_CONN_REFUSED) == 2);
  cr_expect_leq(recv(over, &byte, 1, 0), 0);
  close(over);
  close(fd[0]);
  RIG_UNTIL(rig.net->n_conn == 2);
  cr_expect_eq(tl_conn_open(rig.net, &key, &out), 0);
  RIG_UNTIL(out->view.state == TL_CONN_OPEN);
  close(fd[1]);
  close(fd[2]);
  close(l);
  net_end();
}

Test(net_conn, a_name_is_good_for_one_connection_only) {
  struct tl_conn *c;
  net_begin("");
  int fd = rig_connect(&c);
  tl_conn_id id = tl_conn_id_of(c);
  cr_expect_eq(tl_conn_get(rig.net, id), c);
  cr_expect_null(tl_conn_get(rig.net, 0));
  cr_expect_null(tl_conn_get(rig.net, id + ((uint64_t)1 << 56)), "another worker's");
  cr_expect_null(tl_conn_get(rig.net, id + 1000000), "no such slot");
  close(fd);
  RIG_UNTIL(rig.net->n_conn == 0);
  fd = rig_connect(&c);
  cr_expect_null(tl_conn_get(rig.net, id), "the slot has another connection now");
  cr_expect_neq(tl_conn_id_of(c), id);
  close(fd);
  net_end();
}

/* B13: a TLS connection is found only for the domain and names that were checked on it. */
Test(net_conn, b13_accepted_tls_connections_serve_no_key) {
  struct tl_conn *c, *tcp;
  struct tl_record *peer;
  net_begin("");
  int fd = rig_tls(TL_TLS_1_3, TL_AES_128_GCM, 0, &c, &peer);
  struct tl_conn_key key = {.transport = TL_TLS, .addr = c->view.peer, .identity = "", .sni = ""};
  cr_expect_null(tl_conn_find(rig.net, &key));
  key.transport = TL_TCP;
  cr_expect_null(tl_conn_find(rig.net, &key));
  int plain = rig_connect(&tcp);
  key.addr = tcp->view.peer;
  cr_expect_eq(tl_conn_find(rig.net, &key), tcp);
  tl_conn_finish(tcp);
  cr_expect_null(tl_conn_find(rig.net, &key));
  close(fd);
  close(plain);
  tl_record_free(peer);
  RIG_UNTIL(rig.net->n_conn == 0);
  net_end();
}

Test(net_conn, idle_connections_end_unless_a_transaction_waits_on_them) {
  struct tl_conn *a, *b;
  int waits;
  net_begin("timeouts { idle = 200ms }");
  int fa = rig_connect(&a), fb = rig_connect(&b);
  b->view.owner.user = &waits;
  RIG_UNTIL(rig_count(TL_C_CONN_IDLE) == 1);
  rig_sleep(300);
  cr_expect_eq(rig_count(TL_C_CONN_IDLE), 1);
  cr_expect_eq(b->view.state, TL_CONN_OPEN);
  b->view.owner.user = NULL;
  RIG_UNTIL(rig_count(TL_C_CONN_IDLE) == 2);
  close(fa);
  close(fb);
  net_end();
}

/* ---- half-closed connections ---- */

static char half_msg[4096];

/* A request is open on each connection whose message comes up. */
static void asks(struct rig *r, struct tl_conn *c, const struct tl_msg *m) {
  (void)r;
  (void)m;
  c->view.n_open_requests++;
}

/* A connection with one open request whose peer has closed its sending side. */
static int half_closed(struct tl_conn **out_c) {
  int fd = rig_connect(out_c);
  rig.on_message = asks;
  rig_write(fd, half_msg, rig_message(half_msg, 1, 10));
  shutdown(fd, SHUT_WR);
  RIG_UNTIL(rig_count(TL_C_CONN_HALF_CLOSED) == 1);
  return fd;
}

Test(net_conn, s23_a_half_closed_connection_stays_until_it_is_answered) {
  struct tl_conn *c, *found;
  char reply[8];
  net_begin("");
  int fd = half_closed(&c);
  struct tl_conn_key key = key_of(&c->view.peer);
  cr_expect_null(tl_conn_find(rig.net, &key), "nothing new is sent on it");
  cr_assert_eq(tl_conn_send(c, "100", 3), 0, "a provisional answer");
  rig_read(fd, reply, 3);
  cr_expect(rig_quiet(fd), "it stays open behind that");
  cr_expect_eq(rig.n_closed, 0);
  found = tl_conn_get(rig.net, rig.last_conn);
  cr_assert_eq(found, c);
  cr_assert_eq(tl_conn_send(c, "answer", 6), 0);
  tl_conn_release_request(c);
  rig_read(fd, reply, 6);
  cr_expect_eq(memcmp(reply, "answer", 6), 0);
  rig_read_end(fd);
  RIG_UNTIL(rig.net->n_conn == 0);
  cr_expect(rig.n_closed == 1 && rig.closed_rc == TL_ECLOSED);
  close(fd);
  net_end();
}

Test(net_conn, s23_requests_without_a_transaction_are_awaited_too) {
  struct tl_conn *c;
  for (int lost = 0; lost < 2; lost++) {
    net_begin("");
    int fd = rig_connect(&c);
    tl_conn_ask(c, lost ? 200 : 60000);
    shutdown(fd, SHUT_WR);
    RIG_UNTIL(rig_count(TL_C_CONN_HALF_CLOSED) == 1);
    if (!lost) {
      cr_expect(rig_quiet(fd));
      tl_conn_answered(c);
    }
    RIG_UNTIL(rig.net->n_conn == 0); /* answered, or waited for in vain */
    close(fd);
    net_end();
  }
}

Test(net_conn, s23_a_half_closed_connection_that_owes_nothing_ends_at_once) {
  static const char *const conf[] = {"", "timeouts { half_closed = 0 }"};
  struct tl_conn *c;
  for (int i = 0; i < 2; i++) {
    net_begin(conf[i]);
    int fd = rig_connect(&c);
    c->view.n_open_requests = i == 1; /* with 0 none is kept */
    shutdown(fd, SHUT_WR);
    RIG_UNTIL(rig.net->n_conn == 0);
    cr_expect_eq(rig_count(TL_C_CONN_HALF_CLOSED), 0);
    close(fd);
    net_end();
  }
}

Test(net_conn, s23_a_half_closed_connection_has_its_own_bound) {
  struct tl_conn *c;
  net_begin("timeouts { half_closed = 150ms }");
  int fd = half_closed(&c);
  RIG_UNTIL(rig.net->n_conn == 0);
  cr_expect_eq(rig.n_closed, 1);
  close(fd);
  net_end();
}

Test(net_conn, s23_a_half_closed_connection_whose_peer_vanished_goes) {
  const struct linger now = {1, 0};
  struct tl_conn *c;
  net_begin("");
  int fd = half_closed(&c);
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  close(fd); /* a reset */
  RIG_UNTIL(rig.net->n_conn == 0);
  cr_expect_eq(rig.closed_rc, TL_EIO);
  net_end();
}

Test(net_conn, s23_half_a_message_is_not_kept) {
  struct tl_conn *c;
  net_begin("");
  int fd = rig_connect(&c);
  rig.on_message = asks;
  size_t n = rig_message(half_msg, 1, 10);
  rig_write(fd, half_msg, n);
  rig_write(fd, half_msg, 100);
  shutdown(fd, SHUT_WR);
  RIG_UNTIL(rig_count(TL_C_CONN_HALF_CLOSED) == 1);
  rig_settle();
  cr_expect_eq(rig.n_got, 1);
  cr_expect(c->view.state == TL_CONN_OPEN && !c->kept.plain.p && !c->kept.cipher.p && !c->big);
  tl_conn_release_request(c);
  RIG_UNTIL(rig.net->n_conn == 0);
  close(fd);
  net_end();
}

/* ---- datagrams ---- */

static int udp_peer(struct tl_addr *me) {
  socklen_t len = sizeof(*me);
  tl_addr_parse(TL_STR("127.0.0.1"), 0, me);
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  cr_assert_eq(bind(fd, &me->sa, sizeof(me->v4)), 0);
  getsockname(fd, &me->sa, &len);
  return fd;
}

static char text[70000], back[70000];

Test(net_conn, datagrams_go_up_and_answers_leave_from_the_same_socket) {
  struct tl_addr me, from;
  socklen_t len = sizeof(from);
  net_begin("");
  int fd = udp_peer(&me);
  for (unsigned i = 0; i < 3; i++) {
    size_t n = rig_message(text, i, i * 20000);
    cr_assert_eq(sendto(fd, text, n, 0, &rig.udp.sa, sizeof(rig.udp.v4)), (ssize_t)n);
    RIG_UNTIL(rig.n_got == i + 1);
    cr_assert(rig.got[i].n == n && memcmp(rig.got[i].p, text, n) == 0);
    cr_assert_eq(tl_udp_send(rig.net, NULL, &me, text, n), 0);
    RIG_UNTIL(recvfrom(fd, back, sizeof(back), MSG_DONTWAIT, &from.sa, &len) == (ssize_t)n);
    cr_assert(memcmp(back, text, n) == 0 && tl_addr_eq(&from, &rig.udp));
  }
  cr_expect_eq(tl_udp_send(rig.net, NULL, &me, text, 65508), TL_ELIMIT);
  rig_settle();
  cr_expect_eq(rig.net->dgrams_out, 0);
  close(fd);
  net_end();
}

Test(net_conn, datagrams_that_are_no_message_are_dropped_or_refused) {
  static const char junk[] = "\x01\x02\x03", crlf[] = "\r\n\r\n",
                    half[] = "OPTIONS sip:a@b SIP/2.0\r\n";
  struct tl_addr me;
  net_begin("");
  int fd = udp_peer(&me);
  sendto(fd, junk, 3, 0, &rig.udp.sa, sizeof(rig.udp.v4));
  sendto(fd, half, sizeof(half) - 1, 0, &rig.udp.sa, sizeof(rig.udp.v4));
  sendto(fd, crlf, 4, 0, &rig.udp.sa, sizeof(rig.udp.v4));
  sendto(fd, "", 0, 0, &rig.udp.sa, sizeof(rig.udp.v4));
  RIG_UNTIL(rig_count(TL_C_DROP_PARSE) == 2 && rig_count(TL_C_KEEPALIVE) == 2);
  cr_expect_eq(rig.n_got, 0);
  /* A length beyond the datagram is answered (18.3). */
  size_t n = rig_message(text, 1, 100);
  sendto(fd, text, n - 1, 0, &rig.udp.sa, sizeof(rig.udp.v4));
  RIG_UNTIL(rig.n_bad == 1);
  cr_expect_eq(rig.bad_status, 400);
  close(fd);
  net_end();
}

/* ---- reload ---- */

Test(net_conn, item_2_5_a_reload_closes_and_opens_listeners_and_keeps_connections) {
  struct tl_conn *c;
  struct tl_addr me;
  net_begin("");
  int fd = rig_connect(&c), udp = udp_peer(&me);
  cr_expect_eq(c->view.listener, 0);
  struct tl_udp *old = rig.net->udps;
  cr_expect_eq(tl_udp_listener(rig.net, old), 1);
  rig_reload("", false);
  rig_settle();
  cr_expect_null(rig.net->udps);
  cr_expect_eq(tl_udp_listener(rig.net, old), -1, "asked by what still holds the closed socket");
  cr_expect_eq(tl_udp_send(rig.net, old, &me, "x", 1), TL_ENOTFOUND);
  cr_expect_eq(c->view.listener, 0);
  rig_reload("", true);
  cr_assert_not_null(rig.net->udps);
  cr_expect_eq(tl_udp_send(rig.net, NULL, &me, "x", 1), 0);
  RIG_UNTIL(recv(udp, back, 10, MSG_DONTWAIT) == 1);
  size_t n = rig_message(text, 1, 0);
  rig_write(fd, text, n);
  RIG_UNTIL(rig.n_got == 1);
  close(fd);
  close(udp);
  net_end();
}

/* It was taken for open because the snapshot before had named it. */
Test(net_conn, a_listener_that_could_not_be_opened_is_opened_by_the_next_reload) {
  net_begin("");
  rig_reload("", false);
  rig_settle();
  int taken = socket(AF_INET, SOCK_DGRAM, 0);
  cr_assert_eq(bind(taken, &rig.udp.sa, sizeof(rig.udp.v4)), 0);
  rig_reload("", true);
  cr_expect_null(rig.net->udps);
  close(taken);
  rig_reload("", true);
  cr_expect_not_null(rig.net->udps);
  net_end();
}

static void read_letter(void *reader, struct tl_mail *m) {
  cr_assert_eq(reader, rig.net);
  free(m);
}

static void drop_letter(struct tl_mail *m) { free(m); }

static const struct tl_mail_kind letter_kind = {"letter", read_letter, drop_letter};

/* Who floods a worker with mail gets his share of each turn; all of it is read in the end. */
Test(net_conn, s24_mail_has_its_share_of_a_turn) {
  enum { LETTERS = 20000 };
  net_begin("");
  rig_settle();
  rig.th.mailbox.cap = LETTERS + 1;
  const uint64_t before = rig_count(TL_C_MAIL_IN);
  for (int i = 0; i < LETTERS; i++) {
    struct tl_mail *m = calloc(1, sizeof(*m));
    cr_assert_not_null(m);
    m->kind = &letter_kind;
    cr_assert_eq(tl_mailbox_post(&rig.th.mailbox, m), 0);
  }
  rig_turn();
  cr_expect_lt(rig_count(TL_C_MAIL_IN) - before, LETTERS / 2, "in one turn");
  RIG_UNTIL(rig_count(TL_C_MAIL_IN) - before == LETTERS);
  rig_settle();
  cr_expect_eq(tl_mailbox_depth(&rig.th.mailbox), 0);
  net_end();
}
