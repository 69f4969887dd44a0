/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers that answered 503 with a Retry-After are left alone for that time (RFC
 * 3261 21.5.4), bounded by their retry_after_max. What it means for a route is
 * route.c's; probes go on.
 */
#include "proxy.h"

/* The delta-seconds in front of comment and parameters (RFC 3261 20.33); 0 where there are none. */
static uint32_t retry_after_s(const struct tl_msg *m) {
  struct tl_str v = tl_msg_header(m, TL_H_RETRY_AFTER);
  uint32_t s = 0;
  for (size_t i = 0; i < v.n && v.p[i] >= '0' && v.p[i] <= '9'; i++)
    s = s > 1000000 ? s : s * 10 + (uint32_t)(v.p[i] - '0');
  return s;
}

/* Whom B was sent to; rare enough to look for it. */
static const struct tl_conf_peer *peer_of(const struct tl_branch *b) {
  const struct tl_snap *snap = b->txn->snap;
  for (size_t i = 0; b->load && snap->load && i < snap->conf->n_peer; i++)
    if (snap->load[i] == b->load) return &snap->conf->peer[i];
  return NULL;
}

void tl_pause_asked(struct tl_branch *b, const struct tl_msg *m) {
  struct tl_proxy *p = b->txn->proxy;
  if (m->status != 503 || b->txn->probe || !tl_msg_has(m, TL_H_RETRY_AFTER)) return;
  const struct tl_conf_peer *peer = peer_of(b);
  uint64_t ms = retry_after_s(m) * UINT64_C(1000), now = p->net.now_ms;
  if (!peer || !peer->health || !peer->retry_after_max_ms || !ms) return;
  if (ms > peer->retry_after_max_ms) ms = peer->retry_after_max_ms;
  if (tl_health_pause_ms(peer->health, now)) return; /* the first one counts */
  tl_health_pause(peer->health, now + ms);
  tl_count(tl_proxy_counters(p), TL_C_PEER_PAUSES);
  TL_LOG(TL_LOG_INFO, "A peer asked for a pause (503 with Retry-After); routes leave it alone.",
         TL_FC("peer", peer->name), TL_FI("asked_s", retry_after_s(m)), TL_FI("pause_ms", ms));
}
