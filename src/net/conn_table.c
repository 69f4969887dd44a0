/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections found again: by their id, in turn, and by the key that they were
 * dialed for. Those that serve a key as alias (RFC 5923) are alias.c's.
 */
#include "net_internal.h"
#include "tieline/container.h"

tl_conn_id tl_conn_id_of(const struct tl_conn *c) {
  return ((uint64_t)(c->net->th->index + 1) << 56) | ((uint64_t)c->gen << 32) | c->slot;
}

struct tl_conn *tl_conn_get(struct tl_net *n, tl_conn_id id) {
  if ((id >> 56) != n->th->index + 1) return NULL;
  return tl_slots_get(&n->slots, (uint32_t)id, (uint32_t)(id >> 32) & TL_SLOT_GEN_MASK);
}

struct tl_flow tl_conn_flow(const struct tl_conn *c) {
  return (struct tl_flow){
      .transport = tl_conn_transport(c), .conn = tl_conn_id_of(c), .addr = c->view.peer};
}

struct tl_conn *tl_conn_next(struct tl_net *n, uint32_t *io_at) {
  while (*io_at < n->slots.n) {
    struct tl_conn *c = n->slots.at[(*io_at)++].object;
    if (c) return c;
  }
  return NULL;
}

uint32_t tl_conn_slots(const struct tl_net *n) { return n->slots.n; }

bool tl_conn_is_newer(const struct tl_conn *a, const struct tl_conn *b) {
  return a->kept.born_ms > b->kept.born_ms;
}

/* ---- the table of connections by remote address ---- */

static uint64_t hash_of(enum tl_transport t, const struct tl_addr *a) {
  return tl_addr_hash(a) + (uint64_t)t;
}

/* Without memory C is not found again: a message for its peer opens another. */
void tl_conn_key_add(struct tl_conn *c) {
  const uint64_t hash = hash_of((enum tl_transport)c->view.transport, &c->view.peer);
  c->life.hashed = tl_hash_add(&c->net->by_key, &c->by_key, hash) == TL_OK;
}

void tl_conn_key_drop(struct tl_conn *c) {
  if (!c->life.hashed) return;
  tl_hash_remove(&c->net->by_key, &c->by_key);
  c->life.hashed = false;
}

static bool same_text(const char *a, const char *b) {
  return strcasecmp(a ? a : "", b ? b : "") == 0;
}

/* A TLS connection serves a key only if exactly the checks that the key requires were made on it.
 */
static bool fits_key(const struct tl_conn *c, const struct tl_conn_key *k) {
  if (c->view.state > TL_CONN_OPEN || c->view.doomed || c->view.transport != k->transport ||
      !tl_addr_eq(&c->view.peer, &k->addr))
    return false;
  if (!tl_transport_is_secure(k->transport)) return true;
  if (!c->view.outgoing) return false;
  return c->kept.domain_generation == (k->domain ? k->domain->generation : 0) &&
         same_text(c->kept.identity, k->identity) && same_text(c->kept.sni, k->sni) &&
         tl_binding_same(c->kept.binding, k->binding);
}

struct tl_conn *tl_conn_keyed(struct tl_net *n, const struct tl_conn_key *k) {
  return tl_conn_keyed_next(n, k, NULL);
}

struct tl_conn *tl_conn_keyed_next(struct tl_net *n, const struct tl_conn_key *k,
                                   const struct tl_conn *after) {
  struct tl_hash_node *node = after ? tl_hash_next(&after->by_key)
                                    : tl_hash_first(&n->by_key, hash_of(k->transport, &k->addr));
  for (; node; node = tl_hash_next(node)) {
    struct tl_conn *c = tl_container_of(node, struct tl_conn, by_key);
    if (fits_key(c, k)) return c;
  }
  return NULL;
}
