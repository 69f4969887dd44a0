/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record layer: headers, nonces, sequence numbers, limits and KeyUpdate.
 *
 * The cipher itself is behind aead.h. What a control record means is decided by
 * the caller. Nothing here reads or writes sockets.
 */
#include <endian.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <string.h>

#include "aead.h"
#include "tieline/hkdf.h"
#include "tieline/pool.h"

/* RFC 8446 5.2: type byte, padding and tag are at most 256 bytes together. RFC 5246 allows an
 * expansion of 2048, but an AEAD never needs more than nonce and tag. */
#define BODY_MAX (TL_RECORD_PLAIN_MAX + 256)
#define EXPLICIT_LEN 8

struct dir {
  uint64_t seq;
  uint64_t explicit_iv; /* 1.2 GCM sending: number of the next explicit nonce */
  uint8_t iv[12];
};

struct tl_record {
  const struct tl_aead *aead;
  enum tl_tls_version version;
  enum tl_cipher cipher;
  uint32_t max_plain;
  uint8_t key_len, secret_len;
  uint8_t head, tail; /* of both directions */
  struct dir tx, rx;
  uint8_t secret_tx[TL_SECRET_MAX], secret_rx[TL_SECRET_MAX];
  uint8_t ctx[] __attribute__((aligned(64))); /* the sending context, then the receiving one */
};

_Static_assert(sizeof(struct tl_record) <= 256, "small records are most of the cost of idle ones");

/* Objects are made by handshake threads and freed by workers, once per connection, so one lock is
 * enough. Pools give empty chunks back to the kernel, which malloc's arenas would not do. */
static pthread_mutex_t pool_mu = PTHREAD_MUTEX_INITIALIZER;
static struct tl_pool pool_small, pool_large;

static size_t object_size(const struct tl_aead *a) {
  return sizeof(struct tl_record) + 2 * (size_t)a->ctx_len;
}

/* Two sizes are enough: contexts that hold a GCM key schedule, and those that do not. */
static struct tl_pool *pool_for(size_t size) {
  struct tl_pool *p = size > 1024 ? &pool_large : &pool_small;
  if (p->size == 0) {
    tl_pool_init(p, size, 0);
    p->secret = true;
  }
  return p;
}

static struct tl_record *object_new(const struct tl_aead *a) {
  size_t size = object_size(a);
  pthread_mutex_lock(&pool_mu);
  struct tl_pool *p = pool_for(size);
  struct tl_record *r = p->size >= size ? tl_pool_get(p) : NULL;
  pthread_mutex_unlock(&pool_mu);
  if (r) memset(r, 0, size);
  return r;
}

static void object_free(struct tl_record *r) {
  size_t size = object_size(r->aead);
  OPENSSL_cleanse(r, size);
  pthread_mutex_lock(&pool_mu);
  tl_pool_put(pool_for(size), r);
  pthread_mutex_unlock(&pool_mu);
}

static bool is_13(const struct tl_record *r) { return r->version == TL_TLS_1_3; }

/* TLS 1.2 with GCM carries half of the nonce in each record (RFC 5288 3); the others derive all of
 * it from the sequence number (RFC 7905 2, RFC 8446 5.3). */
static bool has_explicit(const struct tl_record *r) {
  return !is_13(r) && r->cipher != TL_CHACHA20_POLY1305;
}

static void *ctx_tx(struct tl_record *r) { return r->ctx; }
static void *ctx_rx(struct tl_record *r) { return r->ctx + r->aead->ctx_len; }

static void put_be64(uint8_t *p, uint64_t v) {
  v = htobe64(v);
  memcpy(p, &v, sizeof(v));
}

static uint64_t get_be64(const uint8_t *p) {
  uint64_t v;
  memcpy(&v, p, sizeof(v));
  return be64toh(v);
}

static void dir_set(struct dir *d, uint8_t *secret, const struct tl_dir_keys *k) {
  d->seq = k->seq;
  d->explicit_iv = get_be64(k->explicit_iv);
  memcpy(d->iv, k->iv, sizeof(d->iv));
  memcpy(secret, k->secret, TL_SECRET_MAX);
}

static bool keys_valid(const struct tl_tls_keys *k) {
  if (k->version != TL_TLS_1_2 && k->version != TL_TLS_1_3) return false;
  if ((unsigned)k->cipher >= TL_CIPHERS) return false;
  return k->key_len == (k->cipher == TL_AES_128_GCM ? 16 : 32);
}

int tl_record_new(const struct tl_tls_keys *keys, unsigned max_fragment, struct tl_record **out) {
  if (!keys_valid(keys) || max_fragment > TL_RECORD_PLAIN_MAX) return TL_EINVAL;
  const struct tl_aead *table = tl_aead_current();
  if (!table) return TL_ENOMEM;
  struct tl_record *r = object_new(&table[keys->cipher]);
  if (!r) return TL_ENOMEM;

  r->aead = &table[keys->cipher];
  r->version = keys->version;
  r->cipher = keys->cipher;
  r->key_len = keys->key_len;
  r->secret_len = keys->secret_len;
  r->max_plain = max_fragment ? max_fragment : TL_RECORD_PLAIN_MAX;
  r->head = (uint8_t)(TL_RECORD_HEADER + (has_explicit(r) ? EXPLICIT_LEN : 0));
  r->tail = (uint8_t)(TL_TAG_LEN + (is_13(r) ? 1 : 0));
  dir_set(&r->tx, r->secret_tx, &keys->tx);
  dir_set(&r->rx, r->secret_rx, &keys->rx);
  int rc = r->aead->init(ctx_tx(r), keys->tx.key, true);
  if (rc == 0) rc = r->aead->init(ctx_rx(r), keys->rx.key, false);
  if (rc < 0) {
    tl_record_free(r);
    return rc;
  }
  *out = r;
  return TL_OK;
}

void tl_record_free(struct tl_record *r) {
  if (!r) return;
  r->aead->wipe(ctx_tx(r));
  r->aead->wipe(ctx_rx(r));
  object_free(r);
}

size_t tl_record_size(const struct tl_record *r) {
  return object_size(r->aead) + 2 * (size_t)r->aead->heap_len;
}
unsigned tl_record_head(const struct tl_record *r) { return r->head; }
unsigned tl_record_tail(const struct tl_record *r) { return r->tail; }
unsigned tl_record_max_plain(const struct tl_record *r) { return r->max_plain; }
uint64_t tl_record_seq_tx(const struct tl_record *r) { return r->tx.seq; }
uint64_t tl_record_seq_rx(const struct tl_record *r) { return r->rx.seq; }

static uint64_t seal_limit(const struct tl_record *r) {
  return r->cipher == TL_CHACHA20_POLY1305 ? UINT64_MAX : TL_GCM_RECORDS_MAX;
}

/* Nonce from IV and sequence number: RFC 8446 5.3, RFC 7905 2. */
static void nonce_from_seq(const struct dir *d, uint8_t nonce[16]) {
  memcpy(nonce, d->iv, 12);
  put_be64(nonce + 4, get_be64(d->iv + 4) ^ d->seq);
}

/* Additional data: the header itself in 1.3 (RFC 8446 5.2); sequence number, type, version and
 * plaintext length in 1.2 (RFC 5246 6.2.3.3). */
static void set_aad(const struct tl_record *r, const struct dir *d, const uint8_t *header,
                    size_t plain, struct tl_aead_input *in) {
  if (is_13(r)) {
    memcpy(in->aad, header, TL_RECORD_HEADER);
    in->aad_len = TL_RECORD_HEADER;
    return;
  }
  put_be64(in->aad, d->seq);
  memcpy(in->aad + 8, header, 3);
  in->aad[11] = (uint8_t)(plain >> 8);
  in->aad[12] = (uint8_t)plain;
  in->aad_len = 13;
}

static int seal_record(struct tl_record *r, uint8_t type, const uint8_t *src, size_t n,
                       uint8_t *dst, size_t *out_len) {
  struct dir *d = &r->tx;
  if (n > r->max_plain || type < TL_CT_CCS || type > TL_CT_DATA) return TL_EINVAL;
  if (d->seq >= seal_limit(r)) return TL_ELIMIT;

  struct tl_aead_input in;
  size_t len = r->head + n + r->tail, body = len - TL_RECORD_HEADER;
  dst[0] = is_13(r) ? TL_CT_DATA : type;
  dst[1] = TL_TLS_1_2 >> 8;
  dst[2] = TL_TLS_1_2 & 0xff;
  dst[3] = (uint8_t)(body >> 8);
  dst[4] = (uint8_t)body;
  set_aad(r, d, dst, n, &in);
  if (has_explicit(r)) {
    memcpy(in.nonce, d->iv, 4);
    put_be64(in.nonce + 4, d->explicit_iv++);
    memcpy(dst + TL_RECORD_HEADER, in.nonce + 4, EXPLICIT_LEN);
  } else {
    nonce_from_seq(d, in.nonce);
  }
  d->seq++; /* before the cipher runs: the nonce is spent even on failure */
  *out_len = len;
  return r->aead->seal(ctx_tx(r), &in, src, n, is_13(r) ? type : TL_NO_TRAILER, dst + r->head);
}

int tl_record_seal(struct tl_record *r, uint8_t type, uint8_t *buf, size_t n, size_t *out_len) {
  return seal_record(r, type, buf + r->head, n, buf, out_len);
}

int tl_record_seal_from(struct tl_record *r, uint8_t type, const uint8_t *src, size_t n,
                        uint8_t *dst, size_t *out_len) {
  return seal_record(r, type, src, n, dst, out_len);
}

static int refuse_record(struct tl_record_view *out, int rc, uint8_t alert) {
  out->alert = alert;
  return rc;
}

/* Checks the header before waiting for the body, so that garbage is refused at once. */
static int check_header(const struct tl_record *r, const uint8_t *h, struct tl_record_view *out) {
  size_t body = (size_t)h[3] << 8 | h[4];
  /* In 1.3 even alerts are encrypted; a plain ChangeCipherSpec belongs to the handshake only. */
  bool type_ok = is_13(r) ? h[0] == TL_CT_DATA : h[0] >= TL_CT_CCS && h[0] <= TL_CT_DATA;
  if (!type_ok) return refuse_record(out, TL_ETLS, TL_ALERT_UNEXPECTED_MESSAGE);
  if (h[1] != TL_TLS_1_2 >> 8 || h[2] != (TL_TLS_1_2 & 0xff))
    return refuse_record(out, TL_ETLS, TL_ALERT_PROTOCOL_VERSION);
  if (body > BODY_MAX) return refuse_record(out, TL_ETLS, TL_ALERT_RECORD_OVERFLOW);
  if (TL_RECORD_HEADER + body < (size_t)r->head + r->tail)
    return refuse_record(out, TL_ETLS, TL_ALERT_DECODE_ERROR);
  out->used = TL_RECORD_HEADER + body;
  return TL_OK;
}

/* The last byte that is not zero is the type; padding follows it (RFC 8446 5.4). */
static int strip_padding(struct tl_record_view *v) {
  size_t n = v->n;
  while (n && v->p[n - 1] == 0) n--;
  if (n == 0) return refuse_record(v, TL_ETLS, TL_ALERT_UNEXPECTED_MESSAGE);
  v->type = v->p[n - 1];
  v->n = n - 1;
  return TL_OK;
}

static int open_body(struct tl_record *r, const uint8_t *buf, uint8_t *dst,
                     struct tl_record_view *out) {
  struct dir *d = &r->rx;
  struct tl_aead_input in;
  size_t n = out->used - r->head - TL_TAG_LEN; /* ciphertext without the tag */
  if (d->seq == UINT64_MAX) return refuse_record(out, TL_ELIMIT, TL_ALERT_INTERNAL_ERROR);
  if (!is_13(r) && n > TL_RECORD_PLAIN_MAX)
    return refuse_record(out, TL_ETLS, TL_ALERT_RECORD_OVERFLOW);

  set_aad(r, d, buf, n, &in);
  if (has_explicit(r)) {
    memcpy(in.nonce, d->iv, 4);
    memcpy(in.nonce + 4, buf + TL_RECORD_HEADER, EXPLICIT_LEN);
  } else {
    nonce_from_seq(d, in.nonce);
  }
  int rc = r->aead->open(ctx_rx(r), &in, buf + r->head, n, dst);
  if (rc < 0) {
    OPENSSL_cleanse(dst, n); /* unauthenticated bytes must not be used */
    return refuse_record(out, rc,
                         rc == TL_EBADMAC ? TL_ALERT_BAD_RECORD_MAC : TL_ALERT_INTERNAL_ERROR);
  }
  d->seq++;
  out->p = dst;
  out->n = n;
  out->type = buf[0];
  if (is_13(r) && (rc = strip_padding(out)) < 0) return rc;
  if (out->n > TL_RECORD_PLAIN_MAX) return refuse_record(out, TL_ETLS, TL_ALERT_RECORD_OVERFLOW);
  return TL_OK;
}

static int open_record(struct tl_record *r, const uint8_t *buf, size_t n, uint8_t *dst,
                       struct tl_record_view *out) {
  *out = (struct tl_record_view){.used = TL_RECORD_HEADER};
  if (n < TL_RECORD_HEADER) return TL_EAGAIN;
  int rc = check_header(r, buf, out);
  if (rc < 0) return rc;
  if (n < out->used) return TL_EAGAIN;
  return open_body(r, buf, dst, out);
}

int tl_record_open(struct tl_record *r, uint8_t *buf, size_t n, struct tl_record_view *out) {
  return open_record(r, buf, n, buf + r->head, out);
}

int tl_record_open_to(struct tl_record *r, const uint8_t *buf, size_t n, uint8_t *dst,
                      struct tl_record_view *out) {
  return open_record(r, buf, n, dst, out);
}

static int rekey_direction(struct tl_record *r, bool tx) {
  if (!is_13(r) || r->secret_len == 0) return TL_ENOTSUP;
  struct tl_dir_keys k = {0};
  memcpy(k.secret, tx ? r->secret_tx : r->secret_rx, sizeof(k.secret));
  int rc = tl_dir_keys_update(&k, r->secret_len, r->key_len);
  if (rc == 0) rc = r->aead->init(tx ? ctx_tx(r) : ctx_rx(r), k.key, tx);
  if (rc == 0)
    dir_set(tx ? &r->tx : &r->rx, tx ? r->secret_tx : r->secret_rx, &k);
  else
    (tx ? &r->tx : &r->rx)->seq = UINT64_MAX; /* neither old nor new keys may be used any more */
  OPENSSL_cleanse(&k, sizeof(k));
  return rc;
}

int tl_record_rekey_tx(struct tl_record *r) { return rekey_direction(r, true); }
int tl_record_rekey_rx(struct tl_record *r) { return rekey_direction(r, false); }
