/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending: messages are written into the connection's chunks, and at the end of
 * the turn everything leaves in one send. One send is in flight at a time, so
 * order holds and a short send needs nothing but another (KTLS-FACTS 24, 25).
 *
 * With user-space records a record stays open in the tail chunk, its header room
 * left free, and is sealed in place when it is full or the turn ends. Nothing
 * here decides what to send.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "net_internal.h"
#include "tieline/container.h"
#include "tieline/edit.h"

static struct tl_chunk *chunk_new(struct tl_net *n) {
  struct tl_chunk *k = tl_pool_get(&n->chunks);
  if (!k) return NULL;
  k->next = NULL;
  k->data = k->mem;
  k->start = k->end = 0;
  k->buf = -1;
  k->kernel = NULL;
  return k;
}

static void chunk_free(struct tl_net *n, struct tl_chunk *k) {
  if (k->buf < 0) {
    tl_pool_put(&n->chunks, k);
    return;
  }
  if (k->kernel)
    tl_kernel_body_put(k->kernel);
  else
    tl_bufs_put(&n->bufs, (uint16_t)k->buf);
  tl_pool_put(&n->refs, k);
}

static void append_chunk(struct tl_out *o, struct tl_chunk *k) {
  if (o->tail)
    o->tail->next = k;
  else
    o->head = k;
  o->tail = k;
}

static void count_queued(struct tl_conn *c, uint32_t bytes) {
  c->kept.out.bytes += bytes;
  tl_count_add(c->net->counters, TL_C_SENDQ_BYTES, bytes);
}

static int seal_open(struct tl_conn *c) {
  struct tl_out *o = &c->kept.out;
  if (!o->open_rec) return TL_OK;
  struct tl_chunk *k = o->tail;
  size_t len;
  int rc = tl_record_seal(c->kept.tls->record, TL_CT_DATA, k->mem + k->end, o->open_rec, &len);
  if (rc) return rc;
  count_queued(c, (uint32_t)len - o->open_rec);
  k->end += (uint32_t)len;
  o->open_rec = 0;
  tl_count(c->net->counters, TL_C_REC_OUT);
  return TL_OK;
}

/* Plaintext bytes that still fit into the tail chunk in one piece. */
static uint32_t room_left(const struct tl_conn *c) {
  const struct tl_out *o = &c->kept.out;
  const struct tl_chunk *k = o->tail;
  if (!k || k->buf >= 0) return 0;
  uint32_t left = TL_CHUNK_CAP - k->end;
  if (!tl_conn_user_tls(c)) return left;
  uint32_t overhead =
      tl_record_head(c->kept.tls->record) + tl_record_tail(c->kept.tls->record) + o->open_rec;
  uint32_t plain = tl_record_max_plain(c->kept.tls->record) - o->open_rec;
  left = left > overhead ? left - overhead : 0;
  return left < plain ? left : plain;
}

static uint32_t room_of_new(const struct tl_conn *c) {
  return tl_conn_user_tls(c) ? tl_record_max_plain(c->kept.tls->record) : TL_CHUNK_CAP;
}

/* Makes room for at least WANT bytes in one piece: a new record in this chunk, or a new chunk. */
static int make_room(struct tl_conn *c, uint32_t want) {
  if (room_left(c) >= want) return TL_OK;
  int rc = seal_open(c);
  if (rc) return rc;
  if (room_left(c) >= want) return TL_OK;
  struct tl_chunk *k = chunk_new(c->net);
  if (!k) return TL_ENOMEM;
  append_chunk(&c->kept.out, k);
  return TL_OK;
}

static uint8_t *tail_at(struct tl_conn *c) {
  struct tl_chunk *k = c->kept.out.tail;
  uint32_t at = k->end;
  if (tl_conn_user_tls(c)) at += tl_record_head(c->kept.tls->record) + c->kept.out.open_rec;
  return k->mem + at;
}

static void commit_bytes(struct tl_conn *c, uint32_t n) {
  if (tl_conn_user_tls(c))
    c->kept.out.open_rec += n;
  else
    c->kept.out.tail->end += n;
  count_queued(c, n);
}

static int write_bytes(struct tl_conn *c, const uint8_t *p, size_t n) {
  while (n) {
    int rc = make_room(c, 1);
    if (rc) return rc;
    uint32_t k = room_left(c);
    if (k > n) k = (uint32_t)n;
    memcpy(tail_at(c), p, k);
    commit_bytes(c, k);
    p += k;
    n -= k;
  }
  return TL_OK;
}

/* Seals SRC straight into chunks: encryption is the only time these bytes move. */
static int write_sealed(struct tl_conn *c, uint8_t type, const uint8_t *src, size_t n) {
  struct tl_record *r = c->kept.tls->record;
  int rc = seal_open(c);
  while (n && rc == TL_OK) {
    uint32_t k = tl_record_max_plain(r);
    if (k > n) k = (uint32_t)n;
    rc = make_room(c, k);
    if (rc) break;
    struct tl_chunk *t = c->kept.out.tail;
    size_t len;
    rc = tl_record_seal_from(r, type, src, k, t->mem + t->end, &len);
    if (rc) break;
    t->end += (uint32_t)len;
    count_queued(c, (uint32_t)len);
    tl_count(c->net->counters, TL_C_REC_OUT);
    src += k;
    n -= k;
  }
  return rc;
}

/* Queues N bytes that lie elsewhere; whoever holds them is to hold them until they have left. */
static struct tl_chunk *write_elsewhere(struct tl_conn *c, uint32_t n, int32_t buf) {
  struct tl_chunk *k = tl_pool_get(&c->net->refs);
  if (!k) return NULL;
  *k = (struct tl_chunk){.end = n, .buf = buf};
  append_chunk(&c->kept.out, k);
  count_queued(c, n);
  return k;
}

static int write_ref(struct tl_conn *c, const uint8_t *p, uint32_t n, uint16_t buf) {
  struct tl_chunk *k = write_elsewhere(c, n, buf);
  if (!k) return TL_ENOMEM;
  k->data = p;
  tl_bufs_hold(&c->net->bufs, buf);
  return TL_OK;
}

/* With records of ours its bytes come to user space after all, to be sealed. */
static int write_kernel_read(struct tl_conn *c, struct tl_kernel_body *kernel) {
  uint32_t len = tl_kernel_body_len(kernel);
  tl_count(c->net->counters, TL_C_SPLICE_OFF_TARGET);
  int rc = tl_kernel_body_settle(kernel);
  for (uint32_t at = 0; at < len && rc == TL_OK;) {
    rc = make_room(c, 1);
    if (rc) break;
    uint32_t k = room_left(c);
    if (k > len - at) k = len - at;
    rc = tl_kernel_body_read(kernel, at, tail_at(c), k);
    if (rc == TL_OK) commit_bytes(c, k);
    at += k;
  }
  return rc;
}

static int write_kernel(struct tl_conn *c, struct tl_kernel_body *kernel) {
  if (tl_conn_user_tls(c)) return write_kernel_read(c, kernel);
  struct tl_chunk *k = write_elsewhere(c, tl_kernel_body_len(kernel), TL_BUF_KERNEL);
  if (!k) return TL_ENOMEM;
  k->kernel = tl_kernel_body_hold(kernel);
  c->kept.out.n_kernel++;
  tl_kernel_body_give(kernel);
  return TL_OK;
}

static int write_body(struct tl_conn *c, const struct tl_body *b) {
  int rc = TL_OK;
  uint32_t threshold = c->net->view->conf->limits.zero_copy_body;
  for (uint32_t i = 0; i < b->n && rc == TL_OK; i++) {
    bool large = b->seg[i].n >= threshold;
    if (large && tl_conn_user_tls(c))
      rc = write_sealed(c, TL_CT_DATA, b->seg[i].p, b->seg[i].n);
    else if (large && b->seg[i].buf >= 0 && !tl_net_crowded(c->net))
      rc = write_ref(c, b->seg[i].p, b->seg[i].n, (uint16_t)b->seg[i].buf);
    else
      rc = write_bytes(c, b->seg[i].p, b->seg[i].n);
  }
  return rc || !b->kernel ? rc : write_kernel(c, b->kernel);
}

/* What is queued for one connection may be this many times send_buffer in all. */
#define BURST_FACTOR 8u

/* Room for a message of LEN bytes that waits for the connection, to be filled and added. */
static struct tl_pending *pend_new(const struct tl_conn *c, size_t len) {
  const struct tl_conf_limits *lim = &c->net->view->conf->limits;
  if (c->n_pend >= lim->connect_queue || c->pend_bytes / BURST_FACTOR > lim->send_buffer)
    return NULL;
  struct tl_pending *p = malloc(sizeof(*p) + len);
  if (!p) return NULL;
  p->next = NULL;
  p->len = (uint32_t)len;
  return p;
}

static void pend_add(struct tl_conn *c, struct tl_pending *p) {
  c->pend_bytes += p->len;
  *c->pend_tail = p;
  c->pend_tail = &p->next;
  c->n_pend++;
  tl_count(c->net->counters, TL_C_WAIT_DIAL);
}

static int pend_edit(struct tl_conn *c, const struct tl_edit *e, const struct tl_body *b,
                     size_t len) {
  struct tl_pending *p = pend_new(c, len);
  if (!p) return TL_ELIMIT;
  int rc = tl_body_copy(p->data + tl_edit_write(e, p->data), b);
  if (rc)
    free(p);
  else
    pend_add(c, p);
  return rc;
}

/* Messages leave whole, so no stream feeds exactly one other: pausing another peer's stream because
 * this one reads slowly would stop a third party's messages. We stop reading only from a
 * peer that does not read the answers to its own requests. Beyond send_buffer, messages for C are
 * refused, except in a burst of at most BURST_MS and BURST_FACTOR times as much. */
#define BURST_MS 2000u
/* Once a worker's connections hold CROWD_BYTES together, each whose queue has not been empty for
 * CROWD_MS gets only 1 / CROWD_SHARE of send_buffer: many slow readers are bounded like one. */
#define CROWD_BYTES ((uint64_t)128 << 20)
#define CROWD_MS 1000u
#define CROWD_SHARE 16u

static bool over_limit(struct tl_conn *c) {
  struct tl_out *o = &c->kept.out;
  const uint32_t limit = c->net->view->conf->limits.send_buffer;
  const uint64_t now = c->net->now_ms;
  if (o->bytes > limit / CROWD_SHARE && o->queued_ms && now - o->queued_ms > CROWD_MS &&
      tl_count_get(c->net->counters, TL_C_SENDQ_BYTES) > CROWD_BYTES)
    return true;
  if (o->bytes <= limit) return false;
  if (!o->over_ms) o->over_ms = now;
  return o->bytes / BURST_FACTOR > limit || now - o->over_ms >= BURST_MS;
}

static int admit_message(struct tl_conn *c, bool response) {
  if (c->view.state != TL_CONN_OPEN || c->tx.broken) return TL_ECLOSED;
  if (over_limit(c)) {
    tl_count(c->net->counters, TL_C_DROP_QUEUE_FULL);
    if (response)
      tl_conn_slow(c); /* the client would wait for it in vain */
    else
      tl_slow_log_refused(c);
    return TL_ELIMIT;
  }
  if (c->net->feeder == c && c->kept.out.bytes > c->net->view->conf->limits.send_buffer)
    tl_conn_pause(c);
  return TL_OK;
}

static void count_sent(struct tl_conn *c, size_t n) {
  struct tl_counters *k = c->net->counters;
  c->kept.msgs_out++;
  c->kept.bytes_out += n;
  tl_count(k, tl_transports[c->view.transport].messages_out);
  tl_count_add(k, tl_transports[c->view.transport].bytes_out, n);
  if (c->kept.tls && !c->kept.tls->record) tl_count_add(k, TL_C_KREC_BYTES_OUT, n);
  tl_conn_mark(c);
}

/* Half a message would corrupt the stream: the connection cannot go on. It ends with the turn,
 * because the caller may hold pointers that its end would free. */
static int mark_broken(struct tl_conn *c, int rc) {
  c->tx.broken = c->view.doomed = true;
  c->tx.no_memory = rc == TL_ENOMEM;
  tl_conn_mark(c);
  return rc;
}

/* What the framer puts in front of a message of LEN bytes. */
static int write_frame_head(struct tl_conn *c, size_t len) {
  uint8_t head[TL_FRAME_HEAD_MAX];
  return write_bytes(c, head, c->framer->head(c, len, head));
}

/* May a message of LEN bytes be sent now? Then its frame begins. */
static int begin_message(struct tl_conn *c, bool response, size_t len) {
  int rc = admit_message(c, response);
  if (rc || !c->framer->head) return rc;
  rc = write_frame_head(c, len);
  return rc ? mark_broken(c, rc) : TL_OK;
}

int tl_conn_send_edit(struct tl_conn *c, const struct tl_edit *e, const struct tl_body *b) {
  size_t head = tl_edit_len(e), len = head + (b ? b->len : 0);
  if (b && b->kernel && tl_kernel_body_gone(b->kernel)) return TL_EIO;
  if (c->view.state == TL_CONN_DIALING) return pend_edit(c, e, b, len);
  bool copy_body = !b || (!b->kernel && b->len < c->net->view->conf->limits.zero_copy_body);
  size_t first = copy_body ? len : head;
  bool in_one_piece = first <= room_of_new(c);
  if (!in_one_piece && head > c->net->scratch_cap) return TL_ELIMIT;
  int rc = begin_message(c, !e->msg->is_request, len);
  if (rc) return rc;
  if (in_one_piece) {
    rc = make_room(c, (uint32_t)first);
    if (rc) return mark_broken(c, rc);
    char *dst = (char *)tail_at(c);
    dst += tl_edit_write(e, dst);
    if (copy_body) tl_body_copy_pieces(dst, b);
    commit_bytes(c, (uint32_t)first);
    if (!copy_body) rc = write_body(c, b);
  } else {
    tl_edit_write(e, (char *)c->net->scratch);
    rc = write_bytes(c, c->net->scratch, head);
    if (rc == TL_OK && b) rc = write_body(c, b);
  }
  if (rc) return mark_broken(c, rc);
  count_sent(c, len);
  return TL_OK;
}

/* Sends what begin_message has admitted. */
static int send_admitted(struct tl_conn *c, const void *p, size_t n) {
  int rc = TL_OK;
  if (n <= room_of_new(c)) {
    rc = make_room(c, (uint32_t)n);
    if (rc) return mark_broken(c, rc);
    memcpy(tail_at(c), p, n);
    commit_bytes(c, (uint32_t)n);
  } else {
    rc = write_bytes(c, p, n);
    if (rc) return mark_broken(c, rc);
  }
  count_sent(c, n);
  return TL_OK;
}

int tl_conn_send(struct tl_conn *c, const void *p, size_t n) {
  if (c->view.state == TL_CONN_DIALING) {
    struct tl_pending *w = pend_new(c, n);
    if (!w) return TL_ELIMIT;
    memcpy(w->data, p, n);
    pend_add(c, w);
    return TL_OK;
  }
  int rc = begin_message(c, n > 4 && memcmp(p, "SIP/", 4) == 0, n);
  return rc ? rc : send_admitted(c, p, n);
}

int tl_send_unframed(struct tl_conn *c, const void *p, size_t n) {
  int rc = admit_message(c, false);
  return rc ? rc : send_admitted(c, p, n);
}

int tl_send_pending(struct tl_conn *c) {
  int rc = TL_OK;
  while (c->pend_head && rc == TL_OK) {
    struct tl_pending *p = c->pend_head;
    c->pend_head = p->next;
    c->n_pend--;
    c->pend_bytes -= p->len;
    tl_count_sub(c->net->counters, TL_C_WAIT_DIAL, 1);
    if (c->framer->head) rc = write_frame_head(c, p->len);
    if (rc == TL_OK) rc = write_bytes(c, (const uint8_t *)p->data, p->len);
    if (rc == TL_OK) count_sent(c, p->len);
    free(p);
  }
  if (!c->pend_head) c->pend_tail = &c->pend_head;
  return rc;
}

void tl_send_drop_pending(struct tl_conn *c) {
  while (c->pend_head) {
    struct tl_pending *p = c->pend_head;
    c->pend_head = p->next;
    free(p);
    tl_count_sub(c->net->counters, TL_C_WAIT_DIAL, 1);
  }
  c->n_pend = 0;
  c->pend_bytes = 0;
  c->pend_tail = &c->pend_head;
}

int tl_send_record(struct tl_conn *c, uint8_t type, const uint8_t *p, size_t n) {
  int rc = write_sealed(c, type, p, n);
  tl_conn_mark(c);
  return rc;
}

void tl_send_close_notify(struct tl_conn *c) {
  static const uint8_t close_notify[2] = {TL_ALERT_LEVEL_WARNING, TL_ALERT_CLOSE_NOTIFY};
  if (!c->kept.tls || c->tx.notify_sent) return;
  c->tx.notify_sent = true;
  if (c->kept.tls->record)
    tl_send_record(c, TL_CT_ALERT, close_notify, sizeof(close_notify));
  else
    tl_ktls_send_alert(c->kept.fd, TL_ALERT_LEVEL_WARNING, TL_ALERT_CLOSE_NOTIFY);
}

void tl_send_drop(struct tl_conn *c) {
  struct tl_out *o = &c->kept.out;
  while (o->head) {
    struct tl_chunk *k = o->head;
    o->head = k->next;
    chunk_free(c->net, k);
  }
  tl_count_sub(c->net->counters, TL_C_SENDQ_BYTES, o->bytes);
  memset(o, 0, sizeof(*o));
}

static void on_writable(struct tl_op *op, int res, uint32_t flags) {
  struct tl_conn *c = tl_container_of(op, struct tl_conn, send_op);
  (void)res;
  (void)flags;
  c->tx.busy = false;
  c->send_op.fn = tl_send_done;
  tl_conn_mark(c);
}

void tl_send_wait(struct tl_conn *c) {
  c->send_op.fn = on_writable;
  struct io_uring_sqe *sqe = tl_ring_sqe(&c->net->ring, &c->send_op);
  io_uring_prep_poll_add(sqe, c->kept.fd, POLLOUT);
  io_uring_sqe_set_data(sqe, &c->send_op);
  c->tx.busy = true;
}

/* Scratch headers are free again once submitted: the kernel has copied them by then. */
static struct tl_sendmsg *scratch_msg(struct tl_net *n) {
  if (n->send_scratch_n == TL_SEND_SCRATCH) {
    io_uring_submit(&n->ring.u);
    n->send_scratch_n = 0;
  }
  return &n->send_scratch[n->send_scratch_n++];
}

void tl_send_gather(const struct tl_out *o, struct tl_sendmsg *m) {
  memset(&m->msg, 0, sizeof(m->msg));
  m->msg.msg_iov = m->iov;
  for (const struct tl_chunk *k = o->head; k && !k->kernel && m->msg.msg_iovlen < TL_SEND_IOV;
       k = k->next) {
    if (k->start == k->end) continue;
    m->iov[m->msg.msg_iovlen].iov_base = (void *)(uintptr_t)(k->data + k->start);
    m->iov[m->msg.msg_iovlen++].iov_len = k->end - k->start;
  }
}

void tl_send_begun(struct tl_conn *c) {
  struct tl_out *o = &c->kept.out;
  if (!o->queued_ms) o->queued_ms = c->net->now_ms;
  c->progress_ms = c->net->now_ms; /* nothing was in flight: the peer's time starts now */
  c->overdue_ms = 0;
  tl_count(c->net->counters, TL_C_SENDS);
}

void tl_send_flush(struct tl_conn *c) {
  struct tl_out *o = &c->kept.out;
  if (c->tx.busy || o->bytes == 0 || c->view.state < TL_CONN_OPEN ||
      c->view.state == TL_CONN_CLOSING)
    return;
  if (seal_open(c)) {
    tl_conn_abort(c, TL_ELIMIT);
    return;
  }
  struct tl_chunk *k = o->head;
  struct io_uring_sqe *sqe;
  if (!k->next) {
    sqe = tl_ring_sqe(&c->net->ring, &c->send_op);
    io_uring_prep_send(sqe, c->kept.fd, k->data + k->start, k->end - k->start, MSG_NOSIGNAL);
  } else {
    struct tl_sendmsg *m = scratch_msg(c->net);
    tl_send_gather(o, m);
    sqe = tl_ring_sqe(&c->net->ring, &c->send_op);
    io_uring_prep_sendmsg(sqe, c->kept.fd, &m->msg, MSG_NOSIGNAL);
  }
  io_uring_sqe_set_data(sqe, &c->send_op);
  c->tx.busy = true;
  tl_send_begun(c);
}

static void consume_sent(struct tl_conn *c, uint32_t n) {
  struct tl_out *o = &c->kept.out;
  o->bytes -= n;
  o->taken += n;
  if (!o->bytes) o->queued_ms = 0;
  tl_count_sub(c->net->counters, TL_C_SENDQ_BYTES, n);
  while (o->head) {
    struct tl_chunk *k = o->head;
    uint32_t have = k->end - k->start;
    if (have > n) {
      k->start += n;
      return;
    }
    n -= have;
    k->start = k->end;
    if (k == o->tail && o->open_rec) return;
    o->head = k->next;
    if (!o->head) o->tail = NULL;
    if (k->kernel) o->n_kernel--;
    chunk_free(c->net, k);
  }
}

void tl_send_took(struct tl_conn *c, uint32_t n) {
  c->progress_ms = c->net->now_ms;
  consume_sent(c, n);
  if (c->kept.out.bytes > c->net->view->conf->limits.send_buffer / 2) return;
  c->kept.out.over_ms = 0;
  if (c->rx.paused) tl_conn_resume(c);
}

void tl_send_done(struct tl_op *op, int res, uint32_t flags) {
  (void)flags;
  struct tl_conn *c = tl_container_of(op, struct tl_conn, send_op);
  c->tx.busy = false;
  tl_conn_mark(c);
  if (c->view.state == TL_CONN_CLOSING) return;
  if (res == -EINTR || res == -EAGAIN) return;
  if (res <= 0) {
    tl_conn_abort(c, TL_EIO);
    return;
  }
  tl_send_took(c, (uint32_t)res);
}
