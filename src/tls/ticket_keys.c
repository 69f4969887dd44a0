/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ticket keys of each domain, for all handshake threads: one seals, its
 * predecessor still opens. A key seals for half of a ticket's life, so that no
 * key is older than one life when it opens its last ticket; then it is wiped.
 * This file also decides which sessions a ticket may resume: the domain and its
 * generation are in the session id context, and the client's certificate is
 * verified again.
 */
#include "tls/ticket_keys.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "tieline/time.h"
#include "tieline/verify.h"
#include "tls/handshake.h"
#include "tls/identity_read.h"

/* On pages of their own, which no core file contains. */
struct tl_ticket_keys *tl_tickets_new(uint32_t life_s) {
  struct tl_ticket_keys *t =
      mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (t == MAP_FAILED) return NULL;
  madvise(t, sizeof(*t), MADV_DONTDUMP);
  t->life_ms = life_s * UINT64_C(1000);
  pthread_mutex_init(&t->mu, NULL);
  return t;
}

void tl_tickets_free(struct tl_ticket_keys *t) {
  if (!t) return;
  pthread_mutex_destroy(&t->mu);
  OPENSSL_cleanse(t, sizeof(*t));
  munmap(t, sizeof(*t));
}

static bool make_key(struct tl_ticket_key *k, uint64_t now) {
  if (RAND_bytes(k->name, TL_TICKET_NAME_LEN) != 1 ||
      RAND_priv_bytes(k->aes, TL_TICKET_KEY_LEN) != 1 ||
      RAND_priv_bytes(k->hmac, TL_TICKET_KEY_LEN) != 1)
    return false;
  k->born_ms = now;
  k->set = true;
  return true;
}

/* Called with the lock held. Wipes keys that have expired; a key past its sealing time only
 * opens. */
static void age_keys(struct tl_ticket_keys *t, uint64_t now) {
  if (t->former.set && now - t->former.born_ms >= t->life_ms)
    OPENSSL_cleanse(&t->former, sizeof(t->former));
  if (!t->present.set || now - t->present.born_ms < t->life_ms / 2) return;
  OPENSSL_cleanse(&t->former, sizeof(t->former));
  if (now - t->present.born_ms < t->life_ms) t->former = t->present;
  OPENSSL_cleanse(&t->present, sizeof(t->present));
}

/* The key that seals (NAME NULL) or the one called NAME. 2: it opens, but no longer seals. */
static int find_key(struct tl_ticket_keys *t, const uint8_t *name, struct tl_ticket_key *out) {
  int rc = 0;
  const uint64_t now = tl_now_ms();
  pthread_mutex_lock(&t->mu);
  age_keys(t, now);
  if (!name && !t->present.set && !make_key(&t->present, now))
    OPENSSL_cleanse(&t->present, sizeof(t->present));
  if (t->present.set && (!name || memcmp(name, t->present.name, TL_TICKET_NAME_LEN) == 0)) {
    *out = t->present;
    rc = 1;
  } else if (name && t->former.set && memcmp(name, t->former.name, TL_TICKET_NAME_LEN) == 0) {
    *out = t->former;
    rc = 2;
  }
  pthread_mutex_unlock(&t->mu);
  return rc;
}

unsigned tl_tickets_wipe(struct tl_ticket_keys *t) {
  pthread_mutex_lock(&t->mu);
  age_keys(t, tl_now_ms());
  const unsigned n = (unsigned)t->present.set + t->former.set;
  pthread_mutex_unlock(&t->mu);
  return n;
}

static struct tl_tls_domain *domain_of(SSL *ssl) {
  struct tl_hs *hs = tl_hs_of_ssl(ssl);
  return hs && hs->domain && hs->domain->ticket_keys ? hs->domain : NULL;
}

static bool set_mac(EVP_MAC_CTX *mac, struct tl_ticket_key *k) {
  char digest[] = "SHA256";
  OSSL_PARAM p[] = {
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, k->hmac, TL_TICKET_KEY_LEN),
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_end()};
  return EVP_MAC_CTX_set_params(mac, p) == 1;
}

/* AES-256-CBC and HMAC-SHA256 (RFC 5077 4); OpenSSL places name, IV and MAC. */
static int on_key(SSL *ssl, unsigned char name[TL_TICKET_NAME_LEN],
                  unsigned char iv[EVP_MAX_IV_LENGTH], EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                  int seal) {
  struct tl_ticket_key k;
  struct tl_tls_domain *d = domain_of(ssl);
  int rc = d ? find_key(d->ticket_keys, seal ? NULL : name, &k) : 0;
  if (rc == 0) return 0; /* unknown: a full handshake follows; none to seal with: no ticket */
  bool ok = true;
  if (seal) {
    memcpy(name, k.name, TL_TICKET_NAME_LEN);
    ok = RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) == 1 &&
         EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k.aes, iv) == 1;
  } else {
    ok = EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k.aes, iv) == 1;
  }
  ok = ok && set_mac(mac, &k);
  OPENSSL_cleanse(&k, sizeof(k));
  return ok ? rc : -1;
}

/* ---- which sessions may resume ---- */

bool tl_tickets_client_ok(const struct tl_tls_domain *d, X509 *leaf) {
  struct tl_verdict v;
  struct tl_ocsp_known known;
  uint8_t sha256[32];
  if (!leaf || !d->policy.verify_cert) return true;
  if (X509_digest(leaf, EVP_sha256(), sha256, NULL) != 1) return false;
  if (d->policy.ocsp.client != TL_OCSP_CLIENT_OFF && tl_ocsp_recall(sha256, time(NULL), &known) &&
      known.status == TL_OCSP_REVOKED)
    return false;
  /* A ticket holds only the client's own certificate; the chain is known while another connection
   * of the client is alive. */
  struct tl_identity *id = tl_identity_find(leaf);
  bool ok = id && tl_tls_verify_identity(d, true, id, (struct tl_str){0}, 0, &v) == 0;
  tl_identity_unref(id);
  return ok;
}

static SSL_TICKET_RETURN on_ticket(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                   size_t n, SSL_TICKET_STATUS status, void *arg) {
  (void)name, (void)n, (void)arg;
  struct tl_hs *hs = tl_hs_of_ssl(ssl);
  if (status != SSL_TICKET_EMPTY && hs) hs->resume_offered = true;
  if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW)
    return SSL_TICKET_RETURN_IGNORE_RENEW;
  if (!hs || !hs->domain || !hs->domain->policy.resumption ||
      !tl_tickets_client_ok(hs->domain, SSL_SESSION_get0_peer(session))) {
    if (hs) hs->resume_refused = true;
    ERR_clear_error();
    return SSL_TICKET_RETURN_IGNORE_RENEW;
  }
  /* A TLS 1.3 ticket is for one use (RFC 8446 C.4): the client gets a new one. */
  bool renew = status == SSL_TICKET_SUCCESS_RENEW || SSL_version(ssl) == TLS1_3_VERSION;
  return renew ? SSL_TICKET_RETURN_USE_RENEW : SSL_TICKET_RETURN_USE;
}

void tl_tickets_limit(SSL *ssl) {
  const struct tl_tls_domain *d = domain_of(ssl);
  SSL_SESSION *session = SSL_get_session(ssl);
  /* OpenSSL takes the lifetime from the context that the handshake began with, which all domains
   * share. */
  if (d && session) SSL_SESSION_set_timeout(session, (long)d->policy.ticket_lifetime_ms / 1000);
}

static int on_new_ticket(SSL *ssl, void *arg) {
  (void)arg;
  tl_tickets_limit(ssl);
  return 1;
}

void tl_tickets_hook(SSL_CTX *ctx) {
  SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_key);
  SSL_CTX_set_session_ticket_cb(ctx, on_new_ticket, on_ticket, NULL);
  SSL_CTX_set_timeout(ctx, TL_TICKET_LIFE_S);
}
