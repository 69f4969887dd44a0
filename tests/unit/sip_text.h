/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text for the SIP tests: header lines to build messages from, and copies that
 * end at a page which cannot be read, so that a load past the end is a crash in
 * every build.
 *
 * Ownership: tl_guarded's pages live until the test process ends. Threads: one.
 * Errors: none, a failed mmap aborts.
 */
#pragma once

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tieline/str.h"

#define INVITE_LINE "INVITE sip:bob@b.example SIP/2.0\r\n"
#define VIA "Via: SIP/2.0/TLS a.example:5061;branch=z9hG4bK1\r\n"
#define FROM "From: \"A\" <sip:alice@a.example>;tag=f1\r\n"
#define TO "To: <sip:bob@b.example>\r\n"
#define CALL_ID "Call-ID: c1@a.example\r\n"
#define CSEQ "CSeq: 7 INVITE\r\n"
#define LENGTH0 "Content-Length: 0\r\n"
#define BASIC VIA FROM TO CALL_ID CSEQ
#define INVITE INVITE_LINE BASIC LENGTH0 "\r\n"

static inline const char *tl_guarded(const char *p, size_t n) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (n + page - 1) / page * page;
  char *m = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (m == MAP_FAILED || mprotect(m + room, page, PROT_NONE)) abort();
  if (n) memcpy(m + room - n, p, n);
  return m + room - n;
}

static inline struct tl_str tl_guarded_str(const char *text) {
  return (struct tl_str){tl_guarded(text, strlen(text)), strlen(text)};
}

#define expect_slice(slice, text)                                                                  \
  cr_expect(tl_str_eq(slice, tl_str_c(text)), "%s: got '%.*s', not '%s'", #slice, (int)(slice).n,  \
            (slice).p, text)
