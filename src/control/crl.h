/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of revocation lists and certificates: lists fetched and kept fresh,
 * what ends soon told in time, both shown.
 *
 * Ownership: part of struct tl_control. Threads: the control thread's. Errors: a
 * fetch that fails is logged, counted and tried again.
 */
#pragma once

#include "control/internal.h"

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
/* Gives the domains of CONF, which is about to be published in the place of BEFORE, the lists that
 * were fetched. */
void tl_crl_prepare(struct tl_control *c, const struct tl_conf *before, const struct tl_conf *conf);
/* What is due; *TIMEOUT_MS is lowered to when it must be called again. */
void tl_crl_turn(struct tl_control *c, uint64_t now_ms, int *timeout_ms);

/* expiry.c */
/* Says in the log what ends soon: certificates of ours and of authorities, lists. */
void tl_expiry_check(struct tl_control *c, const struct tl_conf *conf);
void tl_expiry_exit(void);
/* For stats: seconds until the first own certificate, authority, peer's chain or list ends. */
json_t *tl_expiry_gauges(struct tl_control *c);
/* The authorities of a domain with the days that are left to them. */
json_t *tl_expiry_authorities(const struct tl_tls_domain *d);
