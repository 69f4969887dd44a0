/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A view: the configuration with the tables that belong to it, as one thread sees
 * them. What happens in one turn of a worker sees one view; a transaction keeps the
 * one that it began with.
 *
 * Ownership: counted here, without atomics: whoever keeps one takes a reference. It
 * holds references to all it consists of. Threads: one thread's own. Errors: NULL:
 * memory is short.
 */
#pragma once

#include "tieline/conf.h"
#include "tieline/peer_table.h"

struct tl_view {
  struct tl_conf *conf;
  struct tl_peer_table *peers; /* of conf, with their addresses of then */
  const struct tl_route_table *routes;
  uint32_t refs;
};

/* Of CONF, with its peers' addresses of now; one reference. Takes a reference to CONF. */
struct tl_view *tl_view_new(struct tl_conf *conf);
struct tl_view *tl_view_ref(struct tl_view *v);
/* V may be NULL. */
void tl_view_unref(struct tl_view *v);

/* Where PEER, of V, is reached. */
const struct tl_addr_list *tl_view_addrs(const struct tl_view *v, const struct tl_conf_peer *peer);
/* The peer of V with ID; NULL: there is none, or ID is 0. */
const struct tl_conf_peer *tl_view_peer(const struct tl_view *v, uint64_t id);
