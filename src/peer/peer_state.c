/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the states of peers are found: a hash table of the whole process, by id, and
 * a slot for each. The lock is held for one look-up; no message takes it.
 */
#include "tieline/peer_state.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tieline/container.h"
#include "tieline/err.h"
#include "tieline/refs.h"

static struct {
  pthread_mutex_t mu;
  struct tl_hash_table ids;
  uint32_t *free_slot;
  uint32_t n_free, n_slot, cap_slot; /* slots that are free; that there are; room in free_slot */
} all = {.mu = PTHREAD_MUTEX_INITIALIZER};

static struct tl_peer_state *find_state(uint64_t id, const char *name) {
  struct tl_hash_node *at = tl_hash_first(&all.ids, id);
  while (at && strcmp(tl_container_of(at, struct tl_peer_state, node)->name, name) != 0)
    at = tl_hash_next(at);
  return at ? tl_container_of(at, struct tl_peer_state, node) : NULL;
}

/* The list of free slots has room for all of them, so that giving one back cannot fail. */
static int take_slot(uint32_t *out) {
  if (all.n_free) {
    *out = all.free_slot[--all.n_free];
    return TL_OK;
  }
  if (all.n_slot == all.cap_slot) {
    uint32_t cap = all.cap_slot ? 2 * all.cap_slot : 64;
    uint32_t *slots = realloc(all.free_slot, cap * sizeof(*slots));
    if (!slots) return TL_ENOMEM;
    all.free_slot = slots;
    all.cap_slot = cap;
  }
  *out = all.n_slot++;
  return TL_OK;
}

static void free_tables(void) {
  tl_hash_free(&all.ids);
  free(all.free_slot);
  all.ids = (struct tl_hash_table){.n = 0};
  all.free_slot = NULL;
  all.n_free = all.n_slot = all.cap_slot = 0;
}

static struct tl_peer_state *make_state(uint64_t id, const char *name) {
  struct tl_peer_state *s = calloc(1, sizeof(*s));
  if (!s || !(s->name = strdup(name)) || take_slot(&s->slot)) goto fail;
  atomic_init(&s->refs, 1);
  s->id = id;
  if (tl_hash_add(&all.ids, &s->node, id) == TL_OK) return s;
  all.free_slot[all.n_free++] = s->slot;
fail:
  if (all.ids.n == 0) free_tables();
  if (s) free(s->name);
  free(s);
  return NULL;
}

struct tl_peer_state *tl_peer_state_of(uint64_t id, const char *name) {
  pthread_mutex_lock(&all.mu);
  struct tl_peer_state *s = find_state(id, name);
  if (s)
    tl_peer_state_ref(s);
  else
    s = make_state(id, name);
  pthread_mutex_unlock(&all.mu);
  return s;
}

struct tl_peer_state *tl_peer_state_ref(struct tl_peer_state *s) {
  atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
  return s;
}

static void take_out(struct tl_peer_state *s) {
  tl_hash_remove(&all.ids, &s->node);
  all.free_slot[all.n_free++] = s->slot;
  if (all.ids.n == 0) free_tables();
}

void tl_peer_state_unref(struct tl_peer_state *s) {
  if (!s || tl_refs_drop_unless_last(&s->refs)) return;
  pthread_mutex_lock(&all.mu);
  bool last = atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1;
  if (last) take_out(s);
  pthread_mutex_unlock(&all.mu);
  if (!last) return;
  tl_peer_addrs_end(&s->addrs);
  tl_peer_admin_end(&s->admin);
  free(s->uri);
  free(s->name);
  free(s);
}

bool tl_peer_state_knows(const struct tl_peer_state *s, const char *uri) {
  return s->uri && strcmp(s->uri, uri) == 0;
}

int tl_peer_state_begin(struct tl_peer_state *s, const char *uri, struct tl_addr_list *found,
                        bool named) {
  char *copy = found ? strdup(uri) : NULL;
  if (!copy) {
    tl_addr_list_unref(found);
    return TL_ENOMEM;
  }
  free(s->uri);
  s->uri = copy;
  tl_peer_addrs_begin(&s->addrs, found, named);
  return TL_OK;
}
