/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP listeners: each worker has its own socket on every address (SO_REUSEPORT),
 * so the kernel spreads connections and no accept is shared. TLS listeners are
 * the handshake threads'.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net_internal.h"
#include "runtime/sources.h"
#include "tieline/container.h"
#include "tieline/listen.h"
#include "tieline/log_limit.h"

#define RETRY_MS 100u

static void arm_accept(struct tl_listener *l) {
  struct io_uring_sqe *sqe = tl_ring_sqe(&l->net->ring, &l->op);
  io_uring_prep_multishot_accept(sqe, l->fd, NULL, NULL, SOCK_CLOEXEC);
  io_uring_sqe_set_data(sqe, &l->op);
  l->armed = true;
}

static void source_is_full(struct tl_net *n, const struct tl_addr *peer) {
  char text[TL_ADDR_STRLEN];
  tl_count(n->counters, TL_C_CONN_REFUSED_SOURCE);
  TL_LOG_FROM(peer, NULL, TL_LOG_WARN, "A TCP connection was refused: its source has too many.",
              TL_FC("peer", tl_addr_format(peer, text)), TL_FC("bound", "max_connections_source"));
}

static void take_socket(struct tl_listener *l, int fd) {
  struct tl_net *n = l->net;
  struct tl_addr peer;
  socklen_t len = sizeof(peer);
  int one = 1;
  const uint32_t now = atomic_fetch_add(&n->rt->connections, 1);
  memset(&peer, 0, sizeof(peer));
  if (getpeername(fd, &peer.sa, &len)) goto refuse; /* gone already */
  if (!tl_conn_room(n->view, now, &peer)) {
    tl_count(n->counters, TL_C_CONN_REFUSED);
    goto refuse;
  }
  if (tl_conn_source_enter(n->view, &peer)) {
    source_is_full(n, &peer);
    goto refuse;
  }
  struct tl_conn *c = tl_conn_new(n, l->transport, &peer);
  if (!c) {
    tl_conn_source_leave(&peer);
    goto refuse;
  }
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  c->kept.fd = fd;
  c->life.counted = true;
  c->view.listener = l->index;
  tl_count(n->counters, TL_C_CONN_ACCEPTED);
  tl_conn_opened(c);
  return;
refuse:
  atomic_fetch_sub(&n->rt->connections, 1);
  close(fd);
}

static void listener_free(struct tl_listener *l) {
  struct tl_listener **p = &l->net->listeners;
  while (*p != l) p = &(*p)->next;
  *p = l->next;
  tl_timer_stop(&l->net->wheel, &l->retry);
  close(l->fd);
  free(l);
}

static void on_accept(struct tl_op *op, int res, uint32_t flags) {
  struct tl_listener *l = tl_container_of(op, struct tl_listener, op);
  if (!(flags & IORING_CQE_F_MORE)) l->armed = false;
  if (res >= 0) {
    if (l->gone || l->net->draining)
      close(res);
    else
      take_socket(l, res);
  }
  if (l->armed) return;
  if (l->gone)
    listener_free(l);
  else if (res >= 0 || res == -EINTR || res == -ECONNABORTED)
    arm_accept(l);
  else if (res != -ECANCELED)
    /* Out of descriptors or memory: the backlog waits, established connections go on. */
    tl_timer_start(&l->net->wheel, &l->retry, RETRY_MS);
}

static void on_retry(struct tl_timer *t, void *arg) {
  (void)arg;
  struct tl_listener *l = tl_container_of(t, struct tl_listener, retry);
  if (!l->armed && !l->gone) arm_accept(l);
}

int tl_accept_open(struct tl_net *n, int index, char *err, size_t cap) {
  const struct tl_conf_listen *cl = &n->view->conf->listen[index];
  struct tl_listener *l = calloc(1, sizeof(*l));
  if (!l) return TL_ENOMEM;
  l->fd = tl_listen_socket(&cl->addr, cl->transport, err, cap);
  if (l->fd < 0) {
    int rc = l->fd;
    free(l);
    return rc;
  }
  l->net = n;
  l->index = index;
  l->transport = cl->transport;
  l->addr = cl->addr;
  l->op.fn = on_accept;
  l->retry.fn = on_retry;
  l->next = n->listeners;
  n->listeners = l;
  arm_accept(l);
  return TL_OK;
}

void tl_accept_close(struct tl_listener *l) {
  l->gone = true;
  if (l->armed)
    tl_ring_cancel(&l->net->ring, &l->op);
  else
    listener_free(l);
}
