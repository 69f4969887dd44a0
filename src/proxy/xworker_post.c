/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is posted to other workers; xworker.c takes it there.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "branch.h"
#include "proxy.h"
#include "stage.h"
#include "tieline/edit.h"
#include "xworker_mail.h"

int tl_xw_post_bytes(struct tl_proxy *p, unsigned worker, struct tl_mail *m, uint32_t bytes) {
  /* Workers start one after another: the first may have mail for one that does not exist yet. */
  struct tl_thread *to = atomic_load_explicit(&p->th.rt->worker[worker], memory_order_acquire);
  int rc = to ? tl_mailbox_post_bytes(&to->mailbox, m, bytes) : TL_EBUSY;
  if (rc) tl_count(tl_proxy_counters(p), TL_C_MAIL_FULL);
  return rc;
}

int tl_xw_post(struct tl_proxy *p, unsigned worker, struct tl_mail *m) {
  return tl_xw_post_bytes(p, worker, m, 0);
}

int tl_xw_post_or_free(struct tl_proxy *p, unsigned worker, struct tl_mail *m, uint32_t bytes) {
  int rc = tl_xw_post_bytes(p, worker, m, bytes);
  if (rc) m->kind->drop(m);
  return rc;
}

/* Routes may depend on the sender, which is known only here. */
static void tell_sender(const struct tl_origin *origin, struct tl_xw_passed_on *r) {
  const struct tl_passed_on by = tl_source_passed_on(origin);
  r->by.identity = by.identity ? tl_identity_ref(by.identity) : NULL;
  r->allow_cn = by.allow_cn;
  r->check = by.check;
  r->dialled = by.dialled;
}

bool tl_xw_message(struct tl_proxy *p, unsigned worker, const struct tl_origin *origin,
                   const struct tl_msg *m, const struct tl_body *body, unsigned n_seen) {
  const struct tl_flow *from = origin->from;
  struct tl_xw_passed_on *r = NULL;
  size_t len = m->head_len + body->len;
  size_t scan_at = tl_msg_scan_at(offsetof(struct tl_xw_passed_on, data), len);
  if (worker < p->th.rt->n_worker)
    r = malloc(offsetof(struct tl_xw_passed_on, data) + scan_at + tl_msg_scan_size(m));
  if (!r) {
    tl_count(tl_proxy_counters(p), TL_C_DROP_NOMEM);
    return false;
  }
  /* The branch may move to this connection and must then be told of its end. */
  struct tl_conn *c = m->is_request ? NULL : tl_conn_get(p->net, from->conn);
  if (c) tl_conn_share(c);
  r->by.mail.kind = &p->xw_kinds->message;
  r->from = *from;
  tell_sender(origin, r);
  r->listener = tl_udp_listener(p->net, from->udp);
  r->n_seen = n_seen;
  r->body_len = body->len;
  memcpy(r->data, m->p, m->head_len);
  r->msg = tl_msg_copy_scan(m, r->data, r->data + scan_at);
  if (tl_body_copy(r->data + m->head_len, body)) {
    tl_count(tl_proxy_counters(p), TL_C_DROP_NOMEM);
    r->by.mail.kind->drop(&r->by.mail);
    return false;
  }
  return tl_xw_post_or_free(p, worker, &r->by.mail, (uint32_t)len) == TL_OK;
}

bool tl_xw_onwards(const struct tl_req *req, const struct tl_body *body, bool *out_sent) {
  struct tl_proxy *p = req->p;
  unsigned n = p->th.rt->n_worker, n_seen = tl_req_n_seen(req) + 1;
  if (n_seen >= n) return false;
  *out_sent = tl_xw_message(p, (p->th.index + 1) % n, &req->origin, req->m, body, n_seen);
  return true;
}

bool tl_xw_is_remote(const struct tl_proxy *p, tl_conn_id id) {
  uint64_t owner = id >> 56;
  return owner != 0 && owner != p->th.index + 1 && owner <= p->th.rt->n_worker;
}

static struct tl_xw_send *send_new(struct tl_proxy *p, tl_conn_id id, size_t len,
                                   const struct tl_branch *b) {
  struct tl_xw_send *s = malloc(sizeof(*s) + len);
  if (!s) return NULL;
  s->mail.kind = &p->xw_kinds->send;
  s->conn = id;
  s->back_to = p->th.index;
  s->slot = b ? b->slot : UINT32_MAX;
  s->gen = b ? b->gen : 0;
  s->alias = b && b->flow.alias;
  s->len = (uint32_t)len;
  return s;
}

int tl_xw_send(struct tl_proxy *p, tl_conn_id id, const void *data, size_t n) {
  struct tl_xw_send *s = send_new(p, id, n, NULL);
  if (!s) return TL_ENOMEM;
  memcpy(s->data, data, n);
  return tl_xw_post_or_free(p, (unsigned)(id >> 56) - 1, &s->mail, s->len);
}

int tl_xw_send_edit(struct tl_proxy *p, tl_conn_id id, const struct tl_edit *e,
                    const struct tl_body *body, const struct tl_branch *branch) {
  size_t head = tl_edit_len(e);
  struct tl_xw_send *s = send_new(p, id, head + (body ? body->len : 0), branch);
  if (!s) return TL_ENOMEM;
  int rc = tl_body_copy(s->data + tl_edit_write(e, s->data), body);
  if (rc) {
    s->mail.kind->drop(&s->mail);
    return rc;
  }
  return tl_xw_post_or_free(p, (unsigned)(id >> 56) - 1, &s->mail, s->len);
}

void tl_xw_conn_gone(struct tl_proxy *p, const struct tl_conn *c, int rc) {
  struct tl_identity *id = tl_conn_verified(c);
  if (!tl_conn_is_shared(c)) return;
  for (unsigned i = 0; i < p->th.rt->n_worker; i++) {
    struct tl_xw_gone *g = i == p->th.index ? NULL : malloc(sizeof(*g));
    if (!g) continue;
    g->by.mail.kind = &p->xw_kinds->gone;
    g->was = tl_conn_flow(c);
    g->by.identity = id ? tl_identity_ref(id) : NULL;
    g->rc = rc;
    tl_xw_post_or_free(p, i, &g->by.mail, 0);
  }
}
