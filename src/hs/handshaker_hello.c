/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accepted connections until their ClientHello is complete. A client that connects
 * and says nothing costs a socket and this object, but no SSL object and no place
 * among the handshakes. There may be many, none for long, and at a bound the oldest
 * makes room for the newest, so that strangers who fill it keep out no client that
 * speaks. Admission is the next step: handshaker_turn.c.
 */
#include <unistd.h>

#include "hs/handshaker.h"
#include "runtime/sources.h"

static void next_record(struct tl_hs_conn *c) {
  c->rec_at = c->have;
  if (tl_hk_conn_receive(c, c->have + TL_RECORD_HEADER))
    tl_hk_conn_fail(c, TL_HS_INTERNAL, "out of memory");
}

static void give_way(struct tl_hs_conn *c) {
  struct tl_handshaker *hk = c->hk;
  int fd = c->fd;
  tl_count(&hk->th.counters, TL_C_HS_GAVE_WAY);
  tl_hk_turn_leave(c); /* now, so that it is neither counted nor chosen again */
  c->fd = -1;          /* the ring keeps the socket until the receiving is cancelled */
  tl_hk_conn_fail(c, TL_HS_TIMEOUT, "it gave way to newer ones before its ClientHello was there");
  close(fd);
  atomic_fetch_sub(&hk->th.rt->connections, 1);
  tl_conn_source_leave(&c->peer);
}

bool tl_hk_hello_give_way(struct tl_handshaker *hk) {
  struct tl_hs_conn *oldest = tl_hs_line_first(&hk->hellos);
  if (oldest) give_way(oldest);
  return oldest != NULL;
}

void tl_hk_hello_begin(struct tl_hs_conn *c) {
  struct tl_handshaker *hk = c->hk;
  const struct tl_conf_limits *lim = &hk->view->conf->limits;
  const struct tl_conf_timeouts *t = &hk->view->conf->timeouts;
  struct tl_hs_conn *own = tl_hs_source_oldest(&hk->sources, c, lim->max_half_open_source);
  if (own)
    give_way(own);
  else if (hk->hellos.n >= lim->max_half_open)
    give_way(tl_hs_line_first(&hk->hellos));
  c->state = TL_HS_HELLO;
  if (tl_hs_source_open(&hk->sources, c)) {
    tl_hk_conn_fail(c, TL_HS_INTERNAL, "out of memory");
    return;
  }
  tl_hs_line_add(&hk->hellos, c);
  tl_count_add(&hk->th.counters, TL_C_HS_HALF_OPEN, 1);
  tl_hk_timer_at(hk, &c->timer,
                 c->started_ms + (t->hello < t->handshake ? t->hello : t->handshake));
  next_record(c);
}

void tl_hk_hello_received(struct tl_hs_conn *c) {
  const uint8_t *rec = c->rec + c->rec_at;
  size_t body;
  if (c->want - c->rec_at > TL_RECORD_HEADER) {
    if (tl_hello_feed(&c->hello, rec, c->have - c->rec_at))
      tl_hk_turn_take(c);
    else
      next_record(c);
  } else if (tl_hello_record_len(&c->failure, c->rec_at == 0, rec, &body)) {
    tl_hk_conn_fail(c, (int)c->failure.cause, NULL);
  } else if (tl_hk_conn_receive(c, c->have + body)) {
    tl_hk_conn_fail(c, TL_HS_INTERNAL, "out of memory");
  }
}
