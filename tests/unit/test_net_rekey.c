/* SPDX-License-Identifier: Apache-2.0 */
/*
 * New keys on connections whose records are the kernel's, as Linux 6.14 and later take them, with
 * OpenSSL as the peer that judges every byte. The kernel is fake_ktls.c; on a real one the same is
 * shown by tests/ktls/test_rekey.c.
 */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <unistd.h>

#include "../support/tlspair.h"
#include "fake_ktls.h"
#include "test_net_rig.h"

TestSuite(net_rekey, .timeout = 60);

static struct tl_ktls_caps caps;

struct keyed {
  struct tlspair pair;
  struct tl_conn *c;
  tl_conn_id id;
  int fd;
  struct tl_record *forger; /* the peer's sending side where OpenSSL would not do it, or NULL */
  bool failed;              /* the peer has found something wrong */
  int end;                  /* its SSL_ERROR_* at the end, 0: none yet */
  char got[300000];
  size_t n_got;
};
static struct keyed k;
static uint8_t wire[1u << 18];
static char plain[200000];

static void begin(bool server, enum tl_tls_version v, enum tl_cipher cipher) {
  struct tl_ktls_state state;
  memset(&k, 0, sizeof(k));
  net_begin("");
  fake_ktls_begin(true);
  cr_assert_eq(tl_ktls_probe(&caps), 0);
  tlspair_init(&k.pair, server, v, cipher);
  tlspair_run(&k.pair);
  k.fd = fake_ktls_socket();
  cr_assert_eq(tl_ktls_attach(k.fd), 0);
  cr_assert_eq(tl_ktls_install(k.fd, &caps, &k.pair.keys, &state), 0);
  struct tl_tls_keys *rekey = malloc(sizeof(*rekey));
  *rekey = k.pair.keys;
  k.c = rig_adopt(k.fd, &k.pair.keys, server, NULL, rekey);
  k.id = tl_conn_id_of(k.c);
  fake_ktls_hook(k.c);
}

/* Records of the peer made by hand. */
static void begin_forging(void) {
  struct tl_tls_keys theirs = tlspair_mirror(&k.pair.keys);
  cr_assert_eq(tl_record_new(&theirs, 0, &k.forger), 0);
}

static void finish(void) {
  RIG_UNTIL(!tl_conn_get(rig.net, k.id) || (fake_ktls_wire(wire, sizeof(wire)), false));
  fake_ktls_end();
  net_end();
  tl_record_free(k.forger);
  tlspair_free(&k.pair);
}

static void close_and_finish(void) {
  tl_conn_abort(k.c, TL_OK);
  RIG_UNTIL(rig.net->n_conn == 0);
  finish();
}

static void peer_reads(void) {
  size_t n;
  do {
    int err = tlspair_peer_read(&k.pair, k.got + k.n_got, sizeof(k.got) - k.n_got, &n);
    k.n_got += n;
    if (n == 0 && err != SSL_ERROR_WANT_READ) k.end = err;
  } while (n);
}

/* One turn, and what is on the wire in both directions. */
static void exchange(void) {
  rig_turn();
  size_t n = fake_ktls_wire(wire, sizeof(wire));
  if (n) BIO_write(k.pair.peer_in, wire, (int)n);
  if (!k.end) peer_reads();
  while (!k.forger && (n = tlspair_next_record(&k.pair, wire, sizeof(wire))) > 0)
    fake_ktls_feed(wire, n);
}

#define UNTIL(cond)                                                                                \
  do {                                                                                             \
    uint64_t until_ = tl_now_ms() + 10000;                                                         \
    while (!(cond)) {                                                                              \
      cr_assert_lt(tl_now_ms(), until_, "never: %s", #cond);                                       \
      exchange();                                                                                  \
    }                                                                                              \
  } while (0)

/* One message of BODY bytes from the peer, and an answer of N bytes from us. */
static void talk(unsigned number, size_t body, size_t n) {
  unsigned have = rig.n_got;
  size_t len = rig_message(plain, number, body);
  cr_assert_eq(SSL_write(k.pair.peer, plain, (int)len), (int)len);
  UNTIL(rig.n_got == have + 1);
  cr_assert(rig.got[have].n == len && memcmp(rig.got[have].p, plain, len) == 0);
  for (size_t i = 0; i < n; i++) plain[i] = (char)(number + i % 251);
  k.n_got = 0;
  cr_assert_eq(tl_conn_send(tl_conn_get(rig.net, k.id), plain, n), 0);
  UNTIL(k.n_got >= n);
  cr_assert(k.n_got == n && memcmp(k.got, plain, n) == 0 && k.end == 0);
}

static void peer_updates(bool request) {
  int type = request ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED;
  cr_assert_eq(SSL_key_update(k.pair.peer, type), 1);
  cr_assert_eq(SSL_do_handshake(k.pair.peer), 1);
}

static void forge(uint8_t type, const void *p, size_t n) {
  size_t len;
  cr_assert_eq(tl_record_seal_from(k.forger, type, p, n, wire, &len), 0);
  fake_ktls_feed(wire, len);
}

static void forge_update(void) {
  uint8_t m[TL_KEY_UPDATE_LEN];
  tl_key_update_message(m, false);
  forge(TL_CT_HANDSHAKE, m, sizeof(m));
  cr_assert_eq(tl_record_rekey_tx(k.forger), 0);
}

/* ---- what the fake says ---- */

Test(net_rekey, f1_the_probe_tells_kernels_that_take_a_second_key) {
  for (int rekeys = 0; rekeys < 2; rekeys++) {
    fake_ktls_begin(rekeys);
    cr_assert_eq(tl_ktls_probe(&caps), 0);
    fake_ktls_end();
    cr_expect(caps.ulp && caps.expect_no_pad && caps.rekey == (bool)rekeys);
    for (int c = 0; c < TL_CIPHERS; c++)
      cr_expect(caps.tx[0][c] && caps.tx[1][c] && caps.rx[0][c] && caps.rx[1][c]);
  }
}

/* EBUSY means that the connection must go another way; anything else is an error. */
Test(net_rekey, f1_answers_to_a_second_key) {
  static const struct {
    bool rekeys;
    enum tl_tls_version v;
    int refused, want;
  } cases[] = {{true, TL_TLS_1_3, 0, TL_OK},
               {true, TL_TLS_1_3, ENOMEM, TL_EIO},
               {true, TL_TLS_1_3, EOPNOTSUPP, TL_EIO}, /* a card has the records */
               {true, TL_TLS_1_2, 0, TL_ENOTSUP},
               {false, TL_TLS_1_3, 0, TL_ENOTSUP}};
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
    for (int tx = 0; tx < 2; tx++) {
      begin(true, cases[i].v, TL_AES_128_GCM);
      fake_ktls.rekeys = cases[i].rekeys;
      *(tx ? &fake_ktls.refuse_tx : &fake_ktls.refuse_rx) = cases[i].refused;
      cr_expect_eq(tl_ktls_rekey(k.fd, &k.pair.keys, tx), cases[i].want, "case %zu", i);
      struct tl_tls_keys other = k.pair.keys;
      other.cipher = TL_CHACHA20_POLY1305;
      if (cases[i].want == TL_OK) cr_expect_eq(tl_ktls_rekey(k.fd, &other, tx), TL_EIO);
      close_and_finish();
    }
}

/* ---- the peer changes its keys ---- */

static void rounds(bool server, enum tl_cipher cipher) {
  begin(server, TL_TLS_1_3, cipher);
  for (unsigned i = 0; i < 12; i++) {
    peer_updates(i % 2);
    talk(i, i * 1500, 1 + i * 3000);
  }
  cr_expect_eq(rig_count(TL_C_REC_KEYUPDATE), 12);
  cr_expect_eq(rig_count(TL_C_REC_KEYUPDATE_SENT), 6);
  cr_expect_eq(fake_ktls.rx_keys, 13);
  cr_expect_eq(fake_ktls.tx_keys, 7);
  cr_expect_eq(fake_ktls.expired, 0, "a receive before the new key was there");
  close_and_finish();
}

Test(net_rekey, f1_a_server_follows_and_answers) {
  for (int c = 0; c < TL_CIPHERS; c++) rounds(true, (enum tl_cipher)c);
}
Test(net_rekey, f1_a_client_follows_and_answers) {
  for (int c = 0; c < TL_CIPHERS; c++) rounds(false, (enum tl_cipher)c);
}

/* Data under the key before, the KeyUpdate, data under the new one: all there at once. */
Test(net_rekey, f1_data_before_and_behind_a_key_update) {
  begin(true, TL_TLS_1_3, TL_AES_256_GCM);
  begin_forging();
  for (unsigned i = 0; i < 10; i++) {
    size_t n = rig_message(plain, i, 5000), cut = 100 + i * 400;
    forge(TL_CT_DATA, plain, cut);
    forge_update();
    if (i % 2) forge_update();
    forge(TL_CT_DATA, plain + cut, n - cut);
    if (i % 3 == 0) UNTIL(rig.n_got == i + 1);
  }
  UNTIL(rig.n_got == 10);
  for (unsigned i = 0; i < 10; i++) {
    size_t n = rig_message(plain, i, 5000);
    cr_expect(rig.got[i].n == n && memcmp(rig.got[i].p, plain, n) == 0);
  }
  cr_expect_eq(rig_count(TL_C_REC_KEYUPDATE), 15);
  close_and_finish();
}

/* A request for our key finds a long message under way: its rest leaves under one key or the other,
 * and nothing is lost between them. */
Test(net_rekey, f1_our_key_changes_between_two_sends) {
  begin(true, TL_TLS_1_3, TL_AES_128_GCM);
  for (size_t i = 0; i < sizeof(plain); i++) plain[i] = (char)(i * 7 + i / 1000);
  for (int i = 0; i < 5; i++) {
    fake_ktls.full = (unsigned)i; /* the KeyUpdate waits for room */
    k.n_got = 0;
    cr_assert_eq(tl_conn_send(k.c, plain, sizeof(plain)), 0);
    peer_updates(true);
    UNTIL(k.n_got >= sizeof(plain) && rig_count(TL_C_REC_KEYUPDATE_SENT) == (uint64_t)i + 1);
    cr_assert(k.n_got == sizeof(plain) && memcmp(k.got, plain, sizeof(plain)) == 0 && !k.end);
    cr_expect_eq(fake_ktls.full, 0);
  }
  talk(1, 100, 100);
  close_and_finish();
}

Test(net_rekey, f1_a_storm_ends_the_connection) {
  begin(true, TL_TLS_1_3, TL_AES_128_GCM);
  for (int i = 0; i < 300 && !rig.n_closed; i++) {
    peer_updates(false);
    exchange();
  }
  UNTIL(k.end);
  cr_expect_eq(k.end, SSL_ERROR_ZERO_RETURN, "%d, not close_notify", k.end);
  cr_expect_eq(rig.n_closed, 1);
  cr_expect_eq(rig_count(TL_C_REC_KEYUPDATE), 101);
  cr_expect_eq(fake_ktls.rx_keys, 101);
  finish();
}

/* ---- our keys are worn ---- */

static struct tl_tls_domain low;

static void few_records(void) {
  low = (struct tl_tls_domain){.refs = 10, .name = (char[]){"low"}, .policy.max_records = 64};
  k.c->kept.tls->facts.domain = &low;
}

/* At half of max_records ours changes; when the peer's is there, it is asked for another. */
Test(net_rekey, f1_b18_worn_keys_are_changed) {
  begin(true, TL_TLS_1_3, TL_AES_128_GCM);
  few_records();
  for (unsigned i = 0; i < 200; i++) talk(i, 10, 10);
  cr_expect_not(k.c->life.retired);
  cr_expect_eq(rig_count(TL_C_CONN_WORN), 0);
  cr_expect_geq(rig_count(TL_C_REC_KEYUPDATE), 4);
  cr_expect_geq(rig_count(TL_C_REC_KEYUPDATE_SENT), 4);
  cr_expect_eq(fake_ktls.tx_keys, 1 + rig_count(TL_C_REC_KEYUPDATE_SENT));
  cr_expect_eq(fake_ktls.rx_keys, 1 + rig_count(TL_C_REC_KEYUPDATE));
  close_and_finish();
}

/* ---- what goes wrong ---- */

/* Nothing of the peer can be read any more; our side still can say so. */
Test(net_rekey, f1_a_refused_receive_key_ends_with_close_notify) {
  for (int before_614 = 0; before_614 < 2; before_614++) {
    begin(true, TL_TLS_1_3, TL_AES_128_GCM);
    talk(1, 10, 10);
    if (before_614)
      fake_ktls.rekeys = false;
    else
      fake_ktls.refuse_rx = ENOMEM;
    peer_updates(true);
    size_t n = rig_message(plain, 2, 10);
    cr_assert_eq(SSL_write(k.pair.peer, plain, (int)n), (int)n);
    UNTIL(k.end);
    cr_expect_eq(k.end, SSL_ERROR_ZERO_RETURN, "%d, not close_notify", k.end);
    cr_expect_eq(rig.n_closed, 1);
    cr_expect_eq(rig.n_got, 1, "the second message could not be read");
    cr_expect_eq(rig_count(TL_C_REC_KEYUPDATE_SENT), 0);
    finish();
  }
}

/* Our KeyUpdate is out and the kernel still has the key before: nothing that it would seal could be
 * read, so the stream ends there. */
Test(net_rekey, f1_a_refused_sending_key_ends_the_stream) {
  begin(true, TL_TLS_1_3, TL_AES_128_GCM);
  talk(1, 10, 10);
  fake_ktls.refuse_tx = ENOMEM;
  peer_updates(true);
  UNTIL(rig.n_closed == 1);
  k.n_got = 0;
  for (int i = 0; i < 12; i++) exchange();
  cr_expect(fake_ktls_ended());
  cr_expect(k.n_got == 0 && k.end == 0, "what came was the KeyUpdate alone");
  cr_expect_eq(rig_count(TL_C_REC_KEYUPDATE_SENT), 1);
  cr_expect_eq(rig.closed_rc, TL_ETLS);
  finish();
}

/* The kernel stops at the first half of a KeyUpdate, because it looks at the first byte of a record
 * alone, and the rest is under the key before: the connection ends, and the peer is told. LEAD
 * records before it make the receive, not the look for more control records, find that. */
static void halved(unsigned lead) {
  begin(true, TL_TLS_1_3, TL_AES_128_GCM);
  begin_forging();
  for (unsigned i = 0; i < lead; i++) forge_update();
  forge(TL_CT_HANDSHAKE, "\x18\0", 2);
  forge(TL_CT_HANDSHAKE, "\0\1\0", 3);
  UNTIL(k.end);
  cr_expect_eq(k.end, SSL_ERROR_SSL);
  cr_expect_eq(ERR_GET_REASON(ERR_peek_error()), SSL_R_SSLV3_ALERT_UNEXPECTED_MESSAGE);
  cr_expect_eq(rig.n_closed, 1);
  cr_expect_eq(rig_count(TL_C_REC_KEYUPDATE), lead);
  cr_expect_geq(fake_ktls.expired, 1);
  finish();
}

Test(net_rekey, f1_a_key_update_in_two_records_ends_with_an_alert) { halved(0); }
Test(net_rekey, f1_a_receive_without_the_new_key_ends_with_an_alert) { halved(7); }

/* What comes under a key that is not the next one cannot be read. */
Test(net_rekey, f1_a_record_under_the_key_before_ends_with_bad_record_mac) {
  uint8_t m[TL_KEY_UPDATE_LEN];
  begin(true, TL_TLS_1_3, TL_AES_128_GCM);
  begin_forging();
  tl_key_update_message(m, false);
  forge(TL_CT_HANDSHAKE, m, sizeof(m));
  forge(TL_CT_DATA, "OPTIONS", 7);
  UNTIL(k.end);
  cr_expect_eq(ERR_GET_REASON(ERR_peek_error()), SSL_R_SSLV3_ALERT_BAD_RECORD_MAC);
  cr_expect_eq(rig_count(TL_C_REC_BADMAC), 1);
  cr_expect_eq(rig.n_closed, 1);
  finish();
}
