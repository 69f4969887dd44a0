/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses to which nothing goes only because a URI in a message names them:
 * this machine's own insides (loopback, unspecified), its links, our own
 * listeners. Who is there himself may name them. What the configuration names,
 * a peer, is not asked about here.
 */
#include "proxy.h"

/* IPv4 in IPv6 clothes (RFC 4291 2.5.5.2) leads where the IPv4 address does. */
static struct tl_addr unmapped(const struct tl_addr *a) {
  struct tl_addr out = *a;
  if (a->sa.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&a->v6.sin6_addr)) return out;
  memset(&out, 0, sizeof(out));
  out.v4.sin_family = AF_INET;
  out.v4.sin_port = a->v6.sin6_port;
  memcpy(&out.v4.sin_addr, a->v6.sin6_addr.s6_addr + 12, 4);
  return out;
}

enum place { ELSEWHERE, LOOPBACK, LINK_LOCAL, NOWHERE };

static enum place place_of_v4(uint32_t ip) {
  if (ip >> 24 == 127) return LOOPBACK;
  if (ip >> 16 == 0xa9fe) return LINK_LOCAL;       /* 169.254/16, RFC 3927 */
  return ip >> 24 == 0 || ip >> 28 >= 14 ? NOWHERE /* 0/8, multicast, 240/4, broadcast */
                                         : ELSEWHERE;
}

static enum place place_of(const struct tl_addr *a) {
  if (a->sa.sa_family != AF_INET6) return place_of_v4(ntohl(a->v4.sin_addr.s_addr));
  const struct in6_addr *ip = &a->v6.sin6_addr;
  if (IN6_IS_ADDR_LOOPBACK(ip)) return LOOPBACK;
  if (IN6_IS_ADDR_LINKLOCAL(ip)) return LINK_LOCAL;
  return IN6_IS_ADDR_UNSPECIFIED(ip) || IN6_IS_ADDR_MULTICAST(ip) ? NOWHERE : ELSEWHERE;
}

/* Whatever the transport: what listens for one mostly listens for the others. */
static bool is_listener(const struct tl_conf *conf, const struct tl_addr *to) {
  char ip[TL_ADDR_STRLEN];
  uint16_t port = tl_addr_port(to);
  for (size_t i = 0; i < conf->n_listen; i++)
    if (tl_addr_port(&conf->listen[i].addr) == port || conf->listen[i].advertise_port == port)
      return tl_conf_is_ours(conf, tl_str_c(tl_addr_format_host(to, ip)), port);
  return false;
}

const char *tl_guard_refusal(const struct tl_conf *conf, const struct tl_addr *to,
                             const struct tl_addr *from) {
  struct tl_addr there = unmapped(to), here = unmapped(from);
  enum place p = place_of(&there);
  if (p == NOWHERE) return "it is no address of a single host";
  if (p != ELSEWHERE && p != place_of(&here))
    return p == LOOPBACK ? "it is this machine's loopback and the sender is not there"
                         : "it is a link-local address and the sender is not there";
  return is_listener(conf, &there) ? "it is a listener of ours" : NULL;
}
