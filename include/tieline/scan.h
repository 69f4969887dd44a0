/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scanner: one pass over the head of a SIP message, no allocation.
 *
 * It finds the header boundaries, indexes the headers a proxy needs and checks
 * what a proxy must be able to rely on (RFC 3261 16.3 step 1). Everything else
 * stays untouched bytes. It is the only parser of forwarded messages: nothing
 * re-reads a message by other rules later.
 *
 * Ownership: a struct tl_msg is the caller's (about 10 KB, reuse one per
 * worker); its slices point into the caller's bytes. Threads: any, no state.
 * Errors: TL_EAGAIN head incomplete, TL_ESYNTAX with the SIP status to answer,
 * TL_ELIMIT too many headers or a head over the limit.
 */
#pragma once

#include "tieline/addr.h"
#include "tieline/err.h"
#include "tieline/str.h"
#include "tieline/uri.h"
#include "tieline/via.h"

enum tl_method {
  TL_M_OTHER,
  TL_M_INVITE,
  TL_M_ACK,
  TL_M_BYE,
  TL_M_CANCEL,
  TL_M_OPTIONS,
  TL_M_REGISTER,
  TL_M_MESSAGE,
  TL_M_PRACK,
  TL_M_UPDATE,
  TL_M_REFER,
  TL_M_SUBSCRIBE,
  TL_M_NOTIFY,
  TL_M_INFO,
  TL_M_PUBLISH,
  TL_METHODS
};

enum tl_hdr_id {
  TL_H_OTHER,
  TL_H_VIA,
  TL_H_ROUTE,
  TL_H_RECORD_ROUTE,
  TL_H_MAX_FORWARDS,
  TL_H_FROM,
  TL_H_TO,
  TL_H_CALL_ID,
  TL_H_CSEQ,
  TL_H_CONTACT,
  TL_H_PROXY_REQUIRE,
  TL_H_REQUIRE,
  TL_H_SUPPORTED,
  TL_H_CONTENT_LENGTH,
  TL_H_CONTENT_TYPE,
  TL_H_MAX_BREADTH,
  TL_H_PROXY_AUTHORIZATION,
  TL_H_AUTHORIZATION,
  TL_H_PROXY_AUTHENTICATE,
  TL_H_WWW_AUTHENTICATE,
  TL_H_RETRY_AFTER,
  TL_H_IDENTITY,
  TL_H_PAI,
  TL_H_EXPIRES,
  TL_HDRS
};

#define TL_HDR_MAX 256      /* header fields of a message that comes in */
#define TL_HDR_OWN 8        /* and those that we add before it is rescanned */
#define TL_HDR_NONE 0xffffu /* no such header */

struct tl_hdr {
  uint32_t off;     /* of the name, from the start of the message */
  uint32_t val;     /* of the value, after the colon and white space */
  uint32_t val_len; /* trimmed; folded lines (RFC 3261 7.3.1) are inside */
  uint32_t end;     /* just past the CRLF of its last line */
  uint16_t next;    /* next field of the same id, or TL_HDR_NONE */
  uint8_t id;       /* enum tl_hdr_id; compact forms are folded in */
};

/* The parts of a head that tl_edit_init and tl_edit_write bring into the one form that every parser
 * reads the same; all other heads leave as they came. */
enum tl_rewrite {
  TL_REWRITE_FOLDS = 1,   /* a value continues on another line (RFC 3261 7.3.1) */
  TL_REWRITE_LENGTH = 2,  /* not exactly one Content-Length, so spelt, in plain digits */
  TL_REWRITE_VERSION = 4, /* "sip/2.0": to be sent in upper case (RFC 3261 7.1) */
};

struct tl_msg {
  const char *p;     /* start of the message */
  uint32_t head_len; /* through the empty line */
  uint32_t body_len; /* from Content-Length; in a datagram without one, the rest */
  bool has_length;   /* a Content-Length was there */
  bool framed;       /* its end on a stream is certain, even if the message is refused */
  uint8_t rewrite;   /* enum tl_rewrite, or'ed; 0 for nearly every message */
  bool is_request;
  enum tl_method method; /* of the request, or of CSeq in a response */
  struct tl_str method_name;
  struct tl_str uri;  /* Request-URI, untouched; n = 0 if it was refused */
  struct tl_uri ruri; /* the same, parsed */
  uint32_t line_end;  /* offset just past the CRLF of the start line */
  uint16_t status;    /* of a response */
  struct tl_str reason;
  uint32_t cseq;
  struct tl_str cseq_method;
  struct tl_str call_id;
  struct tl_str from_uri; /* of From, not parsed */
  struct tl_str from_tag; /* n = 0: none */
  struct tl_str to_tag;
  int32_t max_forwards; /* -1: header absent */
  struct tl_via via;    /* topmost Via value */
  bool via_bad;         /* it cannot be read: a reply repeats it as it came */
  uint16_t n_hdr;
  uint16_t first[TL_HDRS]; /* index into hdr, or TL_HDR_NONE */
  struct tl_hdr hdr[TL_HDR_MAX + TL_HDR_OWN];
};

/* Why a message was refused: what to answer if it is a request that can be answered. */
struct tl_scan_error {
  uint16_t status;    /* 400, 505, 513 ...; 0 when even the start line is not SIP */
  const char *reason; /* reason phrase that says what is wrong, a string constant */
};

/*
 * Scans the message that starts at P. N bytes are there. STREAM: framing by
 * Content-Length (RFC 3261 18.3), its absence with a body expected is an error;
 * in a datagram N is the whole and Content-Length may only be smaller or equal.
 * MAX_HEAD bounds the head in bytes. TL_SCAN_OWN: a message that was within all
 * bounds when it came in is scanned again with what we added.
 *
 * 0: OUT is filled; the message is OUT->head_len + OUT->body_len bytes long,
 * of which the body may not have arrived. TL_EAGAIN: the head is incomplete.
 * TL_ESYNTAX or TL_ELIMIT: ERR says why; OUT holds whatever was understood, of
 * which Via, From, To, Call-ID and CSeq make a reply when tl_msg_answerable().
 */
#define TL_SCAN_OWN SIZE_MAX
int tl_scan(const char *p, size_t n, bool stream, size_t max_head, struct tl_msg *out,
            struct tl_scan_error *err);

/*
 * A scan without the header slots that M does not use, for a copy of M's head that stands at P. It
 * takes tl_msg_scan_size bytes at DST, and is read like any other. Where it follows LEN bytes that
 * stand BASE bytes into an object, tl_msg_scan_at says how far from their start it is to be.
 */
size_t tl_msg_scan_size(const struct tl_msg *m);
const struct tl_msg *tl_msg_copy_scan(const struct tl_msg *m, const char *p, void *dst);
static inline size_t tl_msg_scan_at(size_t base, size_t len) {
  const size_t align = _Alignof(struct tl_msg);
  return ((base + len + align - 1) & ~(align - 1)) - base;
}

/* Can M be replied to? A request, not ACK, with a Via. Of From, To, Call-ID and CSeq the reply
 * repeats those that are there (RFC 3261 16.3 step 1); if the Via is unreadable, it goes to the
 * source of the request. */
bool tl_msg_answerable(const struct tl_msg *m);

/* Value slice of header index I. */
static inline struct tl_str tl_hdr_value(const struct tl_msg *m, uint16_t i) {
  return (struct tl_str){m->p + m->hdr[i].val, m->hdr[i].val_len};
}
/* First header with ID, n = 0 slice with p NULL if absent. */
static inline struct tl_str tl_msg_header(const struct tl_msg *m, enum tl_hdr_id id) {
  return m->first[id] == TL_HDR_NONE ? (struct tl_str){NULL, 0} : tl_hdr_value(m, m->first[id]);
}
static inline bool tl_msg_has(const struct tl_msg *m, enum tl_hdr_id id) {
  return m->first[id] != TL_HDR_NONE;
}

/*
 * What the first bytes of a stream look like, for a listener of the wrong kind.
 * Needs up to 8 bytes; TL_LOOKS_UNKNOWN while undecided or when it may be SIP.
 */
enum tl_looks { TL_LOOKS_UNKNOWN, TL_LOOKS_TLS, TL_LOOKS_HTTP, TL_LOOKS_GARBAGE };
enum tl_looks tl_looks_like(const char *p, size_t n);

const char *tl_method_name(enum tl_method m);
enum tl_method tl_method_parse(struct tl_str s); /* case-sensitive, RFC 3261 7.1 */
