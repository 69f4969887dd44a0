/* SPDX-License-Identifier: Apache-2.0 */
/* The differences between two views, for the reply to a reload. Changes nothing. */
#include <string.h>
#include <time.h>

#include "control/json_values.h"
#include "control/reload.h"
#include "control/rpc.h"
#include "tieline/conf_changes.h"

static json_t *json_entry(const char *name, const char *change) {
  return json_pack("{s:o, s:s}", "name", tl_rpc_text(name, SIZE_MAX), "change", change);
}

/* ---- listeners, peers, routes ---- */

static const char *const change_word[] = {[TL_CONF_ADDED] = "added",
                                          [TL_CONF_REMOVED] = "removed",
                                          [TL_CONF_CHANGED] = "changed",
                                          [TL_CONF_SAME] = "same"};

static void add_change(void *arg, const char *name, enum tl_conf_change change) {
  json_array_append_new(arg, json_entry(name, change_word[change]));
}

static json_t *json_changes(const struct tl_view *before, const struct tl_view *after,
                            enum tl_conf_kind kind) {
  json_t *list = json_array();
  tl_conf_each_change(before->conf, after->conf, kind, add_change, list);
  return list;
}

static void add_option(void *arg, const char *block, const char *option) {
  json_array_append_new(arg, json_sprintf("%s%s%s", block ? block : "", block ? "." : "", option));
}

static json_t *json_options(const struct tl_view *before, const struct tl_view *after) {
  json_t *list = json_array();
  tl_conf_each_changed_option(before->conf, after->conf, add_option, list);
  return list;
}

/* ---- TLS domains ---- */

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

static json_t *json_domain(const struct tl_tls_domain *was, const struct tl_tls_domain *now) {
  /* Shared by both views where neither options nor files differ. */
  json_t *e = json_entry(now ? now->name : was->name, !was         ? "added"
                                                      : !now       ? "removed"
                                                      : was == now ? "same"
                                                                   : "changed");
  add_certificate(e, "before", was);
  add_certificate(e, "after", now);
  json_object_set_new(e, "connections", json_integer(0));
  return e;
}

static json_t *json_domains(const struct tl_conf *before, const struct tl_conf *after) {
  json_t *list = json_array();
  for (size_t i = 0; i < after->n_domain; i++) {
    const struct tl_tls_domain *now = after->domain[i];
    json_array_append_new(list, json_domain(tl_conf_domain_named(before, now->name), now));
  }
  for (size_t i = 0; i < before->n_domain; i++)
    if (!tl_conf_domain_named(after, before->domain[i]->name))
      json_array_append_new(list, json_domain(before->domain[i], NULL));
  return list;
}

json_t *tl_reload_diff(const struct tl_view *before, const struct tl_view *after) {
  return json_pack(
      "{s:o, s:o, s:o, s:o, s:o, s:o}", "domains", json_domains(before->conf, after->conf), "peers",
      json_changes(before, after, TL_CONF_PEERS), "groups",
      json_changes(before, after, TL_CONF_GROUPS), "routes",
      json_changes(before, after, TL_CONF_ROUTES), "listeners",
      json_changes(before, after, TL_CONF_LISTENERS), "options", json_options(before, after));
}
