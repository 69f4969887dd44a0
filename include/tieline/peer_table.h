/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The peers of a configuration with the addresses that they have at present, found
 * by id, address, network and the names of their certificates. A table never
 * changes: when an address does, another one is published with a generation of its
 * own.
 *
 * Ownership: counted references; it refers to the peers of the configuration, which
 * must outlive it. Threads: read by any; made and published by the control thread.
 * Errors: NULL: memory is short.
 */
#pragma once

#include "tieline/conf.h"
#include "tieline/peer_index.h"

struct tl_peer_table {
  _Atomic uint32_t refs;
  uint64_t generation;         /* no other table of the process has it */
  size_t n;                    /* peers of the configuration */
  struct tl_addr_list **addrs; /* of each, a reference */
  struct tl_peer_index index;  /* numbers are those of the configuration */
  bool has_tls_only;           /* some peer may be reached by TLS only */
};

/* Of the peers of C with their addresses of now; one reference. */
struct tl_peer_table *tl_peer_table_new(const struct tl_conf *c);
struct tl_peer_table *tl_peer_table_ref(struct tl_peer_table *t);
void tl_peer_table_unref(struct tl_peer_table *t);

/* C's table of now with a reference for the caller; takes no lock. */
struct tl_peer_table *tl_peer_table_current(const struct tl_conf *c);
/* The same table's generation, to see whether it is another one; no reference is taken. */
uint64_t tl_peer_table_generation(const struct tl_conf *c);
/* T (taken over) is C's from now on; returns when nobody can still be taking the old one. */
void tl_peer_table_publish(struct tl_conf *c, struct tl_peer_table *t);
