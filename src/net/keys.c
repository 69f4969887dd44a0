/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The age of keys: one AES-GCM key may seal a bounded number of records (RFC
 * 8446 5.5), and nobody but us counts them. In time the key is changed, or where
 * that cannot be done the connection retires: it takes no new requests and ends
 * when those it carries have been answered. Also what a KeyUpdate of the peer
 * asks of us; who may send one, and how often, is seen to in src/record/ctl.c.
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "net_internal.h"
#include "tieline/hkdf.h"

/* RFC 8446 5.5 leaves no need for more than a few a day; a storm is an attack (PITFALLS P4). By
 * rate, so that a connection which lives for years is not punished for its age. */
#define KEY_UPDATES_MAX 100u
#define KEY_UPDATES_MS 60000u

#define KERNEL_RECORDS_DUE (1ull << 23)

/* The kernel counts, but does not watch (KTLS-FACTS: reconnect before 2^24 records). */
static bool worn_in_kernel(const struct tl_conn *c) {
  const struct tl_conn_tls *t = c->tls;
  struct tl_tls_keys k = {.version = (enum tl_tls_version)t->version,
                          .cipher = (enum tl_cipher)t->cipher};
  uint64_t seq = 0;
  if (t->cipher == TL_CHACHA20_POLY1305) return false;
  /* The kernel is asked only when there can be so many: about a record for each message or 16 KB.
   */
  if (c->msgs_out + c->bytes_out / TL_RECORD_PLAIN_MAX < KERNEL_RECORDS_DUE / 4) return false;
  return tl_ktls_seq(c->fd, &k, true, &seq) == TL_OK && seq >= KERNEL_RECORDS_DUE;
}

/* Our sending key. In the kernel it changes between two sends, see tl_keys_turn. */
static int change_key(struct tl_conn *c) {
  uint8_t update[TL_KEY_UPDATE_LEN];
  if (!tl_conn_user_tls(c)) {
    if (!c->tls->rekey) return TL_ENOTSUP;
    c->rekey_tx = true;
    tl_conn_mark(c);
    return TL_OK;
  }
  tl_key_update_message(update, false);
  int rc = tl_send_record(c, TL_CT_HANDSHAKE, update, sizeof(update));
  return rc ? rc : tl_record_rekey_tx(c->tls->record);
}

static bool too_many(const struct tl_conn *c) {
  struct tl_conn_tls *t = c->tls;
  if (c->net->now_ms - t->key_updates_since_ms >= KEY_UPDATES_MS) {
    t->key_updates_since_ms = c->net->now_ms;
    t->key_updates_before = t->ctl.key_updates - 1; /* this one counts */
  }
  return t->ctl.key_updates - t->key_updates_before > KEY_UPDATES_MAX;
}

int tl_keys_received(struct tl_conn *c, bool answer) {
  struct tl_conn_tls *t = c->tls;
  if (too_many(c)) return TL_ELIMIT;
  int rc;
  if (t->record) {
    rc = tl_record_rekey_rx(t->record);
  } else {
    rc = t->rekey ? tl_keys_update(t->rekey, false) : TL_ENOTSUP;
    if (rc == TL_OK) rc = tl_ktls_rekey(c->fd, t->rekey, false);
  }
  return rc || !answer ? rc : change_key(c);
}

static void writable(struct tl_op *op, int res, uint32_t flags) {
  struct tl_conn *c = (struct tl_conn *)((char *)op - offsetof(struct tl_conn, send_op));
  (void)res;
  (void)flags;
  c->send_busy = false;
  c->send_op.fn = tl_send_done;
  tl_conn_mark(c);
}

static void wait_writable(struct tl_conn *c) {
  c->send_op.fn = writable;
  struct io_uring_sqe *sqe = tl_ring_sqe(&c->net->ring, &c->send_op);
  io_uring_prep_poll_add(sqe, c->fd, POLLOUT);
  io_uring_sqe_set_data(sqe, &c->send_op);
  c->send_busy = true;
}

static int send_update(struct tl_conn *c) {
  uint8_t update[TL_KEY_UPDATE_LEN], cbuf[TL_KTLS_CMSG] __attribute__((aligned(8)));
  struct iovec iov = {update, sizeof(update)};
  struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
  tl_key_update_message(update, false);
  tl_ktls_msg_type(&msg, cbuf, TL_CT_HANDSHAKE);
  ssize_t n = sendmsg(c->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n == (ssize_t)sizeof(update)) return TL_OK;
  return n < 0 && (errno == EAGAIN || errno == EINTR) ? TL_EAGAIN : TL_EIO;
}

void tl_keys_turn(struct tl_conn *c) {
  if (c->send_busy) return;
  int rc = send_update(c);
  if (rc == TL_EAGAIN) {
    wait_writable(c);
    return;
  }
  c->rekey_tx = false;
  if (rc == TL_OK) rc = tl_keys_update(c->tls->rekey, true);
  if (rc == TL_OK) rc = tl_ktls_rekey(c->fd, c->tls->rekey, true);
  if (rc) tl_conn_abort(c, TL_ETLS);
}

void tl_keys_check(struct tl_conn *c) {
  char peer[TL_ADDR_STRLEN];
  if (!c->tls || c->retired || c->state != TL_CONN_OPEN) return;
  if (tl_conn_user_tls(c)) {
    if (!tl_record_rekey_due(c->tls->record)) return;
    if (c->tls->version == TL_TLS_1_3 && change_key(c) == TL_OK) return;
  } else if (!worn_in_kernel(c) || change_key(c) == TL_OK) {
    return;
  }
  TL_LOG(TL_LOG_INFO, "Retiring a connection before its key has sealed too much.",
         TL_FC("peer", tl_addr_format(&c->peer, peer)),
         TL_FC("tls", tl_tls_version_name((enum tl_tls_version)c->tls->version)));
  tl_conn_retire(c, 0);
}
