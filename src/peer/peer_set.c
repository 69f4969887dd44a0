/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sets of peers as they are configured: their life, and what each begins with. Who
 * fills one decides what the peers are (src/conf does, from blocks).
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "tieline/err.h"
#include "tieline/peer_table.h"
#include "tieline/tls_domain.h"

struct tl_addr_list *tl_conf_peer_found(const struct tl_conf_peer *p) {
  struct tl_addr_list *l = tl_addr_list_new();
  for (size_t i = 0; l && i < p->n_addr && i < TL_PEER_ADDRS_MAX; i++) {
    /* Their order is already final: each is a group of its own. */
    l->at[i].addr = p->addr[i];
    l->at[i].via = p->via[i];
    l->at[i].group = l->at[i].target = (uint8_t)i;
    l->n++;
  }
  return l;
}

struct tl_tls_domain *tl_conf_peer_domain(const struct tl_conf_peer *p,
                                          const struct tl_tls_set *tls,
                                          const struct tl_addr *addr) {
  enum tl_choice rule;
  return p->domain ? p->domain : tl_tls_choose_client(tls, tl_str_c(p->identity), addr, &rule);
}

bool tl_conf_peer_only_tls(const struct tl_conf_peer *p, const struct tl_addr_list *l) {
  if (!p->any_transport) return tl_transport_is_secure(p->transport);
  for (size_t i = 0; i < l->n; i++)
    if (!tl_transport_is_secure((enum tl_transport)l->at[i].via)) return false;
  return l->n || p->opt.tls_only;
}

int tl_conf_peer_begin(const struct tl_conf_peer *p) {
  struct tl_addr numeric;
  bool named = tl_addr_parse(tl_str_c(p->host), p->port, &numeric) != TL_OK;
  return tl_peer_state_begin(p->state, p->opt.uri, tl_conf_peer_found(p), named);
}

static void free_peer(struct tl_conf_peer *p) {
  free(p->name);
  free(p->host);
  free(p->identity);
  free(p->addr);
  free(p->via);
  tl_peer_state_unref(p->state);
  tl_tls_domain_unref(p->domain);
  free(p->network);
  tl_binding_unref(p->binding);
}

struct tl_peer_set *tl_peer_set_new(struct tl_raw *raw, tl_raw_drop_fn drop_raw) {
  static _Atomic uint64_t generations;
  struct tl_peer_set *s = calloc(1, sizeof(*s));
  if (!s) {
    drop_raw(raw);
    return NULL;
  }
  atomic_init(&s->refs, 1);
  s->generation = atomic_fetch_add(&generations, 1) + 1;
  s->raw = raw;
  s->drop_raw = drop_raw;
  return s;
}

struct tl_peer_set *tl_peer_set_ref(struct tl_peer_set *s) {
  atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
  return s;
}

void tl_peer_set_unref(struct tl_peer_set *s) {
  if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1) return;
  for (size_t i = 0; i < s->n; i++) free_peer(&s->peer[i]);
  free(s->peer);
  tl_peer_lists_clear(&s->lists);
  s->drop_raw(s->raw);
  free(s);
}
