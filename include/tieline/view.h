/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A view: the configuration, the peers and the routes that are in force together.
 * What happens in one turn of a worker sees one view; a transaction keeps the one
 * that it began with.
 *
 * Ownership: counted here, without atomics: whoever keeps one takes a reference. It
 * holds references to all it consists of, and those are counted for all threads.
 * Threads: one thread's own; another thread has a copy. Errors: NULL: memory is
 * short.
 */
#pragma once

#include "tieline/conf.h"
#include "tieline/peer_table.h"
#include "tieline/route_table.h"

struct tl_view {
  struct tl_conf *conf;
  struct tl_peer_table *peers;
  struct tl_route_table *routes; /* to peers of the same set */
  uint64_t published;            /* which publication it is, counted from 1; 0: not published */
  uint32_t refs;
};

/* Takes a reference to each; one reference. */
struct tl_view *tl_view_new(struct tl_conf *conf, struct tl_peer_table *peers,
                            struct tl_route_table *routes);
/* The same for another thread. */
struct tl_view *tl_view_copy(const struct tl_view *v);
struct tl_view *tl_view_ref(struct tl_view *v);
/* V may be NULL. */
void tl_view_unref(struct tl_view *v);

/* Where PEER, of V, is reached. */
static inline const struct tl_addr_list *tl_view_addrs(const struct tl_view *v,
                                                       const struct tl_conf_peer *peer) {
  return tl_peer_table_addrs(v->peers, peer);
}
/* The peer of V with ID; NULL: there is none, or ID is 0. */
static inline const struct tl_conf_peer *tl_view_peer(const struct tl_view *v, uint64_t id) {
  return id ? tl_peer_table_by_id(v->peers, id) : NULL;
}
