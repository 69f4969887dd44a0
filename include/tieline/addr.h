/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Socket addresses, IPv4 and IPv6, as plain values.
 *
 * Ownership: values, nothing to free. Threads: any. Errors: TL_ESYNTAX for text
 * that is not a numeric address.
 */
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include "tieline/str.h"

struct tl_addr {
  union {
    struct sockaddr sa;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
  };
};

#define TL_ADDR_STRLEN 56 /* "[v6%scope]:port" and the NUL */

/* Numeric IPv4, IPv6 or [IPv6] in HOST. TL_ESYNTAX if it is a name. */
int tl_addr_parse(struct tl_str host, uint16_t port, struct tl_addr *out);
socklen_t tl_addr_len(const struct tl_addr *a);
uint16_t tl_addr_port(const struct tl_addr *a);
void tl_addr_set_port(struct tl_addr *a, uint16_t port);
bool tl_addr_eq(const struct tl_addr *a, const struct tl_addr *b);
/* The IP alone, ports ignored. */
bool tl_addr_ip_eq(const struct tl_addr *a, const struct tl_addr *b);
bool tl_addr_is_any(const struct tl_addr *a);
uint64_t tl_addr_hash(const struct tl_addr *a);
/* The unit that limits by source count A in, port 0: an IPv4 address, also where it is written as
 * IPv6 (::ffff:0:0/96, 64:ff9b::/96), else the /64, which one subscriber has whole (RFC 6177). */
void tl_addr_source_prefix(const struct tl_addr *a, struct tl_addr *out);
/* Addresses with the same first BITS. */
struct tl_network {
  struct tl_addr addr;
  uint8_t bits;
};
/* "192.0.2.0/24", "2001:db8::/32" or a single address. TL_ESYNTAX also if bits behind the prefix
 * are set: that is usually a typing mistake. */
int tl_network_parse(struct tl_str s, struct tl_network *out);
bool tl_network_has(const struct tl_network *n, const struct tl_addr *a);
/* "192.0.2.1:5060" or "[2001:db8::1]:5060"; returns BUF. */
const char *tl_addr_format(const struct tl_addr *a, char buf[TL_ADDR_STRLEN]);
/* The IP alone, IPv6 in brackets as a SIP host; returns BUF. */
const char *tl_addr_format_host(const struct tl_addr *a, char buf[TL_ADDR_STRLEN]);
