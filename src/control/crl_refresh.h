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

/* Fetches what is due. */
extern const struct tl_control_service tl_crl_service;
/* Gives the lists fetched so far to the domains of CONF, which is about to replace BEFORE. */
void tl_crl_prepare(struct tl_control *c, const struct tl_conf *before, const struct tl_conf *conf);

/* expiry.c */
/* Logs what expires soon: own certificates, authorities, chains of peers, lists. */
void tl_expiry_check(struct tl_control *c, const struct tl_conf *conf);
extern const struct tl_control_service tl_expiry_service;
/* For stats: seconds until the first own certificate, authority, peer's chain and list expire. */
json_t *tl_expiry_gauges(struct tl_control *c);
/* The authorities of a domain with their days left. */
json_t *tl_expiry_authorities(const struct tl_tls_domain *d);
