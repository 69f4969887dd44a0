/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bound sockets, alike for TLS, TCP and UDP: several threads bind the same
 * address and the kernel spreads connections over them (SO_REUSEPORT).
 *
 * Ownership: the descriptor is the caller's. Threads: any. Errors: TL_EIO with a
 * sentence that names the address.
 */
#pragma once

#include "tieline/addr.h"
#include "tieline/err.h"
#include "tieline/transport.h"

/* Bound, for streams also listening; an IPv6 socket takes IPv6 only. Blocking, because io_uring
 * answers at once with EAGAIN where O_NONBLOCK is set. The descriptor,
 * or TL_EIO with a sentence in ERR (CAP bytes). */
int tl_listen_socket(const struct tl_addr *a, enum tl_transport t, char *err, size_t cap);
