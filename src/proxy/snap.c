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
  tl_peer_table_unref(s->peers);
  tl_conf_unref(s->conf);
  free(s->share);
  free(s);
}

const struct tl_addr_list *tl_snap_addrs(const struct tl_snap *s, const struct tl_conf_peer *peer) {
  return s->peers->addrs[peer - s->conf->peer];
}

struct tl_peer_share *tl_snap_share(const struct tl_snap *s, const struct tl_conf_peer *peer) {
  return s && s->share && peer ? s->share[peer - s->conf->peer] : NULL;
}

const struct tl_conf_peer *tl_snap_peer(const struct tl_snap *s, uint64_t id) {
  uint32_t number = id ? tl_peer_index_by_id(&s->peers->index, id) : TL_PEER_NONE;
  if (number == TL_PEER_NONE) return NULL;
  const struct tl_conf_peer *peer = &s->conf->peer[number];
  return peer->id == id ? peer : NULL;
}

/* Other addresses: the same snapshot with another table, into which nothing points between two
 * messages. */
static void refresh_peers(struct tl_snap *s) {
  if (s->peers->generation == tl_peer_table_generation(s->conf)) return;
  struct tl_peer_table *old = s->peers;
  s->peers = tl_peer_table_current(s->conf);
  tl_peer_table_unref(old);
}

void tl_snap_refresh(struct tl_proxy *p) {
  if (p->snap && p->snap->conf == p->net.conf) {
    refresh_peers(p->snap);
    return;
  }
  struct tl_snap *s = calloc(1, sizeof(*s));
  if (!s) return; /* the old snapshot serves for another turn */
  s->conf = tl_conf_ref(p->net.conf);
  s->refs = 1;
  s->share = tl_peer_share_of(p, s->conf);
  s->peers = tl_peer_table_current(s->conf);
  tl_snap_unref(p->snap);
  p->snap = s;
}
