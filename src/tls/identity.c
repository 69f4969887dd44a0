/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates of peers as immutable records, one per distinct chain and
 * verdict, shared by all threads through a table under a mutex (taken when a TLS
 * connection begins and ends, never per message).
 *
 * Whether a certificate speaks for a SIP domain is in identity_match.c.
 */
#include "tieline/identity.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "tls/internal.h"

#define BUCKETS 4096

/* What the table links; the record comes first so that both share an address. */
struct entry {
  struct tl_identity id;
  struct entry *next;
};

static struct entry *table[BUCKETS];
static pthread_mutex_t table_mu = PTHREAD_MUTEX_INITIALIZER;

/* By the leaf, so that a resumed session (leaf alone) finds the record of the full one. */
static size_t bucket_of(const char *cert_sha256) {
  unsigned v = 0;
  for (int i = 0; i < 4; i++)
    v = v << 4 | (unsigned)OPENSSL_hexchar2int((unsigned char)cert_sha256[i]);
  return v % BUCKETS;
}

static void hex_digest(const uint8_t *p, size_t n, char *out) {
  for (size_t i = 0; i < n; i++) snprintf(out + 2 * i, 3, "%02x", p[i]);
}

static char *name_text(const X509_NAME *name) {
  BIO *mem = BIO_new(BIO_s_mem());
  if (!mem) return NULL;
  /* UTF-8 stays readable; controls are escaped. */
  X509_NAME_print_ex(mem, name, 0, XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB);
  char *p;
  long n = BIO_get_mem_data(mem, &p);
  char *s = strndup(n > 0 ? p : "", n > 0 ? (size_t)n : 0);
  BIO_free(mem);
  return s;
}

/* A string that would end early in C is an attempt to look like another name. */
static char *clean_string(const ASN1_STRING *a) {
  const unsigned char *p = ASN1_STRING_get0_data(a);
  int n = ASN1_STRING_length(a);
  return n > 0 && !memchr(p, 0, (size_t)n) ? strndup((const char *)p, (size_t)n) : NULL;
}

static char *first_cn(X509 *x) {
  X509_NAME *name = X509_get_subject_name(x);
  int i = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
  if (i < 0) return NULL;
  unsigned char *utf8 = NULL;
  int n = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, i)));
  char *s = n > 0 && !memchr(utf8, 0, (size_t)n) ? strndup((char *)utf8, (size_t)n) : NULL;
  OPENSSL_free(utf8);
  return s;
}

static char *ip_text(const ASN1_OCTET_STRING *ip) {
  struct tl_addr a;
  memset(&a, 0, sizeof(a));
  int n = ASN1_STRING_length(ip);
  if (n == 4) {
    a.v4.sin_family = AF_INET;
    memcpy(&a.v4.sin_addr, ASN1_STRING_get0_data(ip), 4);
  } else if (n == 16) {
    a.v6.sin6_family = AF_INET6;
    memcpy(&a.v6.sin6_addr, ASN1_STRING_get0_data(ip), 16);
  } else {
    return NULL;
  }
  char buf[TL_ADDR_STRLEN];
  return strdup(tl_addr_format_host(&a, buf));
}

static bool san_of(const GENERAL_NAME *g, struct tl_san *out) {
  out->value = NULL;
  switch (g->type) {
  case GEN_DNS:
    out->kind = TL_SAN_DNS;
    out->value = clean_string(g->d.dNSName);
    break;
  case GEN_URI:
    out->kind = TL_SAN_URI;
    out->value = clean_string(g->d.uniformResourceIdentifier);
    break;
  case GEN_EMAIL:
    out->kind = TL_SAN_EMAIL;
    out->value = clean_string(g->d.rfc822Name);
    break;
  case GEN_IPADD:
    out->kind = TL_SAN_IP;
    out->value = ip_text(g->d.iPAddress);
    break;
  default: break; /* other kinds name nothing in SIP */
  }
  return out->value != NULL;
}

static int read_sans(struct tl_identity *id, X509 *x) {
  GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
  id->has_san = X509_get_ext_by_NID(x, NID_subject_alt_name, -1) >= 0;
  int n = names ? sk_GENERAL_NAME_num(names) : 0;
  if (n > 0 && !(id->san = calloc((size_t)n, sizeof(*id->san)))) n = -1;
  for (int i = 0; i < n; i++)
    if (san_of(sk_GENERAL_NAME_value(names, i), &id->san[id->n_san])) id->n_san++;
  GENERAL_NAMES_free(names);
  return n < 0 ? TL_ENOMEM : 0;
}

static time_t time_of(const ASN1_TIME *t) {
  struct tm tm;
  return ASN1_TIME_to_tm(t, &tm) == 1 ? timegm(&tm) : 0;
}

static int digest_der(int n, unsigned char *der, uint8_t out[32]) {
  if (n <= 0 || !der) return TL_ENOMEM;
  int ok = EVP_Digest(der, (size_t)n, out, NULL, EVP_sha256(), NULL);
  OPENSSL_free(der);
  return ok ? 0 : TL_ENOMEM;
}

static int read_digests(struct tl_identity *id, X509 *x) {
  uint8_t md[32];
  unsigned char *der = NULL;
  int n = i2d_X509(x, &der);
  if (digest_der(n, der, md)) return TL_ENOMEM;
  hex_digest(md, sizeof(md), id->cert_sha256);
  der = NULL;
  n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
  if (digest_der(n, der, md)) return TL_ENOMEM;
  hex_digest(md, sizeof(md), id->spki_sha256);
  return 0;
}

static int read_cert(struct tl_identity *id, X509 *x) {
  id->subject = name_text(X509_get_subject_name(x));
  id->issuer = name_text(X509_get_issuer_name(x));
  BIGNUM *bn = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL);
  char *hex = bn ? BN_bn2hex(bn) : NULL;
  id->serial = hex ? strdup(hex) : NULL;
  OPENSSL_free(hex);
  BN_free(bn);
  id->cn = first_cn(x);
  id->not_before = time_of(X509_get0_notBefore(x));
  id->not_after = time_of(X509_get0_notAfter(x));
  if (!id->subject || !id->issuer || !id->serial) return TL_ENOMEM;
  int rc = read_digests(id, x);
  return rc ? rc : read_sans(id, x);
}

static int digest_cert(EVP_MD_CTX *md, X509 *x) {
  unsigned char *der = NULL;
  int n = i2d_X509(x, &der);
  int ok = n > 0 && EVP_DigestUpdate(md, der, (size_t)n);
  OPENSSL_free(der);
  return ok;
}

/* Leaf, then what else was sent; a resumed session has the leaf only. */
static int chain_digest(SSL *ssl, X509 *leaf, uint8_t out[32]) {
  EVP_MD_CTX *md = EVP_MD_CTX_new();
  int ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) && digest_cert(md, leaf);
  STACK_OF(X509) *sk = SSL_get_peer_cert_chain(ssl);
  /* A client's chain begins with the leaf, a server's behind it. */
  for (int i = SSL_is_server(ssl) ? 0 : 1; ok && sk && i < sk_X509_num(sk); i++)
    ok = digest_cert(md, sk_X509_value(sk, i));
  ok = ok && EVP_DigestFinal_ex(md, out, NULL);
  EVP_MD_CTX_free(md);
  return ok ? 0 : TL_ENOMEM;
}

static void entry_free(struct entry *e) {
  if (!e) return;
  struct tl_identity *id = &e->id;
  for (size_t i = 0; i < id->n_san; i++) free(id->san[i].value);
  free(id->san);
  free(id->subject);
  free(id->issuer);
  free(id->serial);
  free(id->cn);
  free(id->anchor);
  free(id->path_spki);
  free(e);
}

/* The same certificates may be good by different authorities in different TLS domains. */
static bool same_path(const struct tl_identity *a, const struct tl_identity *b) {
  return a->n_path == b->n_path &&
         (!a->n_path || memcmp(a->path_spki, b->path_spki, a->n_path * 32) == 0);
}

static bool same(const struct tl_identity *have, const struct tl_identity *want, bool leaf_only) {
  if (have->verify_code != want->verify_code || have->verified != want->verified) return false;
  if (leaf_only) return strcmp(have->cert_sha256, want->cert_sha256) == 0;
  return memcmp(have->chain_sha256, want->chain_sha256, sizeof(have->chain_sha256)) == 0 &&
         same_path(have, want);
}

/* The record that is there already, with a reference, or E itself, entered. */
static struct entry *intern(struct entry *e, bool leaf_only) {
  size_t b = bucket_of(e->id.cert_sha256);
  pthread_mutex_lock(&table_mu);
  struct entry *have = table[b];
  while (have && !same(&have->id, &e->id, leaf_only)) have = have->next;
  if (have) {
    __atomic_add_fetch(&have->id.refs, 1, __ATOMIC_RELAXED);
  } else {
    e->next = table[b];
    table[b] = e;
  }
  pthread_mutex_unlock(&table_mu);
  if (!have) return e;
  entry_free(e);
  return have;
}

static char *anchor_of(SSL *ssl) {
  STACK_OF(X509) *sk = SSL_get0_verified_chain(ssl);
  int n = sk ? sk_X509_num(sk) : 0;
  return n > 0 ? name_text(X509_get_subject_name(sk_X509_value(sk, n - 1))) : NULL;
}

int tl_identity_from_ssl(SSL *ssl, struct tl_identity **out) {
  *out = NULL;
  X509 *leaf = SSL_get1_peer_certificate(ssl);
  if (!leaf) return 0;
  struct entry *e = calloc(1, sizeof(*e));
  int rc = e ? read_cert(&e->id, leaf) : TL_ENOMEM;
  if (rc == 0) rc = chain_digest(ssl, leaf, e->id.chain_sha256);
  if (rc == 0) {
    e->id.refs = 1;
    e->id.verify_code = SSL_get_verify_result(ssl);
    e->id.verified = e->id.verify_code == X509_V_OK && SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE;
    if (e->id.verified) {
      e->id.anchor = anchor_of(ssl);
      rc = tl_identity_read_path(ssl, &e->id);
    }
  }
  if (rc == 0) {
    *out = &intern(e, SSL_session_reused(ssl) == 1)->id;
  } else {
    entry_free(e);
  }
  X509_free(leaf);
  ERR_clear_error();
  return rc;
}

struct tl_identity *tl_identity_ref(struct tl_identity *id) {
  __atomic_add_fetch(&id->refs, 1, __ATOMIC_RELAXED);
  return id;
}

void tl_identity_unref(struct tl_identity *id) {
  if (!id) return;
  /* The last reference goes under the lock, or a lookup could revive a record being freed. */
  pthread_mutex_lock(&table_mu);
  struct entry *dead = NULL;
  if (__atomic_sub_fetch(&id->refs, 1, __ATOMIC_ACQ_REL) == 0) {
    struct entry **p = &table[bucket_of(id->cert_sha256)];
    while (&(*p)->id != id) p = &(*p)->next;
    dead = *p;
    *p = dead->next;
  }
  pthread_mutex_unlock(&table_mu);
  entry_free(dead);
}

bool tl_identity_cert_matches(X509 *cert, struct tl_str domain, bool allow_cn) {
  struct entry *e = calloc(1, sizeof(*e));
  bool ok = e && read_cert(&e->id, cert) == 0 && tl_identity_matches(&e->id, domain, allow_cn);
  entry_free(e);
  return ok;
}
