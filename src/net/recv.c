/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receiving: multishot receive into the worker's buffers, TLS records opened in place where they
 * are ours to open. What is in them becomes messages by the framer of the transport (stream.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "net_internal.h"
#include "tieline/container.h"
#include "tieline/log_limit.h"
#include "tieline/tls_handshake.h"

#define CONTROL_MAX 8
#define EMPTY_MAX 32 /* empty records in a row, as OpenSSL has it */
#define HELD_STEP 16384u
/* Bytes of one connection handled per turn, so that one that sends without pause does not stop the
 * others of its worker: a thousand small messages, some milliseconds. */
#define TURN_BYTES (256u << 10)

#define DECLARE(id, name) extern const struct tl_framer tl_##name##_framer;
TL_FRAMING_ROWS(DECLARE)

#define ROW(id, name) [TL_FRAMING_##id] = &tl_##name##_framer,
static const struct tl_framer *const framers[TL_FRAMINGS] = {TL_FRAMING_ROWS(ROW)};

const struct tl_framer *tl_framer_of(enum tl_transport t) {
  return framers[tl_transports[t].framing];
}

static void count_plain(struct tl_conn *c, size_t n) {
  c->kept.bytes_in += n;
  tl_count_add(c->net->counters, tl_transports[c->view.transport].bytes_in, n);
}

void tl_recv_plain(struct tl_conn *c, uint8_t *p, size_t n, int32_t buf) {
  count_plain(c, n);
  c->framer->take(c, p, n, buf);
}

/* ---- TLS control records, from the kernel's or our own record layer ---- */

static void key_update(struct tl_conn *c, bool answer) {
  tl_count(c->net->counters, TL_C_REC_KEYUPDATE);
  int rc = tl_keys_received(c, answer);
  if (rc == TL_OK) return;
  char peer[TL_ADDR_STRLEN];
  TL_LOG_FROM(&c->view.peer, NULL, TL_LOG_INFO,
              "Closing a TLS connection whose peer changes keys: we cannot follow.",
              TL_FC("peer", tl_addr_format(&c->view.peer, peer)), TL_FC("cause", tl_strerror(rc)));
  c->view.doomed = true;
  tl_conn_finish(c);
}

static void end_with_alert(struct tl_conn *c, uint8_t alert, const char *cause) {
  char peer[TL_ADDR_STRLEN];
  TL_LOG_FROM(&c->view.peer, cause, TL_LOG_WARN,
              "Closing a TLS connection after a protocol failure.",
              TL_FC("peer", tl_addr_format(&c->view.peer, peer)), TL_FC("cause", cause),
              TL_FC("alert", tl_alert_name(alert)));
  if (c->kept.tls->record) {
    const uint8_t body[2] = {TL_ALERT_LEVEL_FATAL, alert};
    c->tx.notify_sent = true;
    c->view.doomed = true;
    if (tl_send_record(c, TL_CT_ALERT, body, 2) == TL_OK) {
      tl_conn_finish(c);
      return;
    }
  } else {
    tl_ktls_send_alert(c->kept.fd, TL_ALERT_LEVEL_FATAL, alert);
  }
  tl_conn_abort(c, TL_ETLS);
}

/* The peer has closed already: no answer (RFC 8446 6.2). */
static void on_fatal_alert(struct tl_conn *c, uint8_t alert) {
  char peer[TL_ADDR_STRLEN];
  TL_LOG_FROM(
      &c->view.peer, NULL, TL_LOG_WARN, "The peer ended a TLS connection with an alert.",
      TL_FC("peer", tl_addr_format(&c->view.peer, peer)), TL_FC("alert", tl_alert_name(alert)),
      TL_FC("our_certificate", c->view.tls->own ? c->view.tls->own->subject : "none shown"));
  tl_conn_abort(c, TL_ETLS);
}

/* RFC 5246 7.2.2: a client that may not renegotiate gets a warning, and the connection goes on. As
 * a client we ignore a HelloRequest (7.4.1.1): many servers close when they get the warning. */
static void on_renegotiation(struct tl_conn *c) {
  static const uint8_t warning[2] = {TL_ALERT_LEVEL_WARNING, TL_ALERT_NO_RENEGOTIATION};
  if (!c->view.tls->server) return;
  if (c->kept.tls->record) {
    tl_send_record(c, TL_CT_ALERT, warning, sizeof(warning));
    return;
  }
  c->tx.no_reneg = true;
  tl_conn_mark(c);
}

/* Data where the rest of a control message must come (RFC 8446 5.1): C ends. */
static bool refuse_interleaved(struct tl_conn *c) {
  const struct tl_conn_tls *t = c->kept.tls;
  if (!tl_nondata_is_cut(&t->nondata, (enum tl_tls_version)t->facts.version)) return false;
  end_with_alert(c, TL_ALERT_UNEXPECTED_MESSAGE,
                 "data in the middle of a handshake message or alert");
  return true;
}

static void control_record(struct tl_conn *c, uint8_t type, const uint8_t *p, size_t n) {
  struct tl_conn_tls *t = c->kept.tls;
  uint32_t tickets = t->nondata.tickets;
  tl_count(c->net->counters, TL_C_REC_CONTROL);
  if (t->post_hs && type == TL_CT_HANDSHAKE && tl_hs_post_input(t->post_hs, p, n))
    tl_conn_post_hs_end(t);
  do {
    size_t used = 0;
    uint8_t alert = 0;
    enum tl_nondata_action a = tl_nondata_input(&t->nondata, (enum tl_tls_version)t->facts.version,
                                                t->facts.server, type, p, n, &used, &alert);
    switch (a) {
    case TL_NONDATA_NONE: break;
    case TL_NONDATA_CLOSE_NOTIFY: tl_half_begin(c); return;
    case TL_NONDATA_FATAL: on_fatal_alert(c, alert); return;
    case TL_NONDATA_KEY_UPDATE: key_update(c, false); break;
    case TL_NONDATA_KEY_UPDATE_REQ: key_update(c, true); break;
    case TL_NONDATA_RENEGOTIATE: on_renegotiation(c); break;
    case TL_NONDATA_UNEXPECTED: end_with_alert(c, alert, "an unexpected record"); return;
    }
    if (used == 0 || used > n) break;
    p += used;
    n -= used;
  } while (n && tl_conn_is_live(c));
  tl_count_add(c->net->counters, TL_C_REC_TICKET, t->nondata.tickets - tickets);
}

/* ---- records in user space ---- */

static size_t record_len(const uint8_t *p, size_t n) {
  return n < TL_RECORD_HEADER ? TL_RECORD_HEADER : TL_RECORD_HEADER + (((size_t)p[3] << 8) | p[4]);
}

/* Data of N bytes that is not allowed: C ends. Empty records are legal (RFC 8446 5.1), but not
 * without end. */
static bool data_refused(struct tl_conn *c, size_t n) {
  struct tl_conn_tls *t = c->kept.tls;
  if (refuse_interleaved(c)) return true;
  if (n) {
    t->empty_in_row = 0;
    return false;
  }
  t->empty_records++;
  if (++t->empty_in_row <= EMPTY_MAX) return false;
  end_with_alert(c, TL_ALERT_UNEXPECTED_MESSAGE, "too many empty records in a row");
  return true;
}

static void on_record(struct tl_conn *c, const struct tl_record_view *v, int32_t buf) {
  tl_count(c->net->counters, TL_C_REC_IN);
  if (v->type != TL_CT_DATA)
    control_record(c, v->type, v->p, v->n);
  else if (!data_refused(c, v->n))
    tl_recv_plain(c, v->p, v->n, buf);
}

static void record_error(struct tl_conn *c, int rc, uint8_t alert) {
  if (rc == TL_EBADMAC) tl_count(c->net->counters, TL_C_REC_BADMAC);
  end_with_alert(c, alert, tl_strerror(rc));
}

/* A body being collected gets its plaintext in place: decrypting is the only copy. */
static bool open_into_big(struct tl_conn *c, const uint8_t *p, size_t len) {
  uint8_t *dst = c->big ? tl_big_room(c, len) : NULL;
  if (!dst) return false;
  struct tl_record_view v;
  int rc = tl_record_open_to(c->kept.tls->record, p, len, dst, &v);
  if (rc) {
    record_error(c, rc, v.alert);
    return true;
  }
  if (v.type != TL_CT_DATA) {
    on_record(c, &v, -1);
    return true;
  }
  tl_count(c->net->counters, TL_C_REC_IN);
  if (data_refused(c, v.n)) return true;
  count_plain(c, v.n);
  tl_big_took(c, v.n);
  return true;
}

/* Returns the bytes used; 0 when the record is incomplete or the connection ended. */
static size_t open_one(struct tl_conn *c, uint8_t *p, size_t n, int32_t buf) {
  size_t len = record_len(p, n);
  if (n >= len && n >= TL_RECORD_HEADER && open_into_big(c, p, len)) return len;
  struct tl_record_view v;
  int rc = tl_record_open(c->kept.tls->record, p, n, &v);
  if (rc == TL_EAGAIN) return 0;
  if (rc) {
    record_error(c, rc, v.alert);
    return 0;
  }
  on_record(c, &v, buf);
  return v.used;
}

static void cipher_input(struct tl_conn *c, uint8_t *p, size_t n, int32_t buf) {
  struct tl_stash *s = &c->kept.cipher;
  while (n && tl_conn_is_live(c)) {
    if (s->n == 0) {
      size_t used = open_one(c, p, n, buf);
      if (!tl_conn_is_live(c)) break;
      if (used == 0) {
        if (tl_stash_put(c->net, s, p, n)) tl_conn_abort(c, TL_ENOMEM);
        return;
      }
      p += used;
      n -= used;
      continue;
    }
    size_t need = record_len(s->p, s->n) - s->n, k = need < n ? need : n;
    if (tl_stash_put(c->net, s, p, k)) {
      tl_conn_abort(c, TL_ENOMEM);
      return;
    }
    p += k;
    n -= k;
    if (s->n < TL_RECORD_HEADER || s->n < record_len(s->p, s->n)) {
      /* A header that promises too much is refused by the record layer before we collect it. */
      struct tl_record_view v;
      int rc = tl_record_open(c->kept.tls->record, s->p, s->n, &v);
      if (rc != TL_EAGAIN) record_error(c, rc, v.alert);
      continue;
    }
    open_one(c, s->p, s->n, -1);
    tl_stash_drop(c->net, s);
  }
}

/* ---- completions ---- */

/* From 6.14 on the kernel takes any handshake record that begins as a KeyUpdate does for a whole
 * one and reads nothing under the key before (EKEYEXPIRED), so the rest of one that is split stays
 * out of reach. */
static const char split_update[] = "a KeyUpdate split over records";

bool tl_recv_passed(struct tl_conn *c, size_t n) {
  if (c->kept.tls) tl_count_add(c->net->counters, TL_C_KREC_BYTES_IN, n);
  count_plain(c, n);
  return !c->kept.tls || !refuse_interleaved(c);
}

int tl_recv_kernel_record(struct tl_conn *c, uint8_t *buf, size_t cap) {
  uint8_t type;
  size_t n;
  int rc = tl_ktls_recv(c->kept.fd, buf, cap, &type, &n);
  if (rc == TL_EAGAIN) return rc;
  if (rc == TL_ECLOSED) {
    tl_half_begin(c);
  } else if (rc == TL_EBUSY) {
    end_with_alert(c, TL_ALERT_UNEXPECTED_MESSAGE, split_update);
  } else if (rc) {
    record_error(c, rc, rc == TL_EBADMAC ? TL_ALERT_BAD_RECORD_MAC : TL_ALERT_UNEXPECTED_MESSAGE);
  } else if (type != TL_CT_DATA) {
    control_record(c, type, buf, n);
    return TL_OK;
  } else if (!refuse_interleaved(c)) {
    tl_count_add(c->net->counters, TL_C_KREC_BYTES_IN, n);
    tl_recv_plain(c, buf, n, -1);
    return TL_OK;
  }
  return TL_EAGAIN;
}

/* A few at most: the next receive brings the rest, and other connections are waiting. The buffer is
 * on the stack because sending what is in it may need the scratch. */
static void take_control_records(struct tl_conn *c) {
  uint8_t buf[TL_RECORD_PLAIN_MAX];
  for (int i = 0; i < CONTROL_MAX && tl_conn_is_live(c); i++)
    if (tl_recv_kernel_record(c, buf, sizeof(buf))) return;
}

/* The connection is finishing or half-closed: input no longer matters, unsent output does. */
static void failed_at_end(struct tl_conn *c, int res) {
  uint8_t buf[TL_RECORD_PLAIN_MAX], type;
  size_t n;
  if (res == -ENOBUFS || res == -EINTR || res == -EAGAIN) return;
  if (res != -EIO || !c->kept.tls || c->kept.tls->record) {
    tl_conn_abort(c, TL_OK);
    return;
  }
  int rc = tl_ktls_recv(c->kept.fd, buf, sizeof(buf), &type, &n);
  if (rc == TL_OK && type == TL_CT_ALERT && n == 2 && buf[1] == TL_ALERT_CLOSE_NOTIFY)
    c->view.peer_ended = true;
  else if (rc && rc != TL_EAGAIN)
    tl_conn_abort(c, TL_OK);
}

/* Why the kernel could not read a record, and the alert for that; NULL: it is no matter of TLS. */
static const char *kernel_cause(int res, uint8_t *out_alert) {
  switch (res) {
  case -EBADMSG: *out_alert = TL_ALERT_BAD_RECORD_MAC; return "a record failed authentication";
  case -EMSGSIZE: *out_alert = TL_ALERT_RECORD_OVERFLOW; return "a malformed record";
  case -EINVAL: *out_alert = TL_ALERT_UNEXPECTED_MESSAGE; return "a malformed record";
  case -EKEYEXPIRED: *out_alert = TL_ALERT_UNEXPECTED_MESSAGE; return split_update;
  default: return NULL;
  }
}

static void on_recv_error(struct tl_conn *c, int res) {
  struct tl_net *n = c->net;
  if (res == -ENOBUFS || res == -EINTR || res == -EAGAIN) return;
  if (res == -EIO && c->kept.tls && !c->kept.tls->record) {
    take_control_records(c);
    return;
  }
  uint8_t alert = 0;
  const char *cause = c->kept.tls && !c->kept.tls->record ? kernel_cause(res, &alert) : NULL;
  if (cause) {
    if (res == -EBADMSG) tl_count(n->counters, TL_C_REC_BADMAC);
    end_with_alert(c, alert, cause);
    return;
  }
  tl_conn_abort(c, TL_EIO);
}

bool tl_recv_wanted(const struct tl_conn *c) {
  return !c->rx.armed && !c->rx.paused && !c->rx.parked && !c->kept.held.n && !c->rx.fin_got &&
         c->kept.fd >= 0;
}

void tl_recv_arm(struct tl_conn *c) {
  if (!tl_recv_wanted(c)) return;
  if (c->rx.polled) c->recv_op.fn = tl_recv_done;
  c->rx.polled = false;
  struct io_uring_sqe *sqe = tl_ring_sqe(&c->net->ring, &c->recv_op);
  io_uring_prep_recv_multishot(sqe, c->kept.fd, NULL, 0, 0);
  sqe->flags |= IOSQE_BUFFER_SELECT;
  sqe->buf_group = c->net->bufs.group;
  io_uring_sqe_set_data(sqe, &c->recv_op);
  c->rx.armed = true;
}

static void take_bytes(struct tl_conn *c, uint8_t *p, size_t n, int32_t buf) {
  c->kept.active_ms = c->net->now_ms;
  c->net->feeder = c;
  if (tl_conn_user_tls(c)) {
    cipher_input(c, p, n, buf);
  } else {
    if (c->kept.tls) tl_count_add(c->net->counters, TL_C_KREC_BYTES_IN, n);
    if (!c->kept.tls || !refuse_interleaved(c)) tl_recv_plain(c, p, n, buf);
  }
  c->net->feeder = NULL;
  tl_unfinished_note(c);
}

/* Cancelling a receive takes a moment: what the kernel delivers until then is held, or the queue
 * that is too long already would grow by all of it. */
static void hold_bytes(struct tl_conn *c, const uint8_t *p, size_t n) {
  if (tl_stash_put(c->net, &c->kept.held, p, n)) tl_conn_abort(c, TL_ENOMEM);
}

static void on_fin(struct tl_conn *c) {
  /* A truncated stream is harmless: Content-Length frames SIP (KTLS-FACTS 37). */
  c->rx.fin_got = true;
  tl_half_begin(c);
}

/* Has C used up its share of this turn? If not, N bytes more are counted. */
static bool had_its_share(struct tl_conn *c, size_t n) {
  if (c->spent_turn != c->net->turn) c->spent = 0;
  c->spent_turn = c->net->turn;
  if (c->spent >= TURN_BYTES) return true;
  c->spent += (uint32_t)n;
  return false;
}

/* The rest of C waits for the next turn; until then input stays in the kernel. */
static void put_off(struct tl_conn *c) {
  if (c->rx.later) return;
  c->rx.later = true;
  c->later_next = c->net->later;
  c->net->later = c;
  tl_count(c->net->counters, TL_C_CONN_PUT_OFF);
  if (c->rx.armed && !c->rx.cancelled) {
    c->rx.cancelled = true;
    tl_ring_cancel(&c->net->ring, &c->recv_op);
  }
}

bool tl_recv_share_used(struct tl_conn *c, size_t n) {
  if (!had_its_share(c, n)) return false;
  put_off(c);
  return true;
}

void tl_recv_later(struct tl_net *n) {
  struct tl_conn *c = n->later;
  n->later = NULL;
  while (c) {
    struct tl_conn *next = c->later_next;
    c->rx.later = false;
    tl_conn_mark(c);
    c = next;
  }
}

void tl_recv_forget(struct tl_conn *c) {
  struct tl_conn **at = &c->net->later;
  if (!c->rx.later) return;
  while (*at != c) at = &(*at)->later_next;
  *at = c->later_next;
  c->rx.later = false;
}

void tl_recv_held(struct tl_conn *c) {
  struct tl_stash s = c->kept.held;
  uint32_t at = 0;
  memset(&c->kept.held, 0, sizeof(c->kept.held));
  while (at < s.n && !c->rx.paused && tl_conn_is_live(c)) {
    uint32_t k = s.n - at < HELD_STEP ? s.n - at : HELD_STEP;
    if (had_its_share(c, k)) {
      put_off(c);
      break;
    }
    take_bytes(c, s.p + at, k, -1);
    at += k;
  }
  if (at < s.n && tl_conn_is_live(c)) {
    memmove(s.p, s.p + at, s.n - at);
    s.n -= at;
    c->kept.held = s;
    return;
  }
  tl_stash_drop(c->net, &s);
  if (c->rx.held_end && tl_conn_is_live(c)) on_fin(c);
}

void tl_recv_done(struct tl_op *op, int res, uint32_t flags) {
  struct tl_conn *c = tl_container_of(op, struct tl_conn, recv_op);
  struct tl_net *n = c->net;
  tl_count(n->counters, TL_C_RECVS);
  if (res == -ENOBUFS) tl_count(n->counters, TL_C_RECV_NO_BUFFER);
  if (!(flags & IORING_CQE_F_MORE)) {
    c->rx.armed = false;
    c->rx.cancelled = false;
    tl_conn_mark(c);
  }
  if (flags & IORING_CQE_F_BUFFER) {
    uint16_t buf = tl_bufs_take(&n->bufs, flags);
    uint8_t *p = tl_bufs_at(&n->bufs, buf);
    bool live = res > 0 && tl_conn_is_live(c);
    if (live && (c->rx.paused || c->kept.held.n)) {
      hold_bytes(c, p, (size_t)res);
    } else if (live && had_its_share(c, (size_t)res)) {
      hold_bytes(c, p, (size_t)res);
      put_off(c);
    } else if (live) {
      take_bytes(c, p, (size_t)res, buf);
    }
    tl_bufs_put(&n->bufs, buf);
  }
  if (res > 0 || c->view.state == TL_CONN_CLOSING) return;
  if (res == -ECANCELED) return;
  if (c->kept.held.n && c->view.state == TL_CONN_OPEN) {
    c->rx.held_end = res == 0; /* anything else is reported again by the next receive */
    return;
  }
  tl_recv_ended(c, res);
}

void tl_recv_ended(struct tl_conn *c, int res) {
  if (res == 0)
    on_fin(c);
  else if (c->view.state == TL_CONN_FINISHING || c->view.peer_ended)
    failed_at_end(c, res);
  else
    on_recv_error(c, res);
}
