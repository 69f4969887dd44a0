/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Branches: created, found by slot and generation, attached to the connection that they were sent
 * on, freed. What a timer means (RFC 3261 17.1) is decided in forward.c.
 */
#include "branch.h"

#include <stdlib.h>

#include "call.h"
#include "dest_note.h"
#include "forward.h"
#include "given_up.h"
#include "hunt.h"
#include "outbound.h"
#include "peer_share.h"
#include "proxy.h"
#include "saved.h"
#include "source.h"
#include "tieline/container.h"
#include "txn.h"

/* ---- timers ---- */

#define NOTED UINT32_MAX /* as more_ms: the silence has been noted */

/* The peer has not answered within its answer_timeout: B is given up if there is another target.
 * The last one is awaited on. */
static bool waits_on(struct tl_branch *b) {
  struct tl_txn *txn = b->txn;
  const uint32_t more_ms = b->more_ms;
  if (!more_ms || more_ms == NOTED) return false;
  b->more_ms = NOTED;
  tl_count(tl_proxy_counters(txn->proxy), TL_C_PEER_SILENT);
  tl_dest_silent(b);
  if (!txn->cancelled && txn->state == TL_TXN_PROCEEDING && tl_hunt_has_next(txn->plan) &&
      tl_hunt_follows(txn, b->target.peer, TL_OUTCOME_SILENCE))
    return false;
  tl_timer_start(tl_net_wheel(txn->proxy->net), &b->timer, more_ms);
  return true;
}

static void on_branch_timer(struct tl_timer *t, void *arg) {
  struct tl_branch *b = tl_container_of(t, struct tl_branch, timer);
  (void)arg;
  if (b->state > TL_BR_PROCEEDING) {
    struct tl_txn *txn = b->txn;
    tl_given_up_leave(b);
    tl_branch_free(b); /* D, K, M */
    tl_txn_branch_left(txn);
    return;
  }
  if (b->state == TL_BR_CALLING && waits_on(b)) return;
  tl_count(tl_proxy_counters(b->txn->proxy), TL_C_TXN_TIMEOUT);
  if (b->state == TL_BR_PROCEEDING && b->invite && !b->cancel_sent && !b->bounded) {
    tl_forward_cancel_branch(b); /* Timer C: CANCEL, then wait for what comes (16.8) */
    tl_timer_start(tl_net_wheel(b->txn->proxy->net), &b->timer,
                   64 * tl_net_view(b->txn->proxy->net)->conf->timeouts.t1);
    return;
  }
  /* Not where the route's setup_timeout, or the caller, left it no time. */
  if (b->state == TL_BR_CALLING && b->more_ms != NOTED && tl_hunt_left_ms(b->txn) > 0)
    tl_dest_silent(b);
  tl_forward_gave_up(b, 408);
}

static void on_branch_retrans(struct tl_timer *t, void *arg) {
  struct tl_branch *b = tl_container_of(t, struct tl_branch, retrans);
  struct tl_proxy *p = b->txn->proxy;
  const struct tl_conf_timeouts *lim = &tl_net_view(p->net)->conf->timeouts;
  (void)arg;
  const struct tl_saved *again = b->cancel ? b->cancel : b->sent;
  if ((b->state > TL_BR_PROCEEDING && b->state != TL_BR_GIVEN_UP) || !again) return;
  tl_outbound_bytes(p, &b->flow, again->data, again->len);
  tl_count(tl_proxy_counters(p), TL_C_RETRANS_SENT);
  b->retrans_ms *= 2; /* Timer A doubles without bound, E up to T2; T2 at once when proceeding */
  bool non_invite = !b->invite || b->cancel;
  if (non_invite && (b->retrans_ms > lim->t2 || (!b->cancel && b->state == TL_BR_PROCEEDING)))
    b->retrans_ms = lim->t2;
  tl_timer_start(tl_net_wheel(p->net), &b->retrans, b->retrans_ms);
}

/* ---- life ---- */

struct tl_branch *tl_branch_new(struct tl_txn *txn) {
  struct tl_proxy *p = txn->proxy;
  struct tl_branch *b = tl_pool_get(&p->branches->pool);
  if (!b) return NULL;
  memset(b, 0, sizeof(*b));
  if (tl_slots_take(&p->branches->slots, b, &b->slot, &b->gen)) {
    tl_pool_put(&p->branches->pool, b);
    return NULL;
  }
  b->txn = txn;
  b->invite = txn->invite;
  b->timer.fn = on_branch_timer;
  b->retrans.fn = on_branch_retrans;
  b->next = txn->branches;
  txn->branches = b;
  return b;
}

struct tl_branch *tl_branch_find(struct tl_proxy *p, uint32_t slot, uint32_t gen) {
  return tl_slots_get(&p->branches->slots, slot, gen);
}

int tl_branch_sent(const struct tl_branch *b, struct tl_msg *out) {
  struct tl_scan_error err;
  if (!b->sent) return TL_ENOTFOUND;
  /* As on a stream: its body may have been left behind. */
  return tl_scan(b->sent->data, b->sent->len, true, TL_SCAN_OWN, out, &err);
}

struct tl_branch **tl_branch_remote(struct tl_proxy *p, tl_conn_id id) {
  return &p->branches->remote[(id ^ id >> 32) % TL_REMOTE_BUCKETS];
}

void tl_branch_attach(struct tl_branch *b, struct tl_conn *c) {
  struct tl_branch **list = c ? (struct tl_branch **)&tl_conn_owner(c)->user
                              : tl_branch_remote(b->txn->proxy, b->flow.conn);
  b->conn_next = *list;
  b->conn_link = list;
  if (b->conn_next) b->conn_next->conn_link = &b->conn_next;
  *list = b;
}

void tl_branch_detach(struct tl_branch *b) {
  if (!b->conn_link) return;
  *b->conn_link = b->conn_next;
  if (b->conn_next) b->conn_next->conn_link = b->conn_link;
  b->conn_link = NULL;
}

void tl_branch_free(struct tl_branch *b) {
  struct tl_proxy *p = b->txn->proxy;
  struct tl_branch **at = &b->txn->branches;
  while (*at != b) at = &(*at)->next;
  *at = b->next;
  tl_given_up_forget(b);
  free(b->late);
  tl_branch_detach(b);
  tl_peer_share_leave(&b->peer_share);
  tl_call_drop(p, b->call_slot);
  tl_timer_stop(tl_net_wheel(p->net), &b->timer);
  tl_timer_stop(tl_net_wheel(p->net), &b->retrans);
  tl_saved_free(p, b->sent);
  tl_saved_free(p, b->cancel);
  tl_identity_unref(b->was);
  tl_slots_give(&p->branches->slots, b->slot);
  tl_pool_put(&p->branches->pool, b);
}

/* A peer with several addresses may respond from another one. Ports are not compared: some
 * phones send from one and listen on another, as RFC 3261 18.2.2 permits. */
bool tl_branch_is_from_flow(struct tl_proxy *p, const struct tl_branch *b,
                            const struct tl_flow *from) {
  if (!tl_transport_is_datagram(b->flow.transport)) return from->conn && from->conn == b->flow.conn;
  if (!tl_transport_is_datagram(from->transport)) return false;
  const struct tl_origin origin = {.from = from};
  return tl_addr_ip_eq(&b->flow.addr, &from->addr) ||
         (b->peer && tl_source_is(p, tl_source_of(p, &origin), &origin, b->peer));
}

/* ---- tables ---- */

int tl_branch_init(struct tl_proxy *p) {
  struct tl_branches *t = p->branches = calloc(1, sizeof(*t));
  if (!t) return TL_ENOMEM;
  CDS_INIT_LIST_HEAD(&t->given_up);
  tl_pool_init(&t->pool, sizeof(struct tl_branch), 0);
  t->pool.keep = SIZE_MAX;
  tl_pool_touch(&t->pool, TL_TXN_PREPARED);
  return tl_slots_reserve(&t->slots, 2 * TL_TXN_PREPARED);
}

void tl_branch_exit(struct tl_proxy *p) {
  if (!p->branches) return;
  tl_slots_free(&p->branches->slots);
  tl_pool_destroy(&p->branches->pool);
  free(p->branches);
  p->branches = NULL;
}
