/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must cross workers: a response, CANCEL or ACK whose transaction another
 * worker has, bytes for a connection that another worker owns, and that connection's
 * end. Everything is copied into the mail, so nothing is shared.
 */
#include <stdlib.h>

#include "proxy.h"

struct xw_sender {
  struct tl_mail mail;
  struct tl_identity *identity; /* of the connection, if verified; a reference */
};

struct xw_message {
  struct xw_sender by;
  struct tl_flow from;
  bool allow_cn, dialled; /* what else its source is told by */
  enum tl_check_from check;
  int listener; /* of the datagram's socket, -1: none */
  unsigned hops;
  bool bare; /* its body was left behind: it is to be answered, not sent on */
  uint32_t len;
  char data[];
};

struct remote_send {
  struct tl_mail mail;
  tl_conn_id conn;
  unsigned back_to;   /* worker to tell of failure */
  uint32_t slot, gen; /* its branch; slot UINT32_MAX: none */
  bool alias;         /* the connection must still stand as one (RFC 5923) */
  uint32_t len;
  char data[];
};

struct conn_gone {
  struct xw_sender by;
  struct tl_flow was;
  int rc;
};

void tl_xw_free(struct tl_mail *m) {
  if (m->type == TL_MAIL_CONN_GONE || m->type == TL_MAIL_FORWARD)
    tl_identity_unref(((struct xw_sender *)m)->identity);
  free(m);
}

int tl_xw_post_bytes(struct tl_proxy *p, unsigned worker, struct tl_mail *m, uint32_t bytes) {
  /* Workers start one after another: the first may have mail for one that is not there yet. */
  struct tl_thread *to = __atomic_load_n(&p->th.rt->worker[worker], __ATOMIC_ACQUIRE);
  int rc = to ? tl_mailbox_post_bytes(&to->mailbox, m, bytes) : TL_EBUSY;
  if (rc) tl_count(tl_proxy_counters(p), TL_C_MAIL_FULL);
  return rc;
}

int tl_xw_post(struct tl_proxy *p, unsigned worker, struct tl_mail *m) {
  return tl_xw_post_bytes(p, worker, m, 0);
}

static int post(struct tl_proxy *p, unsigned worker, struct tl_mail *m, uint32_t bytes) {
  int rc = tl_xw_post_bytes(p, worker, m, bytes);
  if (rc) tl_xw_free(m);
  return rc;
}

size_t tl_xw_copy_body(char *dst, const struct tl_body *body) {
  size_t n = 0;
  for (uint32_t i = 0; body && i < body->n; i++) {
    memcpy(dst + n, body->seg[i].p, body->seg[i].n);
    n += body->seg[i].n;
  }
  return n;
}

/* Routes may ask who sent it, and only here is that known. */
static void tell_sender(struct tl_proxy *p, const struct tl_flow *from, struct xw_message *r) {
  const struct tl_conn *c = p->xw_hops ? NULL : tl_conn_get(&p->net, from->conn);
  struct tl_identity *id = p->xw_hops ? p->xw_from.identity : NULL;
  if (c && c->tls && c->tls->peer_verified) id = c->tls->identity;
  r->by.identity = id ? tl_identity_ref(id) : NULL;
  const struct tl_tls_domain *d = c && c->tls ? c->tls->domain : NULL;
  r->allow_cn = c ? d && d->allow_cn : p->xw_from.allow_cn;
  r->check = c ? d ? d->check_from : TL_CHECK_FROM_OFF : p->xw_from.check;
  r->dialled = c ? c->outgoing : p->xw_from.dialled;
}

void tl_xw_message(struct tl_proxy *p, unsigned worker, const struct tl_flow *from,
                   const struct tl_msg *m, const struct tl_body *body, unsigned hops) {
  struct xw_message *r = NULL;
  if (worker < p->th.rt->n_worker) r = malloc(sizeof(*r) + m->head_len + body->len);
  if (!r) {
    tl_count(tl_proxy_counters(p), TL_C_DROP_NOMEM);
    return;
  }
  /* The branch may move to this connection, and is to hear of its end. */
  struct tl_conn *c = m->is_request ? NULL : tl_conn_get(&p->net, from->conn);
  if (c) c->shared = true;
  r->by.mail.type = TL_MAIL_FORWARD;
  r->from = *from;
  tell_sender(p, from, r);
  r->listener = tl_udp_listener(&p->net, from->udp);
  r->hops = hops;
  r->bare = body->len < m->body_len;
  memcpy(r->data, m->p, m->head_len);
  r->len = m->head_len + (uint32_t)tl_xw_copy_body(r->data + m->head_len, body);
  if (post(p, worker, &r->by.mail, r->len) == TL_OK) tl_forward_awaited(p, from, m);
}

bool tl_xw_onwards(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m,
                   const struct tl_body *body) {
  unsigned n = p->th.rt->n_worker;
  if (p->xw_hops + 1 >= n) return false;
  tl_xw_message(p, (p->th.index + 1) % n, from, m, body, p->xw_hops + 1);
  return true;
}

bool tl_xw_is_remote(const struct tl_proxy *p, tl_conn_id id) {
  uint64_t owner = id >> 56;
  return owner != 0 && owner != p->th.index + 1 && owner <= p->th.rt->n_worker;
}

static struct remote_send *send_new(struct tl_proxy *p, tl_conn_id id, size_t len,
                                    const struct tl_branch *b) {
  struct remote_send *s = malloc(sizeof(*s) + len);
  if (!s) return NULL;
  s->mail.type = TL_MAIL_SEND;
  s->conn = id;
  s->back_to = p->th.index;
  s->slot = b ? b->slot : UINT32_MAX;
  s->gen = b ? b->gen : 0;
  s->alias = b && b->flow.alias;
  s->len = (uint32_t)len;
  return s;
}

int tl_xw_send(struct tl_proxy *p, tl_conn_id id, const void *data, size_t n) {
  struct remote_send *s = send_new(p, id, n, NULL);
  if (!s) return TL_ENOMEM;
  memcpy(s->data, data, n);
  return post(p, (unsigned)(id >> 56) - 1, &s->mail, s->len);
}

int tl_xw_send_edit(struct tl_proxy *p, tl_conn_id id, const struct tl_edit *e,
                    const struct tl_body *body, const struct tl_branch *branch) {
  size_t head = tl_edit_len(e);
  struct remote_send *s = send_new(p, id, head + (body ? body->len : 0), branch);
  if (!s) return TL_ENOMEM;
  tl_xw_copy_body(s->data + tl_edit_write(e, s->data), body);
  return post(p, (unsigned)(id >> 56) - 1, &s->mail, s->len);
}

static void do_send(struct tl_proxy *p, struct remote_send *s) {
  struct tl_conn *c = tl_conn_get(&p->net, s->conn);
  bool response = s->len > 8 && memcmp(s->data, "SIP/2.0 ", 8) == 0;
  if (c && s->alias && !tl_alias_stands(c)) c = NULL;
  if (c && !response && tl_conn_half_closed(c)) c = NULL;
  if (c && s->slot != UINT32_MAX) c->shared = true;
  if (c && tl_conn_send(c, s->data, s->len) == TL_OK) {
    if (response && s->data[8] > '1') tl_conn_answered(c);
    free(s);
    return;
  }
  tl_count(tl_proxy_counters(p), TL_C_DROP_NO_ROUTE_BACK);
  if (s->slot == UINT32_MAX) {
    free(s);
    return;
  }
  struct remote_send *news = realloc(s, sizeof(*s)); /* without the message */
  if (news) s = news;
  s->mail.type = TL_MAIL_SEND_FAILED;
  post(p, s->back_to, &s->mail, news ? 0 : s->len);
}

static void send_failed(struct tl_proxy *p, struct remote_send *s) {
  struct tl_branch *b = tl_branch_find(p, s->slot, s->gen);
  if (b) tl_alias_forget(&p->net, &b->flow.addr, s->conn);
  if (b && b->state == TL_BR_CALLING) tl_forward_failed(b, 503);
  free(s);
}

struct tl_branch **tl_xw_branches(struct tl_proxy *p, tl_conn_id id) {
  return &p->remote[(id ^ id >> 32) % TL_REMOTE_BUCKETS];
}

void tl_xw_conn_gone(struct tl_proxy *p, const struct tl_conn *c, int rc) {
  struct tl_identity *id = c->tls && c->tls->peer_verified ? c->tls->identity : NULL;
  if (!c->shared) return;
  for (unsigned i = 0; i < p->th.rt->n_worker; i++) {
    struct conn_gone *g = i == p->th.index ? NULL : malloc(sizeof(*g));
    if (!g) continue;
    g->by.mail.type = TL_MAIL_CONN_GONE;
    g->was = (struct tl_flow){
        .transport = (enum tl_transport)c->transport, .addr = c->peer, .conn = tl_conn_id_of(c)};
    g->by.identity = id ? tl_identity_ref(id) : NULL;
    g->rc = rc;
    post(p, i, &g->by.mail, 0);
  }
}

static void conn_gone(struct tl_proxy *p, struct conn_gone *g) {
  for (struct tl_branch *b = *tl_xw_branches(p, g->was.conn), *next; b; b = next) {
    next = b->conn_next; /* a failure frees its branch and no other */
    if (b->flow.conn == g->was.conn) tl_branch_lost(b, &g->was, g->by.identity, g->rc);
  }
  tl_xw_free(&g->by.mail);
}

static void do_message(struct tl_proxy *p, struct xw_message *r) {
  struct tl_msg *m = &p->net.msg;
  struct tl_scan_error err;
  bool stream = r->from.transport != TL_UDP || r->bare;
  r->from.udp = r->listener < 0 ? NULL : tl_udp_of(&p->net, r->listener);
  if (tl_scan(r->data, r->len, stream, p->net.conf->limits.max_head, m, &err) == 0 &&
      (r->bare || (size_t)m->head_len + m->body_len <= r->len)) {
    uint32_t len = r->bare ? 0 : m->body_len;
    struct tl_body b = {.n = len ? 1 : 0, .len = len};
    b.seg[0].p = (uint8_t *)r->data + m->head_len;
    b.seg[0].n = len;
    b.seg[0].buf = -1;
    p->xw_hops = r->hops;
    p->xw_from.identity = r->by.identity;
    p->xw_from.allow_cn = r->allow_cn;
    p->xw_from.dialled = r->dialled;
    p->xw_from.check = r->check;
    if (m->is_request)
      tl_request(p, &r->from, NULL, m, &b);
    else
      tl_response(p, &r->from, m, &b);
    p->xw_hops = 0;
    p->xw_from.identity = NULL;
    p->xw_from.allow_cn = p->xw_from.dialled = false;
    p->xw_from.check = TL_CHECK_FROM_OFF;
  }
  tl_xw_free(&r->by.mail);
}

void tl_xw_mail(struct tl_proxy *p, struct tl_mail *m) {
  switch (m->type) {
  case TL_MAIL_FORWARD: do_message(p, (struct xw_message *)m); break;
  case TL_MAIL_SEND: do_send(p, (struct remote_send *)m); break;
  case TL_MAIL_SEND_FAILED: send_failed(p, (struct remote_send *)m); break;
  case TL_MAIL_CONN_GONE: conn_gone(p, (struct conn_gone *)m); break;
  default: free(m); break;
  }
}
