/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The callers: a closed loop of scenarios per connection. A scenario is one
 * OPTIONS, one MESSAGE, or a call: INVITE, 180, 200, ACK and BYE (sent
 * together, so that a proxy that reorders is found out), 200. Every response
 * is checked against its slot. UDP requests are resent as RFC 3261 17.1 says.
 */
#include "load.h"

#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

enum { T1_MS = 500, T2_MS = 4000 };

static bool may_start(const struct conn *c, unsigned slot_no) {
  switch (L.phase) {
  case PH_PRIME: return !c->index && !slot_no && L.primed < L.o.servers;
  case PH_WARM: return true;
  case PH_MEASURE: return !L.o.count || L.c.done - L.base.done + L.in_flight < L.o.count;
  default: return false;
  }
}

static enum kind pick_kind(void) {
  unsigned total = L.o.weight[0] + L.o.weight[1] + L.o.weight[2];
  unsigned r = (unsigned)(next_random() % total);
  for (unsigned k = 0;; k++) {
    if (r < L.o.weight[k]) return (enum kind)k;
    r -= L.o.weight[k];
  }
}

static size_t pick_len(size_t min, size_t max) { return min + next_random() % (max - min + 1); }

static void send_request(struct conn *c, unsigned slot_no, enum method m) {
  struct slot *s = &c->slots[slot_no];
  if (m != M_ACK) {
    s->at = m;
    s->provisional = false;
    s->resends = 0;
    s->t_req_ns = L.now_ns;
    s->t_resend_ns = L.now_ns + T1_MS * 1000000ull;
  }
  build_request(&c->out, c, slot_no, m);
  L.c.requests_sent++;
  io_dirty(c);
}

static void start(struct conn *c, unsigned slot_no) {
  static const enum method first[KIND_COUNT] = {M_OPTIONS, M_MESSAGE, M_INVITE};
  struct slot *s = &c->slots[slot_no];
  bool prime = L.phase == PH_PRIME;
  s->seq = ++c->next_seq;
  s->kind = prime ? KIND_OPTIONS : pick_kind();
  s->server = L.o.direct ? c->index % L.o.servers : (s->seq + c->index) % L.o.servers;
  if (prime) s->server = L.primed++;
  s->req_body = pick_len(L.o.body_min, L.o.body_max);
  s->rsp_body = pick_len(L.o.reply_min, L.o.reply_max);
  s->seen = 0;
  s->ringing = false;
  s->busy = true;
  s->t_start_ns = L.now_ns;
  s->ok.off = s->ok.len = 0;
  L.in_flight++;
  send_request(c, slot_no, first[s->kind]);
}

void caller_fill(struct conn *c) {
  if (c->state != CONN_OPEN) return;
  for (unsigned i = 0; i < L.o.window && c->state == CONN_OPEN; i++)
    if (!c->slots[i].busy && may_start(c, i)) start(c, i);
}

static void release(struct slot *s) {
  s->busy = false;
  L.in_flight--;
}

static void finish(struct conn *c, unsigned slot_no) {
  struct slot *s = &c->slots[slot_no];
  release(s);
  L.c.done++;
  L.c.by_kind[s->kind]++;
  if (L.o.key_update && c->ssl && ++c->done_since_update >= L.o.key_update &&
      SSL_version(c->ssl) == TLS1_3_VERSION) {
    c->done_since_update = 0;
    SSL_key_update(c->ssl, SSL_KEY_UPDATE_REQUESTED);
  }
  if (may_start(c, slot_no)) start(c, slot_no);
}

void caller_lost(struct conn *c) {
  for (unsigned i = 0; c->slots && i < L.o.window; i++) {
    if (!c->slots[i].busy) continue;
    load_fail("lost with its connection", c, NULL, "%s", method_name(c->slots[i].at));
    release(&c->slots[i]);
  }
}

/* Keeps what ACK and BYE need: the far Contact, and the Record-Routes turned round. */
static const char *learn_dialog(struct slot *s, const struct msg *m) {
  if (m->contact.n < 3 || m->contact.p[0] != '<' || m->contact.n >= sizeof(s->remote))
    return "Contact";
  const char *close = memchr(m->contact.p, '>', m->contact.n);
  if (!close) return "Contact";
  size_t n = (size_t)(close - m->contact.p - 1);
  memcpy(s->remote, m->contact.p + 1, n);
  s->remote[n] = 0;
  size_t at = 0;
  s->routes[0] = 0;
  if (m->n_rr > MAX_RR || (L.o.hops && !m->n_rr)) return "Record-Route";
  for (unsigned i = m->n_rr; i-- > 0;) {
    if (at + m->rr[i].n + 10 > sizeof(s->routes)) return "Record-Route length";
    at += (size_t)snprintf(s->routes + at, sizeof(s->routes) - at, "Route: %.*s\r\n",
                           (int)m->rr[i].n, m->rr[i].p);
  }
  return NULL;
}

static bool order_ok(struct conn *c, const struct msg *m) {
  uint32_t stamp, server;
  if (m->stamp.n != 11 || !get_hex(m->stamp.p, 2, &server) || server >= L.o.servers ||
      !get_hex(m->stamp.p + 3, 8, &stamp))
    return false;
  bool ok = stamp > c->rx_order[server];
  if (ok) c->rx_order[server] = stamp;
  return ok || L.o.no_order || c->tr == TR_UDP || L.o.callee_tr == TR_UDP;
}

/* Which part of the response is not as it must be, or NULL. A 100 is the proxy's own. */
static const char *check_response(struct conn *c, const struct msg *m, const struct ids *id,
                                  const struct slot *s, enum method method) {
  struct str via = build_via(c, id->slot, s->seq, method);
  if (m->n_via != 1) return "number of Vias";
  if (!via_is(m->via_top, via, c)) return "Via";
  if (!str_eq(m->from, build_from(c, id->slot, s->seq))) return "From";
  static struct buf b;
  b.off = b.len = 0;
  put_u(&b, cseq_of(method));
  put(&b, " ", 1);
  put_s(&b, method_name(method));
  if (m->cseq.n != b.len || memcmp(m->cseq.p, b.p, b.len)) return "CSeq";
  if (m->status == 100 || m->status >= 300) return NULL;
  if (!str_eq(m->to, build_to_tag(c, id->slot, s->seq))) return "To";
  if (!fixed_intact(m)) return "headers that are not its own";
  if (!order_ok(c, m)) return "order of responses";
  size_t len = m->status == 200 && method != M_BYE ? s->rsp_body : 0;
  if (m->body.n != len) return "body length";
  return memcmp(m->body.p, body_bytes(id, true), len) ? "body bytes" : NULL;
}

static void stray(struct conn *c, const struct msg *m) {
  if (c->tr == TR_UDP || L.o.callee_tr == TR_UDP || L.timeouts || L.c.reconnects)
    L.c.late++;
  else
    load_fail("stray response", c, m, "no transaction wants it");
}

static void provisional(struct conn *c, const struct msg *m, struct slot *s, enum method method) {
  L.c.provisional++;
  s->provisional = true;
  if (method != M_INVITE && m->status != 100) load_fail("wrong response", c, m, "1xx to no INVITE");
  if (m->status != 180) return;
  if (s->ringing && c->tr != TR_UDP && L.o.callee_tr != TR_UDP)
    load_fail("repeated response", c, m, "second 180");
  s->ringing = true;
}

/* ACK to a refusal: same branch and URI as the INVITE, for this hop alone (RFC 3261 17.1.1.3). */
static void ack_refusal(struct conn *c, const struct msg *m, unsigned slot_no) {
  struct slot *s = &c->slots[slot_no];
  struct buf *b = &c->out;
  put_s(b, "ACK ");
  put_str(b, build_uri(s->server));
  put_s(b, " SIP/2.0\r\nVia: ");
  put_str(b, build_via(c, slot_no, s->seq, M_INVITE));
  put_s(b, "\r\nMax-Forwards: 70\r\nFrom: ");
  put_str(b, m->from);
  put_s(b, "\r\nTo: ");
  put_str(b, m->to);
  put_s(b, "\r\nCall-ID: ");
  put_str(b, m->call_id);
  put_s(b, "\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n");
  io_dirty(c);
}

static void final(struct conn *c, const struct msg *m, unsigned slot_no, enum method method) {
  struct slot *s = &c->slots[slot_no];
  latency_add(L.now_ns - s->t_req_ns);
  if (m->status != 200) {
    char name[32];
    snprintf(name, sizeof(name), "status %d", m->status);
    load_fail(name, c, m, "to %s", method_name(method));
    if (method == M_INVITE) ack_refusal(c, m, slot_no);
    release(s);
    if (c->state == CONN_OPEN && may_start(c, slot_no)) start(c, slot_no);
    return;
  }
  if (method != M_INVITE) {
    finish(c, slot_no);
    return;
  }
  bool reliable = c->tr != TR_UDP && L.o.callee_tr != TR_UDP;
  if (!s->ringing && reliable) load_fail("180 missing", c, m, "200 came first");
  const char *wrong = learn_dialog(s, m);
  if (wrong) {
    load_fail("wrong response", c, m, "%s", wrong);
    release(s);
    return;
  }
  L.c.calls++;
  send_request(c, slot_no, M_ACK);
  send_request(c, slot_no, M_BYE);
}

void caller_response(struct conn *c, const struct msg *m) {
  struct ids id;
  struct conn *caller;
  struct slot *s = ids_parse(m->call_id, &id) ? slot_find(&id, &caller) : NULL;
  if (!s) {
    stray(c, m);
    return;
  }
  if (caller != c) {
    load_fail("wrong connection", c, m, "belongs to caller %u", caller->index);
    return;
  }
  struct str name = {NULL, 0};
  const char *sp = memchr(m->cseq.p ? m->cseq.p : "", ' ', m->cseq.n);
  if (sp) name = (struct str){sp + 1, m->cseq.n - (size_t)(sp + 1 - m->cseq.p)};
  enum method method = method_of(name);
  if (method == M_COUNT || !s->busy || method != s->at) {
    /* A 200 to the INVITE that is resent wants its ACK again (RFC 3261 13.2.2.4). */
    if (s->busy && method == M_INVITE && s->at == M_BYE && m->status == 200)
      send_request(c, id.slot, M_ACK);
    stray(c, m);
    return;
  }
  const char *wrong = check_response(c, m, &id, s, method);
  if (wrong) load_fail("wrong response", c, m, "%s", wrong);
  if (m->status < 200)
    provisional(c, m, s, method);
  else
    final(c, m, id.slot, method);
}

static void resend(struct conn *c, unsigned slot_no) {
  struct slot *s = &c->slots[slot_no];
  if (c->tr != TR_UDP || L.now_ns < s->t_resend_ns) return;
  if (s->at == M_INVITE && s->provisional) return;
  build_request(&c->out, c, slot_no, s->at);
  io_dirty(c);
  L.c.resent++;
  unsigned wait_ms = T1_MS << (++s->resends < 7 ? s->resends : 7);
  if (s->at != M_INVITE && (wait_ms > T2_MS || s->provisional)) wait_ms = T2_MS;
  s->t_resend_ns = L.now_ns + wait_ms * 1000000ull;
}

void caller_sweep(void) {
  uint64_t limit_ns = (uint64_t)(L.o.timeout_s * 1e9);
  for (unsigned i = 0; i < L.o.connections; i++) {
    struct conn *c = &L.callers[i];
    for (unsigned k = 0; k < L.o.window; k++) {
      struct slot *s = &c->slots[k];
      if (L.o.callee_tr == TR_UDP) callee_sweep(s);
      if (!s->busy) continue;
      resend(c, k);
      if (L.now_ns - s->t_req_ns < limit_ns) continue;
      L.timeouts++;
      load_fail("timeout", c, NULL, "%s to server %u, slot %u seq %u, callee saw %s",
                method_name(s->at), s->server, k, s->seq, s->seen & 1u << s->at ? "it" : "nothing");
      release(s);
    }
    caller_fill(c);
  }
}
