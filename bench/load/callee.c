/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The callees: every request that arrives is held against what the caller's
 * slot says it sent, then answered: OPTIONS, MESSAGE and BYE with 200, INVITE
 * with 180 and 200 at once. On UDP repeats are answered again and the 200 to
 * an INVITE is resent until its ACK.
 */
#include "load.h"

#include <string.h>

enum { T1_MS = 500, T2_MS = 4000 };

struct slot *slot_find(const struct ids *id, struct conn **out_caller) {
  if (id->conn >= L.o.connections || id->slot >= L.o.window) return NULL;
  *out_caller = &L.callers[id->conn];
  struct slot *s = &(*out_caller)->slots[id->slot];
  return s->seq == id->seq ? s : NULL;
}

static bool cseq_matches(struct str v, enum method m) {
  static struct buf b;
  b.off = b.len = 0;
  put_u(&b, cseq_of(m));
  put(&b, " ", 1);
  put_s(&b, method_name(m));
  return v.n == b.len && !memcmp(v.p, b.p, b.len);
}

/* The order stamps of one caller rise as they reach one server. */
static bool order_ok(struct conn *caller, const struct msg *m, unsigned server) {
  uint32_t stamp, at;
  if (m->stamp.n != 11 || !get_hex(m->stamp.p, 2, &at) || at != server ||
      !get_hex(m->stamp.p + 3, 8, &stamp))
    return false;
  bool ok = stamp > caller->at_server[server];
  if (ok) caller->at_server[server] = stamp;
  return ok || L.o.no_order || L.o.caller_tr == TR_UDP || L.o.callee_tr == TR_UDP;
}

static const char *check_body(const struct msg *m, const struct ids *id, size_t len) {
  if (m->body.n != len) return "body length";
  return memcmp(m->body.p, body_bytes(id, false), len) ? "body bytes" : NULL;
}

/* Which part of the request is not as it must be, or NULL. */
static const char *check_request(struct conn *c, const struct msg *m, const struct ids *id,
                                 struct conn *caller, const struct slot *s, enum method method) {
  struct str via = build_via(caller, id->slot, s->seq, method);
  bool in_dialog = method == M_ACK || method == M_BYE;
  if (c->index != s->server) return "wrong server";
  if (!str_eq(m->uri, build_uri(s->server))) return "Request-URI";
  if (m->n_via != L.o.hops + 1) return "number of Vias";
  if (!via_is(m->via_last, via, caller)) return "the caller's Via";
  if (m->max_forwards != 70 - (int)L.o.hops) return "Max-Forwards";
  if (!str_eq(m->from, build_from(caller, id->slot, s->seq))) return "From";
  if (!(in_dialog ? str_eq(m->to, build_to_tag(caller, id->slot, s->seq))
                  : str_is(m->to, "<sip:x@load.invalid>")))
    return "To";
  if (!cseq_matches(m->cseq, method)) return "CSeq";
  if (m->n_route) return "a Route that the proxy had to take off";
  if (m->n_rr > MAX_RR || (method == M_INVITE && L.o.hops && !m->n_rr)) return "Record-Route";
  if (!fixed_intact(m)) return "headers that are not its own";
  if (!order_ok(caller, m, c->index)) return "order of requests";
  return check_body(m, id, method == M_MESSAGE || method == M_INVITE ? s->req_body : 0);
}

static void answer(struct conn *c, const struct msg *m, struct conn *caller, const struct ids *id,
                   enum method method, int status) {
  build_response(&c->out, m, caller, id->slot, method, status, c);
  L.c.responses_sent++;
  struct slot *s = &caller->slots[id->slot];
  if (status == 200 && method == M_INVITE && c->tr == TR_UDP) {
    s->ok.off = s->ok.len = 0;
    put(&s->ok, c->out.p + c->out.off, c->out.len - c->out.off);
    s->ok_to = c->peer;
    s->ok_next_ns = L.now_ns + T1_MS * 1000000ull;
    s->ok_resends = 0;
  }
  io_dirty(c);
}

/* A request of a scenario that is over: fine on UDP and after a timeout, else the proxy's fault. */
static void stray(struct conn *c, const struct msg *m) {
  if (c->tr == TR_UDP || L.o.caller_tr == TR_UDP || L.timeouts || L.c.reconnects)
    L.c.late++;
  else
    load_fail("stray request", c, m, "no scenario wants it");
}

/* True if the request is a repeat; a 200 waiting for its ACK ends with the ACK. */
static bool repeated(struct conn *c, const struct msg *m, struct slot *s, enum method method) {
  bool again = s->seen & 1u << method;
  s->seen |= 1u << method;
  if (method == M_ACK) s->ok.off = s->ok.len = 0;
  if (!again) return false;
  if (c->tr == TR_UDP || L.o.caller_tr == TR_UDP)
    L.c.dups++;
  else
    load_fail("repeated request", c, m, "second copy over a reliable transport");
  return true;
}

void callee_request(struct conn *c, const struct msg *m) {
  struct ids id;
  struct conn *caller;
  struct slot *s = ids_parse(m->call_id, &id) ? slot_find(&id, &caller) : NULL;
  enum method method = method_of(m->method);
  if (!s || method == M_COUNT) {
    stray(c, m);
    return;
  }
  if (!repeated(c, m, s, method)) {
    const char *wrong = check_request(c, m, &id, caller, s, method);
    if (wrong) load_fail("wrong request", c, m, "%s", wrong);
    bool ordered = c->tr != TR_UDP && L.o.caller_tr != TR_UDP;
    if (method == M_BYE && ordered && !(s->seen & 1u << M_ACK))
      load_fail("BYE before ACK", c, m, "the ACK was overtaken");
  }
  if (method == M_ACK) return;
  if (method == M_INVITE) answer(c, m, caller, &id, method, 180);
  answer(c, m, caller, &id, method, 200);
}

void callee_sweep(struct slot *s) {
  if (s->ok.off == s->ok.len || L.now_ns < s->ok_next_ns) return;
  struct conn *c = &L.listeners[s->server];
  c->peer = s->ok_to;
  put(&c->out, s->ok.p + s->ok.off, s->ok.len - s->ok.off);
  io_dirty(c);
  L.c.resent++;
  unsigned wait_ms = T1_MS << (++s->ok_resends < 3 ? s->ok_resends : 3);
  s->ok_next_ns = L.now_ns + (wait_ms < T2_MS ? wait_ms : T2_MS) * 1000000ull;
}
