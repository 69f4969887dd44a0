/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage route: where a request goes (RFC 3261 16.5, 16.6 step 7; RFC 3263 is done by the
 * resolver): the route table, the list of targets, and the wait for a name's addresses. Inside a
 * dialog identify.c has found out already. Sends nothing.
 */
#include "route.h"

#include <stdio.h>
#include <stdlib.h>

#include "call.h"
#include "guard.h"
#include "hunt.h"
#include "leg.h"
#include "proxy.h"
#include "source.h"
#include "stage.h"
#include "target.h"
#include "tieline/resolve.h"
#include "tieline/view.h"
#include "txn.h"
#include "wait.h"

/* ---- the route table ---- */

/* Conditions on the destination apply to the URI that decides the next hop. */
const char *tl_route_why_not(const struct tl_route_table *t, uint32_t number,
                             const struct tl_plan *plan, struct tl_source *s,
                             const struct tl_identity *id) {
  const struct tl_conf_route *r = &t->route[number];
  struct tl_str host = r->relay_request_uri ? tl_plan_next_host(plan) : plan->uri.host;
  if (r->opt.to_prefix && !tl_uri_user_starts(plan->uri.user, tl_str_c(r->opt.to_prefix)))
    return "the user does not begin with its to_prefix";
  if (r->opt.to_domain && !tl_route_has_domain(t, r, host))
    return r->relay_request_uri ? "its to_domain lacks the host of the next hop (maddr, Route)"
                                : "its to_domain lacks the host";
  if (tl_source_may_take(s, id, t, number)) return NULL;
  return r->opt.from_peer ? "the source is none of its from_peer, or less trusted than it demands"
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
  return !tl_route_why_not(s->table, number, s->plan, s->source, s->id);
}

uint32_t tl_route_search(const struct tl_route_table *t, const struct tl_plan *plan,
                         const struct tl_source *s, tl_route_accept_fn accept, void *arg) {
  struct tl_route_query q = {
      .user = plan->uri.user, .host = plan->uri.host, .peer = s && s->peer ? s->peer->id : 0};
  if (tl_route_index_asks_next_hop(&t->index)) q.next_host = tl_plan_next_host(plan);
  return tl_route_index_find(&t->index, &q, accept, arg);
}

/* The first route of the file that takes the request, or NULL. */
static const struct tl_conf_route *find_route(const struct tl_route_table *t,
                                              const struct tl_plan *plan, struct tl_source *source,
                                              const struct tl_identity *id) {
  struct search s = {t, plan, source, id};
  uint32_t number = tl_route_search(t, plan, source, accept_route, &s);
  return number == TL_ROUTE_NONE ? NULL : &t->route[number];
}

/* ---- targets ---- */

/* Nothing is relayed that no route allows: for other domains that is a refusal, for ours there
 * is no such user. */
static int no_route(struct tl_req *req) {
  const struct tl_proxy *p = req->p;
  const struct tl_plan *plan = req->plan;
  bool ours = tl_plan_is_local(p, &plan->uri) ||
              tl_conf_is_local_domain(req->view->conf, plan->uri.host, plan->uri.port);
  req->plan->status = ours || plan->uri.host.n == 0 ? 404 : 403;
  bool denied = req->plan->status == 403;
  if (denied) tl_req_count(req, TL_C_RELAY_DENIED);
  /* Strangers trying numbers are background noise, a peer doing so is a mistake worth logging.
   * An ACK gets no response. */
  tl_guard_deny(req, denied ? "Relaying Denied" : NULL,
                plan->caller && req->m->method != TL_M_ACK ? TL_LOG_INFO : TL_LOG_DEBUG,
                "A request was refused: no route takes it.");
  return TL_ENOTFOUND;
}

/* Is a Route of others that no token of ours vouches for permitted? Peers never see it: it is
 * not for the sender to say where they are to forward to. */
static bool allow_preloaded(const struct tl_req *req) {
  struct tl_plan *plan = req->plan;
  const struct tl_source *source = req->source;
  if (!plan->route->opt.preloaded_route &&
      !(source && source->peer && source->peer->opt.preloaded_route)) {
    tl_guard_deny(req, "Preloaded Route Not Allowed", TL_LOG_INFO,
                  "A request was refused: it brings a Route without our token, which "
                  "preloaded_route of the route or of the peer would have to allow.");
    tl_req_count(req, TL_C_RELAY_DENIED);
    return false;
  }
  if (plan->route->relay_request_uri) return true;
  plan->drop_routes = plan->n_routes;
  plan->next_uri = plan->uri;
  plan->strict_out = false;
  return true;
}

static int match_route(struct tl_req *req) {
  struct tl_plan *plan = req->plan;
  const struct tl_identity *id = tl_source_identity(req->source, &req->origin);
  plan->route = find_route(req->view->routes, plan, req->source, id);
  if (!plan->route) return no_route(req);
  if (plan->drop_routes < plan->n_routes && !allow_preloaded(req)) {
    req->plan->status = 403;
    return TL_ENOTFOUND;
  }
  req->plan->status = 404;
  if (!plan->route->relay_request_uri) {
    req->plan->status = 503; /* its peers have no address at present */
    return tl_hunt_begin(req);
  }
  /* Relaying to ourselves would only loop. */
  if (tl_plan_is_local(req->p, &plan->next_uri)) return TL_ENOTFOUND;
  req->plan->status = 416;
  int rc = tl_target_of_uri(req);
  return rc || tl_guard_relay(req) ? rc : TL_ENOTFOUND;
}

int tl_route_secure(struct tl_req *req, int rc) {
  const struct tl_plan *plan = req->plan;
  if ((!plan->secure && !plan->downgrade) || plan->n_target || rc == TL_EAGAIN || plan->flow_conn)
    return rc;
  if (plan->refusal) return rc; /* refused for another reason */
  req->plan->status = 480;
  return TL_ENOTFOUND;
}

/* ---- the look-up of a next hop ---- */

static void deliver_resolved(void *reader, struct tl_mail *m) {
  const struct tl_resolve *r = (struct tl_resolve *)m;
  tl_wait_resume(tl_proxy_reader(reader), r->cookie, m);
  free(m);
}

static void drop_resolved(struct tl_mail *m) { free(m); }

static const struct tl_mail_kind resolved_kind = {"resolved", deliver_resolved, drop_resolved};

static int ask_resolver(struct tl_req *req, uint64_t cookie) {
  return tl_target_resolve(req, cookie, &resolved_kind);
}

/* May it go to any of the addresses found? TL_ENOTFOUND: no, with the status that it would have got
 * had they stood in its URI; inside a dialog with 403, which ends the request alone (RFC 5057 5.1):
 * the name may lead elsewhere again. */
static int judge_found(struct tl_req *req) {
  const struct tl_plan *plan = req->plan;
  bool by_uri = !plan->unresolved && (!plan->own || plan->in_dialog);
  req->plan->status = plan->in_dialog ? 403 : 404;
  if (by_uri && plan->in_dialog && !tl_leg_bound(req)) return TL_ENOTFOUND;
  if (by_uri && !plan->in_dialog && !tl_guard_relay(req)) return TL_ENOTFOUND;
  return tl_route_secure(req, TL_OK);
}

/* Where there is no address at all the next stages answer. */
static enum tl_stage_result take_addresses(struct tl_req *req, const struct tl_mail *answer) {
  tl_target_resolved(req, (const struct tl_resolve *)answer);
  if (judge_found(req) == TL_OK) return TL_STAGE_GO_ON;
  return tl_req_refuse(req, req->plan->status, req->plan->refusal, TL_STR(""));
}

/* Longer than the resolver takes at the most, so that its answer, whatever it is, counts. */
#define LOOK_UP_MS 10000u

static const struct tl_waiter look_up = {
    .ask = ask_resolver, .resume = take_addresses, .deadline_ms = LOOK_UP_MS};

/* ---- the stage ---- */

static enum tl_stage_result refuse_route(struct tl_req *req) {
  const struct tl_plan *plan = req->plan;
  char line[32] = "";
  if (plan->pause_ms)
    snprintf(line, sizeof(line), "Retry-After: %u\r\n", (plan->pause_ms + 999) / 1000);
  /* A BYE of a dialog that we admitted has no destination: this answer ends the call. */
  if (plan->in_dialog && !req->silent) tl_call_ended(req->p, tl_call_of(req->p, req->m));
  return tl_req_refuse(req, req->plan->status, plan->refusal, tl_str_c(line));
}

enum tl_stage_result tl_stage_route(struct tl_req *req) {
  const struct tl_plan *plan = req->plan;
  if (!plan->in_dialog && !plan->own) req->plan->search_rc = tl_route_secure(req, match_route(req));
  if (req->plan->search_rc == TL_OK) return TL_STAGE_GO_ON;
  return req->plan->search_rc == TL_EAGAIN ? tl_wait_for(req, &look_up) : refuse_route(req);
}
