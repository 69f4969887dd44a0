/* SPDX-License-Identifier: Apache-2.0 */
/* What leaves: in order, together, bounded; and what happens to peers that do not read. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test_net_rig.h"
#include "tieline/edit.h"
#include "tieline/time.h"

TestSuite(net_send, .timeout = 30);

static char text[1 << 20], back[1 << 20];

static size_t numbered(unsigned n) { return (size_t)sprintf(text, "<%08u>", n); }

Test(net_send, all_of_a_turn_leaves_in_one_send_and_in_order) {
  struct tl_conn *c;
  net_begin("");
  int fd = rig_connect(&c);
  uint64_t sends = rig_count(TL_C_SENDS);
  for (unsigned i = 0; i < 1000; i++) cr_assert_eq(tl_conn_send(c, text, numbered(i)), 0);
  cr_expect_eq(rig_count(TL_C_SENDQ_BYTES), 10000);
  rig_read(fd, back, 10000);
  for (unsigned i = 0; i < 1000; i++) {
    numbered(i);
    cr_assert(memcmp(back + (size_t)i * 10, text, 10) == 0, "%u", i);
  }
  rig_settle();
  cr_expect_eq(rig_count(TL_C_SENDS) - sends, 1);
  cr_expect_eq(rig_count(TL_C_SENDQ_BYTES), 0);
  cr_expect_eq(c->kept.msgs_out, 1000);
  close(fd);
  net_end();
}

/* Sizes around the chunk's: not a byte lost where one ends and the next begins. */
Test(net_send, messages_of_any_size_keep_their_bytes) {
  struct tl_conn *c;
  net_begin("");
  int fd = rig_connect(&c);
  for (size_t n = 1; n < 70000; n += n < 16700 ? 977 : n < 16800 ? 1 : 4999) {
    for (size_t i = 0; i < n; i++) text[i] = (char)(i * 13 + n);
    for (int k = 0; k < 3; k++) cr_assert_eq(tl_conn_send(c, text, n), 0);
    for (int k = 0; k < 3; k++) {
      rig_read(fd, back, n);
      cr_assert(memcmp(back, text, n) == 0, "%zu bytes", n);
    }
  }
  close(fd);
  net_end();
}

static void small_buffers(struct tl_conn *c, int fd) {
  int n = 32768; /* with less the kernel waits for probes */
  setsockopt(c->kept.fd, SOL_SOCKET, SO_SNDBUF, &n, sizeof(n));
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &n, sizeof(n));
}

/* To one that does not read, or, bodies of 6 bytes, to one that does. */
static struct tl_conn *slow_one, *brisk_one;
static unsigned n_refused;

static void pass_on(struct rig *r, struct tl_conn *c, const struct tl_msg *m) {
  struct tl_edit e;
  struct tl_body none = {.n = 0};
  (void)c;
  tl_edit_init(&e, m);
  struct tl_conn *to = m->body_len == 6 ? brisk_one : slow_one;
  if (tl_conn_send_edit(to, &e, &none) == TL_ELIMIT) n_refused++;
  (void)r;
  rig_forget();
}

/* As if MS had passed since the queue went over send_buffer. */
static void over_for(struct tl_conn *c, uint64_t ms) {
  cr_assert(c->kept.out.over_ms, "it is not over send_buffer");
  c->kept.out.over_ms -= ms;
}

Test(net_send, s8_a_slow_reader_delays_nobody_else) {
  struct tl_conn *a;
  static char one[2000], other[2000];
  net_begin("limits { send_buffer = 64k }");
  int in = rig_connect(&a), out = rig_connect(&slow_one), brisk = rig_connect(&brisk_one);
  small_buffers(slow_one, out);
  rig.on_message = pass_on;
  size_t n = rig_message(one, 5, 0), k = rig_message(other, 6, 6);
  uint32_t most = 0;
  for (int i = 0; i < 6000; i++) {
    rig_write(in, one, n);
    if (slow_one->kept.out.bytes > most) most = slow_one->kept.out.bytes;
    if (i % 100) continue;
    rig_write(in, other, k);
    RIG_UNTIL(brisk_one->kept.msgs_out == (uint64_t)i / 100 + 1 && !brisk_one->kept.out.bytes);
  }
  rig_settle();
  cr_expect_eq(rig_count(TL_C_CONN_PAUSED), 0);
  cr_expect_gt(n_refused, 0);
  cr_expect_eq(rig_count(TL_C_DROP_QUEUE_FULL), n_refused, "each refusal is counted");
  cr_expect_leq(most, 8 * 64 * 1024 + 64 * 1024, "%u bytes queued", most);
  cr_expect_eq(slow_one->view.state, TL_CONN_OPEN,
               "requests have other targets: no reason to reset");
  close(in);
  close(out);
  close(brisk);
  net_end();
}

Test(net_send, s8_a_burst_passes_and_loses_nothing) {
  struct tl_conn *c;
  net_begin("limits { send_buffer = 64k }");
  int fd = rig_connect(&c);
  small_buffers(c, fd);
  for (unsigned i = 0; i < 48000; i++) cr_assert_eq(tl_conn_send(c, text, numbered(i)), 0);
  cr_expect_gt(c->kept.out.bytes, 6 * 64 * 1024);
  for (unsigned i = 0; i < 48000; i++) {
    rig_read(fd, back, 10);
    numbered(i);
    cr_assert(memcmp(back, text, 10) == 0, "%u", i);
  }
  rig_settle();
  cr_expect(!c->kept.out.over_ms && !c->kept.out.queued_ms, "the next one is a burst of its own");
  cr_expect_eq(rig_count(TL_C_CONN_SLOW), 0);
  close(fd);
  net_end();
}

Test(net_send, s8_what_stays_over_send_buffer_is_no_burst) {
  struct tl_conn *c;
  net_begin("limits { send_buffer = 64k }");
  int fd = rig_connect(&c);
  small_buffers(c, fd);
  for (int i = 0; i < 3; i++) cr_assert_eq(tl_conn_send(c, text, 50000), 0);
  over_for(c, 1900);
  cr_expect_eq(tl_conn_send(c, text, 1000), 0);
  over_for(c, 200);
  cr_expect_eq(tl_conn_send(c, text, 1000), TL_ELIMIT);
  rig_settle();
  cr_expect_eq(c->view.state, TL_CONN_OPEN, "a request was refused: others are served on");
  rig_read(fd, back, 151000);
  rig_settle();
  cr_expect_eq(tl_conn_send(c, text, 1000), 0, "it has caught up");
  close(fd);
  net_end();
}

Test(net_send, s8_who_can_take_no_response_is_reset) {
  static const struct {
    const char *what;
    bool response, closed;
  } kind[] = {{"OPTIONS sip:a@b SIP/2.0\r\n", false, false}, {"SIP/2.0 200 OK\r\n", true, true}};
  for (size_t i = 0; i < sizeof(kind) / sizeof(*kind); i++) {
    struct tl_conn *c;
    net_begin("limits { send_buffer = 64k }");
    int fd = rig_connect(&c);
    small_buffers(c, fd);
    for (int k = 0; k < 3; k++) cr_assert_eq(tl_conn_send(c, text, 50000), 0);
    over_for(c, 3000);
    cr_expect_eq(tl_conn_send(c, kind[i].what, strlen(kind[i].what)), TL_ELIMIT);
    rig_settle();
    cr_expect_eq(rig.n_closed, kind[i].closed, "%s", kind[i].what);
    cr_expect_eq(rig_count(TL_C_CONN_SLOW), kind[i].closed, "%s", kind[i].what);
    cr_expect_eq(rig_count(TL_C_DROP_QUEUE_FULL), 1);
    close(fd);
    net_end();
  }
}

/* Who takes a little now and then is never without progress: the rate counts. */
Test(net_send, s8_a_peer_that_drips_is_reset_and_one_at_the_least_rate_is_not) {
  static const struct {
    const char *conf;
    size_t reads;
    bool reset;
  } kind[] = {{"send_min_rate = 4k", 4000, true},
              {"send_min_rate = 4k", 300000, false},
              {"send_min_rate = 0", 4000, false}};
  for (size_t i = 0; i < sizeof(kind) / sizeof(*kind); i++) {
    struct tl_conn *c;
    char extra[128];
    snprintf(extra, sizeof(extra), "limits { %s } timeouts { send = 20s }", kind[i].conf);
    net_begin(extra);
    int fd = rig_connect(&c);
    small_buffers(c, fd);
    for (int k = 0; k < 20; k++) cr_assert_eq(tl_conn_send(c, text, 50000), 0);
    rig_sleep(50);
    tl_timer_start(&rig.net->wheel, &c->timer, 0); /* it is measured from here on */
    rig_sleep(20);
    rig_read(fd, back, kind[i].reads);
    rig_settle();
    for (int k = 0; k < 3 && c->view.state == TL_CONN_OPEN; k++) {
      c->progress_ms = rig.net->now_ms; /* not stuck */
      if (k == 0 && c->kept.out.window_ms)
        c->kept.out.window_ms -= 20000,
            c->kept.out.queued_ms -= 20000; /* as if that had been passed */
      tl_timer_start(&rig.net->wheel, &c->timer, 0);
      rig_sleep(20);
      if (rig.n_closed) break;
    }
    cr_expect_eq(rig.n_closed, kind[i].reset, "%s, %zu bytes", kind[i].conf, kind[i].reads);
    cr_expect_eq(rig_count(TL_C_CONN_SLOW), kind[i].reset);
    cr_expect_eq(rig_count(TL_C_CONN_STUCK), 0);
    close(fd);
    net_end();
  }
}

static void answer(struct rig *r, struct tl_conn *c, const struct tl_msg *m) {
  (void)m;
  r->forward_rc = tl_conn_send(c, text, 2000);
  rig_forget();
}

/* Who asks and does not read the answers is paused as well; others go on. */
Test(net_send, a_peer_that_does_not_read_its_answers_is_paused) {
  struct tl_conn *a, *b;
  static char ask[1000];
  net_begin("limits { send_buffer = 64k }");
  rig.on_message = answer;
  int in = rig_connect(&a), other = rig_connect(&b);
  small_buffers(a, in);
  size_t n = rig_message(ask, 1, 0), sent = 0;
  for (int i = 0; i < 400; i++) {
    ssize_t k;
    while ((k = send(in, ask + sent % n, n - sent % n, MSG_DONTWAIT)) > 0 && sent < 4000000)
      sent += (size_t)k;
    rig_turn();
  }
  cr_expect(a->rx.paused);
  cr_expect_lt(a->kept.out.bytes, 64 * 1024 + 3 * 16384 / (uint32_t)n * 2000, "%u",
               a->kept.out.bytes);
  cr_expect_eq(rig_count(TL_C_DROP_QUEUE_FULL), 0);
  rig_write(other, ask, n);
  rig_read(other, back, 2000);
  close(in);
  close(other);
  RIG_UNTIL(rig.net->n_conn == 0);
  net_end();
}

/* A paused connection that ends in each way leaves nothing behind; one that goes on is read. */
Test(net_send, ends_of_paused_connections) {
  struct tl_conn *s[4];
  int fd[4];
  net_begin("limits { send_buffer = 64k }");
  for (int i = 0; i < 4; i++) {
    fd[i] = rig_connect(&s[i]);
    tl_conn_pause(s[i]);
    tl_conn_pause(s[i]); /* twice is once */
  }
  cr_expect_eq(rig_count(TL_C_CONN_PAUSED), 4);
  tl_conn_abort(s[2], TL_ECLOSED);
  tl_conn_finish(s[0]);
  rig_settle();
  tl_conn_resume(s[3]);
  size_t n = rig_message(text, 1, 0);
  rig_write(fd[1], text, n);
  rig_write(fd[3], text, n);
  RIG_UNTIL(rig.n_got == 1);
  cr_expect_eq(rig.last_conn, tl_conn_id_of(s[3]));
  for (int i = 0; i < 4; i++) close(fd[i]);
  net_end();
}

/* As if MS had passed since the peer last took something, and the timer were due. */
static void later(struct tl_conn *c, uint64_t ms) {
  c->progress_ms -= ms;
  tl_timer_start(&rig.net->wheel, &c->timer, 0);
}

Test(net_send, item_2_9_a_stuck_peer_is_reset_and_a_slow_one_is_not) {
  struct tl_conn *stuck, *slow;
  net_begin("limits { send_buffer = 64k } timeouts { send = 60s }");
  int a = rig_connect(&stuck), b = rig_connect(&slow);
  small_buffers(stuck, a);
  small_buffers(slow, b);
  for (int i = 0; i < 20; i++) {
    tl_conn_send(stuck, text, 50000);
    tl_conn_send(slow, text, 50000);
  }
  /* The stuck one's kernel may still take something in the first rounds; 80 s are too long. */
  for (int round = 0; round < 20 && rig_count(TL_C_CONN_STUCK) == 0; round++) {
    later(stuck, 40000);
    later(slow, 40000);
    const uint64_t since = slow->progress_ms, until = tl_now_ms() + 5000;
    rig_sleep(50); /* both timers have fired */
    while (slow->progress_ms == since) {
      cr_assert_lt(tl_now_ms(), until);
      (void)!recv(b, back, 2500, MSG_DONTWAIT);
      rig_turn();
    }
  }
  cr_expect_eq(rig_count(TL_C_CONN_STUCK), 1);
  cr_expect_eq(rig.closed_rc, TL_ETIMEOUT);
  cr_expect_eq(slow->view.state, TL_CONN_OPEN);
  close(a);
  close(b);
  net_end();
}

/* What a timer queues on a connection that was quiet for long is not late in that moment. */
static void send_late(struct tl_timer *t, void *arg) {
  (void)t;
  (void)arg;
  struct tl_conn *c = tl_conn_get(rig.net, rig.forward_to);
  if (c) tl_conn_send(c, "late", 4);
}

Test(net_send, writing_to_a_quiet_connection_is_not_being_stuck) {
  struct tl_conn *c;
  net_begin("timeouts { send = 210ms }");
  int fd = rig_connect(&c);
  rig.forward_to = tl_conn_id_of(c);
  for (int i = 0; i < 120; i++) {
    struct tl_timer t = {.fn = send_late};
    tl_timer_start(&rig.net->wheel, &t, 0);
    rig_sleep(5);
    tl_timer_stop(&rig.net->wheel, &t);
    if (i % 40 == 0) rig_sleep(250);
  }
  cr_expect_eq(rig_count(TL_C_CONN_STUCK), 0);
  cr_expect_eq(rig.n_closed, 0);
  close(fd);
  net_end();
}

Test(net_send, finish_sends_what_is_queued_and_says_so_once) {
  struct tl_conn *c;
  net_begin("");
  int fd = rig_connect(&c);
  small_buffers(c, fd);
  for (size_t i = 0; i < 300000; i++) text[i] = (char)(i * 7);
  cr_assert_eq(tl_conn_send(c, text, 300000), 0);
  tl_conn_finish(c);
  tl_conn_finish(c);
  cr_expect_eq(tl_conn_send(c, text, 10), TL_ECLOSED);
  cr_expect_eq(rig.n_closed, 1);
  rig_read(fd, back, 300000);
  cr_expect(memcmp(back, text, 300000) == 0);
  rig_read_end(fd);
  close(fd);
  RIG_UNTIL(rig.net->n_conn == 0);
  cr_expect_eq(rig.n_closed, 1);
  net_end();
}

Test(net_send, finishing_ends_although_the_peer_never_does) {
  struct tl_conn *c;
  net_begin("");
  int fd = rig_connect(&c);
  tl_conn_finish(c);
  rig_settle();
  cr_expect_eq(c->view.state, TL_CONN_FINISHING);
  uint64_t from = tl_now_ms();
  RIG_UNTIL(rig.net->n_conn == 0);
  cr_expect_lt(tl_now_ms() - from, 2500);
  close(fd);
  net_end();
}

Test(net_send, abort_drops_what_is_queued) {
  struct tl_conn *c;
  net_begin("");
  int fd = rig_connect(&c);
  small_buffers(c, fd);
  tl_conn_send(c, text, 500000);
  rig_settle();
  tl_conn_abort(c, TL_ETLS);
  tl_conn_abort(c, TL_EIO);
  cr_expect(rig.n_closed == 1 && rig.closed_rc == TL_ETLS);
  RIG_UNTIL(rig.net->n_conn == 0);
  cr_expect_eq(rig_count(TL_C_SENDQ_BYTES), 0);
  close(fd);
  net_end();
}

Test(net_send, far_over_its_bound_a_queue_takes_no_more) {
  struct tl_conn *c;
  int rc = 0, n = 0;
  net_begin("limits { send_buffer = 4k }");
  int fd = rig_connect(&c);
  while (n < 1000 && (rc = tl_conn_send(c, text, 1000)) == 0) n++;
  cr_expect_eq(rc, TL_ELIMIT);
  cr_expect_lt(n, 40);
  cr_expect_eq(rig_count(TL_C_DROP_QUEUE_FULL), 1);
  rig_read(fd, back, (size_t)n * 1000);
  cr_expect_eq(tl_conn_send(c, text, 1000), 0);
  close(fd);
  net_end();
}

/* ---- a framer that puts something in front of each message ---- */

static size_t length_in_brackets(struct tl_conn *c, size_t len, uint8_t dst[TL_FRAME_HEAD_MAX]) {
  (void)c;
  return (size_t)snprintf((char *)dst, TL_FRAME_HEAD_MAX, "[%zu]", len);
}

static const struct tl_framer bracketed = {.head = length_in_brackets};

static void expect_frame(int fd, const char *message, size_t n) {
  char head[TL_FRAME_HEAD_MAX];
  size_t k = length_in_brackets(NULL, n, (uint8_t *)head);
  rig_read(fd, back, k + n);
  cr_expect(memcmp(back, head, k) == 0, "no head of %zu bytes", n);
  cr_expect(memcmp(back + k, message, n) == 0, "%zu bytes", n);
}

Test(net_send, each_message_has_the_head_that_its_framer_gives_it) {
  struct tl_conn *c;
  net_begin("");
  int fd = rig_connect(&c);
  c->framer = &bracketed;
  for (size_t i = 0; i < 70000; i++) text[i] = (char)(i * 13);
  for (size_t n = 1; n < 70000; n += n < 16700 ? 977 : n < 16800 ? 1 : 4999) {
    cr_assert_eq(tl_conn_send(c, text, n), 0);
    expect_frame(fd, text, n);
  }
  cr_assert_eq(tl_send_unframed(c, "pong", 4), 0);
  rig_read(fd, back, 4);
  cr_expect(memcmp(back, "pong", 4) == 0);
  close(fd);
  net_end();
}

static struct tl_conn *edited_to;

static void send_edited(struct rig *r, struct tl_conn *c, const struct tl_msg *m) {
  struct tl_edit e;
  (void)c;
  tl_edit_init(&e, m);
  cr_assert_eq(tl_conn_send_edit(edited_to, &e, &r->net->body), 0);
}

Test(net_send, so_has_one_that_is_edited_on_its_way) {
  struct tl_conn *c, *to;
  net_begin("");
  int from_fd = rig_connect(&c), fd = rig_connect(&to);
  to->framer = &bracketed;
  edited_to = to;
  rig.on_message = send_edited;
  for (size_t body = 0; body <= 100000; body = body * 10 + 1) {
    size_t n = rig_message(text, 1, body);
    rig_write(from_fd, text, n);
    expect_frame(fd, text, n);
  }
  close(from_fd);
  close(fd);
  net_end();
}
