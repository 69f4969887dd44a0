/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS record protection in user space: AEAD suites of TLS 1.2 and 1.3 with keys
 * that OpenSSL negotiated (RFC 5246 6.2.3.3, RFC 5288, RFC 7905, RFC 8446 5.2).
 *
 * It does what the kernel's TLS does for connections that the kernel cannot
 * take. The sequence number lives here and only moves forward, so that a nonce
 * cannot repeat. The AEAD itself is OpenSSL's EVP or Intel's ipsec-mb behind one
 * table, chosen once at start.
 *
 * Ownership: tl_record_new gives an object to the caller; tl_record_free wipes
 * and frees it. Threads: one at a time. Errors: TL_EBADMAC authentication,
 * TL_ETLS malformed record, TL_ELIMIT record limit of the key reached.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "tieline/err.h"

enum tl_tls_version { TL_TLS_1_2 = 0x0303, TL_TLS_1_3 = 0x0304 };
enum tl_cipher { TL_AES_128_GCM, TL_AES_256_GCM, TL_CHACHA20_POLY1305, TL_CIPHERS };

#define TL_RECORD_HEADER 5
#define TL_RECORD_PLAIN_MAX 16384
#define TL_RECORD_CIPHER_MAX (TL_RECORD_HEADER + TL_RECORD_PLAIN_MAX + 256)
#define TL_SECRET_MAX 48

/* RFC 8446 5.1 / RFC 5246 6.2.1 content types. */
enum { TL_CT_CCS = 20, TL_CT_ALERT = 21, TL_CT_HANDSHAKE = 22, TL_CT_DATA = 23 };

/* RFC 8446 6, RFC 5246 7.2: the alerts that we send ourselves; OpenSSL sends others. */
enum {
  TL_ALERT_CLOSE_NOTIFY = 0,
  TL_ALERT_UNEXPECTED_MESSAGE = 10,
  TL_ALERT_BAD_RECORD_MAC = 20,
  TL_ALERT_RECORD_OVERFLOW = 22,
  TL_ALERT_CERTIFICATE_REVOKED = 44,
  TL_ALERT_CERTIFICATE_UNKNOWN = 46,
  TL_ALERT_ILLEGAL_PARAMETER = 47,
  TL_ALERT_ACCESS_DENIED = 49,
  TL_ALERT_DECODE_ERROR = 50,
  TL_ALERT_PROTOCOL_VERSION = 70,
  TL_ALERT_INTERNAL_ERROR = 80,
  TL_ALERT_NO_RENEGOTIATION = 100
};
enum { TL_ALERT_LEVEL_WARNING = 1, TL_ALERT_LEVEL_FATAL = 2 };

/* Keys of one direction. */
struct tl_dir_keys {
  uint8_t key[32];
  uint8_t iv[12];                /* 1.3 and CHACHA: whole; 1.2 GCM: the first 4 are the salt */
  uint8_t explicit_iv[8];        /* 1.2 GCM sending: the next explicit nonce (KTLS-FACTS 5) */
  uint64_t seq;                  /* of the next record */
  uint8_t secret[TL_SECRET_MAX]; /* 1.3: the traffic secret, for KeyUpdate */
};

struct tl_tls_keys {
  enum tl_tls_version version;
  enum tl_cipher cipher;
  uint8_t key_len;    /* 16 or 32 */
  uint8_t secret_len; /* 32 or 48; 0 in 1.2 */
  struct tl_dir_keys tx, rx;
};

struct tl_record;

enum tl_aead_backend { TL_AEAD_AUTO, TL_AEAD_EVP, TL_AEAD_IPSEC_MB };
/* Chooses the AEAD for objects made from now on; AUTO prefers ipsec-mb where the CPU has AES-NI and
 * AVX. Call once before threads start. TL_ENOTSUP if it is not there, TL_ENOMEM. */
int tl_record_backend_set(enum tl_aead_backend b);
const char *tl_record_backend_name(void);

/* MAX_FRAGMENT: plaintext bytes per sent record (RFC 6066 4); 0 = 16384. Copies KEYS. */
int tl_record_new(const struct tl_tls_keys *keys, unsigned max_fragment, struct tl_record **out);
void tl_record_free(struct tl_record *r);
/* Bytes of memory that one object takes, for ctl. */
size_t tl_record_size(const struct tl_record *r);

/* Sending. In place: the caller leaves tl_record_head bytes before the plaintext and tl_record_tail
 * bytes after it. Both are constants of a connection. */
unsigned tl_record_head(const struct tl_record *r);
unsigned tl_record_tail(const struct tl_record *r);
/* Plaintext bytes one sent record may hold. */
unsigned tl_record_max_plain(const struct tl_record *r);
/* BUF points to the head room; N plaintext bytes at BUF + head. Afterwards *OUT_LEN bytes at BUF
 * are the record. TYPE is a TL_CT_*. */
int tl_record_seal(struct tl_record *r, uint8_t type, uint8_t *buf, size_t n, size_t *out_len);
/* The same, plaintext read from SRC and the record written to DST (head + N + tail bytes). */
int tl_record_seal_from(struct tl_record *r, uint8_t type, const uint8_t *src, size_t n,
                        uint8_t *dst, size_t *out_len);

struct tl_record_view {
  uint8_t type;
  uint8_t alert; /* with an error other than TL_EAGAIN: the alert to send before closing */
  uint8_t *p;    /* plaintext, inside the caller's buffer */
  size_t n;
  size_t used; /* bytes of the record, header included; also set on TL_EAGAIN to what is needed */
};
/* Opens the record at BUF in place. TL_EAGAIN: N bytes are not all of it, OUT->used are needed (5
 * while even the header is incomplete). Zero-length data records give n = 0. */
int tl_record_open(struct tl_record *r, uint8_t *buf, size_t n, struct tl_record_view *out);
/* The same, ciphertext at BUF and plaintext written to DST (at least N bytes). */
int tl_record_open_to(struct tl_record *r, const uint8_t *buf, size_t n, uint8_t *dst,
                      struct tl_record_view *out);

uint64_t tl_record_seq_tx(const struct tl_record *r);
uint64_t tl_record_seq_rx(const struct tl_record *r);

/* RFC 8446 5.5 and RFC 9325 4.4: 2^24.5 records under one AES-GCM key. Then sealing gives
 * TL_ELIMIT; the user of the record changes keys in time, or in TLS 1.2, which cannot, the
 * connection.
 */
#define TL_GCM_RECORDS_MAX 23726566u
/* TLS 1.3 KeyUpdate (RFC 8446 4.6.3, 7.2): moves that direction to its next traffic secret. */
int tl_record_rekey_tx(struct tl_record *r);
int tl_record_rekey_rx(struct tl_record *r);

/*
 * Control records after the handshake, the same for kernel and user space.
 * Handshake messages may be split over records and alerts merged (KTLS-FACTS
 * 22), so a few bytes of state are kept per connection.
 */
enum tl_nondata_action {
  TL_NONDATA_NONE,           /* nothing to do: ticket, warning, unfinished message */
  TL_NONDATA_CLOSE_NOTIFY,   /* peer will send no more: answer close_notify, finish */
  TL_NONDATA_FATAL,          /* peer sent a fatal alert: close */
  TL_NONDATA_KEY_UPDATE,     /* rekey receiving; no answer asked */
  TL_NONDATA_KEY_UPDATE_REQ, /* rekey receiving, send KeyUpdate(0), rekey sending */
  TL_NONDATA_RENEGOTIATE,    /* 1.2 HelloRequest: ignore; ClientHello: warn with no_renegotiation */
  TL_NONDATA_UNEXPECTED,     /* send alert OUT_ALERT and close */
};
/* The KeyUpdate message; REQUEST asks the peer to change its sending keys too. To be sealed as
 * TL_CT_HANDSHAKE under the old keys, before tl_record_rekey_tx. */
#define TL_KEY_UPDATE_LEN 5
static inline void tl_key_update_message(uint8_t out[TL_KEY_UPDATE_LEN], bool request) {
  out[0] = 24; /* key_update */
  out[1] = out[2] = 0;
  out[3] = 1;
  out[4] = request;
}

struct tl_nondata_state {
  uint8_t buf[4]; /* header bytes of a split handshake message */
  uint8_t have;   /* of buf */
  uint8_t type;   /* of the handshake message being skipped or read */
  uint8_t alert_have, alert_level;
  uint32_t left;        /* body bytes still to come */
  uint8_t warnings;     /* warning alerts in TLS 1.2, and wishes to renegotiate */
  uint32_t key_updates; /* count, for the rate limit */
  uint32_t tickets;
};
/* Feeds one control record. *OUT_ALERT: with TL_NONDATA_FATAL the alert received; with
 * TL_NONDATA_UNEXPECTED the one to send. At most one action per call: when *OUT_USED < N call again
 * with the rest. */
enum tl_nondata_action tl_nondata_input(struct tl_nondata_state *s, enum tl_tls_version v,
                                        bool we_are_server, uint8_t type, const uint8_t *p,
                                        size_t n, size_t *out_used, uint8_t *out_alert);
/* RFC 8446 5.1: a TLS 1.3 peer that has sent part of a handshake message, or of an alert, sends the
 * rest next. True: a record of data is unexpected now. */
static inline bool tl_nondata_is_cut(const struct tl_nondata_state *s, enum tl_tls_version v) {
  return (s->have || s->alert_have) && v == TL_TLS_1_3;
}
/* "close_notify", "bad_record_mac", ...: RFC 8446 6 names. */
const char *tl_alert_name(uint8_t alert);
const char *tl_cipher_name(enum tl_cipher c);           /* "AES-128-GCM" ... */
const char *tl_tls_version_name(enum tl_tls_version v); /* "TLSv1.3" ... */
