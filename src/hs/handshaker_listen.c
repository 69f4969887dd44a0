/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accepting TLS connections: one socket per TLS listener and thread
 * (SO_REUSEPORT), the bound on connections, and what changes with a snapshot.
 *
 * Each listener has one accept in flight, not a multishot one: that would take
 * the whole backlog at once and run past the bounds, and next to a handshake the
 * cost of submitting an accept does not count.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "hs/handshaker.h"
#include "runtime/sources.h"
#include "tieline/container.h"
#include "tieline/listen.h"
#include "tieline/log_limit.h"

#define RETRY_MS 100

static struct tl_hs_listener *of_op(struct tl_op *op) {
  return tl_container_of(op, struct tl_hs_listener, op);
}

static void arm_accept(struct tl_hs_listener *l) {
  struct tl_handshaker *hk = l->hk;
  if (l->armed || l->gone) return;
  if (hk->waiting >= TL_HS_WAITING_MAX) {
    if (!l->paused) tl_count(&hk->th.counters, TL_C_HS_ACCEPT_PAUSED);
    l->paused = true;
    return;
  }
  l->paused = false;
  l->armed = true;
  struct io_uring_sqe *sqe = tl_ring_sqe(&hk->ring, &l->op);
  io_uring_prep_accept(sqe, l->fd, NULL, NULL, SOCK_CLOEXEC);
  io_uring_sqe_set_data(sqe, &l->op);
}

void tl_hk_listeners_resume(struct tl_handshaker *hk) {
  for (struct tl_hs_listener *l = hk->listeners; l; l = l->next)
    if (l->paused) arm_accept(l);
}

static void listener_free(struct tl_handshaker *hk, struct tl_hs_listener *l) {
  struct tl_hs_listener **p = &hk->listeners;
  while (*p != l) p = &(*p)->next;
  *p = l->next;
  tl_timer_stop(&hk->wheel, &l->retry);
  close(l->fd);
  free(l);
}

static void refuse_socket(struct tl_handshaker *hk, const struct tl_addr *peer, int fd,
                          enum tl_counter id, const char *why) {
  tl_count(&hk->th.counters, id);
  tl_hk_report_refused(peer, why);
  atomic_fetch_sub(&hk->th.rt->connections, 1);
  close(fd);
}

static void take_socket(struct tl_hs_listener *l, int fd) {
  struct tl_handshaker *hk = l->hk;
  struct tl_addr peer;
  socklen_t len = sizeof(peer);
  memset(&peer, 0, sizeof(peer));
  tl_count(&hk->th.counters, TL_C_CONN_ACCEPTED);
  if (getpeername(fd, &peer.sa, &len) != 0) { /* reset before it was accepted */
    close(fd);
    return;
  }
  /* At the bound a client that has said nothing makes room, see handshaker_hello.c. */
  const uint32_t now = atomic_fetch_add(&hk->th.rt->connections, 1);
  if (!tl_conn_room(hk->view, now, &peer) && !tl_hk_hello_give_way(hk)) {
    refuse_socket(hk, &peer, fd, TL_C_CONN_REFUSED, "max_connections is reached");
    return;
  }
  if (tl_conn_source_enter(hk->view, &peer)) {
    refuse_socket(hk, &peer, fd, TL_C_CONN_REFUSED_SOURCE, "max_connections_source is reached");
    return;
  }
  struct tl_hs_conn *c = tl_hk_conn_new(hk, fd, &peer);
  if (!c) {
    tl_conn_source_leave(&peer);
    refuse_socket(hk, &peer, fd, TL_C_HS_FAIL_INTERNAL, "out of memory");
    return;
  }
  c->listener = l->index;
  tl_hk_conn_prepare(c);
  tl_hk_hello_begin(c);
}

/* Only this connection is lost, or a half-open one made room: the listener itself is fine. */
static bool lost_one(struct tl_handshaker *hk, int res) {
  if (res == -EMFILE || res == -ENFILE) return tl_hk_hello_give_way(hk);
  return res == -EINTR || res == -ECONNABORTED || res == -EAGAIN || res == -EPROTO;
}

static void on_accept(struct tl_op *op, int res, uint32_t flags) {
  (void)flags;
  struct tl_hs_listener *l = of_op(op);
  l->armed = false;
  if (res >= 0) {
    if (l->gone)
      close(res);
    else
      take_socket(l, res);
  }
  if (l->gone) {
    listener_free(l->hk, l);
  } else if (res >= 0 || lost_one(l->hk, res)) {
    arm_accept(l);
  } else {
    TL_LOG_FROM(NULL, NULL, TL_LOG_ERROR, "A listener cannot accept and tries again soon.",
                TL_FC("listen", l->hk->view->conf->listen[l->index].name),
                TL_FC("cause", strerror(-res)));
    tl_hk_timer_at(l->hk, &l->retry, tl_now_ms() + RETRY_MS);
  }
}

static void on_retry(struct tl_timer *t, void *arg) {
  (void)arg;
  arm_accept(tl_container_of(t, struct tl_hs_listener, retry));
}

static int open_one(struct tl_handshaker *hk, int index, char *err, size_t cap) {
  struct tl_hs_listener *l = calloc(1, sizeof(*l));
  if (!l) return TL_ENOMEM;
  l->addr = hk->view->conf->listen[index].addr;
  l->transport = hk->view->conf->listen[index].transport;
  l->fd = tl_listen_socket(&l->addr, l->transport, err, cap);
  if (l->fd < 0) {
    int rc = l->fd;
    free(l);
    return rc;
  }
  l->hk = hk;
  l->index = index;
  l->op.fn = on_accept;
  l->retry.fn = on_retry;
  l->next = hk->listeners;
  hk->listeners = l;
  arm_accept(l);
  return TL_OK;
}

static struct tl_hs_listener *listening_on(struct tl_handshaker *hk, const struct tl_addr *a) {
  for (struct tl_hs_listener *l = hk->listeners; l; l = l->next)
    if (!l->gone && tl_addr_eq(&l->addr, a)) return l;
  return NULL;
}

int tl_hk_listeners_open(struct tl_handshaker *hk, char *err, size_t cap) {
  int rc = TL_OK;
  for (size_t i = 0; i < hk->view->conf->n_listen && rc == 0; i++) {
    const struct tl_conf_listen *cl = &hk->view->conf->listen[i];
    if (tl_transport_is_secure(cl->transport) && !listening_on(hk, &cl->addr))
      rc = open_one(hk, (int)i, err, cap);
  }
  return rc;
}

static void close_one(struct tl_handshaker *hk, struct tl_hs_listener *l) {
  if (l->gone) return;
  l->gone = true;
  if (l->armed)
    tl_ring_cancel(&hk->ring, &l->op);
  else
    listener_free(hk, l);
}

void tl_hk_listeners_close(struct tl_handshaker *hk) {
  for (struct tl_hs_listener *l = hk->listeners, *next; l; l = next) {
    next = l->next;
    close_one(hk, l);
  }
}

void tl_hk_listeners_change(struct tl_handshaker *hk) {
  for (struct tl_hs_listener *l = hk->listeners, *next; l; l = next) {
    next = l->next;
    l->index = tl_conf_listener_at(hk->view->conf, l->transport, &l->addr);
    if (l->index < 0)
      close_one(hk, l);
    else if (l->paused)
      arm_accept(l);
  }
  if (hk->draining) return;
  for (size_t i = 0; i < hk->view->conf->n_listen; i++) {
    const struct tl_conf_listen *cl = &hk->view->conf->listen[i];
    char err[256] = "out of memory";
    if (!tl_transport_is_secure(cl->transport) || listening_on(hk, &cl->addr)) continue;
    if (open_one(hk, (int)i, err, sizeof(err)))
      TL_LOG(TL_LOG_ERROR, "A listener of the new configuration could not be opened.",
             TL_FC("listen", cl->name), TL_FC("cause", err));
  }
}
