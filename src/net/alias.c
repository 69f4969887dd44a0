/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections that were opened to us and serve requests in the other direction
 * (RFC 5923): a table by the peer's address and the port of its Via. An entry is
 * only what the peer asked for; its certificate is checked at each use.
 *
 * Each worker has two tables: its own connections, and those that the other workers
 * announced by mail. The owner of a connection checks again before it sends, so a lost
 * mail costs one extra connection, or one failed send, after which the entry is
 * forgotten. Each connection has one entry in each table, so the number of connections
 * bounds them.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "net_internal.h"
#include "tieline/container.h"

struct tl_alias {
  struct tl_hash_node node;
  struct tl_conn *conn;
  struct tl_addr addr; /* where a new connection would lead */
};

/* The facts by which another worker judges a connection; the mail itself is the table entry. */
struct tl_remote_alias {
  struct tl_mail mail;
  struct tl_hash_node node;
  tl_conn_id conn;
  struct tl_addr addr;
  struct tl_identity *identity; /* a reference; NULL: the connection is gone */
  uint64_t generation;          /* of its TLS domain */
  bool allow_cn;
};

static struct tl_alias *alias_of(struct tl_hash_node *node) {
  return tl_container_of(node, struct tl_alias, node);
}

static struct tl_remote_alias *remote_of(struct tl_hash_node *node) {
  return tl_container_of(node, struct tl_remote_alias, node);
}

/* ---- between workers ---- */

static void free_remote(struct tl_remote_alias *a) {
  tl_identity_unref(a->identity);
  free(a);
}

static void take_remote(struct tl_net *n, struct tl_remote_alias *a) {
  if (!a->identity) {
    tl_alias_forget(n, &a->addr, a->conn);
    free_remote(a);
    return;
  }
  if (tl_hash_add(&n->remote_aliases, &a->node, tl_addr_hash(&a->addr))) free_remote(a);
}

static void deliver_remote(void *reader, struct tl_mail *m) {
  take_remote(reader, (struct tl_remote_alias *)m);
}

static void drop_remote(struct tl_mail *m) { free_remote((struct tl_remote_alias *)m); }

static const struct tl_mail_kind remote_kind = {"alias", deliver_remote, drop_remote};

static void announce_to_worker(const struct tl_alias *own, unsigned worker, bool gone) {
  struct tl_net *n = own->conn->net;
  const struct tl_tls_facts *t = own->conn->view.tls;
  struct tl_thread *to = atomic_load_explicit(&n->rt->worker[worker], memory_order_acquire);
  struct tl_remote_alias *a = to ? calloc(1, sizeof(*a)) : NULL;
  if (!a) return;
  a->mail.kind = &remote_kind;
  a->conn = tl_conn_id_of(own->conn);
  a->addr = own->addr;
  a->identity = gone ? NULL : tl_identity_ref(t->identity);
  a->generation = t->domain->generation;
  a->allow_cn = t->domain->policy.allow_cn;
  if (tl_mailbox_post(&to->mailbox, &a->mail) == TL_OK) return;
  tl_count(n->counters, TL_C_MAIL_FULL);
  free_remote(a);
}

static void announce_alias(const struct tl_alias *own, bool gone) {
  const struct tl_net *n = own->conn->net;
  for (unsigned i = 0; i < n->rt->n_worker; i++)
    if (i != n->th->index) announce_to_worker(own, i, gone);
}

void tl_alias_forget(struct tl_net *n, const struct tl_addr *addr, tl_conn_id conn) {
  struct tl_hash_node *node = tl_hash_first(&n->remote_aliases, tl_addr_hash(addr));
  while (node && remote_of(node)->conn != conn) node = tl_hash_next(node);
  if (!node) return;
  tl_hash_remove(&n->remote_aliases, node);
  free_remote(remote_of(node));
}

void tl_alias_exit(struct tl_net *n) {
  for (struct tl_hash_node *at = tl_hash_walk(&n->remote_aliases, NULL), *next; at; at = next) {
    next = tl_hash_walk(&n->remote_aliases, at);
    free_remote(remote_of(at));
  }
  tl_hash_free(&n->remote_aliases);
  tl_hash_free(&n->aliases);
}

/* ---- of this worker ---- */

void tl_conn_share(struct tl_conn *c) { c->view.alias.shared = true; }

int tl_alias_offer(struct tl_conn *c, struct tl_str sent_by, uint16_t port) {
  const struct tl_tls_facts *t = c->view.tls;
  struct tl_net *n = c->net;
  c->view.alias.checked = true; /* once per connection: a stranger gains nothing by asking again */
  if (!t || c->view.outgoing || c->life.retired || !t->domain || !t->domain->policy.alias)
    return TL_ENOTSUP;
  if (!tl_identity_may_alias(t->identity, t->peer_verified, sent_by, t->domain->policy.allow_cn)) {
    tl_count(n->counters, TL_C_ALIAS_REFUSED);
    return TL_EVERIFY;
  }
  struct tl_alias *a = malloc(sizeof(*a));
  if (!a) return TL_ENOMEM;
  a->conn = c;
  a->addr = c->view.peer;
  tl_addr_set_port(&a->addr, port ? port : tl_transport_port(c->view.transport));
  if (tl_hash_add(&n->aliases, &a->node, tl_addr_hash(&a->addr))) {
    free(a);
    return TL_ENOMEM;
  }
  c->alias = a;
  announce_alias(a, false);
  return TL_OK;
}

void tl_alias_drop(struct tl_conn *c) {
  struct tl_alias *a = c->alias;
  if (!a) return;
  announce_alias(a, true);
  tl_hash_remove(&c->net->aliases, &a->node);
  free(a);
  c->alias = NULL;
}

void tl_alias_changed(struct tl_conn *c) {
  if (!c->alias) return;
  announce_alias(c->alias, true);
  if (c->view.tls->peer_verified) announce_alias(c->alias, false);
}

/* The checks that a connection dialed for K would have to pass, applied to a connection whose
 * verified certificate is IDENTITY. */
static bool is_entitled(const struct tl_conn_key *k, const struct tl_identity *identity,
                        uint64_t generation, bool allow_cn) {
  return k->domain && generation == k->domain->generation &&
         tl_identity_may_alias(identity, true, tl_str_c(k->identity), allow_cn) &&
         tl_binding_holds(k->binding, identity, true);
}

static bool may_be_asked(const struct tl_conn_key *k) {
  return tl_transport_is_secure(k->transport) && k->identity && *k->identity;
}

bool tl_alias_stands(const struct tl_conn *c) {
  return c->alias && c->view.state == TL_CONN_OPEN && !c->view.doomed && !c->life.retired &&
         c->view.tls->domain && c->view.tls->peer_verified;
}

static bool serves_key(const struct tl_conn *c, const struct tl_conn_key *k) {
  const struct tl_tls_facts *t = c->view.tls;
  return tl_alias_stands(c) &&
         is_entitled(k, t->identity, t->domain->generation, t->domain->policy.allow_cn);
}

struct tl_conn *tl_alias_find(struct tl_net *n, const struct tl_conn_key *k) {
  if (!may_be_asked(k)) return NULL;
  struct tl_hash_node *node = tl_hash_first(&n->aliases, tl_addr_hash(&k->addr));
  for (; node; node = tl_hash_next(node)) {
    const struct tl_alias *a = alias_of(node);
    if (!tl_addr_eq(&a->addr, &k->addr) || !serves_key(a->conn, k)) continue;
    tl_count(n->counters, TL_C_ALIAS_USED);
    return a->conn;
  }
  return NULL;
}

static bool remote_serves(const struct tl_remote_alias *a, const struct tl_conn_key *k) {
  return tl_addr_eq(&a->addr, &k->addr) && is_entitled(k, a->identity, a->generation, a->allow_cn);
}

tl_conn_id tl_alias_elsewhere(struct tl_net *n, const struct tl_conn_key *k) {
  if (n->remote_aliases.n == 0 || !may_be_asked(k)) return 0;
  struct tl_hash_node *node = tl_hash_first(&n->remote_aliases, tl_addr_hash(&k->addr));
  while (node && !remote_serves(remote_of(node), k)) node = tl_hash_next(node);
  if (!node || tl_conn_keyed(n, k) || tl_alias_find(n, k)) return 0;
  tl_count(n->counters, TL_C_ALIAS_USED);
  return remote_of(node)->conn;
}
