/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys out of a handshake: against RFC 8448's published values, and the parsing
 * of what OpenSSL hands us. That they open real records is test_record.c's.
 */
#include <criterion/criterion.h>
#include <endian.h>
#include <openssl/kdf.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

#include "../support/tlspair.h"
#include "tieline/hkdf.h"
#include "tls/ticket_keys.h"

/* RFC 8448 section 3, server_application_traffic_secret_0 and what it gives. */
static const uint8_t rfc8448_secret[32] = {
    0xa1, 0x1a, 0xf9, 0xf0, 0x55, 0x31, 0xf8, 0x56, 0xad, 0x47, 0x11, 0x6b, 0x45, 0xa9, 0x50, 0x32,
    0x82, 0x04, 0xb4, 0xf4, 0x4b, 0xfb, 0x6b, 0x3a, 0x4b, 0x4f, 0x1f, 0x3f, 0xcb, 0x63, 0x16, 0x43};
static const uint8_t rfc8448_key[16] = {0x9f, 0x02, 0x28, 0x3b, 0x6c, 0x9c, 0x07, 0xef,
                                        0xc2, 0x6b, 0xb9, 0xf2, 0xac, 0x92, 0xe3, 0x56};
static const uint8_t rfc8448_iv[12] = {0xcf, 0x78, 0x2b, 0x88, 0xdd, 0x83,
                                       0x54, 0x9a, 0xad, 0xf1, 0xe9, 0x84};

Test(secrets, key_and_iv_of_rfc8448) {
  struct tl_dir_keys d;
  cr_assert_eq(tl_dir_keys_from_secret(&d, rfc8448_secret, 32, 16), 0);
  cr_assert_arr_eq(d.key, rfc8448_key, 16);
  cr_assert_arr_eq(d.iv, rfc8448_iv, 12);
  cr_assert_arr_eq(d.secret, rfc8448_secret, 32);
  cr_assert_eq(d.seq, 0);
}

Test(secrets, expand_label_refuses_odd_lengths) {
  uint8_t out[64];
  cr_assert_eq(tl_hkdf_expand_label(rfc8448_secret, 31, "key", out, 16), TL_EINVAL);
  cr_assert_eq(tl_hkdf_expand_label(rfc8448_secret, 32, "key", out, 33), TL_EINVAL);
  cr_assert_eq(
      tl_hkdf_expand_label(rfc8448_secret, 32, "a label longer than thirty-two bytes", out, 16),
      TL_EINVAL);
}

Test(secrets, update_changes_everything_and_restarts_the_sequence) {
  struct tl_tls_keys k = {.version = TL_TLS_1_3, .key_len = 16, .secret_len = 32};
  tl_dir_keys_from_secret(&k.tx, rfc8448_secret, 32, 16);
  k.rx = k.tx;
  k.tx.seq = 99;
  cr_assert_eq(tl_keys_update(&k, true), 0);
  cr_assert_eq(k.tx.seq, 0);
  cr_assert_arr_neq(k.tx.secret, k.rx.secret, 32);
  cr_assert_arr_neq(k.tx.key, k.rx.key, 16);
  cr_assert_arr_neq(k.tx.iv, k.rx.iv, 12);
  cr_assert_arr_eq(k.rx.key, rfc8448_key, 16);
  k.version = TL_TLS_1_2;
  cr_assert_eq(tl_keys_update(&k, true), TL_ENOTSUP);
}

static const char line[] = "SERVER_TRAFFIC_SECRET_0 "
                           "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff "
                           "A11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643";

Test(secrets, keylog_line_is_decoded) {
  struct tl_secrets s = {0};
  cr_assert_eq(tl_secrets_keylog(&s, line), 0);
  cr_assert_eq(s.server_len, 32);
  cr_assert_eq(s.client_len, 0);
  cr_assert_arr_eq(s.server, rfc8448_secret, 32);
  tl_secrets_clear(&s);
  cr_assert_eq(s.server_len, 0);
  cr_assert_eq(s.server[0], 0);
}

Test(secrets, other_and_broken_keylog_lines) {
  struct tl_secrets s = {0};
  char bad[sizeof(line)];
  cr_assert_eq(tl_secrets_keylog(&s, "SERVER_HANDSHAKE_TRAFFIC_SECRET 00 11"), 0);
  cr_assert_eq(tl_secrets_keylog(&s, "EXPORTER_SECRET 00 11"), 0);
  cr_assert_eq(tl_secrets_keylog(&s, ""), 0);
  cr_assert_eq(tl_secrets_keylog(&s, "CLIENT_TRAFFIC_SECRET_0 00"), TL_ESYNTAX);
  cr_assert_eq(tl_secrets_keylog(&s, "CLIENT_TRAFFIC_SECRET_0 00 aabb"), TL_ESYNTAX);
  memcpy(bad, line, sizeof(line));
  bad[sizeof(line) - 2] = 'g';
  cr_assert_eq(tl_secrets_keylog(&s, bad), TL_ESYNTAX);
  bad[sizeof(line) - 2] = 0; /* an odd number of digits */
  cr_assert_eq(tl_secrets_keylog(&s, bad), TL_ESYNTAX);
  cr_assert_eq(s.client_len, 0);
  cr_assert_eq(s.server_len, 0);
}

Test(secrets, flight_counts_the_records_of_the_last_call_only) {
  static const uint8_t first[] = {22, 3, 3, 0, 1, 'x', 23, 3, 3, 0, 2, 'a', 'b'};
  static const uint8_t last[] = {23, 3, 3, 0, 1, 'a', 23, 3, 3, 0, 0};
  struct tl_flight f = {0};
  cr_assert_eq(tl_flight_feed(&f, first, sizeof(first)), 0);
  cr_assert_eq(f.app_records, 1);
  cr_assert_eq(tl_flight_feed(&f, last, sizeof(last)), 0);
  cr_assert_eq(f.app_records, 2);
  cr_assert_eq(tl_flight_feed(&f, NULL, 0), 0);
  cr_assert_eq(f.app_records, 0);
  cr_assert_not(f.have_nonce);
}

Test(secrets, flight_finds_the_nonce_of_finished_behind_ccs) {
  static const uint8_t plain[] = {22, 3, 3, 0, 9, 'n', 'o', 't', ' ', 't', 'h', 'i', 's', '!'};
  static const uint8_t ccs[] = {20, 3, 3, 0, 1, 1};
  static const uint8_t finished[] = {22, 3, 3, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 'x'};
  struct tl_flight f = {0};
  cr_assert_eq(tl_flight_feed(&f, plain, sizeof(plain)), 0);
  cr_assert_eq(tl_flight_feed(&f, ccs, sizeof(ccs)), 0);
  cr_assert(f.ccs);
  cr_assert_not(f.have_nonce);
  cr_assert_eq(tl_flight_feed(&f, finished, sizeof(finished)), 0);
  cr_assert(f.have_nonce);
  cr_assert_arr_eq(f.finished_nonce, finished + 5, 8);
}

Test(secrets, flight_refuses_partial_records) {
  static const uint8_t cut[] = {22, 3, 3, 0, 9, 1, 2};
  struct tl_flight f = {0};
  cr_assert_eq(tl_flight_feed(&f, cut, sizeof(cut)), TL_ETLS);
  cr_assert_eq(tl_flight_feed(&f, cut, 3), TL_ETLS);
}

Test(secrets, sequence_follows_the_number_of_tickets) {
  static const unsigned tickets[] = {0, 1, 2, 5};
  for (size_t i = 0; i < sizeof(tickets) / sizeof(*tickets); i++) {
    struct tlspair p;
    tlspair_init(&p, true, TL_TLS_1_3, TL_AES_128_GCM);
    SSL_set_num_tickets(p.ours, tickets[i]);
    tlspair_run(&p);
    cr_assert_eq(p.keys.tx.seq, tickets[i], "%u tickets, sequence %lu", tickets[i],
                 (unsigned long)p.keys.tx.seq);
    cr_assert_eq(p.keys.rx.seq, 0);
    tlspair_free(&p);
  }
}

Test(secrets, version_12_starts_at_one_with_the_nonce_behind_finished) {
  for (int server = 0; server < 2; server++) {
    struct tlspair p;
    tlspair_init(&p, server, TL_TLS_1_2, TL_AES_256_GCM);
    tlspair_run(&p);
    cr_assert_eq(p.keys.tx.seq, 1);
    cr_assert_eq(p.keys.rx.seq, 1);
    cr_assert_eq(p.keys.secret_len, 0);
    uint64_t finished, next;
    memcpy(&finished, p.flight.finished_nonce, 8);
    memcpy(&next, p.keys.tx.explicit_iv, 8);
    cr_assert_eq(be64toh(next), be64toh(finished) + 1);
    tlspair_free(&p);
  }
}

/* ---- a peer's Finished in several records ---- */

/* What the peer sends with; it never learns that its Finished left in other records than it wrote.
 */
static struct tl_record *cutter;
static size_t piece;

/* The write key of the peer (RFC 5246 6.3), from what its half of the handshake knows. */
static struct tl_tls_keys write_key_of_peer(struct tlspair *p) {
  struct tl_tls_keys k = {.version = TL_TLS_1_2};
  uint8_t master[48], seed[13 + 64], block[88];
  cr_assert_eq(tl_secrets_cipher(p->peer, &k.cipher, &k.key_len), 0);
  memcpy(seed, "key expansion", 13);
  cr_assert_eq(SSL_get_server_random(p->peer, seed + 13, 32), 32);
  cr_assert_eq(SSL_get_client_random(p->peer, seed + 45, 32), 32);
  size_t len = SSL_SESSION_get_master_key(SSL_get_session(p->peer), master, sizeof(master));
  EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_id(EVP_PKEY_TLS1_PRF, NULL);
  size_t iv = k.cipher == TL_CHACHA20_POLY1305 ? 12 : 4, n = 2 * (k.key_len + iv);
  const EVP_MD *md = SSL_CIPHER_get_handshake_digest(SSL_get_current_cipher(p->peer));
  cr_assert(EVP_PKEY_derive_init(c) == 1 && EVP_PKEY_CTX_set_tls1_prf_md(c, md) == 1 &&
            EVP_PKEY_CTX_set1_tls1_prf_secret(c, master, (int)len) == 1 &&
            EVP_PKEY_CTX_add1_tls1_prf_seed(c, seed, sizeof(seed)) == 1 &&
            EVP_PKEY_derive(c, block, &n) == 1);
  EVP_PKEY_CTX_free(c);
  size_t who = p->server ? 0 : 1; /* the client's come first */
  memcpy(k.tx.key, block + who * k.key_len, k.key_len);
  memcpy(k.tx.iv, block + 2 * k.key_len + who * iv, iv);
  k.rx = k.tx;
  return k;
}

/* Seals the Finished behind ChangeCipherSpec again, PIECE bytes to a record. */
static void cut_finished(struct tlspair *p, uint8_t *buf, size_t *n, size_t cap) {
  struct tl_record_view v;
  uint8_t plain[64];
  size_t at = 0, len;
  while (at < *n && buf[at] != TL_CT_CCS) at += 5 + ((size_t)buf[at + 3] << 8 | buf[at + 4]);
  if (at >= *n) return;
  at += 6;
  struct tl_tls_keys k = write_key_of_peer(p);
  cr_assert_eq(tl_record_new(&k, 0, &cutter), 0);
  cr_assert_eq(tl_record_open(cutter, buf + at, *n - at, &v), 0);
  cr_assert(v.n == 16 && v.used == *n - at);
  memcpy(plain, v.p, v.n);
  for (size_t done = 0; done < 16; done += piece) {
    size_t take = 16 - done < piece ? 16 - done : piece;
    cr_assert_lt(at + take + 64, cap);
    cr_assert_eq(tl_record_seal_from(cutter, TL_CT_HANDSHAKE, plain + done, take, buf + at, &len),
                 0);
    at += len;
  }
  *n = at;
}

static void data_behind_it_is_read(struct tlspair *p) {
  struct tl_record *ours;
  struct tl_record_view v;
  uint8_t rec[128];
  size_t len;
  cr_assert_eq(tl_record_new(&p->keys, 0, &ours), 0);
  for (int i = 0; i < 3; i++) {
    cr_assert_eq(tl_record_seal_from(cutter, TL_CT_DATA, (const uint8_t *)"after", 5, rec, &len),
                 0);
    cr_assert_eq(tl_record_open(ours, rec, len, &v), 0, "pieces of %zu, record %d", piece, i);
    cr_assert_arr_eq(v.p, "after", 5);
  }
  tl_record_free(ours);
}

Test(secrets, s22_a_finished_in_several_records_is_counted) {
  static const enum tl_cipher cipher[] = {TL_AES_128_GCM, TL_AES_256_GCM, TL_CHACHA20_POLY1305};
  static const size_t pieces[] = {16, 15, 8, 4, 3, 1};
  for (size_t i = 0; i < 2 * 3 * 6; i++) {
    struct tlspair p;
    piece = pieces[i % 6];
    tlspair_init(&p, i / 6 % 2, TL_TLS_1_2, cipher[i / 12]);
    p.spoil = cut_finished;
    tlspair_run(&p);
    cr_expect_eq(p.keys.rx.seq, (15 + piece) / piece, "pieces of %zu", piece);
    cr_expect_eq(p.keys.tx.seq, 1);
    data_behind_it_is_read(&p);
    tl_record_free(cutter);
    tlspair_free(&p);
  }
}

Test(secrets, derive_needs_both_secrets_and_a_finished_handshake) {
  struct tlspair p;
  struct tl_tls_keys k;
  tlspair_init(&p, true, TL_TLS_1_3, TL_AES_128_GCM);
  cr_assert_eq(tl_secrets_derive(p.ours, true, &p.secrets, &p.flight, &k), TL_ETLS);
  SSL *ours = p.ours;
  SSL_up_ref(ours);
  tlspair_run(&p);
  p.secrets.client_len = 0;
  cr_assert_eq(tl_secrets_derive(ours, true, &p.secrets, &p.flight, &k), TL_ETLS);
  SSL_free(ours);
  tlspair_free(&p);
}

/* ---- core files ---- */

/* Is the memory that P lies in left out of core files (VmFlags dd, proc(5))? */
static bool left_out(const void *p) {
  FILE *f = fopen("/proc/self/smaps", "re");
  char text[512];
  unsigned long from, to;
  bool here = false, out = false;
  cr_assert(f);
  while (fgets(text, sizeof(text), f)) {
    if (sscanf(text, "%lx-%lx ", &from, &to) == 2)
      here = (unsigned long)p >= from && (unsigned long)p < to;
    else if (here && strncmp(text, "VmFlags:", 8) == 0)
      out = strstr(text, " dd") != NULL;
  }
  fclose(f);
  return out;
}

Test(secrets, s16_memory_of_keys_is_left_out_of_core_files) {
  struct tl_ticket_keys *tickets = tl_tickets_new(7200);
  struct tl_tls_keys k = {.version = TL_TLS_1_3, .key_len = 16, .secret_len = 32};
  struct tl_record *r = NULL;
  cr_assert(tickets);
  cr_assert_eq(tl_record_new(&k, 0, &r), 0);
  cr_assert(left_out(tickets), "the keys of session tickets");
  cr_assert(left_out(r), "the keys of records");
  cr_assert_not(left_out(&k), "the stack is not");
  tl_record_free(r);
  tl_tickets_free(tickets);
}
