/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and certificates. Subject alternative names are built as objects, never
 * through OpenSSL's configuration syntax, where a comma in a name would begin
 * another one.
 */
#include <ctype.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "pki/pki_internal.h"
#include "tieline/err.h"

#define SERIAL_BITS 127 /* random and positive; RFC 5280 4.1.2.2 allows 20 bytes */

EVP_PKEY *tl_pki_key(const char *kind) {
  EVP_PKEY *key = NULL;
  if (strcmp(kind, "ec") == 0)
    key = EVP_EC_gen("P-256");
  else if (strcmp(kind, "p384") == 0)
    key = EVP_EC_gen("P-384");
  else if (strcmp(kind, "rsa") == 0)
    key = EVP_RSA_gen(2048);
  else if (strcmp(kind, "rsa4096") == 0)
    key = EVP_RSA_gen(4096);
  else
    return tl_pki_fail(0, "--key is one of ec, p384, rsa, rsa4096, not \"%s\"", kind), NULL;
  if (!key) tl_pki_fail(TL_EIO, "no key could be made");
  return key;
}

int tl_pki_extend(X509 *x, X509_CRL *crl, X509 *issuer, int nid, const char *text) {
  X509V3_CTX ctx;
  X509V3_set_ctx(&ctx, issuer, x, NULL, crl, 0);
  X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, text);
  int ok = e && (x ? X509_add_ext(x, e, -1) : X509_CRL_add_ext(crl, e, -1));
  X509_EXTENSION_free(e);
  return ok ? TL_OK : TL_EIO;
}

/* ---- names */

static bool domain_ok(const char *p) {
  if (strncmp(p, "*.", 2) == 0) p += 2;
  size_t label = 0, n = strlen(p);
  for (size_t i = 0; i < n; i++) {
    if (p[i] == '.' && label == 0) return false;
    label = p[i] == '.' ? 0 : label + 1;
    if (label > 63 || !(isalnum((unsigned char)p[i]) || strchr("-_.", p[i]))) return false;
  }
  return n > 0 && n < 254 && label > 0;
}

static bool is_printable(const char *p) {
  for (; *p; p++)
    if (*p <= ' ' || *p > '~') return false;
  return true;
}

bool tl_pki_san_ok(int kind, const char *text) {
  ASN1_OCTET_STRING *ip;
  switch (kind) {
  case GEN_DNS:
    if (domain_ok(text)) return true;
    tl_pki_fail(0, "\"%s\" is not a valid domain name (international ones as A-labels, xn--...)",
                text);
    return false;
  case GEN_URI:
    if ((strncmp(text, "sip:", 4) == 0 || strncmp(text, "sips:", 5) == 0) && is_printable(text))
      return true;
    tl_pki_fail(0, "\"%s\" is no SIP URI (RFC 5922 7.1 looks at sip: alone)", text);
    return false;
  case GEN_EMAIL:
    if (strchr(text, '@') && is_printable(text)) return true;
    tl_pki_fail(0, "\"%s\" is not a valid mail address", text);
    return false;
  default: break;
  }
  ip = a2i_IPADDRESS(text);
  ASN1_OCTET_STRING_free(ip);
  if (!ip) tl_pki_fail(0, "\"%s\" is no IP address", text);
  return ip != NULL;
}

static int add_name(GENERAL_NAMES *list, int kind, const char *text) {
  GENERAL_NAME *g = GENERAL_NAME_new();
  ASN1_STRING *value = kind == GEN_IPADD ? a2i_IPADDRESS(text) : ASN1_IA5STRING_new();
  bool ok = g && value && (kind == GEN_IPADD || ASN1_STRING_set(value, text, -1));
  if (!ok) {
    GENERAL_NAME_free(g);
    ASN1_STRING_free(value);
    return TL_ENOMEM;
  }
  GENERAL_NAME_set0_value(g, kind, value);
  if (sk_GENERAL_NAME_push(list, g)) return TL_OK;
  GENERAL_NAME_free(g);
  return TL_ENOMEM;
}

static int add_names(X509 *x, const struct tl_pki_request *r) {
  GENERAL_NAMES *list = GENERAL_NAMES_new();
  int rc = list ? TL_OK : TL_ENOMEM;
  for (size_t i = 0; rc == 0 && i < r->n_san; i++)
    rc = add_name(list, r->san[i].kind, r->san[i].value);
  if (rc == 0 && r->n_san && X509_add1_ext_i2d(x, NID_subject_alt_name, list, 0, 0) != 1)
    rc = TL_EIO;
  GENERAL_NAMES_free(list);
  return rc;
}

static bool add_part(X509_NAME *name, const char *field, const char *text) {
  return !text || X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, (const uint8_t *)text, -1,
                                             -1, 0) == 1;
}

static int set_subject(X509 *x, const struct tl_pki_request *r) {
  X509_NAME *name = X509_get_subject_name(x);
  if (add_part(name, "C", r->country) && add_part(name, "ST", r->state) &&
      add_part(name, "L", r->locality) && add_part(name, "O", r->organization) &&
      add_part(name, "OU", r->unit) && add_part(name, "CN", r->cn))
    return TL_OK;
  return tl_pki_fail(TL_EINVAL, "the subject cannot be written (--country takes two letters, "
                                "the others at most 64 characters)");
}

/* ---- extensions */

/* RFC 5924 3 names id-kp-sipDomain; OpenSSL has no name for it. */
static const struct {
  const char *word, *oid;
} purposes[] = {{"sip", "1.3.6.1.5.5.7.3.20"},
                {"server", "serverAuth"},
                {"client", "clientAuth"},
                {"any", "anyExtendedKeyUsage"},
                {"ocsp", "OCSPSigning"}};

static int add_purposes(X509 *x, const char *words) {
  char list[256] = "", copy[128], *save = NULL;
  if (strcmp(words, "none") == 0) return TL_OK;
  snprintf(copy, sizeof(copy), "%s", words);
  for (char *w = strtok_r(copy, ", ", &save); w; w = strtok_r(NULL, ", ", &save)) {
    const char *oid = NULL;
    for (size_t i = 0; i < sizeof(purposes) / sizeof(*purposes); i++)
      if (strcmp(w, purposes[i].word) == 0) oid = purposes[i].oid;
    if (!oid || strlen(list) + strlen(oid) + 2 > sizeof(list))
      return tl_pki_fail(TL_EINVAL, "--eku is a list of sip, server, client, any, ocsp, or none");
    snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", *list ? "," : "", oid);
  }
  return tl_pki_extend(x, NULL, NULL, NID_ext_key_usage, list);
}

static int add_url(X509 *x, int nid, const char *prefix, const char *url) {
  char text[600];
  if (!url) return TL_OK;
  if (!is_printable(url) || strpbrk(url, ",;\\\"") || strncmp(url, "http", 4) != 0 ||
      strlen(url) > 500)
    return tl_pki_fail(TL_EINVAL, "\"%s\" is not an http URL that a certificate can carry", url);
  snprintf(text, sizeof(text), "%sURI:%s", prefix, url);
  return tl_pki_extend(x, NULL, NULL, nid, text);
}

static int extend_all(X509 *x, const struct tl_pki_request *r, enum tl_pki_kind kind, EVP_PKEY *key,
                      X509 *issuer) {
  const bool ca = kind != TL_PKI_LEAF;
  const char *usage = ca                          ? "critical,keyCertSign,cRLSign"
                      : EVP_PKEY_is_a(key, "RSA") ? "critical,digitalSignature,keyEncipherment"
                                                  : "critical,digitalSignature";
  int rc = tl_pki_extend(x, NULL, issuer, NID_basic_constraints,
                         ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
  if (rc == 0) rc = tl_pki_extend(x, NULL, issuer, NID_key_usage, usage);
  if (rc == 0) rc = tl_pki_extend(x, NULL, issuer, NID_subject_key_identifier, "hash");
  if (rc == 0 && kind != TL_PKI_ROOT)
    rc = tl_pki_extend(x, NULL, issuer, NID_authority_key_identifier, "keyid");
  if (rc == 0 && !ca) rc = add_purposes(x, r->eku);
  if (rc == 0) rc = add_names(x, r);
  if (rc == 0) rc = add_url(x, NID_crl_distribution_points, "", r->crl_url);
  if (rc == 0) rc = add_url(x, NID_info_access, "OCSP;", r->ocsp_url);
  return rc;
}

/* ---- certificates */

static bool set_serial(X509 *x) {
  BIGNUM *n = BN_new();
  bool ok = n && BN_rand(n, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
            BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));
  BN_free(n);
  return ok;
}

static bool set_validity(X509 *x, const struct tl_pki_request *r) {
  /* An hour back, for clocks that are slightly wrong. */
  time_t from = r->from ? r->from : time(NULL) - 3600;
  time_t until = r->until ? r->until : (r->from ? r->from : time(NULL)) + r->days * 86400;
  return ASN1_TIME_set(X509_getm_notBefore(x), from) && ASN1_TIME_set(X509_getm_notAfter(x), until);
}

X509 *tl_pki_certificate(const struct tl_pki_request *r, enum tl_pki_kind kind, EVP_PKEY *key,
                         X509 *issuer, EVP_PKEY *issuer_key) {
  X509 *x = X509_new();
  X509 *signer = issuer ? issuer : x;
  int rc = x && X509_set_version(x, X509_VERSION_3) && set_serial(x) && set_validity(x, r) &&
                   X509_set_pubkey(x, key)
               ? 0
               : TL_ENOMEM;
  if (rc == 0) rc = set_subject(x, r);
  if (rc == 0 && !X509_set_issuer_name(x, X509_get_subject_name(signer))) rc = TL_ENOMEM;
  if (rc == 0) rc = extend_all(x, r, kind, key, signer);
  if (rc == 0 && X509_sign(x, issuer_key ? issuer_key : key, EVP_sha256())) return x;
  if (rc == 0 || rc == TL_EIO || rc == TL_ENOMEM)
    tl_pki_fail(TL_EIO, "the certificate could not be made");
  X509_free(x);
  return NULL;
}
