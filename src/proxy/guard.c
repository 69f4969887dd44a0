/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses that a URI in a message cannot make us send to: this machine itself (loopback,
 * unspecified), its links, our own listeners. A sender that is there itself may name them.
 * Addresses from the configuration, that is, of peers, are not checked here.
 */
#include "guard.h"

#include "proxy.h"
#include "stage.h"
#include "tieline/log_limit.h"
#include "tieline/view.h"

/* 64:ff9b::/96 (RFC 6052 2.1), ::/96 (RFC 4291 2.5.5.1) except :: and ::1, and ::ffff:0:0/96. */
static bool wears_ipv6(const struct in6_addr *ip) {
  static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b};
  return IN6_IS_ADDR_V4MAPPED(ip) || IN6_IS_ADDR_V4COMPAT(ip) ||
         memcmp(ip->s6_addr, nat64, sizeof(nat64)) == 0;
}

/* An IPv4 address embedded in IPv6 leads where the IPv4 address does. Returns A, or the embedded
 * address in BUF. */
static const struct tl_addr *unmap_ipv4(const struct tl_addr *a, struct tl_addr *buf) {
  if (a->sa.sa_family != AF_INET6 || !wears_ipv6(&a->v6.sin6_addr)) return a;
  memset(buf, 0, sizeof(*buf));
  buf->v4.sin_family = AF_INET;
  buf->v4.sin_port = a->v6.sin6_port;
  memcpy(&buf->v4.sin_addr, a->v6.sin6_addr.s6_addr + 12, 4);
  return buf;
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

/* Whatever the transport: a host that listens on one usually listens on the others. */
static bool is_listener(const struct tl_conf *conf, const struct tl_addr *to) {
  char ip[TL_ADDR_STRLEN];
  const uint16_t port = tl_addr_port(to);
  return tl_conf_listens_on(conf, port) &&
         tl_conf_is_local(conf, tl_str_c(tl_addr_format_host(to, ip)), port);
}

static const char *is_inner(const struct tl_addr *to, const struct tl_addr *from) {
  struct tl_addr buf;
  enum place p = place_of(to);
  if (p == ELSEWHERE) return NULL;
  if (p == NOWHERE) return "it is not the address of a single host";
  if (p == place_of(unmap_ipv4(from, &buf))) return NULL;
  return p == LOOPBACK ? "it is this machine's loopback and the sender is not there"
                       : "it is a link-local address and the sender is not there";
}

bool tl_guard_is_listener(const struct tl_conf *conf, const struct tl_addr *to) {
  struct tl_addr buf;
  return is_listener(conf, unmap_ipv4(to, &buf));
}

const char *tl_guard_refusal(const struct tl_conf *conf, const struct tl_addr *to,
                             const struct tl_addr *from) {
  struct tl_addr buf;
  const struct tl_addr *there = unmap_ipv4(to, &buf);
  const char *inner = is_inner(there, from);
  return inner ? inner : is_listener(conf, there) ? "it is a listener of ours" : NULL;
}

/* ---- what is refused ---- */

static const char *caller_of(const struct tl_view *view, const struct tl_plan *plan) {
  const struct tl_conf_peer *peer = tl_view_peer(view, plan->caller);
  return peer ? peer->name : "";
}

void tl_guard_deny(const struct tl_req *req, const char *reason, enum tl_log_level level,
                   const char *sentence) {
  struct tl_plan *plan = req->plan;
  char from[TL_ADDR_STRLEN];
  plan->refusal = reason;
  if (req->dry) return;
  TL_LOG_FROM(&plan->source, NULL, level, sentence,
              TL_FC("from", tl_addr_format(&plan->source, from)),
              TL_FC("peer", caller_of(req->view, plan)),
              TL_FC("route", plan->route ? plan->route->name : ""), TL_F("host", plan->uri.host),
              TL_F("next_hop", plan->next_uri.host));
}

/* ---- relay = "request-uri" ---- */

static bool in_networks(const struct tl_req *req, const struct tl_addr *there) {
  const struct tl_conf_route *r = req->plan->route;
  return r && tl_route_relays_into(req->view->routes, r, there);
}

bool tl_guard_relay(struct tl_req *req) {
  const struct tl_conf *conf = req->view->conf;
  struct tl_plan *plan = req->plan;
  unsigned n = 0, had = plan->n_target, ours = 0;
  for (unsigned i = 0; i < had; i++) {
    struct tl_addr buf;
    const struct tl_addr *there = unmap_ipv4(&plan->target[i].addr, &buf);
    bool own = is_listener(conf, there);
    ours += own;
    if (own || (is_inner(there, &plan->source) && !in_networks(req, there))) continue;
    if (n != i) plan->target[n] = plan->target[i];
    n++;
  }
  plan->n_target = (uint8_t)n;
  if (n || !had) return true;
  /* To ourselves it would only loop: as with any address of ours, there is no such user here. */
  req->plan->status = ours ? 404 : 403;
  if (!ours) tl_req_count(req, TL_C_RELAY_DENIED);
  if (ours)
    tl_guard_deny(req, "Next Hop Is This Proxy Itself", TL_LOG_INFO,
                  "A request was refused: its next hop is a listener of ours.");
  else
    tl_guard_deny(req, "Relaying To An Inner Address Denied", TL_LOG_INFO,
                  "A request was refused: its next hop is an inner address (loopback, link-local) "
                  "that relay_networks of the route does not list.");
  return false;
}
