/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records that are not data, and bad ones, through the kernel and io_uring: what
 * arrives, in which order, and what can still be sent.
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
#include "tieline/hkdf.h"

/* Takes one control record and says what it means. */
static enum tl_nondata_action take_control(struct kpair *k, struct tl_nondata_state *s,
                                           uint8_t *out_type, size_t *out_n) {
  uint8_t buf[1024], alert;
  size_t used;
  cr_assert_eq(tl_ktls_recv(k->fd, buf, sizeof(buf), out_type, out_n), 0);
  return tl_nondata_input(s, k->session.keys.version, k->server, *out_type, buf, *out_n, &used,
                          &alert);
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
  if (res < 0) cr_assert_not(e.flags & IORING_CQE_F_MORE);
}

Test(ktls_control, multishot_gives_eio_for_a_control_record_and_goes_on) {
  struct kpair k;
  struct krx r;
  struct tl_nondata_state s = {0};
  uint8_t type;
  size_t n;
  kpair_ready(&k, false, TL_TLS_1_3, TL_AES_128_GCM);
  krx_init(&r);
  krx_arm(&r, k.fd);
  kpair_forge(&k, TL_CT_DATA, "before", 6);
  expect_data(&r, "before");
  kpair_forge(&k, TL_CT_HANDSHAKE, "\4\0\0\3abc", 7);
  kpair_forge(&k, TL_CT_DATA, "behind", 6);
  expect_result(&r, -EIO);
  krx_arm(&r, k.fd); /* the record stays queued until it is taken */
  expect_result(&r, -EIO);
  cr_assert_eq(take_control(&k, &s, &type, &n), TL_NONDATA_NONE);
  cr_assert(type == TL_CT_HANDSHAKE && n == 7 && s.tickets == 1);
  krx_arm(&r, k.fd);
  expect_data(&r, "behind");
  krx_exit(&r);
  kpair_close(&k);
}

Test(ktls_control, tickets_reach_a_client_as_control_records) {
  struct kpair k;
  struct krx r;
  struct krx_event e;
  struct tl_nondata_state s = {0};
  uint8_t type;
  size_t n;
  kpair_caps();
  kpair_open(&k, false, TL_TLS_1_3, TL_AES_256_GCM, 0);
  SSL_set_num_tickets(k.peer, 2);
  kpair_handshake(&k);
  kpair_install(&k); /* the peer finishes here and sends them */
  krx_init(&r);
  kpair_peer_send(&k, "200 OK", 6);
  krx_arm(&r, k.fd);
  while (s.tickets < 2) {
    krx_next(&r, KPAIR_WAIT_MS, &e);
    cr_assert_eq(e.res, -EIO);
    cr_assert_eq(take_control(&k, &s, &type, &n), TL_NONDATA_NONE);
    krx_arm(&r, k.fd);
  }
  expect_data(&r, "200 OK");
  krx_exit(&r);
  kpair_close(&k);
}

Test(ktls_control, one_completion_spans_records_of_data) {
  struct kpair k;
  struct krx r;
  uint8_t part[700];
  size_t total = 0;
  struct krx_event e;
  kpair_ready(&k, true, TL_TLS_1_3, TL_AES_128_GCM);
  krx_init(&r);
  memset(part, 'm', sizeof(part));
  for (int i = 0; i < 3; i++) SSL_write(k.peer, part, sizeof(part));
  kpair_flush(&k);
  cr_assert(kpair_readable(k.fd, KPAIR_WAIT_MS));
  krx_arm(&r, k.fd);
  int completions = 0;
  while (total < 3 * sizeof(part)) {
    krx_next(&r, KPAIR_WAIT_MS, &e);
    cr_assert_gt(e.res, 0);
    total += (size_t)e.res;
    completions++;
  }
  cr_assert_eq(total, 3 * sizeof(part));
  cr_assert_eq(completions, 1);
  krx_exit(&r);
  kpair_close(&k);
}

static void zero_length(enum tl_tls_version v) {
  struct kpair k;
  uint8_t buf[16], type = 0;
  size_t n = 99;
  kpair_ready(&k, true, v, TL_AES_128_GCM);
  static const uint8_t types[] = {TL_CT_HANDSHAKE, TL_CT_ALERT};
  for (int i = 0; i < 2; i++) {
    kpair_forge(&k, types[i], "", 0);
    cr_assert(kpair_readable(k.fd, KPAIR_WAIT_MS));
    cr_assert_eq(tl_ktls_recv(k.fd, buf, sizeof(buf), &type, &n), 0);
    cr_assert_eq(type, types[i]);
    cr_assert_eq(n, 0);
  }
  kpair_forge(&k, TL_CT_DATA, "", 0); /* swallowed: neither data nor the end */
  kpair_forge(&k, TL_CT_DATA, "x", 1);
  kpair_expect(&k, "x", 1);
  cr_assert_eq(tl_ktls_recv(k.fd, buf, sizeof(buf), &type, &n), TL_EAGAIN);
  kpair_close(&k);
}

Test(ktls_control, zero_length_records_of_12) { zero_length(TL_TLS_1_2); }
Test(ktls_control, zero_length_records_of_13) { zero_length(TL_TLS_1_3); }

Test(ktls_control, empty_data_record_completes_nothing) {
  struct kpair k;
  struct krx r;
  struct krx_event e;
  kpair_ready(&k, true, TL_TLS_1_3, TL_AES_128_GCM);
  krx_init(&r);
  krx_arm(&r, k.fd);
  kpair_forge(&k, TL_CT_DATA, "", 0);
  krx_next(&r, 200, &e);
  cr_assert_eq(e.res, -ETIME, "%d", e.res);
  kpair_forge(&k, TL_CT_DATA, "x", 1);
  expect_data(&r, "x");
  krx_exit(&r);
  kpair_close(&k);
}

Test(ktls_control, handshake_message_split_over_records) {
  struct kpair k;
  struct tl_nondata_state s = {0};
  uint8_t type;
  size_t n;
  kpair_ready(&k, false, TL_TLS_1_3, TL_AES_128_GCM);
  kpair_forge(&k, TL_CT_HANDSHAKE, "\4\0", 2);
  cr_assert(kpair_readable(k.fd, KPAIR_WAIT_MS));
  cr_assert_eq(take_control(&k, &s, &type, &n), TL_NONDATA_NONE);
  kpair_forge(&k, TL_CT_HANDSHAKE, "\0\3abc", 5);
  cr_assert(kpair_readable(k.fd, KPAIR_WAIT_MS));
  cr_assert_eq(take_control(&k, &s, &type, &n), TL_NONDATA_NONE);
  cr_expect_eq(s.tickets, 1);
  kpair_close(&k);
}

Test(ktls_control, key_update_split_over_records) {
  struct kpair k;
  struct tl_nondata_state s = {0};
  uint8_t type;
  size_t n;
  if (kpair_caps()->rekey)
    cr_skip_test("Linux 6.14 and later stop at its first half, see ktls_rekey");
  kpair_ready(&k, true, TL_TLS_1_3, TL_AES_128_GCM);
  kpair_forge(&k, TL_CT_HANDSHAKE, "\x18\0", 2);
  cr_assert(kpair_readable(k.fd, KPAIR_WAIT_MS));
  cr_assert_eq(take_control(&k, &s, &type, &n), TL_NONDATA_NONE);
  kpair_forge(&k, TL_CT_HANDSHAKE, "\0\1\0", 3);
  cr_assert(kpair_readable(k.fd, KPAIR_WAIT_MS));
  cr_assert_eq(take_control(&k, &s, &type, &n), TL_NONDATA_KEY_UPDATE);
  kpair_close(&k);
}

/* Kernels before 6.14 cannot take new keys: the connection ends, cleanly, and the peer sees that.
 */
Test(ktls_control, key_update_rekeys_or_closes_cleanly) {
  struct kpair k;
  struct tl_nondata_state s = {0};
  uint8_t type, buf[16];
  size_t n;
  kpair_ready(&k, true, TL_TLS_1_3, TL_AES_128_GCM);
  kpair_peer_send(&k, "old", 3);
  kpair_expect(&k, "old", 3);
  cr_assert_eq(SSL_key_update(k.peer, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
  cr_assert_eq(SSL_do_handshake(k.peer), 1);
  kpair_peer_send(&k, "new", 3);
  cr_assert(kpair_readable(k.fd, KPAIR_WAIT_MS));
  cr_assert_eq(take_control(&k, &s, &type, &n), TL_NONDATA_KEY_UPDATE);
  cr_assert_eq(tl_keys_update(&k.session.keys, false), 0);
  int rc = tl_ktls_rekey(k.fd, &k.session.keys, false);
  if (kpair_caps()->rekey) {
    cr_assert_eq(rc, 0);
    kpair_expect(&k, "new", 3);
  } else {
    cr_assert_eq(rc, TL_ENOTSUP);
    cr_assert_eq(tl_ktls_send_alert(k.fd, TL_ALERT_LEVEL_WARNING, TL_ALERT_CLOSE_NOTIFY), 0);
    cr_assert_eq(kpair_peer_read(&k, buf, sizeof(buf)), -SSL_ERROR_ZERO_RETURN);
  }
  kpair_close(&k);
}

/* Plain receive stops at the KeyUpdate, before the record that it cannot decrypt. */
Test(ktls_control, key_update_comes_before_the_record_under_new_keys) {
  struct kpair k;
  struct krx r;
  kpair_ready(&k, true, TL_TLS_1_3, TL_AES_128_GCM);
  krx_init(&r);
  kpair_peer_send(&k, "old", 3);
  SSL_key_update(k.peer, SSL_KEY_UPDATE_NOT_REQUESTED);
  SSL_do_handshake(k.peer);
  kpair_peer_send(&k, "new", 3);
  krx_arm(&r, k.fd);
  expect_data(&r, "old");
  expect_result(&r, -EIO);
  krx_exit(&r);
  kpair_close(&k);
}

Test(ktls_control, renegotiation_of_12_is_recognised) {
  struct kpair k;
  struct tl_nondata_state s = {0};
  uint8_t type;
  size_t n;
  kpair_ready(&k, true, TL_TLS_1_2, TL_AES_128_GCM);
  cr_assert_eq(SSL_renegotiate(k.peer), 1);
  SSL_do_handshake(k.peer);
  cr_assert_gt(kpair_flush(&k), 0);
  cr_assert(kpair_readable(k.fd, KPAIR_WAIT_MS));
  cr_assert_eq(take_control(&k, &s, &type, &n), TL_NONDATA_RENEGOTIATE);
  kpair_close(&k);
}

/* Spoils the last byte of what the peer sends next. */
static void send_spoiled(struct kpair *k) {
  uint8_t rec[128];
  cr_assert_eq(SSL_write(k->peer, "forged", 6), 6);
  int n = BIO_read(k->peer_out, rec, sizeof(rec));
  cr_assert_gt(n, 6);
  rec[n - 1] ^= 1;
  cr_assert_eq(send(k->peer_fd, rec, (size_t)n, 0), n);
}

Test(ktls_control, bad_mac_then_the_alert_leaves) {
  for (int v = 0; v < 2; v++) {
    struct kpair k;
    struct krx r;
    uint8_t buf[16];
    kpair_ready(&k, true, v ? TL_TLS_1_3 : TL_TLS_1_2, TL_AES_128_GCM);
    krx_init(&r);
    krx_arm(&r, k.fd);
    kpair_peer_send(&k, "good", 4);
    send_spoiled(&k);
    expect_data(&r, "good");
    expect_result(&r, -EBADMSG);
    cr_assert_eq(tl_ktls_send_alert(k.fd, TL_ALERT_LEVEL_FATAL, TL_ALERT_BAD_RECORD_MAC), 0);
    cr_assert_eq(kpair_peer_read(&k, buf, sizeof(buf)), -SSL_ERROR_SSL);
    cr_assert_eq(ERR_GET_REASON(ERR_peek_error()), SSL_R_SSLV3_ALERT_BAD_RECORD_MAC);
    krx_exit(&r);
    kpair_close(&k);
  }
}

Test(ktls_control, bad_headers) {
  static const struct {
    const char *bytes;
    size_t n;
  } bad[] = {{"\x17\3\1\0\x20 0123456789abcdef0123456789abcdef", 38}, /* version 1.0 */
             {"\x17\3\3\x50\0 too long", 14},
             {"GET / HTTP/1.1\r\n\r\n01234567890123456789", 38},
             {"\x14\3\3\0\1\1 a CCS behind the handshake", 32}};
  for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
    struct kpair k;
    uint8_t buf[64], type;
    size_t n;
    kpair_ready(&k, true, TL_TLS_1_3, TL_AES_128_GCM);
    cr_assert_eq(send(k.peer_fd, bad[i].bytes, bad[i].n, 0), (ssize_t)bad[i].n);
    cr_assert(kpair_readable(k.fd, KPAIR_WAIT_MS));
    int rc = tl_ktls_recv(k.fd, buf, sizeof(buf), &type, &n);
    cr_assert(rc == TL_ETLS || rc == TL_EBADMAC, "case %zu: %s", i, tl_strerror(rc));
    cr_assert_eq(tl_ktls_send_alert(k.fd, TL_ALERT_LEVEL_FATAL, TL_ALERT_UNEXPECTED_MESSAGE), 0);
    cr_assert_eq(kpair_peer_read(&k, buf, sizeof(buf)), -SSL_ERROR_SSL);
    kpair_close(&k);
  }
}

Test(ktls_control, padded_records_arrive_whole) {
  struct kpair k;
  uint8_t data[900];
  kpair_ready(&k, true, TL_TLS_1_3, TL_AES_128_GCM);
  SSL_set_block_padding(k.peer, 512);
  for (size_t n = 1; n < sizeof(data); n += 99) {
    memset(data, (int)n, sizeof(data));
    kpair_peer_send(&k, data, n);
    kpair_expect(&k, data, n);
  }
  kpair_close(&k);
}

Test(ktls_control, close_notify_both_ways_and_the_end_without_one) {
  struct kpair k;
  struct tl_nondata_state s = {0};
  uint8_t type, buf[16];
  size_t n;
  kpair_ready(&k, false, TL_TLS_1_3, TL_CHACHA20_POLY1305);
  SSL_shutdown(k.peer);
  kpair_flush(&k);
  cr_assert(kpair_readable(k.fd, KPAIR_WAIT_MS));
  cr_assert_eq(take_control(&k, &s, &type, &n), TL_NONDATA_CLOSE_NOTIFY);
  cr_assert_eq(tl_ktls_send_alert(k.fd, TL_ALERT_LEVEL_WARNING, TL_ALERT_CLOSE_NOTIFY), 0);
  cr_assert_eq(kpair_peer_read(&k, buf, sizeof(buf)), -SSL_ERROR_ZERO_RETURN);
  /* The kernel does not hold anybody back: that nothing follows a close_notify is up to us. */
  cr_assert_eq(send(k.fd, "x", 1, MSG_NOSIGNAL), 1);
  shutdown(k.peer_fd, SHUT_WR);
  cr_assert(kpair_readable(k.fd, KPAIR_WAIT_MS));
  cr_assert_eq(tl_ktls_recv(k.fd, buf, sizeof(buf), &type, &n), TL_ECLOSED);
  kpair_close(&k);
}
