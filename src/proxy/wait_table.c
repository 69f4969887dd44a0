/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which transactions wait, by cookie: slot and generation, so that an answer that comes too late
 * finds nobody, even if the slot has been taken again; and who may be one of them. How they wait is
 * wait.c's.
 */
#include "wait_table.h"

#include <stdlib.h>

#include "proxy.h"
#include "stage.h"
#include "tieline/conf.h"
#include "tieline/slots.h"
#include "tieline/view.h"
#include "txn.h"

/* This part is left to requests inside dialogs, and to our own. */
#define RESERVE 8u

struct tl_waits {
  struct tl_pool pool;
  struct tl_slots slots;
  uint32_t n, most;
  /* Of n, by sender: names whose servers are silent leave room for others (TL_SENDER_PART). What it
   * has inside dialogs counts apart, so that nobody who forges its address ends its calls. */
  uint32_t shares[2][TL_SENDER_SHARES];
};

static bool is_in_dialog(const struct tl_req *req) {
  return req->plan && (req->plan->in_dialog || req->plan->own);
}

static void count_share(struct tl_wait *w, int by) {
  if (w->txn->share < TL_SENDER_SHARES)
    w->txn->proxy->waits->shares[w->in_dialog][w->txn->share] += (uint32_t)by;
}

struct tl_wait *tl_wait_new(const struct tl_req *req) {
  struct tl_proxy *p = req->p;
  struct tl_waits *t = p->waits;
  struct tl_wait *w = tl_pool_get(&t->pool);
  if (!w) return NULL;
  memset(w, 0, sizeof(*w));
  if (tl_slots_take(&t->slots, w, &w->slot, &w->gen)) {
    tl_pool_put(&t->pool, w);
    return NULL;
  }
  w->txn = req->txn;
  w->in_dialog = is_in_dialog(req);
  count_share(w, 1);
  tl_count(tl_proxy_counters(p), TL_C_WAITING_NOW);
  if (++t->n > t->most) {
    t->most = t->n;
    tl_count(tl_proxy_counters(p), TL_C_WAITING_MOST);
  }
  return w;
}

uint64_t tl_wait_cookie(const struct tl_wait *w) { return (uint64_t)w->gen << 32 | w->slot; }

struct tl_wait *tl_wait_find(const struct tl_proxy *p, uint64_t cookie) {
  return tl_slots_get(&p->waits->slots, (uint32_t)cookie, (uint32_t)(cookie >> 32));
}

void tl_wait_end(struct tl_wait *w) {
  if (!w) return;
  struct tl_proxy *p = w->txn->proxy;
  struct tl_waits *t = p->waits;
  w->txn->wait = NULL;
  count_share(w, -1);
  tl_timer_stop(tl_net_wheel(p->net), &w->timer);
  tl_identity_unref(w->passed_on.identity);
  tl_slots_give(&t->slots, w->slot);
  tl_pool_put(&t->pool, w);
  t->n--;
  tl_count_sub(tl_proxy_counters(p), TL_C_WAITING_NOW, 1);
}

static bool has_its_share(const struct tl_req *req, uint32_t max) {
  const struct tl_waits *t = req->p->waits;
  const uint16_t share = req->txn ? req->txn->share : tl_source_share(req->sender, &req->origin);
  const uint32_t part = max < TL_SENDER_PART ? 1 : max / TL_SENDER_PART;
  return share < TL_SENDER_SHARES && t->n >= max / 2 && t->shares[is_in_dialog(req)][share] >= part;
}

bool tl_wait_room(const struct tl_req *req) {
  const uint32_t max = tl_net_view(req->p->net)->conf->limits.max_waiting;
  const uint32_t room = is_in_dialog(req) ? max : max - max / RESERVE;
  if (req->p->waits->n < room && !has_its_share(req, max)) return true;
  tl_count(tl_proxy_counters(req->p), TL_C_WAITING_REFUSED);
  return false;
}

int tl_wait_init(struct tl_proxy *p) {
  struct tl_waits *t = p->waits = calloc(1, sizeof(*t));
  if (!t) return TL_ENOMEM;
  tl_pool_init(&t->pool, sizeof(struct tl_wait), 0);
  return TL_OK;
}

void tl_wait_exit(struct tl_proxy *p) {
  if (!p->waits) return;
  tl_slots_free(&p->waits->slots);
  tl_pool_destroy(&p->waits->pool);
  free(p->waits);
  p->waits = NULL;
}
