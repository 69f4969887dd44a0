/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values that several commands show, as JSON.
 *
 * Ownership: what is returned is the caller's. Threads: the control thread's.
 * Errors: NULL: memory is short.
 */
#pragma once

#include <jansson.h>
#include <time.h>

#include "tieline/conn_info.h"

struct tl_control;
struct tl_identity;
struct tl_peer_addrs;
struct tl_tls_domain;

/* "2026-11-21T22:00:00Z"; null for 0. */
json_t *tl_json_time(time_t at);
json_t *tl_json_address(const struct tl_addr *a);
/* S as JSON text, NULL as null. */
json_t *tl_json_text(const char *s);
/* One connection as `connections` shows it. */
json_t *tl_json_connection(const struct tl_conn_info *i);
/* Every field of a certificate; NULL as null. */
json_t *tl_json_identity(const struct tl_identity *id);
/* The state of the look-up as `ctl peers` shows it; null for a peer without a name. */
json_t *tl_names_show(const struct tl_peer_addrs *p);
/* For stats: seconds until the first own certificate, authority, peer's chain and list expire. */
json_t *tl_json_expiry(struct tl_control *c);
/* The authorities of a domain with their days left. */
json_t *tl_json_authorities(const struct tl_tls_domain *d);
