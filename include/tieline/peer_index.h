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

#include "tieline/network_index.h"
#include "tieline/transport.h"

#define TL_PEER_NONE UINT32_MAX

struct tl_peer_index {
  struct tl_index_map ids;
  struct tl_index_map hosts;        /* IP addresses, without port */
  struct tl_index_map places;       /* with transport and port */
  struct tl_index_map known_hosts;  /* where requests come from, without a certificate */
  struct tl_index_map known_places; /* the same with transport and port */
  struct tl_index_map only_tls;     /* IP addresses to which nothing goes in the clear */
  struct tl_index_map names;        /* that a certificate may show */
  struct tl_network_index networks;
};

/* Each adds peer NUMBER under one more key; numbers ascend for each kind of key. After TL_ENOMEM X
 * can only be cleared. */
int tl_peer_index_add_id(struct tl_peer_index *x, uint32_t number, uint64_t id);
/* At ADDR, whose port does not count, and at ADDR by transport T. */
int tl_peer_index_add_addr(struct tl_peer_index *x, uint32_t number, const struct tl_addr *addr);
int tl_peer_index_add_place(struct tl_peer_index *x, uint32_t number, enum tl_transport t,
                            const struct tl_addr *addr);
/* Nothing goes to ADDR in the clear. */
int tl_peer_index_add_only_tls(struct tl_peer_index *x, uint32_t number,
                               const struct tl_addr *addr);
/* Neither case nor a dot at the end counts. */
int tl_peer_index_add_name(struct tl_peer_index *x, uint32_t number, struct tl_str name);

/* How a request came that shows no certificate. */
enum tl_peer_way { TL_PEER_BY_TLS, TL_PEER_IN_CLEAR, TL_PEER_WAYS };
/* What comes that way from the IP address of ADDR, from ADDR by transport T, from NETWORK, may be
 * the peer. Here not the numbers decide: who is preferred is added first. */
int tl_peer_index_add_known(struct tl_peer_index *x, uint32_t number, enum tl_peer_way way,
                            const struct tl_addr *addr);
int tl_peer_index_add_known_place(struct tl_peer_index *x, uint32_t number, enum tl_transport t,
                                  const struct tl_addr *addr);
int tl_peer_index_add_network(struct tl_peer_index *x, uint32_t number, enum tl_peer_way way,
                              const struct tl_network *network);
void tl_peer_index_clear(struct tl_peer_index *x);

/* The peer of that id, or TL_PEER_NONE. */
uint32_t tl_peer_index_by_id(const struct tl_peer_index *x, uint64_t id);

/* Called with each peer found, in the order in which they were added; false: no more. */
typedef bool (*tl_peer_index_fn)(void *arg, uint32_t number);

/* Peers that have the IP address of ADDR. */
void tl_peer_index_by_addr(const struct tl_peer_index *x, const struct tl_addr *addr,
                           tl_peer_index_fn fn, void *arg);
/* Peers that are reached at ADDR by T. */
void tl_peer_index_by_place(const struct tl_peer_index *x, enum tl_transport t,
                            const struct tl_addr *addr, tl_peer_index_fn fn, void *arg);
/* Peers for which nothing goes to the IP address of ADDR in the clear. */
void tl_peer_index_by_only_tls(const struct tl_peer_index *x, const struct tl_addr *addr,
                               tl_peer_index_fn fn, void *arg);
/* Peers that have the name. */
void tl_peer_index_by_name(const struct tl_peer_index *x, struct tl_str name, tl_peer_index_fn fn,
                           void *arg);

/* Peers from which a request comes without a certificate: by its IP address, by its address and
 * transport, by networks with its address in them, the narrowest first. */
void tl_peer_index_by_known(const struct tl_peer_index *x, enum tl_peer_way way,
                            const struct tl_addr *addr, tl_peer_index_fn fn, void *arg);
void tl_peer_index_by_known_place(const struct tl_peer_index *x, enum tl_transport t,
                                  const struct tl_addr *addr, tl_peer_index_fn fn, void *arg);
void tl_peer_index_by_network(const struct tl_peer_index *x, enum tl_peer_way way,
                              const struct tl_addr *addr, tl_peer_index_fn fn, void *arg);
