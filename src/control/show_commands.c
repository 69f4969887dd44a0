/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands connections, tls_list and show, as JSON. docs/control.md documents the
 * fields.
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
