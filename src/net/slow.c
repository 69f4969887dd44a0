/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers that read too slowly. What a peer has read is what the kernel took
 * from the connection's queue less what is still in its socket: bytes that left, not
 * bytes that moved from one of our buffers to the next.
 */
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "net_internal.h"
#include "tieline/log.h"

static int64_t bytes_gone(const struct tl_conn *c) {
  int waiting = 0;
  if (ioctl(c->kept.fd, SIOCOUTQ, &waiting)) waiting = 0;
  return (int64_t)c->kept.out.taken - waiting;
}

static void measure_from_now(struct tl_conn *c) {
  c->kept.out.window_ms = c->net->now_ms;
  c->kept.out.window_gone = bytes_gone(c);
  c->kept.out.slow_ms = 0;
}

bool tl_slow_now(struct tl_conn *c, uint32_t window_ms) {
  struct tl_out *o = &c->kept.out;
  const uint64_t now = c->net->now_ms, rate = c->net->view->conf->limits.send_min_rate;
  if (!rate || !window_ms || !o->queued_ms) {
    o->window_ms = 0;
    return false;
  }
  if (!o->window_ms || o->window_ms < o->queued_ms) {
    measure_from_now(c);
    return false;
  }
  const uint64_t passed = now - o->window_ms;
  if (passed < window_ms) return false;
  const int64_t took = bytes_gone(c) - o->window_gone;
  if (took >= 0 && (uint64_t)took >= rate * passed / 1000) {
    measure_from_now(c);
    return false;
  }
  /* Timers run before the turn's completions, so bytes that the kernel took while this thread was
   * not running are only seen later in this turn: a later turn blames the peer at the earliest. */
  if (o->slow_ms && o->slow_ms != now) return true;
  o->slow_ms = now;
  return false;
}

static void log_slow(struct tl_conn *c, uint64_t *last_ms, const char *sentence) {
  char peer[TL_ADDR_STRLEN];
  struct tl_net *n = c->net;
  if (*last_ms && n->now_ms - *last_ms < 1000) return;
  *last_ms = n->now_ms;
  TL_LOG(TL_LOG_WARN, sentence, TL_FC("peer", tl_addr_format(&c->view.peer, peer)),
         TL_FI("queued_bytes", c->kept.out.bytes),
         TL_FI("send_buffer", n->view->conf->limits.send_buffer),
         TL_FI("send_min_rate", n->view->conf->limits.send_min_rate));
}

void tl_slow_log(struct tl_conn *c) {
  log_slow(c, &c->net->slow_logged_ms,
           "Resetting a connection whose peer reads too slowly for what it is sent.");
}

void tl_slow_log_refused(struct tl_conn *c) {
  log_slow(c, &c->net->slow_refused_ms,
           "A request is not sent: its peer reads too slowly for what waits already.");
}

void tl_conn_slow(struct tl_conn *c) {
  if (c->tx.broken) return;
  tl_count(c->net->counters, TL_C_CONN_SLOW);
  tl_slow_log(c);
  c->tx.broken = c->view.doomed = true;
  tl_conn_mark(c);
}
