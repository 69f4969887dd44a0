/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The route index. Routes with the same peer and domain form a group; a group
 * knows of which lengths its prefixes are, and each prefix is one key of a hash
 * map. A request makes at most six groups (its peer or any; its host, its next
 * hop's or any) and for each as many probes as there are lengths, all of them
 * independent of each other. It knows nothing of what becomes of a match.
 */
#include "tieline/route_index.h"

#include <stdlib.h>

#include "tieline/err.h"
#include "tieline/uri.h"

/* Longer prefixes are found by their first characters: the caller compares all of them. */
#define PREFIX_MAX 63u

enum domain_kind { ANY_DOMAIN, HOST_DOMAIN, NEXT_HOP_DOMAIN };

/* Two bits for each kind of domain: groups of any source, groups of a peer. */
#define KIND_SHIFT(domain) ((domain)*2)

static uint64_t add_char(uint64_t h, unsigned char c) { return (h ^ c) * 0x100000001b3u; }

static uint64_t group_key(enum domain_kind kind, uint64_t host_hash, uint64_t peer) {
  return tl_index_mix(tl_index_mix(peer + kind) ^ (kind == ANY_DOMAIN ? 0 : host_hash));
}

static uint64_t prefix_key(uint64_t group, uint64_t prefix_hash) {
  return tl_index_mix(group ^ prefix_hash);
}

/* ---- filling ---- */

static int grow_lengths(struct tl_route_index *x) {
  if (x->n_length < x->cap_length) return TL_OK;
  uint32_t cap = x->cap_length ? 2 * x->cap_length : 16;
  uint64_t *lengths = realloc(x->lengths, cap * sizeof(*lengths));
  if (!lengths) return TL_ENOMEM;
  x->lengths = lengths;
  x->cap_length = cap;
  return TL_OK;
}

static int note_length(struct tl_route_index *x, uint64_t group, size_t length) {
  uint32_t node = tl_index_map_first(&x->groups, group);
  if (!node) {
    if (grow_lengths(x) || tl_index_map_add(&x->groups, group, x->n_length)) return TL_ENOMEM;
    x->lengths[x->n_length++] = 1ull << length;
    return TL_OK;
  }
  x->lengths[tl_index_map_node(&x->groups, node)->value] |= 1ull << length;
  return TL_OK;
}

/* The characters of a prefix, escapes undone, and their hash. */
static size_t fold_prefix(struct tl_str prefix, uint64_t *out_hash) {
  uint8_t chars[PREFIX_MAX];
  size_t n = tl_uri_user_chars(prefix, chars, sizeof(chars));
  *out_hash = 0;
  for (size_t i = 0; i < n; i++) *out_hash = add_char(*out_hash, chars[i]);
  return n;
}

static int add_to_group(struct tl_route_index *x, uint64_t group, uint32_t number,
                        struct tl_str prefix) {
  uint64_t hash;
  size_t n = fold_prefix(prefix, &hash);
  if (note_length(x, group, n)) return TL_ENOMEM;
  if (n > x->longest) x->longest = (uint8_t)n;
  return tl_index_map_add(&x->prefixes, prefix_key(group, hash), number);
}

static int add_for_peer(struct tl_route_index *x, uint32_t number, const struct tl_route_key *key,
                        uint64_t peer) {
  enum domain_kind kind = !key->domains      ? ANY_DOMAIN
                          : key->of_next_hop ? NEXT_HOP_DOMAIN
                                             : HOST_DOMAIN;
  x->kinds |= (uint8_t)(1u << (KIND_SHIFT(kind) + (peer != 0)));
  if (kind == ANY_DOMAIN) return add_to_group(x, group_key(kind, 0, peer), number, key->prefix);
  int rc = TL_OK;
  for (char *const *d = key->domains; *d && rc == TL_OK; d++)
    rc = add_to_group(x, group_key(kind, tl_index_host(tl_str_c(*d)), peer), number, key->prefix);
  return rc;
}

int tl_route_index_add(struct tl_route_index *x, uint32_t number, const struct tl_route_key *key) {
  if (!key->n_from) return add_for_peer(x, number, key, 0);
  int rc = TL_OK;
  for (size_t i = 0; i < key->n_from && rc == TL_OK; i++)
    rc = add_for_peer(x, number, key, key->from_peer[i]);
  return rc;
}

void tl_route_index_clear(struct tl_route_index *x) {
  tl_index_map_clear(&x->groups);
  tl_index_map_clear(&x->prefixes);
  free(x->lengths);
  *x = (struct tl_route_index){.kinds = 0};
}

/* ---- finding ---- */

bool tl_route_index_asks_next_hop(const struct tl_route_index *x) {
  return x->kinds >> KIND_SHIFT(NEXT_HOP_DOMAIN) & 3;
}

struct search {
  const struct tl_route_index *index;
  tl_route_accept_fn accept;
  void *arg;
  uint32_t best;
  size_t n_char;
  uint64_t prefix_hash[PREFIX_MAX + 1]; /* of the first N characters of the user */
};

/* Routes of one list ascend, so the first that is taken is the lowest of it. */
static void search_list(struct search *s, uint32_t node) {
  while (node) {
    const struct tl_index_node *at = tl_index_map_node(&s->index->prefixes, node);
    if (at->value >= s->best) return;
    if (s->accept(s->arg, at->value)) {
      s->best = at->value;
      return;
    }
    node = at->next;
  }
}

static void search_group(struct search *s, enum domain_kind kind, uint64_t host_hash,
                         uint64_t peer) {
  uint64_t group = group_key(kind, host_hash, peer);
  uint32_t node = tl_index_map_first(&s->index->groups, group);
  if (!node) return;
  uint64_t lengths = s->index->lengths[tl_index_map_node(&s->index->groups, node)->value];
  lengths &= ~0ull >> (PREFIX_MAX - s->n_char);
  for (; lengths; lengths &= lengths - 1) {
    uint64_t hash = s->prefix_hash[__builtin_ctzll(lengths)];
    search_list(s, tl_index_map_first(&s->index->prefixes, prefix_key(group, hash)));
  }
}

static void fold_user(struct search *s, struct tl_str user) {
  uint8_t chars[PREFIX_MAX];
  s->n_char = tl_uri_user_chars(user, chars, s->index->longest);
  s->prefix_hash[0] = 0;
  for (size_t i = 0; i < s->n_char; i++)
    s->prefix_hash[i + 1] = add_char(s->prefix_hash[i], chars[i]);
}

uint32_t tl_route_index_find(const struct tl_route_index *x, const struct tl_route_query *q,
                             tl_route_accept_fn accept, void *arg) {
  struct search s;
  s.index = x;
  s.accept = accept;
  s.arg = arg;
  s.best = TL_ROUTE_NONE;
  fold_user(&s, q->user);
  for (enum domain_kind kind = ANY_DOMAIN; kind <= NEXT_HOP_DOMAIN; kind++) {
    unsigned by_peer = x->kinds >> KIND_SHIFT(kind) & 3;
    if (!by_peer) continue;
    uint64_t host =
        kind == ANY_DOMAIN ? 0 : tl_index_host(kind == HOST_DOMAIN ? q->host : q->next_host);
    if (by_peer & 2 && q->peer) search_group(&s, kind, host, q->peer);
    if (by_peer & 1) search_group(&s, kind, host, 0);
  }
  return s.best;
}
