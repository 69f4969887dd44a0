/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The authorities that a client names in its ClientHello, read strictly: a
 * violation of the grammar ends the handshake with decode_error. This file does
 * judge no certificates; credentials_show.c asks whether one of ours is under an
 * authority so named.
 */
#include "tieline/ca_names.h"

#include <openssl/asn1.h>
#include <openssl/err.h>
#include <stdlib.h>

#include "tls/tls_internal.h"

/* IdentifierType of RFC 6066 6. */
enum { PRE_AGREED = 0, KEY_SHA1 = 1, NAME = 2, CERT_SHA1 = 3 };

struct hash {
  int type; /* KEY_SHA1 or CERT_SHA1 */
  uint8_t sha1[20];
};

struct tl_ca_wanted {
  STACK_OF(X509_NAME) * names;
  struct hash *hash;
  size_t n_hash, cap_hash;
  size_t attributes; /* of the names that were read */
};

int tl_ca_wanted_new(struct tl_ca_wanted **out) {
  struct tl_ca_wanted *w = *out = calloc(1, sizeof(*w));
  if (!w) return TL_ENOMEM;
  if ((w->names = sk_X509_NAME_new_null())) return TL_OK;
  free(w);
  *out = NULL;
  return TL_ENOMEM;
}

void tl_ca_wanted_free(struct tl_ca_wanted *w) {
  if (!w) return;
  sk_X509_NAME_pop_free(w->names, X509_NAME_free);
  free(w->hash);
  free(w);
}

size_t tl_ca_wanted_count(const struct tl_ca_wanted *w) {
  return (size_t)sk_X509_NAME_num(w->names) + w->n_hash;
}

static int add_name(struct tl_ca_wanted *w, X509_NAME *name) {
  if (tl_ca_wanted_count(w) < TL_CA_WANTED_MAX) {
    if (sk_X509_NAME_push(w->names, name)) return TL_OK;
    X509_NAME_free(name);
    return TL_ENOMEM;
  }
  X509_NAME_free(name);
  return TL_OK;
}

static int add_hash(struct tl_ca_wanted *w, int type, const uint8_t *sha1) {
  if (tl_ca_wanted_count(w) >= TL_CA_WANTED_MAX) return TL_OK;
  if (w->n_hash == w->cap_hash) {
    size_t cap = w->cap_hash ? w->cap_hash * 2 : 8;
    struct hash *h = realloc(w->hash, cap * sizeof(*h));
    if (!h) return TL_ENOMEM;
    w->hash = h;
    w->cap_hash = cap;
  }
  w->hash[w->n_hash].type = type;
  memcpy(w->hash[w->n_hash++].sha1, sha1, 20);
  return TL_OK;
}

/* What is left to read. */
struct cursor {
  const uint8_t *p;
  size_t n;
};

static bool take_bytes(struct cursor *c, size_t n, const uint8_t **out) {
  if (c->n < n) return false;
  *out = c->p;
  c->p += n;
  c->n -= n;
  return true;
}

static bool take_u16(struct cursor *c, size_t *out) {
  const uint8_t *p;
  if (!take_bytes(c, 2, &p)) return false;
  *out = (size_t)p[0] << 8 | p[1];
  return true;
}

/* The next DER value in C, if it has TAG: *OUT is its content. Reads lengths only. */
static bool take_der(struct cursor *c, int tag, struct cursor *out) {
  const uint8_t *p = c->p;
  long len;
  int got, class;
  int rc = ASN1_get_object(&p, &len, &got, &class, (long)c->n);
  if (rc != V_ASN1_CONSTRUCTED || got != tag || class != V_ASN1_UNIVERSAL) return false;
  *out = (struct cursor){p, (size_t)len};
  size_t used = (size_t)(p - c->p) + (size_t)len;
  c->p += used;
  c->n -= used;
  return true;
}

/* Counts the attributes of Name ::= SEQUENCE OF SET OF SEQUENCE { type, value } by the lengths
 * alone. False: it is not a Name. An empty set counts as an attribute: it costs as much. */
static bool count_attributes(const uint8_t *p, size_t n, size_t *out) {
  struct cursor c = {p, n}, sets, set, one;
  *out = 0;
  if (!take_der(&c, V_ASN1_SEQUENCE, &sets) || c.n) return false;
  while (sets.n) {
    if (!take_der(&sets, V_ASN1_SET, &set)) return false;
    *out += set.n == 0;
    for (; set.n; ++*out)
      if (!take_der(&set, V_ASN1_SEQUENCE, &one)) return false;
  }
  return true;
}

/* Is there room for one more name of N bytes with so many ATTRIBUTES? */
static bool has_room(const struct tl_ca_wanted *w, size_t n, size_t attributes) {
  return tl_ca_wanted_count(w) < TL_CA_WANTED_MAX && n <= TL_CA_NAME_MAX &&
         w->attributes + attributes <= TL_CA_ATTRIBUTES_MAX;
}

/* opaque DistinguishedName<1..2^16-1>: exactly one DER Name. TL_ELIMIT: it is one, but over a
 * bound. */
static int take_name(struct tl_ca_wanted *w, struct cursor *c) {
  size_t n, attributes;
  const uint8_t *p;
  if (!take_u16(c, &n) || n == 0 || !take_bytes(c, n, &p)) return TL_ESYNTAX;
  const uint8_t *end = p + n;
  if (!count_attributes(p, n, &attributes)) {
    ERR_clear_error();
    return TL_ESYNTAX;
  }
  if (!has_room(w, n, attributes)) return TL_ELIMIT;
  w->attributes += attributes;
  tl_blame_begin();
  X509_NAME *name = d2i_X509_NAME(NULL, &p, (long)n);
  if (!name || p != end) {
    X509_NAME_free(name);
    return tl_blame_no_memory() ? TL_ENOMEM : TL_ESYNTAX;
  }
  return add_name(w, name);
}

int tl_ca_wanted_names(struct tl_ca_wanted *w, const uint8_t *p, size_t n) {
  struct cursor c = {p, n};
  size_t len;
  /* DistinguishedName authorities<3..2^16-1> */
  if (!take_u16(&c, &len) || len != c.n || len < 3) return TL_ESYNTAX;
  while (c.n) {
    int rc = take_name(w, &c);
    if (rc) return rc;
  }
  return TL_OK;
}

static int take_trusted(struct tl_ca_wanted *w, struct cursor *c) {
  const uint8_t *type, *sha1;
  if (!take_bytes(c, 1, &type)) return TL_ESYNTAX;
  switch (*type) {
  case PRE_AGREED: return TL_OK; /* no reason to prefer any certificate of ours */
  case NAME: return take_name(w, c);
  case KEY_SHA1:
  case CERT_SHA1: return take_bytes(c, 20, &sha1) ? add_hash(w, *type, sha1) : TL_ESYNTAX;
  default: return TL_ESYNTAX; /* its length is unknown, so what follows cannot be read */
  }
}

int tl_ca_wanted_keys(struct tl_ca_wanted *w, const uint8_t *p, size_t n) {
  struct cursor c = {p, n};
  size_t len;
  /* TrustedAuthority trusted_authorities_list<0..2^16-1> */
  if (!take_u16(&c, &len) || len != c.n) return TL_ESYNTAX;
  while (c.n) {
    int rc = take_trusted(w, &c);
    if (rc && rc != TL_ELIMIT) return rc; /* OpenSSL does not read these, so they may be skipped */
  }
  return TL_OK;
}

static bool names_authority(const struct tl_ca_wanted *w, const struct tl_authority *a) {
  for (int i = 0; i < sk_X509_NAME_num(w->names); i++)
    if (X509_NAME_cmp(sk_X509_NAME_value(w->names, i), a->name) == 0) return true;
  for (size_t i = 0; a->known && i < w->n_hash; i++) {
    const uint8_t *mine = w->hash[i].type == KEY_SHA1 ? a->key_sha1 : a->cert_sha1;
    if (memcmp(mine, w->hash[i].sha1, sizeof(a->key_sha1)) == 0) return true;
  }
  return false;
}

bool tl_credential_wanted(const struct tl_credential *c, const struct tl_ca_wanted *w) {
  for (size_t i = 0; i < c->n_authority; i++)
    if (names_authority(w, &c->authority[i])) return true;
  return false;
}

bool tl_domain_wanted(const struct tl_tls_domain *d, const struct tl_ca_wanted *w) {
  for (size_t i = 0; i < d->n_cred; i++)
    if (tl_credential_wanted(&d->cred[i], w)) return true;
  return false;
}
