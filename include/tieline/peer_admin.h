/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an administrator says of a peer, or of one of its addresses: it wins over what is found out
 * about them. An address's own counts, else the peer's.
 *
 * Ownership: a part of the peer's state; lists are replaced, never changed. Threads: read by any,
 * without a lock; set by the control thread. Errors: TL_ENOMEM.
 */
#pragma once

#include <stdatomic.h>

#include "tieline/addr.h"

enum tl_admin_state {
  TL_ADMIN_NONE,  /* nothing: its health counts */
  TL_ADMIN_UP,    /* requests go there, whatever its health */
  TL_ADMIN_DRAIN, /* no new ones; dialogs and probes go on */
  TL_ADMIN_DOWN,  /* no probes either */
  TL_ADMIN_STATES
};
extern const char *const tl_admin_state_names[TL_ADMIN_STATES + 1];

struct tl_admin_address {
  struct tl_addr addr; /* port 0: any */
  enum tl_admin_state state;
};

struct tl_admin_list {
  size_t n;
  struct tl_admin_address at[];
};

struct tl_peer_admin {
  _Atomic uint32_t all; /* enum tl_admin_state of the peer; TL_ADMIN_LISTED: LIST has some */
  _Atomic(struct tl_admin_list *) list; /* by rcu */
};
#define TL_ADMIN_LISTED 4u

/* ALL is the peer's, LIST (taken over, NULL: none) its addresses', from now on. */
void tl_peer_admin_set(struct tl_peer_admin *a, enum tl_admin_state all,
                       struct tl_admin_list *list);
void tl_peer_admin_end(struct tl_peer_admin *a);

/* Has anything been said of the peer or of its addresses? */
static inline bool tl_peer_admin_is_set(struct tl_peer_admin *a) {
  return atomic_load_explicit(&a->all, memory_order_relaxed) != 0;
}
enum tl_admin_state tl_peer_admin_find(struct tl_peer_admin *a, const struct tl_addr *addr);
/* That of ADDR. One load where nothing has been said. */
static inline enum tl_admin_state tl_peer_admin_of(struct tl_peer_admin *a,
                                                   const struct tl_addr *addr) {
  return tl_peer_admin_is_set(a) ? tl_peer_admin_find(a, addr) : TL_ADMIN_NONE;
}
/* Do new requests go there? */
static inline bool tl_admin_takes(enum tl_admin_state s) { return s < TL_ADMIN_DRAIN; }
