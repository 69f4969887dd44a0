/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Probes: OPTIONS of our own to each address of the peers that are configured for it.
 *
 * Ownership: the first worker has them all. Threads: the first worker's; what they find is
 * published in the health of the destination. Errors: a probe that cannot be made is left out.
 */
#pragma once

struct tl_proxy;

/* Starts the probes that the present view asks for and drops the others. Once a turn. */
void tl_peer_probe_refresh(struct tl_proxy *p);
void tl_peer_probe_exit(struct tl_proxy *p);
