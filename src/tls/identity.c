/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates of peers as immutable records, one per distinct chain and
 * verdict, shared by all threads through a table under a mutex (taken when a TLS
 * connection begins and ends, never per message).
 *
 * identity_read.c reads the certificate; identity_match.c tells whether it
 * speaks for a SIP domain.
 */
#include "tieline/identity.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "tieline/container.h"
#include "tieline/hash_table.h"
#include "tieline/verify.h"
#include "tls/identity_read.h"
#include "tls/tls_internal.h"

/* What the table links; the record comes first so that both share an address. */
struct entry {
  struct tl_identity id;
  struct tl_hash_node node;
  bool entered; /* is in the table; our own certificates are not */
};

static struct tl_hash_table table;
static pthread_mutex_t table_mu = PTHREAD_MUTEX_INITIALIZER;

/* By the leaf, so that a resumed session, which has only that, finds the full record. */
static uint64_t hash_of(const char *cert_sha256) {
  uint64_t v = 0;
  for (int i = 0; i < 16; i++)
    v = v << 4 | (unsigned)OPENSSL_hexchar2int((unsigned char)cert_sha256[i]);
  return v;
}

static struct entry *entry_of(struct tl_hash_node *node) {
  return node ? tl_container_of(node, struct entry, node) : NULL;
}

static struct entry *first_entry(const char *cert_sha256) {
  return entry_of(tl_hash_first(&table, hash_of(cert_sha256)));
}

static struct entry *next_entry(const struct entry *e) { return entry_of(tl_hash_next(&e->node)); }

static void entry_free(struct entry *e) {
  if (!e) return;
  tl_identity_clear(&e->id);
  free(e);
}

static int push_ref(STACK_OF(X509) * sk, X509 *x) {
  if (!X509_up_ref(x)) return TL_ENOMEM;
  if (sk_X509_push(sk, x)) return TL_OK;
  X509_free(x);
  return TL_ENOMEM;
}

/* The leaf, then the others that were sent; a resumed session has only the leaf. */
static int read_chain(struct tl_identity *id, SSL *ssl, X509 *leaf) {
  STACK_OF(X509) *sent = SSL_get_peer_cert_chain(ssl);
  id->chain = sk_X509_new_null();
  int rc = id->chain ? push_ref(id->chain, leaf) : TL_ENOMEM;
  /* As client, OpenSSL's stack begins with the leaf; as server it lacks it. */
  for (int i = SSL_is_server(ssl) ? 0 : 1; rc == 0 && sent && i < sk_X509_num(sent); i++)
    rc = push_ref(id->chain, sk_X509_value(sent, i));
  id->chain_complete = SSL_session_reused(ssl) != 1;
  return rc;
}

static int digest_cert(EVP_MD_CTX *md, X509 *x) {
  unsigned char *der = NULL;
  int n = i2d_X509(x, &der);
  int ok = n > 0 && EVP_DigestUpdate(md, der, (size_t)n);
  OPENSSL_free(der);
  return ok;
}

static int digest_chain(struct tl_identity *id) {
  EVP_MD_CTX *md = EVP_MD_CTX_new();
  int ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL);
  for (int i = 0; ok && i < sk_X509_num(id->chain); i++)
    ok = digest_cert(md, sk_X509_value(id->chain, i));
  ok = ok && EVP_DigestFinal_ex(md, id->chain_sha256, NULL);
  EVP_MD_CTX_free(md);
  return ok ? TL_OK : TL_ENOMEM;
}

/* The same certificates may be valid under different authorities in different TLS domains. */
static bool same_path(const struct tl_identity *a, const struct tl_identity *b) {
  return a->n_path == b->n_path &&
         (!a->n_path || memcmp(a->path_spki, b->path_spki, a->n_path * 32) == 0);
}

static bool same_text(const char *a, const char *b) {
  return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_identity(const struct tl_identity *have, const struct tl_identity *want) {
  if (have->verify_code != want->verify_code || have->verified != want->verified ||
      have->checked != want->checked)
    return false;
  if (!want->chain_complete) return strcmp(have->cert_sha256, want->cert_sha256) == 0;
  return have->chain_complete && have->chain_not_after == want->chain_not_after &&
         memcmp(have->chain_sha256, want->chain_sha256, sizeof(have->chain_sha256)) == 0 &&
         same_text(have->anchor, want->anchor) && same_path(have, want);
}

/* The existing record, with a reference, or E itself, which is entered where memory allows it. */
static struct entry *intern_entry(struct entry *e) {
  pthread_mutex_lock(&table_mu);
  struct entry *have = first_entry(e->id.cert_sha256);
  while (have && !same_identity(&have->id, &e->id)) have = next_entry(have);
  if (have)
    atomic_fetch_add_explicit(&have->id.refs, 1, memory_order_relaxed);
  else
    e->entered = tl_hash_add(&table, &e->node, hash_of(e->id.cert_sha256)) == 0;
  pthread_mutex_unlock(&table_mu);
  if (!have) return e;
  entry_free(e);
  return have;
}

struct tl_identity *tl_identity_find(X509 *leaf) {
  uint8_t sha256[32];
  char hex[65];
  if (X509_digest(leaf, EVP_sha256(), sha256, NULL) != 1) return NULL;
  for (int i = 0; i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", sha256[i]);
  pthread_mutex_lock(&table_mu);
  struct entry *e = first_entry(hex);
  while (e && !(e->id.chain_complete && e->id.verified && strcmp(e->id.cert_sha256, hex) == 0))
    e = next_entry(e);
  if (e) atomic_fetch_add_explicit(&e->id.refs, 1, memory_order_relaxed);
  pthread_mutex_unlock(&table_mu);
  return e ? &e->id : NULL;
}

/* V is NULL for a resumed session, whose ticket has the code of the full handshake. */
static int take_verdict(struct tl_identity *id, SSL *ssl, const struct tl_verdict *v) {
  id->checked = v ? v->checked : SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE;
  id->verify_code = v ? v->code : SSL_get_verify_result(ssl);
  id->verified = id->checked && id->verify_code == X509_V_OK;
  if (!id->verified || !v) return TL_OK;
  id->chain_not_after = v->chain_not_after;
  return v->anchor[0] && !(id->anchor = strdup(v->anchor)) ? TL_ENOMEM : TL_OK;
}

int tl_identity_from_ssl(SSL *ssl, const struct tl_verdict *v, struct tl_identity **out) {
  *out = NULL;
  X509 *leaf = SSL_get1_peer_certificate(ssl);
  if (!leaf) return TL_OK;
  struct entry *e = calloc(1, sizeof(*e));
  int rc = e ? tl_identity_read(&e->id, leaf) : TL_ENOMEM;
  if (rc == 0) rc = read_chain(&e->id, ssl, leaf);
  if (rc == 0) rc = digest_chain(&e->id);
  if (rc == 0) rc = take_verdict(&e->id, ssl, v);
  if (rc == 0 && e->id.verified) rc = tl_identity_read_path(ssl, &e->id);
  if (rc == 0) {
    e->id.refs = 1;
    *out = &intern_entry(e)->id;
  } else {
    entry_free(e);
  }
  X509_free(leaf);
  ERR_clear_error();
  return rc;
}

int tl_identity_of_cert(X509 *cert, STACK_OF(X509) * others, struct tl_identity **out) {
  struct entry *e = calloc(1, sizeof(*e));
  int rc = e ? tl_identity_read(&e->id, cert) : TL_ENOMEM;
  if (rc == 0 && !(e->id.chain = sk_X509_new_null())) rc = TL_ENOMEM;
  if (rc == 0) rc = push_ref(e->id.chain, cert);
  for (int i = 0; rc == 0 && others && i < sk_X509_num(others); i++)
    rc = push_ref(e->id.chain, sk_X509_value(others, i));
  if (rc == 0) rc = digest_chain(&e->id);
  ERR_clear_error();
  if (rc) {
    entry_free(e);
    e = NULL;
  } else {
    e->id.refs = 1;
    e->id.chain_complete = true;
    e->id.verify_code = X509_V_ERR_APPLICATION_VERIFICATION;
  }
  *out = e ? &e->id : NULL;
  return rc;
}

struct tl_identity *tl_identity_ref(struct tl_identity *id) {
  atomic_fetch_add_explicit(&id->refs, 1, memory_order_relaxed);
  return id;
}

void tl_identity_unref(struct tl_identity *id) {
  if (!id) return;
  /* The last reference is dropped under the lock, or a look-up could revive a record being
   * freed. */
  pthread_mutex_lock(&table_mu);
  struct entry *dead = NULL;
  if (atomic_fetch_sub_explicit(&id->refs, 1, memory_order_acq_rel) == 1) {
    dead = (struct entry *)id;
    if (dead->entered) tl_hash_remove(&table, &dead->node);
  }
  pthread_mutex_unlock(&table_mu);
  entry_free(dead);
}

bool tl_identity_cert_matches(X509 *cert, struct tl_str domain, bool allow_cn) {
  struct tl_identity *id;
  if (tl_identity_of_cert(cert, NULL, &id)) return false;
  bool ok = tl_identity_matches(id, domain, allow_cn);
  tl_identity_unref(id);
  return ok;
}

bool tl_identity_cert_digest(const struct tl_identity *id, uint8_t out[32]) {
  size_t n = 0;
  bool ok = OPENSSL_hexstr2buf_ex(out, 32, &n, id->cert_sha256, '\0') == 1 && n == 32;
  if (!ok) ERR_clear_error();
  return ok;
}

size_t tl_identity_chain_len(const struct tl_identity *id) {
  return id->chain ? (size_t)sk_X509_num(id->chain) : 0;
}

X509 *tl_identity_leaf(const struct tl_identity *id) { return sk_X509_value(id->chain, 0); }

void tl_cert_unref(X509 *cert) { X509_free(cert); }
