/* SPDX-License-Identifier: Apache-2.0 */
/* User-space records on a connection: cut anywhere, coalesced, control records, and their end. */
#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test_net_rig.h"

TestSuite(net_tls, .timeout = 30);

static char plain[200000], back[200000];
static uint8_t wire[300000];

/* Seals N bytes as records of at most STEP each; the bytes on the wire. */
static size_t seal(struct tl_record *r, uint8_t type, const void *p, size_t n, size_t step,
                   uint8_t *dst) {
  size_t at = 0, len;
  for (size_t done = 0; done < n || done == 0;) {
    size_t k = n - done < step ? n - done : step;
    cr_assert_eq(tl_record_seal_from(r, type, (const uint8_t *)p + done, k, dst + at, &len), 0);
    at += len;
    done += k ? k : 1;
  }
  return at;
}

/* Reads records until one of TYPE has come; its plaintext is in BACK, its length returned. */
static size_t next_record(int fd, struct tl_record *r, uint8_t *out_type) {
  struct tl_record_view v;
  rig_read(fd, wire, TL_RECORD_HEADER);
  size_t len = (size_t)wire[3] << 8 | wire[4];
  rig_read(fd, wire + TL_RECORD_HEADER, len);
  int rc = tl_record_open(r, wire, TL_RECORD_HEADER + len, &v);
  cr_assert_eq(rc, 0, "a record of ours does not open: %s", tl_strerror(rc));
  memcpy(back, v.p, v.n);
  *out_type = v.type;
  return v.n;
}

static void read_plain(int fd, struct tl_record *r, const char *want, size_t n) {
  for (size_t at = 0; at < n;) {
    uint8_t type;
    size_t k = next_record(fd, r, &type);
    cr_assert_eq(type, TL_CT_DATA);
    cr_assert(at + k <= n && memcmp(back, want + at, k) == 0, "at %zu", at);
    at += k;
  }
}

static void expect_alert(int fd, struct tl_record *r, uint8_t level, uint8_t alert) {
  uint8_t type;
  size_t n = next_record(fd, r, &type);
  cr_assert(type == TL_CT_ALERT && n == 2, "type %u, %zu bytes", type, n);
  cr_expect_eq((uint8_t)back[0], level);
  cr_expect_eq((uint8_t)back[1], alert, "%s", tl_alert_name((uint8_t)back[1]));
}

struct suite {
  enum tl_tls_version v;
  enum tl_cipher c;
};
static const struct suite suites[] = {{TL_TLS_1_3, TL_AES_128_GCM},
                                      {TL_TLS_1_3, TL_AES_256_GCM},
                                      {TL_TLS_1_3, TL_CHACHA20_POLY1305},
                                      {TL_TLS_1_2, TL_AES_128_GCM},
                                      {TL_TLS_1_2, TL_CHACHA20_POLY1305}};
#define SUITES (sizeof(suites) / sizeof(suites[0]))

/* Three messages over records of 50 bytes; the stream of records is cut at every place. */
Test(net_tls, item_2_6_records_may_be_cut_anywhere) {
  net_begin("");
  for (size_t s = 0; s < SUITES; s++) {
    struct tl_conn *c;
    struct tl_record *peer;
    size_t n = 0, cut = 1, len = 2;
    int fd = rig_tls(suites[s].v, suites[s].c, 0, &c, &peer);
    for (unsigned i = 0; i < 3; i++) n += rig_message(plain + n, i, i * 20);
    for (; cut < len; cut += s ? 7 : 1) {
      uint64_t in = c->kept.bytes_in;
      rig_forget();
      len = seal(peer, TL_CT_DATA, plain, n, 50, wire);
      rig_write(fd, wire, cut);
      rig_turn();
      rig_turn();
      rig_write(fd, wire + cut, len - cut);
      RIG_UNTIL(c->kept.bytes_in == in + n || rig.n_closed);
      cr_assert_eq(rig.n_closed, 0, "closed when cut at %zu", cut);
      cr_assert_eq(rig.n_got, 3);
      cr_assert(rig.got[2].n && memcmp(rig.got[2].p, plain + n - rig.got[2].n, rig.got[2].n) == 0);
    }
    cr_expect_gt(cut, 1000);
    tl_record_free(peer);
    close(fd);
    RIG_UNTIL(rig.net->n_conn == 0);
    rig.n_closed = 0;
  }
  net_end();
}

static const size_t steps[] = {16384, 10000, 1000, 33};

/* Bodies of every size class, decrypted to their place and sealed from there. */
Test(net_tls, item_2_9_large_bodies_through_records_of_any_size) {
  net_begin("limits { zero_copy_body = 4k }");
  for (size_t s = 0; s < SUITES; s++) {
    struct tl_conn *a, *b;
    struct tl_record *pa, *pb;
    int in = rig_tls(suites[s].v, suites[s].c, 0, &a, &pa);
    int out = rig_tls(suites[SUITES - 1 - s].v, suites[SUITES - 1 - s].c, 0, &b, &pb);
    rig.forward_to = tl_conn_id_of(b);
    for (size_t k = 0; k < sizeof(steps) / sizeof(steps[0]); k++)
      for (size_t body = 3000; body < 66000; body += 15750) {
        rig_forget();
        size_t n = rig_message(plain, 1, body);
        n += rig_message(plain + n, 2, 10);
        size_t len = seal(pa, TL_CT_DATA, plain, n, steps[k], wire);
        rig_write(in, wire, len);
        read_plain(out, pb, plain, n);
        cr_assert_eq(rig.n_got, 2);
      }
    tl_record_free(pa);
    tl_record_free(pb);
    close(in);
    close(out);
    RIG_UNTIL(rig.net->n_conn == 0);
  }
  cr_expect_eq(rig.net->bufs.out, 0);
  net_end();
}

/* RFC 6066 4: no record of ours is larger than what the peer asked for. */
Test(net_tls, small_fragments_are_kept_to) {
  struct tl_conn *a, *b;
  struct tl_record *pa, *pb;
  net_begin("limits { zero_copy_body = 4k }");
  int in = rig_tls(TL_TLS_1_3, TL_AES_128_GCM, 0, &a, &pa);
  int out = rig_tls(TL_TLS_1_2, TL_AES_128_GCM, 512, &b, &pb);
  rig.forward_to = tl_conn_id_of(b);
  for (size_t body = 0; body < 10000; body += 450) {
    size_t n = rig_message(plain, 1, body), at = 0;
    rig_write(in, wire, seal(pa, TL_CT_DATA, plain, n, 16384, wire));
    while (at < n) {
      uint8_t type;
      size_t k = next_record(out, pb, &type);
      cr_assert_leq(k, 512);
      cr_assert(at + k <= n && memcmp(back, plain + at, k) == 0);
      at += k;
    }
  }
  tl_record_free(pa);
  tl_record_free(pb);
  close(in);
  close(out);
  net_end();
}

Test(net_tls, messages_of_a_turn_share_a_record) {
  struct tl_conn *c;
  struct tl_record *peer;
  uint8_t type;
  net_begin("");
  int fd = rig_tls(TL_TLS_1_3, TL_AES_128_GCM, 0, &c, &peer);
  for (int i = 0; i < 100; i++) cr_assert_eq(tl_conn_send(c, "0123456789", 10), 0);
  cr_expect_eq(next_record(fd, peer, &type), 1000);
  cr_expect_eq(rig_count(TL_C_REC_OUT), 1);
  cr_expect_eq(rig_count(TL_C_SENDQ_BYTES), 0);
  tl_record_free(peer);
  close(fd);
  net_end();
}

Test(net_tls, close_notify_is_answered_and_ends) {
  static const uint8_t bye[2] = {1, 0};
  for (size_t s = 0; s < SUITES; s++) {
    struct tl_conn *c;
    struct tl_record *peer;
    net_begin("");
    int fd = rig_tls(suites[s].v, suites[s].c, 0, &c, &peer);
    rig_write(fd, wire, seal(peer, TL_CT_ALERT, bye, 2, 2, wire));
    expect_alert(fd, peer, 1, TL_ALERT_CLOSE_NOTIFY);
    rig_read_end(fd);
    cr_expect(rig.n_closed == 1 && rig.closed_rc == TL_ECLOSED);
    tl_record_free(peer);
    close(fd);
    net_end();
  }
}

static void asks(struct rig *r, struct tl_conn *c, const struct tl_msg *m) {
  (void)r;
  (void)m;
  c->view.n_open_requests++;
}

/* close_notify in the same write as the request, then the FIN or not; or the FIN alone. What comes
 * behind close_notify is ignored (RFC 8446 6.1). */
Test(net_tls, s23_half_closed_connections_are_answered) {
  static const struct {
    bool notify, fin, more;
  } ends[] = {{true, false, false}, {true, true, false}, {false, true, false}, {true, true, true}};
  static const uint8_t bye[2] = {1, 0};
  for (size_t s = 0; s < SUITES; s++)
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
      struct tl_conn *c;
      struct tl_record *peer;
      net_begin("");
      rig.on_message = asks;
      int fd = rig_tls(suites[s].v, suites[s].c, 0, &c, &peer);
      size_t len = rig_message(plain, 1, 100);
      size_t n = seal(peer, TL_CT_DATA, plain, len, len, wire);
      if (ends[i].notify) n += seal(peer, TL_CT_ALERT, bye, 2, 2, wire + n);
      if (ends[i].more) n += seal(peer, TL_CT_DATA, plain, len, len, wire + n);
      rig_write(fd, wire, n);
      if (ends[i].fin) shutdown(fd, SHUT_WR);
      RIG_UNTIL(rig_count(TL_C_CONN_HALF_CLOSED) == 1);
      cr_expect(rig_quiet(fd), "nothing ends it before the answer");
      cr_expect_eq(rig.n_got, 1);
      cr_assert_eq(tl_conn_send(c, "answer", 6), 0);
      tl_conn_release_request(c);
      read_plain(fd, peer, "answer", 6);
      expect_alert(fd, peer, 1, TL_ALERT_CLOSE_NOTIFY);
      rig_read_end(fd);
      RIG_UNTIL(rig.net->n_conn == 0);
      cr_expect_eq(rig.n_closed, 1);
      tl_record_free(peer);
      close(fd);
      net_end();
    }
}

Test(net_tls, a_forged_record_gets_its_alert_and_the_end) {
  struct tl_conn *c;
  struct tl_record *peer;
  net_begin("");
  int fd = rig_tls(TL_TLS_1_3, TL_AES_128_GCM, 0, &c, &peer);
  size_t n = seal(peer, TL_CT_DATA, "hello", 5, 5, wire);
  wire[n - 1] ^= 1;
  rig_write(fd, wire, n);
  expect_alert(fd, peer, 2, TL_ALERT_BAD_RECORD_MAC);
  rig_read_end(fd);
  cr_expect_eq(rig_count(TL_C_REC_BADMAC), 1);
  cr_expect_eq(rig.n_closed, 1);
  tl_record_free(peer);
  close(fd);
  net_end();
}

/* A header is judged before what it promises is waited for, also when it comes byte by byte. */
Test(net_tls, malformed_headers_get_the_alert_that_fits) {
  static const struct {
    uint8_t header[5], alert;
  } bad[] = {{{23, 3, 3, 0x50, 0}, TL_ALERT_RECORD_OVERFLOW},
             {{23, 3, 1, 0, 40}, TL_ALERT_PROTOCOL_VERSION},
             {{22, 3, 3, 0, 40}, TL_ALERT_UNEXPECTED_MESSAGE},
             {{23, 3, 3, 0, 3}, TL_ALERT_DECODE_ERROR}};
  net_begin("");
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
    for (int split = 0; split < 2; split++) {
      struct tl_conn *c;
      struct tl_record *peer;
      int fd = rig_tls(TL_TLS_1_3, TL_AES_128_GCM, 0, &c, &peer);
      for (size_t k = 0; k < 5; k += split ? 1 : 5) {
        rig_write(fd, bad[i].header + k, split ? 1 : 5);
        rig_turn();
      }
      expect_alert(fd, peer, 2, bad[i].alert);
      rig_read_end(fd);
      tl_record_free(peer);
      close(fd);
    }
  net_end();
}

/* RFC 8446 6.2: a fatal alert is not answered. */
Test(net_tls, a_fatal_alert_gets_no_answer) {
  static const uint8_t alert[2] = {2, TL_ALERT_INTERNAL_ERROR};
  struct tl_conn *c;
  struct tl_record *peer;
  net_begin("");
  int fd = rig_tls(TL_TLS_1_3, TL_AES_128_GCM, 0, &c, &peer);
  rig_write(fd, wire, seal(peer, TL_CT_ALERT, alert, 2, 2, wire));
  RIG_UNTIL(rig.n_closed == 1);
  cr_expect_eq(rig.closed_rc, TL_ETLS);
  cr_expect_leq(recv(fd, back, 1, MSG_DONTWAIT), 0);
  tl_record_free(peer);
  close(fd);
  net_end();
}

/* Who is cut off while it does not read still learns why: the alert is the last that comes. */
Test(net_tls, f3_the_alert_comes_behind_what_was_queued) {
  struct tl_conn *c;
  struct tl_record *peer;
  uint8_t type;
  size_t n = 0;
  net_begin("");
  int fd = rig_tls(TL_TLS_1_3, TL_AES_128_GCM, 0, &c, &peer);
  while (!c->tx.busy || c->kept.out.bytes < 100000) {
    cr_assert_eq(tl_conn_send(c, plain, 20000), 0);
    n += 20000;
    rig_turn();
  }
  tl_conn_end(c, SSL_AD_ACCESS_DENIED);
  cr_expect_eq(rig.n_closed, 1);
  for (size_t at = 0; at < n;) {
    at += next_record(fd, peer, &type);
    cr_assert_eq(type, TL_CT_DATA);
  }
  expect_alert(fd, peer, 2, SSL_AD_ACCESS_DENIED);
  rig_read_end(fd);
  tl_record_free(peer);
  close(fd);
  net_end();
}

static void key_update(int fd, struct tl_record *peer, bool request) {
  uint8_t m[TL_KEY_UPDATE_LEN];
  tl_key_update_message(m, request);
  rig_write(fd, wire, seal(peer, TL_CT_HANDSHAKE, m, sizeof(m), sizeof(m), wire));
  cr_assert_eq(tl_record_rekey_tx(peer), 0);
}

/* Both directions change, the answer comes under the old key and before the next message. */
Test(net_tls, key_updates_are_followed_and_answered) {
  struct tl_conn *c;
  struct tl_record *peer;
  uint8_t type;
  net_begin("");
  int fd = rig_tls(TL_TLS_1_3, TL_AES_256_GCM, 0, &c, &peer);
  size_t n = rig_message(plain, 1, 0);
  for (unsigned round = 0; round < 20; round++) {
    key_update(fd, peer, round % 2);
    rig_write(fd, wire, seal(peer, TL_CT_DATA, plain, n, 100, wire));
    RIG_UNTIL(rig.n_got == round + 1);
    tl_conn_send(c, "answer", 6);
    if (round % 2) {
      cr_assert_eq(next_record(fd, peer, &type), TL_KEY_UPDATE_LEN);
      cr_assert(type == TL_CT_HANDSHAKE && back[0] == 24 && back[4] == 0);
      cr_assert_eq(tl_record_rekey_rx(peer), 0);
    }
    read_plain(fd, peer, "answer", 6);
  }
  cr_expect_eq(rig_count(TL_C_REC_KEYUPDATE), 20);
  tl_record_free(peer);
  close(fd);
  net_end();
}

/* RFC 8446 5.1: data in the middle of a KeyUpdate, a ticket or an alert is unexpected, empty or
 * not, and whether or not it belongs to a large body. */
Test(net_tls, s22_data_between_the_parts_of_a_control_message_is_refused) {
  static const struct {
    uint8_t type;
    const char *p;
    size_t n, data;
  } cases[] = {{TL_CT_HANDSHAKE, "\x18\0", 2, 40},
               {TL_CT_HANDSHAKE, "\x18\0\0\1", 4, 40},
               {TL_CT_HANDSHAKE, "\x18\0\0\1", 4, 0},
               {TL_CT_ALERT, "\1", 1, 40},
               {TL_CT_ALERT, "\1", 1, 0}};
  for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(*cases); i++) {
    struct tl_conn *c;
    struct tl_record *peer;
    bool in_body = i % 2;
    net_begin("limits { zero_copy_body = 1k }");
    int fd = rig_tls(TL_TLS_1_3, TL_AES_128_GCM, 0, &c, &peer);
    size_t n = rig_message(plain, 1, 20000), at = in_body ? 8000 : 0;
    if (in_body) {
      rig_write(fd, wire, seal(peer, TL_CT_DATA, plain, at, 4000, wire));
      RIG_UNTIL(c->kept.bytes_in == at);
    }
    rig_write(fd, wire, seal(peer, cases[i / 2].type, cases[i / 2].p, cases[i / 2].n, 100, wire));
    rig_write(fd, wire, seal(peer, TL_CT_DATA, plain + at, cases[i / 2].data, n, wire));
    expect_alert(fd, peer, 2, TL_ALERT_UNEXPECTED_MESSAGE);
    RIG_UNTIL(rig.n_closed == 1);
    cr_expect_eq(rig.n_got, 0);
    tl_record_free(peer);
    close(fd);
    net_end();
  }
}

/* 32 records of nothing in a row are borne, 33 are not; they count as received under their key. */
Test(net_tls, s22_empty_records_are_bounded_and_count) {
  struct tl_conn *c;
  struct tl_record *peer;
  net_begin("");
  for (size_t s = 0; s < SUITES; s++) {
    rig_forget();
    rig.n_closed = 0;
    int fd = rig_tls(suites[s].v, suites[s].c, 0, &c, &peer);
    size_t n = rig_message(plain, 1, 10);
    for (unsigned round = 1; round <= 3; round++) {
      for (int i = 0; i < 32; i++) rig_write(fd, wire, seal(peer, TL_CT_DATA, "", 0, 1, wire));
      rig_write(fd, wire, seal(peer, TL_CT_DATA, plain, n, 1000, wire));
      RIG_UNTIL(rig.n_got == round);
      cr_expect_eq(c->kept.tls->empty_records, 32 * round);
    }
    for (int i = 0; i < 33; i++) rig_write(fd, wire, seal(peer, TL_CT_DATA, "", 0, 1, wire));
    expect_alert(fd, peer, 2, TL_ALERT_UNEXPECTED_MESSAGE);
    RIG_UNTIL(rig.n_closed == 1);
    tl_record_free(peer);
    close(fd);
    RIG_UNTIL(rig.net->n_conn == 0);
  }
  net_end();
}

/* TLS 1.2: a client that wants to renegotiate is warned (RFC 5246 7.2.2), a server that does is
 * ignored (7.4.1.1), and calls go on. */
Test(net_tls, s7_a_wish_to_renegotiate_ends_nothing) {
  struct tl_conn *c;
  struct tl_record *peer;
  static const uint8_t hello[7] = {1, 0, 0, 3, 'a', 'b', 'c'}, request[4] = {0};
  for (int server = 0; server < 2; server++) {
    net_begin("");
    int fd = rig_tls(TL_TLS_1_2, TL_AES_128_GCM, 0, &c, &peer);
    c->kept.tls->facts.server = server;
    size_t n = rig_message(plain, 1, 10);
    for (unsigned round = 1; round <= 5; round++) {
      rig_write(fd, wire,
                server ? seal(peer, TL_CT_HANDSHAKE, hello, 7, round, wire)
                       : seal(peer, TL_CT_HANDSHAKE, request, 4, round, wire));
      if (server) expect_alert(fd, peer, 1, TL_ALERT_NO_RENEGOTIATION);
      rig_write(fd, wire, seal(peer, TL_CT_DATA, plain, n, 1000, wire));
      RIG_UNTIL(rig.n_got == round);
      tl_conn_send(c, "answer", 6);
      read_plain(fd, peer, "answer", 6);
    }
    cr_expect_eq(rig.n_closed, 0);
    tl_record_free(peer);
    close(fd);
    net_end();
  }
}

/* A storm of KeyUpdates ends the connection (PITFALLS P4). */
Test(net_tls, a_storm_of_key_updates_ends) {
  struct tl_conn *c;
  struct tl_record *peer;
  net_begin("");
  int fd = rig_tls(TL_TLS_1_3, TL_AES_128_GCM, 0, &c, &peer);
  for (int i = 0; i < 1100 && !rig.n_closed; i++) {
    key_update(fd, peer, false);
    if (i % 50 == 0) rig_settle();
  }
  RIG_UNTIL(rig.n_closed == 1);
  cr_expect_leq(rig_count(TL_C_REC_KEYUPDATE), 101);
  tl_record_free(peer);
  rig_read_end(fd);
  close(fd);
  net_end();
}

static void some_key_updates(int fd, struct tl_record *peer, int n) {
  for (int i = 0; i < n && !rig.n_closed; i++) {
    key_update(fd, peer, false);
    if (i % 25 == 0) rig_settle();
  }
  rig_settle();
}

/* It is the rate that counts: who changes keys now and then may do so for ever. */
Test(net_tls, f1_key_updates_are_limited_by_rate) {
  struct tl_conn *c;
  struct tl_record *peer;
  net_begin("");
  int fd = rig_tls(TL_TLS_1_3, TL_AES_128_GCM, 0, &c, &peer);
  for (int minute = 0; minute < 15; minute++) {
    some_key_updates(fd, peer, 80);
    cr_assert_eq(rig.n_closed, 0, "minute %d", minute);
    c->kept.tls->key_updates_since_ms -= 60000;
  }
  cr_expect_eq(rig_count(TL_C_REC_KEYUPDATE), 1200);
  some_key_updates(fd, peer, 101);
  RIG_UNTIL(rig.n_closed == 1);
  tl_record_free(peer);
  rig_read_end(fd);
  close(fd);
  net_end();
}

/* A seal that fails leaves half a message behind: the connection ends, but not while its user still
 * works with it. */
Test(net_tls, a_spent_key_ends_the_connection_with_the_turn) {
  struct tl_tls_keys keys = {.version = TL_TLS_1_2, .cipher = TL_AES_128_GCM, .key_len = 16};
  struct tl_conn *c;
  struct tl_record *peer;
  net_begin("");
  int fd = rig_tls(TL_TLS_1_2, TL_AES_128_GCM, 0, &c, &peer);
  tl_record_free(c->kept.tls->record);
  keys.tx.seq = TL_GCM_RECORDS_MAX - 1;
  cr_assert_eq(tl_record_new(&keys, 0, &c->kept.tls->record), 0);
  int rc = tl_conn_send(c, plain, 60000);
  cr_expect_eq(rc, TL_ELIMIT);
  cr_expect_eq(rig.n_closed, 0, "not from within the send");
  cr_expect_eq(tl_conn_send(c, plain, 10), TL_ECLOSED);
  rig_turn();
  cr_expect_eq(rig.n_closed, 1);
  tl_record_free(peer);
  close(fd);
  RIG_UNTIL(rig.net->n_conn == 0);
  net_end();
}

/* A TLS domain with max_records = 64, for C only. */
static void few_records(struct tl_conn *c) {
  static struct tl_tls_domain low;
  low = (struct tl_tls_domain){.refs = 10, .name = (char[]){"low"}, .policy.max_records = 64};
  c->kept.tls->facts.domain = &low;
}

static void send_one(int fd, struct tl_conn *c, struct tl_record *peer, int times) {
  for (int i = 0; i < times; i++) {
    cr_assert_eq(tl_conn_send(c, "one", 3), 0);
    rig_settle();
    read_plain(fd, peer, "one", 3);
  }
}

static void receive_one(int fd, struct tl_record *peer, unsigned times) {
  unsigned have = rig.n_got;
  size_t n = rig_message(plain, 1, 0);
  for (unsigned i = 0; i < times; i++) {
    rig_write(fd, wire, seal(peer, TL_CT_DATA, plain, n, n, wire));
    RIG_UNTIL(rig.n_got == have + i + 1);
  }
}

/* TLS 1.2 has no KeyUpdate: at half of max_records the connection retires, at seven eighths it ends
 * when nothing is under way. RFC 8446 5.5, RFC 9325 4.4. */
Test(net_tls, b18_f1_a_worn_key_of_tls_1_2_retires_its_connection) {
  struct tl_conn *c;
  struct tl_record *peer;
  net_begin("");
  int fd = rig_tls(TL_TLS_1_2, TL_AES_256_GCM, 0, &c, &peer);
  few_records(c);
  send_one(fd, c, peer, 31);
  cr_expect_not(c->life.retired);
  send_one(fd, c, peer, 1);
  cr_expect(c->life.retired);
  cr_expect_eq(rig_count(TL_C_CONN_WORN), 1);
  cr_expect_eq(c->view.state, (int)TL_CONN_OPEN);
  send_one(fd, c, peer, 23);
  cr_expect_eq(rig.n_closed, 0);
  cr_assert_eq(tl_conn_send(c, "last", 4), 0);
  RIG_UNTIL(rig.n_closed == 1);
  read_plain(fd, peer, "last", 4);
  rig_read_end(fd);
  cr_expect_eq(rig_count(TL_C_CONN_WORN), 1);
  tl_record_free(peer);
  close(fd);
  net_end();
}

/* A connection whose max_records is below what the RFC allows ended while a call rang on it. */
Test(net_tls, s7_max_records_end_no_call_that_is_set_up) {
  for (int late = 0; late < 2; late++) {
    struct tl_conn *c;
    struct tl_record *peer;
    net_begin("");
    int fd = rig_tls(TL_TLS_1_2, TL_AES_128_GCM, 0, &c, &peer);
    few_records(c);
    c->view.n_open_requests = 1; /* a request without its final response */
    send_one(fd, c, peer, 90);
    cr_expect(c->life.retired && rig.n_closed == 0);
    if (late == 1) { /* it never comes */
      c->retired_ms -= rig.net->view->conf->timeouts.call_setup_max;
    } else {
      tl_conn_release_request(c);
      send_one(fd, c, peer, 2);
      cr_expect_eq(rig.n_closed, 0, "the ACK is still to come");
      c->answered_ms -= 3000;
    }
    cr_assert_eq(tl_conn_send(c, "last", 4), 0);
    RIG_UNTIL(rig.n_closed == 1);
    read_plain(fd, peer, "last", 4);
    rig_read_end(fd);
    cr_expect_eq(rig_count(TL_C_CONN_WORN), 1);
    tl_record_free(peer);
    close(fd);
    net_end();
  }
}

/* The peer's key counts as ours does: it is asked for another one, once, and given time. */
Test(net_tls, b18_f1_a_worn_key_of_tls_1_3_is_changed) {
  struct tl_conn *c;
  struct tl_record *peer;
  uint8_t type;
  net_begin("");
  int fd = rig_tls(TL_TLS_1_3, TL_AES_128_GCM, 0, &c, &peer);
  few_records(c);
  for (int round = 0; round < 3; round++) {
    send_one(fd, c, peer, 31 + (round == 0));
    cr_assert_eq(next_record(fd, peer, &type), TL_KEY_UPDATE_LEN);
    cr_expect(type == TL_CT_HANDSHAKE && back[0] == 24 && back[4] == 0);
    cr_assert_eq(tl_record_rekey_rx(peer), 0);
    send_one(fd, c, peer, 1);
  }
  receive_one(fd, peer, 32);
  send_one(fd, c, peer, 1);
  cr_assert_eq(next_record(fd, peer, &type), TL_KEY_UPDATE_LEN);
  cr_expect(type == TL_CT_HANDSHAKE && back[4] == 1, "the peer is asked");
  cr_assert_eq(tl_record_rekey_rx(peer), 0);
  cr_expect_eq(rig_count(TL_C_REC_KEYUPDATE_SENT), 4);
  key_update(fd, peer, false);
  receive_one(fd, peer, 31);
  send_one(fd, c, peer, 1);
  cr_expect_not(c->life.retired, "it did as asked");
  cr_expect_eq(rig_count(TL_C_CONN_WORN), 0);
  tl_record_free(peer);
  close(fd);
  net_end();
}

/* Who is asked for another key and goes on with the old one is left. ChaCha20-Poly1305 has no bound
 * that could be reached. */
Test(net_tls, b18_f1_a_peer_that_keeps_its_worn_key_is_left) {
  static const enum tl_cipher cipher[] = {TL_AES_128_GCM, TL_CHACHA20_POLY1305};
  for (int i = 0; i < 2; i++) {
    struct tl_conn *c;
    struct tl_record *peer;
    net_begin("");
    int fd = rig_tls(TL_TLS_1_3, cipher[i], 0, &c, &peer);
    few_records(c);
    receive_one(fd, peer, 47);
    tl_conn_mark(c);
    rig_settle();
    cr_expect_not(c->life.retired);
    receive_one(fd, peer, 1);
    tl_conn_mark(c);
    rig_settle();
    cr_expect_eq((int)c->life.retired, i == 0);
    cr_expect_eq(rig_count(TL_C_CONN_WORN), i == 0);
    cr_expect_eq(rig_count(TL_C_REC_KEYUPDATE_SENT), i == 0);
    tl_record_free(peer);
    close(fd);
    net_end();
  }
}

/* Garbage of every kind, many times: nothing but an end. */
Test(net_tls, random_bytes_do_no_harm) {
  net_begin("");
  srand(11);
  for (int i = 0; i < 300; i++) {
    struct tl_conn *c;
    struct tl_record *peer;
    int fd = rig_tls(suites[(size_t)i % SUITES].v, suites[(size_t)i % SUITES].c, 0, &c, &peer);
    size_t n = rig_message(plain, 1, (size_t)(rand() % 20000));
    size_t len = seal(peer, TL_CT_DATA, plain, n, (size_t)(rand() % 5000 + 1), wire);
    for (int k = 0; k < 3; k++) wire[(size_t)rand() % len] ^= (uint8_t)(1 << rand() % 8);
    rig_write(fd, wire, len);
    shutdown(fd, SHUT_WR);
    rig_read_end(fd);
    tl_record_free(peer);
    close(fd);
    rig_forget();
  }
  RIG_UNTIL(rig.net->n_conn == 0);
  net_end();
}
