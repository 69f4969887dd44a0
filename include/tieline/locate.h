/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a SIP URI leads, apart from asking name servers: which services NAPTR
 * records offer, which SRV names to ask for, in what order SRV targets are tried
 * (RFC 3263, RFC 3403, RFC 2782), the hosts file. The questions are asked by the
 * resolver thread, and by the configuration while it is read.
 *
 * Ownership: values, nothing to free. Threads: any, no state. Errors: none.
 */
#pragma once

#include "tieline/addr.h"
#include "tieline/transport.h"

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

/* The fields of a NAPTR record that the look-up uses. */
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
  bool none; /* "." was a target: the service is explicitly not offered (RFC 2782) */
  struct tl_srv at[TL_SRV_MAX];
};

/* Adds a NAPTR record to S if it names a transport that we speak (RFC 3263 4.1); SECURE: for a sips
 * URI, which only SIPS services may serve. Of several orders only the lowest is kept (RFC 3403
 * 4.1). */
void tl_locate_naptr(struct tl_services *s, const struct tl_naptr *r, bool secure);

/* The services of HOST when there are no NAPTR records: that of T, or with ANY those that a sip URI
 * may use. */
void tl_locate_services(struct tl_services *s, const char *host, bool any, enum tl_transport t);

/* Adds an SRV record to S, which keeps the best TL_SRV_MAX. */
void tl_locate_srv(struct tl_srvs *s, const char *target, uint16_t priority, uint16_t weight,
                   uint16_t port);

/* Orders by priority and, within one priority, by weighted chance (RFC 2782). */
void tl_locate_order(struct tl_srvs *s);

/* For all that look up from now on, files to read instead of /etc/hosts and /etc/resolv.conf; NULL
 * leaves one as it is. Before threads run. */
void tl_dns_files(const char *hosts, const char *resolv_conf);
const char *tl_dns_hosts_file(void);
/* NULL: the system's. */
const char *tl_dns_resolv_conf(void);

/* Addresses of HOST in the hosts file FILE, and of localhost even without an entry, up to CAP;
 * returns how many. Read at each call, so that a change is seen at once. */
size_t tl_locate_hosts(const char *file, const char *host, struct tl_addr *out, size_t cap);

/* Is there a route to A? Connecting a datagram socket asks the kernel and sends nothing. */
bool tl_locate_routable(const struct tl_addr *a);
/* Is there a route to some name server of RESOLV_CONF (NULL: the system's)? */
bool tl_locate_servers(const char *resolv_conf);
