/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's part in inventories and directives: a walk over its connections, a slice in
 * each turn. Connections that come while a walk is under way are looked at when
 * they are adopted: one that was made under a domain which is no longer in force
 * has the control thread look again. Nothing is decided here.
 */
#include <stdlib.h>

#include "net_internal.h"
#include "tieline/audit.h"
#include "tieline/log.h"
#include "tieline/tls_domain.h"

#define SLICE 1024u

static struct tl_conn_class conn_class_of(const struct tl_conn *c) {
  const struct tl_tls_facts *t = c->view.tls;
  return (struct tl_conn_class){.identity = t->identity,
                                .domain = t->domain,
                                .name = c->kept.identity,
                                .server = t->server,
                                .verified = t->peer_verified};
}

/* ---- the table of connection classes ---- */

static const struct tl_conn_class *class_at(const struct tl_audit *s, uint32_t i) {
  return s->inventory ? &s->item[i].key : &s->directive[i].key;
}

/* The number of A, or S->n if it is not there. */
static uint32_t number_of(const struct tl_audit *s, const struct tl_conn_class *a) {
  const struct tl_index_node *at;
  uint32_t node = tl_index_map_first(&s->index, tl_conn_class_key(a));
  for (; node; node = at->next) {
    at = tl_index_map_node(&s->index, node);
    if (tl_conn_class_equal(class_at(s, at->value), a)) return at->value;
  }
  return (uint32_t)s->n;
}

static int index_directives(struct tl_audit *s) {
  int rc = TL_OK;
  for (uint32_t i = 0; i < s->n && rc == TL_OK; i++)
    rc = tl_index_map_add(&s->index, tl_conn_class_key(class_at(s, i)), i);
  return rc;
}

static int grow_rows(struct tl_audit *s) {
  if (s->n < s->cap) return TL_OK;
  size_t cap = s->cap ? 2 * s->cap : 64;
  struct tl_audit_row *item = realloc(s->item, cap * sizeof(*item));
  if (!item) return TL_ENOMEM;
  s->item = item;
  s->cap = cap;
  return TL_OK;
}

static int add_row(struct tl_audit *s, const struct tl_conn_class *a) {
  struct tl_conn_class key;
  if (grow_rows(s) || tl_conn_class_copy(a, &key)) return TL_ENOMEM;
  if (tl_index_map_add(&s->index, tl_conn_class_key(a), (uint32_t)s->n)) {
    tl_conn_class_clear(&key);
    return TL_ENOMEM;
  }
  s->item[s->n++] = (struct tl_audit_row){.key = key};
  return TL_OK;
}

/* ---- what is done to one connection ---- */

static int note_conn(struct tl_audit *s, struct tl_conn *c) {
  struct tl_conn_class a = conn_class_of(c);
  const uint32_t i = number_of(s, &a);
  if (i == s->n && add_row(s, &a)) return TL_ENOMEM;
  s->item[i].n++;
  return TL_OK;
}

static void log_closing(const struct tl_conn *c, const struct tl_directive *o) {
  char peer[TL_ADDR_STRLEN];
  const struct tl_tls_facts *t = c->view.tls;
  /* Not limited: it is the operator's doing, once for each connection. */
  TL_LOG(o->alert ? TL_LOG_WARN : TL_LOG_INFO,
         "Closing a TLS connection that the present configuration no longer allows.",
         TL_FC("peer", tl_addr_format(&c->view.peer, peer)),
         TL_FC("identity", t->identity ? t->identity->subject : "none"),
         TL_FC("tls_domain", t->domain->name), TL_FC("cause", o->why),
         TL_FC("alert", tl_alert_name(o->alert)));
}

static void move_to(struct tl_conn *c, struct tl_tls_domain *d) {
  struct tl_tls_domain *was = c->view.tls->domain;
  c->kept.tls->facts.domain = tl_tls_domain_ref(d);
  tl_tls_domain_unref(was);
  /* It was verified anew for this very domain, so it may serve what asks for it (FEATURES B13). */
  if (c->view.outgoing) c->kept.domain_generation = d->generation;
}

static void apply_pass(struct tl_conn *c, struct tl_directive *o) {
  c->kept.tls->facts.peer_verified = o->pass;
  if (o->domain) move_to(c, o->domain);
  tl_alias_changed(c);
}

/* False: it was retired before. */
static bool retire_conn(struct tl_conn *c, uint32_t within_ms) {
  if (c->life.retired) return false;
  tl_count(c->net->counters, TL_C_CONN_RETIRED);
  tl_conn_retire(c, within_ms);
  return true;
}

static void carry_out(struct tl_conn *c, struct tl_directive *o) {
  switch (o->action) {
  case TL_DIRECTIVE_PASS: apply_pass(c, o); break;
  case TL_DIRECTIVE_RETIRE:
    c->kept.tls->facts.peer_verified = o->pass;
    if (!retire_conn(c, o->within_ms)) return;
    break;
  case TL_DIRECTIVE_CLOSE:
    /* Its peer still passes: what is being set up on it is waited for. */
    if (!o->alert && tl_conn_asked(c) && c->net->view->conf->timeouts.call_setup_max) {
      const uint64_t soon = c->net->now_ms + TL_RETIRE_MS;
      if (!retire_conn(c, TL_RETIRE_MS) && (!c->retire_until || c->retire_until > soon))
        c->retire_until = soon;
      break;
    }
    log_closing(c, o);
    tl_count(c->net->counters, o->alert ? TL_C_CONN_UNVERIFIED : TL_C_CONN_DRAINED);
    tl_conn_end(c, o->alert);
    break;
  }
  o->n_applied++;
}

static int look_at(struct tl_audit *s, struct tl_conn *c) {
  if (!c || !c->kept.tls || !c->view.tls->domain || c->view.state != TL_CONN_OPEN) return TL_OK;
  if (s->inventory) return note_conn(s, c);
  struct tl_conn_class a = conn_class_of(c);
  const uint32_t i = number_of(s, &a);
  if (i < s->n) carry_out(c, &s->directive[i]);
  return TL_OK;
}

/* ---- the walk ---- */

static void send_back(struct tl_net *n, struct tl_audit *s, int rc) {
  n->audits = s->next;
  s->next = NULL;
  s->rc = rc;
  if (tl_mail_send(&s->reply, &s->mail) == TL_OK) return;
  tl_count(n->counters, TL_C_MAIL_FULL);
  tl_audit_free(s);
}

static void deliver_audit(void *reader, struct tl_mail *m) {
  struct tl_net *n = reader;
  struct tl_audit **last = &n->audits, *s = (struct tl_audit *)m;
  while (*last) last = &(*last)->next;
  s->next = NULL;
  s->at = 0;
  *last = s;
}

static void drop_audit(struct tl_mail *m) {
  struct tl_audit *s = (struct tl_audit *)m;
  s->rc = TL_ECLOSED;
  tl_mail_return(&s->reply, m);
}

static const struct tl_mail_kind audit_kind = {"audit", deliver_audit, drop_audit};

int tl_audit_ask(struct tl_thread *worker, struct tl_audit *s) {
  s->mail.kind = &audit_kind;
  return tl_mailbox_post(&worker->mailbox, &s->mail);
}

void tl_audit_turn(struct tl_net *n) {
  struct tl_audit *s = n->audits;
  if (!s) return;
  int rc = s->inventory || s->index.mask ? TL_OK : index_directives(s);
  uint32_t end = s->at + SLICE < n->slots.n ? s->at + SLICE : n->slots.n;
  for (; rc == TL_OK && s->at < end; s->at++) rc = look_at(s, n->slots.at[s->at].object);
  if (rc || s->at >= n->slots.n) send_back(n, s, rc);
}

void tl_audit_drop(struct tl_net *n) {
  while (n->audits) send_back(n, n->audits, TL_ECLOSED);
}

/* ---- connections that come ---- */

void tl_audit_adopted(struct tl_conn *c) {
  struct tl_runtime *rt = c->net->rt;
  const struct tl_tls_facts *t = c->view.tls;
  bool wake = false;
  if (t->domain && !tl_conf_has_domain(c->net->view->conf, t->domain))
    wake = !atomic_exchange(&rt->reverify_pending, true);
  if (t->identity && t->peer_verified) wake |= tl_runtime_expiry(rt, t->identity->chain_not_after);
  if (wake) tl_mailbox_wake(&rt->control.mailbox);
}
