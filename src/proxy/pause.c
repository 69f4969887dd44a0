/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses that answered 503 with a Retry-After are left alone for that time (RFC 3261 21.5.4), up
 * to the peer's retry_after_max. What that means for a route is decided in hunt.c; probes go on.
 */
#include "pause.h"

#include "proxy.h"
#include "tieline/view.h"

/* The delta-seconds in front of comment and parameters (RFC 3261 20.33); 0 if there are none. */
static uint32_t retry_after_s(const struct tl_msg *m) {
  struct tl_str v = tl_msg_header(m, TL_H_RETRY_AFTER);
  uint32_t s = 0;
  for (size_t i = 0; i < v.n && v.p[i] >= '0' && v.p[i] <= '9'; i++)
    s = s > 1000000 ? s : s * 10 + (uint32_t)(v.p[i] - '0');
  return s;
}

bool tl_pause_asked(struct tl_proxy *p, const struct tl_conf_peer *peer, struct tl_dest_state *d,
                    const struct tl_msg *m) {
  if (m->status != 503 || !tl_msg_has(m, TL_H_RETRY_AFTER)) return false;
  uint64_t ms = retry_after_s(m) * UINT64_C(1000), now = tl_net_now_ms(p->net);
  char address[TL_ADDR_STRLEN];
  if (!peer->opt.retry_after_max_ms || !ms) return false;
  if (ms > peer->opt.retry_after_max_ms) ms = peer->opt.retry_after_max_ms;
  if (!tl_dest_pause(&d->health, now + ms, now)) return true; /* the first one applies */
  tl_count(tl_proxy_counters(p), TL_C_PEER_PAUSES);
  TL_LOG(TL_LOG_INFO, "A peer asked for a pause (503 with Retry-After); routes leave it alone.",
         TL_FC("peer", peer->name), TL_FC("address", tl_addr_format(&d->addr, address)),
         TL_FI("asked_s", retry_after_s(m)), TL_FI("pause_ms", ms));
  return true;
}
