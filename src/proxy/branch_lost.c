/* SPDX-License-Identifier: Apache-2.0 */
/*
 * INVITEs that outlive the connection they were sent on. RFC 3261 17.1.1.2 knows transport errors
 * in the Calling state only: once the callee rings, its response is awaited until Timer C and
 * accepted on any connection of the same party (18.2.2 lets it open another one); whatever must be
 * sent there uses a new connection.
 */
#include "branch.h"

#include "forward.h"
#include "outbound.h"
#include "plan.h"
#include "proxy.h"
#include "source.h"
#include "txn.h"
#include "xworker.h"

static void note_lost(struct tl_branch *b, const struct tl_flow *was,
                      struct tl_identity *identity) {
  if (!b->lost) {
    b->was = identity ? tl_identity_ref(identity) : NULL;
    if (b->flow.addr.sa.sa_family == 0) b->flow.addr = was->addr;
    b->lost = true;
    if (b->state == TL_BR_PROCEEDING)
      tl_count(tl_proxy_counters(b->txn->proxy), TL_C_TXN_CONN_LOST);
  }
  b->flow.conn = 0;
  b->flow.alias = false;
}

void tl_branch_lost(struct tl_branch *b, const struct tl_flow *was, struct tl_identity *identity,
                    int rc) {
  tl_branch_detach(b);
  /* A peer that no longer passes verification, or shutdown: as if a 503 had been received
   * (16.9). */
  bool over = rc == TL_EVERIFY || tl_net_head(b->txn->proxy->net)->stopping;
  if (over || !b->invite || (b->state == TL_BR_CALLING && !was->conn)) {
    tl_forward_failed(b, 503);
    return;
  }
  note_lost(b, was, identity);
  if (b->state == TL_BR_CALLING) tl_forward_gave_up(b, 503);
}

/* ---- who may answer ---- */

/* Its name and TLS domain are the transaction's. */
static const struct tl_target *target_of(const struct tl_branch *b) {
  return b->txn->plan && b->target.addr.sa.sa_family ? &b->target : NULL;
}

/* Does the verified certificate ID prove that this is whom B was sent to? */
static bool is_proven_party(struct tl_proxy *p, const struct tl_branch *b,
                            const struct tl_source *s, const struct tl_origin *origin,
                            const struct tl_identity *id) {
  if (b->peer) return tl_source_is(p, s, origin, b->peer);
  if (b->was && strcmp(b->was->spki_sha256, id->spki_sha256) == 0) return true;
  const struct tl_target *t = target_of(b);
  if (!t || !tl_transport_is_secure(t->transport)) return false;
  return tl_identity_speaks_for(id, tl_str_c(tl_plan_identity(b->txn->plan, t)), s->allow_cn);
}

/* After a 2xx B learns neither of the connection's end nor which certificate was used there. */
static bool gone_unverified(struct tl_proxy *p, const struct tl_branch *b) {
  if (b->lost) return !b->was;
  const struct tl_conn *c = tl_conn_get(p->net, b->flow.conn);
  return b->state == TL_BR_ACCEPTED && !tl_transport_is_secure(b->flow.transport) &&
         !tl_xw_is_remote(p, b->flow.conn) && (!c || tl_conn_half_closed(c));
}

bool tl_branch_is_same_party(struct tl_proxy *p, const struct tl_branch *b,
                             const struct tl_origin *origin) {
  const struct tl_flow *from = origin->from;
  if (!b->invite || b->state == TL_BR_CALLING || tl_transport_is_datagram(from->transport) ||
      tl_transport_is_datagram(b->flow.transport))
    return false;
  struct tl_source *s = tl_source_of(p, origin);
  const struct tl_identity *id = tl_source_identity(s, origin);
  /* The new connection may be noticed before the end of the old one. */
  if (id && is_proven_party(p, b, s, origin, id)) return true;
  if (!gone_unverified(p, b)) return false;
  if (b->peer && tl_source_is(p, s, origin, b->peer)) return true;
  return from->transport == b->flow.transport && tl_addr_ip_eq(&b->flow.addr, &from->addr);
}

void tl_branch_moved(struct tl_branch *b, const struct tl_flow *from) {
  struct tl_proxy *p = b->txn->proxy;
  if (b->flow.conn == from->conn || (b->state > TL_BR_PROCEEDING && b->state != TL_BR_GIVEN_UP))
    return;
  tl_branch_detach(b);
  b->flow = *from;
  tl_branch_attach(b, tl_conn_get(p->net, from->conn));
}

/* ---- what must be sent there ---- */

static int send_anew(struct tl_branch *b, const void *data, size_t n) {
  struct tl_proxy *p = b->txn->proxy;
  const struct tl_target *t = target_of(b);
  struct tl_conn *c;
  struct tl_flow flow;
  if (!t) return TL_ENOTFOUND;
  int rc = tl_outbound_open(p, b->txn->plan, t, true, &flow, &c);
  if (rc) return rc;
  b->flow = flow;
  rc = tl_outbound_bytes(p, &flow, data, n);
  /* Only after the send, which may bring the connection down. */
  if (rc == TL_OK && flow.conn) tl_branch_attach(b, c);
  return rc;
}

int tl_branch_send(struct tl_branch *b, const void *data, size_t n) {
  struct tl_proxy *p = b->txn->proxy;
  if (!b->lost) return tl_outbound_bytes(p, &b->flow, data, n);
  if (b->flow.conn && tl_outbound_bytes(p, &b->flow, data, n) == TL_OK) return TL_OK;
  tl_branch_detach(b);
  int rc = send_anew(b, data, n);
  if (rc) tl_count(tl_proxy_counters(p), TL_C_DROP_NO_ROUTE_BACK);
  return rc;
}
