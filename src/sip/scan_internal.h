/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What scan.c, start_line.c and fields.c share while one message is scanned.
 *
 * Ownership: on tl_scan's stack. Threads: one. Errors: collected in RC; the
 * first one is kept.
 */
#pragma once

#include "lex.h"
#include "lines.h"
#include "tieline/scan.h"

struct scan {
  struct tl_msg *m;
  struct tl_scan_error *err;
  const char *r; /* end of what was received */
  int rc;
  bool length_bad;
  uint16_t fields_max;    /* that the message may have */
  uint8_t lengths;        /* Content-Length fields so far */
  uint16_t last[TL_HDRS]; /* last field of each id; valid where first[] is */
};

#define BODY_MAX 0x7fffffffu
#define LENGTHS_MAX 8 /* equal Content-Length fields: each costs an edit on the way out */

void tl_scan_fail(struct scan *s, int rc, uint16_t status, const char *reason);

/* The same with TL_ESYNTAX and 400. */
void tl_scan_bad(struct scan *s, const char *reason);

/* Reads the start line, END just past its CRLF. False when it is not SIP at all: S->rc is set
 * and nothing else of the message matters. */
bool tl_scan_start_line(struct scan *s, uint32_t end);

/* The ids that tl_scan_field handles. */
#define SCAN_FIELDS                                                                                \
  (1u << TL_H_VIA | 1u << TL_H_FROM | 1u << TL_H_TO | 1u << TL_H_CALL_ID | 1u << TL_H_CSEQ |       \
   1u << TL_H_MAX_FORWARDS | 1u << TL_H_CONTENT_LENGTH)

/* Reads the value V of a field of ID into S->m. AGAIN: a field of this id came before. */
void tl_scan_field(struct scan *s, enum tl_hdr_id id, struct tl_str v, bool again);
