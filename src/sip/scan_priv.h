/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What scan.c and start_line.c share while one message is scanned.
 *
 * Ownership: on tl_scan's stack. Threads: one. Errors: collected in RC, the
 * first one stands.
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
  uint16_t last[TL_HDRS]; /* last field of each id; valid where first[] is */
};

void tl_scan_fail(struct scan *s, int rc, uint16_t status, const char *reason);

/* Reads the start line, END just past its CRLF. False when it is not SIP at all: S->rc is set
 * and nothing else of the message matters. */
bool tl_scan_start_line(struct scan *s, uint32_t end);
