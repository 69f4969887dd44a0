/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a request goes (RFC 3261 16.4, 16.5, 16.6 step 7; RFC 3263 is done by the resolver): our
 * own Route values, the route table, the list of targets. Sends nothing.
 */
#include "route.h"

#include <stdio.h>
#include <stdlib.h>

#include "guard.h"
#include "identity_check.h"
#include "leg.h"
#include "proxy.h"
#include "source.h"
#include "target.h"
#include "tieline/view.h"
#include "xworker.h"

/* ---- Route headers ---- */

/* Our tokens in a request: the first one, and the last one, which stands for the next leg. */
struct tokens {
  struct tl_route_token first, last;
  enum tl_transport transport; /* of the URI with the last token */
  bool any, torn;              /* TORN: one of them does not follow from the one in front of it */
};

static bool own_token(struct tl_proxy *p, const struct tl_msg *m, const struct tl_uri *u,
                      struct tokens *out) {
  struct tl_str token;
  struct tl_route_token says;
  if (!tl_uri_param(u, TL_STR("tl"), &token)) return false;
  if (tl_token_route_parse(p, token, m, &says)) return false;
  if (!out->any) out->first = says;
  if (out->any && !tl_leg_follows(&out->last, &says)) out->torn = true;
  out->last = says;
  out->transport = tl_plan_transport(u);
  out->any = true;
  return true;
}

/* PLAN is inside a dialog: sets its next leg. */
static void take_leg(struct tl_plan *plan, const struct tokens *t) {
  const struct tl_route_token *says = &t->last;
  plan->in_dialog = true;
  plan->reverse = says->reverse;
  plan->flow_conn = says->reverse ? says->flow_conn : 0;
  plan->flow_transport = t->transport;
  plan->leg_peer = says->reverse ? says->caller : says->callee;
  plan->leg_end = says->end[!says->reverse];
  size_t n = says->reverse ? 0 : says->domain.n;
  if (n >= sizeof(plan->leg)) n = 0;
  if (n) memcpy(plan->leg, says->domain.p, n);
  plan->leg[n] = '\0';
}

/* As if there were no token. */
static void drop_leg(struct tl_plan *plan) {
  plan->in_dialog = plan->reverse = plan->downgrade = false;
  plan->flow_conn = 0;
  plan->leg_peer = 0;
  plan->n_target = 0;
  plan->leg[0] = plan->host[0] = '\0';
  plan->route = NULL;
}

/* 16.4: undoes what a strict router did to the request and drops our own Route values; the value
 * that then comes first decides where to. */
static int undo_strict_routing(struct tl_proxy *p, const struct tl_msg *m, struct tl_plan *plan,
                               struct tokens *out) {
  struct tl_nameaddr route[TL_ROUTES_MAX];
  struct tl_uri u;
  struct tl_str maddr, lr;
  int n = m->first[TL_H_ROUTE] == TL_HDR_NONE ? 0 : tl_plan_route_values(m, route);
  if (n < 0) return TL_ESYNTAX;
  if (n > 0 && tl_plan_is_local(p, &plan->uri) && own_token(p, m, &plan->uri, out)) {
    plan->strict_in = true;
    n--;
  }
  while (plan->drop_routes < n) {
    if (tl_uri_parse(route[plan->drop_routes].uri, &u)) return TL_ESYNTAX;
    if (!tl_plan_is_local(p, &u)) break;
    own_token(p, m, &u, out);
    plan->drop_routes++;
  }
  plan->next_uri = plan->uri;
  plan->n_routes = (uint8_t)n;
  if (n > 0 && tl_plan_bind(plan, m, route, n + plan->strict_in)) return TL_ESYNTAX;
  if (plan->strict_in && n == 0 && tl_plan_bind(plan, m, route, 1)) return TL_ESYNTAX;
  plan->strict_out = plan->drop_routes < n && !tl_uri_param(&plan->next_uri, TL_STR("lr"), &lr);
  plan->secure = plan->uri.scheme == TL_SCHEME_SIPS;
  plan->strip_maddr = tl_uri_param(&plan->uri, TL_STR("maddr"), &maddr) && maddr.n &&
                      tl_conf_is_local(p->net.view->conf, maddr, plan->uri.port);
  return TL_OK;
}

/* ---- the route table ---- */

static bool host_listed(char *const *list, struct tl_str host) {
  for (; *list; list++)
    if (tl_str_ieq(tl_str_c(*list), host)) return true;
  return false;
}

/* Conditions on the destination apply to the URI that decides the next hop. */
const char *tl_route_why_not(const struct tl_conf_route *r, uint32_t number,
                             const struct tl_plan *plan, struct tl_source *s,
                             const struct tl_identity *id) {
  struct tl_str host = r->relay_request_uri ? tl_plan_next_host(plan) : plan->uri.host;
  if (r->to_prefix && !tl_uri_user_starts(plan->uri.user, tl_str_c(r->to_prefix)))
    return "the user does not begin with its to_prefix";
  if (r->to_domain && !host_listed(r->to_domain, host))
    return r->relay_request_uri ? "its to_domain lacks the host of the next hop (maddr, Route)"
                                : "its to_domain lacks the host";
  if (tl_source_may_take(s, id, r, number)) return NULL;
  return r->from_peer ? "the source is none of its from_peer, or less trusted than it demands"
                      : "the source is not what it demands of peers";
}

/* One search of the table. */
struct search {
  const struct tl_route_table *table;
  const struct tl_plan *plan;
  struct tl_source *source;
  const struct tl_identity *id;
};

static bool accept_route(void *arg, uint32_t number) {
  const struct search *s = arg;
  return !tl_route_why_not(&s->table->route[number], number, s->plan, s->source, s->id);
}

/* The first route of the file that takes the request, or NULL. */
static const struct tl_conf_route *find_route(const struct tl_route_table *t,
                                              const struct tl_plan *plan, struct tl_source *source,
                                              const struct tl_identity *id) {
  struct search s = {t, plan, source, id};
  struct tl_route_query q = {.user = plan->uri.user,
                             .host = plan->uri.host,
                             .peer = source && source->peer ? source->peer->id : 0};
  if (tl_route_index_asks_next_hop(&t->index)) q.next_host = tl_plan_next_host(plan);
  uint32_t number = tl_route_index_find(&t->index, &q, accept_route, &s);
  return number == TL_ROUTE_NONE ? NULL : &t->route[number];
}

/* ---- targets ---- */

/* Nothing is relayed that no route allows: for other domains that is a refusal, for ours there
 * is no such user. */
static int no_route(struct tl_proxy *p, const struct tl_msg *m, struct tl_plan *plan,
                    unsigned *out_status) {
  bool ours = tl_plan_is_local(p, &plan->uri) ||
              tl_conf_is_local_domain(p->net.view->conf, plan->uri.host, plan->uri.port);
  *out_status = ours || plan->uri.host.n == 0 ? 404 : 403;
  bool denied = *out_status == 403;
  if (denied) tl_count(tl_proxy_counters(p), TL_C_RELAY_DENIED);
  /* Strangers trying numbers are background noise, a peer doing so is a mistake worth logging.
   * An ACK gets no response. */
  tl_guard_deny(p, plan, denied ? "Relaying Denied" : NULL,
                plan->caller && m->method != TL_M_ACK ? TL_LOG_INFO : TL_LOG_DEBUG,
                "A request was refused: no route takes it.");
  return TL_ENOTFOUND;
}

/* Is a Route of others that no token of ours vouches for permitted? Peers never see it: it is
 * not for the sender to say where they are to forward to. */
static bool allow_preloaded(struct tl_proxy *p, struct tl_plan *plan,
                            const struct tl_source *source) {
  if (!plan->route->preloaded && !(source && source->peer && source->peer->preloaded)) {
    tl_guard_deny(p, plan, "Preloaded Route Not Allowed", TL_LOG_INFO,
                  "A request was refused: it brings a Route without our token, which "
                  "preloaded_route of the route or of the peer would have to allow.");
    tl_count(tl_proxy_counters(p), TL_C_RELAY_DENIED);
    return false;
  }
  if (plan->route->relay_request_uri) return true;
  plan->drop_routes = plan->n_routes;
  plan->next_uri = plan->uri;
  plan->strict_out = false;
  return true;
}

static int match_route(struct tl_proxy *p, const struct tl_msg *m, struct tl_source *source,
                       const struct tl_identity *id, struct tl_plan *plan, unsigned *out_status) {
  const struct tl_conf *conf = p->net.view->conf;
  plan->route = find_route(p->net.view->routes, plan, source, id);
  if (!plan->route) return no_route(p, m, plan, out_status);
  if (plan->drop_routes < plan->n_routes && !allow_preloaded(p, plan, source)) {
    *out_status = 403;
    return TL_ENOTFOUND;
  }
  *out_status = 404;
  if (!plan->route->relay_request_uri) {
    *out_status = 503; /* its peers have no address at present */
    return tl_target_of_peers(p, m, plan);
  }
  /* Relaying to ourselves would only loop. */
  if (tl_plan_is_local(p, &plan->next_uri)) return TL_ENOTFOUND;
  *out_status = 416;
  int rc = tl_target_of_uri(p, plan);
  return rc || tl_guard_relay(p, conf, plan, out_status) ? rc : TL_ENOTFOUND;
}

/* A sips: request, or one for a TLS-only peer, has targets, but none of them is secure. */
static int secure_enough(const struct tl_plan *plan, int rc, unsigned *out_status) {
  if ((!plan->secure && !plan->downgrade) || plan->n_target || rc == TL_EAGAIN || plan->flow_conn)
    return rc;
  if (plan->refusal) return rc; /* refused for another reason */
  *out_status = 480;
  return TL_ENOTFOUND;
}

/* With our token. TL_EINVAL: it leads to where the next leg never was. */
static int in_dialog(struct tl_proxy *p, struct tl_plan *plan, unsigned *out_status) {
  const struct tl_conn *c = tl_conn_get(&p->net, plan->flow_conn);
  bool alive = tl_xw_is_remote(p, plan->flow_conn) ||
               (c && c->state == TL_CONN_OPEN && !tl_conn_half_closed(c));
  if (!alive || (plan->secure && !tl_transport_is_secure(plan->flow_transport)))
    plan->flow_conn = 0;
  *out_status = 404;
  int rc = tl_plan_is_local(p, &plan->next_uri) ? TL_ENOTFOUND : tl_target_of_uri(p, plan);
  bool bound = tl_leg_bound(p, p->net.view, plan);
  /* With a live flow the address is only a fallback. */
  if (plan->flow_conn) return TL_OK;
  return bound ? secure_enough(plan, rc, out_status) : TL_EINVAL;
}

/* The token is valid, and PLAN holds what it leads to. */
static bool by_token(struct tl_proxy *p, struct tl_plan *plan, const struct tokens *t,
                     unsigned *out_status, int *out_rc) {
  plan->route = tl_route_table_by_id(p->net.view->routes, t->last.route);
  *out_rc = in_dialog(p, plan, out_status);
  if (*out_rc != TL_EINVAL) return true;
  drop_leg(plan);
  return false;
}

int tl_route_plan(struct tl_proxy *p, const struct tl_flow *from, struct tl_conn *c,
                  const struct tl_msg *m, struct tl_plan *plan, unsigned *out_status) {
  struct tokens t = {.any = false};
  int rc;
  tl_plan_clear(plan);
  *out_status = 400;
  if (m->uri.n == 0) return TL_ENOTFOUND;
  plan->uri = m->ruri;
  *out_status = 416;
  if (plan->uri.scheme == TL_SCHEME_OTHER) return TL_ENOTFOUND;
  *out_status = 400;
  if (undo_strict_routing(p, m, plan, &t)) return TL_ENOTFOUND;
  struct tl_source *source = tl_source_of(p, from, c);
  tl_leg_source(p, plan, source, from, c, m);
  if (t.torn)
    tl_count(tl_proxy_counters(p), TL_C_LEG_MISUSED);
  else if (t.any && tl_leg_counts(p, &t.first, m, source, from, c))
    take_leg(plan, &t);
  bool done = plan->in_dialog && by_token(p, plan, &t, out_status, &rc);
  unsigned status = *out_status;
  *out_status = 403;
  plan->refusal = tl_identity_check(p, source, from, c, m, plan);
  if (plan->refusal) return TL_ENOTFOUND;
  *out_status = status;
  if (done) return rc;
  const struct tl_identity *id = tl_source_identity(p, source, c);
  return secure_enough(plan, match_route(p, m, source, id, plan, out_status), out_status);
}
