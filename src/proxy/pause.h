/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses of peers that ask for a pause (RFC 3261 21.5.4).
 *
 * Ownership: none; the pause is published in the destination's health. Threads: the worker's own.
 * Errors: none.
 */
#pragma once

#include "tieline/scan.h"

struct tl_proxy;
struct tl_conf_peer;
struct tl_dest_state;

/* Does the response M from D, which is PEER's, ask for a pause that is granted? */
bool tl_pause_asked(struct tl_proxy *p, const struct tl_conf_peer *peer, struct tl_dest_state *d,
                    const struct tl_msg *m);
