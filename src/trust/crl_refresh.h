/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeping revocation lists fresh. What control shows of it is in tieline/trust.h.
 *
 * Ownership: struct tl_crl_life is the caller's; it uses a fetcher that lives
 * longer. Threads: the control thread's. Errors: NULL: memory is short; a fetch
 * that fails is logged, counted and tried again.
 */
#pragma once

#include "tieline/trust.h"
#include "trust/fetch.h"

#define TL_CRL_PLACES 256 /* distribution points known at a time */

/* A domain has got a list that it did not have. */
typedef void (*tl_crl_taken_fn)(void *arg);

struct tl_crl_life {
  struct tl_runtime *rt;
  struct tl_fetcher *fetcher;
  tl_crl_taken_fn taken;
  void *arg;
  struct tl_crl_point *points;
  size_t n;
  bool closing;
};

struct tl_crl_life *tl_crl_life_new(struct tl_runtime *rt, struct tl_fetcher *fetcher,
                                    tl_crl_taken_fn taken, void *arg);
void tl_crl_life_free(struct tl_crl_life *l); /* NULL is fine */
/* Orders what is due; returns when to call again. */
uint64_t tl_crl_turn(struct tl_crl_life *l, uint64_t now_ms);
/* What is fetched from now on is not taken. */
void tl_crl_close(struct tl_crl_life *l);
