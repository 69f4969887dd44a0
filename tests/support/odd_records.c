/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TLS client that shakes hands as it should and then sends records that no
 * library would: empty ones, ones of one byte, padded ones, unknown types, cut
 * KeyUpdates and alerts, wrong lengths, wrong tags, data behind close_notify.
 * For tests/flow/hostile; the records are sealed here with libcrypto alone, so
 * that the daemon's record layer does not judge itself.
 *
 *   odd_records --port N [--host A] [--source A] [--seconds N] [--seed N] [--user NAME]
 *
 * One connection after another until the time is over. Prints how many, and how
 * many records; 0 unless the surroundings fail (1). What it sends is a function
 * of the seed alone.
 */
#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tieline/hkdf.h"
#include "tls/secrets.h"

#define RECORDS_A_CONNECTION 40
#define BODY_MAX 17000u

static struct {
  const char *host, *source, *user;
  int port;
  double seconds;
  uint64_t seed;
} opt = {.host = "127.0.0.1", .user = "odd", .seconds = 5, .seed = 1};

static uint64_t random_state;
static unsigned long n_connections, n_refused, n_records;

static uint64_t next_random(void) { /* splitmix64 */
  uint64_t z = random_state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static unsigned below(unsigned n) { return (unsigned)(next_random() % n); }

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- one connection ---- */

struct client {
  int fd;
  SSL *ssl;
  struct tl_secrets secrets;
  struct tl_flight flight;
  struct tl_tls_keys keys;
  bool broken; /* the daemon has closed */
};

static void on_keylog(const SSL *ssl, const char *line) {
  struct client *c = SSL_get_app_data(ssl);
  tl_secrets_keylog(&c->secrets, line);
}

static void put(struct client *c, const void *p, size_t n) {
  for (const uint8_t *at = p; n && !c->broken;) {
    ssize_t k = send(c->fd, at, n, MSG_NOSIGNAL);
    if (k <= 0) {
      c->broken = true;
      return;
    }
    at += k;
    n -= (size_t)k;
  }
}

/* Reads and forgets what is there. */
static void drain(struct client *c) {
  uint8_t buf[16384];
  ssize_t n;
  while ((n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0) continue;
  if (n == 0) c->broken = true;
}

static int dial(void) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port)}, from = to;
  struct timeval limit = {.tv_sec = 5};
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0) return -1;
  from.sin_port = 0;
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  if (inet_pton(AF_INET, opt.host, &to.sin_addr) == 1 &&
      (!opt.source || (inet_pton(AF_INET, opt.source, &from.sin_addr) == 1 &&
                       bind(fd, (struct sockaddr *)&from, sizeof(from)) == 0)) &&
      connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
    return fd;
  close(fd);
  return -1;
}

/* Moves what the library has written to the socket. */
static void flush(struct client *c) {
  uint8_t buf[32768];
  int n = BIO_read(SSL_get_wbio(c->ssl), buf, sizeof(buf));
  if (n <= 0) return;
  tl_flight_feed(&c->flight, buf, (size_t)n);
  put(c, buf, (size_t)n);
}

static bool shake_hands(struct client *c, SSL_CTX *ctx) {
  uint8_t buf[16384];
  c->ssl = SSL_new(ctx);
  BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
  if (!c->ssl || !in || !out) return false;
  BIO_set_mem_eof_return(in, -1);
  SSL_set_bio(c->ssl, in, out);
  SSL_set_app_data(c->ssl, c);
  SSL_set_connect_state(c->ssl);
  for (int turn = 0; turn < 50; turn++) {
    ERR_clear_error();
    int rc = SSL_do_handshake(c->ssl);
    flush(c);
    if (rc == 1) return tl_secrets_derive(c->ssl, false, &c->secrets, &c->flight, &c->keys) == 0;
    if (SSL_get_error(c->ssl, rc) != SSL_ERROR_WANT_READ || c->broken) return false;
    ssize_t n = recv(c->fd, buf, sizeof(buf), 0);
    if (n <= 0) return false;
    BIO_write(in, buf, (int)n);
  }
  return false;
}

/* ---- records ---- */

static const EVP_CIPHER *aead_of(const struct tl_tls_keys *k) {
  if (k->cipher == TL_CHACHA20_POLY1305) return EVP_chacha20_poly1305();
  return k->cipher == TL_AES_128_GCM ? EVP_aes_128_gcm() : EVP_aes_256_gcm();
}

static void put_u64(uint8_t *p, uint64_t v) {
  for (int i = 7; i >= 0; i--, v >>= 8) p[i] = (uint8_t)v;
}

/* The nonce of the next record; how many of its bytes travel with it (TLS 1.2 with GCM). */
static size_t next_nonce(struct tl_tls_keys *k, uint8_t nonce[12]) {
  uint8_t seq[8];
  put_u64(seq, k->tx.seq);
  memcpy(nonce, k->tx.iv, 12);
  if (k->version == TL_TLS_1_2 && k->cipher != TL_CHACHA20_POLY1305) {
    memcpy(nonce + 4, seq, 8);
    return 8;
  }
  for (int i = 0; i < 8; i++) nonce[4 + i] ^= seq[i];
  return 0;
}

/* Seals PLAIN as it stands: in TLS 1.3 the inner type and the padding are the caller's. */
static void seal(struct client *c, uint8_t type, const uint8_t *plain, size_t n, bool spoil) {
  static uint8_t out[5 + 8 + BODY_MAX + 512 + 16];
  struct tl_tls_keys *k = &c->keys;
  uint8_t nonce[12], aad[13];
  size_t explicit_len = next_nonce(k, nonce), aad_len = 5, len = explicit_len + n + 16;
  int used = 0;
  out[0] = type, out[1] = 3, out[2] = 3, out[3] = (uint8_t)(len >> 8), out[4] = (uint8_t)len;
  memcpy(aad, out, 5);
  if (k->version == TL_TLS_1_2) {
    put_u64(aad, k->tx.seq);
    memcpy(aad + 8, out, 3);
    aad[11] = (uint8_t)(n >> 8), aad[12] = (uint8_t)n;
    aad_len = 13;
    memcpy(out + 5, nonce + 4, explicit_len);
  }
  EVP_CIPHER_CTX *e = EVP_CIPHER_CTX_new();
  uint8_t *body = out + 5 + explicit_len;
  EVP_EncryptInit_ex(e, aead_of(k), NULL, k->tx.key, nonce);
  EVP_EncryptUpdate(e, NULL, &used, aad, (int)aad_len);
  EVP_EncryptUpdate(e, body, &used, plain, (int)n);
  EVP_EncryptFinal_ex(e, body + n, &used);
  EVP_CIPHER_CTX_ctrl(e, EVP_CTRL_AEAD_GET_TAG, 16, body + n);
  EVP_CIPHER_CTX_free(e);
  if (spoil) body[below((unsigned)n + 16)] ^= 1;
  k->tx.seq++;
  n_records++;
  put(c, out, 5 + len);
}

/* A record of TYPE as the version has it, with PAD bytes of padding. */
static void record(struct client *c, uint8_t type, const void *p, size_t n, size_t pad) {
  static uint8_t plain[BODY_MAX + 512];
  memcpy(plain, p, n);
  if (c->keys.version == TL_TLS_1_2) {
    seal(c, type, plain, n, false);
    return;
  }
  plain[n] = type;
  memset(plain + n + 1, 0, pad);
  seal(c, TL_CT_DATA, plain, n + 1 + pad, false);
}

static void raw(struct client *c, uint8_t type, unsigned claimed_len, size_t n) {
  static uint8_t out[BODY_MAX];
  out[0] = type, out[1] = 3, out[2] = 3;
  out[3] = (uint8_t)(claimed_len >> 8), out[4] = (uint8_t)claimed_len;
  for (size_t i = 0; i < n; i++) out[5 + i] = (uint8_t)next_random();
  n_records++;
  put(c, out, 5 + n);
}

static size_t options_request(char *p, size_t cap) {
  static unsigned serial;
  serial++;
  int n = snprintf(p, cap,
                   "OPTIONS sip:%s@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1;branch="
                   "z9hG4bKodd%u;rport\r\nMax-Forwards: 70\r\nFrom: <sip:a@x.example>;tag=%u\r\n"
                   "To: <sip:b@x.example>\r\nCall-ID: odd%u\r\nCSeq: 1 OPTIONS\r\n"
                   "Content-Length: 0\r\n\r\n",
                   opt.user, serial, serial, serial);
  return n > 0 ? (size_t)n : 0;
}

static void message_in_pieces(struct client *c) {
  char text[1024];
  size_t n = options_request(text, sizeof(text));
  for (size_t at = 0, k; at < n; at += k) {
    k = 1 + below(below(4) ? 200 : 3);
    if (k > n - at) k = n - at;
    record(c, TL_CT_DATA, text + at, k, below(8) ? 0 : below(300));
    if (below(12) == 0) record(c, TL_CT_DATA, "", 0, below(20));
  }
}

static void key_update(struct client *c) {
  uint8_t m[TL_KEY_UPDATE_LEN];
  tl_key_update_message(m, below(2));
  if (below(6) == 0) m[below(5)] = (uint8_t)next_random();
  size_t cut = below(4) ? sizeof(m) : 1 + below(4);
  record(c, TL_CT_HANDSHAKE, m, cut, 0);
  if (cut < sizeof(m) && below(2)) message_in_pieces(c);
  if (cut < sizeof(m)) record(c, TL_CT_HANDSHAKE, m + cut, sizeof(m) - cut, 0);
  if (c->keys.version == TL_TLS_1_3)
    tl_dir_keys_update(&c->keys.tx, c->keys.secret_len, c->keys.key_len);
}

static void alert(struct client *c) {
  static const uint8_t known[] = {0, 10, 20, 42, 90, 100, 110};
  uint8_t m[4] = {(uint8_t)(1 + below(2)), known[below(sizeof(known))], 1, 90};
  if (below(3)) m[0] = 1, m[1] = 90; /* a warning, so that more can follow */
  record(c, TL_CT_ALERT, m, 1 + below(4), below(3) ? 0 : 3);
}

static void one_odd_thing(struct client *c) {
  static uint8_t big[BODY_MAX];
  uint8_t few[64];
  for (size_t i = 0; i < sizeof(few); i++) few[i] = (uint8_t)next_random();
  switch (below(16)) {
  case 0:
  case 1:
  case 2: message_in_pieces(c); return;
  case 3: record(c, TL_CT_DATA, "", 0, 0); return;
  case 4: record(c, TL_CT_DATA, "\r\n\r\n", 1 + below(4), 0); return;
  case 5: key_update(c); return;
  case 6: alert(c); return;
  case 7: record(c, TL_CT_HANDSHAKE, few, below(sizeof(few)), 0); return;
  case 8: record(c, (uint8_t)next_random(), few, below(sizeof(few)), 0); return;
  case 9: seal(c, TL_CT_DATA, big, below(300), false); return; /* zeros alone: no type */
  case 10: record(c, TL_CT_DATA, big, TL_RECORD_PLAIN_MAX, 0); return;
  case 11: record(c, TL_CT_DATA, big, TL_RECORD_PLAIN_MAX + below(400), 0); return;
  case 12: seal(c, TL_CT_DATA, few, sizeof(few), true); return;
  case 13: raw(c, below(2) ? TL_CT_CCS : (uint8_t)next_random(), 1, 1); return;
  case 14: raw(c, TL_CT_DATA, below(65536), below(400)); return;
  default: record(c, TL_CT_HANDSHAKE, "\0\0\0", 4, 0); return; /* HelloRequest */
  }
}

static void finish(struct client *c) {
  static const uint8_t close_notify[2] = {1, 0};
  struct linger hard = {.l_onoff = 1};
  if (below(3) == 0) record(c, TL_CT_ALERT, close_notify, 2, 0);
  if (below(6) == 0) message_in_pieces(c); /* behind it */
  if (below(3) == 0) setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
}

static void one_connection(SSL_CTX *ctx) {
  struct client c = {.fd = dial()};
  n_connections++;
  if (c.fd < 0 || !shake_hands(&c, ctx)) {
    n_refused++;
  } else {
    for (int i = 0; i < RECORDS_A_CONNECTION && !c.broken; i++) {
      one_odd_thing(&c);
      drain(&c);
    }
    finish(&c);
  }
  SSL_free(c.ssl);
  if (c.fd >= 0) close(c.fd);
}

static SSL_CTX *context(int version) {
  SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
  if (!ctx) return NULL;
  SSL_CTX_set_min_proto_version(ctx, version);
  SSL_CTX_set_max_proto_version(ctx, version);
  SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
  SSL_CTX_set_keylog_callback(ctx, on_keylog);
  return ctx;
}

static bool options(int argc, char **argv) {
  static const struct option known[] = {{"port", 1, NULL, 'p'},
                                        {"host", 1, NULL, 'h'},
                                        {"source", 1, NULL, 's'},
                                        {"seconds", 1, NULL, 't'},
                                        {"seed", 1, NULL, 'r'},
                                        {"user", 1, NULL, 'u'},
                                        {0}};
  for (int o; (o = getopt_long(argc, argv, "", known, NULL)) != -1;) switch (o) {
    case 'p': opt.port = atoi(optarg); break;
    case 'h': opt.host = optarg; break;
    case 's': opt.source = optarg; break;
    case 't': opt.seconds = atof(optarg); break;
    case 'r': opt.seed = strtoull(optarg, NULL, 10); break;
    case 'u': opt.user = optarg; break;
    default: return false;
    }
  return opt.port > 0;
}

int main(int argc, char **argv) {
  if (!options(argc, argv)) {
    fprintf(stderr, "usage: odd_records --port N [--host A] [--source A] [--seconds N] [--seed N] "
                    "[--user NAME]\n");
    return 1;
  }
  random_state = opt.seed;
  SSL_CTX *ctx[2] = {context(TLS1_2_VERSION), context(TLS1_3_VERSION)};
  if (!ctx[0] || !ctx[1]) return 1;
  for (double end = now_s() + opt.seconds; now_s() < end;) one_connection(ctx[below(2)]);
  printf("%lu connections, %lu refused, %lu records\n", n_connections, n_refused, n_records);
  SSL_CTX_free(ctx[0]);
  SSL_CTX_free(ctx[1]);
  return n_connections == n_refused;
}
