/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which networks an address is in: one look-up for each length that occurs, however
 * many networks there are. The networks of several owners share one index; what is
 * offered may be one too many (two things can hash alike), so that the caller
 * compares.
 *
 * Ownership: the caller's, filled once and then only read; it keeps nothing of
 * what it is given. Threads: one fills, any number read. Errors: TL_ENOMEM.
 */
#pragma once

#include "tieline/addr.h"
#include "tieline/index_map.h"

struct tl_network_index {
  struct tl_index_map map; /* owner, masked address and length: values */
  uint64_t lengths[2][3];  /* bit N: there are networks of N bits, IPv4 and IPv6 */
};

/* VALUE is found under NETWORK of OWNER. After TL_ENOMEM X can only be cleared. */
int tl_network_index_add(struct tl_network_index *x, uint64_t owner,
                         const struct tl_network *network, uint32_t value);
void tl_network_index_clear(struct tl_network_index *x);

/* The values under OWNER's networks with ADDR in them: the narrowest network first, those of one
 * network as they were added. */
void tl_network_index_each(const struct tl_network_index *x, uint64_t owner,
                           const struct tl_addr *addr, tl_index_map_fn fn, void *arg);
/* The narrowest of OWNER's networks with ADDR in it, where the values are places in LIST; NULL:
 * none has. */
const struct tl_network *tl_network_index_narrowest(const struct tl_network_index *x,
                                                    uint64_t owner, const struct tl_network *list,
                                                    const struct tl_addr *addr);

/* Of the IP address of A alone, for an index map. */
uint64_t tl_network_index_ip(const struct tl_addr *a);
