/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user-space record layer with OpenSSL as judge: every version, cipher, role
 * and AEAD library, and what malformed, forged and odd records get.
 */
#include <criterion/criterion.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/tlspair.h"
#include "record/aead.h"

#define BUF (TL_RECORD_CIPHER_MAX + 64)

static const enum tl_tls_version versions[] = {TL_TLS_1_2, TL_TLS_1_3};
static const enum tl_aead_backend backends[] = {TL_AEAD_EVP, TL_AEAD_IPSEC_MB};

static void fill(uint8_t *p, size_t n, unsigned seed) {
  for (size_t i = 0; i < n; i++) p[i] = (uint8_t)(seed = seed * 1103515245u + 12345u) >> 3;
}

/* Keys that no handshake made; both directions differ. */
static struct tl_tls_keys some_keys(enum tl_tls_version v, enum tl_cipher c) {
  struct tl_tls_keys k = {.version = v, .cipher = c};
  k.key_len = c == TL_AES_128_GCM ? 16 : 32;
  k.secret_len = v == TL_TLS_1_3 ? 32 : 0;
  fill((uint8_t *)&k.tx, sizeof(k.tx), 1);
  fill((uint8_t *)&k.rx, sizeof(k.rx), 2);
  k.tx.seq = 7;
  k.rx.seq = 9;
  return k;
}

/* Two ends with mirrored keys, A's library BA, B's library BB. */
static void make_ends(enum tl_tls_version v, enum tl_cipher c, enum tl_aead_backend ba,
                      enum tl_aead_backend bb, struct tl_record **a, struct tl_record **b) {
  struct tl_tls_keys k = some_keys(v, c), m = tlspair_mirror(&k);
  cr_assert_eq(tl_record_backend_set(ba), 0);
  cr_assert_eq(tl_record_new(&k, 0, a), 0);
  cr_assert_eq(tl_record_backend_set(bb), 0);
  cr_assert_eq(tl_record_new(&m, 0, b), 0);
}

static bool have_mb(void) { return tl_record_backend_set(TL_AEAD_IPSEC_MB) == 0; }

/* --- with OpenSSL --------------------------------------------------------------------------- */

static void ours_to_peer(struct tlspair *p, struct tl_record *r, size_t n) {
  static uint8_t buf[BUF], got[BUF];
  uint8_t *plain = buf + tl_record_head(r);
  size_t len, at = 0, part;
  fill(plain, n, (unsigned)n);
  uint8_t *sent = malloc(n + 1);
  memcpy(sent, plain, n);
  cr_assert_eq(tl_record_seal(r, TL_CT_DATA, buf, n, &len), 0);
  cr_assert_eq(len, tl_record_head(r) + n + tl_record_tail(r));
  BIO_write(p->peer_in, buf, (int)len);
  while (at < n) {
    int err = tlspair_peer_read(p, got + at, sizeof(got) - at, &part);
    cr_assert_eq(err, SSL_ERROR_NONE, "peer: %s", ERR_error_string(ERR_peek_error(), NULL));
    at += part;
  }
  cr_assert_eq(at, n);
  cr_assert(n == 0 || memcmp(got, sent, n) == 0);
  free(sent);
}

static void peer_to_ours(struct tlspair *p, struct tl_record *r, size_t n) {
  static uint8_t buf[BUF], sent[BUF];
  struct tl_record_view v;
  size_t len, at = 0;
  fill(sent, n, (unsigned)n + 1);
  cr_assert_eq(SSL_write(p->peer, sent, (int)n), (int)n);
  while (at < n) {
    cr_assert_neq(len = tlspair_next_record(p, buf, sizeof(buf)), 0);
    cr_assert_eq(tl_record_open(r, buf, len, &v), 0);
    cr_assert_eq(v.used, len);
    if (v.type == TL_CT_HANDSHAKE) continue; /* tickets */
    cr_assert_eq(v.type, TL_CT_DATA);
    cr_assert_arr_eq(v.p, sent + at, v.n);
    at += v.n;
  }
}

static void close_both_ways(struct tlspair *p, struct tl_record *r, enum tl_tls_version version) {
  uint8_t buf[256], alert;
  struct tl_record_view v;
  struct tl_nondata_state s = {0};
  size_t len, used;
  cr_assert_eq(SSL_shutdown(p->peer), 0);
  len = tlspair_next_record(p, buf, sizeof(buf));
  cr_assert_eq(tl_record_open(r, buf, len, &v), 0);
  cr_assert_eq(tl_nondata_input(&s, version, p->server, v.type, v.p, v.n, &used, &alert),
               TL_NONDATA_CLOSE_NOTIFY);
  memcpy(buf + tl_record_head(r), (uint8_t[]){1, 0}, 2);
  cr_assert_eq(tl_record_seal(r, TL_CT_ALERT, buf, 2, &len), 0);
  BIO_write(p->peer_in, buf, (int)len);
  cr_assert_eq(SSL_shutdown(p->peer), 1);
}

static void with_openssl(bool server, enum tl_tls_version v, enum tl_cipher c) {
  static const size_t sizes[] = {1, 15, 16, 17, 64, 700, 4096, 16383, 16384};
  struct tlspair p;
  struct tl_record *r;
  tlspair_init(&p, server, v, c);
  tlspair_run(&p);
  cr_assert_eq(tl_record_new(&p.keys, 0, &r), 0);
  for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
    ours_to_peer(&p, r, sizes[i]);
    peer_to_ours(&p, r, sizes[i]);
  }
  close_both_ways(&p, r, v);
  tl_record_free(r);
  tlspair_free(&p);
}

static void with_openssl_all(enum tl_aead_backend b) {
  for (int server = 0; server < 2; server++)
    for (size_t v = 0; v < 2; v++)
      for (int c = 0; c < TL_CIPHERS; c++) {
        cr_assert_eq(tl_record_backend_set(b), 0);
        with_openssl(server, versions[v], (enum tl_cipher)c);
      }
}

Test(record, openssl_agrees_with_evp) { with_openssl_all(TL_AEAD_EVP); }

Test(record, openssl_agrees_with_ipsec_mb) {
  if (!have_mb()) cr_skip_test("this processor has no AES-NI and AVX");
  with_openssl_all(TL_AEAD_IPSEC_MB);
}

Test(record, peer_padding_is_removed) {
  struct tlspair p;
  struct tl_record *r;
  tlspair_init(&p, true, TL_TLS_1_3, TL_AES_128_GCM);
  SSL_set_block_padding(p.peer, 512);
  tlspair_run(&p);
  cr_assert_eq(tl_record_new(&p.keys, 0, &r), 0);
  for (size_t n = 1; n < 2000; n += 333) peer_to_ours(&p, r, n);
  tl_record_free(r);
  tlspair_free(&p);
}

Test(record, key_updates_both_ways_keep_the_stream) {
  for (int c = 0; c < TL_CIPHERS; c++) {
    struct tlspair p;
    struct tl_record *r;
    struct tl_nondata_state s = {0};
    struct tl_record_view v;
    uint8_t buf[256], alert;
    size_t len, used;
    tlspair_init(&p, true, TL_TLS_1_3, (enum tl_cipher)c);
    tlspair_run(&p);
    cr_assert_eq(tl_record_new(&p.keys, 0, &r), 0);
    for (int i = 0; i < 3; i++) {
      peer_to_ours(&p, r, 100);
      cr_assert_eq(SSL_key_update(p.peer, SSL_KEY_UPDATE_REQUESTED), 1);
      cr_assert_eq(SSL_do_handshake(p.peer), 1);
      len = tlspair_next_record(&p, buf, sizeof(buf));
      cr_assert_eq(tl_record_open(r, buf, len, &v), 0);
      cr_assert_eq(tl_nondata_input(&s, TL_TLS_1_3, true, v.type, v.p, v.n, &used, &alert),
                   TL_NONDATA_KEY_UPDATE_REQ);
      cr_assert_eq(tl_record_rekey_rx(r), 0);
      peer_to_ours(&p, r, 100);
      tl_key_update_message(buf + tl_record_head(r), false);
      cr_assert_eq(tl_record_seal(r, TL_CT_HANDSHAKE, buf, TL_KEY_UPDATE_LEN, &len), 0);
      cr_assert_eq(tl_record_rekey_tx(r), 0);
      cr_assert_eq(tl_record_seq_tx(r), 0);
      BIO_write(p.peer_in, buf, (int)len);
      ours_to_peer(&p, r, 100);
    }
    cr_assert_eq(s.key_updates, 3);
    tl_record_free(r);
    tlspair_free(&p);
  }
}

Test(record, peer_reports_nothing_wrong_with_our_key_update_request) {
  struct tlspair p;
  struct tl_record *r;
  uint8_t buf[256];
  size_t len;
  tlspair_init(&p, false, TL_TLS_1_3, TL_AES_256_GCM);
  tlspair_run(&p);
  cr_assert_eq(tl_record_new(&p.keys, 0, &r), 0);
  peer_to_ours(&p, r, 10); /* takes the tickets away */
  tl_key_update_message(buf + tl_record_head(r), true);
  cr_assert_eq(tl_record_seal(r, TL_CT_HANDSHAKE, buf, TL_KEY_UPDATE_LEN, &len), 0);
  BIO_write(p.peer_in, buf, (int)len);
  cr_assert_eq(tl_record_rekey_tx(r), 0);
  ours_to_peer(&p, r, 100); /* the peer answers before it writes again */
  SSL_write(p.peer, "x", 1);
  struct tl_record_view v;
  len = tlspair_next_record(&p, buf, sizeof(buf));
  cr_assert_eq(tl_record_open(r, buf, len, &v), 0);
  cr_assert_eq(v.type, TL_CT_HANDSHAKE);
  cr_assert_eq(tl_record_rekey_rx(r), 0);
  len = tlspair_next_record(&p, buf, sizeof(buf));
  cr_assert_eq(tl_record_open(r, buf, len, &v), 0);
  cr_assert_eq(v.type, TL_CT_DATA);
  tl_record_free(r);
  tlspair_free(&p);
}

/* --- RFC 8448 section 3: application data ---------------------------------------------------- */

static const uint8_t rfc8448_record[] = {
    0x17, 0x03, 0x03, 0x00, 0x43, 0xa2, 0x3f, 0x70, 0x54, 0xb6, 0x2c, 0x94, 0xd0, 0xaf, 0xfa,
    0xfe, 0x82, 0x28, 0xba, 0x55, 0xcb, 0xef, 0xac, 0xea, 0x42, 0xf9, 0x14, 0xaa, 0x66, 0xbc,
    0xab, 0x3f, 0x2b, 0x98, 0x19, 0xa8, 0xa5, 0xb4, 0x6b, 0x39, 0x5b, 0xd5, 0x4a, 0x9a, 0x20,
    0x44, 0x1e, 0x2b, 0x62, 0x97, 0x4e, 0x1f, 0x5a, 0x62, 0x92, 0xa2, 0x97, 0x70, 0x14, 0xbd,
    0x1e, 0x3d, 0xea, 0xe6, 0x3a, 0xee, 0xbb, 0x21, 0x69, 0x49, 0x15, 0xe4};
static const uint8_t rfc8448_client_key[16] = {0x17, 0x42, 0x2d, 0xda, 0x59, 0x6e, 0xd5, 0xd9,
                                               0xac, 0xd8, 0x90, 0xe3, 0xc6, 0x3f, 0x50, 0x51};
static const uint8_t rfc8448_client_iv[12] = {0x5b, 0x78, 0x92, 0x3d, 0xee, 0x08,
                                              0x57, 0x90, 0x33, 0xe5, 0x23, 0xd9};

Test(record, application_data_of_rfc8448) {
  struct tl_tls_keys k = {.version = TL_TLS_1_3, .cipher = TL_AES_128_GCM, .key_len = 16};
  memcpy(k.tx.key, rfc8448_client_key, 16);
  memcpy(k.tx.iv, rfc8448_client_iv, 12);
  k.rx = k.tx;
  for (size_t b = 0; b < 2; b++) {
    struct tl_record *r;
    struct tl_record_view v;
    uint8_t buf[128];
    size_t len;
    if (tl_record_backend_set(backends[b]) < 0) continue;
    cr_assert_eq(tl_record_new(&k, 0, &r), 0);
    for (uint8_t i = 0; i < 50; i++) buf[tl_record_head(r) + i] = i;
    cr_assert_eq(tl_record_seal(r, TL_CT_DATA, buf, 50, &len), 0);
    cr_assert_eq(len, sizeof(rfc8448_record));
    cr_assert_arr_eq(buf, rfc8448_record, sizeof(rfc8448_record));
    cr_assert_eq(tl_record_open(r, buf, len, &v), 0);
    cr_assert_eq(v.n, 50);
    cr_assert_eq(v.p[49], 49);
    tl_record_free(r);
  }
}

/* --- the two libraries against each other ----------------------------------------------------- */

Test(record, libraries_make_the_same_records) {
  static uint8_t x[BUF], y[BUF], src[BUF], out[BUF];
  if (!have_mb()) cr_skip_test("this processor has no AES-NI and AVX");
  for (size_t v = 0; v < 2; v++)
    for (int c = 0; c < TL_CIPHERS; c++) {
      struct tl_record *a, *b, *ra, *rb;
      struct tl_record_view view;
      size_t la, lb;
      make_ends(versions[v], (enum tl_cipher)c, TL_AEAD_EVP, TL_AEAD_EVP, &a, &ra);
      make_ends(versions[v], (enum tl_cipher)c, TL_AEAD_IPSEC_MB, TL_AEAD_IPSEC_MB, &b, &rb);
      for (size_t n = 0; n <= TL_RECORD_PLAIN_MAX; n += n < 300 ? 1 : 1223) {
        fill(src, n, (unsigned)n);
        cr_assert_eq(tl_record_seal_from(a, TL_CT_DATA, src, n, x, &la), 0);
        memcpy(y + tl_record_head(b), src, n);
        /* The two ways to seal take turns: they must not differ either. */
        cr_assert_eq(n & 1 ? tl_record_seal(b, TL_CT_DATA, y, n, &lb)
                           : tl_record_seal_from(b, TL_CT_DATA, src, n, y, &lb),
                     0);
        cr_assert_eq(la, lb);
        cr_assert(memcmp(x, y, la) == 0, "%zu bytes, cipher %d", n, c);
        cr_assert_eq(tl_record_open(ra, y, lb, &view), 0);
        cr_assert(view.n == n && memcmp(view.p, src, n) == 0);
        cr_assert_eq(tl_record_open_to(rb, x, la, out, &view), 0);
        cr_assert(view.n == n && view.p == out && memcmp(out, src, n) == 0);
      }
      tl_record_free(a);
      tl_record_free(b);
      tl_record_free(ra);
      tl_record_free(rb);
    }
}

Test(record, sealing_stays_within_its_room) {
  for (size_t b = 0; b < 2; b++)
    for (size_t v = 0; v < 2; v++)
      for (int c = 0; c < TL_CIPHERS; c++) {
        struct tl_record *r, *unused;
        if (tl_record_backend_set(backends[b]) < 0) continue;
        make_ends(versions[v], (enum tl_cipher)c, backends[b], backends[b], &r, &unused);
        for (size_t n = 0; n < 3000; n += 97) {
          size_t len, room = tl_record_head(r) + n + tl_record_tail(r);
          uint8_t *mem = malloc(room + 1), *src = malloc(n + 1);
          memset(src, 's', n + 1);
          mem[room] = 0x5a;
          cr_assert_eq(tl_record_seal_from(r, TL_CT_DATA, src, n, mem, &len), 0);
          cr_assert_eq(len, room);
          cr_assert_eq(mem[room], 0x5a);
          free(mem);
          free(src);
        }
        tl_record_free(r);
        tl_record_free(unused);
      }
}

/* --- refusals --------------------------------------------------------------------------------- */

Test(record, every_flipped_bit_is_noticed) {
  for (size_t b = 0; b < 2; b++)
    for (size_t ver = 0; ver < 2; ver++)
      for (int c = 0; c < TL_CIPHERS; c++) {
        struct tl_record *a, *z;
        struct tl_record_view v;
        uint8_t rec[128], try[128];
        size_t len;
        if (tl_record_backend_set(backends[b]) < 0) continue;
        make_ends(versions[ver], (enum tl_cipher)c, backends[b], backends[b], &a, &z);
        cr_assert_eq(tl_record_seal_from(a, TL_CT_DATA, (const uint8_t *)"INVITE", 6, rec, &len),
                     0);
        for (size_t bit = 0; bit < len * 8; bit++) {
          memcpy(try, rec, len);
          try[bit / 8] ^= (uint8_t)(1 << bit % 8);
          int rc = tl_record_open(z, try, len, &v);
          cr_assert(rc == TL_EBADMAC || rc == TL_ETLS || (rc == TL_EAGAIN && bit / 8 < 5),
                    "bit %zu: %d", bit, rc);
        }
        /* Nothing of that has moved the sequence number. */
        cr_assert_eq(tl_record_open(z, rec, len, &v), 0);
        tl_record_free(a);
        tl_record_free(z);
      }
}

Test(record, forged_plaintext_is_not_left_behind) {
  for (size_t b = 0; b < 2; b++) {
    struct tl_record *a, *z;
    struct tl_record_view v;
    uint8_t rec[128], out[128], zero[128] = {0};
    size_t len;
    if (tl_record_backend_set(backends[b]) < 0) continue;
    make_ends(TL_TLS_1_3, TL_AES_128_GCM, backends[b], backends[b], &a, &z);
    cr_assert_eq(tl_record_seal_from(a, TL_CT_DATA, (const uint8_t *)"a secret", 8, rec, &len), 0);
    rec[len - 1] ^= 1;
    cr_assert_eq(tl_record_open_to(z, rec, len, out, &v), TL_EBADMAC);
    cr_assert_eq(v.alert, TL_ALERT_BAD_RECORD_MAC);
    cr_assert_arr_eq(out, zero, 9);
    cr_assert_null(v.p);
    tl_record_free(a);
    tl_record_free(z);
  }
}

Test(record, replay_and_reorder_are_refused) {
  struct tl_record *a, *z;
  struct tl_record_view v;
  uint8_t one[64], two[64], copy[64];
  size_t len;
  make_ends(TL_TLS_1_3, TL_CHACHA20_POLY1305, TL_AEAD_AUTO, TL_AEAD_AUTO, &a, &z);
  cr_assert_eq(tl_record_seal_from(a, TL_CT_DATA, (const uint8_t *)"1", 1, one, &len), 0);
  cr_assert_eq(tl_record_seal_from(a, TL_CT_DATA, (const uint8_t *)"2", 1, two, &len), 0);
  cr_assert_eq(tl_record_open(z, memcpy(copy, two, len), len, &v), TL_EBADMAC);
  cr_assert_eq(tl_record_open(z, memcpy(copy, one, len), len, &v), 0);
  cr_assert_eq(tl_record_open(z, memcpy(copy, one, len), len, &v), TL_EBADMAC);
  cr_assert_eq(tl_record_open(z, memcpy(copy, two, len), len, &v), 0);
  cr_assert_eq(tl_record_seq_rx(z), 9);
  tl_record_free(a);
  tl_record_free(z);
}

static int open_header(enum tl_tls_version v, const uint8_t h[5], struct tl_record_view *out) {
  struct tl_record *a, *z;
  uint8_t buf[5];
  memcpy(buf, h, 5);
  make_ends(v, TL_AES_128_GCM, TL_AEAD_AUTO, TL_AEAD_AUTO, &a, &z);
  int rc = tl_record_open(z, buf, 5, out);
  tl_record_free(a);
  tl_record_free(z);
  return rc;
}

Test(record, headers_are_judged_before_the_body_is_there) {
  static const struct {
    enum tl_tls_version v;
    uint8_t h[5];
    int rc, alert;
    size_t used;
  } cases[] = {
      {TL_TLS_1_3, {23, 3, 3, 0, 17}, TL_EAGAIN, 0, 22},
      {TL_TLS_1_3, {23, 3, 3, 0x41, 0x00}, TL_EAGAIN, 0, 5 + 16384 + 256},
      {TL_TLS_1_3, {23, 3, 3, 0x41, 0x01}, TL_ETLS, TL_ALERT_RECORD_OVERFLOW, 5},
      {TL_TLS_1_3, {23, 3, 3, 0xff, 0xff}, TL_ETLS, TL_ALERT_RECORD_OVERFLOW, 5},
      {TL_TLS_1_3, {23, 3, 3, 0, 16}, TL_ETLS, TL_ALERT_DECODE_ERROR, 5},
      {TL_TLS_1_3, {23, 3, 1, 0, 99}, TL_ETLS, TL_ALERT_PROTOCOL_VERSION, 5},
      {TL_TLS_1_3, {20, 3, 3, 0, 1}, TL_ETLS, TL_ALERT_UNEXPECTED_MESSAGE, 5}, /* CCS */
      {TL_TLS_1_3, {21, 3, 3, 0, 2}, TL_ETLS, TL_ALERT_UNEXPECTED_MESSAGE, 5}, /* plain alert */
      {TL_TLS_1_3, {'G', 'E', 'T', ' ', '/'}, TL_ETLS, TL_ALERT_UNEXPECTED_MESSAGE, 5},
      {TL_TLS_1_2, {23, 3, 3, 0, 24}, TL_EAGAIN, 0, 29},
      {TL_TLS_1_2, {23, 3, 3, 0, 23}, TL_ETLS, TL_ALERT_DECODE_ERROR, 5},
      {TL_TLS_1_2, {24, 3, 3, 0, 99}, TL_ETLS, TL_ALERT_UNEXPECTED_MESSAGE, 5},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    struct tl_record_view v;
    cr_expect_eq(open_header(cases[i].v, cases[i].h, &v), cases[i].rc, "case %zu", i);
    cr_expect_eq(v.alert, cases[i].alert, "case %zu", i);
    cr_expect_eq(v.used, cases[i].used, "case %zu", i);
  }
}

Test(record, fragments_ask_for_exactly_what_is_missing) {
  struct tl_record *a, *z;
  struct tl_record_view v;
  uint8_t rec[128];
  size_t len;
  make_ends(TL_TLS_1_2, TL_AES_256_GCM, TL_AEAD_AUTO, TL_AEAD_AUTO, &a, &z);
  cr_assert_eq(tl_record_seal_from(a, TL_CT_DATA, (const uint8_t *)"BYE", 3, rec, &len), 0);
  for (size_t n = 0; n < len; n++) {
    cr_assert_eq(tl_record_open(z, rec, n, &v), TL_EAGAIN);
    cr_assert_eq(v.used, n < 5 ? 5 : len);
  }
  cr_assert_eq(tl_record_open(z, rec, sizeof(rec), &v), 0);
  cr_assert_eq(v.used, len);
  tl_record_free(a);
  tl_record_free(z);
}

/* Seals what the record layer would never send: INNER as the whole inner plaintext of 1.3. */
static size_t seal_inner(const struct tl_tls_keys *k, const uint8_t *inner, size_t n,
                         uint8_t *out) {
  EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
  uint8_t nonce[12], header[5] = {23, 3, 3, (uint8_t)((n + 16) >> 8), (uint8_t)(n + 16)};
  int len;
  memcpy(nonce, k->tx.iv, 12);
  for (int i = 0; i < 8; i++) nonce[4 + i] ^= (uint8_t)(k->tx.seq >> (56 - 8 * i));
  memcpy(out, header, 5);
  EVP_EncryptInit_ex(c, EVP_aes_128_gcm(), NULL, k->tx.key, nonce);
  EVP_EncryptUpdate(c, NULL, &len, header, 5);
  EVP_EncryptUpdate(c, out + 5, &len, inner, (int)n);
  EVP_EncryptFinal_ex(c, out + 5 + n, &len);
  EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, 16, out + 5 + n);
  EVP_CIPHER_CTX_free(c);
  return 5 + n + 16;
}

static int open_inner(const uint8_t *inner, size_t n, struct tl_record_view *v) {
  static uint8_t buf[BUF];
  struct tl_tls_keys k = some_keys(TL_TLS_1_3, TL_AES_128_GCM), m = tlspair_mirror(&k);
  struct tl_record *r;
  size_t len = seal_inner(&m, inner, n, buf);
  cr_assert_eq(tl_record_new(&k, 0, &r), 0);
  int rc = tl_record_open(r, buf, len, v);
  tl_record_free(r);
  return rc;
}

Test(record, inner_plaintext_of_13) {
  static uint8_t big[TL_RECORD_PLAIN_MAX + 300];
  struct tl_record_view v;
  cr_assert_eq(open_inner((const uint8_t *)"\0\0\0\0", 4, &v), TL_ETLS);
  cr_assert_eq(v.alert, TL_ALERT_UNEXPECTED_MESSAGE);
  cr_assert_eq(open_inner((const uint8_t *)"x\x17\0\0", 4, &v), 0);
  cr_assert(v.type == TL_CT_DATA && v.n == 1);
  cr_assert_eq(open_inner((const uint8_t *)"\x17", 1, &v), 0);
  cr_assert(v.type == TL_CT_DATA && v.n == 0);
  cr_assert_eq(open_inner((const uint8_t *)"\0\0\x17", 3, &v), 0);
  cr_assert(v.type == TL_CT_DATA && v.n == 2); /* zeros in front of the type are content */
  memset(big, 'x', sizeof(big));
  big[TL_RECORD_PLAIN_MAX] = 23;
  cr_assert_eq(open_inner(big, TL_RECORD_PLAIN_MAX + 1, &v), 0);
  cr_assert_eq(v.n, TL_RECORD_PLAIN_MAX);
  big[TL_RECORD_PLAIN_MAX] = 'x';
  big[TL_RECORD_PLAIN_MAX + 1] = 23;
  cr_assert_eq(open_inner(big, TL_RECORD_PLAIN_MAX + 2, &v), TL_ETLS);
  cr_assert_eq(v.alert, TL_ALERT_RECORD_OVERFLOW);
}

Test(record, arguments_out_of_range) {
  struct tl_tls_keys k = some_keys(TL_TLS_1_3, TL_AES_128_GCM);
  struct tl_record *r;
  static uint8_t buf[BUF];
  size_t len;
  cr_assert_eq(tl_record_new(&k, TL_RECORD_PLAIN_MAX + 1, &r), TL_EINVAL);
  k.key_len = 32;
  cr_assert_eq(tl_record_new(&k, 0, &r), TL_EINVAL);
  k.key_len = 16;
  k.version = (enum tl_tls_version)0x0302;
  cr_assert_eq(tl_record_new(&k, 0, &r), TL_EINVAL);
  k.version = TL_TLS_1_3;
  k.cipher = TL_CIPHERS;
  cr_assert_eq(tl_record_new(&k, 0, &r), TL_EINVAL);
  k.cipher = TL_AES_128_GCM;
  cr_assert_eq(tl_record_new(&k, 512, &r), 0);
  cr_assert_eq(tl_record_max_plain(r), 512);
  cr_assert_eq(tl_record_seal(r, TL_CT_DATA, buf, 513, &len), TL_EINVAL);
  cr_assert_eq(tl_record_seal(r, 24, buf, 5, &len), TL_EINVAL);
  cr_assert_eq(tl_record_seq_tx(r), 7);
  cr_assert_eq(tl_record_seal(r, TL_CT_DATA, buf, 512, &len), 0);
  tl_record_free(r);
  tl_record_free(NULL);
}

/* --- limits and nonces -------------------------------------------------------------------------
 */

Test(record, gcm_key_refuses_to_seal_past_its_limit_until_rekeyed) {
  struct tl_tls_keys k = some_keys(TL_TLS_1_3, TL_AES_256_GCM);
  struct tl_record *r;
  uint8_t buf[64];
  size_t len;
  k.tx.seq = TL_GCM_RECORDS_MAX - 1;
  cr_assert_eq(tl_record_new(&k, 0, &r), 0);
  cr_assert_eq(tl_record_seal(r, TL_CT_DATA, buf, 1, &len), 0);
  cr_assert_eq(tl_record_seal(r, TL_CT_DATA, buf, 1, &len), TL_ELIMIT);
  cr_assert_eq(tl_record_seq_tx(r), TL_GCM_RECORDS_MAX);
  cr_assert_eq(tl_record_rekey_tx(r), 0);
  cr_assert_eq(tl_record_seal(r, TL_CT_DATA, buf, 1, &len), 0);
  tl_record_free(r);
}

Test(record, sequence_number_never_wraps) {
  struct tl_tls_keys k = some_keys(TL_TLS_1_3, TL_CHACHA20_POLY1305);
  struct tl_record *r;
  struct tl_record_view v;
  uint8_t buf[64];
  size_t len;
  k.tx = k.rx;
  k.tx.seq = k.rx.seq = UINT64_MAX - 1;
  cr_assert_eq(tl_record_new(&k, 0, &r), 0);
  cr_assert_eq(tl_record_seal(r, TL_CT_DATA, buf, 1, &len), 0);
  cr_assert_eq(tl_record_open(r, buf, len, &v), 0);
  cr_assert_eq(tl_record_seal(r, TL_CT_DATA, buf, 1, &len), TL_ELIMIT);
  memcpy(buf, (uint8_t[]){23, 3, 3, 0, 17}, 5);
  cr_assert_eq(tl_record_open(r, buf, 22, &v), TL_ELIMIT);
  tl_record_free(r);
}

Test(record, rekey_is_for_13_only) {
  struct tl_tls_keys k = some_keys(TL_TLS_1_2, TL_AES_128_GCM);
  struct tl_record *r;
  cr_assert_eq(tl_record_new(&k, 0, &r), 0);
  cr_assert_eq(tl_record_rekey_tx(r), TL_ENOTSUP);
  cr_assert_eq(tl_record_rekey_rx(r), TL_ENOTSUP);
  tl_record_free(r);
}

static int compare_16(const void *a, const void *b) { return memcmp(a, b, 16); }

/* Sealing zeros with GCM shows the key stream: two records with one nonce would be equal. */
Test(record, nonces_do_not_repeat) {
  enum { N = 2000, LEN = 16 };
  static uint8_t stream[N][LEN];
  for (size_t ver = 0; ver < 2; ver++)
    for (int c = 0; c < TL_CIPHERS; c++) {
      struct tl_record *a, *z;
      uint8_t buf[128];
      size_t len;
      make_ends(versions[ver], (enum tl_cipher)c, TL_AEAD_AUTO, TL_AEAD_AUTO, &a, &z);
      for (int i = 0; i < N; i++) {
        memset(buf, 0, sizeof(buf));
        if (i == N / 2 && ver) cr_assert_eq(tl_record_rekey_tx(a), 0);
        cr_assert_eq(tl_record_seal(a, TL_CT_DATA, buf, LEN, &len), 0);
        memcpy(stream[i], buf + tl_record_head(a), LEN);
      }
      qsort(stream, N, LEN, compare_16);
      for (int i = 1; i < N; i++) cr_assert_neq(memcmp(stream[i - 1], stream[i], LEN), 0);
      tl_record_free(a);
      tl_record_free(z);
    }
}

Test(record, explicit_nonce_counts_up_from_where_openssl_stopped) {
  struct tlspair p;
  struct tl_record *r;
  uint8_t buf[64], expect[8];
  size_t len;
  tlspair_init(&p, true, TL_TLS_1_2, TL_AES_128_GCM);
  tlspair_run(&p);
  cr_assert_eq(tl_record_new(&p.keys, 0, &r), 0);
  memcpy(expect, p.flight.finished_nonce, 8);
  for (int i = 0; i < 300; i++) {
    for (int k = 7; k >= 0 && ++expect[k] == 0; k--) continue;
    cr_assert_eq(tl_record_seal(r, TL_CT_DATA, buf, 1, &len), 0);
    cr_assert_arr_eq(buf + 5, expect, 8);
  }
  tl_record_free(r);
  tlspair_free(&p);
}

/* --- memory ------------------------------------------------------------------------------------
 */

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                               \
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SHADOWED true /* resident memory is mostly the sanitizer's own */
#else
#define SHADOWED false
#endif

static long resident_kb(void) {
  /* statm may lag by what each processor has not added yet; this walks the pages. */
  FILE *f = fopen("/proc/self/smaps_rollup", "re");
  char line[256];
  long kb = -1;
  while (f && kb < 0 && fgets(line, sizeof(line), f)) (void)sscanf(line, "Rss: %ld kB", &kb);
  cr_assert(f && kb >= 0);
  fclose(f);
  return kb;
}

Test(record, d22_object_is_small_and_its_memory_returns) {
  enum { N = 2000 };
  static struct tl_record *r[N];
  struct tl_tls_keys k = some_keys(TL_TLS_1_3, TL_AES_256_GCM);
  if (!have_mb()) cr_skip_test("this processor has no AES-NI and AVX");
  memset(r, 0xff, sizeof(r)); /* so that the array itself is resident */
  cr_assert_eq(tl_record_new(&k, 0, &r[0]), 0);
  cr_assert_leq(tl_record_size(r[0]), 2600);
  long before = resident_kb();
  for (int i = 1; i < N; i++) cr_assert_eq(tl_record_new(&k, 0, &r[i]), 0);
  long full = resident_kb();
  for (int i = 0; i < N; i++) tl_record_free(r[i]);
  long stay = resident_kb() - before;
  if (SHADOWED) return;
  cr_assert_leq(full - before, N * 2600L / 1024 + 256, "%ld KB", full - before);
  cr_assert_leq(stay, 256, "%ld KB stay", stay);
}

static void *free_them(void *arg) {
  struct tl_record **r = arg;
  for (int i = 0; i < 500; i++) tl_record_free(r[i]);
  return NULL;
}

Test(record, made_by_one_thread_freed_by_others) {
  static struct tl_record *r[4][500];
  struct tl_tls_keys k = some_keys(TL_TLS_1_3, TL_AES_128_GCM);
  pthread_t t[4];
  for (int i = 0; i < 4; i++) {
    for (int j = 0; j < 500; j++) cr_assert_eq(tl_record_new(&k, 0, &r[i][j]), 0);
    cr_assert_eq(pthread_create(&t[i], NULL, free_them, r[i]), 0);
  }
  for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
}

Test(record, freed_object_holds_no_secret) {
  struct tl_tls_keys k = some_keys(TL_TLS_1_3, TL_CHACHA20_POLY1305);
  struct tl_record *r, *again;
  cr_assert_eq(tl_record_new(&k, 0, &r), 0);
  const uint8_t *mem = (const uint8_t *)r;
  size_t n = tl_record_size(r) - 2 * (size_t)tl_aead_current()[k.cipher].heap_len;
  tl_record_free(r);
  /* The pool hands the same memory out again, cleared; look before it is filled in. */
  struct tl_tls_keys other = some_keys(TL_TLS_1_2, TL_CHACHA20_POLY1305);
  memset(&other.tx, 0, sizeof(other.tx));
  memset(&other.rx, 0, sizeof(other.rx));
  cr_assert_eq(tl_record_new(&other, 0, &again), 0);
  cr_assert_eq((const uint8_t *)again, mem);
  cr_assert_null(memmem(mem, n, k.tx.secret, 16));
  cr_assert_null(memmem(mem, n, k.rx.key, 16));
  cr_assert_null(memmem(mem, n, k.tx.iv, 12));
  tl_record_free(again);
}
