/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which cipher suites a domain offers: only those whose records can be
 * protected without OpenSSL (AES-128-GCM, AES-256-GCM, CHACHA20-POLY1305), with
 * a certificate. Key groups and versions are domain.c's.
 */
#include <openssl/err.h>
#include <stdlib.h>

#include "tls/tls_internal.h"

/* AES-128 first, in 1.2 and 1.3: that is what kernels and network cards offload best. */
#define DEFAULT_LIST                                                                               \
  "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                                     \
  "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"                                     \
  "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
/* After them, if the operator gives parameters: for clients without elliptic curves. */
#define DHE_LIST ":DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305"
#define SEPARATORS ":, ;"

static const char default_suites[] =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

static bool is_tls13(const SSL_CIPHER *c) { return SSL_CIPHER_get_protocol_id(c) >> 8 == 0x13; }

static bool is_usable(const SSL_CIPHER *c) {
  int nid = SSL_CIPHER_get_cipher_nid(c);
  if (nid != NID_aes_128_gcm && nid != NID_aes_256_gcm && nid != NID_chacha20_poly1305)
    return false;
  if (is_tls13(c)) return true;
  int auth = SSL_CIPHER_get_auth_nid(c), kx = SSL_CIPHER_get_kx_nid(c);
  if (auth != NID_auth_rsa && auth != NID_auth_ecdsa) return false; /* anonymous, PSK, SRP */
  return kx == NID_kx_ecdhe || kx == NID_kx_dhe || kx == NID_kx_rsa;
}

/* Does OpenSSL know this one word? Operators (!, -, +, @) are checked with the whole list. */
static bool known_word(SSL_CTX *probe, const char *word) {
  if (strchr("!-+@", *word)) return true;
  return SSL_CTX_set_cipher_list(probe, word) == 1;
}

/* Refuses a suite that is named outright but cannot be used; a group such as HIGH is only
 * reduced. */
static int check_word(SSL_CTX *probe, const char *word, struct tl_blame *b) {
  if (!known_word(probe, word))
    return tl_blame_option(b, "ciphers_list", "OpenSSL knows no cipher suite called \"%s\"", word);
  if (strchr("!-+@", *word)) return TL_OK;
  STACK_OF(SSL_CIPHER) *sk = SSL_CTX_get_ciphers(probe);
  for (int i = 0; i < sk_SSL_CIPHER_num(sk); i++) {
    const SSL_CIPHER *c = sk_SSL_CIPHER_value(sk, i);
    if (strcmp(SSL_CIPHER_get_name(c), word) == 0 && !is_usable(c))
      return tl_blame_option(
          b, "ciphers_list",
          "cipher suite \"%s\" is not supported: only suites with a certificate and "
          "AES-128-GCM, AES-256-GCM or CHACHA20-POLY1305 are",
          word);
  }
  return TL_OK;
}

static int check_words(const char *list, struct tl_blame *b) {
  SSL_CTX *probe = SSL_CTX_new(TLS_method());
  char *copy = strdup(list), *save = NULL;
  int rc = probe && copy ? TL_OK : TL_ENOMEM;
  if (rc == 0)
    for (char *w = strtok_r(copy, SEPARATORS, &save); w && rc == 0;
         w = strtok_r(NULL, SEPARATORS, &save))
      rc = check_word(probe, w, b);
  free(copy);
  SSL_CTX_free(probe);
  ERR_clear_error();
  return rc;
}

/* Sets CTX's TLS 1.2 list to the usable part of its present one; OUT_RSA: some of it exchanges keys
 * by RSA. */
static int reduce_list(SSL_CTX *ctx, const char *list, bool *out_rsa, struct tl_blame *b) {
  STACK_OF(SSL_CIPHER) *sk = SSL_CTX_get_ciphers(ctx);
  size_t cap = 1, at = 0;
  for (int i = 0; i < sk_SSL_CIPHER_num(sk); i++)
    cap += strlen(SSL_CIPHER_get_name(sk_SSL_CIPHER_value(sk, i))) + 1;
  char *text = malloc(cap);
  if (!text) return TL_ENOMEM;
  *text = '\0';
  for (int i = 0; i < sk_SSL_CIPHER_num(sk); i++) {
    const SSL_CIPHER *c = sk_SSL_CIPHER_value(sk, i);
    if (!is_usable(c) || is_tls13(c)) continue;
    *out_rsa |= SSL_CIPHER_get_kx_nid(c) == NID_kx_rsa;
    at += (size_t)snprintf(text + at, cap - at, "%s%s", at ? ":" : "", SSL_CIPHER_get_name(c));
  }
  int rc = TL_OK;
  if (at == 0 || SSL_CTX_set_cipher_list(ctx, text) != 1)
    rc = tl_blame_option(
        b, "ciphers_list",
        "\"%s\" leaves no suite with AES-128-GCM, AES-256-GCM or CHACHA20-POLY1305", list);
  free(text);
  return rc;
}

static int check_suites(const char *suites, struct tl_blame *b) {
  char *copy = strdup(suites), *save = NULL;
  if (!copy) return TL_ENOMEM;
  int rc = TL_OK;
  for (char *w = strtok_r(copy, SEPARATORS, &save); w && rc == 0;
       w = strtok_r(NULL, SEPARATORS, &save)) {
    const char *at = strstr(default_suites, w);
    size_t n = strlen(w);
    bool whole = at && (at == default_suites || at[-1] == ':') && (at[n] == ':' || at[n] == '\0');
    if (!whole)
      rc = tl_blame_option(b, "ciphersuites", "TLS 1.3 suite \"%s\" is not supported: only %s are",
                           w, default_suites);
  }
  free(copy);
  return rc;
}

int tl_domain_set_ciphers(SSL_CTX *ctx, const struct tl_tls_options *o, bool *out_rsa,
                          struct tl_blame *b) {
  int rc = TL_OK;
  if (o->ciphersuites && (rc = check_suites(o->ciphersuites, b))) return rc;
  const char *suites = o->ciphersuites ? o->ciphersuites : default_suites;
  if (SSL_CTX_set_ciphersuites(ctx, suites) != 1)
    return tl_blame_option(b, "ciphersuites", "\"%s\" is not a list of TLS 1.3 suites: %s", suites,
                           tl_blame_reason());
  if (o->ciphers_list && (rc = check_words(o->ciphers_list, b))) return rc;
  const char *list = o->ciphers_list ? o->ciphers_list
                     : o->dh_params  ? DEFAULT_LIST DHE_LIST
                                     : DEFAULT_LIST;
  if (SSL_CTX_set_cipher_list(ctx, list) != 1)
    return tl_blame_option(b, "ciphers_list", "\"%s\" is not a list of cipher suites: %s", list,
                           tl_blame_reason());
  return reduce_list(ctx, list, out_rsa, b);
}

/* One of those that is_usable admits. */
static enum tl_cipher cipher_of(const SSL_CIPHER *c) {
  switch (SSL_CIPHER_get_cipher_nid(c)) {
  case NID_aes_128_gcm: return TL_AES_128_GCM;
  case NID_aes_256_gcm: return TL_AES_256_GCM;
  default: return TL_CHACHA20_POLY1305;
  }
}

void tl_tls_domain_suites_without(const struct tl_tls_domain *d, const bool can[2][TL_CIPHERS],
                                  char *text, size_t cap) {
  STACK_OF(SSL_CIPHER) *sk = SSL_CTX_get_ciphers(d->server ? d->server : d->client);
  size_t at = 0;
  *text = '\0';
  for (int i = 0; i < sk_SSL_CIPHER_num(sk) && at < cap; i++) {
    const SSL_CIPHER *c = sk_SSL_CIPHER_value(sk, i);
    if (can[is_tls13(c)][cipher_of(c)]) continue;
    at += (size_t)snprintf(text + at, cap - at, "%s%s", at ? " " : "", SSL_CIPHER_get_name(c));
  }
}
