/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending, and the choice of the connection to a target.
 */
#include "outbound.h"

#include "proxy.h"
#include "source.h"
#include "tieline/view.h"
#include "xworker.h"

int tl_outbound_bytes(struct tl_proxy *p, const struct tl_flow *flow, const void *data, size_t n) {
  if (tl_transport_is_datagram(flow->transport))
    return tl_udp_send(p->net, flow->udp, &flow->addr, data, n);
  if (tl_xw_is_remote(p, flow->conn)) return tl_xw_send(p, flow->conn, data, n);
  struct tl_conn *c = tl_conn_get(p->net, flow->conn);
  return c ? tl_conn_send(c, data, n) : TL_ECLOSED;
}

/* Of N connections those of this worker. Where they cannot be shared out evenly, another address
 * has the larger shares elsewhere. */
static uint32_t share_of(const struct tl_proxy *p, uint32_t n, const struct tl_addr *addr) {
  const uint32_t workers = p->th.rt->n_worker;
  const uint32_t place = (uint32_t)((p->th.index + tl_addr_hash(addr)) % workers);
  const uint32_t share = n / workers + (place < n % workers);
  return n && !share ? 1 : share;
}

int tl_outbound_open(struct tl_proxy *p, const struct tl_plan *plan, const struct tl_target *t,
                     bool elsewhere, struct tl_flow *out, struct tl_conn **out_c) {
  *out = (struct tl_flow){.transport = t->transport, .addr = t->addr};
  *out_c = NULL;
  if (tl_transport_is_datagram(t->transport)) {
    /* The socket that our Via will name, so that responses arrive where they are expected. */
    out->udp = tl_udp_of(p->net, tl_net_listener_for(p->net, TL_UDP, &t->addr));
    return TL_OK;
  }
  const char *name = tl_plan_identity(plan, t);
  struct tl_conn_key key = {.transport = t->transport, .addr = t->addr};
  if (t->peer) {
    key.max_age_ms = t->peer->opt.max_age_ms;
    key.n_conn = share_of(p, t->peer->opt.connections, &t->addr);
    if (!elsewhere) key.draw = plan->hunt.draw;
  }
  if (tl_transport_is_secure(t->transport)) {
    if (!t->domain) return TL_ENOTFOUND;
    key.domain = t->domain;
    key.identity = name;
    key.sni = name;
    if (t->peer) key.binding = t->peer->binding;
    if (elsewhere && !key.n_conn && (out->conn = tl_alias_elsewhere(p->net, &key)) != 0) {
      out->alias = true;
      return TL_OK;
    }
  }
  int rc = tl_conn_open(p->net, &key, out_c);
  if (rc == TL_OK) out->conn = tl_conn_id_of(*out_c);
  return rc;
}

bool tl_outbound_fits(struct tl_proxy *p, const struct tl_conf_peer *peer, const struct tl_edit *e,
                      const struct tl_body *body) {
  if (!peer || !peer->opt.max_message || tl_edit_len(e) + body->len <= peer->opt.max_message)
    return true;
  tl_count(tl_proxy_counters(p), TL_C_TOO_LARGE_FOR_PEER);
  return false;
}

/* The plan's flow leads to the peer of the dialog's leg. */
int tl_outbound_fits_target(struct tl_proxy *p, const struct tl_plan *plan,
                            const struct tl_target *t, const struct tl_edit *e,
                            const struct tl_body *body) {
  const struct tl_conf_peer *peer = t ? t->peer : NULL;
  if (!t && tl_net_view(p->net)->peers->bounds_messages)
    peer = tl_view_peer(tl_net_view(p->net), plan->leg_peer);
  return tl_outbound_fits(p, peer, e, body) ? TL_OK : TL_ELARGE;
}

int tl_outbound_edit(struct tl_proxy *p, const struct tl_flow *flow, struct tl_conn *c,
                     const struct tl_edit *e, const struct tl_body *body,
                     const struct tl_branch *b) {
  if (c) return tl_conn_send_edit(c, e, body);
  if (tl_transport_is_datagram(flow->transport))
    return tl_udp_send_edit(p->net, flow->udp, &flow->addr, e, body);
  return tl_xw_send_edit(p, flow->conn, e, body, b);
}

#define MTU_SAFE 1300u /* RFC 3261 18.1.1: the bound when the path MTU is unknown */

/* Via, Record-Route and Route add a few hundred bytes on the way. */
bool tl_outbound_near_mtu(const struct tl_msg *m, const struct tl_body *body) {
  return m->head_len + body->len > MTU_SAFE - 300;
}

unsigned tl_outbound_status(int rc) {
  switch (rc) {
  case TL_ESYNTAX: return 400;
  case TL_ELARGE:
  case TL_EINVAL: return 513;
  default: return 503;
  }
}

void tl_outbound_await(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m) {
  const struct tl_conf_timeouts *t = &tl_net_view(p->net)->conf->timeouts;
  struct tl_conn *c = tl_conn_get(p->net, from->conn);
  if (c && m->is_request && m->method != TL_M_ACK)
    tl_conn_ask(c, m->method == TL_M_INVITE ? t->timer_c : t->timer_f);
}

int tl_outbound_flow(struct tl_proxy *p, const struct tl_plan *plan, struct tl_flow *out,
                     struct tl_conn **out_c) {
  *out_c = NULL;
  if (tl_xw_is_remote(p, plan->flow_conn)) {
    *out = (struct tl_flow){.transport = plan->flow_transport, .conn = plan->flow_conn};
    return TL_OK;
  }
  *out_c = tl_conn_get(p->net, plan->flow_conn);
  if (!*out_c || !tl_conn_is_open(*out_c) || tl_conn_half_closed(*out_c)) return TL_ECLOSED;
  *out = tl_conn_flow(*out_c);
  return TL_OK;
}

bool tl_outbound_fits_back(struct tl_proxy *p, const struct tl_flow *to, const struct tl_edit *e,
                           const struct tl_body *body) {
  struct tl_conn *c = tl_conn_get(p->net, to->conn);
  if (!tl_net_view(p->net)->peers->bounds_messages ||
      (!c && !tl_transport_is_datagram(to->transport)))
    return true;
  const struct tl_source *s = tl_source_of(p, &(struct tl_origin){.from = to, .c = c});
  return !s || tl_outbound_fits(p, s->peer, e, body);
}
