/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel that takes the keys of one direction and refuses the other's: which order
 * leaves what, and that a peer always gets an end that it can read. The kernel itself
 * refuses them only when its memory is used up, which no test can bring about at
 * will, so a filter on this process's system calls answers in its place.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/tls.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "kpair.h"
#include "ktls/ktls_internal.h"

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

#define ARGUMENT(n) ((uint32_t)(offsetof(struct seccomp_data, args) + (n) * sizeof(uint64_t)))

/* From now on, and until this test's process ends, keys of one direction are refused. */
static void refuse(int direction) {
  struct sock_filter rules[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setsockopt, 0, 5),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARGUMENT(1)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SOL_TLS, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARGUMENT(2)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)direction, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOMEM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof(rules) / sizeof(*rules), rules};
  cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
  cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0, "%s", strerror(errno));
}

/* A finished handshake whose peer has sent EARLY already. */
static void open_pair(struct kpair *k, bool server, enum tl_tls_version v, const char *early) {
  kpair_open(k, server, v, TL_AES_128_GCM, 2);
  if (!server) SSL_set_num_tickets(k->peer, 0);
  kpair_handshake(k);
  if (!SSL_is_init_finished(k->peer)) cr_assert_eq(SSL_do_handshake(k->peer), 1);
  kpair_flush(k);
  kpair_peer_send(k, early, strlen(early));
  cr_assert(kpair_readable(k->fd, KPAIR_WAIT_MS));
}

static void send_sealed(struct kpair *k, struct tl_record *r, uint8_t type, const void *p,
                        size_t n) {
  uint8_t out[256];
  size_t len;
  cr_assert_eq(tl_record_seal_from(r, type, p, n, out, &len), 0);
  cr_assert_eq(send(k->fd, out, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void expect_sealed(struct kpair *k, struct tl_record *r, const char *text) {
  uint8_t in[256];
  struct tl_record_view v = {.used = TL_RECORD_HEADER};
  size_t have = 0;
  while (tl_record_open(r, in, have, &v) == TL_EAGAIN) {
    cr_assert_leq(v.used, sizeof(in));
    cr_assert(kpair_readable(k->fd, KPAIR_WAIT_MS));
    ssize_t n = recv(k->fd, in + have, v.used - have, 0);
    cr_assert_gt(n, 0);
    have += (size_t)n;
  }
  cr_assert(v.type == TL_CT_DATA && v.n == strlen(text) && memcmp(v.p, text, v.n) == 0);
}

static void expect_alert(struct kpair *k, int reason) {
  uint8_t buf[16];
  cr_assert_eq(kpair_peer_read(k, buf, sizeof(buf)), -SSL_ERROR_SSL);
  cr_assert_eq(ERR_GET_REASON(ERR_peek_error()), reason, "%s",
               ERR_error_string(ERR_peek_error(), NULL));
}

/* Every version and role. */
static void each(void (*what)(bool server, enum tl_tls_version v)) {
  for (int server = 0; server < 2; server++) {
    what(server, TL_TLS_1_2);
    what(server, TL_TLS_1_3);
  }
}

static void go_on_in_user_space(bool server, enum tl_tls_version v) {
  struct kpair k;
  struct tl_ktls_state s;
  struct tl_record *r;
  open_pair(&k, server, v, "early");
  cr_assert_eq(tl_ktls_install(k.fd, kpair_caps(), &k.session.keys, &s), TL_ENOTSUP);
  cr_assert(s.tx == TL_KTLS_FAILED && s.rx == TL_KTLS_FAILED);
  cr_assert_eq(tl_record_new(&k.session.keys, 0, &r), 0);
  expect_sealed(&k, r, "early");
  for (int i = 0; i < 3; i++) {
    send_sealed(&k, r, TL_CT_DATA, "ours", 4);
    kpair_peer_expect(&k, "ours", 4);
    kpair_peer_send(&k, "theirs", 6);
    expect_sealed(&k, r, "theirs");
  }
  tl_record_free(r);
  kpair_close(&k);
}

/* RX goes first, so nothing is in the kernel yet: the socket, with what is queued, is as before. */
Test(ktls_refused, receiving_leaves_both_directions_to_user_space) {
  kpair_caps();
  refuse(TLS_RX);
  each(go_on_in_user_space);
}

static void end_from_user_space(bool server, enum tl_tls_version v) {
  static const uint8_t alert[2] = {TL_ALERT_LEVEL_FATAL, TL_ALERT_INTERNAL_ERROR};
  struct kpair k;
  struct tl_ktls_state s;
  struct tl_record *r;
  open_pair(&k, server, v, "early");
  cr_assert_eq(tl_ktls_install(k.fd, kpair_caps(), &k.session.keys, &s), TL_EIO);
  cr_assert(s.tx == TL_KTLS_FAILED && s.rx == TL_KTLS_ON);
  kpair_expect(&k, "early", 5); /* the kernel opens it already */
  cr_assert_eq(tl_record_new(&k.session.keys, 0, &r), 0);
  send_sealed(&k, r, TL_CT_ALERT, alert, sizeof(alert)); /* and seals nothing */
  expect_alert(&k, SSL_R_TLSV1_ALERT_INTERNAL_ERROR);
  tl_record_free(r);
  kpair_close(&k);
}

Test(ktls_refused, sending_behind_receiving_lets_an_alert_of_user_space_out) {
  kpair_caps();
  refuse(TLS_TX);
  each(end_from_user_space);
}

static void end_from_kernel(bool server, enum tl_tls_version v) {
  struct kpair k;
  uint8_t head[TL_RECORD_HEADER];
  open_pair(&k, server, v, "early");
  cr_assert_eq(tl_ktls_set_keys(k.fd, &k.session.keys, true), 0);
  cr_assert_eq(tl_ktls_set_keys(k.fd, &k.session.keys, false), ENOMEM);
  cr_assert_eq(recv(k.fd, head, sizeof(head), MSG_PEEK), (ssize_t)sizeof(head));
  cr_assert_eq(head[0], TL_CT_DATA, "not a record as it came");
  cr_assert_eq(tl_ktls_send_alert(k.fd, TL_ALERT_LEVEL_FATAL, TL_ALERT_INTERNAL_ERROR), 0);
  expect_alert(&k, SSL_R_TLSV1_ALERT_INTERNAL_ERROR);
  kpair_close(&k);
}

/* The other order, which is not ours: no better, for then a refused RX finds TX in the kernel. */
Test(ktls_refused, receiving_behind_sending_lets_an_alert_of_the_kernel_out) {
  kpair_caps();
  refuse(TLS_RX);
  each(end_from_kernel);
}
