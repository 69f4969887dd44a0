/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers and surroundings that are no help to records in the kernel: tiny records, half
 * ones, a reset behind data, no receive buffers, a tiny window; and records of random
 * size in both directions for a while, every byte compared.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../support/tlspair.h"
#include "kpair.h"
#include "krx.h"
#include "tieline/time.h"

/* The byte at a place of a stream: nothing that is lost, repeated or moved looks the same. */
static uint8_t byte_at(uint64_t at) { return (uint8_t)((at + 1) * 0x9e3779b97f4a7c15u >> 56); }

static void fill(uint8_t *p, size_t n, uint64_t at) {
  for (size_t i = 0; i < n; i++) p[i] = byte_at(at + i);
}

static void compare(const uint8_t *p, size_t n, uint64_t at) {
  for (size_t i = 0; i < n; i++)
    if (p[i] != byte_at(at + i)) cr_assert_fail("wrong byte at %llu", (unsigned long long)(at + i));
}

/* Receives as a worker does until N bytes have come, which are compared; how often the buffers had
 * run out. */
static unsigned take_all(struct krx *r, int fd, uint64_t n) {
  struct krx_event e;
  unsigned dry = 0;
  for (uint64_t at = 0; at < n;) {
    krx_next(r, KPAIR_WAIT_MS, &e);
    cr_assert(e.res > 0 || e.res == -ENOBUFS, "%d after %llu bytes", e.res, (unsigned long long)at);
    if (e.res > 0) compare(e.data, (size_t)e.res, at), at += (uint64_t)e.res;
    if (e.res == -ENOBUFS) dry++;
    if (!(e.flags & IORING_CQE_F_MORE)) krx_arm(r, fd);
  }
  return dry;
}

static void with_each_version(void (*what)(struct kpair *k, struct krx *r)) {
  for (int v = TL_TLS_1_2; v <= TL_TLS_1_3; v++) {
    struct kpair k;
    struct krx r;
    kpair_ready(&k, true, (enum tl_tls_version)v, TL_AES_128_GCM);
    krx_init(&r);
    what(&k, &r);
    krx_exit(&r);
    kpair_close(&k);
  }
}

static void one_byte_each(struct kpair *k, struct krx *r) {
  enum { N = 10000 };
  krx_arm(r, k->fd);
  for (int i = 0; i < N; i++) {
    uint8_t b = byte_at((uint64_t)i);
    cr_assert_eq(SSL_write(k->peer, &b, 1), 1);
    if (i % 1000 == 999) kpair_flush(k); /* 29 KB at a time fit into any window */
  }
  take_all(r, k->fd, N);
}

Test(ktls_faults, ten_thousand_records_of_one_byte) { with_each_version(one_byte_each); }

static void no_buffers(struct kpair *k, struct krx *r) {
  enum { N = 4 * KRX_BUFS * KRX_BUF_SIZE };
  static uint8_t data[N];
  fill(data, N, 0);
  kpair_peer_send(k, data, N);
  krx_arm(r, k->fd);
  cr_assert_gt(take_all(r, k->fd, N), 0, "the buffers did not run out");
}

/* -ENOBUFS ends the multishot receive and loses nothing. */
Test(ktls_faults, receive_buffers_run_out) { with_each_version(no_buffers); }

static void half_record(struct kpair *k, struct krx *r) {
  struct krx_event e;
  uint8_t data[5000];
  char *p;
  fill(data, sizeof(data), 0);
  krx_arm(r, k->fd);
  cr_assert_eq(SSL_write(k->peer, data, sizeof(data)), (int)sizeof(data));
  long n = BIO_get_mem_data(k->peer_out, &p);
  static const long cuts[] = {3, 5, 13, 14, 2500, 5021};
  long at = 0;
  for (size_t i = 0; i < sizeof(cuts) / sizeof(*cuts); i++) {
    cr_assert_eq(send(k->peer_fd, p + at, (size_t)(cuts[i] - at), MSG_NOSIGNAL), cuts[i] - at);
    at = cuts[i];
    krx_next(r, 50, &e);
    cr_assert_eq(e.res, -ETIME, "%d though %ld of %ld bytes came", e.res, at, n);
  }
  cr_assert_eq(send(k->peer_fd, p + at, (size_t)(n - at), MSG_NOSIGNAL), n - at);
  take_all(r, k->fd, sizeof(data));
}

/* Of a part of a record nothing is told, not even that it came: only a timer of the connection can
 * end who sends no more. */
Test(ktls_faults, half_a_record_is_silent) { with_each_version(half_record); }

/* Receives until there is an error or the end; adds what came to *GOT. */
static int take_until_end(struct krx *r, int fd, size_t *got) {
  struct krx_event e;
  krx_arm(r, fd);
  for (;;) {
    krx_next(r, KPAIR_WAIT_MS, &e);
    if (e.res <= 0) return e.res;
    compare(e.data, (size_t)e.res, *got);
    *got += (size_t)e.res;
    if (!(e.flags & IORING_CQE_F_MORE)) krx_arm(r, fd);
  }
}

static void reset_behind(struct kpair *k, struct krx *r) {
  const struct linger now = {.l_onoff = 1};
  const int on = 1;
  uint8_t data[3000];
  size_t got = 0;
  fill(data, sizeof(data), 0);
  /* A reset takes back what waits for an acknowledgement. */
  cr_assert_eq(setsockopt(k->peer_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
  for (size_t at = 0; at < sizeof(data); at += 1000) kpair_peer_send(k, data + at, 1000);
  cr_assert_eq(setsockopt(k->peer_fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
  close(k->peer_fd);
  k->peer_fd = -1;
  cr_assert_eq(take_until_end(r, k->fd, &got), -ECONNRESET);
  cr_assert_eq(got, sizeof(data), "%zu bytes came before the reset", got);
}

/* What is queued before a reset is still received. */
Test(ktls_faults, reset_behind_queued_records) { with_each_version(reset_behind); }

static void least_window(struct kpair *k, struct krx *r) {
  enum { N = 60000 };
  static uint8_t data[N];
  const int least = 1;
  fill(data, N, 0);
  cr_assert_eq(setsockopt(k->fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least)), 0);
  krx_arm(r, k->fd);
  kpair_peer_send(k, data, N); /* fits into the peer's sending buffer */
  take_all(r, k->fd, N);
}

/* Records of 16 KB through a receive buffer that holds none of them. */
Test(ktls_faults, least_receive_buffer) { with_each_version(least_window); }

/* ---- random records for a while ---- */

enum { WINDOW = 65536 }; /* bytes under way in one direction: one thread plays both ends */

struct soak {
  struct kpair k;
  struct krx r;
  uint64_t seed, sent[2], got[2], records[2]; /* [0] ours, [1] the peer's */
};

static uint32_t draw(struct soak *s) {
  s->seed = s->seed * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(s->seed >> 33);
}

/* From one byte to a whole record, small and large alike often. */
static size_t draw_size(struct soak *s) {
  size_t most = (size_t)1 << draw(s) % 15;
  return 1 + draw(s) % most;
}

static void send_one(struct soak *s) {
  uint8_t buf[TL_RECORD_PLAIN_MAX];
  size_t n = draw_size(s);
  if (s->sent[0] + n - s->got[1] > WINDOW) return;
  fill(buf, n, s->sent[0]);
  ssize_t rc = send(s->k.fd, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL);
  cr_assert(rc > 0 || errno == EAGAIN, "%s", strerror(errno));
  if (rc > 0) s->sent[0] += (uint64_t)rc, s->records[0]++;
}

static void peer_send_one(struct soak *s) {
  uint8_t buf[TL_RECORD_PLAIN_MAX];
  size_t n = draw_size(s);
  if (s->sent[1] + n - s->got[0] > WINDOW) return;
  fill(buf, n, s->sent[1]);
  cr_assert_eq(SSL_write(s->k.peer, buf, (int)n), (int)n);
  if (draw(s) % 2) kpair_flush(&s->k); /* else several records in one segment */
  s->sent[1] += n;
  s->records[1]++;
}

static void receive_ready(struct soak *s) {
  struct krx_event e;
  for (krx_next(&s->r, 0, &e); e.res != -ETIME; krx_next(&s->r, 0, &e)) {
    cr_assert(e.res > 0 || e.res == -ENOBUFS, "%d", e.res);
    if (e.res > 0) compare(e.data, (size_t)e.res, s->got[0]), s->got[0] += (uint64_t)e.res;
    if (!(e.flags & IORING_CQE_F_MORE)) krx_arm(&s->r, s->k.fd);
  }
}

static void peer_receive_ready(struct soak *s) {
  static uint8_t buf[65536];
  int n;
  kpair_pump(&s->k, 0);
  while ((n = SSL_read(s->k.peer, buf, sizeof(buf))) > 0) {
    compare(buf, (size_t)n, s->got[1]);
    s->got[1] += (uint64_t)n;
  }
  cr_assert_eq(SSL_get_error(s->k.peer, n), SSL_ERROR_WANT_READ);
}

static bool all_there(const struct soak *s) {
  return s->got[0] == s->sent[1] && s->got[1] == s->sent[0];
}

static void soak_one(struct soak *s, bool server, enum tl_tls_version v, enum tl_cipher c,
                     uint64_t ms) {
  memset(s->sent, 0, sizeof(s->sent));
  memset(s->got, 0, sizeof(s->got));
  kpair_ready(&s->k, server, v, c);
  if (draw(s) % 2) SSL_set_block_padding(s->k.peer, 512); /* TLS 1.3 alone pads */
  krx_init(&s->r);
  krx_arm(&s->r, s->k.fd);
  const uint64_t end = tl_now_ms() + ms;
  uint64_t now = end - ms;
  for (; now < end || !all_there(s); now = tl_now_ms()) {
    cr_assert_lt(now, end + KPAIR_WAIT_MS, "%llu of %llu and %llu of %llu bytes came",
                 (unsigned long long)s->got[0], (unsigned long long)s->sent[1],
                 (unsigned long long)s->got[1], (unsigned long long)s->sent[0]);
    if (now < end) send_one(s), peer_send_one(s);
    if (now >= end) kpair_flush(&s->k);
    receive_ready(s);
    peer_receive_ready(s);
  }
  krx_exit(&s->r);
  kpair_close(&s->k);
}

/* TIELINE_SOAK_S seconds, else four; every version, cipher and role has its share. */
Test(ktls_faults, random_records_both_ways, .timeout = 720) {
  const char *text = getenv("TIELINE_SOAK_S");
  struct soak s = {.seed = 20};
  uint64_t ms = (text ? strtoul(text, NULL, 10) : 4) * 1000 / 12, in = 0, out = 0;
  kpair_caps();
  for (int i = 0; i < 12; i++) {
    soak_one(&s, i & 1, i & 2 ? TL_TLS_1_3 : TL_TLS_1_2, (enum tl_cipher)(i / 4), ms);
    cr_assert(s.got[0] > 0 && s.got[1] > 0);
    in += s.got[0];
    out += s.got[1];
  }
  printf("soak: sent %llu sends of %llu bytes, received %llu records of %llu bytes, all compared\n",
         (unsigned long long)s.records[0], (unsigned long long)out,
         (unsigned long long)s.records[1], (unsigned long long)in);
}
