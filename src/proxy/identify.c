/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage identify: our own Route values are taken out (RFC 3261 16.4), and who sent the request
 * and to which dialog of ours it belongs is established. Inside a dialog that is where it goes,
 * too. What the sender claims to be is judged behind it, in identity_check.c.
 */
#include "identify.h"

#include "leg.h"
#include "route.h"
#include "stage.h"
#include "target.h"
#include "tieline/route_table.h"
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
static int undo_strict_routing(const struct tl_req *req, struct tokens *out) {
  struct tl_proxy *p = req->p;
  const struct tl_msg *m = req->m;
  struct tl_plan *plan = req->plan;
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
                      tl_conf_is_local(tl_net_view(p->net)->conf, maddr, plan->uri.port);
  return TL_OK;
}

/* ---- inside a dialog ---- */

/* With our token: the next leg's flow or address. TL_EINVAL: it leads to where that leg never was.
 */
static int find_leg(struct tl_req *req) {
  struct tl_plan *plan = req->plan;
  struct tl_proxy *p = req->p;
  const struct tl_conn *c = tl_conn_get(p->net, plan->flow_conn);
  bool alive =
      tl_xw_is_remote(p, plan->flow_conn) || (c && tl_conn_is_open(c) && !tl_conn_half_closed(c));
  if (!alive || (plan->secure && !tl_transport_is_secure(plan->flow_transport)))
    plan->flow_conn = 0;
  req->plan->status = 404;
  int rc = tl_plan_is_local(p, &plan->next_uri) ? TL_ENOTFOUND : tl_target_of_uri(req);
  bool bound = tl_leg_bound(req);
  /* With a live flow the address is only a fallback. */
  if (plan->flow_conn) return TL_OK;
  return bound ? tl_route_secure(req, rc) : TL_EINVAL;
}

/* T is valid, so that the request is inside its dialog, unless that leads it astray. */
static void enter_dialog(struct tl_req *req, const struct tokens *t) {
  take_leg(req->plan, t);
  req->plan->route = tl_route_table_by_id(req->view->routes, t->last.route);
  req->plan->search_rc = find_leg(req);
  if (req->plan->search_rc == TL_EINVAL) drop_leg(req->plan);
}

void tl_identify_own(struct tl_req *req) {
  struct tl_plan *plan = req->plan;
  struct tokens t;
  t.any = t.torn = false;
  tl_plan_clear(plan);
  plan->own = true;
  plan->uri = req->m->ruri;
  plan->source = req->origin.from->addr;
  plan->search_rc = TL_ENOTFOUND;
  if (undo_strict_routing(req, &t) == TL_OK && t.any && !t.torn) enter_dialog(req, &t);
}

enum tl_stage_result tl_stage_identify(struct tl_req *req) {
  struct tokens t;
  t.any = t.torn = false;
  if (undo_strict_routing(req, &t)) return tl_req_refuse(req, 400, NULL, TL_STR(""));
  tl_leg_source(req);
  if (t.torn)
    tl_req_count(req, TL_C_LEG_MISUSED);
  else if (t.any && tl_leg_counts(req, &t.first))
    enter_dialog(req, &t);
  return TL_STAGE_GO_ON;
}
