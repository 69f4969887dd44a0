/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Outgoing TLS for the workers: connects, hands the socket to the handshake, and
 * makes sure that every dial gets exactly one answer. An answer that finds the
 * worker's mailbox full waits here; there are never more of them than dials.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/handshaker.h"
#include "tieline/container.h"
#include "tieline/log.h"

#define RETRY_MS 10

/* Retries the waiting answers from the front, so that each worker gets its answers in order. */
void tl_hk_retry(struct tl_timer *t, void *arg) {
  (void)arg;
  struct tl_handshaker *hk = tl_container_of(t, struct tl_handshaker, retry);
  struct tl_handoff *h = hk->unanswered;
  hk->unanswered = NULL;
  while (h) {
    struct tl_handoff *next = (struct tl_handoff *)h->mail.next;
    tl_hk_post_answer(hk, h, (unsigned)h->listener);
    h = next;
  }
}

void tl_hk_post_answer(struct tl_handshaker *hk, struct tl_handoff *h, unsigned worker) {
  h->listener = -1;
  if (tl_handoff_post(hk->th.rt->worker[worker], h) == 0) return;
  tl_count(&hk->th.counters, TL_C_MAIL_FULL);
  h->listener = (int)worker; /* unused in an answer, so it holds the worker meanwhile */
  struct tl_handoff **p = &hk->unanswered;
  while (*p) p = (struct tl_handoff **)&(*p)->mail.next;
  h->mail.next = NULL;
  *p = h;
  if (!tl_timer_running(&hk->retry)) tl_hk_timer_at(hk, &hk->retry, tl_now_ms() + RETRY_MS);
}

void tl_hk_dial_answer(struct tl_handshaker *hk, struct tl_dial *d, int rc) {
  struct tl_handoff *h = calloc(1, sizeof(*h));
  if (h) {
    h->rt = hk->th.rt;
    h->rc = rc ? rc : TL_EIO;
    h->fd = -1;
    h->conn = d->conn;
    h->peer = d->addr;
    tl_count(&hk->th.counters, TL_C_CONN_DIAL_FAILED);
    tl_hk_post_answer(hk, h, d->worker);
  } else {
    TL_LOG(TL_LOG_ERROR, "Out of memory: a failed dial could not be reported to its worker.",
           TL_FI("worker", d->worker)); /* whose own deadline covers it */
  }
  tl_dial_free(d);
}

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

static bool make_room(struct tl_handshaker *hk) {
  const uint64_t now_ms = tl_now_ms();
  struct tl_hs_conn *c = hk->dials.first;
  while (c && !gives_way(c, now_ms)) c = c->line_next;
  if (!c) return false;
  tl_count(&hk->th.counters, TL_C_HS_GAVE_WAY);
  tl_hs_line_leave(c); /* now, so that it is neither counted nor chosen again */
  tl_hk_conn_fail(c, TL_HS_TIMEOUT, "it gave way to newer ones because the server is slow");
  return true;
}

void tl_hk_dial(struct tl_handshaker *hk, struct tl_dial *d) {
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
