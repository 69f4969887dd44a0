/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Turns a log record into text. Knows escaping and bounds, not queues or files;
 * those are in base/log.c.
 */
#include "base/log_format.h"

#include <ctype.h>
#include <stdio.h>

#include "base/text.h"
#include "tieline/time.h"

#define JOURNAL_MESSAGE 640 /* the rest of the slot is for the fields one by one */

struct out {
  char *p;
  size_t n, cap;
  bool cut;
};

static bool put_bytes(struct out *o, const char *s, size_t n) {
  if (n > o->cap - o->n) {
    o->cut = true;
    return false;
  }
  memcpy(o->p + o->n, s, n);
  o->n += n;
  return true;
}

static bool puts_c(struct out *o, const char *s) { return put_bytes(o, s, strlen(s)); }

/* The letter after the backslash, 0 if C has no short escape. */
static char short_escape(uint8_t c) {
  switch (c) {
  case '"':
  case '\\': return (char)c;
  case '\n': return 'n';
  case '\r': return 'r';
  case '\t': return 't';
  default: return 0;
  }
}

/* Escapes the character at P as its place in a value requires; returns the bytes of P it covers. */
static size_t escape_char(const uint8_t *p, size_t left, bool json, char buf[8], size_t *out_n) {
  uint32_t cp = 0;
  size_t used = tl_utf8_next(p, left, &cp);
  if (short_escape(*p)) {
    buf[0] = '\\';
    buf[1] = short_escape(*p);
    *out_n = 2;
    return 1;
  }
  if (used && !tl_text_unsafe(cp)) {
    memcpy(buf, p, used);
    *out_n = used;
    return used;
  }
  if (json)
    *out_n = (size_t)snprintf(buf, 8, "\\u%04x", used && cp ? (unsigned)(cp & 0xffff) : 0xfffdu);
  else
    *out_n = (size_t)snprintf(buf, 8, "\\x%02x", *p);
  return json && used ? used : 1;
}

/* The escaped value between quotes, cut where the buffer ends. */
static void put_quoted(struct out *o, struct tl_str s, bool json) {
  if (o->cap - o->n < 2) {
    o->cut = true;
    return;
  }
  o->p[o->n++] = '"';
  for (size_t i = 0; i < s.n;) {
    char buf[8];
    size_t n = 0;
    size_t used = escape_char((const uint8_t *)s.p + i, s.n - i, json, buf, &n);
    if (n + 1 > o->cap - o->n) {
      o->cut = true;
      break;
    }
    put_bytes(o, buf, n);
    i += used;
  }
  o->p[o->n++] = '"';
}

/* logfmt: a value without space, quote, equals sign, backslash or odd byte needs no quotes. */
static bool is_bare(struct tl_str s) {
  for (size_t i = 0; i < s.n; i++) {
    unsigned char c = (unsigned char)s.p[i];
    if (c <= 0x20 || c >= 0x7f || c == '"' || c == '=' || c == '\\') return false;
  }
  return s.n > 0;
}

static void put_value(struct out *o, const struct tl_field *f, bool json) {
  if (f->kind == TL_FIELD_INT) {
    char num[24];
    put_bytes(o, num, (size_t)snprintf(num, sizeof(num), "%lld", (long long)f->i));
  } else if (!json && is_bare(f->s) && f->s.n <= o->cap - o->n) {
    put_bytes(o, f->s.p, f->s.n);
  } else {
    put_quoted(o, f->s, json);
  }
}

/* A field is left out whole when there is no room for its name and a short value. */
static void put_field(struct out *o, const struct tl_field *f, bool json) {
  size_t key = strlen(f->key);
  if (key + 5 + 20 > o->cap - o->n) {
    o->cut = true;
    return;
  }
  puts_c(o, json ? ",\"" : " ");
  put_bytes(o, f->key, key);
  puts_c(o, json ? "\":" : "=");
  put_value(o, f, json);
}

static void put_time(struct out *o, const struct timespec *at) {
  char text[TL_TIME_STRLEN];
  puts_c(o, tl_time_text_ms(at, text));
}

size_t tl_log_format(const struct tl_log_record *r, enum tl_log_format format,
                     char buf[TL_LOG_LINE]) {
  const bool json = format == TL_LOG_JSON;
  const char *tail = json ? ",\"truncated\":true}\n" : " truncated=true\n";
  struct out o = {.p = buf, .cap = TL_LOG_LINE - strlen(tail)};
  puts_c(&o, json ? "{\"time\":\"" : "time=");
  put_time(&o, &r->at);
  puts_c(&o, json ? "\",\"level\":\"" : " level=");
  puts_c(&o, tl_log_level_name(r->level));
  puts_c(&o, json ? "\",\"msg\":" : " msg=");
  put_quoted(&o, tl_str_c(r->sentence), json);
  for (size_t i = 0; i < r->n; i++) put_field(&o, &r->field[i], json);
  const bool cut = o.cut;
  o.cap = TL_LOG_LINE;
  puts_c(&o, cut ? tail : json ? "}\n" : "\n");
  return o.n;
}

/* sd-journal names: upper-case letters, digits and underscores. */
static void put_journal_key(struct out *o, const char *key) {
  puts_c(o, "TIELINE_");
  for (; *key; key++) {
    char c = isalnum((unsigned char)*key) ? (char)toupper((unsigned char)*key) : '_';
    put_bytes(o, &c, 1);
  }
  puts_c(o, "=");
}

static void put_journal_field(struct out *o, const struct tl_field *f) {
  const size_t start = o->n;
  put_journal_key(o, f->key);
  if (f->kind == TL_FIELD_INT) {
    put_value(o, f, false);
  } else {
    for (size_t i = 0; i < f->s.n && !o->cut;) {
      char buf[8];
      size_t n = 0;
      i += escape_char((const uint8_t *)f->s.p + i, f->s.n - i, false, buf, &n);
      put_bytes(o, buf, n);
    }
  }
  if (!put_bytes(o, "", 1)) o->n = start; /* a field is written whole or not at all */
}

size_t tl_log_format_journal(const struct tl_log_record *r, char buf[TL_LOG_LINE]) {
  static const char priority[] = {'3', '4', '6', '7'}; /* syslog's numbers of our levels */
  struct out o = {.p = buf, .cap = JOURNAL_MESSAGE - 1};
  puts_c(&o, "PRIORITY=");
  put_bytes(&o, &priority[(unsigned)r->level & 3], 1);
  put_bytes(&o, "", 1);
  puts_c(&o, "MESSAGE=");
  size_t n = strlen(r->sentence);
  put_bytes(&o, r->sentence, n < o.cap - o.n ? n : o.cap - o.n);
  for (size_t i = 0; i < r->n; i++) put_field(&o, &r->field[i], false);
  o.cap = TL_LOG_LINE;
  put_bytes(&o, "", 1);
  for (size_t i = 0; i < r->n; i++) {
    o.cut = false;
    put_journal_field(&o, &r->field[i]);
  }
  return o.n;
}
