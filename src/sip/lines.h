/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the lines of a message head end, found 64 bytes at a time.
 *
 * Ownership: the caller's struct. Threads: any; the implementation is chosen
 * once, before main. Errors: none, the fields tell.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define LINES_MAX 512 /* lines of a head, folded ones included */

struct lines {
  uint32_t n;              /* entries of end[] */
  uint32_t head_len;       /* through the empty line; 0: it has not come yet */
  uint64_t stray;          /* not 0: a CR or LF that is not part of a CRLF */
  uint64_t nul;            /* not 0: a NUL byte */
  uint32_t full;           /* more lines than end[] holds */
  uint32_t end[LINES_MAX]; /* offset after each CRLF, that of the empty line included */
};

typedef void lines_fn(const char *p, uint32_t n, struct lines *out);

/* Scans P up to the empty line, or all N bytes; never past them. */
void tl_lines_find(const char *p, uint32_t n, struct lines *out);

/* The implementations that this processor can run, for tests: NULL after the last. */
struct lines_impl {
  const char *name;
  lines_fn *find;
};
const struct lines_impl *tl_lines_impls(void);
