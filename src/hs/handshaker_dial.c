/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Outgoing TLS for the workers: takes their dials, connects, and hands the socket to
 * the handshake. How a dial ends is told by handshaker_answer.c.
 */
#include <errno.h>
#include <unistd.h>

#include "hs/handshaker.h"

static int open_socket(const struct tl_addr *a) {
  return socket(a->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

/* At the bound a handshake gives way whose server has been silent for SILENT_MS, or which is not
 * done after LONG_MS: a stranger may choose whom we dial, and run servers that accept and say
 * nothing. A burst of dials to servers that answer evicts none. */
#define SILENT_MS 200u
#define LONG_MS 2000u

static bool gives_way(const struct tl_hs_conn *c, uint64_t now_ms) {
  const bool waits = c->in_flight && (c->state == TL_HS_CONNECTING || c->state == TL_HS_READING);
  return waits && (c->heard_ms + SILENT_MS <= now_ms || c->started_ms + LONG_MS <= now_ms);
}

static struct tl_hs_conn *find_slow(struct tl_handshaker *hk) {
  const uint64_t now_ms = tl_now_ms();
  struct tl_hs_conn *c;
  cds_list_for_each_entry(c, &hk->dials.conns, line_node) {
    if (gives_way(c, now_ms)) return c;
  }
  return NULL;
}

static bool make_room(struct tl_handshaker *hk) {
  struct tl_hs_conn *c = find_slow(hk);
  if (!c) return false;
  tl_count(&hk->th.counters, TL_C_HS_GAVE_WAY);
  tl_hs_line_leave(c); /* now, so that it is neither counted nor chosen again */
  tl_hk_conn_fail(c, TL_HS_TIMEOUT, "it gave way to newer ones because the server is slow");
  return true;
}

static void take_dial(struct tl_handshaker *hk, struct tl_dial *d) {
  if (hk->stopping) {
    tl_hk_dial_answer(hk, d, TL_ECLOSED);
    return;
  }
  if (hk->dials.n >= hk->view->conf->limits.max_handshakes && !make_room(hk)) {
    tl_hk_report_refused(&d->addr, "as many outgoing handshakes as max_handshakes are running");
    tl_hk_dial_answer(hk, d, TL_ELIMIT);
    return;
  }
  int fd = open_socket(&d->addr);
  struct tl_hs_conn *c = fd >= 0 ? tl_hk_conn_new(hk, fd, &d->addr) : NULL;
  if (!c) {
    tl_hk_report_refused(&d->addr, fd < 0 ? strerror(errno) : "out of memory");
    if (fd >= 0) close(fd);
    tl_hk_dial_answer(hk, d, TL_EIO);
    return;
  }
  atomic_fetch_add(&hk->th.rt->connections, 1);
  tl_hs_line_add(&hk->dials, c);
  c->heard_ms = c->started_ms;
  c->dial = d;
  c->outgoing = true;
  c->state = TL_HS_CONNECTING;
  tl_hk_timer_at(hk, &c->timer, c->started_ms + d->connect_timeout_ms);
  c->in_flight = true;
  struct io_uring_sqe *sqe = tl_ring_sqe(&hk->ring, &c->op);
  io_uring_prep_connect(sqe, fd, &c->peer.sa, tl_addr_len(&c->peer));
  io_uring_sqe_set_data(sqe, &c->op);
}

static void deliver_dial(void *reader, struct tl_mail *m) {
  take_dial(reader, (struct tl_dial *)m);
}

/* Unanswered: the worker's own deadline covers it. */
static void drop_dial(struct tl_mail *m) { tl_dial_free((struct tl_dial *)m); }

const struct tl_mail_kind tl_hk_dial_kind = {"dial", deliver_dial, drop_dial};
