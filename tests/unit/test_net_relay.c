/* SPDX-License-Identifier: Apache-2.0 */
/* body_relay = splice: bodies that pass within the kernel, over TCP, and where the kernel has TLS
 * over both versions of it, with peers whose records this test makes. */
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test_net_rig.h"

#define SPLICE                                                                                     \
  "body_relay = splice limits { splice_body = 16k send_buffer = 32m max_message = 20m }"
#define BUFFER "limits { send_buffer = 32m max_message = 20m }"

struct sample {
  char *p;
  size_t n;
};

static struct sample sample_new(size_t body) {
  struct sample s = {.p = malloc(512 + body)};
  cr_assert_not_null(s.p);
  s.n = rig_message(s.p, (unsigned)(body % 1000), body);
  for (size_t i = s.n - body; i < s.n; i++) s.p[i] = (char)(i * 2654435761u >> 13);
  return s;
}

/* ---- peers ---- */

/* A peer of the worker, with its own record layer if it speaks TLS. */
struct wire {
  int fd;
  struct tl_conn *c; /* the worker's end */
  struct tl_record *record;
  uint8_t out[TL_RECORD_CIPHER_MAX + 64], in[TL_RECORD_CIPHER_MAX + 64];
  size_t out_n, out_at, in_n;
};

enum how { PLAIN, TLS_1_2, TLS_1_3, HOWS };

static bool kernel_has_tls(void) {
  struct tl_ktls_caps caps;
  return tl_ktls_probe(&caps) == TL_OK && caps.ulp;
}

static void wire_open(struct wire *w, enum how how) {
  memset(w, 0, sizeof(*w));
  w->fd = how == PLAIN ? rig_connect(&w->c)
                       : rig_kernel_tls(how == TLS_1_2 ? TL_TLS_1_2 : TL_TLS_1_3, TL_AES_128_GCM,
                                        &w->c, &w->record);
}

static void wire_close(struct wire *w) {
  if (w->fd >= 0) close(w->fd);
  tl_record_free(w->record);
  w->fd = -1;
  w->record = NULL;
}

static void wire_narrow(struct wire *w) {
  const int bytes = 32768;
  setsockopt(w->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
  setsockopt(w->c->kept.fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

/* False: its last record is still on its way. */
static bool wire_flush(struct wire *w) {
  while (w->out_at < w->out_n) {
    ssize_t n = send(w->fd, w->out + w->out_at, w->out_n - w->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n <= 0) return false;
    w->out_at += (size_t)n;
  }
  return true;
}

/* Sends up to N bytes, of one record, as far as there is room; returns how many it took. */
static size_t wire_put(struct wire *w, uint8_t type, const char *p, size_t n) {
  if (!wire_flush(w)) return 0;
  if (n > TL_RECORD_PLAIN_MAX) n = TL_RECORD_PLAIN_MAX;
  w->out_at = 0;
  w->out_n = n;
  if (w->record)
    cr_assert_eq(tl_record_seal_from(w->record, type, (const uint8_t *)p, n, w->out, &w->out_n),
                 TL_OK);
  else
    memcpy(w->out, p, n);
  wire_flush(w);
  return n;
}

static void wire_put_all(struct wire *w, const char *p, size_t n) {
  const uint64_t until = tl_now_ms() + 20000;
  while (n || !wire_flush(w)) {
    size_t k = wire_put(w, TL_CT_DATA, p, n);
    p += k;
    n -= k;
    rig_turn();
    cr_assert_lt(tl_now_ms(), until, "the socket stays full");
  }
}

static bool wire_fill(struct wire *w, size_t want) {
  while (w->in_n < want) {
    ssize_t n = recv(w->fd, w->in + w->in_n, want - w->in_n, MSG_DONTWAIT);
    if (n <= 0) return false;
    w->in_n += (size_t)n;
  }
  return true;
}

/* What is there, of one record, to DST, which has room for that; 0: nothing yet. */
static size_t wire_take(struct wire *w, char *dst) {
  struct tl_record_view v;
  if (!w->record) {
    ssize_t n = recv(w->fd, dst, TL_RECORD_PLAIN_MAX, MSG_DONTWAIT);
    return n > 0 ? (size_t)n : 0;
  }
  if (!wire_fill(w, TL_RECORD_HEADER)) return 0;
  if (!wire_fill(w, TL_RECORD_HEADER + ((size_t)w->in[3] << 8 | w->in[4]))) return 0;
  cr_assert_eq(tl_record_open(w->record, w->in, w->in_n, &v), TL_OK);
  w->in_n = 0;
  if (v.type != TL_CT_DATA) return 0;
  memcpy(dst, v.p, v.n);
  return v.n;
}

/* ---- a pair of them, and perhaps a third ---- */

static struct wire in, out, fork_out;

static void pair_begin(const char *extra, enum how from, enum how to) {
  net_begin(extra);
  signal(SIGPIPE, SIG_IGN); /* as the daemon does: splice and sendfile know no MSG_NOSIGNAL */
  memset(&fork_out, 0, sizeof(fork_out));
  fork_out.fd = -1;
  wire_open(&in, from);
  wire_open(&out, to);
  rig.forward_to = tl_conn_id_of(out.c);
}

static void pair_end(void) {
  rig_settle();
  cr_expect_eq(rig.net->pipes.n_bodies, 0, "%u bodies left", rig.net->pipes.n_bodies);
  cr_expect_eq(rig.net->bufs.out, 0);
  cr_expect_eq(rig_count(TL_C_SENDQ_BYTES), 0);
  wire_close(&in);
  wire_close(&out);
  wire_close(&fork_out);
  RIG_UNTIL(rig.net->n_conn == 0);
  net_end();
}

static uint64_t stayed(void) {
  return rig_count(TL_C_BYTES_SPLICED) + rig_count(TL_C_BYTES_SENDFILE);
}

static void compare(const struct sample *s, struct wire *w, size_t *got) {
  static char buf[TL_RECORD_PLAIN_MAX + 1];
  if (w->fd < 0 || *got == s->n) return;
  size_t n = wire_take(w, buf);
  cr_assert_leq(*got + n, s->n, "more than was sent");
  if (memcmp(buf, s->p + *got, n) != 0) cr_assert_fail("bytes from %zu on differ", *got);
  *got += n;
}

/* All of S through the worker in pieces, while what comes is compared. */
static void pass(const struct sample *s, size_t piece) {
  const uint64_t until = tl_now_ms() + 60000;
  size_t sent = 0, got = 0, forked = fork_out.fd < 0 ? s->n : 0;
  while (got < s->n || forked < s->n) {
    size_t k = s->n - sent < piece ? s->n - sent : piece;
    if (k)
      sent += wire_put(&in, TL_CT_DATA, s->p + sent, k);
    else
      wire_flush(&in);
    rig_turn();
    compare(s, &out, &got);
    compare(s, &fork_out, &forked);
    cr_assert_lt(tl_now_ms(), until, "%zu sent, %zu of %zu came", sent, got, s->n);
  }
}

/* Each way that this kernel has between two peers. */
#define FOR_EACH_WAY(from, to)                                                                     \
  for (enum how from = PLAIN, last_ = kernel_has_tls() ? HOWS - 1 : PLAIN; from <= last_; from++)  \
    for (enum how to = PLAIN; to <= last_; to++)

/* ---- tests ---- */

Test(net_relay, f2_bodies_pass_from_socket_to_socket, .timeout = 240) {
  static const size_t size[] = {16384, 65536, 262144, 700001};
  FOR_EACH_WAY(from, to) {
    pair_begin(SPLICE, from, to);
    for (size_t i = 0; i < sizeof(size) / sizeof(size[0]); i++) {
      struct sample s = sample_new(size[i]);
      uint64_t before = stayed();
      pass(&s, 1 << 20);
      cr_expect_geq(stayed() - before, size[i] / 2, "of %zu bytes %lu stayed", size[i],
                    (unsigned long)(stayed() - before));
      cr_expect_eq(rig.got[i].n, s.n - (stayed() - before), "the rest came up");
      free(s.p);
    }
    cr_expect_gt(rig_count(TL_C_BYTES_SPLICED), 0);
    pair_end();
  }
}

/* More than a pipe holds. */
Test(net_relay, f2_what_no_pipe_holds_leaves_by_sendfile, .timeout = 240) {
  struct sample s = sample_new(16 << 20);
  const enum how last = kernel_has_tls() ? TLS_1_3 : PLAIN;
  for (enum how how = PLAIN; how <= last; how++) {
    pair_begin(SPLICE, how, how);
    pass(&s, 1 << 20);
    pass(&s, 1 << 20);
    cr_expect_gt(rig_count(TL_C_BYTES_SENDFILE), 0);
    cr_expect_geq(rig_count(TL_C_SPLICE_KEPT), 2);
    pair_end();
  }
  free(s.p);
}

/* Each small segment or record takes a slot of the pipe. */
Test(net_relay, f2_bodies_in_small_pieces, .timeout = 240) {
  struct sample s = sample_new(20000);
  FOR_EACH_WAY(from, to) {
    pair_begin(SPLICE, from, to);
    pass(&s, 1);
    pass(&s, 999);
    cr_expect_gt(stayed(), 30000);
    pair_end();
  }
  free(s.p);
}

Test(net_relay, f2_order_with_small_messages_around, .timeout = 240) {
  struct sample big = sample_new(100000), small = sample_new(10), all;
  all.n = 2 * big.n + 3 * small.n;
  all.p = malloc(all.n);
  cr_assert_not_null(all.p);
  char *at = all.p;
  const struct sample *order[] = {&small, &big, &small, &big, &small};
  for (int i = 0; i < 5; i++) at = (char *)memcpy(at, order[i]->p, order[i]->n) + order[i]->n;
  FOR_EACH_WAY(from, to) {
    pair_begin(SPLICE, from, to);
    for (size_t piece = 77777; piece > 500; piece /= 5) pass(&all, piece);
    cr_expect_eq(rig.n_got % 5, 0);
    pair_end();
  }
  free(all.p);
  free(big.p);
  free(small.p);
}

Test(net_relay, f2_a_fork_has_the_body_from_one_memfd, .timeout = 240) {
  struct sample s = sample_new(300000);
  FOR_EACH_WAY(from, to) {
    pair_begin(SPLICE, from, to);
    wire_open(&fork_out, from);
    rig.fork_to = tl_conn_id_of(fork_out.c);
    pass(&s, 1 << 20);
    cr_expect_eq(rig_count(TL_C_SPLICE_KEPT), 1);
    cr_expect_eq(rig_count(TL_C_BYTES_SPLICED), 0);
    cr_expect_eq(rig_count(TL_C_BYTES_SENDFILE), 2 * (s.n - rig.got[0].n));
    pair_end();
  }
  free(s.p);
}

Test(net_relay, f2_a_receiver_that_reads_slowly_gets_all, .timeout = 240) {
  struct sample s = sample_new(900000);
  FOR_EACH_WAY(from, to) {
    size_t got = 0;
    pair_begin(SPLICE, from, to);
    wire_narrow(&out);
    wire_put_all(&in, s.p, s.n);
    RIG_UNTIL(rig.n_got == 1);
    rig_settle();
    cr_expect_gt(rig_count(TL_C_SENDQ_BYTES), 0, "it is queued, within its bounds");
    const uint64_t until = tl_now_ms() + 30000;
    while (got < s.n) {
      compare(&s, &out, &got);
      rig_turn();
      cr_assert_lt(tl_now_ms(), until, "%zu of %zu came", got, s.n);
    }
    pair_end();
  }
  free(s.p);
}

static void cut(struct wire *w, bool reset) {
  const struct linger at_once = {.l_onoff = 1};
  if (reset) setsockopt(w->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  wire_close(w);
}

/* Neither a sender nor a receiver that goes away in the middle leaves anything behind. */
static void cut_both(const struct sample *s, size_t at, bool reset, enum how from, enum how to) {
  const unsigned closed = rig.n_closed;
  rig_forget();
  wire_put_all(&in, s->p, at);
  RIG_UNTIL(in.c->kept.bytes_in == at);
  cut(&in, reset);
  RIG_UNTIL(rig.n_closed == closed + 1);
  cr_expect(rig_quiet(out.fd), "half a message left");
  cr_expect_eq(rig.n_got, 0);
  wire_open(&in, from);
  wire_narrow(&out);
  wire_put_all(&in, s->p, s->n);
  RIG_UNTIL(rig.n_got == 1);
  rig_settle();
  cut(&out, reset);
  RIG_UNTIL(rig.n_closed == closed + 2);
  wire_open(&out, to);
  rig.forward_to = tl_conn_id_of(out.c);
  wire_close(&in);
  RIG_UNTIL(rig.n_closed == closed + 3);
  wire_open(&in, from);
}

Test(net_relay, f2_peers_cut_in_mid_body, .timeout = 240) {
  static const size_t at[] = {300, 9000, 100000, 299000};
  struct sample s = sample_new(300000);
  FOR_EACH_WAY(from, to) {
    pair_begin(SPLICE, from, to);
    for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) cut_both(&s, at[i], i % 2, from, to);
    pass(&s, 1 << 20);
    pair_end();
  }
  free(s.p);
}

/* Other senders' bodies are received as ever when there are too many in the kernel. */
Test(net_relay, f2_bodies_in_the_kernel_are_bounded) {
  struct sample s = sample_new(100000);
  int stalled[TL_KERNEL_BODIES_MAX + 10];
  pair_begin(SPLICE, PLAIN, PLAIN);
  for (unsigned i = 0; i < TL_KERNEL_BODIES_MAX + 10; i++) {
    struct tl_conn *c;
    stalled[i] = rig_connect(&c);
    rig_write(stalled[i], s.p, 1000);
    RIG_UNTIL(c->kept.bytes_in == 1000);
  }
  cr_expect_eq(rig.net->pipes.n_bodies, TL_KERNEL_BODIES_MAX);
  cr_expect_eq(rig_count(TL_C_SPLICE_OFF_FULL), 10);
  pass(&s, 1 << 20);
  for (unsigned i = 0; i < TL_KERNEL_BODIES_MAX + 10; i++) close(stalled[i]);
  RIG_UNTIL(rig.net->n_conn == 2);
  free(s.p);
  pair_end();
}

/* With records of ours on a side the body takes the way it took before. */
Test(net_relay, f2_records_in_user_space_fall_back) {
  struct sample s = sample_new(50000);
  pair_begin(SPLICE, PLAIN, PLAIN);
  wire_close(&out);
  out.fd = rig_tls(TL_TLS_1_3, TL_AES_128_GCM, 0, &out.c, &out.record);
  rig.forward_to = tl_conn_id_of(out.c);
  pass(&s, 1 << 20);
  cr_expect_eq(rig_count(TL_C_SPLICE_OFF_TARGET), 1);
  wire_close(&in);
  in.fd = rig_tls(TL_TLS_1_2, TL_AES_128_GCM, 0, &in.c, &in.record);
  pass(&s, 1 << 20);
  cr_expect_eq(rig_count(TL_C_SPLICE_OFF_SOURCE), 1);
  cr_expect_eq(rig_count(TL_C_SPLICE_OFF_TARGET), 1);
  free(s.p);
  pair_end();
}

/* A reload changes the way of the next body, not of one that has begun. */
Test(net_relay, f2_a_reload_in_mid_body, .timeout = 240) {
  struct sample s = sample_new(200000);
  FOR_EACH_WAY(from, to) {
    pair_begin(SPLICE, from, to);
    for (unsigned i = 0; i < 4; i++) {
      size_t got = 0;
      wire_put_all(&in, s.p, 50000);
      RIG_UNTIL(in.c->kept.bytes_in == i * s.n + 50000);
      rig_reload(i % 2 ? SPLICE : BUFFER, true);
      rig_settle();
      wire_put_all(&in, s.p + 50000, s.n - 50000);
      const uint64_t until = tl_now_ms() + 30000;
      while (got < s.n) {
        compare(&s, &out, &got);
        rig_turn();
        cr_assert_lt(tl_now_ms(), until, "round %u: %zu came", i, got);
      }
    }
    pair_end();
  }
  free(s.p);
}

/* ---- records other than data, in the middle of a body ---- */

static void pass_with(const struct sample *s, uint8_t type, const char *p, size_t n) {
  size_t got = 0, third = s->n / 3;
  for (size_t at = 0; at < s->n; at += third) {
    size_t k = s->n - at < third ? s->n - at : third;
    wire_put_all(&in, s->p + at, k);
    if (at + k < s->n) cr_assert_eq(wire_put(&in, type, p, n), n);
  }
  const uint64_t until = tl_now_ms() + 30000;
  while (got < s->n) {
    wire_flush(&in);
    compare(s, &out, &got);
    rig_turn();
    cr_assert_lt(tl_now_ms(), until, "%zu came", got);
  }
}

Test(net_relay, f2_control_records_in_the_middle_of_a_body, .timeout = 240) {
  static const char warning[2] = {1, 100}; /* no_renegotiation */
  struct sample s = sample_new(200000);
  if (!kernel_has_tls()) cr_skip_test("this kernel has no TLS");
  pair_begin(SPLICE, TLS_1_2, TLS_1_2);
  pass_with(&s, TL_CT_ALERT, warning, sizeof(warning));
  pass_with(&s, TL_CT_DATA, "", 0); /* an empty record is legal */
  cr_expect_geq(rig_count(TL_C_REC_CONTROL), 2);
  cr_expect_gt(stayed(), 200000);
  pair_end();
  pair_begin(SPLICE, TLS_1_3, TLS_1_3);
  pass_with(&s, TL_CT_DATA, "", 0);
  pair_end();
  free(s.p);
}

/* Where the kernel cannot follow a KeyUpdate the connection ends, cleanly and without a part of the
 * message; others go on. */
Test(net_relay, f2_a_key_update_in_the_middle_of_a_body, .timeout = 240) {
  uint8_t update[TL_KEY_UPDATE_LEN];
  struct sample s = sample_new(200000);
  if (!kernel_has_tls()) cr_skip_test("this kernel has no TLS");
  pair_begin(SPLICE, TLS_1_3, TLS_1_3);
  tl_key_update_message(update, false);
  wire_put_all(&in, s.p, 100000);
  cr_assert_eq(wire_put(&in, TL_CT_HANDSHAKE, (char *)update, sizeof(update)), sizeof(update));
  RIG_UNTIL(rig_count(TL_C_REC_KEYUPDATE) == 1);
  rig_settle();
  if (rig.n_closed) { /* before 6.14 */
    cr_expect(rig_quiet(out.fd));
    cr_expect_eq(rig.n_got, 0);
    wire_close(&in);
    wire_open(&in, TLS_1_3);
    pass(&s, 1 << 20);
  } else {
    size_t got = 0;
    cr_assert_eq(tl_record_rekey_tx(in.record), TL_OK);
    wire_put_all(&in, s.p + 100000, s.n - 100000);
    const uint64_t until = tl_now_ms() + 30000;
    while (got < s.n) {
      compare(&s, &out, &got);
      rig_turn();
      cr_assert_lt(tl_now_ms(), until, "%zu came", got);
    }
  }
  pair_end();
  free(s.p);
}
