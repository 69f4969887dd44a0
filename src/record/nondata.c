/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What records other than data mean to a connection after its handshake.
 *
 * Alerts and handshake messages may be split anywhere between records, so a few
 * bytes of state live in the connection. This file only says what to do;
 * rekeying, answering and closing are up to the caller.
 */
#include "tieline/record.h"

enum { HT_HELLO_REQUEST = 0, HT_CLIENT_HELLO = 1, HT_NEW_SESSION_TICKET = 4, HT_KEY_UPDATE = 24 };
enum { ALERT_USER_CANCELED = 90 };

/* The fields of RFC 8446 4.6.1 at their longest; anything longer cannot be a ticket. */
#define TICKET_MAX (4 + 4 + 1 + 255 + 2 + 65535 + 2 + 65534)
/* Nor a ClientHello: this is OpenSSL's bound. */
#define CLIENT_HELLO_MAX 131396
/* A peer that sends nothing but warnings, or wishes to renegotiate, keeps us busy for nothing. */
#define WARNINGS_MAX 32

static enum tl_nondata_action fail_unexpected(uint8_t *out_alert, uint8_t alert) {
  *out_alert = alert;
  return TL_NONDATA_UNEXPECTED;
}

static enum tl_nondata_action judge_alert(struct tl_nondata_state *s, enum tl_tls_version v,
                                          uint8_t level, uint8_t alert, uint8_t *out_alert) {
  if (alert == TL_ALERT_CLOSE_NOTIFY) return TL_NONDATA_CLOSE_NOTIFY;
  if (level != TL_ALERT_LEVEL_WARNING && level != TL_ALERT_LEVEL_FATAL)
    return fail_unexpected(out_alert, TL_ALERT_ILLEGAL_PARAMETER);
  /* RFC 8446 6: every other alert but user_canceled is fatal, whatever its level says. */
  bool warning = v == TL_TLS_1_3 ? alert == ALERT_USER_CANCELED : level == TL_ALERT_LEVEL_WARNING;
  if (!warning) {
    *out_alert = alert;
    return TL_NONDATA_FATAL;
  }
  if (++s->warnings > WARNINGS_MAX) return fail_unexpected(out_alert, TL_ALERT_UNEXPECTED_MESSAGE);
  return TL_NONDATA_NONE;
}

static enum tl_nondata_action feed_alert(struct tl_nondata_state *s, enum tl_tls_version v,
                                         const uint8_t *p, size_t n, size_t *out_used,
                                         uint8_t *out_alert) {
  for (size_t i = 0; i < n; i++) {
    if (!s->alert_have) {
      s->alert_level = p[i];
      s->alert_have = 1;
      continue;
    }
    s->alert_have = 0;
    enum tl_nondata_action a = judge_alert(s, v, s->alert_level, p[i], out_alert);
    if (a != TL_NONDATA_NONE) {
      *out_used = i + 1;
      return a;
    }
  }
  return TL_NONDATA_NONE;
}

/* RFC 5246 7.4.1.1 lets a client ignore a HelloRequest; by 7.2.2 a server answers a ClientHello
 * with a warning. Neither ends the connection. */
static enum tl_nondata_action judge_renegotiation(struct tl_nondata_state *s, bool we_are_server,
                                                  uint8_t *out_alert) {
  if (s->type != (we_are_server ? HT_CLIENT_HELLO : HT_HELLO_REQUEST))
    return fail_unexpected(out_alert, TL_ALERT_UNEXPECTED_MESSAGE);
  if (we_are_server ? s->left > CLIENT_HELLO_MAX : s->left != 0)
    return fail_unexpected(out_alert, TL_ALERT_DECODE_ERROR);
  if (++s->warnings > WARNINGS_MAX) return fail_unexpected(out_alert, TL_ALERT_UNEXPECTED_MESSAGE);
  return TL_NONDATA_RENEGOTIATE;
}

/* Judges type and length of a handshake message; its body is still to come. */
static enum tl_nondata_action judge_header(struct tl_nondata_state *s, enum tl_tls_version v,
                                           bool we_are_server, uint8_t *out_alert) {
  if (v == TL_TLS_1_2) return judge_renegotiation(s, we_are_server, out_alert);
  if (s->type == HT_KEY_UPDATE)
    return s->left == 1 ? TL_NONDATA_NONE : fail_unexpected(out_alert, TL_ALERT_DECODE_ERROR);
  if (s->type == HT_NEW_SESSION_TICKET && !we_are_server)
    return s->left && s->left <= TICKET_MAX ? TL_NONDATA_NONE
                                            : fail_unexpected(out_alert, TL_ALERT_DECODE_ERROR);
  /* Post-handshake authentication is never offered (RFC 8446 4.2.6). */
  return fail_unexpected(out_alert, TL_ALERT_UNEXPECTED_MESSAGE);
}

/* The message is complete; LAST is the last byte of its body, REST bytes follow in the record. */
static enum tl_nondata_action finish_message(struct tl_nondata_state *s, uint8_t last, size_t rest,
                                             uint8_t *out_alert) {
  s->have = 0;
  if (s->type == HT_NEW_SESSION_TICKET) s->tickets++;
  /* For any message other than a KeyUpdate the header was enough. */
  if (s->type != HT_KEY_UPDATE) return TL_NONDATA_NONE;
  /* RFC 8446 5.1: a key change must fall on the end of a record. */
  if (rest) return fail_unexpected(out_alert, TL_ALERT_UNEXPECTED_MESSAGE);
  if (last > 1) return fail_unexpected(out_alert, TL_ALERT_ILLEGAL_PARAMETER);
  s->key_updates++;
  return last ? TL_NONDATA_KEY_UPDATE_REQ : TL_NONDATA_KEY_UPDATE;
}

static enum tl_nondata_action feed_handshake(struct tl_nondata_state *s, enum tl_tls_version v,
                                             bool we_are_server, const uint8_t *p, size_t n,
                                             size_t *out_used, uint8_t *out_alert) {
  size_t at = 0;
  while (at < n) {
    enum tl_nondata_action a = TL_NONDATA_NONE;
    if (s->have < sizeof(s->buf)) {
      s->buf[s->have++] = p[at++];
      if (s->have < sizeof(s->buf)) continue;
      s->type = s->buf[0];
      s->left = (uint32_t)s->buf[1] << 16 | (uint32_t)s->buf[2] << 8 | s->buf[3];
      a = judge_header(s, v, we_are_server, out_alert);
      if (s->left == 0) s->have = 0; /* no body follows */
    } else {
      size_t take = n - at < s->left ? n - at : s->left;
      at += take;
      s->left -= (uint32_t)take;
      if (s->left == 0) a = finish_message(s, p[at - 1], n - at, out_alert);
    }
    if (a != TL_NONDATA_NONE) {
      *out_used = at;
      return a;
    }
  }
  return TL_NONDATA_NONE;
}

enum tl_nondata_action tl_nondata_input(struct tl_nondata_state *s, enum tl_tls_version v,
                                        bool we_are_server, uint8_t type, const uint8_t *p,
                                        size_t n, size_t *out_used, uint8_t *out_alert) {
  *out_used = n;
  *out_alert = 0;
  /* RFC 8446 5.1, RFC 5246 6.2.1: only data records may be empty. */
  if (n == 0) return fail_unexpected(out_alert, TL_ALERT_UNEXPECTED_MESSAGE);
  bool between = tl_nondata_is_cut(s, v) && (type == TL_CT_ALERT ? s->have : s->alert_have);
  if (type == TL_CT_ALERT) {
    enum tl_nondata_action a = feed_alert(s, v, p, n, out_used, out_alert);
    /* An alert that ends the connection is not followed by anything. */
    return a == TL_NONDATA_NONE && between ? fail_unexpected(out_alert, TL_ALERT_UNEXPECTED_MESSAGE)
                                           : a;
  }
  if (between) return fail_unexpected(out_alert, TL_ALERT_UNEXPECTED_MESSAGE);
  if (type == TL_CT_HANDSHAKE)
    return feed_handshake(s, v, we_are_server, p, n, out_used, out_alert);
  return fail_unexpected(out_alert, TL_ALERT_UNEXPECTED_MESSAGE);
}
