/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands connections, peers, tls_list and show, as JSON. docs/control.md
 * documents the fields.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control/command.h"
#include "control/control_internal.h"
#include "control/gather.h"
#include "control/json_values.h"
#include "control/rpc.h"

#define LIMIT_DEFAULT 10000
#define LIMIT_MAX 100000

#define TEXT(s) tl_rpc_text((s), sizeof(s))

static json_t *connections_done(struct tl_control *c, struct tl_dump *const *dump, size_t n,
                                bool complete, size_t limit, struct tl_answer *a) {
  json_t *list = json_array();
  json_int_t total = 0;
  (void)c, (void)a;
  for (size_t d = 0; d < n; d++) {
    total += (json_int_t)dump[d]->total;
    for (size_t i = 0; i < dump[d]->n && json_array_size(list) < limit; i++)
      json_array_append_new(list, tl_json_connection(&dump[d]->info[i]));
  }
  return json_pack("{s:I, s:I, s:b, s:o}", "total", total, "shown",
                   (json_int_t)json_array_size(list), "complete", complete, "connections", list);
}

int tl_command_connections(struct tl_control *c, struct tl_request *req, const json_t *params,
                           struct tl_answer *a) {
  const json_t *want = json_object_get(params, "limit");
  const json_int_t limit = want ? json_integer_value(want) : LIMIT_DEFAULT;
  if (limit < 1 || limit > LIMIT_MAX)
    return tl_command_fail(a, TL_RPC_PARAMS, "limit is a number from 1 to %d", LIMIT_MAX);
  struct tl_conn_filter filter;
  if (tl_param_filter(c, params, &filter, a)) return 0;
  if (tl_gather_start(c, req, (size_t)limit, &filter, connections_done))
    return tl_command_fail(a, TL_RPC_NOT_NOW, "out of memory");
  return TL_EAGAIN;
}

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

/* The state of its probes; null without probes. */
static json_t *json_probe(const struct tl_conf_peer *p) {
  const struct tl_health *h = &p->state->health;
  if (!p->opt.probe_ms) return json_null();
  const json_int_t sent = (json_int_t)h->sent;
  const char *state = h->down ? "down" : sent && (h->status || h->failures) ? "up" : "unknown";
  return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "state", state, "sent", sent, "failed",
                   (json_int_t)h->lost, "failed_in_a_row", (json_int_t)h->failures, "last_status",
                   (json_int_t)h->status, "rtt_ms", (json_int_t)h->rtt_ms);
}

/* Its number of calls; null without max_calls. */
static json_t *json_calls(const struct tl_conf_peer *p) {
  if (!p->opt.max_calls) return json_null();
  const struct tl_peer_calls *c = &p->state->calls;
  return json_pack("{s:I, s:I, s:I, s:I}", "now", (json_int_t)c->now, "max",
                   (json_int_t)p->opt.max_calls, "refused", (json_int_t)c->refused, "expired",
                   (json_int_t)c->expired);
}

static json_t *json_peer(const struct tl_peer_table *t, size_t number, struct tl_dump *const *dump,
                         size_t n) {
  int out = 0, in = 0;
  json_t *addresses = json_array();
  const struct tl_conf_peer *p = &t->peer[number];
  const struct tl_addr_list *l = t->addrs[number];
  for (size_t k = 0; k < l->n; k++)
    json_array_append_new(addresses, tl_json_address(&l->at[k].addr));
  for (size_t d = 0; d < n; d++)
    for (size_t i = 0; i < dump[d]->n; i++) count_connection(l, &dump[d]->info[i], &out, &in);
  return json_pack(
      "{s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:i, s:i, s:o, s:I, s:o}", "name", tl_json_text(p->name),
      "uri", tl_json_text(p->opt.uri), "transport", tl_transport_param(p->transport), "addresses",
      addresses, "lookup", tl_names_show(&p->state->addrs), "tls_domain",
      p->domain ? tl_json_text(p->domain->name) : json_null(), "identity",
      p->identity ? tl_json_text(p->identity) : json_null(), "connections_out", out,
      "connections_in", in, "calls", json_calls(p), "pause_ms",
      (json_int_t)tl_health_pause_ms(&p->state->health, tl_now_ms()), "probe", json_probe(p));
}

static json_t *peers_done(struct tl_control *c, struct tl_dump *const *dump, size_t n,
                          bool complete, size_t limit, struct tl_answer *a) {
  const struct tl_peer_table *t = tl_runtime_published(c->rt)->peers;
  json_t *list = json_array();
  (void)limit, (void)a;
  for (size_t d = 0; d < n; d++) complete = complete && dump[d]->n == dump[d]->total;
  for (size_t i = 0; i < t->n; i++) json_array_append_new(list, json_peer(t, i, dump, n));
  return json_pack("{s:b, s:o}", "complete", complete, "peers", list);
}

int tl_command_peers(struct tl_control *c, struct tl_request *req, const json_t *params,
                     struct tl_answer *a) {
  (void)params;
  if (tl_gather_start(c, req, LIMIT_MAX, NULL, peers_done))
    return tl_command_fail(a, TL_RPC_NOT_NOW, "out of memory");
  return TL_EAGAIN;
}

/* ---- groups ---- */

static const char *state_of(const struct tl_peer_table *t, const struct tl_conf_peer *p) {
  const struct tl_health *h = &p->state->health;
  if (tl_peer_table_addrs(t, p)->n == 0) return "no address";
  if (tl_health_pause_ms(h, tl_now_ms())) return "wants a pause";
  return tl_health_is_down(h) ? "down" : "up";
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

/* ---- TLS domains ---- */

static json_t *match_lists(const struct tl_tls_domain *d) {
  json_t *names = json_array(), *ips = json_array();
  for (char **p = d->match_sip_domain; p && *p; p++) json_array_append_new(names, tl_json_text(*p));
  for (size_t i = 0; i < d->n_match_ip; i++) {
    char buf[TL_ADDR_STRLEN];
    const struct tl_addr *ip = &d->match_ip[i];
    json_array_append_new(ips, json_string(tl_addr_port(ip) ? tl_addr_format(ip, buf)
                                                            : tl_addr_format_host(ip, buf)));
  }
  return json_pack("{s:o, s:o}", "match_sip_domain", names, "match_ip_address", ips);
}

static json_t *json_domain(const struct tl_tls_domain *d, const struct tl_tls_domain *fallback) {
  static const char *const records[] = {"auto", "kernel", "user"};
  json_t *roles = json_array(), *left = json_null();
  if (d->server) json_array_append_new(roles, json_string("server"));
  if (d->client) json_array_append_new(roles, json_string("client"));
  if (d->not_after) left = json_integer((json_int_t)(d->not_after - time(NULL)) / 86400);
  json_t *j = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:b, s:b, s:s, s:b}", "name",
                        tl_json_text(d->name), "roles", roles, "serial", TEXT(d->serial), "subject",
                        tl_json_text(d->subject), "not_after", tl_json_time(d->not_after),
                        "days_left", left, "verify_cert", d->policy.verify_cert, "require_cert",
                        d->policy.require_cert, "verify_name", d->policy.verify_name, "records",
                        records[d->policy.records % 3], "fallback", d == fallback);
  json_object_set_new(j, "certificate", tl_json_identity(d->own));
  json_object_set_new(j, "certificates", json_integer((json_int_t)d->n_cred));
  /* Our CertificateRequest: the number of names and the bytes of their list. */
  json_object_set_new(j, "ca_names", json_integer(d->ca_names_n));
  json_object_set_new(j, "ca_names_bytes", json_integer((json_int_t)d->ca_names_bytes));
  json_object_set_new(j, "authorities", tl_json_authorities(d));
  json_t *m = match_lists(d);
  json_object_update(j, m);
  json_decref(m);
  return j;
}

/* `show config`: the configuration in force, as `check` prints it. */
int tl_command_show(struct tl_control *c, struct tl_request *req, const json_t *params,
                    struct tl_answer *a) {
  char *text = NULL;
  size_t n = 0;
  (void)req;
  if (strcmp(tl_param_text(params, "what"), "config") != 0)
    return tl_command_fail(a, TL_RPC_PARAMS, "show takes \"config\"");
  FILE *f = open_memstream(&text, &n);
  if (!f) return 0;
  const struct tl_view *v = tl_runtime_published(c->rt);
  tl_conf_print(v, json_is_true(json_object_get(params, "explain")), f);
  if (fclose(f) == 0)
    a->result = json_pack("{s:I, s:s, s:o}", "generation", (json_int_t)v->conf->generation, "file",
                          v->conf->file, "config", tl_rpc_text(text, n));
  free(text);
  return 0;
}

int tl_command_tls_list(struct tl_control *c, struct tl_request *req, const json_t *params,
                        struct tl_answer *a) {
  struct tl_conf *conf = tl_runtime_conf(c->rt);
  json_t *list = json_array();
  (void)req, (void)params;
  for (size_t i = 0; i < conf->n_domain; i++)
    json_array_append_new(list, json_domain(conf->domain[i], conf->tls_set.fallback));
  tl_conf_unref(conf);
  a->result = json_pack("{s:o}", "domains", list);
  return 0;
}
