/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The OCSP answer that we staple: one per certificate of ours, renewed by the
 * control thread while handshake threads read it.
 */
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tieline/ocsp.h"

static void put_answer(struct tl_staple *s, uint8_t *der, size_t n,
                       const struct tl_ocsp_verdict *v) {
  pthread_mutex_lock(&s->mu);
  uint8_t *old = s->der;
  s->der = der;
  s->n = n;
  s->verdict = *v;
  pthread_mutex_unlock(&s->mu);
  free(old);
}

int tl_staple_set(struct tl_staple *s, const uint8_t *der, size_t n, time_t now,
                  struct tl_ocsp_verdict *out) {
  int rc = tl_ocsp_judge(der, n, s->cert, s->issuer, now, out);
  if (rc) return rc;
  if (out->status != TL_OCSP_GOOD) return TL_EVERIFY; /* stapling it would only turn clients away */
  uint8_t *copy = malloc(n);
  if (!copy) return TL_ENOMEM;
  memcpy(copy, der, n);
  put_answer(s, copy, n, out);
  return TL_OK;
}

void tl_staple_inherit(struct tl_staple *s, struct tl_staple *from, time_t now) {
  struct tl_ocsp_verdict v;
  uint8_t *copy = NULL;
  size_t n = 0;
  if (s == from || s->der || X509_cmp(s->cert, from->cert) != 0) return;
  pthread_mutex_lock(&from->mu);
  if (from->der && (copy = malloc(from->n))) memcpy(copy, from->der, n = from->n);
  pthread_mutex_unlock(&from->mu);
  if (copy) tl_staple_set(s, copy, n, now, &v);
  free(copy);
}

void tl_staple_look(struct tl_staple *s, struct tl_ocsp_verdict *out) {
  memset(out, 0, sizeof(*out));
  pthread_mutex_lock(&s->mu);
  if (s->der) *out = s->verdict;
  pthread_mutex_unlock(&s->mu);
}

void tl_staple_serial(const struct tl_staple *s, char *out, size_t cap) {
  BIGNUM *bn = ASN1_INTEGER_to_BN(X509_get0_serialNumber(s->cert), NULL);
  char *serial = bn ? BN_bn2hex(bn) : NULL;
  snprintf(out, cap, "%s", serial ? serial : "");
  OPENSSL_free(serial);
  BN_free(bn);
}
