/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One handshake on a socket: reads exactly one record at a time, so that data
 * after the handshake stays in the kernel for the holder of the keys
 * (KTLS-FACTS 7), and sends what OpenSSL produces. One deadline, counted from accept
 * or connect and never extended. Success goes on in handshaker_done.c.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "hs/handshaker.h"
#include "runtime/sources.h"
#include "tieline/container.h"
#include "tieline/keylog.h"

#define FAREWELL_MS 1000u /* for a last alert, however much of the deadline is left */
#define DISCARD_MAX 65536
#define RECORD_MIN 512 /* most records of a handshake need no more */

static struct tl_hs_conn *of_op(struct tl_op *op) {
  return tl_container_of(op, struct tl_hs_conn, op);
}

static void on_deadline(struct tl_timer *t, void *arg) {
  (void)arg;
  struct tl_hs_conn *c = tl_container_of(t, struct tl_hs_conn, timer);
  const char *what = "the handshake was not finished in time";
  if (c->state == TL_HS_CONNECTING) what = "the connection was not established in time";
  if (c->state == TL_HS_HELLO) what = "no complete ClientHello came in time";
  if (c->state == TL_HS_WAITING) what = "too many handshakes were before it";
  int cause = c->state == TL_HS_CONNECTING ? TL_HS_CONNECT : TL_HS_TIMEOUT;
  if (c->state != TL_HS_CLOSING)
    tl_hk_conn_fail(c, cause, what);
  else
    tl_hk_conn_abort(c);
}

static void on_done(struct tl_op *op, int res, uint32_t flags);

struct tl_hs_conn *tl_hk_conn_new(struct tl_handshaker *hk, int fd, const struct tl_addr *peer) {
  struct tl_hs_conn *c = calloc(1, sizeof(*c));
  if (!c) return NULL;
  c->hk = hk;
  c->fd = fd;
  c->peer = *peer;
  tl_addr_source_prefix(peer, &c->source);
  c->listener = -1;
  c->started_ms = tl_now_ms();
  c->op.fn = on_done;
  c->timer.fn = on_deadline;
  c->conf = tl_conf_ref(hk->view->conf);
  c->failure.alert_sent = c->failure.alert_received = 0xff;
  cds_list_add(&c->node, &hk->conns);
  tl_count_add(&hk->th.counters, TL_C_HS_NOW, 1);
  return c;
}

void tl_hk_conn_free(struct tl_hs_conn *c, int rc) {
  struct tl_handshaker *hk = c->hk;
  tl_timer_stop(&hk->wheel, &c->timer);
  cds_list_del(&c->node);
  tl_count_sub(&hk->th.counters, TL_C_HS_NOW, 1);
  if (c->fd >= 0) {
    close(c->fd);
    atomic_fetch_sub(&hk->th.rt->connections, 1);
    if (!c->outgoing) tl_conn_source_leave(&c->peer);
  }
  if (c->outgoing)
    tl_hs_line_leave(c);
  else
    tl_hk_turn_leave(c);
  if (c->dial) tl_hk_dial_answer(hk, c->dial, rc);
  tl_hs_free(c->hs);
  tl_conf_unref(c->conf);
  free(c->rec);
  free(c);
}

/* ---- operations ---- */

static struct io_uring_sqe *sqe_for(struct tl_hs_conn *c) {
  c->in_flight = true;
  return tl_ring_sqe(&c->hk->ring, &c->op);
}

static void submit_recv(struct tl_hs_conn *c) {
  struct io_uring_sqe *sqe = sqe_for(c);
  io_uring_prep_recv(sqe, c->fd, c->rec + c->have, c->want - c->have, MSG_WAITALL);
  io_uring_sqe_set_data(sqe, &c->op);
}

static void submit_send(struct tl_hs_conn *c) {
  struct io_uring_sqe *sqe = sqe_for(c);
  io_uring_prep_send(sqe, c->fd, c->out, c->out_n, MSG_NOSIGNAL);
  io_uring_sqe_set_data(sqe, &c->op);
}

static int reserve_record(struct tl_hs_conn *c, size_t n) {
  if (n <= c->rec_cap) return TL_OK;
  uint8_t *p = realloc(c->rec, n);
  if (!p) return TL_ENOMEM;
  c->rec = p;
  c->rec_cap = n;
  return TL_OK;
}

int tl_hk_conn_receive(struct tl_hs_conn *c, size_t want) {
  if (reserve_record(c, want < RECORD_MIN ? RECORD_MIN : want)) return TL_ENOMEM;
  c->want = want;
  submit_recv(c);
  return TL_OK;
}

static void receive_or_fail(struct tl_hs_conn *c, size_t want) {
  if (tl_hk_conn_receive(c, want)) tl_hk_conn_fail(c, TL_HS_INTERNAL, "out of memory");
}

static void read_header(struct tl_hs_conn *c) {
  c->state = TL_HS_READING;
  c->have = 0;
  receive_or_fail(c, TL_RECORD_HEADER);
}

/* ---- ends ---- */

static int rc_of(const struct tl_hs_conn *c) {
  switch (c->failure.cause) {
  case TL_HS_OK: return TL_ECLOSED;
  case TL_HS_TIMEOUT: return TL_ETIMEOUT;
  case TL_HS_VERIFY:
  case TL_HS_NAME: return TL_EVERIFY;
  case TL_HS_CLOSED: return TL_ECLOSED;
  case TL_HS_CONNECT: return TL_EIO;
  default: return TL_ETLS;
  }
}

/* Unread bytes in the queue would turn the close into a reset, and the alert would be lost. */
static void discard_unread(struct tl_hs_conn *c) {
  uint8_t buf[4096], type;
  size_t n;
  shutdown(c->fd, SHUT_WR);
  for (size_t total = 0; total < DISCARD_MAX; total += n)
    if (tl_ktls_recv(c->fd, buf, sizeof(buf), &type, &n)) return;
}

void tl_hk_conn_abort(struct tl_hs_conn *c) {
  c->dead = true;
  tl_timer_stop(&c->hk->wheel, &c->timer);
  if (c->in_flight)
    tl_ring_cancel(&c->hk->ring, &c->op);
  else
    tl_hk_conn_free(c, rc_of(c));
}

/* The last alert, if OpenSSL left one; then the end. */
static void send_last_alert(struct tl_hs_conn *c) {
  c->state = TL_HS_CLOSING;
  c->out = c->hs ? tl_hs_output(c->hs, &c->out_n) : NULL;
  if (!c->out || c->out_n == 0) {
    if (c->told) discard_unread(c);
    tl_hk_conn_free(c, rc_of(c));
    return;
  }
  tl_hk_timer_at(c->hk, &c->timer, tl_now_ms() + FAREWELL_MS);
  submit_send(c);
}

void tl_hk_conn_fail(struct tl_hs_conn *c, int cause, const char *reason) {
  if (c->hs) c->failure = *tl_hs_failure(c->hs);
  if (c->told) c->failure.alert_sent = TL_ALERT_INTERNAL_ERROR;
  if (reason) snprintf(c->failure.reason, sizeof(c->failure.reason), "%s", reason);
  c->failure.cause = cause;
  tl_hk_report_failure(c);
  if (c->in_flight || cause == TL_HS_TIMEOUT || cause == TL_HS_CONNECT)
    tl_hk_conn_abort(c);
  else
    send_last_alert(c);
}

static void closed_by_peer(struct tl_hs_conn *c, int res) {
  tl_hk_conn_fail(c, TL_HS_CLOSED,
                  res == 0 ? "the peer closed the connection in the handshake" : strerror(-res));
}

/* ---- steps ---- */

static void finish_handshake(struct tl_hs_conn *c) {
  const char *why;
  int cause = tl_hk_hand_over(c, &why);
  if (cause != TL_HS_OK)
    tl_hk_conn_fail(c, cause, why);
  else
    tl_hk_conn_free(c, 0);
}

static void next_step(struct tl_hs_conn *c) {
  if (c->step_rc == TL_EAGAIN)
    read_header(c);
  else if (c->step_rc == 0)
    finish_handshake(c);
  else
    tl_hk_conn_fail(c, (int)tl_hs_failure(c->hs)->cause, NULL);
}

/* The TLS domain chosen by the ClientHello may set another deadline, counted from the same start.
 */
static void keep_time(struct tl_hs_conn *c) {
  const struct tl_tls_domain *d = c->dial ? NULL : tl_hs_domain(c->hs);
  if (!d || c->timed) return;
  c->timed = true;
  if (d->policy.handshake_timeout_ms)
    tl_hk_timer_at(c->hk, &c->timer, c->started_ms + d->policy.handshake_timeout_ms);
}

static void after_step(struct tl_hs_conn *c, int rc) {
  c->step_rc = rc;
  keep_time(c);
  if (rc != 0 && rc != TL_EAGAIN) {
    next_step(c); /* its alert leaves after the report */
    return;
  }
  c->out = tl_hs_output(c->hs, &c->out_n);
  if (c->out_n == 0) {
    next_step(c);
    return;
  }
  c->state = TL_HS_SENDING;
  submit_send(c);
}

static void on_sent(struct tl_hs_conn *c, int res) {
  if (res > 0) {
    c->out += res;
    c->out_n -= (size_t)res;
  }
  if ((res > 0 && c->out_n) || res == -EINTR || res == -EAGAIN) {
    submit_send(c);
  } else if (c->state == TL_HS_CLOSING) {
    if (res > 0) discard_unread(c);
    tl_hk_conn_free(c, rc_of(c));
  } else if (res <= 0) {
    closed_by_peer(c, res);
  } else {
    next_step(c);
  }
}

static void on_header(struct tl_hs_conn *c) {
  size_t body;
  if (tl_hs_record_len(c->hs, c->rec, &body)) {
    tl_hk_conn_fail(c, (int)tl_hs_failure(c->hs)->cause, NULL);
    return;
  }
  receive_or_fail(c, TL_RECORD_HEADER + body);
}

static void on_received(struct tl_hs_conn *c, int res) {
  if (res == -EINTR || res == -EAGAIN) {
    submit_recv(c);
    return;
  }
  if (res <= 0) {
    closed_by_peer(c, res);
    return;
  }
  c->have += (size_t)res;
  if (c->have < c->want)
    submit_recv(c);
  else if (c->state == TL_HS_HELLO)
    tl_hk_hello_received(c);
  else if (c->want == TL_RECORD_HEADER)
    on_header(c);
  else
    after_step(c, tl_hs_input(c->hs, c->rec, c->have));
}

static void on_connected(struct tl_hs_conn *c, int res) {
  if (res < 0) {
    tl_hk_conn_fail(c, TL_HS_CONNECT, strerror(-res));
    return;
  }
  c->started_ms = tl_now_ms();
  tl_hk_conn_prepare(c);
  tl_hk_conn_begin(c);
}

static void on_done(struct tl_op *op, int res, uint32_t flags) {
  (void)flags;
  struct tl_hs_conn *c = of_op(op);
  c->in_flight = false;
  if (c->outgoing && res > 0) c->heard_ms = tl_now_ms();
  if (c->dead) {
    tl_hk_conn_free(c, rc_of(c));
    return;
  }
  switch (c->state) {
  case TL_HS_CONNECTING: on_connected(c, res); break;
  case TL_HS_WAITING: break; /* has nothing in flight */
  case TL_HS_HELLO:
  case TL_HS_READING: on_received(c, res); break;
  case TL_HS_SENDING:
  case TL_HS_CLOSING: on_sent(c, res); break;
  }
}

/* ---- the beginning ---- */

static int make_handshake(struct tl_hs_conn *c) {
  struct tl_hs_params p = {.server = !c->dial};
  if (tl_keylog_wants(&c->peer)) p.keylog = tl_keylog_line;
  if (c->dial) {
    p.domain = c->dial->domain;
    p.remote = &c->peer;
    p.sni = tl_str_c(c->dial->sni);
    p.verify_name = tl_str_c(c->dial->verify_name);
  } else {
    p.set = &c->conf->tls_set;
    p.domain = c->conf->listen[c->listener].domain;
    p.local = &c->local;
  }
  return tl_hs_new(&p, &c->hs);
}

static bool may_use_kernel(const struct tl_hs_conn *c) {
  if (!c->hk->th.rt->caps.ulp) return false;
  if (!c->dial || c->dial->domain->policy.records == TL_RECORDS_AUTO) return c->hk->want_kernel;
  return c->dial->domain->policy.records == TL_RECORDS_KERNEL;
}

void tl_hk_conn_prepare(struct tl_hs_conn *c) {
  int on = 1;
  socklen_t len = sizeof(c->local);
  getsockname(c->fd, &c->local.sa, &len);
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  /* Before the handshake: once the peer's FIN is queued it would be too late, and until keys are
   * installed the ULP is transparent (KTLS-FACTS 9). */
  if (may_use_kernel(c)) tl_ktls_attach(c->fd);
}

/* The records that were collected before the SSL object existed. */
static int feed_hello(struct tl_hs_conn *c) {
  int rc = tl_hs_start(c->hs);
  for (size_t at = 0; rc == TL_EAGAIN && at < c->have;) {
    const uint8_t *h = c->rec + at;
    size_t n = TL_RECORD_HEADER + ((size_t)h[3] << 8 | h[4]);
    rc = tl_hs_input(c->hs, h, n);
    at += n;
  }
  return rc;
}

void tl_hk_conn_begin(struct tl_hs_conn *c) {
  uint32_t ms = c->dial ? c->dial->handshake_timeout_ms : c->conf->timeouts.handshake;
  tl_hk_timer_at(c->hk, &c->timer, c->started_ms + ms);
  if (make_handshake(c)) {
    tl_hk_conn_fail(c, TL_HS_INTERNAL, "the handshake could not be set up");
    return;
  }
  after_step(c, feed_hello(c));
}
