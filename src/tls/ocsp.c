/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions to OCSP responders and the judgement of their answers, from memory
 * to memory. The control thread transports them; ocsp_hooks.c and the control
 * thread draw the consequences for a connection.
 */
#include "tieline/ocsp.h"

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SKEW_S 300 /* clocks differ */
#define NO_NEXT_S                                                                                  \
  3600 /* without nextUpdate, newer information may be available at any time (RFC 6960 2.4) */
#define NEXT_MAX_S 604800 /* an answer that never ends would outlive a revocation */

const char *tl_ocsp_status_name(enum tl_ocsp_status s) {
  static const char *const names[] = {[TL_OCSP_NONE] = "none",
                                      [TL_OCSP_GOOD] = "good",
                                      [TL_OCSP_REVOKED] = "revoked",
                                      [TL_OCSP_UNKNOWN] = "unknown"};
  return (unsigned)s <= TL_OCSP_UNKNOWN ? names[s] : "?";
}

static int refuse_answer(struct tl_ocsp_verdict *v, const char *why) {
  v->status = TL_OCSP_NONE;
  snprintf(v->why, sizeof(v->why), "%s", why);
  ERR_clear_error();
  return TL_EVERIFY;
}

/* RFC 6960 4.2.2.2: the issuer itself, or a certificate it issued for OCSP signing. A store with
 * the issuer as its only anchor lets OpenSSL accept exactly these. */
static bool signed_rightly(OCSP_BASICRESP *basic, X509 *issuer) {
  X509_STORE *store = X509_STORE_new();
  STACK_OF(X509) *certs = sk_X509_new_null();
  bool ok = store && certs && X509_STORE_add_cert(store, issuer) == 1 &&
            X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) == 1 &&
            sk_X509_push(certs, issuer) > 0 && OCSP_basic_verify(basic, certs, store, 0) == 1;
  sk_X509_free(certs);
  X509_STORE_free(store);
  return ok;
}

/* Does ID name CERT, in whichever digest the responder chose? */
static bool names_cert(const OCSP_CERTID *id, X509 *cert, X509 *issuer) {
  ASN1_OBJECT *alg = NULL;
  if (!OCSP_id_get0_info(NULL, &alg, NULL, NULL, (OCSP_CERTID *)id)) return false;
  const EVP_MD *md = EVP_get_digestbyobj(alg);
  OCSP_CERTID *want = md ? OCSP_cert_to_id(md, cert, issuer) : NULL;
  bool same = want && OCSP_id_cmp(want, id) == 0;
  OCSP_CERTID_free(want);
  return same;
}

static OCSP_SINGLERESP *find_single(OCSP_BASICRESP *basic, X509 *cert, X509 *issuer) {
  for (int i = 0; i < OCSP_resp_count(basic) && i < 64; i++) {
    OCSP_SINGLERESP *s = OCSP_resp_get0(basic, i);
    if (names_cert(OCSP_SINGLERESP_get0_id(s), cert, issuer)) return s;
  }
  return NULL;
}

static time_t unix_time(const ASN1_GENERALIZEDTIME *t) {
  struct tm tm;
  return t && ASN1_TIME_to_tm(t, &tm) == 1 ? timegm(&tm) : 0;
}

static int judge_single(OCSP_SINGLERESP *s, time_t now, struct tl_ocsp_verdict *v) {
  ASN1_GENERALIZEDTIME *revoked = NULL, *this_update = NULL, *next_update = NULL;
  int reason = -1;
  int status = OCSP_single_get0_status(s, &reason, &revoked, &this_update, &next_update);
  v->this_update = unix_time(this_update);
  v->next_update = next_update ? unix_time(next_update) : v->this_update + NO_NEXT_S;
  if (v->this_update == 0 || v->next_update <= v->this_update)
    return refuse_answer(v, "the answer's times make no sense");
  if (v->next_update - v->this_update > NEXT_MAX_S) v->next_update = v->this_update + NEXT_MAX_S;
  if (v->this_update > now + SKEW_S) return refuse_answer(v, "the answer is from the future");
  if (v->next_update <= now) return refuse_answer(v, "the answer is out of date");
  v->status = status == V_OCSP_CERTSTATUS_GOOD      ? TL_OCSP_GOOD
              : status == V_OCSP_CERTSTATUS_REVOKED ? TL_OCSP_REVOKED
                                                    : TL_OCSP_UNKNOWN;
  if (v->status == TL_OCSP_REVOKED)
    snprintf(v->why, sizeof(v->why), "%s",
             reason >= 0 ? OCSP_crl_reason_str(reason) : "no reason given");
  return TL_OK;
}

static int judge_basic(OCSP_BASICRESP *basic, X509 *cert, X509 *issuer, time_t now,
                       struct tl_ocsp_verdict *v) {
  if (!signed_rightly(basic, issuer))
    return refuse_answer(
        v, "the answer is not signed by the issuer of the certificate or its responder");
  OCSP_SINGLERESP *s = find_single(basic, cert, issuer);
  if (!s) return refuse_answer(v, "the answer is about another certificate");
  return judge_single(s, now, v);
}

int tl_ocsp_judge(const uint8_t *der, size_t n, X509 *cert, X509 *issuer, time_t now,
                  struct tl_ocsp_verdict *out) {
  memset(out, 0, sizeof(*out));
  const uint8_t *p = der;
  OCSP_RESPONSE *r = n <= INT32_MAX ? d2i_OCSP_RESPONSE(NULL, &p, (long)n) : NULL;
  if (!r || p != der + n) {
    OCSP_RESPONSE_free(r);
    return refuse_answer(out, "the answer is no OCSP response");
  }
  int rc, status = OCSP_response_status(r);
  OCSP_BASICRESP *basic = NULL;
  if (status != OCSP_RESPONSE_STATUS_SUCCESSFUL) {
    char why[80];
    snprintf(why, sizeof(why), "the responder says \"%s\"", OCSP_response_status_str(status));
    rc = refuse_answer(out, why);
  } else if (!(basic = OCSP_response_get1_basic(r))) {
    rc = refuse_answer(out, "the answer is of a kind that nobody uses");
  } else {
    rc = judge_basic(basic, cert, issuer, now, out);
  }
  OCSP_BASICRESP_free(basic);
  OCSP_RESPONSE_free(r);
  ERR_clear_error();
  return rc;
}

/* SHA-1 for the id: the only digest that every responder must know (RFC 5019 2.1.1); it protects
 * nothing. No nonce: answers made in advance are welcome. */
int tl_ocsp_request(X509 *cert, X509 *issuer, uint8_t **out, size_t *out_n) {
  OCSP_REQUEST *req = OCSP_REQUEST_new();
  OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), cert, issuer);
  int len = -1;
  *out = NULL;
  if (req && id && OCSP_request_add0_id(req, id)) {
    id = NULL; /* owned by the request now */
    len = i2d_OCSP_REQUEST(req, NULL);
  }
  uint8_t *p = len > 0 ? malloc((size_t)len) : NULL;
  if (p) {
    *out = p;
    *out_n = (size_t)len;
    i2d_OCSP_REQUEST(req, &p);
  }
  OCSP_CERTID_free(id);
  OCSP_REQUEST_free(req);
  ERR_clear_error();
  return *out ? TL_OK : TL_ENOMEM;
}

/* The chain comes from the peer: only the signature tells which certificate is the issuer. */
static bool issued_by(X509 *cert, X509 *above) {
  return X509_check_issued(above, cert) == X509_V_OK &&
         X509_verify(cert, X509_get0_pubkey(above)) == 1;
}

static X509 *issuer_in_store(X509 *cert, SSL_CTX *ctx) {
  X509_STORE_CTX *sc = X509_STORE_CTX_new();
  X509 *found = NULL;
  if (sc && X509_STORE_CTX_init(sc, SSL_CTX_get_cert_store(ctx), cert, NULL) == 1 &&
      X509_STORE_CTX_get1_issuer(&found, sc, cert) == 1 && !issued_by(cert, found)) {
    X509_free(found);
    found = NULL;
  }
  X509_STORE_CTX_free(sc);
  return found;
}

X509 *tl_ocsp_issuer(X509 *cert, STACK_OF(X509) * chain, SSL_CTX *ctx) {
  X509 *found = NULL;
  for (int i = 0; !found && i < sk_X509_num(chain); i++) {
    X509 *x = sk_X509_value(chain, i);
    if (X509_cmp(x, cert) == 0 && i == 0) continue; /* the chain begins with CERT itself */
    if (issued_by(cert, x) && X509_up_ref(x)) found = x;
  }
  if (!found && ctx) found = issuer_in_store(cert, ctx);
  ERR_clear_error();
  return found;
}

char *tl_ocsp_responder(X509 *cert) {
  STACK_OF(OPENSSL_STRING) *list = X509_get1_ocsp(cert);
  char *found = NULL;
  for (int i = 0; !found && i < sk_OPENSSL_STRING_num(list); i++) {
    const char *url = sk_OPENSSL_STRING_value(list, i);
    if (strncmp(url, "http://", 7) == 0) found = strdup(url);
  }
  X509_email_free(list);
  return found;
}
