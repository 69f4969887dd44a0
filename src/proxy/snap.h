/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot as one worker holds it: the configuration, its share of each peer, and
 * the addresses of each peer. The present one is p->snap; a transaction keeps the one
 * it began with.
 *
 * Ownership: counted here, without atomics: whoever keeps one takes a reference.
 * Threads: the worker's own. Errors: where memory is short the old one stays.
 */
#pragma once

#include "tieline/conf.h"
#include "tieline/peer_table.h"

struct tl_proxy;
struct tl_peer_share;

struct tl_snap {
  struct tl_conf *conf;
  struct tl_peer_share **share; /* one for each peer of conf; NULL: memory was short */
  struct tl_peer_table *peers;  /* of conf, with their addresses; a reference */
  uint32_t refs;
};

/* Brings p->snap up to date with p->net.conf and the peers' addresses; p->snap keeps a reference.
 */
void tl_snap_refresh(struct tl_proxy *p);
struct tl_snap *tl_snap_ref(struct tl_snap *s);
/* S may be NULL. */
void tl_snap_unref(struct tl_snap *s);

/* Where PEER, of S, is reached. */
const struct tl_addr_list *tl_snap_addrs(const struct tl_snap *s, const struct tl_conf_peer *peer);
/* This worker's share of PEER, of S (NULL: no peer); NULL if there is none. */
struct tl_peer_share *tl_snap_share(const struct tl_snap *s, const struct tl_conf_peer *peer);
/* The peer of S with ID; NULL: there is none, or ID is 0. */
const struct tl_conf_peer *tl_snap_peer(const struct tl_snap *s, uint64_t id);
