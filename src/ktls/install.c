/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys into a socket: the ULP, both directions, and new keys after a KeyUpdate.
 *
 * ktls_probe.c finds out which versions and ciphers this kernel takes; records
 * other than data are sent and received by ktls_control.c.
 */
#include <endian.h>
#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/socket.h>

#include "ktls/ktls_internal.h"

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

union crypto_info {
  struct tls_crypto_info info;
  struct tls12_crypto_info_aes_gcm_128 aes_128;
  struct tls12_crypto_info_aes_gcm_256 aes_256;
  struct tls12_crypto_info_chacha20_poly1305 chacha;
};

const char *tl_ktls_why_text(enum tl_ktls_why w) {
  static const char *const text[TL_KTLS_WHYS] = {
      [TL_KTLS_ON] = "in the kernel",
      [TL_KTLS_NO_ULP] = "the kernel has no TLS",
      [TL_KTLS_NO_CIPHER] = "the kernel lacks this version or cipher",
      [TL_KTLS_SLOW] = "the kernel's cipher is not accelerated",
      [TL_KTLS_CONFIG] = "records = user",
      [TL_KTLS_FRAGMENT] = "max_fragment_length negotiated",
      [TL_KTLS_FAILED] = "the kernel refused the keys",
      [TL_KTLS_PLAIN] = "not a TLS connection",
  };
  return (unsigned)w < TL_KTLS_WHYS ? text[w] : "unknown";
}

int tl_ktls_attach(int fd) {
  if (setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) == 0) return TL_OK;
  switch (errno) {
  case ENOENT: return TL_ENOTSUP;
  case ENOTCONN: return TL_ECLOSED;
  case EEXIST: return TL_EEXIST;
  default: return TL_EIO;
  }
}

/* For GCM the kernel wants the nonce in two parts. In 1.3 both come from the IV; in 1.2 the second
 * is the explicit nonce of the next record sent, and when receiving it is in each record. */
static socklen_t fill_info(union crypto_info *c, const struct tl_tls_keys *k,
                           const struct tl_dir_keys *d) {
  const uint8_t *iv = k->version == TL_TLS_1_3 ? d->iv + 4 : d->explicit_iv;
  uint64_t seq = htobe64(d->seq);
  memset(c, 0, sizeof(*c));
  c->info.version = (uint16_t)k->version;
  switch (k->cipher) {
  case TL_AES_128_GCM:
    c->info.cipher_type = TLS_CIPHER_AES_GCM_128;
    memcpy(c->aes_128.key, d->key, sizeof(c->aes_128.key));
    memcpy(c->aes_128.salt, d->iv, sizeof(c->aes_128.salt));
    memcpy(c->aes_128.iv, iv, sizeof(c->aes_128.iv));
    memcpy(c->aes_128.rec_seq, &seq, sizeof(seq));
    return sizeof(c->aes_128);
  case TL_AES_256_GCM:
    c->info.cipher_type = TLS_CIPHER_AES_GCM_256;
    memcpy(c->aes_256.key, d->key, sizeof(c->aes_256.key));
    memcpy(c->aes_256.salt, d->iv, sizeof(c->aes_256.salt));
    memcpy(c->aes_256.iv, iv, sizeof(c->aes_256.iv));
    memcpy(c->aes_256.rec_seq, &seq, sizeof(seq));
    return sizeof(c->aes_256);
  case TL_CHACHA20_POLY1305:
    c->info.cipher_type = TLS_CIPHER_CHACHA20_POLY1305;
    memcpy(c->chacha.key, d->key, sizeof(c->chacha.key));
    memcpy(c->chacha.iv, d->iv, sizeof(c->chacha.iv));
    memcpy(c->chacha.rec_seq, &seq, sizeof(seq));
    return sizeof(c->chacha);
  default: return 0;
  }
}

int tl_ktls_set_keys(int fd, const struct tl_tls_keys *keys, bool tx) {
  union crypto_info c;
  socklen_t len = fill_info(&c, keys, tx ? &keys->tx : &keys->rx);
  int rc = len == 0 ? EINVAL : setsockopt(fd, SOL_TLS, tx ? TLS_TX : TLS_RX, &c, len) ? errno : 0;
  OPENSSL_cleanse(&c, sizeof(c));
  return rc;
}

bool tl_ktls_set_no_pad(int fd) {
  int on = 1;
  return setsockopt(fd, SOL_TLS, TLS_RX_EXPECT_NO_PAD, &on, sizeof(on)) == 0;
}

/* Without a card that does TLS it changes nothing, and tells nothing (KTLS-FACTS 28). */
void tl_ktls_set_zerocopy(int fd) {
  int on = 1;
  setsockopt(fd, SOL_TLS, TLS_TX_ZEROCOPY_RO, &on, sizeof(on));
}

static enum tl_ktls_why why_from_errno(int err) {
  switch (err) {
  case ENOPROTOOPT: /* the ULP is not on this socket */ return TL_KTLS_NO_ULP;
  case ENOENT: /* the cipher's module is missing */ return TL_KTLS_NO_CIPHER;
  default: return TL_KTLS_FAILED;
  }
}

static enum tl_ktls_why why_impossible(const struct tl_ktls_caps *caps,
                                       const struct tl_tls_keys *keys) {
  int v = keys->version == TL_TLS_1_3;
  if (!caps) return TL_KTLS_CONFIG;
  if (!caps->ulp) return TL_KTLS_NO_ULP;
  if ((unsigned)keys->cipher >= TL_CIPHERS) return TL_KTLS_NO_CIPHER;
  return caps->tx[v][keys->cipher] && caps->rx[v][keys->cipher] ? TL_KTLS_ON : TL_KTLS_NO_CIPHER;
}

int tl_ktls_install(int fd, const struct tl_ktls_caps *caps, const struct tl_tls_keys *keys,
                    struct tl_ktls_state *out) {
  out->tx = out->rx = why_impossible(caps, keys);
  if (out->tx != TL_KTLS_ON) return TL_ENOTSUP;
  int err = tl_ktls_set_keys(fd, keys, false);
  if (err) {
    out->tx = out->rx = why_from_errno(err);
    return TL_ENOTSUP;
  }
  err = tl_ktls_set_keys(fd, keys, true);
  if (err) {
    out->tx = why_from_errno(err);
    return TL_EIO;
  }
  /* Decrypts straight into the caller's buffer; a peer that pads only costs a second pass. */
  if (keys->version == TL_TLS_1_3) tl_ktls_set_no_pad(fd);
  return TL_OK;
}

int tl_ktls_rekey(int fd, const struct tl_tls_keys *keys, bool tx) {
  switch (tl_ktls_set_keys(fd, keys, tx)) {
  case 0: return TL_OK;
  case EBUSY: /* before 6.14 a direction takes keys once */ return TL_ENOTSUP;
  default: return TL_EIO;
  }
}

int tl_ktls_seq(int fd, const struct tl_tls_keys *keys, bool tx, uint64_t *out_seq) {
  union crypto_info c;
  socklen_t len = fill_info(&c, keys, tx ? &keys->tx : &keys->rx);
  int rc = len && getsockopt(fd, SOL_TLS, tx ? TLS_TX : TLS_RX, &c, &len) == 0 ? TL_OK : TL_EIO;
  if (rc == 0) {
    const unsigned char *seq = keys->cipher == TL_AES_128_GCM   ? c.aes_128.rec_seq
                               : keys->cipher == TL_AES_256_GCM ? c.aes_256.rec_seq
                                                                : c.chacha.rec_seq;
    memcpy(out_seq, seq, sizeof(*out_seq));
    *out_seq = be64toh(*out_seq);
  }
  OPENSSL_cleanse(&c, sizeof(c));
  return rc;
}
