/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a SIP URI leads, as far as it is no question to a name server: which
 * services NAPTR records offer, which SRV names to ask for, in what order SRV
 * targets are tried (RFC 3263, RFC 3403, RFC 2782), the hosts file. The asking is
 * done by the resolver thread, and by the configuration while it is read.
 *
 * Ownership: values, nothing to free. Threads: any, no state. Errors: none.
 */
#pragma once

#include "tieline/addr.h"

#define TL_SERVICES_MAX 3
#define TL_SRV_MAX 6 /* targets kept of one service */

/* One service of a domain: where its SRV records are. */
struct tl_service {
  enum tl_transport transport;
  uint16_t order, preference; /* of the NAPTR record, 0 without one */
  char name[300];
};

struct tl_services {
  size_t n;
  struct tl_service at[TL_SERVICES_MAX]; /* as they are to be tried */
};

/* What of a NAPTR record counts here. */
struct tl_naptr {
  uint16_t order, preference;
  const char *flags, *service, *regexp, *replacement;
};

struct tl_srv {
  char host[256];
  uint16_t port, priority, weight;
};

struct tl_srvs {
  size_t n;
  bool none; /* "." stood for a target: the service is decidedly not there (RFC 2782) */
  struct tl_srv at[TL_SRV_MAX];
};

/* Takes a NAPTR record into S if it names a transport of ours (RFC 3263 4.1); SECURE: for a sips
 * URI, which only SIPS services may serve. Of several orders the lowest alone stays (RFC 3403 4.1).
 */
void tl_locate_naptr(struct tl_services *s, const struct tl_naptr *r, bool secure);

/* The services of HOST when no NAPTR record says: that of T, or with ANY those that a sip URI may
 * use. */
void tl_locate_services(struct tl_services *s, const char *host, bool any, enum tl_transport t);

/* Takes an SRV record into S, the best TL_SRV_MAX stay. */
void tl_locate_srv(struct tl_srvs *s, const char *target, uint16_t priority, uint16_t weight,
                   uint16_t port);

/* Orders by priority and, within one, by weighted chance (RFC 2782). */
void tl_locate_order(struct tl_srvs *s);

uint16_t tl_locate_port(enum tl_transport t);

/* Addresses of HOST in the hosts file FILE, and of localhost without it, up to CAP; returns how
 * many. Read at each call, so that a change is seen at once. */
size_t tl_locate_hosts(const char *file, const char *host, struct tl_addr *out, size_t cap);

/* Is there a route to A? Connecting a datagram socket asks the kernel and sends nothing. */
bool tl_locate_routable(const struct tl_addr *a);
/* Is there a route to some name server of RESOLV_CONF (NULL: the system's)? */
bool tl_locate_servers(const char *resolv_conf);
