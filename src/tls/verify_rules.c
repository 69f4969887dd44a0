/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a chain that OpenSSL accepted must satisfy as well: bounds that keep
 * hostile certificates cheap, names without tricks, key usage for TLS, and the
 * Extended Key Usage of RFC 5924 in place of OpenSSL's check, which knows no
 * SIP.
 */
#include "tls/verify_rules.h"

#include <openssl/x509v3.h>

#include "tieline/tls_domain.h"
#include "tls/identity_read.h"

/* Octets of a serial number (RFC 5280 4.1.2.2). Zero and negative numbers exist and do no harm. */
#define SERIAL_MAX 20
/* Bits of an RSA or DSA key: longer ones cost milliseconds per signature and protect no better. */
#define KEY_BITS_MAX 8192

/* The relevant permissions in an Extended Key Usage. */
enum { FOR_SIP = 1, FOR_ROLE = 2, FOR_ALL = FOR_SIP | FOR_ROLE, SIP_BY_NAME = 4 };

static bool set_finding(struct tl_finding *out, int code, int depth, const char *why) {
  *out = (struct tl_finding){code, depth, why};
  return false;
}

static bool text_ok(const ASN1_STRING *a) {
  const unsigned char *p = ASN1_STRING_get0_data(a);
  for (int i = 0; i < ASN1_STRING_length(a); i++)
    if (p[i] < 0x20 || p[i] > 0x7e) return false;
  return true;
}

static bool san_ok(const GENERAL_NAME *g) {
  switch (g->type) {
  case GEN_DNS: return text_ok(g->d.dNSName);
  case GEN_URI: return text_ok(g->d.uniformResourceIdentifier);
  case GEN_EMAIL: return text_ok(g->d.rfc822Name);
  default: return true;
  }
}

static bool sans_ok(X509 *x, struct tl_finding *out) {
  int crit;
  GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, &crit, NULL);
  if (!names) /* -1: there is none; otherwise it is damaged or duplicated */
    return crit == -1 || set_finding(out, X509_V_ERR_INVALID_EXTENSION, 0,
                                     "the subjectAltName of the certificate cannot be read");
  int n = sk_GENERAL_NAME_num(names);
  bool ok = n <= TL_ID_SANS_MAX || set_finding(out, X509_V_ERR_CERT_REJECTED, 0,
                                               "the certificate has more than 1000 names");
  for (int i = 0; ok && i < n; i++)
    ok = san_ok(sk_GENERAL_NAME_value(names, i)) ||
         set_finding(out, X509_V_ERR_UNSUPPORTED_NAME_SYNTAX, 0,
                     "a name in the certificate has a NUL, a control or a byte outside ASCII");
  GENERAL_NAMES_free(names);
  return ok;
}

/* A common name that ends early in C would look like another one. */
static bool common_names_ok(X509 *x, struct tl_finding *out) {
  X509_NAME *name = X509_get_subject_name(x);
  for (int i = -1; (i = X509_NAME_get_index_by_NID(name, NID_commonName, i)) >= 0;) {
    const ASN1_STRING *a = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, i));
    bool wide =
        ASN1_STRING_type(a) == V_ASN1_BMPSTRING || ASN1_STRING_type(a) == V_ASN1_UNIVERSALSTRING;
    if (!wide && memchr(ASN1_STRING_get0_data(a), 0, (size_t)ASN1_STRING_length(a)))
      return set_finding(out, X509_V_ERR_UNSUPPORTED_NAME_SYNTAX, 0,
                         "the common name of the certificate has a NUL");
  }
  return true;
}

static bool bounds_ok(X509 *x, int depth, struct tl_finding *out) {
  EVP_PKEY *key = X509_get0_pubkey(x);
  if (!key)
    return set_finding(out, X509_V_ERR_UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY, depth,
                       "the key of the certificate is of no kind that is known");
  bool modular =
      EVP_PKEY_is_a(key, "RSA") || EVP_PKEY_is_a(key, "RSA-PSS") || EVP_PKEY_is_a(key, "DSA");
  if (modular && EVP_PKEY_get_bits(key) > KEY_BITS_MAX)
    return set_finding(out, X509_V_ERR_CERT_REJECTED, depth,
                       "the key of the certificate is longer than 8192 bits");
  if (ASN1_STRING_length(X509_get0_serialNumber(x)) > SERIAL_MAX)
    return set_finding(out, X509_V_ERR_CERT_REJECTED, depth,
                       "the serial number of the certificate is longer than 20 octets");
  if (X509_get_extension_flags(x) & EXFLAG_INVALID)
    return set_finding(out, X509_V_ERR_INVALID_EXTENSION, depth,
                       "an extension of the certificate is damaged or there twice");
  return true;
}

/* The peer signs (RFC 8446 4.4.2.2, RFC 5246 7.4.2), except as server of TLS 1.2 if the operator
 * lists suites with RSA key exchange. */
static bool key_usage_ok(X509 *x, bool may_decrypt, struct tl_finding *out) {
  uint32_t need = KU_DIGITAL_SIGNATURE | (may_decrypt ? KU_KEY_ENCIPHERMENT : 0);
  if (X509_get_key_usage(x) & need)
    return true; /* all bits are set where there is no such extension */
  return set_finding(out, X509_V_ERR_INVALID_PURPOSE, 0,
                     "the key usage of the certificate does not allow TLS");
}

static unsigned purpose_of(const ASN1_OBJECT *o, int role_nid) {
  char oid[sizeof(TL_OID_SIP_DOMAIN) + 1]; /* one byte more, to notice longer ones */
  int nid = OBJ_obj2nid(o);
  if (nid == NID_anyExtendedKeyUsage) return FOR_ALL;
  if (nid == role_nid) return FOR_ROLE;
  if (OBJ_obj2txt(oid, sizeof(oid), o, 1) > 0 && strcmp(oid, TL_OID_SIP_DOMAIN) == 0)
    return FOR_SIP | SIP_BY_NAME;
  return 0;
}

static unsigned read_purposes(X509 *x, bool peer_is_client) {
  int crit, role = peer_is_client ? NID_client_auth : NID_server_auth;
  EXTENDED_KEY_USAGE *eku = X509_get_ext_d2i(x, NID_ext_key_usage, &crit, NULL);
  if (!eku) return crit == -1 ? FOR_ALL : 0; /* -1: no such extension */
  unsigned sum = 0;
  for (int i = 0; i < sk_ASN1_OBJECT_num(eku); i++)
    sum |= purpose_of(sk_ASN1_OBJECT_value(eku, i), role);
  EXTENDED_KEY_USAGE_free(eku);
  return sum;
}

/* RFC 5924 4 for the peer's own certificate; an authority's bounds what it may issue, so what all
 * of them allow must include SIP or TLS in this role. */
static bool eku_ok(STACK_OF(X509) * chain, enum tl_eku eku, bool peer_is_client,
                   struct tl_finding *out) {
  unsigned left = read_purposes(sk_X509_value(chain, 0), peer_is_client);
  if (eku == TL_EKU_IGNORE) return true;
  if (eku == TL_EKU_REQUIRE) {
    if (!(left & SIP_BY_NAME))
      return set_finding(out, X509_V_ERR_INVALID_PURPOSE, 0,
                         "the certificate is not marked for SIP (id-kp-sipDomain, RFC 5924)");
    left = FOR_SIP;
  }
  left &= FOR_ALL;
  if (!left)
    return set_finding(
        out, X509_V_ERR_INVALID_PURPOSE, 0,
        peer_is_client
            ? "the extended key usage of the certificate allows neither SIP nor TLS clients"
            : "the extended key usage of the certificate allows neither SIP nor TLS servers");
  for (int i = 1; i < sk_X509_num(chain); i++) {
    left &= read_purposes(sk_X509_value(chain, i), peer_is_client);
    if (!left)
      return set_finding(out, X509_V_ERR_INVALID_PURPOSE, i,
                         "the extended key usage of an authority does not allow what it certifies");
  }
  return true;
}

bool tl_leaf_for_role(X509 *leaf, bool client) { return read_purposes(leaf, client) & FOR_ALL; }

bool tl_leaf_acceptable(X509 *leaf, struct tl_finding *out) {
  return bounds_ok(leaf, 0, out) && sans_ok(leaf, out) && common_names_ok(leaf, out);
}

bool tl_chain_acceptable(STACK_OF(X509) * chain, const struct tl_tls_domain *d, bool peer_is_client,
                         struct tl_finding *out) {
  for (int i = 1; i < sk_X509_num(chain); i++)
    if (!bounds_ok(sk_X509_value(chain, i), i, out)) return false;
  return key_usage_ok(sk_X509_value(chain, 0), !peer_is_client && d->rsa_key_exchange, out) &&
         eku_ok(chain, d->policy.eku, peer_is_client, out);
}
