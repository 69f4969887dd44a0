/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receiving: multishot receive into the worker's buffers, TLS records opened in
 * place where they are ours to open, and messages framed by Content-Length
 * (RFC 3261 18.3). Whole messages are handled where they lie; only what is
 * unfinished at the end of a buffer is copied aside.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "net_internal.h"
#include "tieline/container.h"
#include "tieline/frame.h"
#include "tieline/log_limit.h"

#define CONTROL_MAX 8
#define EMPTY_MAX 32 /* empty records in a row, as OpenSSL has it */
#define HELD_STEP 16384u
/* Bytes of one connection handled per turn, so that one that sends without pause does not stop the
 * others of its worker: a thousand small messages, some milliseconds. */
#define TURN_BYTES (256u << 10)

/* ---- stashes ---- */

static size_t big_size(const struct tl_net *n) { return n->scratch_cap; }

static uint8_t *stash_mem(struct tl_net *n, size_t want, uint32_t *out_cap) {
  if (want <= TL_STASH_SMALL) {
    *out_cap = TL_STASH_SMALL;
    return tl_pool_get(&n->stash_small);
  }
  if (want <= TL_STASH_MID) {
    *out_cap = TL_STASH_MID;
    return tl_pool_get(&n->stash_mid);
  }
  *out_cap = (uint32_t)(want > big_size(n) ? 2 * want : big_size(n));
  return malloc(*out_cap);
}

static void stash_mem_free(struct tl_net *n, uint8_t *p, uint32_t cap) {
  if (cap == TL_STASH_SMALL)
    tl_pool_put(&n->stash_small, p);
  else if (cap == TL_STASH_MID)
    tl_pool_put(&n->stash_mid, p);
  else
    free(p);
}

void tl_stash_drop(struct tl_net *n, struct tl_stash *s) {
  if (s->p) stash_mem_free(n, s->p, s->cap);
  memset(s, 0, sizeof(*s));
}

int tl_stash_put(struct tl_net *n, struct tl_stash *s, const uint8_t *p, size_t len) {
  if (s->n + len > s->cap) {
    uint32_t cap;
    uint8_t *m = stash_mem(n, s->n + len, &cap);
    if (!m) return TL_ENOMEM;
    if (s->n) memcpy(m, s->p, s->n);
    if (s->p) stash_mem_free(n, s->p, s->cap);
    s->p = m;
    s->cap = cap;
  }
  memcpy(s->p + s->n, p, len);
  s->n += (uint32_t)len;
  return TL_OK;
}

/* ---- messages ---- */

void tl_recv_deliver(struct tl_conn *c, const struct tl_msg *m, const struct tl_body *b) {
  struct tl_flow from = tl_conn_flow(c);
  c->kept.msgs_in++;
  c->rx.another = true;
  tl_count(c->net->counters, tl_transports[c->view.transport].messages_in);
  c->net->handler->message(c->net, &from, c, m, b);
}

void tl_recv_bad(struct tl_conn *c, const struct tl_scan_error *err, bool answerable) {
  char peer[TL_ADDR_STRLEN];
  struct tl_flow from = tl_conn_flow(c);
  tl_count(c->net->counters, err->status == 513 ? TL_C_BAD_TOO_LARGE : TL_C_BAD_FRAMING);
  TL_LOG_FROM(&c->view.peer, err->reason, TL_LOG_WARN,
              "Closing a connection that sent a message we cannot frame.",
              TL_FC("peer", tl_addr_format(&c->view.peer, peer)),
              TL_FC("transport", tl_transport_name((enum tl_transport)c->view.transport)),
              TL_FI("status", err->status), TL_FC("cause", err->reason));
  if (answerable)
    c->net->handler->bad(c->net, &from, c, &c->net->msg, err);
  else
    tl_count(c->net->counters, TL_C_DROP_PARSE);
  c->view.doomed = true;
  tl_conn_finish(c);
}

/* ---- refusing one message (RFC 3261 18.3): the connection stays, others use it too ---- */

/* Bytes of one message skipped at most; behind a longer one the connection is not worth keeping. */
static uint64_t skip_max(const struct tl_net *n) {
  return 4ull * n->view->conf->limits.max_message;
}

static void refuse_one(struct tl_conn *c, const struct tl_scan_error *err) {
  struct tl_flow from = tl_conn_flow(c);
  tl_count(c->net->counters, TL_C_BAD_SKIPPED);
  if (err->status == 513) tl_count(c->net->counters, TL_C_BAD_TOO_LARGE);
  if (tl_msg_answerable(&c->net->msg))
    c->net->handler->bad(c->net, &from, c, &c->net->msg, err);
  else
    tl_count(c->net->counters, TL_C_DROP_PARSE);
}

/* Where the message at P ends, if that is certain:
 *
 *   NUL, more fields or lines than we index     by CRLF lines and Content-Length
 *   bare CR or LF                               if reading them as line ends gives the same end
 *   any other fault behind a good start line    the scanner has framed it
 *   no, two different or odd Content-Lengths    never: two ends are possible
 *   not SIP in the start line                   never: we may have lost the beginning
 */
static bool end_is_certain(const struct tl_msg *m, const char *p, int rc,
                           const struct tl_scan_error *err, uint64_t *out_total) {
  uint32_t body = m->body_len;
  if (!m->head_len || !err->status) return false;
  /* Past a limit the scanner has not seen all fields. */
  if ((rc == TL_ELIMIT || !m->framed) && !tl_frame_certain(p, m->head_len, &body)) return false;
  *out_total = (uint64_t)m->head_len + body;
  return true;
}

/* A head longer than we hold: its fields are skipped until it ends. */
static bool skip_head(struct tl_conn *c, const struct tl_msg *m, const struct tl_scan_error *err) {
  if (m->head_len || err->status != 513 || c->kept.skipping) return false;
  c->kept.skipping = malloc(sizeof(*c->kept.skipping));
  if (!c->kept.skipping) return false;
  tl_frame_begin(c->kept.skipping, false);
  c->kept.skip_left = c->net->view->conf->limits.max_message;
  return true;
}

static void close_lost(struct tl_conn *c) {
  struct tl_scan_error err = {400, "No Certain End"};
  tl_recv_bad(c, &err, false);
}

/* Continues skipping; returns how many of the N bytes at P belong to the skipped message. */
static size_t skip_bytes(struct tl_conn *c, const uint8_t *p, size_t n) {
  struct tl_frame *f = c->kept.skipping;
  size_t k = n < c->kept.skip_left ? n : (size_t)c->kept.skip_left;
  if (f) k = tl_frame_feed(f, (const char *)p, k);
  c->kept.skip_left -= k;
  if (!f) {
    c->rx.another |= c->kept.skip_left == 0;
    return k;
  }
  if (f->done) {
    bool certain = f->have && !f->bad && !f->stray && f->length <= skip_max(c->net);
    c->kept.skip_left = f->length;
    c->rx.another |= f->length == 0;
    free(f);
    c->kept.skipping = NULL;
    if (!certain) close_lost(c);
  } else if (c->kept.skip_left == 0) {
    close_lost(c);
  }
  return k;
}

/* Refuses the message at P, of which LEFT bytes have arrived. Returns the bytes consumed; the rest
 * is skipped as it arrives. Where its end is uncertain the connection closes. */
static size_t refuse_message(struct tl_conn *c, const uint8_t *p, size_t left, int rc,
                             const struct tl_scan_error *err) {
  struct tl_msg *m = &c->net->msg;
  uint64_t total = 0;
  if (skip_head(c, m, err)) {
    refuse_one(c, err);
    /* Its head and what has arrived of its body: no byte of it may be taken for the next message.
     */
    size_t k = tl_conn_is_live(c) ? skip_bytes(c, p, left) : left;
    while (k < left && c->kept.skip_left && tl_conn_is_live(c)) k += skip_bytes(c, p + k, left - k);
    return tl_conn_is_live(c) ? k : left;
  }
  if (!end_is_certain(m, (const char *)p, rc, err, &total) || total > skip_max(c->net)) {
    tl_recv_bad(c, err, tl_msg_answerable(m));
    return left;
  }
  refuse_one(c, err);
  c->rx.another |= total <= left;
  if (total <= left) return (size_t)total;
  c->kept.skip_left = total - left;
  return left;
}

static void wrong_protocol(struct tl_conn *c, enum tl_looks looks) {
  static const char *const what[] = {"something unknown", "a TLS ClientHello", "HTTP",
                                     "bytes that are no SIP"};
  char peer[TL_ADDR_STRLEN];
  tl_count(c->net->counters, TL_C_BAD_PROTOCOL);
  TL_LOG_FROM(&c->view.peer, what[looks], TL_LOG_WARN,
              "Closing a connection that does not speak SIP here.",
              TL_FC("peer", tl_addr_format(&c->view.peer, peer)),
              TL_FC("transport", tl_transport_name((enum tl_transport)c->view.transport)),
              TL_FC("received", what[looks]));
  c->view.doomed = true;
  tl_conn_finish(c);
}

#define STRAYS_MAX 1024u /* in STRAYS_MS; keep-alives are a byte or two */
#define STRAYS_MS 10000u

/* A lone LF, CR or NUL, which some implementations send as keep-alive or after a message. No
 * message begins with one, so nothing is lost. False: too many. */
static bool stray_allowed(struct tl_conn *c) {
  uint64_t now = c->net->now_ms;
  if (now - c->stray_ms > STRAYS_MS) c->strays = 0;
  if (c->strays == 0) c->stray_ms = now;
  tl_count(c->net->counters, TL_C_BAD_STRAY);
  return ++c->strays <= STRAYS_MAX;
}

/* CRLF keep-alives (RFC 5626 3.5.1, RFC 3261 7.5), and stray bytes. Returns the bytes skipped;
 * *OUT_WAIT when the rest may be half of one. */
static size_t skip_crlf(struct tl_conn *c, const uint8_t *p, size_t n, bool *out_wait) {
  size_t used = 0;
  *out_wait = false;
  while (used < n && (p[used] == '\r' || p[used] == '\n' || p[used] == '\0')) {
    size_t left = n - used;
    if (left >= 4 && memcmp(p + used, "\r\n\r\n", 4) == 0) {
      tl_count(c->net->counters, TL_C_KEEPALIVE);
      tl_conn_send(c, "\r\n", 2);
      used += 4;
    } else if (left < 4 && memcmp(p + used, "\r\n\r\n", left) == 0) {
      *out_wait = true;
      break;
    } else if (left >= 2 && p[used] == '\r' && p[used + 1] == '\n') {
      used += 2;
    } else if (stray_allowed(c)) {
      used++;
    } else {
      wrong_protocol(c, TL_LOOKS_GARBAGE);
      return n;
    }
  }
  return used;
}

static void one_piece_body(struct tl_body *b, const struct tl_msg *m, const uint8_t *p,
                           int32_t buf) {
  b->n = m->body_len ? 1 : 0;
  b->len = m->body_len;
  b->seg[0].p = p + m->head_len;
  b->seg[0].n = m->body_len;
  b->seg[0].buf = buf;
}

static bool head_may_be_complete(struct tl_conn *c, const uint8_t *p, size_t n) {
  size_t from = c->searched > 3 ? c->searched - 3 : 0;
  if (from < n && memmem(p + from, n - from, "\r\n\r\n", 4)) return true;
  c->searched = (uint32_t)n;
  return n > c->net->view->conf->limits.max_head; /* let the scanner refuse it */
}

/*
 * Handles the messages at P. ONE: at most one (P is the stash). Returns the bytes
 * consumed; the rest is the start of an incomplete message.
 */
static size_t frame_messages(struct tl_conn *c, uint8_t *p, size_t n, int32_t buf, bool one) {
  struct tl_net *net = c->net;
  struct tl_msg *m = &net->msg;
  size_t used = 0;
  c->wanted = 0;
  while (used < n && tl_conn_is_live(c) && !c->big) {
    bool wait;
    used += skip_crlf(c, p + used, n - used, &wait);
    if (wait || used == n) break;
    uint8_t *at = p + used;
    size_t left = n - used;
    if (!c->rx.protocol_checked) {
      enum tl_looks looks = tl_looks_like((char *)at, left);
      if (looks != TL_LOOKS_UNKNOWN) {
        wrong_protocol(c, looks);
        return n;
      }
      if (left >= 8) c->rx.protocol_checked = true;
    }
    if (one && !head_may_be_complete(c, at, left)) break;
    struct tl_scan_error err = {400, "Bad Request"};
    int rc = tl_scan((char *)at, left, true, net->view->conf->limits.max_head, m, &err);
    net->scans++;
    if (rc == TL_EAGAIN) break;
    size_t total = (size_t)m->head_len + m->body_len;
    if (rc == TL_OK && total > net->view->conf->limits.max_message) {
      err = (struct tl_scan_error){513, "Message Too Large"};
      rc = TL_ESYNTAX; /* all of its head was read */
    }
    if (rc) {
      used += refuse_message(c, at, left, rc, &err);
      c->searched = 0;
      if (one || c->kept.skip_left) break;
      continue;
    }
    if (total > left) {
      c->wanted = (uint32_t)total;
      if (m->body_len < net->view->conf->limits.zero_copy_body) break;
      if (tl_big_begin(c, at, left, buf, one, m)) tl_conn_abort(c, TL_ENOMEM);
      return n;
    }
    one_piece_body(&net->body, m, at, buf);
    tl_recv_deliver(c, m, &net->body);
    c->searched = 0;
    used += total;
    if (one) break;
  }
  return used;
}

/* The stash holds the start of a message: completes it with as little copying as possible. Returns
 * the bytes of P that were consumed. */
static size_t through_stash(struct tl_conn *c, const uint8_t *p, size_t n) {
  struct tl_stash *s = &c->kept.plain;
  uint32_t before = s->n;
  size_t k = n < 4096 ? n : 4096;
  if (c->wanted > before) k = n < c->wanted - before ? n : c->wanted - before;
  if (tl_stash_put(c->net, s, p, k)) {
    tl_conn_abort(c, TL_ENOMEM);
    return n;
  }
  if (s->n < c->wanted) return k; /* its head is not read again for each piece of its body */
  size_t used = frame_messages(c, s->p, s->n, -1, true);
  if (!tl_conn_is_live(c) || c->big) return k; /* begun from the stash, which it took over */
  if (used == 0) return k;
  c->searched = 0;
  if (used >= before) {
    tl_stash_drop(c->net, s);
    return used - before;
  }
  memmove(s->p, s->p + used, s->n - used);
  s->n -= (uint32_t)used;
  return k;
}

void tl_recv_plain(struct tl_conn *c, uint8_t *p, size_t n, int32_t buf) {
  c->kept.bytes_in += n;
  tl_count_add(c->net->counters, tl_transports[c->view.transport].bytes_in, n);
  while (n && tl_conn_is_live(c)) {
    size_t used;
    if (c->kept.skip_left) {
      used = skip_bytes(c, p, n);
    } else if (c->big) {
      used = tl_big_feed(c, p, n, buf);
    } else if (c->kept.plain.n) {
      used = through_stash(c, p, n);
    } else {
      used = frame_messages(c, p, n, buf, false);
      if (used < n && tl_conn_is_live(c) && !c->big) {
        if (tl_stash_put(c->net, &c->kept.plain, p + used, n - used)) tl_conn_abort(c, TL_ENOMEM);
        c->searched = 0;
        return;
      }
    }
    p += used;
    n -= used;
  }
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
  tl_count_add(c->net->counters, tl_transports[c->view.transport].bytes_in, v.n);
  c->kept.bytes_in += v.n;
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

/* A few at most: the next receive brings the rest, and other connections are waiting. The buffer is
 * on the stack because sending what is in it may need the scratch. */
static void take_control_records(struct tl_conn *c) {
  uint8_t buf[TL_RECORD_PLAIN_MAX];
  for (int i = 0; i < CONTROL_MAX && tl_conn_is_live(c); i++) {
    uint8_t type;
    size_t n;
    int rc = tl_ktls_recv(c->kept.fd, buf, sizeof(buf), &type, &n);
    if (rc == TL_EAGAIN) break;
    if (rc == TL_ECLOSED) {
      tl_half_begin(c);
      return;
    }
    if (rc) {
      record_error(c, rc, rc == TL_EBADMAC ? TL_ALERT_BAD_RECORD_MAC : TL_ALERT_UNEXPECTED_MESSAGE);
      return;
    }
    if (type == TL_CT_DATA) {
      if (refuse_interleaved(c)) return;
      tl_count_add(c->net->counters, TL_C_KREC_BYTES_IN, n);
      tl_recv_plain(c, buf, n, -1);
    } else {
      control_record(c, type, buf, n);
    }
  }
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

static void on_recv_error(struct tl_conn *c, int res) {
  struct tl_net *n = c->net;
  if (res == -ENOBUFS || res == -EINTR || res == -EAGAIN) return;
  if (res == -EIO && c->kept.tls && !c->kept.tls->record) {
    take_control_records(c);
    return;
  }
  if (c->kept.tls && !c->kept.tls->record &&
      (res == -EBADMSG || res == -EINVAL || res == -EMSGSIZE)) {
    if (res == -EBADMSG) tl_count(n->counters, TL_C_REC_BADMAC);
    end_with_alert(c,
                   res == -EBADMSG    ? TL_ALERT_BAD_RECORD_MAC
                   : res == -EMSGSIZE ? TL_ALERT_RECORD_OVERFLOW
                                      : TL_ALERT_UNEXPECTED_MESSAGE,
                   res == -EBADMSG ? "a record failed authentication" : "a malformed record");
    return;
  }
  tl_conn_abort(c, TL_EIO);
}

void tl_recv_arm(struct tl_conn *c) {
  if (c->rx.armed || c->rx.paused || c->rx.parked || c->kept.held.n || c->rx.fin_got ||
      c->kept.fd < 0)
    return;
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
  if (res == 0) {
    on_fin(c);
    return;
  }
  if (c->view.state == TL_CONN_FINISHING || c->view.peer_ended)
    failed_at_end(c, res);
  else
    on_recv_error(c, res);
}
