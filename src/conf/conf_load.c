/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading a configuration, whole or not at all, its tables with it. The steps are in
 * conf_source, conf_parse, conf_check, conf_build, conf_peer and conf_route.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "conf/conf_internal.h"

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

static int load_conf(struct tl_conf *c, const struct tl_conf *previous, struct tl_conf_ctx *ctx) {
  int rc = load_raw(c->file, ctx, c->raw);
  if (!rc && previous) rc = tl_conf_check_reload(c->raw, previous->raw, ctx);
  if (!rc) rc = tl_conf_build(c, previous, ctx);
  if (previous) { /* the command line may have overridden the file */
    c->opt.workers = previous->opt.workers;
    c->opt.handshakers = previous->opt.handshakers;
  }
  return rc;
}

/* The tables of C's blocks, and all of it together. */
static int load_tables(struct tl_conf *c, const struct tl_peer_table *previous,
                       struct tl_conf_ctx *ctx, struct tl_view **out) {
  struct tl_peer_set *set = NULL;
  struct tl_peer_table *peers = NULL;
  struct tl_route_table *routes = NULL;
  int rc = tl_conf_build_peers(c, previous, ctx, &set);
  if (!rc && !(peers = tl_peer_table_new(set, &c->tls_set))) rc = TL_ENOMEM;
  if (!rc) rc = tl_conf_build_routes(c, set, &routes);
  if (!rc && !(*out = tl_view_new(c, peers, routes))) rc = TL_ENOMEM;
  tl_route_table_unref(routes);
  tl_peer_table_unref(peers);
  tl_peer_set_unref(set);
  return rc;
}

int tl_conf_load(const char *file, const struct tl_view *previous, tl_conf_report_fn report,
                 void *arg, struct tl_view **out) {
  struct tl_conf_ctx ctx = {.report = report, .arg = arg};
  *out = NULL;
  struct tl_conf *c = tl_conf_new(file, previous ? previous->conf : NULL);
  int rc = c ? load_conf(c, previous ? previous->conf : NULL, &ctx) : TL_ENOMEM;
  if (!rc) rc = load_tables(c, previous ? previous->peers : NULL, &ctx, out);
  if (rc && ctx.problems == 0)
    tl_conf_fail(&ctx, (struct tl_conf_pos){file, 0}, "cannot load: %s", tl_strerror(rc));
  tl_conf_unref(c);
  return rc;
}
