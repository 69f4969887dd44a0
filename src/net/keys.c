/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The age of keys: one AES-GCM key may seal a bounded number of records (RFC
 * 8446 5.5), and the kernel does not enforce it. In time the key is changed; where
 * that is impossible the connection retires: it takes no new requests and ends when
 * those it carries have been answered. max_records of the TLS domain lowers the
 * bound, for both directions. A call being set up may exceed max_records for
 * call_setup_max, but never the RFC's bound. Also the answer to a KeyUpdate of the
 * peer; which KeyUpdates are legal is decided in src/record.
 */
#include <errno.h>
#include <sys/socket.h>

#include "net_internal.h"
#include "tieline/hkdf.h"
#include "tieline/log_limit.h"

/* RFC 8446 5.5 leaves no need for more than a few a day; a storm is an attack (PITFALLS P4). A rate
 * rather than a total, so that a connection may live for years. */
#define KEY_UPDATES_MAX 100u
#define KEY_UPDATES_MS 60000u

/* Records of one key when it is time for another, without hurry; when a peer that was asked for
 * another one has not heeded it; and when the connection must end before it is too late. */
static uint64_t rekey_due(uint64_t max) { return max / 2; }
static uint64_t rekey_overdue(uint64_t max) { return max - max / 4; }
static uint64_t key_spent(uint64_t max) { return max - max / 8; }

/* The RFC's bound, less what may pass until the next check. A call being set up may exceed
 * max_records, which is at most this; it may not exceed this, or the cipher itself weakens. */
#define RECORDS_LAST (TL_GCM_RECORDS_MAX - TL_GCM_RECORDS_MAX / 32)

/* How many one key of C may seal; 0: RFC 8446 5.5 sets ChaCha20-Poly1305 no bound. */
static uint64_t records_max(const struct tl_conn *c) {
  const struct tl_conn_tls *t = c->kept.tls;
  if (t->facts.cipher == TL_CHACHA20_POLY1305) return 0;
  return t->facts.domain ? t->facts.domain->policy.max_records : TL_GCM_RECORDS_MAX;
}

/* An upper bound, give or take a few, on the records that have passed: about one for each message
 * sent or 16 KB; each received record holds at least one byte, or is counted as empty. Empty
 * records in the kernel are invisible: they wear only their sender's key. */
static uint64_t work_done(const struct tl_conn *c) {
  return c->kept.msgs_out + c->kept.bytes_out / TL_RECORD_PLAIN_MAX + c->kept.bytes_in +
         c->kept.tls->empty_records;
}

/* Record sequence numbers of C, from the kernel or our record layer; neither enforces a bound. */
static int count_records(const struct tl_conn *c, uint64_t *out_tx, uint64_t *out_rx) {
  const struct tl_conn_tls *t = c->kept.tls;
  struct tl_tls_keys k = {.version = (enum tl_tls_version)t->facts.version,
                          .cipher = (enum tl_cipher)t->facts.cipher};
  if (!t->record) {
    int rc = tl_ktls_seq(c->kept.fd, &k, true, out_tx);
    return rc ? rc : tl_ktls_seq(c->kept.fd, &k, false, out_rx);
  }
  *out_tx = tl_record_seq_tx(t->record);
  *out_rx = tl_record_seq_rx(t->record);
  return TL_OK;
}

/* Our sending key, and if ASK the peer's. In the kernel ours changes between two sends, see
 * tl_keys_turn. */
static int change_key(struct tl_conn *c, bool ask) {
  struct tl_conn_tls *t = c->kept.tls;
  uint8_t update[TL_KEY_UPDATE_LEN];
  t->update_requested |= ask;
  if (!t->record) {
    if (!t->rekey) return TL_ENOTSUP;
    c->tx.rekey = true;
    t->update_request_next |= ask;
    tl_conn_mark(c);
    return TL_OK;
  }
  tl_key_update_message(update, ask);
  int rc = tl_send_record(c, TL_CT_HANDSHAKE, update, sizeof(update));
  if (rc == TL_OK) tl_count(c->net->counters, TL_C_REC_KEYUPDATE_SENT);
  return rc ? rc : tl_record_rekey_tx(t->record);
}

static bool too_many(const struct tl_conn *c) {
  struct tl_conn_tls *t = c->kept.tls;
  if (c->net->now_ms - t->key_updates_since_ms >= KEY_UPDATES_MS) {
    t->key_updates_since_ms = c->net->now_ms;
    t->key_updates_before = t->nondata.key_updates - 1; /* this one counts */
  }
  return t->nondata.key_updates - t->key_updates_before > KEY_UPDATES_MAX;
}

int tl_keys_received(struct tl_conn *c, bool answer) {
  struct tl_conn_tls *t = c->kept.tls;
  if (too_many(c)) return TL_ELIMIT;
  t->update_requested = false;
  int rc;
  if (t->record) {
    rc = tl_record_rekey_rx(t->record);
  } else {
    rc = t->rekey ? tl_keys_update(t->rekey, false) : TL_ENOTSUP;
    if (rc == TL_OK) rc = tl_ktls_rekey(c->kept.fd, t->rekey, false);
  }
  return rc || !answer ? rc : change_key(c, false);
}

static int send_update(struct tl_conn *c) {
  uint8_t update[TL_KEY_UPDATE_LEN], cbuf[TL_KTLS_CMSG] __attribute__((aligned(8)));
  struct iovec iov = {update, sizeof(update)};
  struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
  tl_key_update_message(update, c->kept.tls->update_request_next);
  tl_ktls_msg_type(&msg, cbuf, TL_CT_HANDSHAKE);
  ssize_t n = sendmsg(c->kept.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n == (ssize_t)sizeof(update)) return TL_OK;
  return n < 0 && (errno == EAGAIN || errno == EINTR) ? TL_EAGAIN : TL_EIO;
}

void tl_keys_turn(struct tl_conn *c) {
  if (c->tx.busy) return;
  int rc = send_update(c);
  if (rc == TL_EAGAIN) {
    tl_send_wait(c);
    return;
  }
  c->tx.rekey = c->kept.tls->update_request_next = false;
  if (rc == TL_OK) tl_count(c->net->counters, TL_C_REC_KEYUPDATE_SENT);
  if (rc == TL_OK) rc = tl_keys_update(c->kept.tls->rekey, true);
  if (rc == TL_OK) rc = tl_ktls_rekey(c->kept.fd, c->kept.tls->rekey, true);
  if (rc) tl_conn_abort(c, rc == TL_ENOMEM ? rc : TL_ETLS);
}

/* Other keys on the same connection, where TLS and both sides can. */
static bool keys_change(struct tl_conn *c, uint64_t max, uint64_t tx, uint64_t rx) {
  if (c->view.tls->version != TL_TLS_1_3) return false;
  if (rx >= rekey_due(max) && !c->kept.tls->update_requested) return change_key(c, true) == TL_OK;
  if (rx >= rekey_overdue(max)) return false;
  return tx < rekey_due(max) || c->tx.rekey || change_key(c, false) == TL_OK;
}

static void log_worn(const struct tl_conn *c, const char *what, uint64_t tx, uint64_t rx) {
  char peer[TL_ADDR_STRLEN];
  const struct tl_conn_tls *t = c->kept.tls;
  TL_LOG_FROM(&c->view.peer, NULL, TL_LOG_INFO, what,
              TL_FC("peer", tl_addr_format(&c->view.peer, peer)),
              TL_FC("tls_domain", t->facts.domain ? t->facts.domain->name : ""),
              TL_FC("tls", tl_tls_version_name((enum tl_tls_version)t->facts.version)),
              TL_FC("cipher", tl_cipher_name((enum tl_cipher)t->facts.cipher)),
              TL_FI("records_sent", (long long)tx), TL_FI("records_received", (long long)rx),
              TL_FI("max_records", (long long)records_max(c)));
}

static void renew_or_close(struct tl_conn *c, uint64_t max, uint64_t tx, uint64_t rx) {
  const uint64_t most = tx > rx ? tx : rx;
  bool over = most >= key_spent(max);
  if (over && (most >= RECORDS_LAST || !tl_conn_spared(c))) {
    log_worn(c, "Closing a connection whose keys must not seal more records.", tx, rx);
    if (!c->life.retired) tl_count(c->net->counters, TL_C_CONN_WORN);
    tl_conn_finish(c);
  } else if (!c->life.retired && (over || !keys_change(c, max, tx, rx))) {
    log_worn(c, "Renewing a connection before its keys have sealed too many records.", tx, rx);
    tl_count(c->net->counters, TL_C_CONN_WORN);
    tl_conn_retire(c, c->net->view->conf->timeouts.retire);
  }
}

void tl_keys_check(struct tl_conn *c) {
  uint64_t tx, rx, max = c->kept.tls && c->view.state == TL_CONN_OPEN ? records_max(c) : 0;
  if (!max || work_done(c) < c->kept.tls->keys_look_at || count_records(c, &tx, &rx)) return;
  uint64_t most = tx > rx ? tx : rx, step = max / 64;
  if (most + step < rekey_due(max)) step = rekey_due(max) - most;
  c->kept.tls->keys_look_at = work_done(c) + step;
  if (most >= rekey_due(max)) renew_or_close(c, max, tx, rx);
}
