/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds the end of a message that is not worth reading: by its lines and its
 * Content-Length alone, byte by byte, keeping nothing. For messages that are
 * refused while their connection stays open (RFC 3261 18.3).
 *
 * Ownership: the caller's struct. Threads: any, no state. Errors: fields tell.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tl_frame {
  uint32_t length;   /* Content-Length, if HAVE */
  bool have;         /* a Content-Length was seen */
  bool bad;          /* one is unreadable, or two differ */
  bool done;         /* the empty line has passed */
  bool stray;        /* a CR or LF outside a CRLF was among the lines */
  bool any_line_end; /* set before the first byte: a CR or LF alone ends a line too */
  /* The rest is frame.c's own. */
  uint8_t where, matched, name_len;
  bool cr, digits_ended, is_length, digits, over;
  uint64_t value;
};

/* Starts at the start line. ANY_LINE_END: reads like the parsers that take a lone CR or LF for a
 * CRLF. */
void tl_frame_begin(struct tl_frame *f, bool any_line_end);
/* Takes bytes of the head up to the end of its empty line; returns how many. */
size_t tl_frame_feed(struct tl_frame *f, const char *p, size_t n);
/* Would every parser find the same end? P: a head with its empty line, LEN bytes. True: *OUT_LENGTH
 * bytes of body follow. */
bool tl_frame_certain(const char *p, size_t len, uint32_t *out_length);
