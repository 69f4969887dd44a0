/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of a connection's state that others ask for: marked for the end of the
 * turn, paused, retired, finished, aborted. What follows from them is done by conn.c
 * when the turn ends or the connection's timer fires.
 */
#include <sys/socket.h>

#include "net_internal.h"
#include "tieline/tls_handshake.h"

void tl_conn_mark(struct tl_conn *c) {
  if (c->life.marked) return;
  c->life.marked = true;
  c->dirty_next = c->net->dirty;
  c->net->dirty = c;
}

void tl_conn_withdraw(struct tl_conn *c) {
  tl_alias_drop(c);
  tl_conn_key_drop(c);
}

void tl_conn_post_hs_end(struct tl_conn_tls *t) {
  tl_hs_free(t->post_hs);
  t->post_hs = NULL;
}

/* ---- back-pressure ---- */

void tl_conn_pause(struct tl_conn *c) {
  if (c->rx.paused || c->view.state != TL_CONN_OPEN) return;
  c->rx.paused = true;
  tl_count(c->net->counters, TL_C_CONN_PAUSED);
  if (c->rx.armed && !c->rx.cancelled) {
    c->rx.cancelled = true;
    tl_ring_cancel(&c->net->ring, &c->recv_op);
  }
}

void tl_conn_resume(struct tl_conn *c) {
  c->rx.paused = false;
  tl_conn_mark(c);
}

/* ---- retiring ---- */

/* Until when calls that are being set up keep C open. */
uint64_t tl_conn_spared_until(const struct tl_conn *c) {
  return c->retired_ms + c->net->view->conf->timeouts.call_setup_max;
}

bool tl_conn_asked(const struct tl_conn *c) {
  return c->view.owner.user || c->view.n_open_requests;
}

bool tl_conn_spared(const struct tl_conn *c) {
  uint64_t now = c->net->now_ms;
  bool answered = c->answered_ms && now - c->answered_ms < TL_RETIRED_ACK_MS;
  return (tl_conn_asked(c) || answered) && (!c->life.retired || now < tl_conn_spared_until(c));
}

void tl_conn_retire(struct tl_conn *c, uint32_t within_ms) {
  if (c->life.retired) return;
  c->life.retired = true;
  c->retired_ms = c->net->now_ms;
  c->retire_until = within_ms ? c->net->now_ms + within_ms : 0;
  tl_conn_withdraw(c);
  if (c->view.state == TL_CONN_OPEN) tl_timer_start(&c->net->wheel, &c->timer, TL_RETIRED_CHECK_MS);
}

/* ---- ending ---- */

void tl_conn_abort(struct tl_conn *c, int rc) {
  if (c->view.state == TL_CONN_CLOSING) return;
  bool dialing = c->view.state == TL_CONN_DIALING, reported = c->view.state == TL_CONN_FINISHING;
  c->view.state = TL_CONN_CLOSING;
  if (dialing && c->view.outgoing) { /* else accepted, and there was no memory for it */
    tl_count(c->net->counters, TL_C_CONN_DIAL_FAILED);
    tl_unreached_note(c, rc);
  }
  tl_conn_withdraw(c);
  c->rx.paused = false;
  tl_timer_stop(&c->net->wheel, &c->timer);
  if (!reported) c->net->handler->closed(c->net, c, rc);
  /* close() alone would leave an armed receive holding the connection open (KTLS-FACTS 31). */
  if (c->kept.fd >= 0) shutdown(c->kept.fd, SHUT_RDWR);
  if (c->rx.armed) tl_ring_cancel(&c->net->ring, &c->recv_op);
  if (c->tx.busy) tl_ring_cancel(&c->net->ring, &c->send_op);
  tl_conn_mark(c);
}

void tl_conn_finish_as(struct tl_conn *c, int rc) {
  c->view.state = TL_CONN_FINISHING;
  tl_conn_withdraw(c);
  c->rx.paused = false;
  c->net->handler->closed(c->net, c, rc);
  tl_timer_start(&c->net->wheel, &c->timer, TL_LINGER_MS);
  tl_conn_mark(c);
}

void tl_conn_finish(struct tl_conn *c) {
  if (c->view.state == TL_CONN_DIALING)
    tl_conn_abort(c, TL_ECLOSED);
  else if (c->view.state == TL_CONN_OPEN)
    tl_conn_finish_as(c, c->view.peer_ended ? TL_ECLOSED : TL_OK);
}
