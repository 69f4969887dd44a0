/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Re-resolves the names of peers when the TTL of the answer has passed. The
 * resolver thread does the look-up; this file decides when, and what an answer
 * changes. Without an answer the last addresses stay: dead name servers are not a
 * reason to drop calls. Names in requests are not resolved here.
 */
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "control/control_internal.h"
#include "control/json_values.h"
#include "tieline/resolve.h"
#include "tieline/view.h"

#define ASKING_MAX 64 /* at the same time: look-ups for calls take precedence */
#define RETRY_MS 1000 /* what there was no memory for */
/* A new table costs time and memory for each of its peers, so the more it has, the rarer it is. */
#define PAUSE_PEERS 10u    /* a millisecond between two tables for so many */
#define PAUSE_MAX_MS 1000u /* from 10,000 peers on */

/* ---- publication ---- */

static bool has_address(const struct tl_addr_list *l, const struct tl_target_addr *p) {
  for (size_t i = 0; i < l->n; i++)
    if (l->at[i].via == p->via && tl_addr_eq(&l->at[i].addr, &p->addr)) return true;
  return false;
}

static bool same_addresses(const struct tl_addr_list *a, const struct tl_addr_list *b) {
  if (a->n != b->n) return false;
  for (size_t i = 0; i < a->n; i++)
    if (!has_address(b, &a->at[i]) || !has_address(a, &b->at[i])) return false;
  return true;
}

static void log_addresses(const struct tl_conf_peer *peer, const struct tl_addr_list *l,
                          bool first) {
  char text[TL_PEER_ADDRS_MAX * (TL_ADDR_STRLEN + 1)] = "", one[TL_ADDR_STRLEN];
  size_t n = 0;
  for (size_t i = 0; i < l->n; i++)
    n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", i ? " " : "",
                          tl_addr_format(&l->at[i].addr, one));
  TL_LOG(TL_LOG_INFO,
         first ? "A peer's name has addresses now."
               : "A peer's name leads to other addresses than before; new requests go there.",
         TL_FC("peer", peer->name), TL_FC("host", peer->host), TL_FC("addresses", text));
}

/* Replaces the addresses of PEER by L, which is taken over. */
static void publish_addresses(struct tl_control *c, const struct tl_conf_peer *peer,
                              struct tl_addr_list *l) {
  struct tl_peer_addrs *p = &peer->state->addrs;
  if (!same_addresses(p->current, l)) {
    if (p->current->n) tl_count(&c->rt->control.counters, TL_C_DNS_CHANGED);
    log_addresses(peer, l, p->current->n == 0);
  }
  tl_peer_addrs_publish(p, l);
  c->names.changed = true;
}

static void note_answer(struct tl_peer_addrs *p, uint64_t now_ms) {
  p->answered_ms = now_ms;
  p->answered_at = (int64_t)time(NULL);
}

/* ---- the row */

/* Is what PEER's state knows that of its uri? Without memory for it what was known of the former
 * uri stays, and is not used. */
static bool is_begun(const struct tl_conf_peer *peer) {
  return tl_peer_state_knows(peer->state, peer->opt.uri);
}

static void ask_at(struct tl_control *c, const struct tl_conf_peer *peer, uint64_t at_ms) {
  peer->state->addrs.next_ms = at_ms;
  if (!c->names.incomplete) tl_due_push(&c->names.row, at_ms, peer->id);
}

/* All of T's that are to be looked up and are not being looked up. */
static void fill_row(struct tl_control *c, const struct tl_peer_table *t) {
  struct tl_due_heap *row = &c->names.row;
  row->n = 0;
  c->names.incomplete = tl_due_reserve(row, t->n) != TL_OK;
  bool all_begun = true;
  for (size_t i = 0; i < t->n && !c->names.incomplete; i++) {
    const struct tl_conf_peer *peer = &t->peer[i];
    const struct tl_peer_addrs *p = &peer->state->addrs;
    if (!is_begun(peer))
      all_begun = false;
    else if (p->needs_dns && !p->query_pending)
      tl_due_push(row, p->next_ms, peer->id);
  }
  c->names.incomplete |= !all_begun;
}

static void adopt_found(struct tl_control *c, const struct tl_conf_peer *peer) {
  struct tl_peer_addrs *p = &peer->state->addrs;
  struct tl_addr_list *l = tl_conf_peer_found(peer);
  if (l && l->n && !same_addresses(p->current, l))
    publish_addresses(c, peer, l);
  else
    tl_addr_list_unref(l);
  if (peer->n_addr && !p->answered_at) note_answer(p, tl_now_ms());
  p->next_ms = 0; /* only the resolver knows the TTL */
}

void tl_names_adopt(struct tl_control *c, const struct tl_peer_table *t) {
  for (size_t i = 0; i < t->n; i++) {
    const struct tl_conf_peer *peer = &t->peer[i];
    if (!is_begun(peer) && tl_conf_peer_begin(peer)) continue;
    if (peer->state->addrs.needs_dns) adopt_found(c, peer);
  }
  c->names.next_ms = 0; /* T may lack what was found after it was made */
  fill_row(c, t);
}

/* What there was no memory for. The table has had the addresses of those that begin now. */
static void complete_row(struct tl_control *c) {
  const struct tl_peer_table *t = tl_runtime_published(c->rt)->peers;
  for (size_t i = 0; i < t->n; i++)
    if (!is_begun(&t->peer[i])) tl_conf_peer_begin(&t->peer[i]);
  fill_row(c, t);
}

/* ---- asking ---- */

struct name_question {
  struct tl_resolve resolve;   /* first: the answer is the same */
  struct tl_peer_state *state; /* a reference: the peer may be taken out meanwhile, and come back */
};

static const struct tl_mail_kind answer_kind;

static void free_question(struct name_question *q) {
  tl_peer_state_unref(q->state);
  free(q);
}

static void on_lookup_failed(struct tl_control *c, const struct tl_conf *conf,
                             const struct tl_conf_peer *peer, const char *error) {
  struct tl_peer_addrs *p = &peer->state->addrs;
  uint64_t now_ms = tl_now_ms();
  p->failed++;
  p->error = error;
  tl_count(&c->rt->control.counters, TL_C_DNS_FAILED);
  /* Logged once per outage; `ctl peers` shows the rest. */
  if (++p->failures == 1)
    TL_LOG(TL_LOG_WARN,
           p->current->n ? "A peer's name cannot be looked up; its last addresses stay in use."
                         : "A peer's name cannot be looked up; it has no address yet.",
           TL_FC("peer", peer->name), TL_FC("host", peer->host), TL_FC("cause", error),
           TL_FI("age_s", p->answered_at ? (now_ms - p->answered_ms) / 1000 : 0));
  ask_at(c, peer,
         now_ms + tl_peer_addrs_retry_ms(p->failures, conf->opt.dns_ttl_min_ms,
                                         conf->opt.dns_ttl_max_ms));
}

static void ask_resolver(struct tl_control *c, const struct tl_conf *conf,
                         const struct tl_conf_peer *peer) {
  struct name_question *q = calloc(1, sizeof(*q));
  if (!q) {
    on_lookup_failed(c, conf, peer, "out of memory");
    return;
  }
  struct tl_resolve *r = &q->resolve;
  q->state = tl_peer_state_ref(peer->state);
  r->reply = (struct tl_mail_address){&c->rt->control.mailbox, &answer_kind};
  r->client.own = true;
  r->cookie = peer->state->addrs.serial;
  r->started_ms = tl_now_ms();
  r->transport = peer->transport;
  r->any_transport = peer->any_transport;
  r->secure = tl_transport_is_secure(peer->transport);
  r->port = peer->any_port ? 0 : peer->port;
  r->fresh = true;
  snprintf(r->host, sizeof(r->host), "%s", peer->host);
  if (tl_resolve_ask(&c->rt->resolver, r)) {
    tl_count(&c->rt->control.counters, TL_C_MAIL_FULL);
    free_question(q);
    on_lookup_failed(c, conf, peer, "the resolver is busy");
    return;
  }
  peer->state->addrs.query_pending = true;
  c->names.asking++;
}

/* Returns when the next one is due. */
static uint64_t ask_due(struct tl_control *c, uint64_t now_ms) {
  const struct tl_view *v = tl_runtime_published(c->rt);
  struct tl_due_heap *row = &c->names.row;
  while (tl_due_next_ms(row) <= now_ms) {
    if (c->names.asking == ASKING_MAX) return TL_TIME_NEVER; /* the next answer makes room */
    const struct tl_conf_peer *peer = tl_view_peer(v, tl_due_pop(row).what);
    if (peer) ask_resolver(c, v->conf, peer);
  }
  return tl_due_next_ms(row);
}

/* One new table for all addresses that have changed since the last one. */
static void publish_table(struct tl_control *c) {
  const struct tl_view *now = tl_runtime_published(c->rt);
  struct tl_peer_table *t = tl_peer_table_new(now->peers->set, &now->conf->tls_set);
  struct tl_view *next = t ? tl_view_new(now->conf, t, now->routes) : NULL;
  tl_peer_table_unref(t);
  if (next) tl_runtime_publish(c->rt, next);
  c->names.changed = next == NULL;
}

static uint64_t pause_ms(const struct tl_control *c) {
  const size_t ms = tl_runtime_published(c->rt)->peers->n / PAUSE_PEERS;
  return ms < PAUSE_MAX_MS ? ms : PAUSE_MAX_MS;
}

/* Where memory is short it is tried again a little later. */
static uint64_t make_up(struct tl_control *c, uint64_t now_ms) {
  if (!c->names.changed && !c->names.incomplete) return TL_TIME_NEVER;
  if (now_ms < c->names.next_ms) return c->names.next_ms;
  if (c->names.incomplete) complete_row(c);
  if (c->names.changed) publish_table(c);
  const bool failed = c->names.changed || c->names.incomplete;
  c->names.next_ms = now_ms + (failed ? RETRY_MS : pause_ms(c));
  return failed ? c->names.next_ms : TL_TIME_NEVER;
}

static uint64_t names_turn(struct tl_control *c, uint64_t now_ms) {
  uint64_t due_ms = make_up(c, now_ms);
  if (c->state == TL_CONTROL_RUNNING) tl_time_sooner(&due_ms, ask_due(c, now_ms));
  return due_ms;
}

/* What loading the configuration has found. */
static int names_run(struct tl_control *c) {
  tl_names_adopt(c, tl_runtime_published(c->rt)->peers);
  return 0;
}

static void names_stop(struct tl_control *c) { tl_due_free(&c->names.row); }

const struct tl_control_service tl_names_service = {
    .name = "names of peers", .run = names_run, .turn = names_turn, .stop = names_stop};

/* ---- answers ---- */

static struct tl_addr_list *list_of(const struct tl_walk_found *f) {
  struct tl_addr_list *l = tl_addr_list_new();
  for (size_t i = 0; l && i < f->n && i < TL_PEER_ADDRS_MAX; i++) {
    l->at[i] = (struct tl_target_addr){.addr = f->addr[i],
                                       .via = f->via[i],
                                       .group = f->group[i],
                                       .target = f->target[i],
                                       .weight = f->weight[i]};
    l->weighted |= i && f->group[i] == f->group[i - 1] && f->target[i] != f->target[i - 1];
    l->n++;
  }
  return l;
}

static const char *error_of(const struct tl_resolve *r) {
  switch (r->rc) {
  case TL_OK: return r->found.n ? "no answer about its services" : "it has no address";
  case TL_ENOTFOUND: return "no such name";
  case TL_ETIMEOUT: return "no answer in time";
  case TL_ELIMIT: return "too many look-ups";
  default: return "the name servers give no answer";
  }
}

static void on_lookup_done(struct tl_control *c, const struct tl_conf *conf,
                           const struct tl_conf_peer *peer, const struct tl_resolve *r) {
  struct tl_peer_addrs *p = &peer->state->addrs;
  struct tl_addr_list *l = list_of(&r->found);
  if (!l) {
    on_lookup_failed(c, conf, peer, "out of memory");
    return;
  }
  if (p->failures)
    TL_LOG(TL_LOG_INFO, "A peer's name can be looked up again.", TL_FC("peer", peer->name),
           TL_FC("host", peer->host), TL_FI("failures", p->failures));
  p->failures = 0;
  p->error = NULL;
  p->ttl_s = r->found.ttl_s;
  note_answer(p, tl_now_ms());
  ask_at(c, peer,
         p->answered_ms + tl_peer_addrs_keep_ms(r->found.ttl_s, conf->opt.dns_ttl_min_ms,
                                                conf->opt.dns_ttl_max_ms));
  if (tl_addr_list_equal(p->current, l))
    tl_addr_list_unref(l);
  else
    publish_addresses(c, peer, l);
}

static void take_answer(struct tl_control *c, const struct name_question *q) {
  const struct tl_view *v = tl_runtime_published(c->rt);
  const struct tl_resolve *r = &q->resolve;
  const struct tl_conf_peer *peer = tl_view_peer(v, q->state->id);
  struct tl_peer_addrs *p = &q->state->addrs;
  c->names.asking--;
  if (p->serial != r->cookie) return; /* it has another uri now, or had meanwhile */
  p->query_pending = false;
  if (!peer || peer->state != q->state) return; /* a reload took it away */
  if (r->rc == TL_OK && r->found.n && !(r->found.unsure && p->current->n))
    on_lookup_done(c, v->conf, peer, r);
  else
    on_lookup_failed(c, v->conf, peer, error_of(r));
}

static void deliver_answer(void *reader, struct tl_mail *m) {
  take_answer(reader, (struct name_question *)m);
  free_question((struct name_question *)m);
}

static void drop_answer(struct tl_mail *m) { free_question((struct name_question *)m); }

static const struct tl_mail_kind answer_kind = {"peer resolved", deliver_answer, drop_answer};

/* ---- ctl ---- */

json_t *tl_names_show(const struct tl_peer_addrs *p) {
  const uint64_t now_ms = tl_now_ms();
  if (!p->needs_dns) return json_null();
  const uint64_t next_ms = p->query_pending || p->next_ms < now_ms ? 0 : p->next_ms - now_ms;
  return json_pack(
      "{s:o, s:o, s:o, s:I, s:I, s:I, s:o}", "looked_up", tl_json_time((time_t)p->answered_at),
      "age_s",
      p->answered_at ? json_integer((json_int_t)((now_ms - p->answered_ms) / 1000)) : json_null(),
      "ttl_s", p->ttl_s ? json_integer((json_int_t)p->ttl_s) : json_null(), "next_s",
      (json_int_t)(next_ms + 999) / 1000, "failed_in_a_row", (json_int_t)p->failures, "failed",
      (json_int_t)p->failed, "error", p->error ? json_string(p->error) : json_null());
}
