/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections that were opened to us and serve requests in the other direction
 * (RFC 5923): a table by the peer's address and the port of its Via. An entry is
 * a wish of the peer; whether its certificate entitles it is asked each time.
 *
 * One entry for a connection, so the table is bounded by their number.
 */
#include <stdlib.h>

#include "net_internal.h"

struct tl_alias {
  struct tl_alias *next;
  struct tl_conn *conn;
  struct tl_addr addr; /* where requests would be sent to by a new connection */
};

static struct tl_alias **bucket(struct tl_net *n, const struct tl_addr *a) {
  return &n->alias[tl_addr_hash(a) % TL_ALIAS_BUCKETS];
}

int tl_alias_offer(struct tl_conn *c, struct tl_str sent_by, uint16_t port) {
  const struct tl_conn_tls *t = c->tls;
  struct tl_net *n = c->net;
  c->alias_asked = true; /* once for a connection: a stranger gains nothing by asking again */
  if (!t || c->outgoing || !t->domain || !t->domain->alias) return TL_ENOTSUP;
  if (!tl_identity_may_alias(t->identity, t->peer_verified, sent_by, t->domain->allow_cn)) {
    tl_count(n->counters, TL_C_ALIAS_REFUSED);
    return TL_EVERIFY;
  }
  struct tl_alias *a = malloc(sizeof(*a));
  if (!a) return TL_ENOMEM;
  a->conn = c;
  a->addr = c->peer;
  tl_addr_set_port(&a->addr, port ? port : 5061);
  struct tl_alias **b = bucket(n, &a->addr);
  a->next = *b;
  *b = a;
  c->alias = a;
  return TL_OK;
}

void tl_alias_drop(struct tl_conn *c) {
  struct tl_alias *a = c->alias;
  if (!a) return;
  struct tl_alias **p = bucket(c->net, &a->addr);
  while (*p != a) p = &(*p)->next;
  *p = a->next;
  free(a);
  c->alias = NULL;
}

/* The checks that a connection of our own making would have to pass, made on this one. */
static bool serves(const struct tl_conn *c, const struct tl_conn_key *k) {
  const struct tl_conn_tls *t = c->tls;
  if (c->state != TL_CONN_OPEN || c->doomed || c->retired || !k->domain) return false;
  if (!t->domain || t->domain->generation != k->domain->generation) return false;
  return tl_identity_may_alias(t->identity, t->peer_verified, tl_str_c(k->identity),
                               t->domain->allow_cn) &&
         tl_binding_holds(k->binding, t->identity, true);
}

struct tl_conn *tl_alias_find(struct tl_net *n, const struct tl_conn_key *k) {
  if (k->transport != TL_TLS || !k->identity || !*k->identity) return NULL;
  for (struct tl_alias *a = *bucket(n, &k->addr); a; a = a->next)
    if (tl_addr_eq(&a->addr, &k->addr) && serves(a->conn, k)) {
      tl_count(n->counters, TL_C_ALIAS_USED);
      return a->conn;
    }
  return NULL;
}
