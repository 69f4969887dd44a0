/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands peers and groups, as JSON: the peers of the configuration, and what is known of them
 * and of each of their addresses. docs/control.md documents the fields.
 */
#include "control/admin.h"
#include "control/command.h"
#include "control/control_internal.h"
#include "control/gather.h"
#include "control/json_values.h"
#include "control/rpc.h"

#define CONNECTIONS_MAX 100000 /* that are counted */

/* Counts I for a peer: outgoing to one of its addresses, or incoming from one of its hosts. */
static void count_connection(const struct tl_addr_list *l, const struct tl_conn_info *i, int *out,
                             int *in) {
  for (size_t k = 0; k < l->n; k++) {
    const struct tl_addr *a = &l->at[k].addr;
    if (i->transport != (enum tl_transport)l->at[k].via) continue;
    const bool hit = i->outgoing ? tl_addr_eq(&i->peer, a) : tl_addr_ip_eq(&i->peer, a);
    if (!hit) continue;
    ++*(i->outgoing ? out : in);
    return;
  }
}

/* ---- addresses ---- */

static json_t *json_since(uint64_t at_ms, uint64_t now_ms) {
  return at_ms ? json_integer((json_int_t)((now_ms - at_ms) / 1000)) : json_null();
}

static json_t *json_left(uint64_t at_ms, uint64_t now_ms) {
  if (!at_ms) return json_null();
  return json_integer(at_ms > now_ms ? (json_int_t)((at_ms - now_ms + 999) / 1000) : 0);
}

static json_t *json_number(json_int_t n) { return n ? json_integer(n) : json_null(); }

static json_t *json_dest_probe(const struct tl_conf_peer *p, const struct tl_dest_health *h,
                               uint64_t now_ms) {
  if (!p->opt.probe_ms) return json_null();
  return json_pack("{s:I, s:I, s:o, s:o, s:o}", "sent", (json_int_t)h->n_probe, "failed",
                   (json_int_t)h->n_probe_failed, "last_status",
                   json_number((json_int_t)h->probe_status), "rtt_ms",
                   h->probe_status ? json_integer((json_int_t)h->probe_rtt_ms) : json_null(),
                   "next_s", json_left(h->probe_at_ms, now_ms));
}

/* What is known of one address of P. */
static json_t *json_dest(const struct tl_control *c, const struct tl_conf_peer *p,
                         const struct tl_dest_state *d) {
  const struct tl_dest_health *h = &d->health;
  const uint64_t now_ms = tl_now_ms(), word = h->word;
  const uint32_t why = h->why;
  const enum tl_dest_mode mode = tl_dest_mode_of(word, now_ms);
  return json_pack(
      "{s:o, s:s, s:o, s:s, s:o, s:b, s:o, s:o, s:o, s:I, s:o, s:I, s:I, s:I, s:o}", "address",
      tl_json_address(&d->addr), "transport", tl_transport_param(d->transport), "tls_domain",
      *d->domain ? tl_json_text(d->domain) : json_null(), "state", tl_dest_mode_name(mode), "admin",
      tl_admin_json(tl_admin_find(c, p->name, &d->addr)), "stale", p->state->addrs.failures > 0,
      "since_s", json_since(h->since_ms, now_ms), "cause",
      why ? json_string(tl_dest_cause_name((enum tl_dest_cause)(why >> 16))) : json_null(),
      "status", json_number(why & 0xffff), "failed_in_a_row", (json_int_t)tl_dest_failures_of(word),
      "tried_in_s", json_left(tl_dest_due_of(word), now_ms), "failed", (json_int_t)h->n_failed,
      "times_down", (json_int_t)h->n_down, "pause_ms", (json_int_t)tl_dest_pause_ms(h, now_ms),
      "probe", json_dest_probe(p, h, now_ms));
}

/* All that is known of P's addresses. */
struct dests {
  const struct tl_control *c;
  const struct tl_conf_peer *p;
  json_t *list;
};

static void add_dest(void *arg, struct tl_dest_state *d) {
  const struct dests *all = arg;
  json_array_append_new(all->list, json_dest(all->c, all->p, d));
}

/* ---- peers ---- */

/* All of its probes together: down with the last address; null without probes. */
static json_t *json_probe(const struct tl_peer_table *t, size_t number) {
  const struct tl_conf_peer *p = &t->peer[number];
  json_int_t sent = 0, failed = 0;
  bool known = false, up = false;
  if (!p->opt.probe_ms) return json_null();
  for (size_t k = 0; k < t->addrs[number]->n; k++) {
    const struct tl_dest_health *h = &tl_peer_table_dest(t, p, k)->health;
    sent += (json_int_t)h->n_probe;
    failed += (json_int_t)h->n_probe_failed;
    known |= h->n_probe_failed || h->probe_status;
    up |= tl_dest_mode_of(h->word, tl_now_ms()) < TL_DEST_DOWN;
  }
  return json_pack("{s:s, s:I, s:I}", "state",
                   !known ? "unknown"
                   : up   ? "up"
                          : "down",
                   "sent", sent, "failed", failed);
}

/* How long until the first of its addresses takes requests, 0: one does. */
static json_int_t pause_of(const struct tl_peer_table *t, size_t number) {
  const struct tl_conf_peer *p = &t->peer[number];
  uint64_t least_ms = 0;
  for (size_t k = 0; k < t->addrs[number]->n; k++) {
    const uint64_t ms = tl_dest_pause_ms(&tl_peer_table_dest(t, p, k)->health, tl_now_ms());
    if (!ms) return 0;
    if (!least_ms || ms < least_ms) least_ms = ms;
  }
  return (json_int_t)least_ms;
}

/* When a request last came from it; null without heard_within, or where none has been waited for.
 */
static json_t *json_heard(const struct tl_conf_peer *p) {
  return p->opt.heard_within_ms ? json_since(p->state->heard_ms, tl_now_ms()) : json_null();
}

/* Its number of calls; null without max_calls. */
static json_t *json_calls(const struct tl_conf_peer *p) {
  if (!p->opt.max_calls) return json_null();
  const struct tl_peer_calls *c = &p->state->calls;
  return json_pack("{s:I, s:I, s:I, s:I}", "now", (json_int_t)c->now, "max",
                   (json_int_t)p->opt.max_calls, "refused", (json_int_t)c->refused, "expired",
                   (json_int_t)c->expired);
}

static json_t *json_peer(const struct tl_control *c, const struct tl_peer_table *t, size_t number,
                         struct tl_dump *const *dump, size_t n) {
  int out = 0, in = 0;
  json_t *addresses = json_array();
  const struct tl_conf_peer *p = &t->peer[number];
  const struct tl_addr_list *l = t->addrs[number];
  struct dests dests = {c, p, json_array()};
  for (size_t k = 0; k < l->n; k++) {
    json_array_append_new(addresses, tl_json_address(&l->at[k].addr));
    add_dest(&dests, tl_peer_table_dest(t, p, k));
    tl_peer_table_dests_by_route(t, tl_peer_table_dest(t, p, k), add_dest, &dests);
  }
  for (size_t d = 0; d < n; d++)
    for (size_t i = 0; i < dump[d]->n; i++) count_connection(l, &dump[d]->info[i], &out, &in);
  return json_pack(
      "{s:o, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:i, s:i, s:o, s:I, s:o, s:o, s:o}", "name",
      tl_json_text(p->name), "uri", tl_json_text(p->opt.uri), "admin",
      tl_admin_json(tl_admin_find(c, p->name, NULL)), "transport", tl_transport_param(p->transport),
      "addresses", addresses, "lookup", tl_names_show(&p->state->addrs), "tls_domain",
      p->domain ? tl_json_text(p->domain->name) : json_null(), "identity",
      p->identity ? tl_json_text(p->identity) : json_null(), "connections_out", out,
      "connections_in", in, "calls", json_calls(p), "pause_ms", pause_of(t, number), "probe",
      json_probe(t, number), "heard_s", json_heard(p), "destinations", dests.list);
}

static json_t *peers_done(struct tl_control *c, struct tl_dump *const *dump, size_t n,
                          bool complete, size_t limit, struct tl_answer *a) {
  const struct tl_peer_table *t = tl_runtime_published(c->rt)->peers;
  json_t *list = json_array();
  (void)limit, (void)a;
  for (size_t d = 0; d < n; d++) complete = complete && dump[d]->n == dump[d]->total;
  for (size_t i = 0; i < t->n; i++) json_array_append_new(list, json_peer(c, t, i, dump, n));
  return json_pack("{s:b, s:o}", "complete", complete, "peers", list);
}

int tl_command_peers(struct tl_control *c, struct tl_request *req, const json_t *params,
                     struct tl_answer *a) {
  (void)params;
  if (tl_gather_start(c, req, CONNECTIONS_MAX, NULL, peers_done))
    return tl_command_fail(a, TL_RPC_NOT_NOW, "out of memory");
  return TL_EAGAIN;
}

/* ---- groups ---- */

/* Of all addresses together: the best there is. */
static const char *state_of(const struct tl_peer_table *t, const struct tl_conf_peer *p) {
  const size_t number = (size_t)(p - t->peer);
  enum tl_dest_mode best = TL_DEST_DOWN;
  if (t->addrs[number]->n == 0) return "no address";
  if (pause_of(t, number)) return "wants a pause";
  for (size_t k = 0; k < t->addrs[number]->n; k++) {
    const enum tl_dest_mode mode =
        tl_dest_mode_of(tl_peer_table_dest(t, p, k)->health.word, tl_now_ms());
    if (mode < best) best = mode;
  }
  return tl_dest_mode_name(best);
}

static json_t *json_member(const struct tl_peer_table *t, const struct tl_group_member *m) {
  /* the route table's peer, as the table of peers has it */
  const struct tl_conf_peer *p = m->peer;
  const bool counted = p->opt.max_calls || p->counts_calls;
  return json_pack("{s:o, s:I, s:I, s:I, s:o, s:s}", "peer", tl_json_text(p->name), "priority",
                   (json_int_t)m->priority, "weight", (json_int_t)m->weight, "addresses",
                   (json_int_t)tl_peer_table_addrs(t, p)->n, "calls",
                   counted ? json_integer((json_int_t)p->state->calls.now) : json_null(), "state",
                   state_of(t, p));
}

int tl_command_groups(struct tl_control *c, struct tl_request *req, const json_t *params,
                      struct tl_answer *a) {
  const struct tl_view *v = tl_runtime_published(c->rt);
  json_t *list = json_array();
  (void)req, (void)params;
  for (size_t i = 0; i < v->routes->n_group; i++) {
    const struct tl_peer_group *g = &v->routes->group[i];
    json_t *members = json_array();
    for (size_t k = 0; k < g->n; k++)
      json_array_append_new(members, json_member(v->peers, &g->member[k]));
    json_array_append_new(list,
                          json_pack("{s:o, s:s, s:o}", "name", tl_json_text(g->name), "method",
                                    tl_group_method_names[g->method], "members", members));
  }
  a->result = json_pack("{s:o}", "groups", list);
  return TL_OK;
}
