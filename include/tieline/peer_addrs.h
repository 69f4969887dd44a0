/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a peer is reached: the addresses that its name leads to now, and what is
 * known of the looking up.
 *
 * Ownership: lists have counted references; struct tl_peer_addrs is a part of the
 * peer's state. A list never changes; it is replaced. Threads: a list is read by any; the fields
 * of tl_peer_addrs below `current` are the control thread's alone, which also publishes.
 * Errors: none but lack of memory.
 */
#pragma once

#include <stdatomic.h>

#include "tieline/addr.h"

#define TL_PEER_ADDRS_MAX 8

struct tl_target_addr {
  struct tl_addr addr;
  uint8_t via;     /* enum tl_transport */
  uint8_t group;   /* of one service and priority (RFC 2782), ascending */
  uint8_t target;  /* of one host, ascending */
  uint16_t weight; /* of that host within the group */
};

struct tl_addr_list {
  _Atomic uint32_t refs;
  bool weighted; /* some group has several targets: their order is drawn for each request */
  size_t n;
  struct tl_target_addr at[TL_PEER_ADDRS_MAX]; /* by group, and by target within one */
};

struct tl_peer_addrs {
  /* NULL only before it begins; read with tl_peer_addrs_current. */
  _Atomic(struct tl_addr_list *) current;
  bool needs_dns;       /* a name is to be looked up, not an address */
  bool query_pending;   /* the resolver has not answered yet */
  uint64_t serial;      /* names it in questions */
  uint64_t next_ms;     /* when it is to be asked again, 0: at once */
  uint64_t answered_ms; /* when the addresses were last confirmed, monotonic */
  int64_t answered_at;  /* the same by the wall clock, 0: never */
  uint32_t ttl_s;       /* how long that answer holds, 0: not known */
  uint32_t failures;    /* look-ups without an answer since then */
  uint64_t failed;      /* all of them ever */
  const char *error;    /* of the last one, a constant; NULL: it went well */
};

/* One reference for the caller. NULL when memory is short. */
struct tl_addr_list *tl_addr_list_new(void);
void tl_addr_list_unref(struct tl_addr_list *l);
/* Do both lead to the same places, with the same chances? */
bool tl_addr_list_equal(const struct tl_addr_list *a, const struct tl_addr_list *b);
/* The order in which one request tries L (RFC 2782): indices into L. The same DRAW gives the same
 * order. */
void tl_addr_list_order(const struct tl_addr_list *l, uint64_t draw,
                        uint8_t out[TL_PEER_ADDRS_MAX]);

/* Takes FIRST over; nothing has been looked up. It may have begun before. */
void tl_peer_addrs_begin(struct tl_peer_addrs *p, struct tl_addr_list *first, bool named);
/* Gives up its list. */
void tl_peer_addrs_end(struct tl_peer_addrs *p);
/* The list of now with a reference for the caller. Takes no lock. */
struct tl_addr_list *tl_peer_addrs_current(struct tl_peer_addrs *p);
/* L (taken over) is the list from now on; returns when nobody can still be taking the old one. */
void tl_peer_addrs_publish(struct tl_peer_addrs *p, struct tl_addr_list *l);

/* How long an answer of TTL_S seconds is kept, and how long to wait after FAILURES (from 1)
 * look-ups without an answer; milliseconds, bounded by MIN_MS and MAX_MS. */
uint64_t tl_peer_addrs_keep_ms(uint32_t ttl_s, uint32_t min_ms, uint32_t max_ms);
uint64_t tl_peer_addrs_retry_ms(uint32_t failures, uint32_t min_ms, uint32_t max_ms);
