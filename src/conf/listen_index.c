/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listeners by address and by port: what a reload and every message ask for, built once per
 * snapshot.
 */
#include <stdlib.h>

#include "conf/conf_internal.h"
#include "tieline/index_map.h"

struct tl_listen_index {
  struct tl_index_map at;    /* transport and address -> listener */
  uint64_t port[65536 / 64]; /* a bit for each that is listened on, or advertised */
};

static uint64_t key_of(enum tl_transport t, const struct tl_addr *a) {
  return tl_index_mix(tl_addr_hash(a) + (uint64_t)t);
}

static void note_port(struct tl_listen_index *x, uint16_t port) {
  x->port[port / 64] |= 1ull << port % 64;
}

int tl_listen_index_new(const struct tl_conf *c, struct tl_listen_index **out) {
  struct tl_listen_index *x = calloc(1, sizeof(*x));
  int rc = x ? TL_OK : TL_ENOMEM;
  for (size_t i = 0; i < c->n_listen && !rc; i++) {
    const struct tl_conf_listen *l = &c->listen[i];
    note_port(x, tl_addr_port(&l->addr));
    note_port(x, l->advertise_port);
    rc = tl_index_map_add(&x->at, key_of(l->transport, &l->addr), (uint32_t)i);
  }
  if (rc) {
    tl_listen_index_free(x);
    x = NULL;
  }
  *out = x;
  return rc;
}

void tl_listen_index_free(struct tl_listen_index *x) {
  if (!x) return;
  tl_index_map_clear(&x->at);
  free(x);
}

int tl_conf_listener_at(const struct tl_conf *c, enum tl_transport t, const struct tl_addr *a) {
  const struct tl_index_map *m = &c->listen_index->at;
  for (uint32_t n = tl_index_map_first(m, key_of(t, a)); n; n = tl_index_map_node(m, n)->next) {
    const uint32_t i = tl_index_map_node(m, n)->value;
    if (c->listen[i].transport == t && tl_addr_eq(&c->listen[i].addr, a)) return (int)i;
  }
  return -1;
}

int tl_conf_listener_of(const struct tl_conf *c, enum tl_transport t, const struct tl_addr *local) {
  struct tl_addr any = {.sa.sa_family = local->sa.sa_family};
  tl_addr_set_port(&any, tl_addr_port(local));
  int i = tl_conf_listener_at(c, t, local);
  return i >= 0 ? i : tl_conf_listener_at(c, t, &any);
}

bool tl_conf_listens_on(const struct tl_conf *c, uint16_t port) {
  return c->listen_index->port[port / 64] >> port % 64 & 1;
}
