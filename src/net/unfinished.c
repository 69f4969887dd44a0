/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections that have sent part of a message: how long they may take for the
 * rest, and how many bytes of such parts we keep. Both are checked once a turn. The
 * list is in the order in which their messages began, so that trickling bytes do not
 * move a connection back, and at the bound the oldest goes: an honest sender is done
 * soon.
 *
 * The bound is for the process: each worker has its part of it, so that nothing is
 * shared and a full worker ends no other worker's connection.
 */
#include <stdlib.h>

#include "net_internal.h"
#include "tieline/frame.h"
#include "tieline/log_limit.h"

static void put_last(struct tl_conn *c) {
  struct tl_net *n = c->net;
  c->begun_ms = n->now_ms;
  cds_list_add_tail(&c->begun_node, &n->begun);
}

void tl_unfinished_leave(struct tl_conn *c) {
  if (!c->rx.begun) return;
  cds_list_del(&c->begun_node);
  c->rx.begun = false;
  c->net->begun_bytes -= c->begun_bytes;
  tl_count_sub(c->net->counters, TL_C_UNFINISHED_BYTES, c->begun_bytes);
  c->begun_bytes = 0;
}

static uint32_t bytes_of(const struct tl_conn *c) {
  return c->kept.plain.cap + c->kept.cipher.cap + tl_big_bytes(c) +
         (c->kept.skipping ? (uint32_t)sizeof(*c->kept.skipping) : 0);
}

void tl_unfinished_note(struct tl_conn *c) {
  struct tl_net *n = c->net;
  if (!c->kept.plain.n && !c->kept.cipher.n && !c->big && !c->kept.skip_left) {
    tl_unfinished_leave(c);
    return;
  }
  const uint32_t bytes = bytes_of(c);
  if (!c->rx.begun || c->rx.another) {
    if (c->rx.begun) cds_list_del(&c->begun_node);
    put_last(c);
    c->rx.begun = true;
  }
  c->rx.another = false;
  n->begun_bytes += bytes;
  n->begun_bytes -= c->begun_bytes;
  tl_count_add(n->counters, TL_C_UNFINISHED_BYTES, bytes);
  tl_count_sub(n->counters, TL_C_UNFINISHED_BYTES, c->begun_bytes);
  c->begun_bytes = bytes;
}

/* Ends C and frees its part of a message at once. */
static void end_unfinished(struct tl_conn *c, enum tl_counter id, const char *why) {
  char peer[TL_ADDR_STRLEN];
  tl_count(c->net->counters, id);
  TL_LOG_FROM(&c->view.peer, why, TL_LOG_WARN,
              "Closing a connection that sent a message only in part.",
              TL_FC("peer", tl_addr_format(&c->view.peer, peer)),
              TL_FC("transport", tl_transport_name((enum tl_transport)c->view.transport)),
              TL_FC("cause", why), TL_FI("ms", c->net->now_ms - c->begun_ms),
              TL_FI("bytes", c->begun_bytes));
  tl_unfinished_leave(c);
  c->view.doomed = true;
  tl_conn_finish(c);
  tl_big_drop(c);
  tl_stash_drop(c->net, &c->kept.plain);
  tl_stash_drop(c->net, &c->kept.cipher);
}

/* We are not reading from it: the delay is not its fault. */
static bool waits_for_us(const struct tl_conn *c) {
  return c->rx.paused || c->rx.parked || c->kept.held.n;
}

/* A worker's part of max_unfinished, but room enough for some of the largest messages. */
static uint64_t worker_share(const struct tl_net *n) {
  const uint64_t part =
      n->view->conf->limits.max_unfinished / (n->rt->n_worker ? n->rt->n_worker : 1);
  return part > 4 * n->scratch_cap ? part : 4 * n->scratch_cap;
}

void tl_unfinished_turn(struct tl_net *n) {
  const uint64_t timeout = n->view->conf->timeouts.message;
  const uint64_t most = worker_share(n);
  const uint64_t now = n->now_ms;
  while (!cds_list_empty(&n->begun)) {
    struct tl_conn *c = cds_list_first_entry(&n->begun, struct tl_conn, begun_node);
    if (!tl_conn_is_live(c)) {
      tl_unfinished_leave(c);
    } else if (n->begun_bytes > most) {
      end_unfinished(c, TL_C_CONN_UNFINISHED, "max_unfinished is reached, and it is the oldest");
    } else if (timeout && now - c->begun_ms >= timeout) {
      if (waits_for_us(c)) {
        cds_list_del(&c->begun_node);
        put_last(c);
      } else {
        end_unfinished(c, TL_C_CONN_MESSAGE_TIMEOUT, "timeouts.message is over");
      }
    } else {
      return;
    }
  }
}
