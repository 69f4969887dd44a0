/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The load generator's own small SIP parser: finds one message and the headers
 * that are checked. Not a validating parser; it must be independent of the
 * proxy's, and plain enough to be trusted by reading.
 */
#include "load.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static struct str trim(const char *p, const char *end) {
  while (p < end && (*p == ' ' || *p == '\t')) p++;
  while (end > p && (end[-1] == ' ' || end[-1] == '\t')) end--;
  return (struct str){p, (size_t)(end - p)};
}

/* End of the first comma-separated value in [p,end): commas in quotes or <> do not count. */
static const char *value_end(const char *p, const char *end) {
  bool quoted = false, angle = false;
  for (; p < end; p++) {
    if (*p == '"') quoted = !quoted;
    if (quoted) continue;
    if (*p == '<') angle = true;
    if (*p == '>') angle = false;
    if (*p == ',' && !angle) break;
  }
  return p;
}

static void add_vias(struct msg *m, struct str line, struct str value) {
  if (m->n_via_line < MAX_VIAS) m->via_line[m->n_via_line++] = line;
  for (const char *p = value.p, *end = value.p + value.n; p < end;) {
    const char *stop = value_end(p, end);
    m->via_last = trim(p, stop);
    if (!m->n_via++) m->via_top = m->via_last;
    p = stop + 1;
  }
}

static void add_record_routes(struct msg *m, struct str value) {
  for (const char *p = value.p, *end = value.p + value.n; p < end;) {
    const char *stop = value_end(p, end);
    if (m->n_rr < MAX_RR) m->rr[m->n_rr] = trim(p, stop);
    m->n_rr++;
    p = stop + 1;
  }
}

static bool name_is(struct str name, const char *full, char compact) {
  if (name.n == 1 && compact) return (name.p[0] | 32) == compact;
  return name.n == strlen(full) && !strncasecmp(name.p, full, name.n);
}

static long number_of(struct str v) {
  long n = 0;
  if (!v.n || v.n > 9) return -1;
  for (size_t i = 0; i < v.n; i++) {
    if (v.p[i] < '0' || v.p[i] > '9') return -1;
    n = n * 10 + (v.p[i] - '0');
  }
  return n;
}

static int take_header(struct msg *m, struct str line, struct str name, struct str v) {
  switch (name.p[0] | 32) {
  case 'v':
    if (name_is(name, "Via", 'v')) add_vias(m, line, v);
    return 0;
  case 'r':
    if (name_is(name, "Record-Route", 0)) add_record_routes(m, v);
    if (name_is(name, "Route", 0)) m->n_route++;
    return 0;
  case 'f':
    if (name_is(name, "From", 'f')) m->from = v;
    return 0;
  case 't':
    if (name_is(name, "To", 't')) m->to = v;
    return 0;
  case 'i':
    if (name_is(name, "Call-ID", 'i')) m->call_id = v;
    return 0;
  case 'm':
    if (name_is(name, "Max-Forwards", 0)) m->max_forwards = (int)number_of(v);
    if (name_is(name, "Contact", 'm')) m->contact = v;
    return 0;
  case 'x':
    if (name_is(name, "X-Load", 0)) m->stamp = v;
    if (name_is(name, "X-Fixed", 0)) m->fixed = name.p;
    return 0;
  case 'c':
    if (name_is(name, "CSeq", 0)) m->cseq = v;
    if (name_is(name, "Contact", 0)) m->contact = v;
    if (name_is(name, "Call-ID", 0)) m->call_id = v;
    break;
  case 'l': break;
  default: return 0;
  }
  if (name_is(name, "Content-Length", 'l')) {
    long n = number_of(v);
    if (n < 0 || m->has_length) return -1;
    m->content_length = (size_t)n;
    m->has_length = true;
  }
  return 0;
}

static int take_start(struct msg *m, const char *p, const char *end) {
  if (end - p > 12 && !memcmp(p, "SIP/2.0 ", 8)) {
    m->status = (int)number_of((struct str){p + 8, 3});
    return m->status < 100 || m->status > 699 || p[11] != ' ' ? -1 : 0;
  }
  const char *sp = memchr(p, ' ', (size_t)(end - p));
  if (!sp || end - sp < 11 || memcmp(end - 8, " SIP/2.0", 8)) return -1;
  m->request = true;
  m->method = (struct str){p, (size_t)(sp - p)};
  m->uri = (struct str){sp + 1, (size_t)(end - 8 - (sp + 1))};
  return 0;
}

ssize_t msg_parse(const char *p, size_t n, bool datagram, struct msg *m) {
  const char *head_end = memmem(p, n, "\r\n\r\n", 4);
  if (!head_end) return datagram || n > MSG_MAX ? -1 : 0;
  memset(m, 0, sizeof(*m));
  m->max_forwards = -1;
  const char *line = p, *stop = head_end + 2;
  for (bool first = true; line < stop; first = false) {
    const char *eol = memchr(line, '\r', (size_t)(stop - line));
    if (!eol || eol[1] != '\n') return -1;
    if (first) {
      if (take_start(m, line, eol)) return -1;
    } else if (*line != ' ' && *line != '\t') {
      const char *colon = memchr(line, ':', (size_t)(eol - line));
      if (!colon || colon == line) return -1;
      struct str whole = {line, (size_t)(eol + 2 - line)};
      if (take_header(m, whole, trim(line, colon), trim(colon + 1, eol))) return -1;
    }
    line = eol + 2;
  }
  size_t head = (size_t)(head_end + 4 - p);
  if (!m->has_length && !datagram) return -1;
  if (!m->has_length) m->content_length = n - head;
  if (m->content_length > MSG_MAX) return -1;
  if (n < head + m->content_length) return datagram ? -1 : 0;
  m->body = (struct str){p + head, m->content_length};
  return (ssize_t)(head + m->content_length);
}
