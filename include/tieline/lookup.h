/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names to addresses (RFC 3263) for a caller that waits: when a configuration is loaded.
 * A caller that cannot wait asks the resolver (tieline/resolve.h).
 *
 * Ownership: said at each field. Threads: any; helpers of its own do the waiting.
 * Errors: TL_ENOMEM.
 */
#pragma once

#include "tieline/addr.h"
#include "tieline/transport.h"

/* A name to look up. */
struct tl_lookup {
  const char *host;            /* without brackets */
  uint16_t port;               /* 0: SRV records say it */
  enum tl_transport transport; /* the default where neither DNS nor the URI decides */
  bool any_transport;          /* NAPTR records say it */
  struct tl_addr *addr;        /* malloc'd */
  uint8_t *via;                /* malloc'd, the transport of each */
  size_t n;
  const char *why; /* why there is none, a constant */
};
/* Looks up all of L concurrently, within TIMEOUT_MS. */
int tl_lookup_all(struct tl_lookup *l, size_t n, unsigned timeout_ms);
