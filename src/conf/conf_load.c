/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot's life: loaded whole or not at all, counted, freed. The steps are
 * in conf_source, conf_parse, conf_check and conf_build.
 */
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "conf/conf_internal.h"
#include "tieline/peer_table.h"

/* The directory of FILE, absolute, so that it holds even if the process changes its own. */
static char *dir_of(const char *file) {
  const char *slash = strrchr(file, '/');
  char *dir = slash ? strndup(file, slash == file ? 1 : (size_t)(slash - file)) : strdup(".");
  char *real = dir ? realpath(dir, NULL) : NULL;
  if (real) {
    free(dir);
    return real;
  }
  return dir;
}

static int load_raw(const char *file, struct tl_conf_ctx *ctx, struct tl_raw *r) {
  if (!(r->dir = dir_of(file))) return TL_ENOMEM;
  int rc = tl_conf_source_read(&r->source, ctx, file);
  if (!rc) rc = tl_conf_parse(r, ctx);
  tl_conf_source_drop_tokens(&r->source);
  if (!rc) rc = tl_conf_read_database(r, ctx);
  return rc ? rc : tl_conf_check(r, ctx);
}

int tl_conf_load(const char *file, const struct tl_conf *previous, tl_conf_report_fn report,
                 void *arg, struct tl_conf **out) {
  struct tl_conf_ctx ctx = {.report = report, .arg = arg};
  struct tl_conf *c = calloc(1, sizeof(*c));
  int rc = TL_ENOMEM;
  *out = NULL;
  if (!c) goto out;
  c->refs = 1;
  c->generation = previous ? previous->generation + 1 : 1;
  if (!(c->file = strdup(file)) || !(c->raw = calloc(1, sizeof(*c->raw)))) goto out;
  if ((rc = load_raw(file, &ctx, c->raw))) goto out;
  if (previous && (rc = tl_conf_check_reload(c->raw, previous->raw, &ctx))) goto out;
  if ((rc = tl_conf_build(c, previous, &ctx))) goto out;
  if (previous) { /* the command line may have overridden the file */
    c->workers = previous->workers;
    c->handshakers = previous->handshakers;
  }
  *out = c;
  c = NULL;
out:
  if (rc && ctx.problems == 0)
    tl_conf_fail(&ctx, (struct tl_conf_pos){file, 0}, "cannot load: %s", tl_strerror(rc));
  tl_conf_unref(c);
  return rc;
}

struct tl_conf *tl_conf_ref(struct tl_conf *c) {
  atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
  return c;
}

static void free_strings(char **l) {
  for (size_t i = 0; l && l[i]; i++) free(l[i]);
  free(l);
}

static void free_parts(struct tl_conf *c) {
  for (size_t i = 0; i < c->n_listen; i++) {
    free(c->listen[i].name);
    free(c->listen[i].advertise_host);
  }
  for (size_t i = 0; i < c->n_peer; i++) {
    struct tl_conf_peer *p = &c->peer[i];
    free(p->name);
    free(p->uri);
    free(p->host);
    free(p->identity);
    free(p->addr);
    free(p->via);
    tl_health_unref(p->health);
    tl_peer_addrs_unref(p->addrs);
    tl_conf_free_identity(p);
  }
  for (size_t i = 0; i < c->n_route; i++) {
    struct tl_conf_route *r = &c->route[i];
    free(r->name);
    free(r->to_prefix);
    free(r->prepend);
    free_strings(r->to_domain);
    free_strings(r->from_peer);
    tl_conf_free_source(r);
    free(r->peer);
  }
  for (size_t i = 0; i < c->n_domain; i++) tl_tls_domain_unref(c->domain[i]);
}

void tl_conf_unref(struct tl_conf *c) {
  if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) > 1) return;
  free_parts(c);
  tl_peer_table_unref(c->peers);
  tl_route_table_clear(&c->routes);
  free(c->listen);
  free(c->peer);
  free(c->route);
  free(c->domain);
  free_strings(c->local_domains);
  tl_conf_names_free(c->names);
  tl_conf_map_free(c->map);
  free(c->user);
  free(c->control_socket);
  free(c->keylog_file);
  free(c->file);
  tl_raw_free(c->raw);
  free(c);
}
