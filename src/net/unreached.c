/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses to which TCP could not connect recently. A request that prefers TCP but may
 * use UDP (RFC 3261 18.1.1) does not try them again: a peer that drops TCP silently
 * would delay every large request by the connect timeout. A table of fixed size per
 * worker, in which a newer address replaces an older one.
 */
#include "net_internal.h"

#define SILENT_MS 300000u /* no answer: each attempt costs the connect timeout */
#define REFUSED_MS 10000u /* a refusal comes at once, and a restart is over soon */
#define SLOW_MS 1000u     /* a refusal that takes this long counts as no answer */

static struct tl_unreached *slot_of(struct tl_net *n, const struct tl_addr *a) {
  return &n->unreached[tl_addr_hash(a) % TL_UNREACHED_SLOTS];
}

void tl_unreached_note(struct tl_conn *c, int rc) {
  struct tl_net *n = c->net;
  bool slow = rc == TL_ETIMEOUT || n->now_ms - c->kept.born_ms >= SLOW_MS;
  if (tl_transport_is_secure(c->view.transport) || (rc != TL_ETIMEOUT && rc != TL_EIO)) return;
  *slot_of(n, &c->view.peer) = (struct tl_unreached){
      .addr = c->view.peer, .until_ms = n->now_ms + (slow ? SILENT_MS : REFUSED_MS)};
}

void tl_unreached_forget(struct tl_net *n, const struct tl_addr *a) {
  struct tl_unreached *s = slot_of(n, a);
  if (tl_addr_eq(&s->addr, a)) s->until_ms = 0;
}

bool tl_addr_unreached(struct tl_net *n, const struct tl_addr *a) {
  const struct tl_unreached *s = slot_of(n, a);
  return n->now_ms < s->until_ms && tl_addr_eq(&s->addr, a);
}
