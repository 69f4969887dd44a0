/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers that answered 503 with a Retry-After are left alone for that time (RFC 3261 21.5.4), up to
 * their retry_after_max. What that means for a route is decided in route.c; probes go on.
 */
#include "pause.h"

#include "branch.h"
#include "proxy.h"
#include "tieline/health.h"
#include "tieline/view.h"
#include "txn.h"

/* The delta-seconds in front of comment and parameters (RFC 3261 20.33); 0 if there are none. */
static uint32_t retry_after_s(const struct tl_msg *m) {
  struct tl_str v = tl_msg_header(m, TL_H_RETRY_AFTER);
  uint32_t s = 0;
  for (size_t i = 0; i < v.n && v.p[i] >= '0' && v.p[i] <= '9'; i++)
    s = s > 1000000 ? s : s * 10 + (uint32_t)(v.p[i] - '0');
  return s;
}

void tl_pause_asked(struct tl_branch *b, const struct tl_msg *m) {
  struct tl_proxy *p = b->txn->proxy;
  if (m->status != 503 || b->txn->user || !tl_msg_has(m, TL_H_RETRY_AFTER)) return;
  /* Of the present view: behind a 2xx to another branch the transaction has none any more. */
  const struct tl_conf_peer *peer = tl_view_peer(tl_net_view(p->net), b->peer);
  uint64_t ms = retry_after_s(m) * UINT64_C(1000), now = tl_net_now_ms(p->net);
  if (!peer || !peer->opt.retry_after_max_ms || !ms) return;
  if (ms > peer->opt.retry_after_max_ms) ms = peer->opt.retry_after_max_ms;
  if (tl_health_pause_ms(&peer->state->health, now)) return; /* the first one applies */
  tl_health_pause(&peer->state->health, now + ms);
  tl_count(tl_proxy_counters(p), TL_C_PEER_PAUSES);
  TL_LOG(TL_LOG_INFO, "A peer asked for a pause (503 with Retry-After); routes leave it alone.",
         TL_FC("peer", peer->name), TL_FI("asked_s", retry_after_s(m)), TL_FI("pause_ms", ms));
}
