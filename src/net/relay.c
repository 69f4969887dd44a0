/* SPDX-License-Identifier: Apache-2.0 */
/*
 * body_relay = splice: large bodies pass from socket to socket within the kernel.
 *
 * A receive under way in the kernel takes whatever comes. So that it takes no body, a connection
 * whose bodies may stay is read by us, once poll says that there is something: the head, then the
 * body into a pipe. A message still leaves as a whole, when all of it is here. So order,
 * back-pressure and failover are as with any other message, and a sender that stops in the middle
 * of a body holds up nobody's connection but its own.
 *
 * Edge-triggered poll: on 6.1 a TLS socket with a part of a record claims to be readable
 * (KTLS-FACTS 32), and whoever waits by level turns in circles.
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "net_internal.h"
#include "tieline/container.h"

#define HEAD_BYTES 4096u    /* read where a head is expected: little of a body comes with it */
#define TCP_STEP 65536u     /* bytes of one splice; of TLS one record */
#define FLUSH_BYTES 262144u /* sent of one connection in a turn */

/* ---- receiving ---- */

/* What the record layer or TCP has, of whatever kind; false: nothing more for now. */
static bool read_bytes(struct tl_conn *c, uint8_t *buf, size_t cap) {
  if (c->kept.tls) return tl_recv_kernel_record(c, buf, cap) == TL_OK;
  ssize_t n = recv(c->kept.fd, buf, cap, MSG_DONTWAIT);
  if (n > 0) {
    tl_recv_plain(c, buf, (size_t)n, -1);
    return true;
  }
  if (n < 0 && errno == EINTR) return true;
  if (n == 0 || errno != EAGAIN) tl_recv_ended(c, n == 0 ? 0 : -errno);
  return false;
}

/* The same for a body of which LEFT bytes are to come. Where it ends otherwise than by its last
 * byte, an ordinary read tells the reason: a control record, the end of the stream, an error. */
static bool read_body(struct tl_conn *c, struct tl_kernel_body *k, uint32_t left, uint8_t *buf,
                      size_t cap) {
  const bool plain = !c->kept.tls;
  const uint32_t step = plain ? TCP_STEP : TL_RECORD_PLAIN_MAX;
  ssize_t n = tl_kernel_body_pull(k, c->kept.fd, left < step ? left : step, plain);
  if (n == -EAGAIN) return false;
  if (n == -ENOMEM) {
    tl_conn_abort(c, TL_ENOMEM);
    return false;
  }
  if (n <= 0) return read_bytes(c, buf, cap < left ? cap : left);
  if (!tl_recv_passed(c, (size_t)n)) return false;
  tl_big_took(c, (size_t)n);
  return true;
}

static bool goes_on(struct tl_conn *c) {
  return tl_conn_is_live(c) && !c->rx.paused && !c->rx.later && tl_big_may_stay(c);
}

static void read_all(struct tl_conn *c) {
  uint8_t buf[TL_RECORD_PLAIN_MAX];
  size_t cap = HEAD_BYTES;
  bool more = true;
  c->kept.active_ms = c->net->now_ms;
  c->net->feeder = c;
  while (more && goes_on(c)) {
    uint32_t left;
    struct tl_kernel_body *k = tl_big_kernel(c, &left);
    if (tl_recv_share_used(c, k ? TL_RECORD_PLAIN_MAX : cap)) break;
    const uint64_t before = c->kept.bytes_in;
    more = k ? read_body(c, k, left, buf, sizeof(buf)) : read_bytes(c, buf, cap);
    /* Many small messages are read at a time, but no body behind half a head. */
    cap = !k && c->kept.bytes_in - before >= cap ? sizeof(buf) : HEAD_BYTES;
  }
  c->net->feeder = NULL;
  tl_unfinished_note(c);
}

static void on_readable(struct tl_op *op, int res, uint32_t flags) {
  struct tl_conn *c = tl_container_of(op, struct tl_conn, recv_op);
  tl_count(c->net->counters, TL_C_RECVS);
  if (!(flags & IORING_CQE_F_MORE)) {
    c->rx.armed = c->rx.cancelled = false;
    tl_conn_mark(c);
  }
  if (res == -ECANCELED || c->view.state == TL_CONN_CLOSING) return;
  if (res < 0) {
    tl_conn_abort(c, TL_EIO);
  } else if (tl_big_may_stay(c)) {
    if (!c->kept.held.n) read_all(c);
  } else if (c->rx.armed && !c->rx.cancelled) {
    /* Its end is read by a receive; so is all of it after a reload that ended body_relay. */
    c->rx.cancelled = true;
    tl_ring_cancel(&c->net->ring, &c->recv_op);
  }
}

void tl_relay_arm(struct tl_conn *c) {
  if (!tl_big_may_stay(c)) {
    tl_recv_arm(c);
    return;
  }
  if (!tl_recv_wanted(c)) return;
  c->recv_op.fn = on_readable;
  struct io_uring_sqe *sqe = tl_ring_sqe(&c->net->ring, &c->recv_op);
  io_uring_prep_poll_multishot(sqe, c->kept.fd, POLLIN | POLLRDHUP);
  io_uring_sqe_set_data(sqe, &c->recv_op);
  c->rx.armed = c->rx.polled = true;
}

/* ---- sending ---- */

/* Memory up to the next body in the kernel, which joins its last record. */
static ssize_t send_pieces(struct tl_conn *c) {
  struct tl_sendmsg m;
  tl_send_gather(&c->kept.out, &m);
  if (!m.msg.msg_iovlen) return 0;
  const int more = c->kept.out.n_kernel ? MSG_MORE : 0;
  ssize_t n = sendmsg(c->kept.fd, &m.msg, MSG_DONTWAIT | MSG_NOSIGNAL | more);
  return n < 0 ? -errno : n;
}

static ssize_t send_body(struct tl_conn *c, struct tl_chunk *k, uint32_t max) {
  const uint32_t left = k->end - k->start;
  const bool in_file = tl_kernel_body_in_file(k->kernel);
  if (c->kept.tls && !c->tx.zerocopy) {
    tl_ktls_set_zerocopy(c->kept.fd);
    c->tx.zerocopy = true;
  }
  ssize_t n =
      tl_kernel_body_push(k->kernel, k->start, left < max ? left : max, c->kept.fd, left > max);
  if (n > 0)
    tl_count_add(c->net->counters, in_file ? TL_C_BYTES_SENDFILE : TL_C_BYTES_SPLICED, (uint64_t)n);
  return n == 0 ? -EIO : n;
}

/* Pieces and bodies in their order, as far as the socket takes them and the turn allows. */
static void flush_mixed(struct tl_conn *c) {
  struct tl_out *o = &c->kept.out;
  uint32_t budget = FLUSH_BYTES;
  ssize_t n = 0;
  tl_send_begun(c);
  while (o->bytes && budget && n >= 0) {
    n = o->head->kernel ? send_body(c, o->head, budget) : send_pieces(c);
    if (n < 0) continue;
    tl_send_took(c, (uint32_t)n);
    budget -= n < budget ? (uint32_t)n : budget;
  }
  if (n < 0 && n != -EAGAIN && n != -EINTR)
    tl_conn_abort(c, TL_EIO);
  else if (o->bytes)
    tl_send_wait(c);
}

void tl_relay_flush(struct tl_conn *c) {
  if (!c->kept.out.n_kernel)
    tl_send_flush(c);
  else if (!c->tx.busy && (c->view.state == TL_CONN_OPEN || c->view.state == TL_CONN_FINISHING))
    flush_mixed(c);
}
