/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One log line as text: logfmt, JSON, or the fields of a journal entry.
 *
 * Values come from the network: nothing in one can end the line, start a field
 * or reach a terminal as a control character. A line that does not fit is cut
 * inside a value, stays well-formed and says "truncated".
 *
 * Ownership: the caller's buffer. Threads: any. Errors: none.
 */
#pragma once

#include <time.h>

#include "tieline/log.h"

/* Enough for every shape of line; smaller buffers are a programmer's error. */
#define TL_LOG_LINE 2048

struct tl_log_record {
  enum tl_log_level level;
  struct timespec at;
  const char *sentence;
  const struct tl_field *field;
  size_t n;
};

/* Writes a line with its newline; returns its length, at most TL_LOG_LINE. */
size_t tl_log_format(const struct tl_log_record *r, enum tl_log_format format,
                     char buf[TL_LOG_LINE]);

/* Writes a journal entry: "NAME=value" strings, each ended by a NUL; returns the bytes used.
 * MESSAGE is the sentence followed by the fields, each field follows as TIELINE_<KEY>. */
size_t tl_log_format_journal(const struct tl_log_record *r, char buf[TL_LOG_LINE]);
