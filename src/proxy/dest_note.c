/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events of destinations. Which are failures: no connection, no TLS, a connection that is lost
 * while an answer is awaited, silence until the branch is given up, and the answers of the peer's
 * down_on. Answers inside dialogs tell nothing: a machine that is being emptied gives good ones to
 * the end.
 */
#include "dest_note.h"

#include "pause.h"
#include "plan.h"
#include "proxy.h"
#include "tieline/view.h"

static void report_change(const struct tl_conf_peer *peer, const struct tl_dest_state *d,
                          struct tl_dest_change c) {
  char address[TL_ADDR_STRLEN];
  const uint32_t why = d->health.why;
  if (c.is == TL_DEST_DOWN && c.was != TL_DEST_DOWN)
    TL_LOG(TL_LOG_WARN, "An address of a peer is down; routes pass it over.",
           TL_FC("peer", peer->name), TL_FC("address", tl_addr_format(&d->addr, address)),
           TL_FC("transport", tl_transport_param(d->transport)), TL_FC("tls_domain", d->domain),
           TL_FC("cause", tl_dest_cause_name((enum tl_dest_cause)(why >> 16))),
           TL_FI("status", why & 0xffff));
  else if (c.is == TL_DEST_UP && c.was == TL_DEST_DOWN)
    TL_LOG(TL_LOG_INFO, "An address of a peer is up again; routes use it.",
           TL_FC("peer", peer->name), TL_FC("address", tl_addr_format(&d->addr, address)),
           TL_FC("transport", tl_transport_param(d->transport)), TL_FC("tls_domain", d->domain));
}

void tl_dest_happened(struct tl_dest_state *d, const struct tl_conf_peer *peer,
                      enum tl_dest_event e, enum tl_dest_cause cause, unsigned status,
                      uint64_t now_ms) {
  report_change(peer, d, tl_dest_note(&d->health, e, cause, status, &peer->rules, now_ms));
}

/* Where B was sent to, and whose that is. */
struct reached {
  struct tl_dest_state *dest;
  const struct tl_conf_peer *peer;
};

/* Behind a 2xx to another branch the transaction has no view any more. */
static struct reached find_anew(const struct tl_branch *b) {
  const struct tl_view *v = tl_net_view(b->txn->proxy->net);
  const struct tl_conf_peer *peer = tl_view_peer(v, b->peer);
  const struct tl_addr_list *l = peer ? tl_view_addrs(v, peer) : NULL;
  for (size_t k = 0; l && k < l->n; k++)
    if (l->at[k].via == b->target.transport && tl_addr_eq(&l->at[k].addr, &b->target.addr))
      return (struct reached){tl_peer_table_dest(v->peers, peer, k), peer};
  return (struct reached){NULL, NULL};
}

/* No destination: B went on a flow that was there, or to nobody's address, or it is a probe. */
static struct reached reached_by(const struct tl_branch *b) {
  if (!b->peer || b->txn->user || !b->target.dest) return (struct reached){NULL, NULL};
  return b->txn->view ? (struct reached){b->target.dest, b->target.peer} : find_anew(b);
}

static void note_failure(const struct tl_branch *b, struct reached at, enum tl_dest_cause cause,
                         unsigned status) {
  struct tl_proxy *p = b->txn->proxy;
  if (!at.dest) return;
  tl_count(tl_proxy_counters(p), TL_C_DEST_FAILED);
  tl_dest_happened(at.dest, at.peer, TL_DEST_FAILED, cause, status, tl_net_now_ms(p->net));
}

/* A 100 tells nothing: what it stands for may still fail. */
void tl_dest_heard_slow(struct tl_branch *b, const struct tl_msg *m) {
  const struct reached at = reached_by(b);
  struct tl_proxy *p = b->txn->proxy;
  if (!at.dest || m->status == 100) return;
  if (tl_pause_asked(p, at.peer, at.dest, m) || b->txn->in_dialog) return;
  if (m->status >= 300 && tl_status_set_has(&at.peer->down_on, m->status))
    note_failure(b, at, TL_DEST_BY_STATUS, m->status);
  else if (!tl_dest_is_plain(&at.dest->health))
    tl_dest_happened(at.dest, at.peer, TL_DEST_ANSWERED, TL_DEST_NO_CAUSE, m->status,
                     tl_net_now_ms(p->net));
}

void tl_dest_silent(struct tl_branch *b) { note_failure(b, reached_by(b), TL_DEST_BY_SILENCE, 0); }

void tl_dest_unsent(struct tl_txn *txn, const struct tl_target *t, int rc) {
  struct tl_proxy *p = txn->proxy;
  const uint64_t now_ms = tl_net_now_ms(p->net);
  if (!t->dest || !t->peer || txn->user) return;
  if (rc == TL_ECLOSED || rc == TL_EIO || rc == TL_ETIMEOUT) {
    tl_count(tl_proxy_counters(p), TL_C_DEST_FAILED);
    tl_dest_happened(t->dest, t->peer, TL_DEST_FAILED, TL_DEST_BY_SEND, 0, now_ms);
  } else if (t->trial) {
    tl_dest_unclaim(&t->dest->health, now_ms); /* the reason is ours */
  }
}

/* ---- connections ---- */

/* Why C ended before it was open; TL_DEST_NO_CAUSE: it was. */
static enum tl_dest_cause dial_cause(const struct tl_conn *c, int rc) {
  const bool secure = tl_transport_is_secure(tl_conn_transport(c));
  if (secure ? tl_conn_tls(c) != NULL : tl_conn_local(c)->sa.sa_family != 0)
    return TL_DEST_NO_CAUSE;
  return rc == TL_ETLS || rc == TL_EVERIFY ? TL_DEST_BY_HANDSHAKE : TL_DEST_BY_CONNECT;
}

static bool is_theirs(const struct tl_conn *c, int rc) {
  switch (rc) {
  case TL_OK: return tl_conn_view(c)->peer_ended;
  case TL_EIO:
  case TL_ECLOSED:
  case TL_ETIMEOUT:
  case TL_ETLS:
  case TL_EVERIFY:
  case TL_EBADMAC: return true;
  default: return false; /* memory or a limit of ours */
  }
}

/* All that waited for a connection which could not be made tell so; the loss of one that was open
 * is one failure, however many waited for answers on it. */
void tl_dest_conn_lost(struct tl_proxy *p, struct tl_conn *c, int rc) {
  const enum tl_dest_cause dial = dial_cause(c, rc);
  if (!tl_conn_is_outgoing(c) || !is_theirs(c, rc) || tl_net_head(p->net)->stopping) return;
  if (rc == TL_EVERIFY && !dial) return; /* we ended it: it no longer passes */
  for (struct tl_branch *b = tl_conn_owner(c)->user; b; b = b->conn_next) {
    if (b->state == TL_BR_GIVEN_UP) continue; /* its silence was noted */
    const struct reached at = reached_by(b);
    note_failure(b, at, dial ? dial : TL_DEST_BY_SEND, 0);
    if (at.dest && !dial) return;
  }
}
