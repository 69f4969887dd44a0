/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of a peer at run time, in the whole process: its addresses, the calls
 * toward it, when it was last heard of. A reload forgets none of it, nor does a peer that
 * is taken out and comes back while calls toward it last.
 *
 * Ownership: counted references; tables of peers and calls hold them. Threads: found,
 * made and dropped by any; each part says who writes it. Errors: NULL or TL_ENOMEM:
 * memory is short.
 */
#pragma once

#include "tieline/call_rate.h"
#include "tieline/hash_table.h"
#include "tieline/peer_addrs.h"
#include "tieline/peer_admin.h"
#include "tieline/peer_calls.h"

struct tl_peer_state {
  struct tl_hash_node node; /* peer_state.c, by id */
  _Atomic uint32_t refs;
  uint32_t slot; /* no other one has it at the same time, and numbers are as small as can be */
  uint64_t id;   /* the peer's */
  char *name;
  char *uri; /* that its addresses are of, NULL: none yet; of the thread that loads */
  _Atomic uint64_t heard_ms; /* a request came from it, if heard_within is set; 0: not yet */
  struct tl_peer_admin admin;
  struct tl_peer_calls calls;
  struct tl_call_rate rate;
  struct tl_peer_addrs addrs;
};

/* A request has come from it. Any thread. */
static inline void tl_peer_state_heard(struct tl_peer_state *s, uint64_t now_ms) {
  if (atomic_load_explicit(&s->heard_ms, memory_order_relaxed) != now_ms)
    atomic_store_explicit(&s->heard_ms, now_ms, memory_order_relaxed);
}
/* Has none come for WITHIN_MS, counted from the first time that somebody asks? Any thread. */
static inline bool tl_peer_state_is_silent(struct tl_peer_state *s, uint32_t within_ms,
                                           uint64_t now_ms) {
  const uint64_t heard_ms = atomic_load_explicit(&s->heard_ms, memory_order_relaxed);
  if (!heard_ms) tl_peer_state_heard(s, now_ms);
  return heard_ms && now_ms > heard_ms + within_ms;
}

/* That of the peer with ID, called NAME; made if there is none. One reference for the caller. */
struct tl_peer_state *tl_peer_state_of(uint64_t id, const char *name);
struct tl_peer_state *tl_peer_state_ref(struct tl_peer_state *s);
/* S may be NULL. */
void tl_peer_state_unref(struct tl_peer_state *s);

/* Are the addresses of S those of URI? */
bool tl_peer_state_knows(const struct tl_peer_state *s, const char *uri);
/* They are from now on, and begin anew with FOUND (taken over, also on failure; may be NULL: memory
 * is short). NAMED: a name is to be looked up. By the thread that loads. */
int tl_peer_state_begin(struct tl_peer_state *s, const char *uri, struct tl_addr_list *found,
                        bool named);
