/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups of peers: what their blocks may say, and the groups made of them.
 */
#include <stdlib.h>

#include "conf/conf_internal.h"

/* ---- checks ---- */

static bool shares_by_weight(enum tl_group_method m) {
  return m != TL_GROUP_ORDER && m != TL_GROUP_ROUND_ROBIN && m != TL_GROUP_RANDOM;
}

static void check_member(struct tl_raw *r, const struct tl_block *group, const struct tl_block *b,
                         struct tl_conf_ctx *ctx) {
  const struct tl_group_options *g = group->values;
  const struct tl_blocks *peers = &r->sec[TL_SEC_PEER];
  if (!tl_blocks_find(peers, b->title)) tl_conf_fail_unknown(ctx, b, "", "peer", b->title, peers);
  /* What `check` prints has the default of every option. */
  if (((const struct tl_member_options *)b->values)->weight != 1 && !shares_by_weight(g->method))
    tl_conf_fail(ctx, tl_block_at(b, "weight"),
                 "weight means nothing to group \"%s\": its method does not share by it",
                 group->title);
}

void tl_conf_check_group(struct tl_raw *r, const struct tl_block *b, struct tl_conf_ctx *ctx) {
  const struct tl_blocks *members = &r->sec[TL_SEC_MEMBER];
  const uint32_t owner = (uint32_t)(b - r->sec[TL_SEC_GROUP].b);
  uint32_t n = 0, most = 0;
  for (size_t i = tl_blocks_first_in(members, owner); tl_blocks_are_in(members, i, owner); i++) {
    const struct tl_member_options *m = members->b[i].values;
    check_member(r, b, &members->b[i], ctx);
    if (m->weight > most) most = m->weight;
    n++;
  }
  if (tl_blocks_find(&r->sec[TL_SEC_PEER], b->title))
    tl_conf_fail(ctx, b->pos, "there is already a peer called \"%s\": routes could mean either",
                 b->title);
  if (n == 0)
    tl_conf_fail(ctx, b->pos, "group \"%s\" has no member", b->title);
  else if (n > TL_GROUP_MEMBERS_MAX)
    tl_conf_fail(ctx, b->pos, "group \"%s\" has %u members; there may be %u", b->title, n,
                 TL_GROUP_MEMBERS_MAX);
  else if (most == 0)
    tl_conf_fail(ctx, b->pos, "all members of group \"%s\" have weight 0: none would be the first",
                 b->title);
}

/* Calls can only be counted where requests have transactions, and without them each copy of a
 * request must go the same way. */
static void check_stateless_peer(struct tl_raw *r, const struct tl_block *b, const char *name,
                                 struct tl_conf_ctx *ctx) {
  const struct tl_block *peer = tl_blocks_find(&r->sec[TL_SEC_PEER], name);
  if (peer && ((const struct tl_peer_options *)peer->values)->max_calls)
    tl_conf_fail(ctx, tl_block_at(b, "stateless"),
                 "route \"%s\" is stateless, so the max_calls of its peer \"%s\" could not be "
                 "kept: take out one of the two",
                 b->title, name);
}

static void check_stateless_group(struct tl_raw *r, const struct tl_block *b,
                                  const struct tl_block *group, struct tl_conf_ctx *ctx) {
  const struct tl_blocks *members = &r->sec[TL_SEC_MEMBER];
  const uint32_t owner = (uint32_t)(group - r->sec[TL_SEC_GROUP].b);
  const enum tl_group_method m = ((const struct tl_group_options *)group->values)->method;
  for (size_t i = tl_blocks_first_in(members, owner); tl_blocks_are_in(members, i, owner); i++)
    check_stateless_peer(r, b, members->b[i].title, ctx);
  if (m == TL_GROUP_ROUND_ROBIN || m == TL_GROUP_LEAST_CALLS)
    tl_conf_fail(ctx, tl_block_at(b, "stateless"),
                 "route \"%s\" is stateless, so a repeated request could go another way than the "
                 "first by the method of group \"%s\": choose another method",
                 b->title, group->title);
}

void tl_conf_check_stateless(struct tl_raw *r, const struct tl_block *b, struct tl_conf_ctx *ctx) {
  const struct tl_route_options *v = b->values;
  for (char **name = v->peers; v->stateless && name && *name; name++) {
    const struct tl_block *group = tl_blocks_find(&r->sec[TL_SEC_GROUP], *name);
    if (group)
      check_stateless_group(r, b, group, ctx);
    else
      check_stateless_peer(r, b, *name, ctx);
  }
}

/* ---- groups ---- */

const struct tl_conf_peer *tl_conf_peer_named(const struct tl_peer_set *peers, const char *name) {
  const struct tl_blocks *bs = &peers->raw->sec[TL_SEC_PEER];
  const struct tl_block *b = tl_blocks_find(bs, name);
  return b ? &peers->peer[b - bs->b] : NULL;
}

void tl_conf_count_calls(struct tl_peer_set *s) {
  const struct tl_blocks *members = &s->raw->sec[TL_SEC_MEMBER],
                         *groups = &s->raw->sec[TL_SEC_GROUP];
  const struct tl_blocks *peers = &s->raw->sec[TL_SEC_PEER];
  for (size_t i = 0; i < members->n; i++) {
    const struct tl_group_options *g = groups->b[members->b[i].owner].values;
    const struct tl_block *peer = tl_blocks_find(peers, members->b[i].title);
    if (peer && g->method == TL_GROUP_LEAST_CALLS) s->peer[peer - peers->b].counts_calls = true;
  }
}

/* As written where priorities are equal: where a member stands decides then. */
static int by_priority(const void *a, const void *b) {
  const struct tl_group_member *x = a, *y = b;
  if (x->priority != y->priority) return x->priority < y->priority ? -1 : 1;
  return (x->written > y->written) - (x->written < y->written);
}

static int build_group(struct tl_route_table *t, const struct tl_block *b, uint32_t number,
                       struct tl_peer_group *g) {
  const struct tl_blocks *members = &t->raw->sec[TL_SEC_MEMBER];
  const size_t first = tl_blocks_first_in(members, number);
  size_t n = 0;
  while (tl_blocks_are_in(members, first + n, number)) n++;
  g->method = ((const struct tl_group_options *)b->values)->method;
  g->name = strdup(b->title);
  g->member = calloc(n + 1, sizeof(*g->member));
  if (!g->name || !g->member) return TL_ENOMEM;
  for (; g->n < n; g->n++) {
    const struct tl_block *m = &members->b[first + g->n];
    const struct tl_member_options *o = m->values;
    g->member[g->n] = (struct tl_group_member){.peer = tl_conf_peer_named(t->peers, m->title),
                                               .priority = o->priority,
                                               .weight = o->weight,
                                               .written = (uint32_t)g->n};
    if (!g->member[g->n].peer) return TL_ECONFIG;
  }
  qsort(g->member, g->n, sizeof(*g->member), by_priority);
  return TL_OK;
}

int tl_conf_build_groups(struct tl_route_table *t) {
  const struct tl_blocks *bs = &t->raw->sec[TL_SEC_GROUP];
  if (!(t->group = calloc(bs->n + 1, sizeof(*t->group)))) return TL_ENOMEM;
  int rc = TL_OK;
  for (size_t i = 0; i < bs->n && rc == TL_OK; i++)
    rc = build_group(t, &bs->b[i], (uint32_t)i, &t->group[t->n_group++]);
  return rc;
}
