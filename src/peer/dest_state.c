/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the states of destinations are found: a hash table of the whole process, and a list of
 * those that nobody refers to, the longest dropped first. The lock is held for one look-up; tables
 * of peers and caches of workers keep what it gave.
 */
#include "tieline/dest_state.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tieline/container.h"
#include "tieline/err.h"
#include "tieline/index_map.h"
#include "tieline/refs.h"
#include "tieline/time.h"

static struct {
  pthread_mutex_t mu;
  struct tl_hash_table table;
  struct cds_list_head idle;
  uint32_t n_idle;
} all = {.mu = PTHREAD_MUTEX_INITIALIZER, .idle = CDS_LIST_HEAD_INIT(all.idle)};

static uint64_t hash_of(const struct tl_addr *addr, enum tl_transport transport,
                        const char *domain) {
  return tl_index_mix(tl_addr_hash(addr) ^
                      tl_index_mix(tl_index_name_id(domain) + (uint64_t)transport));
}

static struct tl_dest_state *find_state(uint64_t hash, const struct tl_addr *addr,
                                        enum tl_transport transport, const char *domain) {
  for (struct tl_hash_node *at = tl_hash_first(&all.table, hash); at; at = tl_hash_next(at)) {
    struct tl_dest_state *s = tl_container_of(at, struct tl_dest_state, node);
    if (s->transport == transport && tl_addr_eq(&s->addr, addr) && strcmp(s->domain, domain) == 0)
      return s;
  }
  return NULL;
}

static struct tl_dest_state *make_state(uint64_t hash, const struct tl_addr *addr,
                                        enum tl_transport transport, const char *domain) {
  struct tl_dest_state *s = calloc(1, sizeof(*s));
  if (!s || !(s->domain = strdup(domain)) || tl_hash_add(&all.table, &s->node, hash)) {
    if (s) free(s->domain);
    free(s);
    return NULL;
  }
  atomic_init(&s->refs, 1);
  s->addr = *addr;
  s->transport = transport;
  return s;
}

/* ---- those that nobody refers to ---- */

static void wake_state(struct tl_dest_state *s) {
  cds_list_del(&s->idle);
  all.n_idle--;
}

static void free_state(struct tl_dest_state *s) {
  tl_hash_remove(&all.table, &s->node);
  if (all.table.n == 0) {
    tl_hash_free(&all.table);
    all.table = (struct tl_hash_table){.n = 0};
  }
  free(s->domain);
  free(s);
}

static void expire_states(uint64_t now_ms) {
  while (!cds_list_empty(&all.idle)) {
    struct tl_dest_state *s = cds_list_first_entry(&all.idle, struct tl_dest_state, idle);
    if (all.n_idle <= TL_DEST_KEPT_MAX && now_ms < s->idle_since_ms + TL_DEST_KEEP_MS) return;
    wake_state(s);
    free_state(s);
  }
}

/* There is nothing to remember of one that is up and has never been anything else. */
static void drop_state(struct tl_dest_state *s) {
  if (tl_dest_is_plain(&s->health)) {
    free_state(s);
    return;
  }
  s->idle_since_ms = tl_now_ms();
  cds_list_add_tail(&s->idle, &all.idle);
  all.n_idle++;
  expire_states(s->idle_since_ms);
}

/* ---- for all ---- */

struct tl_dest_state *tl_dest_state_of(const struct tl_addr *addr, enum tl_transport transport,
                                       const char *domain) {
  const uint64_t hash = hash_of(addr, transport, domain);
  pthread_mutex_lock(&all.mu);
  struct tl_dest_state *s = find_state(hash, addr, transport, domain);
  if (!s)
    s = make_state(hash, addr, transport, domain);
  else if (atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed) == 0)
    wake_state(s);
  pthread_mutex_unlock(&all.mu);
  return s;
}

struct tl_dest_state *tl_dest_state_ref(struct tl_dest_state *s) {
  atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
  return s;
}

void tl_dest_state_unref(struct tl_dest_state *s) {
  if (!s || tl_refs_drop_unless_last(&s->refs)) return;
  pthread_mutex_lock(&all.mu);
  if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1) drop_state(s);
  pthread_mutex_unlock(&all.mu);
}

void tl_dest_states_expire(uint64_t now_ms) {
  pthread_mutex_lock(&all.mu);
  expire_states(now_ms);
  pthread_mutex_unlock(&all.mu);
}

struct tl_dest_counts tl_dest_states_count(void) {
  pthread_mutex_lock(&all.mu);
  const struct tl_dest_counts c = {all.table.n, all.n_idle};
  pthread_mutex_unlock(&all.mu);
  return c;
}
