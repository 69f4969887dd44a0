/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables of routes: what each route demands goes into the route index, everything
 * else about it stays with the route.
 */
#include "tieline/route_table.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "route/route_lists.h"
#include "tieline/err.h"
#include "tieline/tls_domain.h"

int tl_route_table_index(struct tl_route_table *t, uint32_t number) {
  struct tl_conf_route *r = &t->route[number];
  uint64_t *from = calloc(r->n_from + 1, sizeof(*from));
  if (!from) return TL_ENOMEM;
  for (size_t i = 0; i < r->n_from; i++) from[i] = r->from[i]->id;
  struct tl_route_key key = {.prefix = tl_str_c(r->opt.to_prefix),
                             .domains = r->opt.to_domain,
                             .of_next_hop = r->relay_request_uri,
                             .from_peer = from,
                             .n_from = r->n_from};
  int rc = tl_index_map_add(&t->ids, tl_index_mix(r->id), number);
  if (rc == TL_OK) rc = tl_route_index_add(&t->index, number, &key);
  if (rc == TL_OK) rc = tl_route_lists_index(t, r);
  free(from);
  return rc;
}

struct tl_route_table *tl_route_table_new(struct tl_peer_set *peers, struct tl_raw *raw,
                                          tl_raw_drop_fn drop_raw) {
  static _Atomic uint64_t generations;
  struct tl_route_table *t = calloc(1, sizeof(*t));
  if (!t) {
    drop_raw(raw);
    return NULL;
  }
  atomic_init(&t->refs, 1);
  t->generation = atomic_fetch_add(&generations, 1) + 1;
  t->peers = tl_peer_set_ref(peers);
  t->raw = raw;
  t->drop_raw = drop_raw;
  return t;
}

struct tl_route_table *tl_route_table_ref(struct tl_route_table *t) {
  atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
  return t;
}

static void free_route(struct tl_conf_route *r) {
  free(r->name);
  free(r->dest);
  free(r->peer);
  tl_tls_domain_unref(r->domain);
  free(r->relay_network);
  free(r->from);
}

void tl_route_table_unref(struct tl_route_table *t) {
  if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1) return;
  for (size_t i = 0; i < t->n; i++) free_route(&t->route[i]);
  free(t->route);
  for (size_t i = 0; i < t->n_group; i++) {
    free(t->group[i].name);
    free(t->group[i].member);
  }
  free(t->group);
  tl_route_index_clear(&t->index);
  tl_index_map_clear(&t->ids);
  tl_index_map_clear(&t->members);
  tl_network_index_clear(&t->relay_networks);
  tl_peer_set_unref(t->peers);
  t->drop_raw(t->raw);
  free(t);
}

const struct tl_conf_route *tl_route_table_by_id(const struct tl_route_table *t, uint64_t id) {
  uint32_t node = tl_index_map_first(&t->ids, tl_index_mix(id));
  if (!node) return NULL;
  const struct tl_conf_route *r = &t->route[tl_index_map_node(&t->ids, node)->value];
  return r->id == id ? r : NULL;
}
