/* SPDX-License-Identifier: Apache-2.0 */
/* The differences between two views, for the reply to a reload. Changes nothing. */
#include <string.h>
#include <time.h>

#include "control/json_values.h"
#include "control/reload.h"
#include "control/rpc.h"

static bool same_text(const char *a, const char *b) {
  return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_addrs(const struct tl_addr *a, size_t n_a, const struct tl_addr *b, size_t n_b) {
  if (n_a != n_b) return false;
  for (size_t i = 0; i < n_a; i++)
    if (!tl_addr_eq(&a[i], &b[i])) return false;
  return true;
}

static const char *domain_name(const struct tl_tls_domain *d) { return d ? d->name : NULL; }

static bool same_peer(const struct tl_conf_peer *a, const struct tl_conf_peer *b) {
  return same_text(a->opt.uri, b->opt.uri) && same_text(a->identity, b->identity) &&
         same_text(domain_name(a->domain), domain_name(b->domain)) &&
         same_addrs(a->addr, a->n_addr, b->addr, b->n_addr);
}

static bool same_listen(const struct tl_conf_listen *a, const struct tl_conf_listen *b) {
  return tl_addr_eq(&a->addr, &b->addr) && a->transport == b->transport &&
         same_text(a->advertise_host, b->advertise_host) &&
         a->advertise_port == b->advertise_port &&
         same_text(domain_name(a->domain), domain_name(b->domain));
}

static json_t *json_entry(const char *name, const char *change) {
  return json_pack("{s:o, s:s}", "name", tl_rpc_text(name, SIZE_MAX), "change", change);
}

/* One kind of named item, before and after: first what is new or kept, in its new order, then what
 * was removed. AT returns the name of an item by index, and the item in *OUT. */
typedef const char *(*at_fn)(const struct tl_view *v, size_t i, const void **out);
typedef bool (*same_fn)(const void *a, const void *b);

static const void *find_item(const struct tl_view *v, size_t n, at_fn at, const char *name) {
  const void *item = NULL;
  for (size_t i = 0; v && i < n; i++)
    if (strcmp(at(v, i, &item), name) == 0) return item;
  return NULL;
}

static const char *peer_at(const struct tl_view *v, size_t i, const void **out) {
  *out = &v->peers->peer[i];
  return v->peers->peer[i].name;
}
static const char *listen_at(const struct tl_view *v, size_t i, const void **out) {
  *out = &v->conf->listen[i];
  return v->conf->listen[i].name;
}
static const char *domain_at(const struct tl_view *v, size_t i, const void **out) {
  *out = v->conf->domain[i];
  return v->conf->domain[i]->name;
}
static bool peer_same(const void *a, const void *b) { return same_peer(a, b); }
static bool listen_same(const void *a, const void *b) { return same_listen(a, b); }
/* Shared by both views where neither options nor files differ. */
static bool domain_same(const void *a, const void *b) { return a == b; }

/* The certificate of a domain; D NULL: the domain did or does not exist. */
static void add_certificate(json_t *e, const char *when, const struct tl_tls_domain *d) {
  char key[32];
  snprintf(key, sizeof(key), "serial_%s", when);
  json_object_set_new(e, key, d ? json_string(d->serial) : json_null());
  snprintf(key, sizeof(key), "not_after_%s", when);
  json_object_set_new(e, key, d ? tl_json_time(d->not_after) : json_null());
  snprintf(key, sizeof(key), "spki_sha256_%s", when);
  json_object_set_new(e, key, d && d->own ? json_string(d->own->spki_sha256) : json_null());
}

static void add_certificates(json_t *e, const void *was, const void *now) {
  add_certificate(e, "before", was);
  add_certificate(e, "after", now);
  json_object_set_new(e, "connections", json_integer(0));
}

struct kind {
  at_fn at;
  same_fn same;
  bool with_certificates;
};

static json_t *diff_kind(const struct kind *k, const struct tl_view *before, size_t n_before,
                         const struct tl_view *after, size_t n_after) {
  json_t *list = json_array();
  for (size_t i = 0; i < n_after; i++) {
    const void *now = NULL, *was = NULL;
    const char *name = k->at(after, i, &now);
    was = find_item(before, n_before, k->at, name);
    json_t *e = json_entry(name, !was ? "added" : k->same(was, now) ? "same" : "changed");
    if (k->with_certificates) add_certificates(e, was, now);
    json_array_append_new(list, e);
  }
  for (size_t i = 0; i < n_before; i++) {
    const void *was = NULL;
    const char *name = k->at(before, i, &was);
    if (find_item(after, n_after, k->at, name)) continue;
    json_t *e = json_entry(name, "removed");
    if (k->with_certificates) add_certificates(e, was, NULL);
    json_array_append_new(list, e);
  }
  return list;
}

json_t *tl_reload_diff(const struct tl_view *before, const struct tl_view *after) {
  static const struct kind domains = {domain_at, domain_same, true};
  static const struct kind peers = {peer_at, peer_same, false};
  static const struct kind listeners = {listen_at, listen_same, false};
  return json_pack(
      "{s:o, s:o, s:o}", "domains",
      diff_kind(&domains, before, before->conf->n_domain, after, after->conf->n_domain), "peers",
      diff_kind(&peers, before, before->peers->n, after, after->peers->n), "listeners",
      diff_kind(&listeners, before, before->conf->n_listen, after, after->conf->n_listen));
}
