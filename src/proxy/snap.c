/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots: taken once per change, so that messages read everything without a lock.
 */
#include "snap.h"

#include <stdlib.h>

#include "peer_share.h"
#include "proxy.h"

struct tl_snap *tl_snap_ref(struct tl_snap *s) {
  s->refs++;
  return s;
}

void tl_snap_unref(struct tl_snap *s) {
  if (!s || --s->refs) return;
  for (size_t i = 0; i < s->conf->n_peer; i++) tl_addr_list_unref(s->peer_addrs[i]);
  tl_conf_unref(s->conf);
  free(s->peer_addrs);
  free(s->share);
  free(s);
}

const struct tl_addr_list *tl_snap_addrs(const struct tl_snap *s, const struct tl_conf_peer *peer) {
  return s->peer_addrs[peer - s->conf->peer];
}

struct tl_peer_share *tl_snap_share(const struct tl_snap *s, const struct tl_conf_peer *peer) {
  return s && s->share && peer ? s->share[peer - s->conf->peer] : NULL;
}

const struct tl_conf_peer *tl_snap_peer(const struct tl_snap *s, uint64_t id) {
  for (size_t i = 0; id && i < s->conf->n_peer; i++)
    if (s->conf->peer[i].id == id) return &s->conf->peer[i];
  return NULL;
}

static void take_addrs(struct tl_snap *s, uint32_t changes) {
  for (size_t i = 0; i < s->conf->n_peer; i++) {
    struct tl_addr_list *old = s->peer_addrs[i];
    s->peer_addrs[i] = tl_peer_addrs_current(s->conf->peer[i].addrs);
    tl_addr_list_unref(old);
  }
  s->peer_addrs_seen = changes;
}

void tl_snap_refresh(struct tl_proxy *p) {
  uint32_t changes = __atomic_load_n(&p->th.rt->peer_addrs_changes, __ATOMIC_ACQUIRE);
  if (p->snap && p->snap->conf == p->net.conf) {
    if (p->snap->peer_addrs_seen != changes) take_addrs(p->snap, changes);
    return;
  }
  struct tl_snap *s = calloc(1, sizeof(*s));
  if (s) s->peer_addrs = calloc(p->net.conf->n_peer + 1, sizeof(struct tl_addr_list *));
  if (!s || !s->peer_addrs) {
    free(s);
    return; /* the old snapshot serves for another turn */
  }
  s->conf = tl_conf_ref(p->net.conf);
  s->refs = 1;
  s->share = tl_peer_share_of(p, s->conf);
  take_addrs(s, changes);
  tl_snap_unref(p->snap);
  p->snap = s;
}
