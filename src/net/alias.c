/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections that were opened to us and serve requests in the other direction
 * (RFC 5923): a table by the peer's address and the port of its Via. An entry is
 * a request of the peer; its certificate is checked at each use.
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

struct tl_alias {
  struct tl_alias *next;
  struct tl_conn *conn;
  struct tl_addr addr; /* where requests would be sent to by a new connection */
};

/* The facts by which another worker judges a connection; the mail itself is the table entry. */
struct tl_alias_told {
  struct tl_mail mail;
  struct tl_alias_told *next;
  tl_conn_id conn;
  struct tl_addr addr;
  struct tl_identity *identity; /* a reference; NULL: the connection is gone */
  uint64_t generation;          /* of its TLS domain */
  bool allow_cn;
};

static size_t bucket_of(const struct tl_addr *a) { return tl_addr_hash(a) % TL_ALIAS_BUCKETS; }

static struct tl_alias **bucket_at(struct tl_net *n, const struct tl_addr *a) {
  return &n->alias[bucket_of(a)];
}

/* ---- between workers ---- */

static void told_free(struct tl_alias_told *a) {
  tl_identity_unref(a->identity);
  free(a);
}

static void take_told(struct tl_net *n, struct tl_alias_told *a) {
  if (!a->identity) {
    tl_alias_forget(n, &a->addr, a->conn);
    told_free(a);
    return;
  }
  struct tl_alias_told **b = &n->alias_told[bucket_of(&a->addr)];
  a->next = *b;
  *b = a;
  n->n_alias_told++;
}

static void deliver_told(void *reader, struct tl_mail *m) {
  take_told(reader, (struct tl_alias_told *)m);
}

static void drop_told(struct tl_mail *m) { told_free((struct tl_alias_told *)m); }

static const struct tl_mail_kind told_kind = {"alias", deliver_told, drop_told};

static void tell_worker(const struct tl_alias *own, unsigned worker, bool gone) {
  struct tl_net *n = own->conn->net;
  const struct tl_tls_facts *t = own->conn->view.tls;
  struct tl_thread *to = atomic_load_explicit(&n->rt->worker[worker], memory_order_acquire);
  struct tl_alias_told *a = to ? calloc(1, sizeof(*a)) : NULL;
  if (!a) return;
  a->mail.kind = &told_kind;
  a->conn = tl_conn_id_of(own->conn);
  a->addr = own->addr;
  a->identity = gone ? NULL : tl_identity_ref(t->identity);
  a->generation = t->domain->generation;
  a->allow_cn = t->domain->policy.allow_cn;
  if (tl_mailbox_post(&to->mailbox, &a->mail) == TL_OK) return;
  tl_count(n->counters, TL_C_MAIL_FULL);
  told_free(a);
}

static void tell_others(const struct tl_alias *own, bool gone) {
  const struct tl_net *n = own->conn->net;
  for (unsigned i = 0; i < n->rt->n_worker; i++)
    if (i != n->th->index) tell_worker(own, i, gone);
}

void tl_alias_forget(struct tl_net *n, const struct tl_addr *addr, tl_conn_id conn) {
  struct tl_alias_told **p = &n->alias_told[bucket_of(addr)];
  while (*p && (*p)->conn != conn) p = &(*p)->next;
  struct tl_alias_told *a = *p;
  if (!a) return;
  *p = a->next;
  n->n_alias_told--;
  told_free(a);
}

void tl_alias_exit(struct tl_net *n) {
  for (size_t i = 0; i < TL_ALIAS_BUCKETS; i++)
    for (struct tl_alias_told *a = n->alias_told[i], *next; a; a = next) {
      next = a->next;
      told_free(a);
    }
}

/* ---- of this worker ---- */

void tl_conn_share(struct tl_conn *c) { c->view.alias.shared = true; }

int tl_alias_offer(struct tl_conn *c, struct tl_str sent_by, uint16_t port) {
  const struct tl_tls_facts *t = c->view.tls;
  struct tl_net *n = c->net;
  c->view.alias.checked = true; /* once per connection: asking again gains a stranger nothing */
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
  struct tl_alias **b = bucket_at(n, &a->addr);
  a->next = *b;
  *b = a;
  c->alias = a;
  tell_others(a, false);
  return TL_OK;
}

void tl_alias_drop(struct tl_conn *c) {
  struct tl_alias *a = c->alias;
  if (!a) return;
  tell_others(a, true);
  struct tl_alias **p = bucket_at(c->net, &a->addr);
  while (*p != a) p = &(*p)->next;
  *p = a->next;
  free(a);
  c->alias = NULL;
}

void tl_alias_changed(struct tl_conn *c) {
  if (!c->alias) return;
  tell_others(c->alias, true);
  if (c->view.tls->peer_verified) tell_others(c->alias, false);
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
  for (struct tl_alias *a = *bucket_at(n, &k->addr); a; a = a->next)
    if (tl_addr_eq(&a->addr, &k->addr) && serves_key(a->conn, k)) {
      tl_count(n->counters, TL_C_ALIAS_USED);
      return a->conn;
    }
  return NULL;
}

tl_conn_id tl_alias_elsewhere(struct tl_net *n, const struct tl_conn_key *k) {
  if (n->n_alias_told == 0 || !may_be_asked(k)) return 0;
  const struct tl_alias_told *a = n->alias_told[bucket_of(&k->addr)];
  while (a && !(tl_addr_eq(&a->addr, &k->addr) &&
                is_entitled(k, a->identity, a->generation, a->allow_cn)))
    a = a->next;
  if (!a || tl_conn_keyed(n, k) || tl_alias_find(n, k)) return 0;
  tl_count(n->counters, TL_C_ALIAS_USED);
  return a->conn;
}
