/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A responder's pen: what it writes is judged elsewhere.
 */
#include "test_ocsp_answer.h"

#include <criterion/criterion.h>

size_t ocsp_answer(const struct ocsp_answer *a, uint8_t **out) {
  const struct kit_cert *signer = a->signer ? a->signer : &pki_ca;
  OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
  OCSP_CERTID *id = OCSP_cert_to_id(a->md ? a->md : EVP_sha1(), a->cert, a->issuer);
  ASN1_TIME *from = X509_gmtime_adj(NULL, a->from_s);
  ASN1_TIME *to = a->to_s ? X509_gmtime_adj(NULL, a->to_s) : NULL;
  ASN1_TIME *revoked = a->status == V_OCSP_CERTSTATUS_REVOKED ? X509_gmtime_adj(NULL, -60) : NULL;
  cr_assert(OCSP_basic_add1_status(
      basic, id, a->status, revoked ? OCSP_REVOKED_STATUS_KEYCOMPROMISE : 0, revoked, from, to));
  cr_assert(OCSP_basic_sign(basic, signer->x, signer->key, EVP_sha256(), NULL, 0));
  OCSP_RESPONSE *r = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
  *out = NULL;
  int n = i2d_OCSP_RESPONSE(r, out);
  cr_assert_gt(n, 0);
  OCSP_RESPONSE_free(r);
  OCSP_BASICRESP_free(basic);
  OCSP_CERTID_free(id);
  ASN1_TIME_free(from);
  ASN1_TIME_free(to);
  ASN1_TIME_free(revoked);
  return (size_t)n;
}

X509 *ocsp_cert(const char *name) {
  char file[64];
  snprintf(file, sizeof(file), "%s.pem", name);
  return kit_read(pki_path(file), NULL).x;
}

struct kit_cert ocsp_delegate(bool may_sign) {
  return kit_make(&(struct kit_options){.subject = "O=Lab/CN=responder",
                                        .issuer = &pki_ca,
                                        .ext = {may_sign ? "extendedKeyUsage=OCSPSigning" : NULL}});
}
