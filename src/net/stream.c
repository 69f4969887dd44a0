/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The framer of streams: messages by their Content-Length (RFC 3261 18.3), keep-alives between them
 * (RFC 5626 3.5.1), and the refusal of one message that leaves the connection to the others. Whole
 * messages are handled where they lie; only what is unfinished at the end of a buffer is copied
 * aside. Large ones are collected in big.c.
 */
#include <stdlib.h>

#include "net_internal.h"
#include "tieline/frame.h"
#include "tieline/log_limit.h"

/* ---- refusing one message (RFC 3261 18.3): the connection stays, others use it too ---- */

/* Bytes of one message skipped at most; after a longer one the connection is not worth keeping. */
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
 *   any other fault after a good start line    the scanner has framed it
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
      tl_send_unframed(c, "\r\n", 2);
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
  b->kernel = NULL;
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
    if (wait || used == n || !tl_conn_is_live(c)) break;
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
      if (!tl_big_wanted(c, m->body_len)) break;
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

static void take_stream(struct tl_conn *c, uint8_t *p, size_t n, int32_t buf) {
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

const struct tl_framer tl_stream_framer = {.take = take_stream};
