/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables of routes: what each route demands goes into the route index, everything
 * else about it stays with the route.
 */
#include "tieline/route_table.h"

#include <stdlib.h>

#include "tieline/conf.h"
#include "tieline/err.h"

static int index_route(struct tl_route_table *t, uint32_t number, const struct tl_conf_route *r) {
  uint64_t *from = calloc(r->n_from + 1, sizeof(*from));
  if (!from) return TL_ENOMEM;
  for (size_t i = 0; i < r->n_from; i++) from[i] = r->from[i]->id;
  struct tl_route_key key = {.prefix = tl_str_c(r->to_prefix),
                             .domains = r->to_domain,
                             .of_next_hop = r->relay_request_uri,
                             .from_peer = from,
                             .n_from = r->n_from};
  int rc = tl_index_map_add(&t->ids, tl_index_mix(r->id), number);
  if (rc == TL_OK) rc = tl_route_index_add(&t->index, number, &key);
  free(from);
  return rc;
}

int tl_route_table_fill(struct tl_conf *c) {
  int rc = TL_OK;
  for (size_t i = 0; i < c->n_route && rc == TL_OK; i++)
    rc = index_route(&c->routes, (uint32_t)i, &c->route[i]);
  return rc;
}

void tl_route_table_clear(struct tl_route_table *t) {
  tl_route_index_clear(&t->index);
  tl_index_map_clear(&t->ids);
}

const struct tl_conf_route *tl_route_table_by_id(const struct tl_conf *c, uint64_t id) {
  uint32_t node = tl_index_map_first(&c->routes.ids, tl_index_mix(id));
  if (!node) return NULL;
  const struct tl_conf_route *r = &c->route[tl_index_map_node(&c->routes.ids, node)->value];
  return r->id == id ? r : NULL;
}
