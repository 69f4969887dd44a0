/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a certificate into a struct tl_identity: names, serial, validity, keys,
 * digests and every subjectAltName. Its texts come out as UTF-8 that cannot
 * forge a log line. It does not judge; verify.c does.
 */
#include "tls/identity_read.h"

#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "tieline/addr.h"
#include "tieline/time.h"
#include "tls/tls_internal.h"

/* No genuine name is longer; a cut name is only shown, never compared. */
#define TEXT_MAX 1024
/* Octets (RFC 5280 4.1.2.2 allows 20): decimal text of a long number costs quadratic time. */
#define SERIAL_MAX 64

/* P as text, its unsafe code points and stray bytes as \XX (RFC 2253 2.4). */
static char *safe_text(const uint8_t *p, size_t n) {
  char *out = malloc(3 * (n < TEXT_MAX ? n : TEXT_MAX) + 4), *at = out;
  if (!out) return NULL;
  for (size_t i = 0; i < n && i < TEXT_MAX;) {
    uint32_t cp;
    size_t k = tl_utf8_next(p + i, n - i, &cp);
    if (k && !tl_text_unsafe(cp)) {
      memcpy(at, p + i, k);
      at += k, i += k;
    } else {
      for (size_t end = i + (k ? k : 1); i < end; i++) at += sprintf(at, "\\%02X", p[i]);
    }
  }
  *at = '\0';
  return out;
}

char *tl_name_text(const X509_NAME *name) {
  BIO *mem = BIO_new(BIO_s_mem());
  if (!mem) return NULL;
  /* UTF-8 stays readable; ASCII controls are escaped here, the others by safe_text. */
  bool whole =
      X509_NAME_print_ex(mem, name, 0, XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB) >= 0;
  char *p;
  long n = BIO_get_mem_data(mem, &p);
  char *s = whole ? safe_text((const uint8_t *)p, n > 0 ? (size_t)n : 0) : NULL;
  BIO_free(mem);
  return s;
}

/* A string that would end early in C is an attempt to look like another name; controls and bytes
 * outside ASCII are not allowed in these IA5Strings (RFC 5280 4.2.1.6). */
static char *clean_string(const ASN1_STRING *a) {
  const unsigned char *p = ASN1_STRING_get0_data(a);
  int n = ASN1_STRING_length(a);
  for (int i = 0; i < n; i++)
    if (p[i] < 0x20 || p[i] > 0x7e) return NULL;
  return n > 0 ? strndup((const char *)p, (size_t)n) : NULL;
}

/* The first attribute NID of NAME; *OUT = NULL if there is none. */
static int read_attribute(const X509_NAME *name, int nid, char **out) {
  int i = X509_NAME_get_index_by_NID(name, nid, -1);
  *out = NULL;
  if (i < 0) return TL_OK;
  unsigned char *utf8 = NULL;
  int n = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, i)));
  if (n < 0) return TL_OK; /* a kind of string without text */
  *out = safe_text(utf8, (size_t)n);
  OPENSSL_free(utf8);
  return *out ? TL_OK : TL_ENOMEM;
}

/* The fields of a name stand in the same order for subject and issuer. */
static int read_name(struct tl_identity *id, const X509_NAME *name, enum tl_id_field first) {
  static const int nid[] = {NID_commonName,       NID_localityName,
                            NID_countryName,      NID_stateOrProvinceName,
                            NID_organizationName, NID_organizationalUnitName};
  for (size_t i = 0; i < sizeof(nid) / sizeof(*nid); i++)
    if (read_attribute(name, nid[i], &id->text[first + 1 + i])) return TL_ENOMEM;
  return TL_OK;
}

static int read_common_name(struct tl_identity *id, const X509_NAME *name) {
  for (int i = -1; (i = X509_NAME_get_index_by_NID(name, NID_commonName, i)) >= 0;) id->n_cn++;
  const char *cn = id->text[TL_ID_SUBJECT_CN];
  if (cn && !(id->cn = strdup(cn))) return TL_ENOMEM;
  return TL_OK;
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
  default: break; /* other kinds do not name anything in SIP */
  }
  return out->value != NULL;
}

static int read_sans(struct tl_identity *id, X509 *x) {
  GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
  id->has_san = X509_get_ext_by_NID(x, NID_subject_alt_name, -1) >= 0;
  int n = names ? sk_GENERAL_NAME_num(names) : 0;
  if (n > TL_ID_SANS_MAX) n = TL_ID_SANS_MAX;
  if (n > 0 && !(id->san = calloc((size_t)n, sizeof(*id->san)))) n = -1;
  for (int i = 0; i < n; i++)
    if (san_of(sk_GENERAL_NAME_value(names, i), &id->san[id->n_san])) id->n_san++;
  GENERAL_NAMES_free(names);
  return n < 0 ? TL_ENOMEM : TL_OK;
}

time_t tl_time_of(const ASN1_TIME *t) {
  struct tm tm;
  return ASN1_TIME_to_tm(t, &tm) == 1 ? timegm(&tm) : 0;
}

static char *time_text(time_t t) {
  char text[TL_TIME_STRLEN];
  return strdup(tl_time_text(t, text));
}

static void hex_digest(const uint8_t *p, size_t n, char *out) {
  for (size_t i = 0; i < n; i++) snprintf(out + 2 * i, 3, "%02x", p[i]);
}

static int digest_der(int n, unsigned char *der, uint8_t out[32]) {
  if (n <= 0 || !der) return TL_ENOMEM;
  int ok = EVP_Digest(der, (size_t)n, out, NULL, EVP_sha256(), NULL);
  OPENSSL_free(der);
  return ok ? TL_OK : TL_ENOMEM;
}

static int read_digests(struct tl_identity *id, X509 *x) {
  uint8_t md[32];
  unsigned char *der = NULL;
  int n = i2d_X509(x, &der);
  if (digest_der(n, der, md)) return TL_ENOMEM;
  hex_digest(md, sizeof(md), id->cert_sha256);
  if (tl_identity_spki_digest(x, md)) return TL_ENOMEM;
  hex_digest(md, sizeof(md), id->spki_sha256);
  return TL_OK;
}

static char *number_text(const BIGNUM *bn, bool decimal) {
  char *text = decimal ? BN_bn2dec(bn) : BN_bn2hex(bn);
  char *s = text ? strdup(text) : NULL;
  OPENSSL_free(text);
  return s;
}

static int read_serial(struct tl_identity *id, X509 *x) {
  const ASN1_INTEGER *serial = X509_get0_serialNumber(x);
  BIGNUM *bn = NULL;
  if (ASN1_STRING_length(serial) <= SERIAL_MAX) {
    if (!(bn = ASN1_INTEGER_to_BN(serial, NULL))) return TL_ENOMEM;
    id->serial = number_text(bn, false);
    id->text[TL_ID_SERIAL_DECIMAL] = number_text(bn, true);
  } else {
    id->serial = strdup("too long");
    id->text[TL_ID_SERIAL_DECIMAL] = strdup("too long");
  }
  BN_free(bn);
  return id->serial && id->text[TL_ID_SERIAL_DECIMAL] ? TL_OK : TL_ENOMEM;
}

static char *eku_text(X509 *x) {
  EXTENDED_KEY_USAGE *eku = X509_get_ext_d2i(x, NID_ext_key_usage, NULL, NULL);
  char *text = NULL;
  size_t n = 0;
  FILE *f = open_memstream(&text, &n);
  for (int i = 0; f && eku && i < sk_ASN1_OBJECT_num(eku) && i < 32; i++) {
    char oid[80];
    const ASN1_OBJECT *o = sk_ASN1_OBJECT_value(eku, i);
    int nid = OBJ_obj2nid(o);
    OBJ_obj2txt(oid, sizeof(oid), o, 1);
    bool sip = strcmp(oid, TL_OID_SIP_DOMAIN) == 0; /* OpenSSL has no name for it */
    fprintf(f, "%s%s", i ? "," : "", sip ? "sipDomain" : nid ? OBJ_nid2sn(nid) : oid);
  }
  if (f) fclose(f);
  EXTENDED_KEY_USAGE_free(eku);
  return text;
}

static char *key_text(X509 *x) {
  char buf[64] = "";
  EVP_PKEY *key = X509_get0_pubkey(x);
  const char *type = key ? EVP_PKEY_get0_type_name(key) : NULL;
  if (type) snprintf(buf, sizeof(buf), "%s %d", type, EVP_PKEY_get_bits(key));
  return strdup(buf);
}

static int read_facts(struct tl_identity *id, X509 *x) {
  char buf[32];
  snprintf(buf, sizeof(buf), "%ld", X509_get_version(x) + 1);
  id->text[TL_ID_VERSION] = strdup(buf);
  const char *sig = OBJ_nid2sn(X509_get_signature_nid(x));
  id->text[TL_ID_SIGNATURE] = strdup(sig ? sig : "");
  id->text[TL_ID_EKU] = eku_text(x);
  id->text[TL_ID_KEY] = key_text(x);
  id->text[TL_ID_NOT_BEFORE] = time_text(id->not_before);
  id->text[TL_ID_NOT_AFTER] = time_text(id->not_after);
  return id->text[TL_ID_VERSION] && id->text[TL_ID_SIGNATURE] && id->text[TL_ID_EKU] &&
                 id->text[TL_ID_KEY] && id->text[TL_ID_NOT_BEFORE] && id->text[TL_ID_NOT_AFTER]
             ? 0
             : TL_ENOMEM;
}

int tl_identity_read(struct tl_identity *id, X509 *x) {
  const X509_NAME *subject = X509_get_subject_name(x), *issuer = X509_get_issuer_name(x);
  tl_blame_begin();
  id->subject = tl_name_text(subject);
  id->issuer = tl_name_text(issuer);
  if (!id->subject || !id->issuer) return TL_ENOMEM;
  id->not_before = tl_time_of(X509_get0_notBefore(x));
  id->not_after = id->chain_not_after = tl_time_of(X509_get0_notAfter(x));
  int rc = read_name(id, subject, TL_ID_SUBJECT);
  if (rc == 0) rc = read_name(id, issuer, TL_ID_ISSUER);
  if (rc == 0) rc = read_common_name(id, subject);
  if (rc == 0) rc = read_serial(id, x);
  if (rc == 0) rc = read_facts(id, x);
  if (rc == 0) rc = read_digests(id, x);
  if (rc == 0) rc = read_sans(id, x);
  /* A name that found no memory is not a name that is not there: others share this record. */
  return rc == 0 && tl_blame_no_memory() ? TL_ENOMEM : rc;
}

void tl_identity_clear(struct tl_identity *id) {
  for (size_t i = 0; i < id->n_san; i++) free(id->san[i].value);
  for (int i = 0; i < TL_ID_FIELDS; i++) free(id->text[i]);
  free(id->san);
  free(id->subject);
  free(id->issuer);
  free(id->serial);
  free(id->cn);
  free(id->anchor);
  free(id->path_spki);
  sk_X509_pop_free(id->chain, X509_free);
}
