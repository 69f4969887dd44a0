/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many connections each source has opened to the whole process, over TCP and
 * TLS, from accept to close. A source is the prefix given by tl_addr_source_prefix.
 *
 * Ownership: the table belongs to the process. Threads: any; the lock is held for
 * one look-up. Errors: TL_ELIMIT the source has as many as it may, TL_ENOMEM.
 */
#pragma once

#include "tieline/view.h"

#define TL_FILES_OWN 384u /* descriptors for listeners, name servers, ctl and files */

/* One more connection from PEER: limits.max_connections_source, or, at the address or in the
 * networks of a peer of VIEW, its max_connections or limits.max_connections_peer. */
int tl_conn_source_enter(const struct tl_view *view, const struct tl_addr *peer);
/* May there be one more stream connection beside the NOW of the whole process?
 * limits.max_connections, or as many descriptors as the process may have but for those it needs
 * itself. PEER opens it: the last eighth is for peers of VIEW, and the last sixteenth not even for
 * those; NULL: we do. */
bool tl_conn_room(const struct tl_view *view, uint32_t now, const struct tl_addr *peer);
/* One less. */
void tl_conn_source_leave(const struct tl_addr *peer);
