/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Alerts that we send: the fatal one that ends a connection, and the warning that
 * refuses a renegotiation. close_notify is send.c's.
 */
#include "net_internal.h"

/* Nothing follows a fatal alert (RFC 8446 6.2). */
static void last_words(struct tl_conn *c, uint8_t alert) {
  const uint8_t body[2] = {TL_ALERT_LEVEL_FATAL, alert};
  if (c->kept.tls->record)
    tl_send_record(c, TL_CT_ALERT, body, sizeof(body)); /* after what is sealed already */
  else
    c->tx.alert = alert; /* after what the kernel is taking, see tl_alert_in_kernel */
  c->tx.notify_sent = c->view.doomed = true;
}

void tl_conn_end(struct tl_conn *c, uint8_t alert) {
  if (alert && c->kept.tls && c->view.state == TL_CONN_OPEN) {
    last_words(c, alert);
    tl_conn_finish_as(c, TL_EVERIFY);
    return;
  }
  tl_conn_finish(c);
}

void tl_conn_reject(struct tl_conn *c, uint8_t alert, int rc) {
  if (c->view.outgoing) tl_count(c->net->counters, TL_C_CONN_DIAL_FAILED);
  c->progress_ms = c->net->now_ms;
  tl_send_drop_pending(c);
  last_words(c, alert);
  tl_conn_finish_as(c, rc);
}

/* A send in flight would continue after the alert, so it is waited for; what has not been handed
 * to the kernel is dropped. */
bool tl_alert_in_kernel(struct tl_conn *c) {
  if (c->tx.busy) return false;
  tl_send_drop(c);
  if (tl_ktls_send_alert(c->kept.fd, TL_ALERT_LEVEL_FATAL, c->tx.alert) == TL_EAGAIN) {
    tl_send_wait(c);
    return false;
  }
  c->tx.alert = 0;
  return true;
}

/* Between two sends, like an alert. A failure is ignored: the connection fails with its socket. */
void tl_alert_no_reneg(struct tl_conn *c) {
  if (c->tx.busy) return;
  if (tl_ktls_send_alert(c->kept.fd, TL_ALERT_LEVEL_WARNING, TL_ALERT_NO_RENEGOTIATION) ==
      TL_EAGAIN)
    tl_send_wait(c);
  else
    c->tx.no_reneg = false;
}
