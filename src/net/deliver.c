/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was framed goes up: whole messages, and those for which the connection
 * closes.
 */
#include "net_internal.h"
#include "tieline/log_limit.h"

void tl_recv_deliver(struct tl_conn *c, const struct tl_msg *m, const struct tl_body *b) {
  struct tl_flow from = tl_conn_flow(c);
  c->kept.msgs_in++;
  c->rx.another = true;
  tl_count(c->net->counters, tl_transports[c->view.transport].messages_in);
  c->net->handler->message(c->net, &from, c, m, b);
}

void tl_recv_bad(struct tl_conn *c, const struct tl_scan_error *err, bool answerable) {
  char peer[TL_ADDR_STRLEN];
  struct tl_flow from = tl_conn_flow(c);
  tl_count(c->net->counters, err->status == 513 ? TL_C_BAD_TOO_LARGE : TL_C_BAD_FRAMING);
  TL_LOG_FROM(&c->view.peer, err->reason, TL_LOG_WARN,
              "Closing a connection that sent a message we cannot frame.",
              TL_FC("peer", tl_addr_format(&c->view.peer, peer)),
              TL_FC("transport", tl_transport_name((enum tl_transport)c->view.transport)),
              TL_FI("status", err->status), TL_FC("cause", err->reason));
  if (answerable)
    c->net->handler->bad(c->net, &from, c, &c->net->msg, err);
  else
    tl_count(c->net->counters, TL_C_DROP_PARSE);
  c->view.doomed = true;
  tl_conn_finish(c);
}
