/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Warns of cipher suites of the TLS domains that the running kernel's TLS lacks;
 * their connections still work, in user space. The kernel is probed once per
 * process. A kernel without any TLS is reported by `tieline probe`, not here.
 */
#include <openssl/ssl.h>
#include <pthread.h>

#include "conf/conf_internal.h"
#include "tieline/ktls.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct tl_ktls_caps caps;

static void probe_kernel(void) {
  if (tl_ktls_probe(&caps)) caps.ulp = false;
}

static enum tl_cipher cipher_of(const SSL_CIPHER *c) {
  switch (SSL_CIPHER_get_cipher_nid(c)) {
  case NID_aes_128_gcm: return TL_AES_128_GCM;
  case NID_aes_256_gcm: return TL_AES_256_GCM;
  default: return TL_CHACHA20_POLY1305; /* ciphers.c admits nothing else */
  }
}

void tl_conf_not_offloaded(SSL_CTX *ctx, const struct tl_ktls_caps *can, char *text, size_t cap) {
  STACK_OF(SSL_CIPHER) *sk = SSL_CTX_get_ciphers(ctx);
  size_t at = 0;
  *text = '\0';
  for (int i = 0; i < sk_SSL_CIPHER_num(sk) && at < cap; i++) {
    const SSL_CIPHER *c = sk_SSL_CIPHER_value(sk, i);
    int v = SSL_CIPHER_get_protocol_id(c) >> 8 == 0x13; /* TLS 1.3's are 0x13xx */
    enum tl_cipher k = cipher_of(c);
    if (can->tx[v][k] && can->rx[v][k]) continue;
    at += (size_t)snprintf(text + at, cap - at, "%s%s", at ? " " : "", SSL_CIPHER_get_name(c));
  }
}

void tl_conf_warn_offload(const struct tl_conf *c, struct tl_conf_ctx *ctx) {
  const struct tl_blocks *bs = &c->raw->sec[TL_SEC_DOMAIN];
  for (size_t i = 0; i < c->n_domain; i++) {
    const struct tl_tls_domain *d = c->domain[i];
    const struct tl_block *b = &bs->b[i];
    char text[600];
    if (d->policy.records == TL_RECORDS_USER) continue;
    pthread_once(&once, probe_kernel);
    if (!caps.ulp) return;
    tl_conf_not_offloaded(d->server ? d->server : d->client, &caps, text, sizeof(text));
    if (*text)
      tl_conf_warn(
          ctx, tl_block_at(b, tl_block_given(b, "ciphers_list") ? "ciphers_list" : "ciphersuites"),
          "tls_domain \"%s\": this kernel cannot take the records of %s; their "
          "connections stay in user space.",
          b->title, text);
  }
}
