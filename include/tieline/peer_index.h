/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which peers may be meant: an index over what peers are found by, so that ten
 * thousand of them cost a request no more than ten. Peers are numbered in the
 * order of the configuration. What is offered may be one too many (two things can
 * hash alike); the caller compares.
 *
 * Ownership: the caller's, filled once and then only read; it keeps nothing of
 * what it is given. Threads: one fills, any number read. Errors: TL_ENOMEM.
 */
#pragma once

#include "tieline/addr.h"
#include "tieline/index_map.h"

#define TL_PEER_NONE UINT32_MAX

struct tl_peer_index {
  struct tl_index_map ids;
  struct tl_index_map hosts;    /* IP addresses, without port */
  struct tl_index_map networks; /* masked addresses with their length */
  struct tl_index_map names;    /* that a certificate may show */
  uint64_t lengths[2][3];       /* bit N: there are networks of N bits, IPv4 and IPv6 */
};

/* Each adds peer NUMBER under one more key; numbers ascend for each kind of key. After TL_ENOMEM X
 * can only be cleared. */
int tl_peer_index_add_id(struct tl_peer_index *x, uint32_t number, uint64_t id);
/* The port of ADDR does not count. */
int tl_peer_index_add_addr(struct tl_peer_index *x, uint32_t number, const struct tl_addr *addr);
int tl_peer_index_add_network(struct tl_peer_index *x, uint32_t number,
                              const struct tl_network *network);
/* Neither case nor a dot at the end counts. */
int tl_peer_index_add_name(struct tl_peer_index *x, uint32_t number, struct tl_str name);
void tl_peer_index_clear(struct tl_peer_index *x);

/* The peer of that id, or TL_PEER_NONE. */
uint32_t tl_peer_index_by_id(const struct tl_peer_index *x, uint64_t id);

/* Called with each peer found, in ascending order for each key; false: no more. */
typedef bool (*tl_peer_index_fn)(void *arg, uint32_t number);

/* Peers that have the IP address of ADDR. */
void tl_peer_index_by_addr(const struct tl_peer_index *x, const struct tl_addr *addr,
                           tl_peer_index_fn fn, void *arg);
/* Peers that have a network with ADDR in it, the narrowest networks first. */
void tl_peer_index_by_network(const struct tl_peer_index *x, const struct tl_addr *addr,
                              tl_peer_index_fn fn, void *arg);
/* Peers that have the name. */
void tl_peer_index_by_name(const struct tl_peer_index *x, struct tl_str name, tl_peer_index_fn fn,
                           void *arg);
