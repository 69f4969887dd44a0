/* SPDX-License-Identifier: Apache-2.0 */
/* Orders of other threads for one connection: they are carried out in the worker that owns it. */
#include "tieline/conn_order.h"

#include <stdlib.h>

#include "net_internal.h"

struct conn_order {
  struct tl_mail mail;
  tl_conn_id conn;
  uint8_t alert;
};

static void deliver_close(void *reader, struct tl_mail *m) {
  const struct conn_order *o = (struct conn_order *)m;
  struct tl_conn *c = tl_conn_get(reader, o->conn);
  if (c) tl_conn_end(c, o->alert);
  free(m);
}

static void deliver_unpark(void *reader, struct tl_mail *m) {
  struct tl_conn *c = tl_conn_get(reader, ((struct conn_order *)m)->conn);
  if (c) tl_conn_unpark(c);
  free(m);
}

static void drop_order(struct tl_mail *m) { free(m); }

static const struct tl_mail_kind close_kind = {"close connection", deliver_close, drop_order};
static const struct tl_mail_kind unpark_kind = {"unpark connection", deliver_unpark, drop_order};

static int post_order(struct tl_thread *worker, const struct tl_mail_kind *kind, tl_conn_id conn,
                      uint8_t alert) {
  struct conn_order *o = malloc(sizeof(*o));
  if (!o) return TL_ENOMEM;
  *o = (struct conn_order){.mail.kind = kind, .conn = conn, .alert = alert};
  int rc = tl_mailbox_post(&worker->mailbox, &o->mail);
  if (rc) free(o);
  return rc;
}

int tl_conn_order_close(struct tl_thread *worker, tl_conn_id conn, uint8_t alert) {
  return post_order(worker, &close_kind, conn, alert);
}

int tl_conn_order_unpark(struct tl_thread *worker, tl_conn_id conn) {
  return post_order(worker, &unpark_kind, conn, 0);
}
