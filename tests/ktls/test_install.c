/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys into the kernel: that the numbers which go with them are right whatever
 * the handshake looked like, and what happens when they cannot go in.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kpair.h"

static void exchange(struct kpair *k) {
  static uint8_t buf[40000];
  static const size_t sizes[] = {1, 700, 4096, 16384, 16385, sizeof(buf)};
  for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
    for (size_t j = 0; j < sizes[i]; j++) buf[j] = (uint8_t)(i * 31 + j * 7);
    cr_assert_eq(send(k->fd, buf, sizes[i], 0), (ssize_t)sizes[i]);
    kpair_peer_expect(k, buf, sizes[i]);
    kpair_peer_send(k, buf, sizes[i]);
    kpair_expect(k, buf, sizes[i]);
  }
}

static void matrix(enum tl_tls_version v) {
  for (int c = 0; c < TL_CIPHERS; c++)
    for (int server = 0; server < 2; server++) {
      struct kpair k;
      kpair_ready(&k, server, v, (enum tl_cipher)c);
      exchange(&k);
      kpair_close(&k);
    }
}

Test(ktls_install, every_cipher_and_role_of_12) { matrix(TL_TLS_1_2); }
Test(ktls_install, every_cipher_and_role_of_13) { matrix(TL_TLS_1_3); }

Test(ktls_install, record_sequence_follows_the_tickets) {
  static const int tickets[] = {0, 1, 2, 5};
  kpair_caps();
  for (size_t i = 0; i < sizeof(tickets) / sizeof(*tickets); i++) {
    struct kpair k;
    uint64_t seq;
    kpair_open(&k, true, TL_TLS_1_3, TL_AES_128_GCM, tickets[i]);
    kpair_handshake(&k);
    cr_assert_eq(k.app_records, (unsigned)tickets[i], "%u records with %d tickets", k.app_records,
                 tickets[i]);
    kpair_install(&k);
    cr_assert_eq(tl_ktls_seq(k.fd, &k.session.keys, true, &seq), 0);
    cr_assert_eq(seq, (uint64_t)tickets[i]);
    exchange(&k);
    kpair_close(&k);
  }
}

/* A resumed TLS 1.3 handshake sends one ticket, however many are configured. */
static void resume(enum tl_tls_version v, uint64_t expect_seq) {
  struct kpair k, again;
  kpair_open(&k, true, v, TL_AES_128_GCM, 2);
  kpair_handshake(&k);
  kpair_install(&k);
  exchange(&k); /* the peer takes its tickets */
  SSL_SESSION *session = SSL_get1_session(k.peer);
  cr_assert(SSL_SESSION_is_resumable(session));
  kpair_reopen(&again, &k, session);
  kpair_handshake(&again);
  cr_assert(again.session.resumed);
  cr_assert_eq(again.session.keys.tx.seq, expect_seq);
  kpair_install(&again);
  exchange(&again);
  SSL_SESSION_free(session);
  kpair_close(&again);
  kpair_close(&k);
}

Test(ktls_install, resumed_13_session) {
  kpair_caps();
  resume(TL_TLS_1_3, 1);
}

Test(ktls_install, resumed_12_session) {
  kpair_caps();
  resume(TL_TLS_1_2, 1);
}

/* Reads the first record that the kernel sends and looks at its explicit nonce. */
Test(ktls_install, explicit_nonce_of_12_follows_the_one_of_finished) {
  kpair_caps();
  for (int server = 0; server < 2; server++)
    for (int c = TL_AES_128_GCM; c <= TL_AES_256_GCM; c++) {
      struct kpair k;
      uint8_t rec[64];
      kpair_ready(&k, server, TL_TLS_1_2, (enum tl_cipher)c);
      for (int i = 0; i < 300; i++) {
        for (int b = 7; b >= 0 && ++k.finished_nonce[b] == 0; b--) continue;
        cr_assert_eq(send(k.fd, "x", 1, 0), 1);
        cr_assert_eq(recv(k.peer_fd, rec, 30, MSG_WAITALL), 30);
        cr_assert_arr_eq(rec + 5, k.finished_nonce, 8, "record %d", i);
        BIO_write(k.peer_in, rec, 30);
        kpair_peer_expect(&k, "x", 1);
      }
      kpair_close(&k);
    }
}

Test(ktls_install, client_starts_at_zero_and_counts) {
  struct kpair k;
  uint64_t tx, rx;
  kpair_ready(&k, false, TL_TLS_1_3, TL_AES_256_GCM);
  for (int i = 0; i < 3; i++) {
    cr_assert_eq(send(k.fd, "x", 1, 0), 1);
    kpair_peer_send(&k, "y", 1);
    kpair_expect(&k, "y", 1);
  }
  cr_assert_eq(tl_ktls_seq(k.fd, &k.session.keys, true, &tx), 0);
  cr_assert_eq(tl_ktls_seq(k.fd, &k.session.keys, false, &rx), 0);
  cr_assert_eq(tx, 3);
  cr_assert_eq(rx, 3);
  kpair_close(&k);
}

/* Attached early, the keys still go in when the peer has already closed its side. */
Test(ktls_install, fin_before_install) {
  for (int v = 0; v < 2; v++) {
    struct kpair k;
    uint8_t type, buf[16];
    size_t n;
    kpair_caps();
    kpair_open(&k, true, v ? TL_TLS_1_3 : TL_TLS_1_2, TL_AES_128_GCM, 0);
    kpair_handshake(&k);
    cr_assert_eq(SSL_do_handshake(k.peer), 1);
    kpair_peer_send(&k, "BYE", 3);
    cr_assert_eq(shutdown(k.peer_fd, SHUT_WR), 0);
    cr_assert(kpair_readable(k.fd, KPAIR_WAIT_MS));
    kpair_install(&k);
    kpair_expect(&k, "BYE", 3);
    cr_assert_eq(tl_ktls_recv(k.fd, buf, sizeof(buf), &type, &n), TL_ECLOSED);
    cr_assert_eq(send(k.fd, "200", 3, MSG_NOSIGNAL), 3); /* the other direction lives */
    kpair_peer_expect(&k, "200", 3);
    kpair_close(&k);
  }
}

Test(ktls_install, attaching_after_fin_is_too_late) {
  int l = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof(a);
  kpair_caps();
  cr_assert_eq(bind(l, (struct sockaddr *)&a, len), 0);
  cr_assert_eq(listen(l, 1), 0);
  cr_assert_eq(getsockname(l, (struct sockaddr *)&a, &len), 0);
  cr_assert_eq(connect(c, (struct sockaddr *)&a, len), 0);
  int s = accept(l, NULL, NULL);
  cr_assert_eq(shutdown(c, SHUT_WR), 0);
  cr_assert(kpair_readable(s, KPAIR_WAIT_MS));
  cr_assert_eq(tl_ktls_attach(s), TL_ECLOSED);
  close(s);
  close(c);
  close(l);
}

Test(ktls_install, ulp_wants_an_established_socket_and_only_once) {
  struct kpair k;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  kpair_caps();
  cr_assert_eq(tl_ktls_attach(fd), TL_ECLOSED);
  close(fd);
  kpair_open(&k, true, TL_TLS_1_3, TL_AES_128_GCM, 0); /* attaches */
  cr_assert_eq(tl_ktls_attach(k.fd), TL_EEXIST);
  kpair_close(&k);
}

/* Finished and two records of data in one segment: the exact reader leaves the data to the kernel.
 */
Test(ktls_install, data_behind_finished) {
  for (int v = 0; v < 2; v++) {
    struct kpair k;
    kpair_caps();
    kpair_open(&k, true, v ? TL_TLS_1_3 : TL_TLS_1_2, TL_AES_128_GCM, 2);
    if (v) {
      /* A TLS 1.3 client may send behind its Finished at once: run the handshake by hand up to
       * there, so that all of it is one segment. */
      static uint8_t rec[TL_RECORD_CIPHER_MAX];
      size_t n;
      SSL_do_handshake(k.peer);
      kpair_flush(&k);
      cr_assert_eq(tl_hs_start(k.hs), TL_EAGAIN);
      cr_assert(kpair_readable(k.fd, KPAIR_WAIT_MS));
      n = (size_t)recv(k.fd, rec, sizeof(rec), 0);
      cr_assert_eq(tl_hs_input(k.hs, rec, n), TL_EAGAIN);
      const uint8_t *out = tl_hs_output(k.hs, &n);
      cr_assert_eq(send(k.fd, out, n, 0), (ssize_t)n);
      cr_assert(kpair_pump(&k, KPAIR_WAIT_MS));
      cr_assert_eq(SSL_do_handshake(k.peer), 1);
      cr_assert_eq(SSL_write(k.peer, "first", 5), 5);
      cr_assert_eq(SSL_write(k.peer, "second", 6), 6);
      kpair_flush(&k);
      int rc = TL_EAGAIN;
      while (rc == TL_EAGAIN) {
        cr_assert_eq(recv(k.fd, rec, 5, MSG_WAITALL), 5);
        n = (size_t)rec[3] << 8 | rec[4];
        cr_assert_eq(recv(k.fd, rec + 5, n, MSG_WAITALL), (ssize_t)n);
        rc = tl_hs_input(k.hs, rec, n + 5);
      }
      cr_assert_eq(rc, 0);
      out = tl_hs_output(k.hs, &n);
      cr_assert_eq(send(k.fd, out, n, 0), (ssize_t)n);
      cr_assert_eq(tl_hs_take(k.hs, &k.session), 0);
      tl_hs_free(k.hs);
      k.hs = NULL;
    } else {
      kpair_handshake(&k);
      cr_assert_eq(SSL_do_handshake(k.peer), 1);
      SSL_write(k.peer, "first", 5);
      SSL_write(k.peer, "second", 6);
      kpair_flush(&k);
    }
    cr_assert(kpair_readable(k.fd, KPAIR_WAIT_MS));
    cr_assert_eq(k.session.keys.rx.seq, v ? 0 : 1);
    kpair_install(&k);
    kpair_expect(&k, "firstsecond", 11);
    exchange(&k);
    kpair_close(&k);
  }
}

Test(ktls_install, keys_go_in_once) {
  struct kpair k;
  struct tl_ktls_state s;
  kpair_ready(&k, true, TL_TLS_1_2, TL_AES_128_GCM);
  cr_assert_eq(tl_ktls_install(k.fd, kpair_caps(), &k.session.keys, &s), TL_ENOTSUP);
  cr_assert_eq(s.tx, TL_KTLS_FAILED);
  exchange(&k);
  kpair_close(&k);
}

Test(ktls_install, wrong_sequence_is_noticed_at_the_first_record) {
  struct kpair k;
  uint8_t buf[16], type;
  size_t n;
  kpair_caps();
  kpair_open(&k, true, TL_TLS_1_3, TL_AES_128_GCM, 0);
  kpair_handshake(&k);
  k.session.keys.rx.seq++;
  kpair_install(&k);
  kpair_peer_send(&k, "x", 1);
  cr_assert(kpair_readable(k.fd, KPAIR_WAIT_MS));
  cr_assert_eq(tl_ktls_recv(k.fd, buf, sizeof(buf), &type, &n), TL_EBADMAC);
  kpair_close(&k);
}

/* --- a cipher whose module is missing ----------------------------------------------------------
 */

#define MODPROBE "/proc/sys/kernel/modprobe"

static bool write_text(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));
  if (fd >= 0) close(fd);
  return n == (ssize_t)strlen(text);
}

static void read_text(const char *path, char *buf, size_t cap) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : read(fd, buf, cap - 1);
  cr_assert_gt(n, 0, "%s", path);
  buf[n] = '\0';
  close(fd);
}

struct without_module {
  int rc, errno_delete;
  struct tl_ktls_state state;
  struct tl_ktls_caps caps;
};

/* Nothing may fail in here: the module must come back for the other tests. */
static struct without_module try_without(const struct kpair *k) {
  struct without_module w = {.rc = 1};
  char modprobe[256];
  read_text(MODPROBE, modprobe, sizeof(modprobe));
  if (!write_text(MODPROBE, "/nonexistent\n")) return w;
  if (syscall(SYS_delete_module, "chacha20poly1305", O_NONBLOCK) < 0) w.errno_delete = errno;
  w.rc = tl_ktls_install(k->fd, kpair_caps(), &k->session.keys, &w.state);
  tl_ktls_probe(&w.caps);
  write_text(MODPROBE, modprobe);
  return w;
}

Test(ktls_install, missing_cipher_module_leaves_the_connection_in_user_space) {
  struct kpair k;
  kpair_caps();
  if (geteuid() != 0) cr_skip_test("only root can take a module away");
  kpair_alone();
  kpair_open(&k, true, TL_TLS_1_3, TL_CHACHA20_POLY1305, 0);
  kpair_handshake(&k);
  struct without_module w = try_without(&k);
  if (w.errno_delete) cr_skip_test("chacha20poly1305 stays: %s", strerror(w.errno_delete));
  cr_assert_eq(w.rc, TL_ENOTSUP);
  cr_assert(w.state.tx == TL_KTLS_NO_CIPHER && w.state.rx == TL_KTLS_NO_CIPHER);
  cr_assert(w.caps.ulp && !w.caps.tx[1][TL_CHACHA20_POLY1305]);
  cr_assert(!w.caps.rx[0][TL_CHACHA20_POLY1305] && w.caps.tx[1][TL_AES_128_GCM]);
  kpair_install(&k); /* the kernel loads it by itself again: the failure left no trace */
  exchange(&k);
  kpair_close(&k);
}
