/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many connections each source has opened to us, of the whole process: over
 * TCP and TLS, from accept to close. A source is what tl_addr_source_prefix says.
 *
 * Ownership: the table belongs to the process. Threads: any; the lock is held for
 * one look-up. Errors: TL_ELIMIT the source has as many as it may, TL_ENOMEM.
 */
#pragma once

#include "tieline/conf.h"

/* One more connection from PEER: limits.max_connections_source, or, at the address or in the
 * networks of a peer of CONF, its max_connections or limits.max_connections_peer. */
int tl_conn_source_enter(const struct tl_conf *conf, const struct tl_addr *peer);
/* One less. */
void tl_conn_source_leave(const struct tl_addr *peer);
