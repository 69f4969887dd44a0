/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeping revocation lists fresh, and warning before certificates and lists
 * expire.
 *
 * Ownership: part of struct tl_control. Threads: the control thread's. Errors: a
 * fetch that fails is logged, counted and tried again.
 */
#pragma once

#include "control/control_internal.h"

#define TL_CRL_PLACES 256 /* distribution points known at a time */

struct tl_crl_point;
struct tl_crl_life {
  struct tl_crl_point *points;
  size_t n;
  uint64_t tick_ms; /* when the dates are looked at again */
  bool closing;
};

int tl_crl_init(struct tl_control *c);
void tl_crl_exit(struct tl_control *c);
/* Gives the lists fetched so far to the domains of CONF, which is about to replace BEFORE. */
void tl_crl_prepare(struct tl_control *c, const struct tl_conf *before, const struct tl_conf *conf);
/* Does what is due; lowers *TIMEOUT_MS to when it must be called again. */
void tl_crl_turn(struct tl_control *c, uint64_t now_ms, int *timeout_ms);

/* expiry.c */
/* Logs what expires soon: own certificates, authorities, chains of peers, lists. */
void tl_expiry_check(struct tl_control *c, const struct tl_conf *conf);
int tl_expiry_init(struct tl_control *c);
void tl_expiry_exit(struct tl_control *c);
/* For stats: seconds until the first own certificate, authority, peer's chain and list expire. */
json_t *tl_expiry_gauges(struct tl_control *c);
/* The authorities of a domain with their days left. */
json_t *tl_expiry_authorities(const struct tl_tls_domain *d);
