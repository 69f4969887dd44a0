/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much of each kind a ClientHello may hold, found from its lengths before
 * OpenSSL reads the contents: 60 KB of key shares cost it 50 ms (it looks for
 * each group among all that the client supports), of responder names 4 ms, of
 * cipher suites 1 ms, for a stranger who has proven nothing. The authorities
 * that a client names are bounded by ca_names.c. The grammar is not checked
 * here.
 */
#include "tls/handshake.h"

enum shape {
  BYTES,   /* the bytes of the extension */
  NUMBERS, /* a list of 16 bits each */
  VECTORS, /* a list of vectors, with that many bytes before and after each */
};

struct bound {
  unsigned type;
  enum shape shape;
  unsigned before, after;
  size_t most;
  const char *why;
};

/* Several times what the largest clients send: all suites ever assigned are about 370; a client
 * offers about thirty groups and signature algorithms, two or three key shares and sessions, and no
 * responders. */
#define SUITES_MAX 512
static const struct bound bounds[] = {
    {TLSEXT_TYPE_supported_groups, NUMBERS, 0, 0, 256, "too many groups in the ClientHello"},
    {TLSEXT_TYPE_signature_algorithms, NUMBERS, 0, 0, 256,
     "too many signature algorithms in the ClientHello"},
    {TLSEXT_TYPE_signature_algorithms_cert, NUMBERS, 0, 0, 256,
     "too many signature algorithms in the ClientHello"},
    {TLSEXT_TYPE_key_share, VECTORS, 2, 0, 32, "too many key shares in the ClientHello"},
    {TLSEXT_TYPE_psk, VECTORS, 0, 4, 32, "too many sessions in the ClientHello"},
    {TLSEXT_TYPE_status_request, BYTES, 0, 0, 2048, "too many OCSP responders in the ClientHello"},
};

static size_t read_u16(const uint8_t *p) { return (size_t)p[0] << 8 | p[1]; }

static size_t count_items(const struct bound *b, const uint8_t *p, size_t n) {
  if (b->shape == BYTES) return n;
  if (b->shape == NUMBERS) return n < 2 ? 0 : (n - 2) / 2;
  size_t end = n >= 2 && 2 + read_u16(p) < n ? 2 + read_u16(p) : n, found = 0;
  for (size_t at = 2; at + b->before + 2 <= end; found++)
    at += b->before + 2 + read_u16(p + at + b->before) + b->after;
  return found;
}

const char *tl_hello_excess(SSL *ssl) {
  const unsigned char *p;
  size_t n;
  if (SSL_client_hello_get0_ciphers(ssl, &p) / 2 > SUITES_MAX)
    return "too many cipher suites in the ClientHello";
  for (size_t i = 0; i < sizeof(bounds) / sizeof(*bounds); i++)
    if (SSL_client_hello_get0_ext(ssl, bounds[i].type, &p, &n) == 1 &&
        count_items(&bounds[i], p, n) > bounds[i].most)
      return bounds[i].why;
  return NULL;
}
