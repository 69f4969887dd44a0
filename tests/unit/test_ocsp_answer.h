/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OCSP answers for tests, made with OpenSSL's own calls.
 *
 * Ownership: an answer is the caller's, OPENSSL_free it; certificates are the
 * kit's. Threads: one. Errors:
 * the test fails.
 */
#pragma once

#include <openssl/ocsp.h>
#include <openssl/ssl.h>

#include "test_tls_pki.h"

struct ocsp_answer {
  X509 *cert, *issuer;
  const struct kit_cert *signer; /* NULL: the issuer, which must be pki_ca */
  int status;                    /* V_OCSP_CERTSTATUS_* */
  long from_s, to_s;             /* relative to now; TO_S 0: no nextUpdate */
  const EVP_MD *md;              /* of the certificate's id, NULL: SHA-1 */
};
size_t ocsp_answer(const struct ocsp_answer *a, uint8_t **out);
/* The certificate in NAME.pem of the test's directory. */
X509 *ocsp_cert(const char *name);
/* A certificate of pki_ca that may sign answers (EKU), or one that may not. */
struct kit_cert ocsp_delegate(bool may_sign);
