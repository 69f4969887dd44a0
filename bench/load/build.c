/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds the messages, and the values that a received message must carry.
 * Everything is a function of (run, connection, slot, sequence), so the far
 * side can be checked without remembering any message.
 */
#include "load.h"

#include <stdlib.h>
#include <string.h>

enum { POOL_LEN = 2 * BODY_MAX };

static const char *const methods[M_COUNT] = {"OPTIONS", "MESSAGE", "INVITE", "ACK", "BYE"};
static const char *const transports[] = {"UDP", "TCP", "TLS"};
static const char *const uri_params[] = {"udp", "tcp", "tls"};

const char *method_name(enum method m) { return methods[m]; }

enum method method_of(struct str name) {
  unsigned m = 0;
  while (m < M_COUNT && !str_is(name, methods[m])) m++;
  return (enum method)m;
}

uint32_t cseq_of(enum method m) { return m == M_BYE ? 2 : 1; }

/* The bodies' bytes, and the header block that has to arrive as it was sent. */
int build_setup(void) {
  L.pool = malloc(POOL_LEN);
  if (!L.pool) return -1;
  for (size_t i = 0; i < POOL_LEN; i += 8) {
    uint64_t r = next_random();
    memcpy(L.pool + i, &r, 8);
  }
  struct buf b = {0};
  put_s(&b, "X-Fixed: nobody  may ;touch=\"this, or\" <that>\r\n"
            "User-Agent: load generator\r\n"
            "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, MESSAGE, UPDATE, PRACK, INFO, NOTIFY\r\n"
            "Supported: path, outbound, gruu, replaces, timer\r\n"
            "Accept: application/sdp, text/plain, application/octet-stream\r\n"
            "Accept-Language: en\r\n"
            "P-Custom-Trace: 9f3c2e8a-1c1d-4c55-8a33-0c2f6f2d7a11\r\n");
  if (L.o.pad) {
    put_s(&b, "X-Pad: ");
    for (size_t i = 0; i < L.o.pad; i++) put(&b, &"abcdefghijklmnopqrstuvwxyz012345"[i & 31], 1);
    put_s(&b, "\r\n");
  }
  L.fixed = b.p;
  L.fixed_len = b.len;
  return 0;
}

/* The block stands in the header as it was sent; the body follows the header. */
bool fixed_intact(const struct msg *m) {
  return m->fixed && (size_t)(m->body.p - m->fixed) >= L.fixed_len &&
         memcmp(m->fixed, L.fixed, L.fixed_len) == 0;
}

static void put_token(struct buf *b, unsigned conn, unsigned slot, uint32_t seq) {
  put_hex(b, L.run_id, 8);
  put(b, ".", 1);
  put_hex(b, conn, 4);
  put(b, ".", 1);
  put_hex(b, slot, 4);
  put(b, ".", 1);
  put_hex(b, seq, 8);
}

bool ids_parse(struct str call_id, struct ids *out) {
  uint32_t run, conn, slot;
  if (call_id.n != 27 + 13 || memcmp(call_id.p + 27, "@load.invalid", 13)) return false;
  if (!get_hex(call_id.p, 8, &run) || run != L.run_id) return false;
  if (!get_hex(call_id.p + 9, 4, &conn) || !get_hex(call_id.p + 14, 4, &slot)) return false;
  out->conn = conn;
  out->slot = slot;
  return get_hex(call_id.p + 19, 8, &out->seq);
}

const char *body_bytes(const struct ids *id, bool response) {
  uint64_t h =
      (uint64_t)id->seq << 24 ^ (uint64_t)id->conn << 9 ^ id->slot ^ (response ? 1u << 20 : 0);
  h = (h ^ L.run_id) * 0x9e3779b97f4a7c15u;
  return L.pool + (h >> 20) % (POOL_LEN - BODY_MAX);
}

static struct str done(const struct buf *b) { return (struct str){b->p, b->len}; }

struct str build_via(const struct conn *c, unsigned slot_no, uint32_t seq, enum method m) {
  static struct buf b;
  b.off = b.len = 0;
  put_s(&b, "SIP/2.0/");
  put_s(&b, transports[c->tr]);
  put(&b, " ", 1);
  put_s(&b, c->local.text);
  put_s(&b, ";branch=z9hG4bK");
  put_token(&b, c->index, slot_no, seq);
  put(&b, ".", 1);
  put_hex(&b, m, 1);
  return done(&b);
}

static bool has_param(struct str via, struct str param) {
  for (const char *p = via.p, *end = via.p + via.n;
       (p = memmem(p, (size_t)(end - p), param.p, param.n)); p++) {
    const char *stop = p + param.n;
    if (p > via.p && p[-1] == ';' && (stop == end || *stop == ';')) return true;
  }
  return false;
}

/* A proxy fills in rport and adds received where it likes (RFC 3581 4); the rest stays. */
bool via_is(struct str got, struct str want, const struct conn *c) {
  const char *semi = memchr(want.p, ';', want.n);
  struct str sent_by = {want.p, (size_t)(semi - want.p)};
  struct str branch = {semi + 1, want.n - sent_by.n - 1};
  if (!str_starts(got, sent_by) || got.n == sent_by.n || got.p[sent_by.n] != ';') return false;
  if (!has_param(got, branch)) return false;
  const char *rport = memmem(got.p, got.n, ";rport=", 7);
  if (!rport) return true;
  const char *port = strrchr(c->local.text, ':') + 1, *value = rport + 7;
  size_t n = strlen(port), left = (size_t)(got.p + got.n - value);
  return left >= n && !memcmp(value, port, n) && (left == n || value[n] == ';');
}

static void put_uri(struct buf *b, const char *user, const struct conn *at) {
  put_s(b, "sip:");
  put_s(b, user);
  put(b, "@", 1);
  put_s(b, at->local.text);
  put_s(b, ";transport=");
  put_s(b, uri_params[at->tr]);
}

struct str build_uri(unsigned server) {
  static struct buf b;
  b.off = b.len = 0;
  put_uri(&b, "x", &L.listeners[server]);
  return done(&b);
}

struct str build_from(const struct conn *c, unsigned slot_no, uint32_t seq) {
  static struct buf b;
  b.off = b.len = 0;
  put_s(&b, "<sip:caller-");
  put_u(&b, c->index);
  put_s(&b, "@load.invalid>;tag=f");
  put_token(&b, c->index, slot_no, seq);
  return done(&b);
}

struct str build_to_tag(const struct conn *c, unsigned slot_no, uint32_t seq) {
  static struct buf b;
  b.off = b.len = 0;
  put_s(&b, "<sip:x@load.invalid>;tag=t");
  put_token(&b, c->index, slot_no, seq);
  return done(&b);
}

static void put_stamp(struct buf *b, unsigned server, uint32_t order) {
  put_s(b, "\r\nX-Load: ");
  put_hex(b, server, 2);
  put(b, ".", 1);
  put_hex(b, order, 8);
  put_s(b, "\r\n");
}

static void put_end(struct buf *b, const char *body, size_t len) {
  put(b, L.fixed, L.fixed_len);
  if (len) put_s(b, "Content-Type: application/octet-stream\r\n");
  put_s(b, "Content-Length: ");
  put_u(b, len);
  put_s(b, "\r\n\r\n");
  put(b, body, len);
}

void build_request(struct buf *b, struct conn *c, unsigned slot_no, enum method m) {
  struct slot *s = &c->slots[slot_no];
  struct ids id = {c->index, slot_no, s->seq};
  bool in_dialog = m == M_ACK || m == M_BYE;
  put_s(b, methods[m]);
  put(b, " ", 1);
  if (in_dialog)
    put_s(b, s->remote);
  else
    put_str(b, build_uri(s->server));
  put_s(b, " SIP/2.0\r\nVia: ");
  put_str(b, build_via(c, slot_no, s->seq, m));
  put_s(b, c->tr == TR_UDP ? ";rport\r\nMax-Forwards: 70\r\n" : "\r\nMax-Forwards: 70\r\n");
  if (in_dialog) put_s(b, s->routes);
  put_s(b, "From: ");
  put_str(b, build_from(c, slot_no, s->seq));
  put_s(b, "\r\nTo: ");
  if (in_dialog)
    put_str(b, build_to_tag(c, slot_no, s->seq));
  else
    put_s(b, "<sip:x@load.invalid>");
  put_s(b, "\r\nCall-ID: ");
  put_token(b, c->index, slot_no, s->seq);
  put_s(b, "@load.invalid\r\nCSeq: ");
  put_u(b, cseq_of(m));
  put(b, " ", 1);
  put_s(b, methods[m]);
  if (!in_dialog && m != M_MESSAGE) {
    put_s(b, "\r\nContact: <");
    put_uri(b, "caller", c);
    put(b, ">", 1);
  }
  put_stamp(b, s->server, ++c->txn_order[s->server]);
  put_end(b, body_bytes(&id, false), m == M_MESSAGE || m == M_INVITE ? s->req_body : 0);
}

/* `caller` and slot_no name what the request belongs to; `via` is where it arrived. */
void build_response(struct buf *b, const struct msg *req, struct conn *caller, unsigned slot_no,
                    enum method m, int status, struct conn *via) {
  struct slot *s = &caller->slots[slot_no];
  struct ids id = {caller->index, slot_no, s->seq};
  put_s(b, status == 180 ? "SIP/2.0 180 Ringing\r\n" : "SIP/2.0 200 OK\r\n");
  for (unsigned i = 0; i < req->n_via_line; i++) put_str(b, req->via_line[i]);
  for (unsigned i = 0; m == M_INVITE && i < req->n_rr && i < MAX_RR; i++) {
    put_s(b, "Record-Route: ");
    put_str(b, req->rr[i]);
    put_s(b, "\r\n");
  }
  put_s(b, "From: ");
  put_str(b, req->from);
  put_s(b, "\r\nTo: ");
  put_str(b, build_to_tag(caller, slot_no, s->seq));
  put_s(b, "\r\nCall-ID: ");
  put_str(b, req->call_id);
  put_s(b, "\r\nCSeq: ");
  put_str(b, req->cseq);
  if (m == M_INVITE) {
    put_s(b, "\r\nContact: <");
    put_str(b, build_uri(via->index));
    put(b, ">", 1);
  }
  put_stamp(b, via->index, ++caller->rsp_order[via->index]);
  put_end(b, body_bytes(&id, true), status == 200 && m != M_BYE ? s->rsp_body : 0);
}
