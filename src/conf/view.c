/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Views: references to what belongs together, and what is found through them. When
 * another one is due is decided by the thread that has it.
 */
#include "tieline/view.h"

#include <stdlib.h>

struct tl_view *tl_view_new(struct tl_conf *conf) {
  struct tl_view *v = calloc(1, sizeof(*v));
  if (!v) return NULL;
  v->conf = tl_conf_ref(conf);
  v->peers = tl_peer_table_current(conf);
  v->routes = &conf->routes;
  v->refs = 1;
  return v;
}

struct tl_view *tl_view_ref(struct tl_view *v) {
  v->refs++;
  return v;
}

void tl_view_unref(struct tl_view *v) {
  if (!v || --v->refs) return;
  tl_peer_table_unref(v->peers);
  tl_conf_unref(v->conf);
  free(v);
}

const struct tl_addr_list *tl_view_addrs(const struct tl_view *v, const struct tl_conf_peer *peer) {
  return v->peers->addrs[peer - v->conf->peer];
}

const struct tl_conf_peer *tl_view_peer(const struct tl_view *v, uint64_t id) {
  uint32_t number = id ? tl_peer_index_by_id(&v->peers->index, id) : TL_PEER_NONE;
  if (number == TL_PEER_NONE) return NULL;
  const struct tl_conf_peer *peer = &v->conf->peer[number];
  return peer->id == id ? peer : NULL;
}
