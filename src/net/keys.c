/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The age of keys: one AES-GCM key may seal a bounded number of records (RFC
 * 8446 5.5), and nobody but us counts them. In time the key is changed, or where
 * that cannot be done the connection retires: it takes no new requests and ends
 * when those it carries have been answered.
 */
#include "net_internal.h"

#define KERNEL_RECORDS_DUE (1ull << 23)

/* The kernel counts, but does not watch (KTLS-FACTS: reconnect before 2^24 records). */
static bool worn_in_kernel(const struct tl_conn *c) {
  const struct tl_conn_tls *t = c->tls;
  struct tl_tls_keys k = {.version = (enum tl_tls_version)t->version,
                          .cipher = (enum tl_cipher)t->cipher};
  uint64_t seq = 0;
  if (t->cipher == TL_CHACHA20_POLY1305) return false;
  return tl_ktls_seq(c->fd, &k, true, &seq) == TL_OK && seq >= KERNEL_RECORDS_DUE;
}

static int change_key(struct tl_conn *c) {
  static const uint8_t update_not_requested[5] = {24, 0, 0, 1, 0};
  int rc = tl_send_record(c, TL_CT_HANDSHAKE, update_not_requested, sizeof(update_not_requested));
  return rc ? rc : tl_record_rekey_tx(c->tls->record);
}

void tl_keys_check(struct tl_conn *c) {
  char peer[TL_ADDR_STRLEN];
  if (!c->tls || c->retired || c->state != TL_CONN_OPEN) return;
  if (tl_conn_user_tls(c)) {
    if (!tl_record_rekey_due(c->tls->record)) return;
    if (c->tls->version == TL_TLS_1_3 && change_key(c) == TL_OK) return;
  } else if (!worn_in_kernel(c)) {
    return;
  }
  TL_LOG(TL_LOG_INFO, "Retiring a connection before its key has sealed too much.",
         TL_FC("peer", tl_addr_format(&c->peer, peer)),
         TL_FC("tls", tl_tls_version_name((enum tl_tls_version)c->tls->version)));
  tl_conn_retire(c);
}
