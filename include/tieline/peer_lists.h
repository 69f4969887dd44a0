/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is in the lists of one peer: its names, domains and networks. A short list
 * is walked; those that are longer than TL_INDEX_FEW have their members in an index of
 * the set, so that a peer with thousands costs a request no more.
 *
 * Ownership: the set's. Threads: made by the control thread, read by any. Errors:
 * TL_ENOMEM for the index.
 */
#pragma once

#include "tieline/network_index.h"

struct tl_conf_peer;
struct tl_peer_set;

/* Private: owner and member to a place in the owner's list. */
struct tl_peer_lists {
  struct tl_index_map names;
  struct tl_network_index networks;
};

/* Of S, whose peers are complete; once. */
int tl_peer_lists_index(struct tl_peer_set *s);
void tl_peer_lists_clear(struct tl_peer_lists *l);

/* Has P, of S, the name, or is the address one of its names, that its certificate may show? */
bool tl_peer_has_identity(const struct tl_peer_set *s, const struct tl_conf_peer *p,
                          struct tl_str name);
bool tl_peer_has_identity_at(const struct tl_peer_set *s, const struct tl_conf_peer *p,
                             const struct tl_addr *addr);
/* Is HOST one of its domains? */
bool tl_peer_has_domain(const struct tl_peer_set *s, const struct tl_conf_peer *p,
                        struct tl_str host);
/* The narrowest of its networks with ADDR in it; NULL: none has. */
const struct tl_network *tl_peer_network(const struct tl_peer_set *s, const struct tl_conf_peer *p,
                                         const struct tl_addr *addr);
