/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Admission of handshakes: first the share of the source, then a place among
 * max_handshakes, both in the order in which ClientHellos arrived. While handshakes
 * wait for a place, an admitted client that stalls is evicted.
 */
#include "hs/handshaker.h"
#include "tieline/container.h"

/* A client that has owed us its next flight for so long since its ClientHello gives way. A
 * handshake is two round trips and a signature, or less. */
#define STALL_MS 1000u

static struct tl_handshaker *of_stall(struct tl_timer *t) {
  return tl_container_of(t, struct tl_handshaker, stall);
}

/* The oldest that has used up STALL_MS and owes us bytes. */
static struct tl_hs_conn *find_stalled(struct tl_handshaker *hk, uint64_t now_ms) {
  struct tl_hs_conn *c;
  cds_list_for_each_entry(c, &hk->begun.conns, line_node) {
    if (c->begun_ms + STALL_MS > now_ms) break;
    if (!c->dead && c->state == TL_HS_READING && c->in_flight) return c;
  }
  return NULL;
}

/* As many as are waiting; the places come free when the cancelled operations complete. */
static void end_stalled(struct tl_handshaker *hk) {
  uint64_t now_ms = tl_now_ms();
  for (uint32_t i = 0; i < hk->turn.n; i++) {
    struct tl_hs_conn *c = find_stalled(hk, now_ms);
    if (!c) break;
    tl_count(&hk->th.counters, TL_C_HS_GAVE_WAY);
    tl_hk_conn_fail(c, TL_HS_TIMEOUT, "it gave way to others after saying nothing for a second");
  }
}

/* While handshakes wait, the next check is due when the oldest admitted one reaches STALL_MS. */
static void watch_stall(struct tl_handshaker *hk) {
  uint64_t now_ms = tl_now_ms();
  if (!hk->turn.n || tl_timer_running(&hk->stall)) return;
  const struct tl_hs_conn *oldest = tl_hs_line_first(&hk->begun);
  uint64_t due_ms = oldest ? oldest->begun_ms + STALL_MS : now_ms;
  tl_hk_timer_at(hk, &hk->stall, due_ms > now_ms ? due_ms : now_ms + STALL_MS / 10);
}

static bool has_place(const struct tl_handshaker *hk) {
  return hk->ready.n + hk->begun.n < hk->view->conf->limits.max_handshakes;
}

/* Gives free places to waiting handshakes. */
static void serve_waiting(struct tl_handshaker *hk) {
  while (hk->turn.n && has_place(hk)) {
    struct tl_hs_conn *c = tl_hs_line_first(&hk->turn);
    tl_hs_line_leave(c);
    hk->waiting--;
    tl_hs_line_add(&hk->ready, c);
  }
  watch_stall(hk);
}

void tl_hk_turn_stalled(struct tl_timer *t, void *arg) {
  (void)arg;
  struct tl_handshaker *hk = of_stall(t);
  end_stalled(hk);
  serve_waiting(hk);
}

static void begin_handshake(struct tl_hs_conn *c) {
  tl_hs_line_leave(c);
  tl_hs_line_add(&c->hk->begun, c);
  c->begun_ms = tl_now_ms();
  tl_hk_conn_begin(c);
}

static void leave_hello(struct tl_hs_conn *c) {
  tl_hs_line_leave(c);
  tl_hs_source_opened(&c->hk->sources, c);
  tl_count_sub(&c->hk->th.counters, TL_C_HS_HALF_OPEN, 1);
}

static void refuse_handshake(struct tl_hs_conn *c, enum tl_counter id, const char *why) {
  tl_count(&c->hk->th.counters, id);
  tl_hk_report_refused(&c->peer, why);
  tl_hk_conn_abort(c);
}

void tl_hk_turn_take(struct tl_hs_conn *c) {
  struct tl_handshaker *hk = c->hk;
  leave_hello(c);
  int rc = tl_hs_source_enter(&hk->sources, c, hk->view->conf->limits.max_handshakes_source);
  bool full = hk->waiting >= TL_HS_WAITING_MAX;
  if (rc && (rc != TL_ELIMIT || full)) {
    refuse_handshake(c, TL_C_HS_REFUSED_SOURCE, "too many wait because of max_handshakes_source");
    return;
  }
  if (rc == 0 && has_place(hk) && !hk->turn.n) {
    begin_handshake(c);
    return;
  }
  if (full) {
    tl_hs_source_leave(&hk->sources, c);
    refuse_handshake(c, TL_C_HS_REFUSED_FULL, "too many wait because of max_handshakes");
    return;
  }
  c->state = TL_HS_WAITING;
  hk->waiting++;
  tl_hk_timer_at(hk, &c->timer, c->started_ms + c->conf->timeouts.handshake);
  if (rc == 0) {
    tl_hs_line_add(&hk->turn, c);
    serve_waiting(hk);
  } else {
    c->queued = true;
    tl_hs_source_wait(&hk->sources, c);
  }
}

/* C's share of its source passes to the longest waiting one, which now waits for a place. */
static void pass_share(struct tl_hs_conn *c) {
  struct tl_handshaker *hk = c->hk;
  struct tl_hs_conn *next = hk->stopping ? NULL : tl_hs_source_next(&hk->sources, c);
  if (!next) {
    tl_hs_source_leave(&hk->sources, c);
    return;
  }
  tl_hs_source_unwait(next);
  next->queued = false;
  tl_hs_line_add(&hk->turn, next);
}

void tl_hk_turn_leave(struct tl_hs_conn *c) {
  struct tl_handshaker *hk = c->hk;
  struct tl_hs_line *line = c->line;
  if (line == &hk->hellos) {
    leave_hello(c);
  } else if (c->queued) {
    tl_hs_source_unwait(c);
    c->queued = false;
    hk->waiting--;
  } else if (line) {
    if (line == &hk->turn) hk->waiting--;
    tl_hs_line_leave(c);
    pass_share(c);
    if (!hk->stopping) serve_waiting(hk);
  }
}

void tl_hk_turn_begin(struct tl_handshaker *hk) {
  while (hk->ready.n) begin_handshake(tl_hs_line_first(&hk->ready));
}
