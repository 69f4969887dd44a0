/* SPDX-License-Identifier: Apache-2.0 */
/*
 * New keys for a connection in the kernel (Linux 6.14 and later), with OpenSSL as the peer. Where
 * the kernel takes none, every test here is skipped; tests/unit/test_net_rekey.c runs the code of
 * src/net against a kernel's answers all the same.
 */
#include <errno.h>
#include <linux/tls.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kpair.h"
#include "krx.h"
#include "ktls/ktls_internal.h"
#include "tieline/hkdf.h"

#define ROUNDS 6

static void ready(struct kpair *k, bool server, enum tl_cipher c) {
  if (!kpair_caps()->rekey)
    cr_skip_test("this kernel takes no second key; Linux 6.14 and later do");
  kpair_ready(k, server, TL_TLS_1_3, c);
}

static void peer_updates(struct kpair *k, int type) {
  cr_assert_eq(SSL_key_update(k->peer, type), 1);
  cr_assert_eq(SSL_do_handshake(k->peer), 1);
  kpair_flush(k);
}

/* Takes control records up to a KeyUpdate. */
static void take_update(struct kpair *k, struct tl_nondata_state *s, enum tl_nondata_action want) {
  enum tl_nondata_action a = TL_NONDATA_NONE;
  while (a == TL_NONDATA_NONE) {
    uint8_t buf[1024], alert, type;
    size_t n, used;
    int rc = tl_ktls_recv(k->fd, buf, sizeof(buf), &type, &n);
    if (rc == TL_EAGAIN && kpair_readable(k->fd, KPAIR_WAIT_MS)) continue;
    cr_assert_eq(rc, 0, "%s", tl_strerror(rc));
    a = tl_nondata_input(s, TL_TLS_1_3, k->server, type, buf, n, &used, &alert);
  }
  cr_assert_eq(a, want);
}

static void our_update(struct kpair *k, bool ask) {
  uint8_t update[TL_KEY_UPDATE_LEN], cbuf[TL_KTLS_CMSG] __attribute__((aligned(8)));
  struct iovec iov = {update, sizeof(update)};
  struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
  tl_key_update_message(update, ask);
  tl_ktls_msg_type(&msg, cbuf, TL_CT_HANDSHAKE);
  cr_assert_eq(sendmsg(k->fd, &msg, MSG_NOSIGNAL), (ssize_t)sizeof(update));
  cr_assert_eq(tl_keys_update(&k->session.keys, true), 0);
  cr_assert_eq(tl_ktls_rekey(k->fd, &k->session.keys, true), 0);
}

static void receive_key(struct kpair *k) {
  cr_assert_eq(tl_keys_update(&k->session.keys, false), 0);
  cr_assert_eq(tl_ktls_rekey(k->fd, &k->session.keys, false), 0);
}

static void send_ours(struct kpair *k, const char *text) {
  cr_assert_eq(send(k->fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
  kpair_peer_expect(k, text, strlen(text));
}

static void expect_seq(struct kpair *k, bool tx, uint64_t want) {
  uint64_t seq = 0;
  cr_assert_eq(tl_ktls_seq(k->fd, &k->session.keys, tx, &seq), 0);
  cr_expect_eq(seq, want, "%s: %llu", tx ? "tx" : "rx", (unsigned long long)seq);
}

/* The peer's key changes, and ours when it asks for that; numbers of records begin again. */
static void both_ways(bool server) {
  for (int c = 0; c < TL_CIPHERS; c++) {
    struct kpair k;
    struct tl_nondata_state s = {0};
    ready(&k, server, (enum tl_cipher)c);
    for (int i = 0; i < ROUNDS; i++) {
      kpair_peer_send(&k, "before", 6);
      kpair_expect(&k, "before", 6);
      peer_updates(&k, i % 2 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED);
      kpair_peer_send(&k, "behind", 6); /* is there already when the key comes */
      take_update(&k, &s, i % 2 ? TL_NONDATA_KEY_UPDATE_REQ : TL_NONDATA_KEY_UPDATE);
      receive_key(&k);
      expect_seq(&k, false, 0);
      kpair_expect(&k, "behind", 6);
      send_ours(&k, "ours");
      if (i % 2) our_update(&k, false);
      if (i % 2) expect_seq(&k, true, 0);
      send_ours(&k, "ours again");
    }
    kpair_close(&k);
  }
}

Test(ktls_rekey, f1_a_server_changes_both_keys) { both_ways(true); }
Test(ktls_rekey, f1_a_client_changes_both_keys) { both_ways(false); }

/* We begin, and the peer answers with its own. */
Test(ktls_rekey, f1_the_peer_is_asked_for_its_key) {
  struct kpair k;
  struct tl_nondata_state s = {0};
  ready(&k, true, TL_AES_128_GCM);
  our_update(&k, true);
  send_ours(&k, "ours"); /* reading it, the peer queues its KeyUpdate, and sends it with its data */
  kpair_peer_send(&k, "theirs", 6);
  take_update(&k, &s, TL_NONDATA_KEY_UPDATE);
  receive_key(&k);
  kpair_expect(&k, "theirs", 6);
  kpair_close(&k);
}

static void expect_data(struct krx *r, const char *text) {
  struct krx_event e;
  krx_next(r, KPAIR_WAIT_MS, &e);
  cr_assert_eq(e.res, (int)strlen(text), "%d instead of %s", e.res, text);
  cr_assert_arr_eq(e.data, text, strlen(text));
}

static void expect_result(struct krx *r, int res) {
  struct krx_event e;
  krx_next(r, KPAIR_WAIT_MS, &e);
  cr_assert_eq(e.res, res, "%d (%s) instead of %d", e.res, strerror(e.res < 0 ? -e.res : 0), res);
}

/* Until the new key is there nothing is read, by either way of reading, and nothing is lost. */
Test(ktls_rekey, f1_reading_waits_for_the_new_key) {
  struct kpair k;
  struct krx r;
  struct tl_nondata_state s = {0};
  uint8_t type, buf[16];
  size_t n;
  ready(&k, true, TL_AES_256_GCM);
  krx_init(&r);
  krx_arm(&r, k.fd);
  kpair_peer_send(&k, "old", 3);
  expect_data(&r, "old");
  peer_updates(&k, SSL_KEY_UPDATE_NOT_REQUESTED);
  kpair_peer_send(&k, "new", 3);
  expect_result(&r, -EIO);
  cr_expect_not(kpair_readable(k.fd, 0), "poll is silent from there on: recvmsg must be called");
  take_update(&k, &s, TL_NONDATA_KEY_UPDATE);
  cr_expect_eq(tl_ktls_recv(k.fd, buf, sizeof(buf), &type, &n), TL_EBUSY);
  krx_arm(&r, k.fd);
  expect_result(&r, -EKEYEXPIRED);
  receive_key(&k);
  krx_arm(&r, k.fd);
  expect_data(&r, "new");
  krx_exit(&r);
  kpair_close(&k);
}

/* The kernel goes by the first byte of a record: the rest of a KeyUpdate that is split stays out of
 * reach. What the connection does then stands in src/net/recv.c. */
Test(ktls_rekey, f1_half_a_key_update_stops_reading) {
  struct kpair k;
  uint8_t type, buf[16];
  size_t n;
  ready(&k, true, TL_AES_128_GCM);
  kpair_forge(&k, TL_CT_HANDSHAKE, "\x18\0", 2);
  kpair_forge(&k, TL_CT_HANDSHAKE, "\0\1\0", 3);
  cr_assert(kpair_readable(k.fd, KPAIR_WAIT_MS));
  cr_assert_eq(tl_ktls_recv(k.fd, buf, sizeof(buf), &type, &n), 0);
  cr_expect(type == TL_CT_HANDSHAKE && n == 2);
  cr_expect_eq(tl_ktls_recv(k.fd, buf, sizeof(buf), &type, &n), TL_EBUSY);
  cr_expect_eq(tl_ktls_send_alert(k.fd, TL_ALERT_LEVEL_FATAL, TL_ALERT_UNEXPECTED_MESSAGE), 0);
  cr_expect_eq(kpair_peer_read(&k, buf, sizeof(buf)), -SSL_ERROR_SSL);
  cr_expect_eq(ERR_GET_REASON(ERR_peek_error()), SSL_R_SSLV3_ALERT_UNEXPECTED_MESSAGE);
  kpair_close(&k);
}

/* Neither the version nor the cipher may change, and TLS 1.2 has no second key; the keys that are
 * in use stay. A key is taken without a KeyUpdate, too: the kernel trusts us. */
Test(ktls_rekey, f1_keys_that_are_refused_change_nothing) {
  struct kpair k;
  ready(&k, true, TL_AES_128_GCM);
  for (int tx = 0; tx < 2; tx++) {
    struct tl_tls_keys other = k.session.keys;
    other.cipher = TL_CHACHA20_POLY1305;
    cr_expect_eq(tl_ktls_set_keys(k.fd, &other, tx), EINVAL);
    other = k.session.keys;
    other.version = TL_TLS_1_2;
    cr_expect_eq(tl_ktls_set_keys(k.fd, &other, tx), EINVAL);
    cr_expect_eq(tl_ktls_set_keys(k.fd, &k.session.keys, tx), 0, "the same once more");
  }
  kpair_peer_send(&k, "theirs", 6);
  kpair_expect(&k, "theirs", 6);
  send_ours(&k, "ours");
  kpair_close(&k);
  kpair_ready(&k, true, TL_TLS_1_2, TL_AES_128_GCM);
  for (int tx = 0; tx < 2; tx++) {
    cr_expect_eq(tl_ktls_set_keys(k.fd, &k.session.keys, tx), EBUSY);
    cr_expect_eq(tl_ktls_rekey(k.fd, &k.session.keys, tx), TL_ENOTSUP);
  }
  kpair_close(&k);
}
