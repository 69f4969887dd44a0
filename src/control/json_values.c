/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections and certificates as JSON, for the commands that show them. The
 * fields are documented in docs/control.md.
 */
#include <openssl/x509.h>
#include <stdio.h>
#include <time.h>

#include "control/json_values.h"
#include "control/rpc.h"
#include "tieline/identity.h"

#define TEXT(s) tl_rpc_text((s), sizeof(s))

static json_t *alt_names_of(const struct tl_identity *id) {
  json_t *o = json_object();
  for (int kind = TL_SAN_DNS; kind <= TL_SAN_IP; kind++) {
    json_t *list = json_array();
    for (size_t i = 0; i < id->n_san; i++)
      if ((int)id->san[i].kind == kind) json_array_append_new(list, tl_json_text(id->san[i].value));
    json_object_set_new(o, tl_san_kind_name(kind), list);
  }
  return o;
}

json_t *tl_json_identity(const struct tl_identity *id) {
  if (!id) return json_null();
  json_t *o = json_object();
  for (int f = 0; f < TL_ID_FIELDS; f++)
    json_object_set_new(o, tl_id_field_name((enum tl_id_field)f),
                        tl_json_text(tl_identity_field(id, (enum tl_id_field)f)));
  for (int f = 0; f < TL_ID_FLAGS; f++)
    json_object_set_new(o, tl_id_flag_name((enum tl_id_flag)f),
                        json_boolean(tl_identity_flag(id, (enum tl_id_flag)f)));
  json_object_set_new(o, "san", alt_names_of(id));
  json_object_set_new(o, "verify_code", json_integer(id->verify_code));
  json_object_set_new(o, "seconds_left", json_integer((json_int_t)(id->not_after - time(NULL))));
  json_object_set_new(o, "chain_not_after", tl_json_time(id->chain_not_after));
  json_object_set_new(o, "chain_length", json_integer((json_int_t)tl_identity_chain_len(id)));
  return o;
}

static json_t *tls_of(const struct tl_conn_info *i) {
  if (!tl_transport_is_secure(i->transport) || i->version == 0)
    return json_null(); /* 0: still connecting */
  return json_pack("{s:s, s:s, s:o, s:o, s:o, s:b, s:b, s:b, s:b, s:s, s:s}", "version",
                   tl_tls_version_name(i->version), "cipher", tl_cipher_name(i->cipher), "domain",
                   TEXT(i->domain), "identity", TEXT(i->identity), "sni", TEXT(i->sni), "verified",
                   i->peer_verified, "resumed", i->resumed, "ktls_tx", i->ktls.tx == TL_KTLS_ON,
                   "ktls_rx", i->ktls.rx == TL_KTLS_ON, "ktls_tx_reason",
                   tl_ktls_why_text(i->ktls.tx), "ktls_rx_reason", tl_ktls_why_text(i->ktls.rx));
}

json_t *tl_json_connection(const struct tl_conn_info *i) {
  char id[24];
  snprintf(id, sizeof(id), "%016llx", (unsigned long long)i->id);
  json_t *j =
      json_pack("{s:s, s:i, s:s, s:s, s:s, s:o, s:o, s:o}", "id", id, "worker", (int)i->worker,
                "transport", tl_transport_param(i->transport), "direction",
                i->outgoing ? "out" : "in", "state", i->state ? i->state : "unknown", "peer",
                tl_json_address(&i->peer), "local", tl_json_address(&i->local), "tls", tls_of(i));
  json_t *n = json_pack(
      "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I}", "age_ms", (json_int_t)i->age_ms,
      "idle_ms", (json_int_t)i->idle_ms, "messages_in", (json_int_t)i->msgs_in, "messages_out",
      (json_int_t)i->msgs_out, "bytes_in", (json_int_t)i->bytes_in, "bytes_out",
      (json_int_t)i->bytes_out, "queued_bytes", (json_int_t)i->queued_bytes, "paused", i->paused,
      "memory_bytes", (json_int_t)i->memory_bytes, "kernel_bytes", (json_int_t)i->kernel_bytes);
  json_object_update(j, n);
  json_decref(n);
  json_object_set_new(j, "peer_name", *i->peer_name ? TEXT(i->peer_name) : json_null());
  json_object_set_new(j, "trust", i->trust ? json_string(i->trust) : json_null());
  return j;
}
