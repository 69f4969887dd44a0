/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Views: references to what belongs together. When another one is due is decided by
 * the thread that has it.
 */
#include "tieline/view.h"

#include <stdlib.h>

struct tl_view *tl_view_new(struct tl_conf *conf, struct tl_peer_table *peers,
                            struct tl_route_table *routes) {
  struct tl_view *v = calloc(1, sizeof(*v));
  if (!v) return NULL;
  v->conf = tl_conf_ref(conf);
  v->peers = tl_peer_table_ref(peers);
  v->routes = tl_route_table_ref(routes);
  v->refs = 1;
  return v;
}

struct tl_view *tl_view_copy(const struct tl_view *v) {
  struct tl_view *copy = tl_view_new(v->conf, v->peers, v->routes);
  if (copy) copy->published = v->published;
  return copy;
}

struct tl_view *tl_view_ref(struct tl_view *v) {
  v->refs++;
  return v;
}

void tl_view_unref(struct tl_view *v) {
  if (!v || --v->refs) return;
  tl_route_table_unref(v->routes);
  tl_peer_table_unref(v->peers);
  tl_conf_unref(v->conf);
  free(v);
}
