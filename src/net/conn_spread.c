/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several connections for one key: which of them a message goes on, and when another one is dialed.
 * Those that are open have their turns; where none is, those that are being dialed have. A
 * neighbour may allow fewer than are wanted: then the next attempt waits longer each time, and
 * nothing that is sent waits for it.
 */
#include "net_internal.h"
#include "tieline/index_map.h"

#define MORE_MS 250u /* after the first dial without success; doubled each time */
#define MORE_MAX_MS 60000u

/* The same for each copy of what is sent, as long as the connections are the same. */
static uint64_t weight_of(const struct tl_conn *c, uint64_t draw) {
  return tl_index_mix(draw ^ tl_index_mix(tl_conn_id_of(c)));
}

static bool is_better(const struct tl_conn *c, const struct tl_conn *than, uint64_t draw) {
  if (!than) return true;
  if (c->view.state != than->view.state) return c->view.state == TL_CONN_OPEN;
  return draw ? weight_of(c, draw) > weight_of(than, draw) : c->picked < than->picked;
}

/* What there is for a key. */
struct crowd {
  struct tl_conn *best, *eldest;
  uint32_t n_open, n_dialing;
};

static struct crowd crowd_of(struct tl_net *n, const struct tl_conn_key *k) {
  struct crowd w = {.n_open = 0};
  for (struct tl_conn *c = tl_conn_keyed(n, k); c; c = tl_conn_keyed_next(n, k, c)) {
    const bool open = c->view.state == TL_CONN_OPEN;
    w.n_open += open;
    w.n_dialing += !open;
    if (is_better(c, w.best, k->draw)) w.best = c;
    if (open && (!w.eldest || tl_conn_is_newer(w.eldest, c))) w.eldest = c;
  }
  return w;
}

/* Beside those that are open one is dialed at a time; the eldest of them knows how that went. */
static bool may_dial(const struct crowd *w, uint32_t n_conn, uint64_t now_ms) {
  struct tl_conn *c = w->eldest;
  if (c && (w->n_open > c->more.n_open || w->n_open >= n_conn)) c->more.n_failed = 0;
  if (w->n_open + w->n_dialing >= n_conn) return false;
  if (!c) return true; /* who comes waits for a dial anyway */
  if (w->n_dialing) return false;
  if (c->more.n_failed && now_ms < c->more.at_ms) return false;
  const uint64_t wait_ms = (uint64_t)MORE_MS << (c->more.n_failed < 8 ? c->more.n_failed : 8);
  c->more.at_ms = now_ms + (wait_ms < MORE_MAX_MS ? wait_ms : MORE_MAX_MS);
  c->more.n_failed++; /* until it is there */
  c->more.n_open = w->n_open;
  return true;
}

struct tl_conn *tl_conn_spread(struct tl_net *n, const struct tl_conn_key *k, bool *out_dial) {
  struct crowd w = crowd_of(n, k);
  struct tl_conn *alias = w.n_open ? NULL : tl_alias_find(n, k);
  if (alias) w.best = w.eldest = alias; /* stands in until one is open */
  *out_dial = w.best && may_dial(&w, k->n_conn, n->now_ms);
  if (w.best) w.best->picked = ++n->n_picked;
  return w.best;
}
