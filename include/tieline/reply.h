/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages made here: responses to a request, and the CANCEL and ACK that a
 * proxy owes for a request that it forwarded.
 *
 * Ownership: written into the caller's buffer. Threads: any. Errors: TL_ELIMIT
 * when the buffer is too small.
 */
#pragma once

#include "tieline/scan.h"

/* What a response says beside what it copies from its request. */
struct tl_reply {
  unsigned status;
  struct tl_str reason;
  struct tl_str to_tag;  /* appended to To if it has none and STATUS > 100 */
  struct tl_str top_via; /* if not empty, in place of the topmost Via value (received, rport) */
  struct tl_str server;  /* if not empty, the value of Server (RFC 3261 20.35) */
  struct tl_str extra;   /* complete lines with CRLF, may be empty */
};

/*
 * Response R to REQ (RFC 3261 8.2.6): all Via values, From, To, Call-ID, CSeq, Server, the extra
 * lines, Content-Length: 0. A 100 copies Timestamp, too.
 */
int tl_reply_build(const struct tl_msg *req, const struct tl_reply *r, char *dst, size_t cap,
                   size_t *out_len);

/* CANCEL for FWD, a request as we forwarded it (RFC 3261 9.1): its top Via only, R-URI, Route,
 * From, To, Call-ID, CSeq number. */
int tl_cancel_build(const struct tl_msg *fwd, char *dst, size_t cap, size_t *out_len);

/* ACK for the non-2xx final RESP to FWD (RFC 3261 17.1.1.3): as CANCEL, To from RESP. */
int tl_ack_build(const struct tl_msg *fwd, const struct tl_msg *resp, char *dst, size_t cap,
                 size_t *out_len);

/* A request in the dialog that a 2xx opened, of the party that sent the INVITE. */
struct tl_dialog_request {
  struct tl_str method;
  uint32_t cseq;
  struct tl_str uri;    /* the remote target */
  struct tl_str branch; /* of its Via, which is there to be replaced */
  const struct tl_nameaddr *route;
  unsigned n_route;
  const struct tl_msg *invite; /* not NULL: it repeats this one's credentials, as an ACK must */
};
/* RFC 3261 12.2.1.1, 13.2.2.4: From, To and Call-ID are those of RESP, the 2xx. */
int tl_dialog_request_build(const struct tl_msg *resp, const struct tl_dialog_request *r, char *dst,
                            size_t cap, size_t *out_len);

/* The reason phrase that the RFCs give for STATUS, or a generic one of its class. */
struct tl_str tl_reason_phrase(unsigned status);
