/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a message ends that is not worth reading: by its lines and its
 * Content-Length alone, byte by byte, keeping none of it. For messages that are
 * refused while their connection goes on (RFC 3261 18.3).
 *
 * Ownership: the caller's struct. Threads: any, no state. Errors: fields tell.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tl_frame {
  uint32_t length;   /* Content-Length, if HAVE */
  bool have;         /* there was one */
  bool bad;          /* one that cannot be read, or two that differ */
  bool done;         /* the empty line has passed */
  bool stray;        /* a CR or LF that is no part of a CRLF was among the lines */
  bool any_line_end; /* set before the first byte: a CR or LF alone ends a line too */
  /* What follows is frame.c's. */
  uint8_t where, matched, name_len;
  bool cr, digits_ended, is_length, digits, over;
  uint64_t value;
};

/* Starts at the start line. ANY_LINE_END: as parsers read that take a lone CR or LF for a CRLF. */
void tl_frame_begin(struct tl_frame *f, bool any_line_end);
/* Takes bytes of the head up to the end of its empty line; how many it took. */
size_t tl_frame_feed(struct tl_frame *f, const char *p, size_t n);
/* Is there one end only that any parser could find? P: a head with its empty line, LEN bytes. True:
 * *OUT_LENGTH bytes of body follow. */
bool tl_frame_certain(const char *p, size_t len, uint32_t *out_length);
