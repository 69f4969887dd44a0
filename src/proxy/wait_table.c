/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which transactions wait, by cookie: slot and generation, so that an answer that comes too late
 * finds nobody, even if the slot has been taken again. How they wait is wait.c's.
 */
#include "wait_table.h"

#include <stdlib.h>

#include "proxy.h"
#include "tieline/conf.h"
#include "tieline/slots.h"
#include "tieline/view.h"
#include "txn.h"

struct tl_waits {
  struct tl_pool pool;
  struct tl_slots slots;
  uint32_t n, most;
};

struct tl_wait *tl_wait_new(struct tl_proxy *p) {
  struct tl_waits *t = p->waits;
  struct tl_wait *w = tl_pool_get(&t->pool);
  if (!w) return NULL;
  memset(w, 0, sizeof(*w));
  if (tl_slots_take(&t->slots, w, &w->slot, &w->gen)) {
    tl_pool_put(&t->pool, w);
    return NULL;
  }
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
  tl_timer_stop(&p->net.wheel, &w->timer);
  tl_identity_unref(w->relayed.identity);
  tl_slots_give(&t->slots, w->slot);
  tl_pool_put(&t->pool, w);
  t->n--;
  tl_count_sub(tl_proxy_counters(p), TL_C_WAITING_NOW, 1);
}

bool tl_wait_room(struct tl_proxy *p) {
  if (p->waits->n < p->net.view->conf->limits.max_waiting) return true;
  tl_count(tl_proxy_counters(p), TL_C_WAITING_REFUSED);
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
