/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages made from another message: responses, CANCEL, ACK. Header fields are
 * copied as they are in the source, so that comparison at the other end holds
 * (RFC 3261 9.1, 17.2.3), except that a fold, which means no more than a space,
 * becomes one. Nothing is sent from here.
 */
#include "tieline/reply.h"

#include "tieline/edit.h"

struct out {
  char *p;
  size_t n, cap;
  bool full;
};

static void put_str(struct out *o, struct tl_str s) {
  if (s.n > o->cap - o->n) {
    o->full = true;
    return;
  }
  if (s.n) memcpy(o->p + o->n, s.p, s.n);
  o->n += s.n;
}

static void put_u32(struct out *o, uint32_t v) {
  char text[10];
  size_t i = sizeof(text);
  do text[--i] = (char)('0' + v % 10);
  while (v /= 10);
  put_str(o, (struct tl_str){text + i, sizeof(text) - i});
}

/* Appends S, which is part of M or was made from it. */
static void put_copy(struct out *o, const struct tl_msg *m, struct tl_str s) {
  if (!(m->rewrite & TL_REWRITE_FOLDS) || s.n > o->cap - o->n)
    put_str(o, s);
  else
    o->n += tl_unfold_lines(o->p + o->n, s.p, s.n);
}

static void put_field(struct out *o, const struct tl_msg *m, uint16_t i) {
  put_copy(o, m, (struct tl_str){m->p + m->hdr[i].off, m->hdr[i].end - m->hdr[i].off});
}

static void put_all(struct out *o, const struct tl_msg *m, enum tl_hdr_id id) {
  for (uint16_t i = m->first[id]; i != TL_HDR_NONE; i = m->hdr[i].next) put_field(o, m, i);
}

static void put_first(struct out *o, const struct tl_msg *m, enum tl_hdr_id id) {
  if (tl_msg_has(m, id)) put_field(o, m, m->first[id]);
}

static int finish_reply(struct out *o, size_t *out_len) {
  if (o->full) return TL_ELIMIT;
  *out_len = o->n;
  return TL_OK;
}

static void put_vias(struct out *o, const struct tl_msg *req, struct tl_str top_via) {
  uint16_t i = req->first[TL_H_VIA];
  if (i != TL_HDR_NONE && top_via.n && req->via.whole.n) {
    const struct tl_hdr *h = &req->hdr[i];
    const char *value_end = req->via.whole.p + req->via.whole.n;
    struct tl_str front = {req->p + h->off, (size_t)(req->via.whole.p - req->p) - h->off};
    put_copy(o, req, front);
    put_copy(o, req, top_via);
    put_copy(o, req, (struct tl_str){value_end, (size_t)(req->p + h->end - value_end)});
    i = h->next;
  }
  for (; i != TL_HDR_NONE; i = req->hdr[i].next) put_field(o, req, i);
}

static void put_to(struct out *o, const struct tl_msg *req, struct tl_str tag) {
  uint16_t i = req->first[TL_H_TO];
  if (i == TL_HDR_NONE) return;
  const struct tl_hdr *h = &req->hdr[i];
  put_copy(o, req, (struct tl_str){req->p + h->off, h->val + h->val_len - h->off});
  if (tag.n) {
    put_str(o, TL_STR(";tag="));
    put_str(o, tag);
  }
  put_str(o, TL_STR("\r\n"));
}

/* RFC 3261 8.2.6.1. Timestamp has no id of its own: nothing else needs it. */
static void put_timestamp(struct out *o, const struct tl_msg *req) {
  for (uint16_t i = req->first[TL_H_OTHER]; i != TL_HDR_NONE; i = req->hdr[i].next) {
    struct tl_str name = {req->p + req->hdr[i].off, 9};
    if (req->hdr[i].end - req->hdr[i].off <= 9 || !tl_str_ieq(name, TL_STR("Timestamp"))) continue;
    char next = req->p[req->hdr[i].off + 9];
    if (next == ':' || next == ' ' || next == '\t') put_field(o, req, i);
  }
}

static void put_server(struct out *o, struct tl_str name) {
  if (!name.n) return;
  put_str(o, TL_STR("Server: "));
  put_str(o, name);
  put_str(o, TL_STR("\r\n"));
}

int tl_reply_build(const struct tl_msg *req, const struct tl_reply *r, char *dst, size_t cap,
                   size_t *out_len) {
  struct out o = {dst, 0, cap, false};
  bool tag = r->status > 100 && req->to_tag.n == 0;
  put_str(&o, TL_STR("SIP/2.0 "));
  put_u32(&o, r->status);
  put_str(&o, TL_STR(" "));
  put_str(&o, r->reason);
  put_str(&o, TL_STR("\r\n"));
  put_vias(&o, req, r->top_via);
  put_first(&o, req, TL_H_FROM);
  put_to(&o, req, tag ? r->to_tag : (struct tl_str){NULL, 0});
  put_first(&o, req, TL_H_CALL_ID);
  put_first(&o, req, TL_H_CSEQ);
  if (r->status == 100) put_timestamp(&o, req);
  put_server(&o, r->server);
  put_str(&o, r->extra);
  put_str(&o, TL_STR("Content-Length: 0\r\n\r\n"));
  return finish_reply(&o, out_len);
}

static void put_cseq(struct out *o, uint32_t number, struct tl_str method) {
  put_str(o, TL_STR("CSeq: "));
  put_u32(o, number);
  put_str(o, TL_STR(" "));
  put_str(o, method);
  put_str(o, TL_STR("\r\n"));
}

/* CANCEL and ACK differ in the method and in the source of To. Max-Forwards starts anew: the
 * request is ours (RFC 3261 8.1.1.6). */
static int same_hop_request(const struct tl_msg *fwd, const struct tl_msg *to_from,
                            struct tl_str method, char *dst, size_t cap, size_t *out_len) {
  struct out o = {dst, 0, cap, false};
  put_str(&o, method);
  put_str(&o, TL_STR(" "));
  put_str(&o, fwd->uri);
  put_str(&o, TL_STR(" SIP/2.0\r\nVia: "));
  put_copy(&o, fwd, fwd->via.whole);
  put_str(&o, TL_STR("\r\nMax-Forwards: 70\r\n"));
  put_all(&o, fwd, TL_H_ROUTE);
  put_first(&o, fwd, TL_H_FROM);
  put_first(&o, to_from, TL_H_TO);
  put_first(&o, fwd, TL_H_CALL_ID);
  put_cseq(&o, fwd->cseq, method);
  put_str(&o, TL_STR("Content-Length: 0\r\n\r\n"));
  return finish_reply(&o, out_len);
}

static void put_routes(struct out *o, const struct tl_msg *m, const struct tl_dialog_request *r) {
  for (unsigned i = 0; i < r->n_route; i++) {
    put_str(o, i ? TL_STR(", ") : TL_STR("Route: "));
    put_copy(o, m, r->route[i].whole);
  }
  if (r->n_route) put_str(o, TL_STR("\r\n"));
}

int tl_dialog_request_build(const struct tl_msg *resp, const struct tl_dialog_request *r, char *dst,
                            size_t cap, size_t *out_len) {
  struct out o = {dst, 0, cap, false};
  put_str(&o, r->method);
  put_str(&o, TL_STR(" "));
  put_str(&o, r->uri);
  put_str(&o, TL_STR(" SIP/2.0\r\nVia: SIP/2.0/TCP 0.0.0.0;branch="));
  put_str(&o, r->branch);
  put_str(&o, TL_STR("\r\nMax-Forwards: 70\r\n"));
  put_routes(&o, resp, r);
  put_first(&o, resp, TL_H_FROM);
  put_first(&o, resp, TL_H_TO);
  put_first(&o, resp, TL_H_CALL_ID);
  put_cseq(&o, r->cseq, r->method);
  if (r->invite) {
    put_all(&o, r->invite, TL_H_AUTHORIZATION);
    put_all(&o, r->invite, TL_H_PROXY_AUTHORIZATION);
  }
  put_str(&o, TL_STR("Content-Length: 0\r\n\r\n"));
  return finish_reply(&o, out_len);
}

int tl_cancel_build(const struct tl_msg *fwd, char *dst, size_t cap, size_t *out_len) {
  return same_hop_request(fwd, fwd, TL_STR("CANCEL"), dst, cap, out_len);
}

int tl_ack_build(const struct tl_msg *fwd, const struct tl_msg *resp, char *dst, size_t cap,
                 size_t *out_len) {
  return same_hop_request(fwd, resp, TL_STR("ACK"), dst, cap, out_len);
}
