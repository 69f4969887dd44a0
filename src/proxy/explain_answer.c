/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `ctl explain request`, in the worker: parses the request that the control thread composed, runs
 * the deciding stages on it as if it had come from the given source, and records the outcome.
 * Nothing is sent, counted or logged.
 */
#include "tieline/explain.h"

#include <stdio.h>
#include <stdlib.h>

#include "hunt.h"
#include "plan.h"
#include "proxy.h"
#include "route.h"
#include "source.h"
#include "stage.h"
#include "tieline/reply.h"
#include "tieline/time.h"
#include "tieline/view.h"

void tl_explain_clear(struct tl_explain *e) {
  free(e->route);
  e->route = NULL;
  e->n_route = 0;
}

static void put_text(char *dst, size_t cap, const char *text) {
  snprintf(dst, cap, "%s", text ? text : "");
}

static void tell_source(struct tl_explain *e, const struct tl_source *s, const struct tl_conn *c) {
  static const char *const trust[] = {[TL_TRUST_ANY] = "clear",
                                      [TL_TRUST_ENCRYPTED] = "encrypted, not authenticated",
                                      [TL_TRUST_VERIFIED] = "verified"};
  if (!s) return;
  put_text(e->source_peer, sizeof(e->source_peer), s->peer ? s->peer->name : "");
  put_text(e->trust, sizeof(e->trust), trust[s->trust]);
  if (c && tl_conn_tls(c) && tl_conn_tls(c)->identity)
    put_text(e->identity, sizeof(e->identity), tl_conn_tls(c)->identity->subject);
}

/* Routes by number. */
struct numbers {
  uint32_t at[TL_EXPLAIN_ROUTES];
  size_t n;
};

static bool take_number(void *arg, uint32_t number) {
  struct numbers *l = arg;
  size_t i = 0;
  while (i < l->n && l->at[i] != number) i++;
  if (i == l->n && l->n < TL_EXPLAIN_ROUTES) l->at[l->n++] = number;
  return false; /* as if it had been refused: the search goes on */
}

static int by_number(const void *a, const void *b) {
  const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

/* Those to be shown, in the order of the table. The worker has calls to serve: of a long table it
 * only looks at those that the request could have taken. */
static void choose_routes(const struct tl_route_table *t, const struct tl_plan *plan,
                          const struct tl_source *s, struct numbers *out) {
  out->n = 0;
  if (t->n <= TL_EXPLAIN_ROUTES) {
    while (out->n < t->n) take_number(out, (uint32_t)out->n);
    return;
  }
  if (plan->route) take_number(out, (uint32_t)(plan->route - t->route));
  tl_route_search(t, plan, s, take_number, out);
  qsort(out->at, out->n, sizeof(out->at[0]), by_number);
}

static void tell_routes(struct tl_explain *e, const struct tl_route_table *t,
                        const struct tl_plan *plan, struct tl_source *s,
                        const struct tl_identity *id) {
  struct numbers list;
  choose_routes(t, plan, s, &list);
  e->route = calloc(list.n + 1, sizeof(*e->route));
  e->n_left_out = t->n - list.n;
  for (size_t i = 0; e->route && i < list.n; i++) {
    const struct tl_conf_route *r = &t->route[list.at[i]];
    const char *why = tl_route_why_not(t, list.at[i], plan, s, id);
    struct tl_explain_route *out = &e->route[e->n_route++];
    put_text(out->name, sizeof(out->name), r->name);
    out->chosen = plan->route == r;
    out->why = why           ? why
               : out->chosen ? "the first that fits"
               : plan->route ? "it fits, but another is before it"
                             : "it fits, but the request is refused before it is asked";
  }
}

static void tell_those_at_hand(struct tl_explain *e, const struct tl_plan *plan) {
  for (unsigned i = 0; i < plan->n_target && e->n_target < TL_EXPLAIN_TARGETS; i++) {
    const struct tl_target *t = &plan->target[i];
    e->target[e->n_target].transport = t->transport;
    e->target[e->n_target].addr = t->addr;
    put_text(e->target[e->n_target].peer, 64, t->peer ? t->peer->name : "");
    put_text(e->target[e->n_target].group, 64, t->group ? t->group->name : "");
    if (t->dest)
      e->target[e->n_target].health =
          tl_dest_mode_name(tl_dest_mode_of(t->dest->health.word, tl_now_ms()));
    if (tl_transport_is_secure(t->transport)) {
      put_text(e->target[e->n_target].domain, 64, t->domain ? t->domain->name : "");
      put_text(e->target[e->n_target].verify, 256, tl_plan_identity(plan, t));
    }
    e->n_target++;
  }
}

/* As far as the route's bound allows. */
static void tell_targets(struct tl_explain *e, const struct tl_req *req) {
  const struct tl_target_search s = tl_target_search_of(req);
  do tell_those_at_hand(e, req->plan);
  while (tl_hunt_more(&s));
  if (req->plan->hunt.on && e->n_target > req->plan->route->opt.max_attempts)
    e->n_target = req->plan->route->opt.max_attempts;
}

static void tell_refusal(struct tl_explain *e, unsigned status, const char *reason) {
  e->rc = TL_ENOTFOUND;
  e->status = status;
  put_text(e->reason, sizeof(e->reason), reason);
}

static void plan_it(struct tl_proxy *p, struct tl_explain *e, const struct tl_msg *m,
                    struct tl_plan *plan) {
  struct tl_conn *c = e->conn ? tl_conn_get(p->net, e->conn) : NULL;
  struct tl_flow from = {.transport = e->transport, .addr = e->source};
  static const struct tl_body none;
  struct tl_req req;
  if (c) from = tl_conn_flow(c);
  tl_req_init(&req, p, &(struct tl_origin){.from = &from, .c = c}, m, &none);
  req.plan = plan;
  req.dry = true;
  e->rc = tl_stages_plan(&req);
  e->status = req.status;
  tell_source(e, req.source, c);
  tell_routes(e, tl_net_view(p->net)->routes, plan, req.source,
              tl_source_identity(req.source, &req.origin));
  tell_targets(e, &req);
  if (e->rc == TL_EAGAIN)
    put_text(e->resolve, sizeof(e->resolve),
             plan->unresolved ? plan->unresolved->host : plan->host);
  else if (e->rc == 0 && tl_plan_lacks_domain(plan))
    tell_refusal(e, 503, tl_plan_lacks_domain(plan));
  else if (e->rc == 0)
    e->status = 0;
  else
    tell_refusal(e, e->status, req.reason ? req.reason : tl_reason_phrase(e->status).p);
}

static void explain_request(struct tl_proxy *p, struct tl_explain *e) {
  struct tl_msg m;
  struct tl_scan_error err;
  struct tl_plan *plan = tl_plan_new(p);
  if (plan) tl_plan_clear(plan);
  e->rc = TL_ENOMEM;
  if (e->conn && !tl_conn_get(p->net, e->conn))
    e->rc = TL_ECLOSED;
  else if (plan && tl_scan(e->request, e->n, false, sizeof(e->request), &m, &err))
    e->rc = TL_ESYNTAX;
  else if (plan)
    plan_it(p, e, &m, plan);
  tl_plan_free(p, plan);
}

static void deliver_explain(void *reader, struct tl_mail *m) {
  struct tl_explain *e = (struct tl_explain *)m;
  explain_request(tl_proxy_reader(reader), e);
  tl_mail_return(&e->reply, m);
}

static void drop_explain(struct tl_mail *m) {
  struct tl_explain *e = (struct tl_explain *)m;
  e->rc = TL_ECLOSED;
  tl_mail_return(&e->reply, m);
}

static const struct tl_mail_kind explain_kind = {"explain", deliver_explain, drop_explain};

int tl_explain_ask(struct tl_thread *worker, struct tl_explain *e) {
  e->mail.kind = &explain_kind;
  return tl_mailbox_post(&worker->mailbox, &e->mail);
}
