/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What has to cross workers: a response, CANCEL or ACK whose transaction belongs to another
 * worker, bytes for a connection that another worker owns, and the end of that connection.
 * Everything is copied into the mail, so nothing is shared.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "branch.h"
#include "forward.h"
#include "proxy.h"
#include "source.h"
#include "xworker_mail.h"

static const struct tl_mail_kind failed_kind;

/* Drops the reference to the identity, too. */
static void drop_named(struct tl_mail *m) {
  tl_identity_unref(((struct tl_xw_named *)m)->identity);
  free(m);
}

static void do_send(struct tl_proxy *p, struct tl_xw_send *s) {
  struct tl_conn *c = tl_conn_get(p->net, s->conn);
  bool response = s->len > 8 && memcmp(s->data, "SIP/2.0 ", 8) == 0;
  if (c && s->alias && !tl_alias_stands(c)) c = NULL;
  if (c && !response && tl_conn_half_closed(c)) c = NULL;
  if (c && s->slot != UINT32_MAX) tl_conn_share(c);
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
  struct tl_xw_send *news = realloc(s, sizeof(*s)); /* the message is no longer needed */
  if (news) s = news;
  s->mail.kind = &failed_kind;
  tl_xw_post_or_free(p, s->back_to, &s->mail, news ? 0 : s->len);
}

static void send_failed(struct tl_proxy *p, struct tl_xw_send *s) {
  struct tl_branch *b = tl_branch_find(p, s->slot, s->gen);
  if (b) tl_alias_forget(p->net, &b->flow.addr, s->conn);
  if (b && b->state == TL_BR_CALLING) tl_forward_failed(b, 503);
  free(s);
}

static void conn_gone(struct tl_proxy *p, struct tl_xw_gone *g) {
  for (struct tl_branch *b = *tl_branch_remote(p, g->was.conn), *next; b; b = next) {
    next = b->conn_next; /* a failure frees its own branch and no other */
    if (b->flow.conn == g->was.conn) tl_branch_lost(b, &g->was, g->by.identity, g->rc);
  }
  drop_named(&g->by.mail);
}

static void do_message(struct tl_proxy *p, struct tl_xw_passed_on *r) {
  const struct tl_msg *m = r->msg;
  struct tl_body b = {.n = r->body_len ? 1 : 0, .len = r->body_len};
  b.seg[0].p = (uint8_t *)r->data + m->head_len;
  b.seg[0].n = r->body_len;
  b.seg[0].buf = -1;
  r->from.udp = r->listener < 0 ? NULL : tl_udp_of(p->net, r->listener);
  const struct tl_passed_on passed_on = {.identity = r->by.identity,
                                         .n_seen = r->n_seen,
                                         .allow_cn = r->allow_cn,
                                         .dialled = r->dialled,
                                         .check = r->check};
  tl_proxy_message(p, &(struct tl_origin){.from = &r->from, .passed_on = &passed_on}, m, &b);
  drop_named(&r->by.mail);
}

/* ---- kinds of mail ---- */

static void deliver_message(void *reader, struct tl_mail *m) {
  do_message(tl_proxy_reader(reader), (struct tl_xw_passed_on *)m);
}

static void deliver_send(void *reader, struct tl_mail *m) {
  do_send(tl_proxy_reader(reader), (struct tl_xw_send *)m);
}

static void deliver_failed(void *reader, struct tl_mail *m) {
  send_failed(tl_proxy_reader(reader), (struct tl_xw_send *)m);
}

static void deliver_gone(void *reader, struct tl_mail *m) {
  conn_gone(tl_proxy_reader(reader), (struct tl_xw_gone *)m);
}

static void drop_send(struct tl_mail *m) { free(m); }

static const struct tl_mail_kind failed_kind = {"send failed", deliver_failed, drop_send};

const struct tl_xw_kinds tl_xw_all_kinds = {
    .message = {"message", deliver_message, drop_named},
    .send = {"send", deliver_send, drop_send},
    .gone = {"connection gone", deliver_gone, drop_named},
};
