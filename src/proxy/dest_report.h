/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens to a destination, told to people.
 *
 * Ownership: none. Threads: any worker. Errors: none.
 */
#pragma once

#include "tieline/dest_state.h"
#include "tieline/peer_table.h"

/* Writes a line when D, of PEER, went down or came up again. */
void tl_dest_report(const struct tl_conf_peer *peer, const struct tl_dest_state *d,
                    struct tl_dest_change c);
