/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target of the record layer and of control records.
 *
 * The first byte picks version, cipher and what is fed: raw bytes as records
 * (which nobody without the key can make authentic), bytes that are sealed first
 * so that the parser behind the AEAD sees them, or bytes as control records in
 * pieces. Any crash, sanitizer report or broken promise below is a finding.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tieline/record.h"

#define TAIL_MAX 17

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool ok) {
  if (!ok) abort();
}

static struct tl_record *make(enum tl_tls_version v, enum tl_cipher c) {
  struct tl_tls_keys k = {.version = v, .cipher = c};
  struct tl_record *r = NULL;
  k.key_len = c == TL_AES_128_GCM ? 16 : 32;
  k.secret_len = v == TL_TLS_1_3 ? 32 : 0;
  must(tl_record_new(&k, 0, &r) == 0); /* the same keys both ways: it can open its own records */
  return r;
}

/* What arrives from the wire: every record in N bytes, until one is refused. */
static void open_raw(struct tl_record *r, const uint8_t *p, size_t n) {
  uint8_t *buf = malloc(n ? n : 1); /* exactly as long, so that a byte too far is seen */
  struct tl_record_view v;
  size_t at = 0;
  memcpy(buf, p, n);
  for (;;) {
    uint64_t seq = tl_record_seq_rx(r);
    int rc = tl_record_open(r, buf + at, n - at, &v);
    if (rc == TL_EAGAIN) {
      must(v.used > n - at && v.used <= TL_RECORD_CIPHER_MAX);
      break;
    }
    if (rc < 0) {
      must(tl_record_seq_rx(r) == seq || rc == TL_ETLS);
      break;
    }
    must(v.used <= n - at && v.p >= buf + at && v.p + v.n <= buf + at + v.used);
    at += v.used;
  }
  free(buf);
}

/* Seals N bytes as a record of TYPE and opens it again: the same must come out. */
static void round_trip(struct tl_record *r, uint8_t type, const uint8_t *p, size_t n) {
  struct tl_record_view v;
  if (n > TL_RECORD_PLAIN_MAX) n = TL_RECORD_PLAIN_MAX;
  uint8_t *buf = malloc(tl_record_head(r) + n + tl_record_tail(r)), *out = malloc(n + TAIL_MAX);
  size_t len;
  must(tl_record_seal_from(r, type, p, n, buf, &len) == 0);
  must(len == tl_record_head(r) + n + tl_record_tail(r));
  must(tl_record_open_to(r, buf, len, out, &v) == 0);
  must(v.type == type && v.n == n && memcmp(v.p, p, n) == 0);
  free(buf);
  free(out);
}

/* Control bytes in pieces whose lengths the input gives. */
static void feed_control(enum tl_tls_version v, bool server, uint8_t type, const uint8_t *p,
                         size_t n) {
  struct tl_nondata_state s = {0};
  while (n) {
    size_t piece = 1 + (p[0] & 15), used;
    uint8_t alert = 0;
    if (piece > n) piece = n;
    enum tl_nondata_action a = tl_nondata_input(&s, v, server, type, p, piece, &used, &alert);
    must(used > 0 && used <= piece);
    must(s.have <= sizeof(s.buf) && s.alert_have <= 1);
    if (a == TL_NONDATA_UNEXPECTED || a == TL_NONDATA_FATAL) return;
    p += used;
    n -= used;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  if (n < 2) return 0;
  enum tl_tls_version v = data[0] & 1 ? TL_TLS_1_3 : TL_TLS_1_2;
  enum tl_cipher c = (enum tl_cipher)((data[0] >> 1) % TL_CIPHERS);
  uint8_t type = (uint8_t)(TL_CT_CCS + (data[1] & 3));
  tl_record_backend_set(data[0] & 0x80 ? TL_AEAD_EVP : TL_AEAD_AUTO);
  if (data[0] & 0x40) {
    feed_control(v, data[1] & 0x80, data[1] & 0x40 ? data[1] & 0x3f : type, data + 2, n - 2);
    return 0;
  }
  struct tl_record *r = make(v, c);
  if (data[0] & 0x20)
    round_trip(r, type, data + 2, n - 2);
  else
    open_raw(r, data + 2, n - 2);
  tl_record_free(r);
  return 0;
}
