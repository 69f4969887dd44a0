/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one place that decides whether a peer's certificate is good. OpenSSL
 * builds and checks the chain (signatures, validity, basic constraints, path
 * length, name constraints, revocation, strength); verify_rules.c adds what it
 * does not know; the name comes last, and only where the domain asks for it.
 */
#include "tieline/verify.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#include "tls/crl_lists.h"
#include "tls/identity_read.h"
#include "tls/tls_internal.h"
#include "tls/verify_rules.h"

_Static_assert(TL_VERIFY_OK == X509_V_OK && TL_VERIFY_UNSPECIFIED == X509_V_ERR_UNSPECIFIED &&
                   TL_VERIFY_REVOKED == X509_V_ERR_CERT_REVOKED &&
                   TL_VERIFY_WRONG_NAME == X509_V_ERR_HOSTNAME_MISMATCH,
               "the codes are OpenSSL's");

const char *tl_verify_text(long code) { return X509_verify_cert_error_string(code); }

uint8_t tl_verify_alert(int code) {
  switch (code) {
  case X509_V_OK: return 0xff;
  /* "has expired or is not currently valid" (RFC 8446 6.2) */
  case X509_V_ERR_CERT_HAS_EXPIRED:
  case X509_V_ERR_CERT_NOT_YET_VALID: return SSL_AD_CERTIFICATE_EXPIRED;
  case X509_V_ERR_CERT_REVOKED: return SSL_AD_CERTIFICATE_REVOKED;
  case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
  case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
  case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
  case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
  case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
  case X509_V_ERR_CERT_CHAIN_TOO_LONG:
  case X509_V_ERR_PATH_LENGTH_EXCEEDED:
  case X509_V_ERR_INVALID_CA:
  case X509_V_ERR_CERT_UNTRUSTED: return SSL_AD_UNKNOWN_CA;
  case X509_V_ERR_INVALID_PURPOSE: return SSL_AD_UNSUPPORTED_CERTIFICATE;
  /* "corrupt, contained signatures that did not verify correctly, etc." */
  case X509_V_ERR_CERT_SIGNATURE_FAILURE:
  case X509_V_ERR_UNABLE_TO_DECRYPT_CERT_SIGNATURE:
  case X509_V_ERR_UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY:
  case X509_V_ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD:
  case X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD:
  case X509_V_ERR_HOSTNAME_MISMATCH:
  case X509_V_ERR_CERT_REJECTED:
  case X509_V_ERR_INVALID_EXTENSION:
  case X509_V_ERR_PERMITTED_VIOLATION:
  case X509_V_ERR_EXCLUDED_VIOLATION:
  case X509_V_ERR_UNSUPPORTED_NAME_SYNTAX:
  case X509_V_ERR_UNSUPPORTED_CONSTRAINT_SYNTAX:
  case X509_V_ERR_EE_KEY_TOO_SMALL:
  case X509_V_ERR_CA_KEY_TOO_SMALL:
  case X509_V_ERR_CA_MD_TOO_WEAK:
  case X509_V_ERR_EC_KEY_EXPLICIT_PARAMS: return SSL_AD_BAD_CERTIFICATE;
  case X509_V_ERR_OUT_OF_MEM: return SSL_AD_INTERNAL_ERROR;
  /* a missing or stale revocation list is not the peer's doing */
  default: return SSL_AD_CERTIFICATE_UNKNOWN;
  }
}

int tl_verify_code_for_openssl(int code) {
  switch (tl_verify_alert(code)) {
  case SSL_AD_CERTIFICATE_EXPIRED: return X509_V_ERR_CERT_HAS_EXPIRED;
  case SSL_AD_CERTIFICATE_REVOKED: return X509_V_ERR_CERT_REVOKED;
  case SSL_AD_UNKNOWN_CA: return X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY;
  case SSL_AD_UNSUPPORTED_CERTIFICATE: return X509_V_ERR_INVALID_PURPOSE;
  case SSL_AD_BAD_CERTIFICATE: return X509_V_ERR_CERT_REJECTED;
  case SSL_AD_INTERNAL_ERROR: return X509_V_ERR_OUT_OF_MEM;
  default: return X509_V_ERR_INVALID_NON_CA; /* any that OpenSSL calls certificate_unknown */
  }
}

/* Cut between characters: half of one would not be UTF-8. */
static void put_text(char *out, size_t cap, const char *s) {
  size_t n = strlen(s);
  if (n >= cap)
    for (n = cap - 1; n && ((unsigned char)s[n] & 0xc0) == 0x80; n--) continue;
  memcpy(out, s, n);
  out[n] = '\0';
}

static void put_subject(char *out, size_t cap, X509 *x) {
  char *s = x ? tl_name_text(X509_get_subject_name(x)) : NULL;
  put_text(out, cap, s ? s : "");
  free(s);
}

static int set_failure(struct tl_verdict *v, int code, int depth, X509 *x, const char *why) {
  v->code = code != X509_V_OK ? code : X509_V_ERR_UNSPECIFIED;
  v->depth = depth;
  v->alert = tl_verify_alert(v->code);
  put_subject(v->subject, sizeof(v->subject), x);
  put_text(v->why, sizeof(v->why), why ? why : X509_verify_cert_error_string(v->code));
  return TL_EVERIFY;
}

static void note_chain(struct tl_verdict *v, STACK_OF(X509) * chain) {
  int n = sk_X509_num(chain);
  put_subject(v->anchor, sizeof(v->anchor), sk_X509_value(chain, n - 1));
  for (int i = 0; i < n; i++) {
    X509 *x = sk_X509_value(chain, i);
    time_t from = tl_time_of(X509_get0_notBefore(x)), to = tl_time_of(X509_get0_notAfter(x));
    if (i == 0 || to < v->chain_not_after) v->chain_not_after = to;
    if (i == 0 || from > v->chain_not_before) v->chain_not_before = from;
  }
}

static int build_and_verify(X509_STORE_CTX *sc) {
  STACK_OF(X509) *given = X509_STORE_CTX_get0_untrusted(sc), *ordered = tl_path_order(sc);
  if (ordered) X509_STORE_CTX_set0_untrusted(sc, ordered);
  int ok = X509_verify_cert(sc);
  if (ordered) X509_STORE_CTX_set0_untrusted(sc, given);
  sk_X509_free(ordered);
  return ok;
}

int tl_verify_run(X509_STORE_CTX *sc, const struct tl_tls_domain *d, bool server,
                  struct tl_str name, struct tl_verdict *v) {
  struct tl_finding f;
  memset(v, 0, sizeof(*v));
  v->alert = 0xff;
  v->name_ok = true;
  v->checked = d->policy.verify_cert;
  v->code = X509_V_ERR_APPLICATION_VERIFICATION; /* nothing that could pass for OK */
  if (!v->checked) return TL_OK;
  X509 *leaf = X509_STORE_CTX_get0_cert(sc);
  if (!tl_leaf_acceptable(leaf, &f)) return set_failure(v, f.code, f.depth, leaf, f.why);
  /* OpenSSL's purpose check would refuse what RFC 5924 allows; tl_chain_acceptable replaces it. The
   * checks of authorities (basicConstraints, keyCertSign, path length) do not depend on it. */
  X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(sc);
  X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_ANY);
  /* Any policy is accepted (RFC 5280 6.1.1 c). Without this, OpenSSL treats critical policy
   * constraints as understood without looking at them. */
  if (X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_POLICY_CHECK) != 1 ||
      X509_VERIFY_PARAM_add0_policy(param, OBJ_nid2obj(NID_any_policy)) != 1)
    return set_failure(v, X509_V_ERR_OUT_OF_MEM, 0, leaf, NULL);
  if (d->crls) X509_STORE_CTX_set_verify_cb(sc, tl_crl_judge);
  int ok = build_and_verify(sc);
  STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(sc);
  if (ok != 1 || sk_X509_num(chain) < 1)
    return set_failure(v, X509_STORE_CTX_get_error(sc), X509_STORE_CTX_get_error_depth(sc),
                       X509_STORE_CTX_get_current_cert(sc), NULL);
  if (!tl_chain_acceptable(chain, d, server, &f))
    return set_failure(v, f.code, f.depth, sk_X509_value(chain, f.depth), f.why);
  if (name.n && d->policy.verify_name) {
    v->name_ok = tl_identity_cert_matches(leaf, name, d->policy.allow_cn);
    if (!v->name_ok)
      return set_failure(v, X509_V_ERR_HOSTNAME_MISMATCH, 0, leaf,
                         "the certificate does not carry the name required");
  }
  v->code = X509_V_OK;
  note_chain(v, chain);
  return TL_OK;
}

/* The same set-up as ssl_verify_cert_chain of OpenSSL for a handshake. */
static int prepare_context(X509_STORE_CTX *sc, SSL_CTX *ctx, bool server,
                           const struct tl_identity *id, time_t at) {
  X509_STORE *store = SSL_CTX_get_cert_store(ctx);
  X509_VERIFY_PARAM *param;
  if (X509_STORE_CTX_init(sc, store, sk_X509_value(id->chain, 0), id->chain) != 1 ||
      X509_STORE_CTX_set_default(sc, server ? "ssl_client" : "ssl_server") != 1 ||
      !(param = X509_STORE_CTX_get0_param(sc)) ||
      X509_VERIFY_PARAM_set1(param, SSL_CTX_get0_param(ctx)) != 1)
    return TL_ENOMEM;
  X509_VERIFY_PARAM_set_auth_level(param, SSL_CTX_get_security_level(ctx));
  if (at) X509_STORE_CTX_set_time(sc, 0, at);
  return TL_OK;
}

int tl_tls_verify_identity(const struct tl_tls_domain *d, bool server, const struct tl_identity *id,
                           struct tl_str name, time_t at, struct tl_verdict *out) {
  SSL_CTX *ctx = server ? d->server : d->client;
  memset(out, 0, sizeof(*out));
  out->alert = 0xff;
  if (!ctx || sk_X509_num(id->chain) < 1) return TL_EINVAL;
  X509_STORE_CTX *sc = X509_STORE_CTX_new();
  int rc = sc ? prepare_context(sc, ctx, server, id, at) : TL_ENOMEM;
  if (rc == 0) rc = tl_verify_run(sc, d, server, name, out);
  X509_STORE_CTX_free(sc);
  ERR_clear_error();
  return rc;
}
