/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See frame.h. A state machine over the bytes of a head, which knows lines,
 * folds and one field. It serves the rare message that scan.c refuses, so it
 * need not be fast; it must be right about where the next message begins, or say
 * that nobody can know.
 */
#include "tieline/frame.h"

#include <string.h>

enum { START_LINE, LINE_BEGIN, NAME, BEHIND_NAME, VALUE, OTHER_VALUE };

void tl_frame_begin(struct tl_frame *f, bool any_line_end) {
  memset(f, 0, sizeof(*f));
  f->any_line_end = any_line_end;
  f->where = START_LINE;
}

/* The field whose last line has ended is complete. */
static void end_field(struct tl_frame *f) {
  if (f->is_length) {
    bool same = !f->have || f->length == f->value;
    if (!f->digits || f->over || !same) f->bad = true;
    f->length = (uint32_t)f->value;
    f->have = true;
  }
  f->is_length = f->digits = f->over = false;
  f->value = 0;
  f->matched = f->name_len = 0;
}

static char to_lower(char ch) { return ch >= 'A' && ch <= 'Z' ? (char)(ch | 0x20) : ch; }

/* One more letter of a field's name; MATCHED counts the letters that agree with
 * "content-length". */
static void name_letter(struct tl_frame *f, char ch) {
  static const char want[] = "content-length";
  bool fits = f->matched == f->name_len && f->matched < sizeof(want) - 1 &&
              to_lower(ch) == want[f->matched];
  if (fits) f->matched++;
  if (f->name_len == 0 && to_lower(ch) == 'l') f->is_length = true; /* so far: the compact form */
  if (f->name_len == 1) f->is_length = false;
  if (f->name_len < 255) f->name_len++;
}

static bool names_length(const struct tl_frame *f) {
  return (f->is_length && f->name_len == 1) || (f->matched == 14 && f->name_len == 14);
}

static void end_name(struct tl_frame *f) {
  f->is_length = names_length(f);
  f->where = f->is_length ? VALUE : OTHER_VALUE;
}

/* A byte of a Content-Length value: one run of digits, white space around it. DIGITS_ENDED: the run
 * is over. */
static void value_byte(struct tl_frame *f, char ch) {
  if (ch >= '0' && ch <= '9' && !f->digits_ended) {
    f->digits = true;
    f->value = f->value * 10 + (uint64_t)(ch - '0');
    if (f->value > UINT32_MAX) f->over = true, f->value = UINT32_MAX;
  } else if (ch == ' ' || ch == '\t') {
    f->digits_ended = f->digits;
  } else {
    f->over = true; /* unreadable */
  }
}

static void line_end(struct tl_frame *f) {
  if (f->where == LINE_BEGIN) {
    end_field(f);
    f->done = true;
    return;
  }
  f->digits_ended = f->digits;
  /* The colon may follow in a fold, or not at all: other parsers may read on. */
  if ((f->where == NAME || f->where == BEHIND_NAME) && names_length(f)) f->bad = true;
  if (f->where == NAME || f->where == BEHIND_NAME) f->is_length = false;
  f->where = LINE_BEGIN;
}

static void feed_byte(struct tl_frame *f, char ch) {
  if (f->where == LINE_BEGIN) {
    if (ch == ' ' || ch == '\t') { /* a fold: the value continues */
      f->where = f->is_length ? VALUE : OTHER_VALUE;
      return;
    }
    end_field(f);
    f->digits_ended = false;
    f->where = NAME;
  }
  if (f->where == NAME && ch != ':' && ch != ' ' && ch != '\t')
    name_letter(f, ch);
  else if (f->where == NAME || f->where == BEHIND_NAME) {
    if (ch == ':')
      end_name(f);
    else if (ch == ' ' || ch == '\t')
      f->where = BEHIND_NAME;
    else
      f->where = OTHER_VALUE, f->is_length = false;
  } else if (f->where == VALUE) {
    value_byte(f, ch);
  }
}

/* A CR without an LF after it, or an LF without a CR before it. */
static void feed_lone(struct tl_frame *f, char ch) {
  f->stray = true;
  if (f->any_line_end)
    line_end(f);
  else
    feed_byte(f, ch);
}

size_t tl_frame_feed(struct tl_frame *f, const char *p, size_t n) {
  size_t i = 0;
  while (i < n && !f->done) {
    char ch = p[i];
    if (f->cr && ch != '\n') {
      f->cr = false;
      feed_lone(f, '\r'); /* and CH is looked at again, unless that was the end */
      continue;
    }
    i++;
    if (ch == '\r') {
      f->cr = true;
    } else if (ch == '\n') {
      bool pair = f->cr;
      f->cr = false;
      if (pair)
        line_end(f);
      else
        feed_lone(f, '\n');
    } else {
      feed_byte(f, ch);
    }
  }
  return i;
}

bool tl_frame_certain(const char *p, size_t len, uint32_t *out_length) {
  struct tl_frame strict, lenient;
  tl_frame_begin(&strict, false);
  tl_frame_begin(&lenient, true);
  bool whole = tl_frame_feed(&strict, p, len) == len && strict.done;
  bool same = tl_frame_feed(&lenient, p, len) == len && lenient.done;
  *out_length = strict.length;
  return whole && same && strict.have && !strict.bad && lenient.have && !lenient.bad &&
         lenient.length == strict.length;
}
