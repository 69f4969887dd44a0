/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables of peers: made whole from a set of peers and the lists of addresses that
 * are current, then only read. What a peer is reached at is looked up
 * elsewhere (the control thread's names), which has a new table made when it
 * changes.
 */
#include "tieline/peer_table.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tieline/err.h"
#include "tieline/index_map.h"
#include "tieline/tls_domain.h"

/* A peer may have several ports at one host. */
static bool is_first_there(const struct tl_addr_list *l, size_t i) {
  size_t k = 0;
  while (k < i && !tl_addr_ip_eq(&l->at[k].addr, &l->at[i].addr)) k++;
  return k == i;
}

static int index_addrs(struct tl_peer_index *x, uint32_t number, const struct tl_conf_peer *peer,
                       const struct tl_addr_list *l) {
  int rc = TL_OK;
  for (size_t i = 0; i < l->n && rc == TL_OK; i++) {
    const struct tl_addr *a = &l->at[i].addr;
    rc = tl_peer_index_add_place(x, number, (enum tl_transport)l->at[i].via, a);
    if (rc || !is_first_there(l, i)) continue;
    rc = tl_peer_index_add_addr(x, number, a);
    if (rc == TL_OK && peer->opt.tls_only) rc = tl_peer_index_add_only_tls(x, number, a);
  }
  return rc;
}

static int index_names(struct tl_peer_index *x, uint32_t number, const struct tl_conf_peer *peer) {
  int rc = TL_OK;
  if (!peer->opt.identity) return tl_peer_index_add_name(x, number, tl_str_c(peer->identity));
  for (char **name = peer->opt.identity; *name && rc == TL_OK; name++)
    rc = tl_peer_index_add_name(x, number, tl_str_c(*name));
  return rc;
}

static int index_networks(struct tl_peer_index *x, uint32_t number, const struct tl_conf_peer *peer,
                          const struct tl_addr_list *l) {
  const bool only_tls = tl_conf_peer_only_tls(peer, l);
  int rc = TL_OK;
  for (size_t i = 0; i < peer->n_network && rc == TL_OK; i++) {
    rc = tl_peer_index_add_network(x, number, TL_PEER_BY_TLS, &peer->network[i]);
    if (rc == TL_OK && !only_tls)
      rc = tl_peer_index_add_network(x, number, TL_PEER_IN_CLEAR, &peer->network[i]);
  }
  return rc;
}

static int index_peer(struct tl_peer_table *t, uint32_t number, const struct tl_conf_peer *peer) {
  struct tl_peer_index *x = &t->index;
  const struct tl_addr_list *l = t->addrs[number];
  t->bounds_messages |= peer->opt.max_message != 0;
  int rc = tl_peer_index_add_id(x, number, peer->id);
  if (rc == TL_OK) rc = index_names(x, number, peer);
  if (rc == TL_OK) rc = index_networks(x, number, peer, l);
  return rc == TL_OK ? index_addrs(x, number, peer, l) : rc;
}

/* ---- who comes from an address without a certificate ---- */

/* One address of a peer that is recognised by it. */
struct known {
  uint32_t number;
  uint8_t k;    /* of its addresses */
  uint8_t bits; /* of the narrowest network that it gives the address, and 1; 0: none */
};

/* The narrower network first, then the order of the configuration. */
static int by_preference(const void *a, const void *b) {
  const struct known *x = a, *y = b;
  if (x->bits != y->bits) return x->bits < y->bits ? 1 : -1;
  return x->number != y->number ? (x->number > y->number) - (x->number < y->number)
                                : (x->k > y->k) - (x->k < y->k);
}

static size_t list_known(const struct tl_peer_table *t, struct known *out) {
  size_t n = 0;
  for (size_t i = 0; i < t->n; i++) {
    const struct tl_conf_peer *peer = &t->peer[i];
    const struct tl_addr_list *l = t->addrs[i];
    for (size_t k = 0; l && k < l->n; k++) {
      const struct tl_network *in = tl_peer_network(t->set, peer, &l->at[k].addr);
      if (!in && (peer->n_network || peer->by_cert)) continue;
      out[n++] = (struct known){(uint32_t)i, (uint8_t)k, in ? (uint8_t)(in->bits + 1) : 0};
    }
  }
  return n;
}

static int index_known(struct tl_peer_table *t, const struct known *at) {
  const struct tl_addr_list *l = t->addrs[at->number];
  const struct tl_addr *a = &l->at[at->k].addr;
  const enum tl_transport via = (enum tl_transport)l->at[at->k].via;
  const bool only_tls = tl_conf_peer_only_tls(&t->peer[at->number], l);
  int rc = only_tls && !tl_transport_is_secure(via)
               ? TL_OK
               : tl_peer_index_add_known_place(&t->index, at->number, via, a);
  if (rc || !is_first_there(l, at->k)) return rc;
  rc = tl_peer_index_add_known(&t->index, at->number, TL_PEER_BY_TLS, a);
  if (rc || only_tls) return rc;
  return tl_peer_index_add_known(&t->index, at->number, TL_PEER_IN_CLEAR, a);
}

/* N_ADDR: all addresses of all peers. */
static int index_all_known(struct tl_peer_table *t, size_t n_addr) {
  struct known *list = malloc((n_addr + 1) * sizeof(*list));
  if (!list) return TL_ENOMEM;
  int rc = TL_OK;
  const size_t n = list_known(t, list);
  if (n) qsort(list, n, sizeof(*list), by_preference);
  for (size_t i = 0; i < n && rc == TL_OK; i++) rc = index_known(t, &list[i]);
  free(list);
  return rc;
}

/* Its state is another uri's until the set is in force. */
static struct tl_addr_list *addrs_of(const struct tl_conf_peer *peer) {
  return tl_peer_state_knows(peer->state, peer->opt.uri)
             ? tl_peer_addrs_current(&peer->state->addrs)
             : tl_conf_peer_found(peer);
}

static const char *domain_name(const struct tl_conf_peer *peer, const struct tl_tls_set *tls,
                               const struct tl_target_addr *at) {
  const struct tl_tls_domain *d = NULL;
  if (tls && tl_transport_is_secure((enum tl_transport)at->via))
    d = tl_conf_peer_domain(peer, tls, &at->addr);
  return d ? d->name : "";
}

/* N: all addresses of all peers. */
static int find_dests(struct tl_peer_table *t, const struct tl_tls_set *tls, size_t n) {
  t->first_dest = calloc(t->n + 1, sizeof(*t->first_dest));
  t->dest = calloc(n + 1, sizeof(struct tl_dest_state *));
  if (!t->first_dest || !t->dest) return TL_ENOMEM;
  for (size_t i = 0; i < t->n; i++) {
    const struct tl_addr_list *l = t->addrs[i];
    t->first_dest[i] = t->n_dest;
    for (size_t k = 0; l && k < l->n; k++) {
      const struct tl_target_addr *at = &l->at[k];
      const char *domain = domain_name(&t->peer[i], tls, at);
      t->dest[t->n_dest] = tl_dest_state_of(&at->addr, (enum tl_transport)at->via, domain);
      if (!t->dest[t->n_dest]) return TL_ENOMEM;
      t->n_dest++;
    }
  }
  return TL_OK;
}

struct tl_peer_table *tl_peer_table_new(struct tl_peer_set *s, const struct tl_tls_set *tls) {
  static _Atomic uint64_t generations;
  struct tl_peer_table *t = calloc(1, sizeof(*t));
  if (!t) return NULL;
  atomic_init(&t->refs, 1);
  t->generation = atomic_fetch_add(&generations, 1) + 1;
  t->set = tl_peer_set_ref(s);
  t->peer = s->peer;
  t->addrs = calloc(s->n + 1, sizeof(struct tl_addr_list *));
  int rc = t->addrs ? TL_OK : TL_ENOMEM;
  size_t n_addr = 0;
  while (rc == TL_OK && t->n < s->n) {
    size_t number = t->n++;
    t->addrs[number] = addrs_of(&s->peer[number]);
    rc = !t->addrs[number] ? TL_ENOMEM : index_peer(t, (uint32_t)number, &s->peer[number]);
    if (rc == TL_OK) n_addr += t->addrs[number]->n;
  }
  if (rc == TL_OK) rc = index_all_known(t, n_addr);
  if (rc == TL_OK) rc = find_dests(t, tls, n_addr);
  if (rc == TL_OK) return t;
  tl_peer_table_unref(t);
  return NULL;
}

struct tl_peer_table *tl_peer_table_ref(struct tl_peer_table *t) {
  atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
  return t;
}

static void free_by_route(struct tl_dest_by_route *at) {
  while (at) {
    struct tl_dest_by_route *next = at->next;
    tl_dest_state_unref(at->dest);
    free(at);
    at = next;
  }
}

void tl_peer_table_unref(struct tl_peer_table *t) {
  if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1) return;
  for (size_t i = 0; i < t->n; i++) tl_addr_list_unref(t->addrs[i]);
  for (uint32_t i = 0; i < t->n_dest; i++) tl_dest_state_unref(t->dest[i]);
  for (uint32_t i = 0; i < TL_DEST_BY_ROUTE_BUCKETS; i++) free_by_route(t->by_route[i]);
  free(t->dest);
  free(t->first_dest);
  tl_peer_index_clear(&t->index);
  free(t->addrs);
  tl_peer_set_unref(t->set);
  free(t);
}

/* ---- finding ---- */

const struct tl_conf_peer *tl_peer_table_by_id(const struct tl_peer_table *t, uint64_t id) {
  uint32_t number = tl_peer_index_by_id(&t->index, id);
  if (number == TL_PEER_NONE) return NULL;
  const struct tl_conf_peer *peer = &t->peer[number];
  return peer->id == id ? peer : NULL;
}

const struct tl_conf_peer *tl_peer_table_by_name(const struct tl_peer_table *t, const char *name) {
  const struct tl_conf_peer *peer = tl_peer_table_by_id(t, tl_index_name_id(name));
  return peer && strcmp(peer->name, name) == 0 ? peer : NULL;
}

/* ---- by a route's TLS domain ---- */

static struct tl_dest_state *find_by_route(const struct tl_dest_by_route *at,
                                           const struct tl_dest_state *usual, const char *domain) {
  while (at && (at->usual != usual || strcmp(at->dest->domain, domain) != 0)) at = at->next;
  return at ? at->dest : NULL;
}

/* Two workers that ask at the same time add it twice, which is the same. */
struct tl_dest_state *tl_peer_table_dest_by(const struct tl_peer_table *t,
                                            const struct tl_dest_state *usual, const char *domain) {
  const uint64_t key = tl_index_mix((uint64_t)(uintptr_t)usual ^ tl_index_name_id(domain));
  _Atomic(struct tl_dest_by_route *) *bucket =
      &((struct tl_peer_table *)(uintptr_t)t)->by_route[key % TL_DEST_BY_ROUTE_BUCKETS];
  struct tl_dest_by_route *first = atomic_load_explicit(bucket, memory_order_acquire);
  struct tl_dest_state *found = find_by_route(first, usual, domain);
  if (found) return found;
  struct tl_dest_by_route *new = calloc(1, sizeof(*new));
  if (!new || !(new->dest = tl_dest_state_of(&usual->addr, usual->transport, domain))) {
    free(new);
    return NULL;
  }
  new->usual = usual;
  new->next = first;
  while (!atomic_compare_exchange_weak_explicit(bucket, &new->next, new, memory_order_acq_rel,
                                                memory_order_acquire)) {
  }
  atomic_fetch_add_explicit(&((struct tl_peer_table *)(uintptr_t)t)->n_by_route, 1,
                            memory_order_relaxed);
  return new->dest;
}

void tl_peer_table_dests_by_route(const struct tl_peer_table *t, const struct tl_dest_state *usual,
                                  tl_dest_by_route_fn fn, void *arg) {
  if (!atomic_load_explicit(&t->n_by_route, memory_order_relaxed)) return;
  for (uint32_t i = 0; i < TL_DEST_BY_ROUTE_BUCKETS; i++) {
    const struct tl_dest_by_route *at = atomic_load_explicit(&t->by_route[i], memory_order_acquire);
    for (; at; at = at->next)
      if (at->usual == usual) fn(arg, at->dest);
  }
}
