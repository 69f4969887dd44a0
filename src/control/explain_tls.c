/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `ctl explain tls`: which TLS domain a handshake would get, by which rule, and
 * why not the others. The function that chooses for handshakes answers; nothing
 * is decided here. `explain request` is in explain_request.c.
 */
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "control/command.h"
#include "control/control_internal.h"
#include "control/json_values.h"
#include "control/rpc.h"
#include "tieline/ca_names.h"
#include "tieline/tls_choice.h"

#define NAMES_MAX 65535 /* bytes of the list, as in the extension */

/* ---- certificate_authorities of the imagined client */

/* Appends one DER name with its length (RFC 8446 4.2.4). */
static bool add_name(uint8_t *list, size_t *n, const char *hex) {
  long len = 0;
  uint8_t *der = hex ? OPENSSL_hexstr2buf(hex, &len) : NULL;
  bool ok = der && len > 0 && *n + 2 + (size_t)len <= NAMES_MAX;
  if (ok) {
    list[*n] = (uint8_t)(len >> 8);
    list[*n + 1] = (uint8_t)len;
    memcpy(list + *n + 2, der, (size_t)len);
    *n += 2 + (size_t)len;
  }
  OPENSSL_free(der);
  return ok;
}

/* The names that ctl sent, as the extension's data; *OUT is NULL if it sent none. */
static int wanted_of(const json_t *params, struct tl_ca_wanted **out) {
  const json_t *names = json_object_get(params, "ca_names");
  *out = NULL;
  if (!names) return 0;
  uint8_t *data = malloc(2 + NAMES_MAX);
  size_t n = 0, i;
  const json_t *v;
  bool ok = data && json_array_size(names) > 0;
  json_array_foreach((json_t *)(uintptr_t)names, i, v) {
    ok = ok && add_name(data + 2, &n, json_string_value(v));
  }
  if (ok) {
    data[0] = (uint8_t)(n >> 8);
    data[1] = (uint8_t)n;
    ok = tl_ca_wanted_new(out) == 0 && tl_ca_wanted_names(*out, data, n + 2) == 0;
  }
  free(data);
  if (ok) return 0;
  tl_ca_wanted_free(*out);
  *out = NULL;
  return TL_ESYNTAX;
}

/* ---- the choice */

static json_t *json_candidates(const struct tl_tls_trace *t) {
  json_t *list = json_array();
  for (size_t i = 0; i < t->n; i++) {
    const struct tl_tls_candidate *k = &t->candidate[i];
    json_array_append_new(
        list,
        json_pack("{s:o, s:b, s:o, s:b, s:s}", "domain", tl_json_text(k->domain->name), "chosen",
                  k->chosen, "rule",
                  k->rule == TL_CHOICE_NONE ? json_null() : json_string(tl_choice_name(k->rule)),
                  "wanted", k->wanted, "why", k->why));
  }
  return list;
}

static json_t *explain_choice(const struct tl_conf *conf, const struct tl_tls_ask *ask) {
  struct tl_tls_trace t = {.cap = conf->tls_set.n + 2};
  enum tl_choice rule = TL_CHOICE_NONE;
  t.candidate = calloc(t.cap, sizeof(*t.candidate));
  if (!t.candidate) return NULL;
  const struct tl_tls_domain *d = tl_tls_choose(&conf->tls_set, ask, &t, &rule);
  json_t *j = json_pack("{s:s, s:o, s:o, s:b, s:o}", "side", ask->server ? "server" : "client",
                        "domain", d ? tl_json_text(d->name) : json_null(), "rule",
                        d ? json_string(tl_choice_name(rule)) : json_null(), "by_authority",
                        t.by_authority, "candidates", json_candidates(&t));
  free(t.candidate);
  return j;
}

/* ---- as server */

/* By name, with or without "tls:", or by an address it accepts; "" means the only listener. */
static const struct tl_conf_listen *listener_of(const struct tl_conf *conf, const char *text,
                                                struct tl_addr *addr) {
  const struct tl_conf_listen *found = NULL;
  const char *host = strncmp(text, "tls:", 4) == 0 ? text + 4 : text;
  const bool given = *text && tl_param_address(host, addr) == 0;
  size_t n = 0;
  for (size_t i = 0; i < conf->n_listen; i++) {
    const struct tl_conf_listen *l = &conf->listen[i];
    if (!tl_transport_is_secure(l->transport)) continue;
    const bool same_port = !tl_addr_port(addr) || tl_addr_port(addr) == tl_addr_port(&l->addr);
    const bool hit = !*text || strcmp(l->name, text) == 0 ||
                     (given && same_port &&
                      (tl_addr_ip_eq(addr, &l->addr) ||
                       (tl_addr_is_any(&l->addr) && l->addr.sa.sa_family == addr->sa.sa_family)));
    if (hit && n++ == 0) found = l;
  }
  if (found && !given) *addr = found->addr;
  if (found) tl_addr_set_port(addr, tl_addr_port(&found->addr));
  return *text || n == 1 ? found : NULL;
}

static int as_server(const struct tl_conf *conf, const json_t *params, struct tl_answer *a) {
  struct tl_ca_wanted *wanted;
  struct tl_addr addr = {0};
  const char *listener = tl_param_text(params, "listener"), *sni = tl_param_text(params, "sni");
  const struct tl_conf_listen *l = listener_of(conf, listener, &addr);
  if (!l && *listener)
    return tl_command_fail(a, TL_RPC_PARAMS, "no TLS listener takes \"%.80s\"", listener);
  if (!l)
    return tl_command_fail(a, TL_RPC_PARAMS,
                           "--listener is needed: there is not just one TLS listener");
  if (wanted_of(params, &wanted))
    return tl_command_fail(a, TL_RPC_PARAMS, "ca_names is a list of DER names in hexadecimal");
  const struct tl_tls_ask ask = {.server = true,
                                 .name = tl_str_c(sni),
                                 .listener = l->domain,
                                 .addr = &addr,
                                 .wanted = wanted};
  a->result = explain_choice(conf, &ask);
  if (a->result) {
    json_object_set_new(a->result, "listener", tl_json_text(l->name));
    json_object_set_new(a->result, "local", tl_json_address(&addr));
    json_object_set_new(a->result, "sni", tl_json_text(sni));
    json_object_set_new(a->result, "ca_names",
                        json_integer(wanted ? (json_int_t)tl_ca_wanted_count(wanted) : 0));
  }
  tl_ca_wanted_free(wanted);
  return 0;
}

/* ---- as client */

/* Routes and peers that name a TLS domain take precedence over the choice. */
static json_t *named_by(const struct tl_view *v, const char *to) {
  json_t *list = json_array();
  for (size_t i = 0; i < v->routes->n; i++) {
    const struct tl_conf_route *r = &v->routes->route[i];
    if (!r->domain) continue;
    json_array_append_new(list, json_pack("{s:s, s:o, s:o}", "what", "route", "name",
                                          tl_json_text(r->name), "domain",
                                          tl_json_text(r->domain->name)));
  }
  for (size_t i = 0; i < v->peers->n; i++) {
    const struct tl_conf_peer *p = &v->peers->peer[i];
    if (!p->domain || !tl_transport_is_secure(p->transport) || strcasecmp(p->identity, to) != 0)
      continue;
    json_array_append_new(list, json_pack("{s:s, s:o, s:o}", "what", "peer", "name",
                                          tl_json_text(p->name), "domain",
                                          tl_json_text(p->domain->name)));
  }
  return list;
}

static int as_client(const struct tl_view *v, const json_t *params, struct tl_answer *a) {
  struct tl_addr addr;
  const char *to = tl_param_text(params, "to"), *at = tl_param_text(params, "address");
  if (*at && tl_param_address(at, &addr))
    return tl_command_fail(a, TL_RPC_PARAMS, "\"%.80s\" is not a valid address", at);
  const struct tl_tls_ask ask = {.name = tl_str_c(to), .addr = *at ? &addr : NULL};
  a->result = explain_choice(v->conf, &ask);
  if (!a->result) return 0;
  json_object_set_new(a->result, "to", tl_json_text(to));
  json_object_set_new(a->result, "address", *at ? tl_json_address(&addr) : json_null());
  json_object_set_new(a->result, "named_by", named_by(v, to));
  return 0;
}

int tl_command_explain(struct tl_control *c, struct tl_request *req, const json_t *params,
                       struct tl_answer *a) {
  const char *what = tl_param_text(params, "what");
  if (strcmp(what, "request") == 0) return tl_explain_request(c, req, params, a);
  if (strcmp(what, "tls") != 0)
    return tl_command_fail(a, TL_RPC_PARAMS, "explain takes \"tls\" or \"request\"");
  const struct tl_view *v = tl_runtime_published(c->rt);
  if (json_object_get(params, "to") || json_object_get(params, "address"))
    as_client(v, params, a);
  else
    as_server(v->conf, params, a);
  return 0;
}
