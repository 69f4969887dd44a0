/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Half-closed connections: the peer has announced that it sends no more (FIN or
 * close_notify) while requests of its own are open. Our half stays open until they
 * are answered, timeouts.half_closed has passed or the peer has vanished (RFC 8446
 * 6.1; TCP's own rules). No new request is sent on it.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "net_internal.h"

#define CHECK_MS 1000u /* for a reset, which nothing else reports after the peer's FIN */

void tl_conn_ask(struct tl_conn *c, uint32_t within_ms) {
  uint64_t until = c->net->now_ms + within_ms;
  c->n_loose++;
  if (until > c->loose_until) c->loose_until = until;
}

void tl_conn_answered(struct tl_conn *c) {
  if (c->n_loose) c->n_loose--;
  if (tl_conn_half_closed(c)) tl_conn_mark(c);
}

void tl_conn_release_request(struct tl_conn *c) {
  c->view.n_open_requests--;
  c->answered_ms = c->net->now_ms;
  if (tl_conn_half_closed(c)) tl_conn_mark(c);
}

static bool owes_response(const struct tl_conn *c) {
  return c->view.n_open_requests || (c->n_loose && c->net->now_ms < c->loose_until);
}

static uint64_t until_ms(const struct tl_conn *c) {
  bool sooner = c->retire_until && c->retire_until < c->half_until;
  return sooner ? c->retire_until : c->half_until;
}

static void check_later(struct tl_conn *c) {
  uint64_t now = c->net->now_ms, until = until_ms(c), left = until > now ? until - now : 0;
  tl_timer_start(&c->net->wheel, &c->timer, left < CHECK_MS ? (uint32_t)left : CHECK_MS);
}

void tl_half_begin(struct tl_conn *c) {
  const uint32_t ms = c->net->view->conf->timeouts.half_closed;
  const bool first = !c->view.peer_ended;
  c->view.peer_ended = true;
  if (c->view.state != TL_CONN_OPEN || c->view.doomed || !ms || !owes_response(c)) {
    tl_conn_finish(c);
    return;
  }
  if (!first) return;
  tl_count(c->net->counters, TL_C_CONN_HALF_CLOSED);
  c->half_until = c->net->now_ms + ms;
  tl_conn_withdraw(c);
  if (c->net->handler->half_closed) c->net->handler->half_closed(c->net, c);
  check_later(c);
  tl_conn_mark(c);
}

/* Drops the message that will never be complete. Not in tl_half_begin: its caller may still be
 * reading these bytes. */
static void drop_input(struct tl_conn *c) {
  tl_big_drop(c);
  tl_stash_drop(c->net, &c->kept.cipher);
  tl_stash_drop(c->net, &c->kept.plain);
  free(c->kept.skipping);
  c->kept.skipping = NULL;
  c->kept.skip_left = 0;
  tl_unfinished_leave(c);
}

void tl_half_turn(struct tl_conn *c) {
  drop_input(c);
  if (!owes_response(c)) tl_conn_finish(c);
}

/* After the FIN no receive is armed that would report a reset. */
static bool has_vanished(const struct tl_conn *c) {
  struct tcp_info info;
  socklen_t len = sizeof(info);
  memset(&info, 0, sizeof(info));
  return c->rx.fin_got && getsockopt(c->kept.fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
         info.tcpi_state == TCP_CLOSE;
}

void tl_half_check(struct tl_conn *c) {
  if (has_vanished(c))
    tl_conn_abort(c, TL_EIO);
  else if (!owes_response(c) || c->net->now_ms >= until_ms(c))
    tl_conn_finish(c);
  else
    check_later(c);
}
