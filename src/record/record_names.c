/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The RFCs' names of alerts, ciphers and versions, for logs and ctl.
 */
#include "tieline/record.h"

/* RFC 8446 6, and RFC 5246 7.2 for those that only TLS 1.2 has. */
static const char *const alert_names[] = {
    [0] = "close_notify",
    [10] = "unexpected_message",
    [20] = "bad_record_mac",
    [21] = "decryption_failed",
    [22] = "record_overflow",
    [30] = "decompression_failure",
    [40] = "handshake_failure",
    [41] = "no_certificate",
    [42] = "bad_certificate",
    [43] = "unsupported_certificate",
    [44] = "certificate_revoked",
    [45] = "certificate_expired",
    [46] = "certificate_unknown",
    [47] = "illegal_parameter",
    [48] = "unknown_ca",
    [49] = "access_denied",
    [50] = "decode_error",
    [51] = "decrypt_error",
    [60] = "export_restriction",
    [70] = "protocol_version",
    [71] = "insufficient_security",
    [80] = "internal_error",
    [86] = "inappropriate_fallback",
    [90] = "user_canceled",
    [100] = "no_renegotiation",
    [109] = "missing_extension",
    [110] = "unsupported_extension",
    [111] = "certificate_unobtainable",
    [112] = "unrecognized_name",
    [113] = "bad_certificate_status_response",
    [114] = "bad_certificate_hash_value",
    [115] = "unknown_psk_identity",
    [116] = "certificate_required",
    [120] = "no_application_protocol",
};

const char *tl_alert_name(uint8_t alert) {
  const char *name = alert < sizeof(alert_names) / sizeof(*alert_names) ? alert_names[alert] : NULL;
  return name ? name : "unknown";
}

const char *tl_cipher_name(enum tl_cipher c) {
  switch (c) {
  case TL_AES_128_GCM: return "AES-128-GCM";
  case TL_AES_256_GCM: return "AES-256-GCM";
  case TL_CHACHA20_POLY1305: return "CHACHA20-POLY1305";
  default: return "unknown";
  }
}

const char *tl_tls_version_name(enum tl_tls_version v) {
  switch (v) {
  case TL_TLS_1_2: return "TLSv1.2";
  case TL_TLS_1_3: return "TLSv1.3";
  default: return "unknown";
  }
}
