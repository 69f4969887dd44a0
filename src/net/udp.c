/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams: one socket per worker and UDP listener, multishot recvmsg in, one
 * sendmsg per message out. A datagram is one message (RFC 3261 18.3); bytes after
 * it are ignored.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net_internal.h"
#include "tieline/container.h"
#include "tieline/edit.h"
#include "tieline/listen.h"
#include "tieline/log_limit.h"

#define DGRAMS_MAX 8192u
#define DGRAM_SMALL 2048u
#define DGRAM_MAX 65507u

struct dgram {
  struct tl_op op;
  struct tl_net *net;
  struct msghdr msg;
  struct iovec iov;
  struct tl_addr addr;
  bool small;
  char data[];
};

int tl_udp_listener(const struct tl_net *n, const struct tl_udp *want) {
  for (const struct tl_udp *u = n->udps; u; u = u->next)
    if (u == want) return u->gone ? -1 : u->index;
  return -1;
}

struct tl_udp *tl_udp_of(const struct tl_net *n, int listener) {
  struct tl_udp *u = n->udps;
  while (u && (u->gone || u->index != listener)) u = u->next;
  return u;
}

static void arm_receive(struct tl_udp *u) {
  struct io_uring_sqe *sqe = tl_ring_sqe(&u->net->ring, &u->op);
  io_uring_prep_recvmsg_multishot(sqe, u->fd, &u->msg, 0);
  sqe->flags |= IOSQE_BUFFER_SELECT;
  sqe->buf_group = u->net->dgrams.group;
  io_uring_sqe_set_data(sqe, &u->op);
  u->armed = true;
}

static void udp_free(struct tl_udp *u) {
  struct tl_udp **p = &u->net->udps;
  while (*p != u) p = &(*p)->next;
  *p = u->next;
  close(u->fd);
  free(u);
}

static void refuse_datagram(struct tl_udp *u, const struct tl_flow *from,
                            const struct tl_scan_error *err) {
  struct tl_net *n = u->net;
  if (tl_msg_answerable(&n->msg)) {
    n->handler->bad(n, from, NULL, &n->msg, err);
    return;
  }
  char peer[TL_ADDR_STRLEN];
  tl_count(n->counters, TL_C_DROP_PARSE);
  TL_LOG_FROM(&from->addr, NULL, TL_LOG_DEBUG, "Dropped a datagram that is no SIP message.",
              TL_FC("peer", tl_addr_format(&from->addr, peer)), TL_FC("cause", err->reason));
}

static void handle_datagram(struct tl_udp *u, const struct tl_addr *from, uint8_t *p, size_t len) {
  struct tl_net *n = u->net;
  struct tl_flow flow = {.transport = TL_UDP, .udp = u, .addr = *from};
  struct tl_scan_error err = {400, "Bad Request"};
  while (len && (*p == '\r' || *p == '\n')) p++, len--;
  if (!len) { /* keep-alive: nothing to answer on UDP without STUN */
    tl_count(n->counters, TL_C_KEEPALIVE);
    return;
  }
  tl_count(n->counters, TL_C_MSG_IN_UDP);
  tl_count_add(n->counters, TL_C_BYTES_IN_UDP, len);
  int rc = tl_scan((char *)p, len, false, n->view->conf->limits.max_head, &n->msg, &err);
  if (rc == TL_EAGAIN) { /* no end of head: not a whole message */
    tl_count(n->counters, TL_C_DROP_PARSE);
    return;
  }
  if (rc) {
    refuse_datagram(u, &flow, &err);
    return;
  }
  n->body.n = n->msg.body_len ? 1 : 0;
  n->body.len = n->msg.body_len;
  n->body.kernel = NULL;
  n->body.seg[0].p = p + n->msg.head_len;
  n->body.seg[0].n = n->msg.body_len;
  n->body.seg[0].buf = -1;
  n->handler->message(n, &flow, NULL, &n->msg, &n->body);
}

static void on_datagram(struct tl_udp *u, uint8_t *buf, int res) {
  struct io_uring_recvmsg_out *o = io_uring_recvmsg_validate(buf, res, &u->msg);
  if (!o) return;
  struct tl_addr from;
  memset(&from, 0, sizeof(from));
  memcpy(&from, io_uring_recvmsg_name(o), o->namelen < sizeof(from) ? o->namelen : sizeof(from));
  if (o->flags & MSG_TRUNC) {
    tl_count(u->net->counters, TL_C_DROP_TRUNCATED);
    return;
  }
  handle_datagram(u, &from, io_uring_recvmsg_payload(o, &u->msg),
                  io_uring_recvmsg_payload_length(o, res, &u->msg));
}

static void on_received(struct tl_op *op, int res, uint32_t flags) {
  struct tl_udp *u = tl_container_of(op, struct tl_udp, op);
  tl_count(u->net->counters, TL_C_RECVS);
  if (!(flags & IORING_CQE_F_MORE)) u->armed = false;
  if (flags & IORING_CQE_F_BUFFER) {
    uint16_t id = tl_bufs_take(&u->net->dgrams, flags);
    if (res > 0 && !u->gone) on_datagram(u, tl_bufs_at(&u->net->dgrams, id), res);
    tl_bufs_put(&u->net->dgrams, id);
  }
  if (u->armed) return;
  if (u->gone)
    udp_free(u);
  else
    arm_receive(u); /* ECONNREFUSED from an earlier send, ENOBUFS: go on */
}

int tl_udp_open(struct tl_net *n, int index, char *err, size_t cap) {
  const struct tl_conf_listen *cl = &n->view->conf->listen[index];
  int rc = TL_OK;
  if (!n->dgrams.br) rc = tl_bufs_init(&n->dgrams, &n->ring, 2, 64, 65536 + 128);
  if (rc) {
    tl_ring_why(rc, err, cap);
    return rc;
  }
  struct tl_udp *u = calloc(1, sizeof(*u));
  if (!u) return TL_ENOMEM;
  u->fd = tl_listen_socket(&cl->addr, TL_UDP, err, cap);
  if (u->fd < 0) {
    rc = u->fd;
    free(u);
    return rc;
  }
  u->net = n;
  u->index = index;
  u->addr = cl->addr;
  u->op.fn = on_received;
  u->msg.msg_namelen = sizeof(struct sockaddr_in6);
  u->next = n->udps;
  n->udps = u;
  arm_receive(u);
  return TL_OK;
}

void tl_udp_close(struct tl_udp *u) {
  u->gone = true;
  if (u->armed)
    tl_ring_cancel(&u->net->ring, &u->op);
  else
    udp_free(u);
}

static void dgram_free(struct dgram *d) {
  struct tl_net *n = d->net;
  n->dgrams_out--;
  if (d->small)
    tl_pool_put(&n->dgram_small, d);
  else
    free(d);
}

static void dgram_sent(struct tl_op *op, int res, uint32_t flags) {
  struct dgram *d = tl_container_of(op, struct dgram, op);
  (void)flags;
  if (res < 0) tl_count(d->net->counters, TL_C_DROP_SEND);
  dgram_free(d);
}

/* A reload may have closed WANT since: it counts only if it is in the list. */
static struct tl_udp *socket_for(struct tl_net *n, const struct tl_udp *want,
                                 const struct tl_addr *addr) {
  struct tl_udp *same_family = NULL;
  for (struct tl_udp *u = n->udps; u; u = u->next) {
    if (u->gone || u->addr.sa.sa_family != addr->sa.sa_family) continue;
    if (u == want) return u;
    if (!same_family) same_family = u;
  }
  return same_family;
}

static struct dgram *dgram_new(struct tl_net *n, size_t len) {
  if (n->dgrams_out >= DGRAMS_MAX) {
    tl_count(n->counters, TL_C_DROP_QUEUE_FULL);
    return NULL;
  }
  bool small = sizeof(struct dgram) + len <= DGRAM_SMALL;
  struct dgram *d = small ? tl_pool_get(&n->dgram_small) : malloc(sizeof(*d) + len);
  if (!d) return NULL;
  memset(d, 0, sizeof(*d));
  d->small = small;
  d->net = n;
  d->op.fn = dgram_sent;
  d->iov = (struct iovec){d->data, len};
  n->dgrams_out++;
  return d;
}

static void submit_send(struct tl_udp *u, struct dgram *d, const struct tl_addr *addr) {
  struct tl_net *n = d->net;
  d->addr = *addr;
  d->msg.msg_name = &d->addr;
  d->msg.msg_namelen = tl_addr_len(addr);
  d->msg.msg_iov = &d->iov;
  d->msg.msg_iovlen = 1;
  struct io_uring_sqe *sqe = tl_ring_sqe(&n->ring, &d->op);
  io_uring_prep_sendmsg(sqe, u->fd, &d->msg, MSG_NOSIGNAL);
  io_uring_sqe_set_data(sqe, &d->op);
  tl_count(n->counters, TL_C_SENDS);
  tl_count(n->counters, TL_C_MSG_OUT_UDP);
  tl_count_add(n->counters, TL_C_BYTES_OUT_UDP, d->iov.iov_len);
}

int tl_udp_send(struct tl_net *n, struct tl_udp *u, const struct tl_addr *addr, const void *p,
                size_t len) {
  u = socket_for(n, u, addr);
  if (!u) return TL_ENOTFOUND;
  if (len > DGRAM_MAX) return TL_ELIMIT;
  struct dgram *d = dgram_new(n, len);
  if (!d) return TL_ELIMIT;
  memcpy(d->data, p, len);
  submit_send(u, d, addr);
  return TL_OK;
}

int tl_udp_send_edit(struct tl_net *n, struct tl_udp *u, const struct tl_addr *addr,
                     const struct tl_edit *e, const struct tl_body *body) {
  u = socket_for(n, u, addr);
  if (!u) return TL_ENOTFOUND;
  size_t len = tl_edit_len(e) + (body ? body->len : 0);
  if (len > DGRAM_MAX) return TL_EINVAL;
  struct dgram *d = dgram_new(n, len);
  if (!d) return TL_ELIMIT;
  int rc = tl_body_copy(d->data + tl_edit_write(e, d->data), body);
  if (rc == TL_OK)
    submit_send(u, d, addr);
  else
    dgram_free(d);
  return rc;
}
