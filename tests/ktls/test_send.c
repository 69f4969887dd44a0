/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending through the kernel: short sends, what io_uring may not do with such a
 * socket, fragments, and closing.
 */
#include <errno.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kpair.h"
#include "krx.h"

/* Reads all that is there for the peer; returns the plaintext bytes, checking each. */
static size_t drain_peer(struct kpair *k, size_t at) {
  static uint8_t buf[65536];
  size_t before = at;
  kpair_pump(k, 0);
  for (;;) {
    int n = SSL_read(k->peer, buf, sizeof(buf));
    if (n <= 0) {
      cr_assert_eq(SSL_get_error(k->peer, n), SSL_ERROR_WANT_READ);
      return at - before;
    }
    for (int i = 0; i < n; i++, at++)
      if (buf[i] != (uint8_t)(at * 251 >> 8)) cr_assert_fail("wrong byte at %zu", at);
  }
}

Test(ktls_send, short_sends_are_resumed_where_they_stopped) {
  enum { N = 1 << 20 };
  struct kpair k;
  struct krx r;
  uint8_t *data = malloc(N);
  size_t sent = 0, got = 0;
  int small = 16384, sends = 0;
  kpair_ready(&k, true, TL_TLS_1_3, TL_AES_128_GCM);
  setsockopt(k.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
  krx_init(&r);
  for (size_t i = 0; i < N; i++) data[i] = (uint8_t)(i * 251 >> 8);
  while (sent < N) {
    int n = krx_send(&r, k.fd, data + sent, N - sent, MSG_DONTWAIT);
    if (n == -EAGAIN)
      cr_assert(kpair_readable(k.peer_fd, KPAIR_WAIT_MS), "full, and nothing to read");
    else
      cr_assert_gt(n, 0, "%d", n);
    if (n > 0) sent += (size_t)n, sends++;
    got += drain_peer(&k, got);
  }
  while (got < N && kpair_readable(k.peer_fd, KPAIR_WAIT_MS)) got += drain_peer(&k, got);
  cr_assert_eq(got, N);
  cr_assert_gt(sends, 1, "a send of 1 MB to a full socket came back whole");
  free(data);
  krx_exit(&r);
  kpair_close(&k);
}

/* If a kernel starts to allow these, the send path can become simpler. */
Test(ktls_send, waitall_and_zero_copy_are_refused) {
  struct kpair k;
  struct krx r;
  kpair_ready(&k, true, TL_TLS_1_3, TL_AES_128_GCM);
  krx_init(&r);
  cr_assert_eq(krx_send(&r, k.fd, "x", 1, MSG_WAITALL), -EOPNOTSUPP);
  struct io_uring_cqe *cqe;
  io_uring_prep_send_zc(io_uring_get_sqe(&r.u), k.fd, "x", 1, 0, 0);
  io_uring_submit(&r.u);
  cr_assert_eq(io_uring_wait_cqe(&r.u, &cqe), 0);
  cr_assert_eq(cqe->res, -EOPNOTSUPP);
  io_uring_cqe_seen(&r.u, cqe);
  cr_assert_eq(send(k.fd, "y", 1, 0), 1);
  kpair_peer_expect(&k, "y", 1);
  krx_exit(&r);
  kpair_close(&k);
}

Test(ktls_send, one_send_of_many_pieces_is_one_record) {
  struct kpair k;
  uint8_t part[700], rec[8192];
  struct iovec iov[4];
  kpair_ready(&k, true, TL_TLS_1_3, TL_AES_128_GCM);
  memset(part, 'p', sizeof(part));
  for (int i = 0; i < 4; i++) iov[i] = (struct iovec){part, sizeof(part)};
  struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 4};
  cr_assert_eq(sendmsg(k.fd, &msg, 0), 2800);
  cr_assert(kpair_readable(k.peer_fd, KPAIR_WAIT_MS));
  cr_assert_eq(recv(k.peer_fd, rec, sizeof(rec), 0), 5 + 2800 + 1 + 16);
  cr_assert_eq(rec[3] << 8 | rec[4], 2800 + 17);
  kpair_close(&k);
}

Test(ktls_send, closing_under_an_armed_receive_needs_shutdown_first) {
  struct kpair k;
  struct krx r;
  struct krx_event e;
  kpair_ready(&k, true, TL_TLS_1_3, TL_AES_128_GCM);
  krx_init(&r);
  krx_arm(&r, k.fd);
  int dup_fd =
      dup(k.fd); /* to look at the socket after close; the receive holds one more reference */
  close(dup_fd);
  close(k.fd);
  cr_assert_not(kpair_readable(k.peer_fd, 200), "the peer saw the close");
  krx_exit(&r); /* now the last reference goes */
  cr_assert(kpair_readable(k.peer_fd, KPAIR_WAIT_MS));
  k.fd = -1;
  kpair_close(&k);

  kpair_ready(&k, true, TL_TLS_1_3, TL_AES_128_GCM);
  krx_init(&r);
  krx_arm(&r, k.fd);
  cr_assert_eq(shutdown(k.fd, SHUT_RDWR), 0);
  krx_next(&r, KPAIR_WAIT_MS, &e);
  cr_assert_eq(e.res, 0);
  cr_assert_not(e.flags & IORING_CQE_F_MORE);
  close(k.fd);
  k.fd = -1;
  cr_assert(kpair_readable(k.peer_fd, KPAIR_WAIT_MS));
  krx_exit(&r);
  kpair_close(&k);
}

/* The kernel knows nothing of RFC 6066 4; the session tells, and such a connection stays in user
 * space, where every record is short enough. */
Test(ktls_send, max_fragment_length_is_ignored_by_the_kernel_and_kept_by_us) {
  struct kpair k;
  struct tl_record *rec;
  uint8_t data[3000], out[8192], *end = out;
  size_t len;
  memset(data, 'f', sizeof(data));
  kpair_caps();
  for (int kernel = 0; kernel < 2; kernel++) {
    kpair_open(&k, true, TL_TLS_1_3, TL_AES_128_GCM, 0);
    SSL_set_tlsext_max_fragment_length(k.peer, TLSEXT_max_fragment_length_512);
    kpair_handshake(&k);
    cr_assert_eq(k.session.max_fragment, 512);
    if (kernel) {
      kpair_install(&k);
      cr_assert_eq(send(k.fd, data, 512, 0), 512);
      kpair_peer_expect(&k, data, 512);
      cr_assert_eq(send(k.fd, data, sizeof(data), 0), (ssize_t)sizeof(data));
      cr_assert_eq(kpair_peer_read(&k, out, sizeof(out)), -SSL_ERROR_SSL);
    } else {
      cr_assert_eq(tl_record_new(&k.session.keys, k.session.max_fragment, &rec), 0);
      for (size_t at = 0; at < sizeof(data); at += len) {
        size_t made;
        len = sizeof(data) - at < 512 ? sizeof(data) - at : 512;
        cr_assert_eq(tl_record_seal_from(rec, TL_CT_DATA, data + at, len, end, &made), 0);
        end += made;
      }
      cr_assert_eq(send(k.fd, out, (size_t)(end - out), 0), end - out);
      kpair_peer_expect(&k, data, sizeof(data));
      tl_record_free(rec);
    }
    kpair_close(&k);
  }
}

/* A failed TLS_TX leaves the socket to user space: the same keys, the other way. */
Test(ktls_send, refused_keys_leave_the_socket_to_user_space) {
  struct kpair k;
  struct tl_ktls_caps none = *kpair_caps();
  struct tl_ktls_state s;
  struct tl_record *rec;
  struct tl_record_view v;
  uint8_t buf[256];
  size_t len;
  kpair_open(&k, true, TL_TLS_1_3, TL_AES_128_GCM, 0);
  kpair_handshake(&k);
  none.tx[1][TL_AES_128_GCM] = false;
  cr_assert_eq(tl_ktls_install(k.fd, &none, &k.session.keys, &s), TL_ENOTSUP);
  struct tl_tls_keys odd = k.session.keys;
  odd.version = (enum tl_tls_version)0x0305; /* the kernel refuses this one itself */
  none = *kpair_caps();
  none.tx[0][TL_AES_128_GCM] = none.rx[0][TL_AES_128_GCM] = true;
  cr_assert_eq(tl_ktls_install(k.fd, &none, &odd, &s), TL_ENOTSUP);
  cr_assert(s.tx == TL_KTLS_FAILED && s.rx == TL_KTLS_FAILED);
  cr_assert_eq(tl_record_new(&k.session.keys, 0, &rec), 0);
  memcpy(buf + tl_record_head(rec), "still here", 10);
  cr_assert_eq(tl_record_seal(rec, TL_CT_DATA, buf, 10, &len), 0);
  cr_assert_eq(send(k.fd, buf, len, 0), (ssize_t)len);
  kpair_peer_expect(&k, "still here", 10);
  kpair_peer_send(&k, "and you", 7);
  cr_assert(kpair_readable(k.fd, KPAIR_WAIT_MS));
  ssize_t n = recv(k.fd, buf, sizeof(buf), 0);
  cr_assert_eq(tl_record_open(rec, buf, (size_t)n, &v), 0);
  cr_assert(v.n == 7 && memcmp(v.p, "and you", 7) == 0);
  tl_record_free(rec);
  kpair_close(&k);
}
