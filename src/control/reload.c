/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reload: a whole new snapshot or nothing. The configuration module reads and
 * checks; here is what is said about it, and the publication.
 */
#include <string.h>
#include <systemd/sd-daemon.h>

#include "control/internal.h"

static void collect(void *arg, const char *file, int line, const char *sentence) {
  char where[512];
  json_t *list = arg;
  snprintf(where, sizeof where, "%s:%d: %s", file ? file : "configuration", line, sentence);
  json_array_append_new(list, tl_rpc_text(where, SIZE_MAX));
}

static void log_problems(enum tl_log_level level, const char *sentence, const json_t *list) {
  size_t i;
  json_t *v;
  json_array_foreach(list, i, v) TL_LOG(level, sentence, TL_FC("problem", json_string_value(v)));
}

static bool same(const char *a, const char *b) { return a == b || (a && b && strcmp(a, b) == 0); }

static bool same_list(char **a, char **b) {
  for (; a && b && *a && *b; a++, b++)
    if (strcmp(*a, *b) != 0) return false;
  return !(a && *a) && !(b && *b);
}

static bool same_addrs(const struct tl_addr *a, size_t n_a, const struct tl_addr *b, size_t n_b) {
  if (n_a != n_b) return false;
  for (size_t i = 0; i < n_a; i++)
    if (!tl_addr_eq(&a[i], &b[i])) return false;
  return true;
}

static bool same_domain(const struct tl_tls_domain *a, const struct tl_tls_domain *b) {
  return strcmp(a->serial, b->serial) == 0 && same(a->subject, b->subject) &&
         a->not_after == b->not_after && a->verify_cert == b->verify_cert &&
         a->require_cert == b->require_cert && a->verify_name == b->verify_name &&
         a->allow_cn == b->allow_cn && a->accept_unverified == b->accept_unverified &&
         a->eku == b->eku && a->records == b->records && !a->server == !b->server &&
         !a->client == !b->client && same_list(a->match_sip_domain, b->match_sip_domain) &&
         same_addrs(a->match_ip, a->n_match_ip, b->match_ip, b->n_match_ip);
}

static const char *domain_name(const struct tl_tls_domain *d) { return d ? d->name : NULL; }

static bool same_peer(const struct tl_conf_peer *a, const struct tl_conf_peer *b) {
  return same(a->uri, b->uri) && same(a->identity, b->identity) &&
         same(domain_name(a->domain), domain_name(b->domain)) &&
         same_addrs(a->addr, a->n_addr, b->addr, b->n_addr);
}

static bool same_listen(const struct tl_conf_listen *a, const struct tl_conf_listen *b) {
  return tl_addr_eq(&a->addr, &b->addr) && a->transport == b->transport &&
         same(a->advertise_host, b->advertise_host) && a->advertise_port == b->advertise_port &&
         same(domain_name(a->domain), domain_name(b->domain));
}

static json_t *entry(const char *name, const char *change) {
  return json_pack("{s:o, s:s}", "name", tl_rpc_text(name, SIZE_MAX), "change", change);
}

/* One kind of named thing, before and after: what is new or kept in its new order, then what went.
 * AT gives the item's name and address by index. */
typedef const char *(*at_fn)(const struct tl_conf *c, size_t i, const void **out);
typedef bool (*same_fn)(const void *a, const void *b);

static const void *find(const struct tl_conf *c, size_t n, at_fn at, const char *name) {
  const void *item = NULL;
  for (size_t i = 0; c && i < n; i++)
    if (strcmp(at(c, i, &item), name) == 0) return item;
  return NULL;
}

static const char *peer_at(const struct tl_conf *c, size_t i, const void **out) {
  *out = &c->peer[i];
  return c->peer[i].name;
}
static const char *listen_at(const struct tl_conf *c, size_t i, const void **out) {
  *out = &c->listen[i];
  return c->listen[i].name;
}
static const char *domain_at(const struct tl_conf *c, size_t i, const void **out) {
  *out = c->domain[i];
  return c->domain[i]->name;
}
static bool peer_same(const void *a, const void *b) { return same_peer(a, b); }
static bool listen_same(const void *a, const void *b) { return same_listen(a, b); }
static bool domain_same(const void *a, const void *b) { return same_domain(a, b); }

static const char *serial_of(const void *domain) {
  return ((const struct tl_tls_domain *)domain)->serial;
}

struct kind {
  at_fn at;
  same_fn same;
  bool serials;
};

static json_t *diff(const struct kind *k, const struct tl_conf *before, size_t n_before,
                    const struct tl_conf *after, size_t n_after) {
  json_t *list = json_array();
  for (size_t i = 0; i < n_after; i++) {
    const void *now = NULL, *was = NULL;
    const char *name = k->at(after, i, &now);
    was = find(before, n_before, k->at, name);
    json_t *e = entry(name, !was ? "added" : k->same(was, now) ? "same" : "changed");
    if (k->serials) {
      json_object_set_new(e, "serial_before", was ? json_string(serial_of(was)) : json_null());
      json_object_set_new(e, "serial_after", json_string(serial_of(now)));
    }
    json_array_append_new(list, e);
  }
  for (size_t i = 0; i < n_before; i++) {
    const void *was = NULL;
    const char *name = k->at(before, i, &was);
    if (find(after, n_after, k->at, name)) continue;
    json_t *e = entry(name, "removed");
    if (k->serials) {
      json_object_set_new(e, "serial_before", json_string(serial_of(was)));
      json_object_set_new(e, "serial_after", json_null());
    }
    json_array_append_new(list, e);
  }
  return list;
}

json_t *tl_reload_diff(const struct tl_conf *before, const struct tl_conf *after) {
  static const struct kind domains = {domain_at, domain_same, true};
  static const struct kind peers = {peer_at, peer_same, false};
  static const struct kind listeners = {listen_at, listen_same, false};
  return json_pack("{s:o, s:o, s:o}", "domains",
                   diff(&domains, before, before->n_domain, after, after->n_domain), "peers",
                   diff(&peers, before, before->n_peer, after, after->n_peer), "listeners",
                   diff(&listeners, before, before->n_listen, after, after->n_listen));
}

static void refused(struct tl_control *c, json_t *problems, struct tl_answer *a) {
  tl_count(&c->rt->control.counters, TL_C_RELOAD_FAILED);
  TL_LOG(TL_LOG_ERROR, "The configuration was refused; the old one stays.",
         TL_FI("problems", json_array_size(problems)));
  log_problems(TL_LOG_ERROR, "Problem in the configuration.", problems);
  tl_command_fail(a, TL_RPC_REFUSED, "the configuration was refused, the old one stays");
  a->data = json_pack("{s:o}", "problems", problems);
}

static void taken(struct tl_control *c, const struct tl_conf *before, struct tl_conf *after,
                  json_t *warnings, struct tl_answer *a) {
  tl_count(&c->rt->control.counters, TL_C_RELOAD_OK);
  log_problems(TL_LOG_WARN, "Warning about the configuration.", warnings);
  a->result = tl_reload_diff(before, after);
  json_object_set_new(a->result, "generation", json_integer((json_int_t)after->generation));
  json_object_set_new(a->result, "warnings", warnings);
  tl_log_set_level(after->log_level);
  TL_LOG(TL_LOG_INFO, "The configuration was reloaded.", TL_FI("generation", after->generation),
         TL_FI("domains", after->n_domain), TL_FI("peers", after->n_peer),
         TL_FI("routes", after->n_route));
  tl_runtime_publish(c->rt, after);
}

void tl_reload(struct tl_control *c, struct tl_answer *a) {
  struct tl_conf *before = tl_runtime_conf(c->rt), *after = NULL;
  json_t *reports = json_array();
  sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=Reading the configuration",
             (unsigned long long)tl_control_now_ms() * 1000);
  if (tl_conf_load(before->file, before, collect, reports, &after))
    refused(c, reports, a);
  else
    taken(c, before, after, reports, a);
  sd_notifyf(0, "READY=1\nSTATUS=Running, configuration %llu",
             (unsigned long long)__atomic_load_n(&c->rt->generation, __ATOMIC_RELAXED));
  tl_conf_unref(before);
}

int tl_command_reload(struct tl_control *c, struct tl_request *req, const json_t *params,
                      struct tl_answer *a) {
  (void)req, (void)params;
  if (c->state != TL_CONTROL_RUNNING)
    return tl_command_fail(a, TL_RPC_NOT_NOW, "the daemon is stopping");
  tl_reload(c, a);
  return 0;
}
