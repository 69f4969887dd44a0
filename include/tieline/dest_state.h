/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of a destination at run time, in the whole process. A destination is an address
 * and the way it is spoken to: IP, port, transport, and with TLS the TLS domain, whose certificate
 * may be refused where another one is not. It is nobody's: names, DNS records and peers lead to it.
 *
 * Ownership: counted references; tables of peers hold them. One of which something is known stays
 * for a while after the last, so that an address which DNS drops and brings back, or a peer that a
 * reload takes out and another puts back, is what it was. Threads: found, made and dropped by any.
 * Errors: NULL: memory is short.
 */
#pragma once

#include <urcu/list.h>

#include "tieline/addr.h"
#include "tieline/dest_health.h"
#include "tieline/hash_table.h"
#include "tieline/transport.h"

#define TL_DEST_KEEP_MS 600000u /* after the last reference */
#define TL_DEST_KEPT_MAX 4096u  /* without any; beyond, the one that was dropped first goes */

struct tl_dest_state {
  struct tl_hash_node node;  /* dest_state.c */
  struct cds_list_head idle; /* in its list while nobody refers to it */
  uint64_t idle_since_ms;
  _Atomic uint32_t refs;
  struct tl_addr addr;
  enum tl_transport transport;
  char *domain; /* name of the TLS domain; "" without TLS */
  struct tl_dest_health health;
};

/* That of ADDR by TRANSPORT with the TLS domain called DOMAIN ("" without TLS); made if there is
 * none. One reference for the caller. Takes a lock: not for each message. */
struct tl_dest_state *tl_dest_state_of(const struct tl_addr *addr, enum tl_transport transport,
                                       const char *domain);
struct tl_dest_state *tl_dest_state_ref(struct tl_dest_state *s);
/* S may be NULL. */
void tl_dest_state_unref(struct tl_dest_state *s);
/* Frees those that nobody refers to and that were dropped TL_DEST_KEEP_MS before NOW_MS. */
void tl_dest_states_expire(uint64_t now_ms);
/* How many there are, and how many of them nobody refers to. */
struct tl_dest_counts {
  uint32_t all, idle;
} tl_dest_states_count(void);
