/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From checked blocks to the configuration that workers read: listeners, names that
 * become pointers, our own names. All that can be checked without files or the
 * network has been, by conf_check.c. Peers and routes are conf_peer.c's and
 * conf_route.c's.
 */
#include <ctype.h>
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>

#include "conf/conf_internal.h"

static char *lower_copy(const char *s, size_t n) {
  char *out = strndup(s, n);
  for (char *p = out; p && *p; p++) *p = (char)tolower((unsigned char)*p);
  return out;
}

/* Domains stand in the order of their blocks. */
struct tl_tls_domain *tl_conf_domain_named(const struct tl_conf *c, const char *name) {
  const struct tl_blocks *bs = &c->raw->sec[TL_SEC_DOMAIN];
  const struct tl_block *b = name ? tl_blocks_find(bs, name) : NULL;
  return b ? c->domain[b - bs->b] : NULL;
}

bool tl_conf_has_domain(const struct tl_conf *c, const struct tl_tls_domain *d) {
  return tl_conf_domain_named(c, d->name) == d;
}

static int build_global(struct tl_conf *c, struct tl_conf_ctx *ctx) {
  const struct tl_block *b = &c->raw->sec[TL_SEC_GLOBAL].b[0];
  c->opt = *tl_raw_options(c->raw);
  c->limits = *tl_raw_limits(c->raw);
  c->timeouts = *tl_raw_timeouts(c->raw);
  errno = 0;
  if (c->opt.user && !getpwnam(c->opt.user))
    return errno == ENOMEM ? TL_ENOMEM
                           : tl_conf_fail(ctx, tl_block_at(b, "user"),
                                          "there is no account \"%s\" here", c->opt.user);
  if (!c->opt.identity_map) return 0;
  return tl_conf_map_read(c->opt.identity_map, tl_block_at(b, "identity_map"), ctx, &c->map);
}

static int build_listen(struct tl_conf *c, const struct tl_block *b, struct tl_conf_listen *l,
                        struct tl_conf_ctx *ctx) {
  l->opt = *(const struct tl_listen_options *)b->values;
  const char *err;
  char text[TL_ADDR_STRLEN];
  struct tl_str host = {0};
  uint16_t port = 0;
  if (tl_conf_parse_listen(b->title, &l->transport, &l->addr, &err)) return TL_ECONFIG;
  l->name = strdup(b->title);
  l->domain = tl_conf_domain_named(c, l->opt.tls_domain);
  if (l->opt.advertise) {
    if (tl_conf_parse_hostport(l->opt.advertise, &host, &port)) return TL_ECONFIG;
    l->advertise_host = strndup(host.p, host.n);
  } else {
    struct tl_addr own = l->addr;
    if (tl_addr_is_any(&own)) {
      tl_conf_own_address(&l->addr, &own);
      tl_conf_warn(ctx, b->pos,
                   "Listens on every address; without advertise, Via and Record-Route say %s.",
                   tl_addr_format_host(&own, text));
    }
    l->advertise_host = strdup(tl_addr_format_host(&own, text));
  }
  l->advertise_port = port ? port : tl_addr_port(&l->addr);
  return l->name && l->advertise_host ? 0 : TL_ENOMEM;
}

static int build_listens(struct tl_conf *c, struct tl_conf_ctx *ctx) {
  const struct tl_blocks *bs = &c->raw->sec[TL_SEC_LISTEN];
  c->listen = calloc(bs->n + 1, sizeof(*c->listen));
  if (!c->listen) return TL_ENOMEM;
  int rc = 0;
  for (size_t i = 0; i < bs->n && !rc; i++)
    rc = build_listen(c, &bs->b[i], &c->listen[c->n_listen++], ctx);
  return rc;
}

/* ---- our names ---- */

/* Appends to LIST what it has not yet; SEEN is its index. */
static int add_name(char **list, struct tl_index_map *seen, size_t *n, const char *p, size_t len) {
  bool first;
  if (!(list[*n] = lower_copy(p, len))) return TL_ENOMEM;
  int rc = tl_conf_list_note(seen, list, (uint32_t)*n, &first);
  if (rc == TL_OK && first) {
    ++*n;
  } else {
    free(list[*n]);
    list[*n] = NULL;
  }
  return rc;
}

static int list_names(struct tl_conf *c, char *const *domains, struct tl_index_map *seen) {
  struct tl_str host;
  uint16_t port;
  size_t n = 0, cap = c->n_listen + 1;
  int rc = 0;
  for (size_t i = 0; domains && domains[i]; i++) cap++;
  if (!(c->local_domains = calloc(cap, sizeof(*c->local_domains)))) return TL_ENOMEM;
  for (size_t i = 0; domains && domains[i] && !rc; i++)
    if (!(rc = tl_conf_parse_hostport(domains[i], &host, &port)))
      rc = add_name(c->local_domains, seen, &n, host.p, host.n);
  for (size_t i = 0; i < c->n_listen && !rc; i++) {
    const char *name = c->listen[i].advertise_host;
    rc = name ? add_name(c->local_domains, seen, &n, name, strlen(name)) : TL_ENOMEM;
  }
  return rc;
}

static int build_names(struct tl_conf *c) {
  char *const *domains = c->opt.domains;
  struct tl_index_map seen = {.mask = 0};
  int rc = list_names(c, domains, &seen);
  tl_index_map_clear(&seen);
  return rc ? rc : tl_conf_names_new(c, domains, &c->names);
}

int tl_conf_build(struct tl_conf *c, const struct tl_conf *previous, struct tl_conf_ctx *ctx) {
  int rc = build_global(c, ctx), rc2 = tl_conf_build_domains(c, previous, ctx);
  if (!rc) rc = rc2;
  rc2 = tl_conf_read_token_keys(c, previous, ctx);
  if (!rc) rc = rc2;
  if (!rc) rc = build_listens(c, ctx);
  if (!rc) rc = tl_listen_index_new(c, &c->listen_index);
  return rc ? rc : build_names(c);
}
