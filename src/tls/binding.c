/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The authorities and keys that one peer is bound to. Whether a chain is valid
 * at all is verified for the TLS domain; a binding only narrows that.
 */
#include "tieline/binding.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "tls/tls_internal.h"

#define CA_MAX 10000 /* certificates of one file */

int tl_binding_parse_pin(const char *text, uint8_t out[32]) {
  size_t n = 0;
  for (; *text && n < 32; n++) {
    int hi = OPENSSL_hexchar2int((unsigned char)text[0]);
    int lo = hi < 0 ? -1 : OPENSSL_hexchar2int((unsigned char)text[1]);
    if (lo < 0) return TL_ESYNTAX;
    out[n] = (uint8_t)(hi << 4 | lo);
    text += 2;
    if (*text == ':' && n < 31) text++;
  }
  return n == 32 && !*text ? TL_OK : TL_ESYNTAX;
}

static int add_digest(uint8_t (**list)[32], size_t *n, const uint8_t digest[32]) {
  uint8_t(*more)[32] = realloc(*list, (*n + 1) * sizeof(**list));
  if (!more) return TL_ENOMEM;
  memcpy(more[(*n)++], digest, 32);
  *list = more;
  return TL_OK;
}

static int read_authorities(struct tl_binding *b, const char *file, char *err, size_t cap) {
  uint8_t md[32];
  tl_blame_begin();
  BIO *in = BIO_new_file(file, "r");
  int rc = TL_OK;
  if (!in) {
    snprintf(err, cap, "cannot read %s", file);
    return tl_blame_no_memory() ? TL_ENOMEM : TL_ECONFIG;
  }
  for (X509 *x; rc == TL_OK && (x = PEM_read_bio_X509(in, NULL, NULL, NULL)) != NULL;) {
    rc = b->n_ca == CA_MAX ? TL_ELIMIT : tl_identity_spki_digest(x, md);
    if (rc == TL_OK) rc = add_digest(&b->ca, &b->n_ca, md);
    X509_free(x);
  }
  unsigned long last = ERR_peek_last_error();
  /* The end of a PEM file is reported as an error, too. */
  bool damaged = last && ERR_GET_REASON(last) != PEM_R_NO_START_LINE;
  BIO_free(in);
  bool no_memory = tl_blame_no_memory();
  if (rc == TL_OK && no_memory) return TL_ENOMEM;
  if (rc == TL_OK && (damaged || b->n_ca == 0)) {
    snprintf(err, cap, damaged ? "%s is damaged" : "%s holds no certificate", file);
    rc = TL_ECONFIG;
  }
  return rc;
}

static int read_pins(struct tl_binding *b, char *const *pins, char *err, size_t cap) {
  uint8_t md[32];
  int rc = TL_OK;
  for (; pins && *pins && rc == TL_OK; pins++) {
    if (tl_binding_parse_pin(*pins, md)) {
      snprintf(err, cap, "\"%s\" is no SHA-256 digest: 64 hex digits are", *pins);
      return TL_ECONFIG;
    }
    rc = add_digest(&b->pin, &b->n_pin, md);
  }
  return rc;
}

static int by_bytes(const void *a, const void *b) { return memcmp(a, b, 32); }

static int digest_all(struct tl_binding *b) {
  const uint64_t n[2] = {b->n_ca, b->n_pin};
  if (b->n_ca) qsort(b->ca, b->n_ca, 32, by_bytes);
  if (b->n_pin) qsort(b->pin, b->n_pin, 32, by_bytes);
  EVP_MD_CTX *md = EVP_MD_CTX_new();
  int ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) && EVP_DigestUpdate(md, n, sizeof(n));
  if (b->n_ca) ok = ok && EVP_DigestUpdate(md, b->ca, b->n_ca * 32);
  if (b->n_pin) ok = ok && EVP_DigestUpdate(md, b->pin, b->n_pin * 32);
  ok = ok && EVP_DigestFinal_ex(md, b->digest, NULL);
  EVP_MD_CTX_free(md);
  return ok ? TL_OK : TL_ENOMEM;
}

int tl_binding_new(const char *ca_file, char *const *pins, char *err, size_t cap,
                   const char **out_option, struct tl_binding **out) {
  struct tl_binding *b = calloc(1, sizeof(*b));
  *out = NULL;
  if (!b) return TL_ENOMEM;
  b->refs = 1;
  *out_option = "ca_list";
  int rc = ca_file ? read_authorities(b, ca_file, err, cap) : TL_OK;
  if (rc == TL_OK) {
    *out_option = "spki_sha256";
    rc = read_pins(b, pins, err, cap);
  }
  if (rc == TL_OK) rc = digest_all(b);
  if (rc) {
    tl_binding_unref(b);
    return rc;
  }
  *out = b;
  return TL_OK;
}

struct tl_binding *tl_binding_ref(struct tl_binding *b) {
  if (b) atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
  return b;
}

void tl_binding_unref(struct tl_binding *b) {
  if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) > 1) return;
  free(b->ca);
  free(b->pin);
  free(b);
}

static bool has_digest(uint8_t (*list)[32], size_t n, const uint8_t digest[32]) {
  return n && bsearch(digest, list, n, 32, by_bytes) != NULL;
}

bool tl_binding_holds(const struct tl_binding *b, const struct tl_identity *id, bool verified) {
  uint8_t spki[32];
  if (!b) return true;
  if (!id) return false;
  bool by_ca = b->n_ca == 0;
  for (size_t i = 0; verified && !by_ca && i < id->n_path; i++)
    by_ca = has_digest(b->ca, b->n_ca, id->path_spki[i]);
  if (!by_ca) return false;
  if (b->n_pin == 0) return true;
  return tl_binding_parse_pin(id->spki_sha256, spki) == TL_OK && has_digest(b->pin, b->n_pin, spki);
}

bool tl_binding_same(const struct tl_binding *a, const struct tl_binding *b) {
  if (!a || !b) return a == b;
  return memcmp(a->digest, b->digest, sizeof(a->digest)) == 0;
}
