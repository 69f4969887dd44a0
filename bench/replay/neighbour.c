/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user agents of the replay. They keep next to nothing between messages: what
 * a caller does next stands in the response that it got. Their messages are as
 * long as those of a usual peer, and every number has a fixed width.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replay.h"

#define TEXT_MAX 4096

static const char caller_headers[] = "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, PRACK\r\n"
                                     "Supported: 100rel, timer, replaces\r\n"
                                     "User-Agent: Example-PBX/4.2 (build 20261121.7)\r\n";
static const char callee_headers[] = "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS\r\n"
                                     "Server: Example-Gateway/7.1\r\n";
static const char sdp[] = "v=0\r\n"
                          "o=alice 2890844526 2890844526 IN IP4 192.0.2.17\r\n"
                          "s=-\r\n"
                          "c=IN IP4 192.0.2.17\r\n"
                          "t=0 0\r\n"
                          "m=audio 49172 RTP/SAVP 0 8 101\r\n"
                          "a=rtpmap:0 PCMU/8000\r\n"
                          "a=rtpmap:8 PCMA/8000\r\n"
                          "a=rtpmap:101 telephone-event/8000\r\n"
                          "a=sendrecv\r\n";

/* ---- bytes ---- */

static void send_stream(struct replay_side *s, const char *p, size_t n) {
  static uint8_t out[TEXT_MAX + 256];
  size_t len = n;
  if (!s->record) {
    replay_receive(s->fd, p, n);
    return;
  }
  if (tl_record_seal_from(s->record, TL_CT_DATA, (const uint8_t *)p, n, out, &len))
    replay_die("a record cannot be sealed");
  replay_receive(s->fd, out, len);
}

static void send_text(struct replay_side *s, const char *p, size_t n) {
  if (s->transport == TL_UDP)
    replay_receive_from(&s->addr, p, n);
  else
    send_stream(s, p, n);
}

/* Appends what N bytes at P hold of plaintext. */
static void open_records(struct replay_side *s, uint8_t *p, size_t n) {
  while (n) {
    struct tl_record_view v;
    if (tl_record_open(s->record, p, n, &v)) replay_die("a record of the worker is not good");
    memcpy(s->in + s->n, v.p, v.n);
    s->n += v.n;
    p += v.used;
    n -= v.used;
  }
}

static void take_bytes(struct replay_side *s) {
  static uint8_t raw[1u << 20];
  if (!s->in) {
    s->cap = sizeof(raw);
    s->in = malloc(s->cap + 1);
  }
  if (s->transport == TL_UDP) {
    s->n = replay_take_datagram(&s->addr, s->in, s->cap);
  } else if (s->fd >= 0 && s->record) {
    open_records(s, raw, replay_take_sent(s->fd, raw, sizeof(raw)));
  } else if (s->fd >= 0) {
    s->n += replay_take_sent(s->fd, s->in + s->n, s->cap - s->n);
  }
  s->in[s->n] = '\0';
}

static size_t body_length(const char *head) {
  const char *p = strstr(head, "\r\nContent-Length: ");
  return p ? strtoul(p + 18, NULL, 10) : 0;
}

/* The next message into OUT, cut out of what has arrived; false: there is none. */
static bool take_message(struct replay_side *s, char out[TEXT_MAX]) {
  if (s->n == 0) take_bytes(s);
  char *text = (char *)s->in, *end = s->n ? strstr(text, "\r\n\r\n") : NULL;
  if (!end) return false;
  const size_t n = (size_t)(end - text) + 4 + body_length(text);
  if (n > s->n || n >= TEXT_MAX) replay_die("a message of the worker is cut off or too long");
  memcpy(out, text, n);
  out[n] = '\0';
  s->n -= n;
  memmove(s->in, s->in + n, s->n + 1);
  return true;
}

/* ---- messages ---- */

struct text {
  char p[TEXT_MAX];
  size_t n;
};

static void add_text(struct text *t, const char *p, size_t n) {
  if (t->n + n >= sizeof(t->p)) replay_die("a message is too long");
  memcpy(t->p + t->n, p, n);
  t->n += n;
  t->p[t->n] = '\0';
}

static void add_string(struct text *t, const char *s) { add_text(t, s, strlen(s)); }

/* The value of the first header NAME behind *AT, which moves behind it; NULL: none. */
static const char *next_value(const char *name, const char **at, size_t *out_n) {
  const size_t n = strlen(name);
  const char *p = *at;
  while ((p = strstr(p, "\r\n")) && strncmp(p, "\r\n\r\n", 4) != 0) {
    p += 2;
    if (strncmp(p, name, n) != 0 || p[n] != ':') continue;
    p += n + 2;
    *out_n = (size_t)(strstr(p, "\r\n") - p);
    *at = p;
    return p;
  }
  return NULL;
}

/* Each value of NAME in FROM as a header AS; TAIL behind the value. */
static void copy_header(struct text *t, const char *from, const char *name, const char *as,
                        const char *tail) {
  const char *at = from, *value;
  size_t n;
  while ((value = next_value(name, &at, &n))) {
    add_string(t, as);
    add_string(t, ": ");
    add_text(t, value, n);
    add_string(t, tail);
    add_string(t, "\r\n");
  }
}

static void add_body(struct text *t, const char *body) {
  char line[64];
  if (*body) add_string(t, "Content-Type: application/sdp\r\n");
  snprintf(line, sizeof(line), "Content-Length: %zu\r\n\r\n", strlen(body));
  add_string(t, line);
  add_string(t, body);
}

static const char *via_transport(const struct replay_side *s) {
  return s->transport == TL_UDP ? "UDP" : s->transport == TL_TCP ? "TCP" : "TLS";
}

static void add_via(struct text *t, const struct replay_side *s, const char *branch) {
  char line[160], addr[TL_ADDR_STRLEN];
  snprintf(line, sizeof(line), "Via: SIP/2.0/%s %s;branch=z9hG4bK-524287-1---%s\r\n",
           via_transport(s), tl_addr_format(&s->addr, addr), branch);
  add_string(t, line);
}

void replay_ask(struct replay_side *s, enum replay_kind kind, unsigned n) {
  const char *method = kind == REPLAY_OPTIONS ? "OPTIONS" : "INVITE";
  char line[640], branch[32], addr[TL_ADDR_STRLEN];
  struct text t = {.n = 0};
  snprintf(branch, sizeof(branch), "%08u", n);
  snprintf(line, sizeof(line), "%s sip:+13125550142@chicago.example;user=phone SIP/2.0\r\n",
           method);
  add_string(&t, line);
  add_via(&t, s, branch);
  snprintf(line, sizeof(line),
           "Max-Forwards: 70\r\n"
           "From: \"Alice Example\" <sip:+12125550100@caller.example>;tag=9fx%08u\r\n"
           "To: <sip:+13125550142@chicago.example;user=phone>\r\n"
           "Call-ID: 3848276298220188511-%08u@caller.example\r\nCSeq: 31862 %s\r\n"
           "Contact: <sip:alice@%s;transport=%s>\r\n",
           n, n, method, tl_addr_format(&s->addr, addr), tl_transport_param(s->transport));
  add_string(&t, line);
  add_string(&t, caller_headers);
  add_body(&t, kind == REPLAY_OPTIONS ? "" : sdp);
  send_text(s, t.p, t.n);
}

/* ---- the caller ---- */

static bool is_answer_to(const char *response, const char *method) {
  const char *at = response;
  size_t n, len = strlen(method);
  const char *cseq = next_value("CSeq", &at, &n);
  return cseq && n > len && memcmp(cseq + n - len, method, len) == 0;
}

/* The number that the caller gave the request, as text. */
static void number_of(const char *response, char out[16]) {
  const char *at = response;
  size_t n;
  const char *id = next_value("Call-ID", &at, &n), *dash = id ? strchr(id, '-') : NULL;
  if (!dash) replay_die("a response has no Call-ID of ours");
  snprintf(out, 16, "%.8s", dash + 1);
}

/* A request that belongs to the one RESPONSE answers. In the dialog it goes to the Contact by way
 * of the Record-Routes, which are only ours. */
static void follow_up(struct replay_side *s, const char *response, const char *method,
                      const char *prefix, bool in_dialog) {
  char branch[32], number[16];
  const char *at = response;
  size_t n;
  struct text t = {.n = 0};
  number_of(response, number);
  snprintf(branch, sizeof(branch), "%s%s", prefix, number);
  const char *contact = in_dialog ? next_value("Contact", &at, &n) : NULL;
  if (in_dialog && !contact) replay_die("a 2xx has no Contact");
  add_string(&t, method);
  if (contact) {
    add_string(&t, " ");
    add_text(&t, contact + 1, n - 2);
    add_string(&t, " SIP/2.0\r\n");
  } else {
    add_string(&t, " sip:+13125550142@chicago.example;user=phone SIP/2.0\r\n");
  }
  add_via(&t, s, branch);
  if (contact) copy_header(&t, response, "Record-Route", "Route", "");
  add_string(&t, "Max-Forwards: 70\r\n");
  copy_header(&t, response, "From", "From", "");
  if (strcmp(method, "CANCEL") == 0)
    add_string(&t, "To: <sip:+13125550142@chicago.example;user=phone>\r\n");
  else
    copy_header(&t, response, "To", "To", "");
  copy_header(&t, response, "Call-ID", "Call-ID", "");
  add_string(&t, strcmp(method, "BYE") == 0 ? "CSeq: 31863 " : "CSeq: 31862 ");
  add_string(&t, method);
  add_string(&t, "\r\n");
  add_body(&t, "");
  send_text(s, t.p, t.n);
}

/* True when the transaction, or the call, has ended with it. */
static bool handle_response(struct replay_side *s, enum replay_kind kind, const char *text) {
  const unsigned long status = strtoul(text + 8, NULL, 10);
  if (!is_answer_to(text, "INVITE")) {
    if (status != 200) replay_die("unexpected: %.100s", text);
    return !is_answer_to(text, "CANCEL");
  }
  if (status == 100) return false;
  if (status == 180) {
    if (kind == REPLAY_CANCEL) follow_up(s, text, "CANCEL", "", false);
    return false;
  }
  if (status == 487 && kind == REPLAY_CANCEL) {
    follow_up(s, text, "ACK", "", false);
    return true;
  }
  if (status != 200) replay_die("unexpected: %.100s", text);
  follow_up(s, text, "ACK", "a", true);
  follow_up(s, text, "BYE", "b", true);
  return false;
}

unsigned replay_caller_turn(struct replay_side *s, enum replay_kind kind) {
  char text[TEXT_MAX];
  unsigned ended = 0;
  while (take_message(s, text)) {
    if (strncmp(text, "SIP/2.0 ", 8) != 0) replay_die("the caller got: %.100s", text);
    ended += handle_response(s, kind, text);
  }
  return ended;
}

/* ---- the callee ---- */

static void respond(struct replay_side *s, const char *request, const char *status,
                    const char *body) {
  char line[160], addr[TL_ADDR_STRLEN];
  struct text t = {.n = 0};
  const char *to = strstr(request, "\r\nTo:");
  const bool tagged = to && strncmp(to, "\r\nTo: ", 6) == 0 && strstr(to, ";tag=") &&
                      strstr(to, ";tag=") < strstr(to + 2, "\r\n");
  snprintf(line, sizeof(line), "SIP/2.0 %s\r\n", status);
  add_string(&t, line);
  copy_header(&t, request, "Via", "Via", "");
  copy_header(&t, request, "Record-Route", "Record-Route", "");
  copy_header(&t, request, "From", "From", "");
  copy_header(&t, request, "To", "To", tagged ? "" : ";tag=314159");
  copy_header(&t, request, "Call-ID", "Call-ID", "");
  copy_header(&t, request, "CSeq", "CSeq", "");
  snprintf(line, sizeof(line), "Contact: <sip:+13125550142@%s;transport=%s>\r\n",
           tl_addr_format(&s->addr, addr), tl_transport_param(s->transport));
  add_string(&t, line);
  add_string(&t, callee_headers);
  add_body(&t, body);
  send_text(s, t.p, t.n);
}

void replay_callee_turn(struct replay_side *s, enum replay_kind kind) {
  static char invite[TEXT_MAX]; /* the last; those that are cancelled come one at a time */
  char text[TEXT_MAX];
  while (take_message(s, text)) {
    if (strncmp(text, "INVITE ", 7) == 0) {
      memcpy(invite, text, sizeof(invite));
      respond(s, text, "180 Ringing", "");
      if (kind == REPLAY_CALL) respond(s, text, "200 OK", sdp);
    } else if (strncmp(text, "CANCEL ", 7) == 0) {
      respond(s, text, "200 OK", "");
      respond(s, invite, "487 Request Terminated", "");
    } else if (strncmp(text, "ACK ", 4) != 0) {
      respond(s, text, "200 OK", "");
    }
  }
}
