/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plans: what is read from them, and their slices into the request.
 */
#include "plan.h"

#include "proxy.h"

struct tl_plan *tl_plan_new(struct tl_proxy *p) {
  return tl_pool_get(&p->plans);
}

void tl_plan_free(struct tl_proxy *p, struct tl_plan *plan) {
  if (!plan) return;
  if (plan->hunt.tried) tl_pool_put(&p->tried, plan->hunt.tried);
  tl_pool_put(&p->plans, plan);
}

/* Targets are covered by n_target. */
void tl_plan_clear(struct tl_plan *plan) {
  memset(plan, 0, offsetof(struct tl_plan, target));
  plan->host[0] = plan->leg[0] = '\0';
}

int tl_plan_bind(struct tl_plan *plan, const struct tl_msg *m, const struct tl_nameaddr *route,
                 int n) {
  plan->uri = m->ruri;
  if (plan->strict_in && (n < 1 || tl_uri_parse(route[--n].uri, &plan->uri))) return TL_ESYNTAX;
  plan->next_uri = plan->uri;
  if (plan->drop_routes >= n) return TL_OK;
  return tl_uri_parse(route[plan->drop_routes].uri, &plan->next_uri);
}

void tl_plan_rebind(struct tl_plan *plan, const struct tl_msg *m) {
  struct tl_nameaddr route[TL_ROUTES_MAX];
  int n = m->first[TL_H_ROUTE] == TL_HDR_NONE ? 0 : tl_plan_route_values(m, route);
  tl_plan_bind(plan, m, route, n);
}

int tl_plan_nameaddrs(const struct tl_msg *m, enum tl_hdr_id id,
                      struct tl_nameaddr out[TL_ROUTES_MAX]) {
  int n = 0;
  for (uint16_t i = m->first[id]; i != TL_HDR_NONE; i = m->hdr[i].next) {
    struct tl_str v = tl_hdr_value(m, i);
    while (v.n) {
      size_t used;
      if (n == TL_ROUTES_MAX || tl_nameaddr_parse(v, &out[n], &used)) return -1;
      v.p += used;
      v.n -= used;
      n++;
    }
  }
  return n;
}

int tl_plan_route_values(const struct tl_msg *m, struct tl_nameaddr out[TL_ROUTES_MAX]) {
  return tl_plan_nameaddrs(m, TL_H_ROUTE, out);
}

struct tl_str tl_plan_next_host(const struct tl_plan *plan) {
  struct tl_str maddr;
  const struct tl_uri *u = &plan->next_uri;
  if (!plan->strip_maddr && tl_uri_param(u, TL_STR("maddr"), &maddr) && maddr.n) return maddr;
  return u->host;
}

const char *tl_plan_identity(const struct tl_plan *plan, const struct tl_target *t) {
  return t->peer ? t->peer->identity : t->by_leg ? plan->leg : plan->host;
}

const char *tl_plan_lacks_domain(const struct tl_plan *plan) {
  if (!plan || plan->n_target == 0 || plan->flow_conn) return NULL;
  for (unsigned i = 0; i < plan->n_target; i++)
    if (!tl_transport_is_secure(plan->target[i].transport) || plan->target[i].domain) return NULL;
  return "No TLS Domain For The Destination";
}

const char *tl_plan_only_us(const struct tl_plan *plan) {
  return plan && plan->to_self && !plan->n_target && !plan->flow_conn
             ? "Next Hop Is This Proxy Itself"
             : NULL;
}

bool tl_plan_is_local(const struct tl_proxy *p, const struct tl_uri *u) {
  return (u->scheme == TL_SCHEME_SIP || u->scheme == TL_SCHEME_SIPS) &&
         tl_conf_is_local(tl_net_view(p->net)->conf, u->host, u->port);
}

enum tl_transport tl_plan_transport(const struct tl_uri *u) {
  enum tl_transport t;
  return tl_plan_transport_named(u, tl_uri_transport(u, &t) ? t : TL_TRANSPORTS);
}
