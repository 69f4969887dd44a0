/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contents of an identity record by field: for ctl, logs and route
 * conditions. Nothing is computed here; names and lists are in the record
 * itself.
 */
#include <openssl/x509_vfy.h>

#include "tieline/identity.h"

static const char *const names[TL_ID_FIELDS] = {
    [TL_ID_SUBJECT] = "subject",
    [TL_ID_SUBJECT_CN] = "subject_cn",
    [TL_ID_SUBJECT_LOCALITY] = "subject_locality",
    [TL_ID_SUBJECT_COUNTRY] = "subject_country",
    [TL_ID_SUBJECT_STATE] = "subject_state",
    [TL_ID_SUBJECT_ORGANIZATION] = "subject_organization",
    [TL_ID_SUBJECT_UNIT] = "subject_unit",
    [TL_ID_ISSUER] = "issuer",
    [TL_ID_ISSUER_CN] = "issuer_cn",
    [TL_ID_ISSUER_LOCALITY] = "issuer_locality",
    [TL_ID_ISSUER_COUNTRY] = "issuer_country",
    [TL_ID_ISSUER_STATE] = "issuer_state",
    [TL_ID_ISSUER_ORGANIZATION] = "issuer_organization",
    [TL_ID_ISSUER_UNIT] = "issuer_unit",
    [TL_ID_SERIAL] = "serial",
    [TL_ID_SERIAL_DECIMAL] = "serial_decimal",
    [TL_ID_VERSION] = "version",
    [TL_ID_KEY] = "key",
    [TL_ID_SIGNATURE] = "signature",
    [TL_ID_EKU] = "eku",
    [TL_ID_NOT_BEFORE] = "not_before",
    [TL_ID_NOT_AFTER] = "not_after",
    [TL_ID_CERT_SHA256] = "cert_sha256",
    [TL_ID_SPKI_SHA256] = "spki_sha256",
    [TL_ID_ANCHOR] = "anchor",
    [TL_ID_VERIFY] = "verify",
};

static const char *verify_text(const struct tl_identity *id) {
  if (!id->checked) return "not checked";
  return X509_verify_cert_error_string(id->verify_code);
}

/* The members that matching and logs use are not stored twice. */
static const char *member_text(const struct tl_identity *id, enum tl_id_field field) {
  switch (field) {
  case TL_ID_SUBJECT: return id->subject;
  case TL_ID_ISSUER: return id->issuer;
  case TL_ID_SERIAL: return id->serial;
  case TL_ID_CERT_SHA256: return id->cert_sha256;
  case TL_ID_SPKI_SHA256: return id->spki_sha256;
  case TL_ID_ANCHOR: return id->anchor;
  case TL_ID_VERIFY: return verify_text(id);
  default: return NULL;
  }
}

const char *tl_identity_field(const struct tl_identity *id, enum tl_id_field field) {
  if ((int)field < 0 || field >= TL_ID_FIELDS) return "";
  const char *s = id->text[field] ? id->text[field] : member_text(id, field);
  return s ? s : "";
}

bool tl_identity_flag(const struct tl_identity *id, enum tl_id_flag flag) {
  switch (flag) {
  case TL_ID_VERIFIED: return id->verified;
  case TL_ID_REVOKED: return id->verify_code == X509_V_ERR_CERT_REVOKED;
  case TL_ID_EXPIRED: return id->verify_code == X509_V_ERR_CERT_HAS_EXPIRED;
  case TL_ID_SELFSIGNED:
    return id->verify_code == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT ||
           id->verify_code == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN;
  default: return false;
  }
}

const char *tl_id_field_name(enum tl_id_field field) {
  return (int)field >= 0 && field < TL_ID_FIELDS ? names[field] : "?";
}

const char *tl_id_flag_name(enum tl_id_flag flag) {
  static const char *const flags[TL_ID_FLAGS] = {[TL_ID_VERIFIED] = "verified",
                                                 [TL_ID_REVOKED] = "revoked",
                                                 [TL_ID_EXPIRED] = "expired",
                                                 [TL_ID_SELFSIGNED] = "selfsigned"};
  return (int)flag >= 0 && flag < TL_ID_FLAGS ? flags[flag] : "?";
}

const char *tl_san_kind_name(int kind) {
  static const char *const kinds[] = {
      [TL_SAN_DNS] = "dns", [TL_SAN_URI] = "uri", [TL_SAN_EMAIL] = "email", [TL_SAN_IP] = "ip"};
  return kind >= TL_SAN_DNS && kind <= TL_SAN_IP ? kinds[kind] : "?";
}
