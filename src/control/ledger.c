/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runs of the ledger: audits out and in, judging in slices so that the
 * control socket never waits long, directives out, and the requests that wait for
 * the end. ledger_judge.c decides about a chain, ledger_show.c shows it.
 */
#include "control/ledger.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define SLICE_MS 10
#define LOOK_AGAIN_MS 100 /* connections of former domains may come one after the other */

/* ---- items ---- */

static struct tl_ledger_item *item_of(const struct tl_ledger *l, const struct tl_conn_class *a) {
  const struct tl_index_node *at;
  uint32_t node = tl_index_map_first(&l->index, tl_conn_class_key(a));
  for (; node; node = at->next) {
    at = tl_index_map_node(&l->index, node);
    if (tl_conn_class_equal(&l->item[at->value].key, a)) return &l->item[at->value];
  }
  return NULL;
}

static int grow_items(struct tl_ledger *l) {
  if (l->n_item < l->cap_item) return 0;
  size_t cap = l->cap_item ? 2 * l->cap_item : 64;
  struct tl_ledger_item *item = realloc(l->item, cap * sizeof(*item));
  if (!item) return TL_ENOMEM;
  l->item = item;
  l->cap_item = cap;
  return 0;
}

/* FROM's references are taken over. */
static struct tl_ledger_item *add_item(struct tl_ledger *l, struct tl_audit_row *from) {
  if (grow_items(l) ||
      tl_index_map_add(&l->index, tl_conn_class_key(&from->key), (uint32_t)l->n_item))
    return NULL;
  struct tl_ledger_item *it = &l->item[l->n_item++];
  *it = (struct tl_ledger_item){.key = from->key};
  memset(&from->key, 0, sizeof(from->key));
  return it;
}

static int merge_item(struct tl_ledger *l, struct tl_audit_row *from, unsigned worker) {
  struct tl_ledger_item *it = item_of(l, &from->key);
  if (!it && !(it = add_item(l, from))) return TL_ENOMEM;
  it->n += from->n;
  it->workers |= 1ull << worker;
  return 0;
}

static void drop_items(struct tl_ledger *l) {
  for (size_t i = 0; i < l->n_item; i++) tl_conn_class_clear(&l->item[i].key);
  free(l->item);
  tl_index_map_clear(&l->index);
  l->item = NULL;
  l->n_item = l->cap_item = l->at = 0;
}

/* ---- domains that were changed or removed ---- */

static bool in_force(const struct tl_conf *conf, const struct tl_tls_domain *d) {
  for (size_t i = 0; i < conf->n_domain; i++)
    if (conf->domain[i] == d) return true;
  return false;
}

static bool trust_only(const struct tl_conf *conf, const struct tl_tls_domain *d) {
  for (size_t i = 0; i < conf->n_domain; i++)
    if (strcmp(conf->domain[i]->name, d->name) == 0)
      return memcmp(conf->domain[i]->core, d->core, sizeof(d->core)) == 0;
  return false;
}

/* Drops the notes that hold the last reference to their domain. */
static void drop_drained(struct tl_ledger *l, bool all) {
  for (struct tl_drained **p = &l->drained, *d; (d = *p);) {
    if (!all && atomic_load_explicit(&d->domain->refs, memory_order_acquire) > 1) {
      p = &d->next;
      continue;
    }
    *p = d->next;
    tl_tls_domain_unref(d->domain);
    free(d);
  }
}

size_t tl_ledger_reloaded(struct tl_control *c, const struct tl_conf *before,
                          const struct tl_conf *after, enum tl_reload_drain mode,
                          uint32_t within_ms) {
  struct tl_ledger *l = c->ledger;
  size_t n = 0;
  drop_drained(l, false);
  for (size_t i = 0; i < before->n_domain; i++) {
    struct tl_tls_domain *was = before->domain[i];
    if (in_force(after, was)) continue;
    n++;
    struct tl_drained *d = trust_only(after, was) ? NULL : calloc(1, sizeof(*d));
    if (!d) continue;
    d->domain = tl_tls_domain_ref(was);
    d->mode = mode;
    d->within_ms = within_ms;
    d->next = l->drained;
    l->drained = d;
  }
  return n;
}

/* ---- a run ---- */

static bool post_audit(struct tl_control *c, struct tl_audit *s, unsigned worker) {
  struct tl_ledger *l = c->ledger;
  if (!s) return false;
  s->reply = (struct tl_mail_address){&c->rt->control.mailbox, &tl_ledger_answer};
  s->worker = worker;
  s->run = l->run;
  if (tl_audit_ask(c->rt->worker[worker], s)) {
    tl_count(&c->rt->control.counters, TL_C_MAIL_FULL);
    tl_audit_free(s);
    return false;
  }
  l->due++;
  return true;
}

static void judge_begin(struct tl_control *c) {
  struct tl_ledger *l = c->ledger;
  l->phase = TL_LEDGER_JUDGING;
  l->due = 0;
  l->conf = tl_runtime_conf(c->rt);
  tl_ledger_know(l);
  for (size_t i = 0; i < l->n_item; i++) {
    const struct tl_conn_class *a = &l->item[i].key;
    if (a->verified && a->identity && a->identity->chain_not_after >= time(NULL))
      tl_runtime_expiry(c->rt, a->identity->chain_not_after);
  }
}

static void begin_run(struct tl_control *c, uint64_t now_ms) {
  struct tl_ledger *l = c->ledger;
  l->phase = TL_LEDGER_ASKING;
  l->run++;
  l->due = 0;
  l->complete = true;
  l->verify_all = l->rerun_all;
  l->rerun = l->rerun_all = false;
  l->ocsp_from = time(NULL);
  l->ocsp_at = 0;
  l->started_ms = now_ms;
  l->deadline_ms = now_ms + TL_LEDGER_MS;
  struct tl_ledger_wait **last = &l->waiting;
  while (*last) last = &(*last)->next;
  *last = l->waiting_next;
  l->waiting_next = NULL;
  atomic_store(&c->rt->reverify_pending, false);
  /* Later expiries are found again by this run, or by the worker that adopts one meanwhile. */
  atomic_store(&c->rt->next_expiry, 0);
  for (unsigned i = 0; i < c->rt->n_worker; i++)
    if (c->rt->worker[i] && !post_audit(c, tl_audit_new(0), i)) l->complete = false;
  if (!l->due) judge_begin(c);
}

/* One mail to every worker that has connections concerned. */
static void give_out(struct tl_control *c, const struct tl_directive *orders,
                     const uint64_t *workers, size_t n) {
  for (unsigned w = 0; w < c->rt->n_worker; w++) {
    struct tl_audit *s = tl_audit_new(n);
    if (!s) {
      c->ledger->complete = false;
      return;
    }
    for (size_t i = 0; i < n; i++) {
      struct tl_directive *o = &s->order[s->n];
      if (!(workers[i] >> w & 1)) continue;
      *o = orders[i];
      if (tl_conn_class_copy(&orders[i].key, &o->key)) {
        c->ledger->complete = false;
        continue;
      }
      o->domain = orders[i].domain ? tl_tls_domain_ref(orders[i].domain) : NULL;
      s->n++;
    }
    if (!s->n || !c->rt->worker[w])
      tl_audit_free(s);
    else if (!post_audit(c, s, w))
      c->ledger->complete = false;
  }
}

#define BATCH 256
static void judge_slice(struct tl_control *c) {
  struct tl_ledger *l = c->ledger;
  struct tl_directive *order = calloc(BATCH, sizeof(*order));
  uint64_t workers[BATCH], until = tl_now_ms() + SLICE_MS;
  size_t n = 0;
  for (; order && l->at < l->n_item && n < BATCH; l->at++) {
    struct tl_ledger_item *it = &l->item[l->at];
    if (tl_ledger_judge(c, it, &order[n])) {
      it->ordered = true;
      it->action = order[n].action;
      workers[n++] = it->workers;
    }
    if (tl_now_ms() >= until) {
      l->at++;
      break;
    }
  }
  if (n) give_out(c, order, workers, n);
  for (size_t i = 0; i < n; i++) {
    tl_conn_class_clear(&order[i].key);
    tl_tls_domain_unref(order[i].domain);
  }
  free(order);
  if (!order) l->complete = false;
  if (!order || l->at == l->n_item) {
    l->phase = TL_LEDGER_ORDERING;
    l->deadline_ms = tl_now_ms() + TL_LEDGER_MS;
  }
}

static void log_end(const struct tl_ledger *l) {
  size_t n[3] = {0};
  for (size_t i = 0; i < l->n_item; i++)
    if (l->item[i].ordered) n[l->item[i].action] += l->item[i].n_applied;
  if (!n[0] && !n[1] && !n[2]) return;
  TL_LOG(TL_LOG_INFO, "The connections were compared with the present configuration.",
         TL_FI("passed", n[TL_DIRECTIVE_PASS]), TL_FI("closed", n[TL_DIRECTIVE_CLOSE]),
         TL_FI("retiring", n[TL_DIRECTIVE_RETIRE]), TL_FI("chains", l->known.n),
         TL_FI("took_ms", tl_now_ms() - l->started_ms));
}

static void finish_run(struct tl_control *c) {
  struct tl_ledger *l = c->ledger;
  l->phase = TL_LEDGER_REST;
  if (l->due) l->complete = false;
  if (!l->complete)
    TL_LOG(TL_LOG_WARN, "Workers did not tell their connections in time, they are asked again.");
  log_end(l);
  for (struct tl_ledger_wait *w; (w = l->waiting);) {
    struct tl_answer a = {.result = w->result};
    l->waiting = w->next;
    if (w->result)
      tl_ledger_complete(l, w->result);
    else
      a.result = tl_ledger_list(l, w->limit);
    tl_command_answer(c, &w->req, &a);
    free(w);
  }
  drop_items(l);
  tl_conf_unref(l->conf);
  l->conf = NULL;
  drop_drained(l, false);
  /* Includes answers that expired during the run; without a connection none is asked for. */
  tl_ledger_ocsp(c, tl_ocsp_known_next(l->ocsp_from), false);
  if (!l->complete) tl_ledger_wake(c, l->verify_all);
}

static void take_answer(struct tl_control *c, struct tl_audit *s) {
  struct tl_ledger *l = c->ledger;
  const bool mine = l && s->run == l->run && l->phase != TL_LEDGER_REST;
  if (mine && s->survey && l->phase == TL_LEDGER_ASKING) {
    if (s->rc) l->complete = false;
    for (size_t i = 0; i < s->n; i++)
      if (merge_item(l, &s->item[i], s->worker)) l->complete = false;
    if (--l->due == 0) judge_begin(c);
  } else if (mine && !s->survey) {
    for (size_t i = 0; i < s->n; i++) {
      struct tl_ledger_item *it = item_of(l, &s->order[i].key);
      if (it) it->n_applied += s->order[i].n_applied;
    }
    l->due--;
    if (l->phase == TL_LEDGER_ORDERING && !l->due) finish_run(c);
  }
  tl_audit_free(s);
}

static void deliver_answer(void *reader, struct tl_mail *m) {
  take_answer(reader, (struct tl_audit *)m);
}

static void drop_answer(struct tl_mail *m) { tl_audit_free((struct tl_audit *)m); }

const struct tl_mail_kind tl_ledger_answer = {"audited", deliver_answer, drop_answer};

/* ---- when ---- */

int tl_ledger_wait(struct tl_control *c, struct tl_request *req, json_t *result, size_t limit) {
  struct tl_ledger_wait *w = calloc(1, sizeof(*w));
  if (!w) return TL_ENOMEM;
  w->req = *req;
  w->result = result;
  w->limit = limit;
  struct tl_ledger_wait **last = &c->ledger->waiting_next;
  while (*last) last = &(*last)->next;
  *last = w;
  c->ledger->rerun = true;
  return 0;
}

/* Has the clock reached AT? If not, lowers *DUE_MS to when it will. */
static bool is_reached(int64_t at, uint64_t now_ms, uint64_t *due_ms) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  if (t.tv_sec >= at) return true;
  /* At most an hour, because the clock may be set. */
  const int64_t left_s = at - t.tv_sec;
  const uint64_t left_ms =
      left_s > 3600 ? 3600000 : (uint64_t)(left_s * 1000 + 1 - t.tv_nsec / 1000000);
  tl_service_sooner(due_ms, now_ms + left_ms);
  return false;
}

static void check_ends(struct tl_control *c, uint64_t now_ms, uint64_t *due_ms) {
  const int64_t expiry = atomic_load(&c->rt->next_expiry), ocsp = c->ledger->ocsp_at;
  /* notAfter is the last second that a certificate is valid (RFC 5280 4.1.2.5). */
  if (expiry && is_reached(expiry + 1, now_ms, due_ms)) tl_ledger_wake(c, false);
  if (ocsp && is_reached(ocsp, now_ms, due_ms)) tl_ledger_wake(c, false);
}

static void check_idle(struct tl_control *c, uint64_t now_ms, uint64_t *due_ms) {
  struct tl_ledger *l = c->ledger;
  check_ends(c, now_ms, due_ms);
  if (atomic_load(&c->rt->reverify_pending)) {
    if (now_ms >= l->started_ms + LOOK_AGAIN_MS)
      l->rerun = true;
    else
      tl_service_sooner(due_ms, l->started_ms + LOOK_AGAIN_MS);
  }
  if (l->rerun) begin_run(c, now_ms);
}

static uint64_t ledger_turn(struct tl_control *c, uint64_t now_ms) {
  struct tl_ledger *l = c->ledger;
  uint64_t due_ms = TL_SERVICE_NEVER;
  if (l->phase == TL_LEDGER_REST) check_idle(c, now_ms, &due_ms);
  if (l->phase == TL_LEDGER_ASKING && now_ms >= l->deadline_ms) {
    l->complete = false;
    judge_begin(c);
  }
  if (l->phase == TL_LEDGER_JUDGING) judge_slice(c);
  if (l->phase == TL_LEDGER_ORDERING && (!l->due || now_ms >= l->deadline_ms)) {
    finish_run(c);
    check_idle(c, now_ms, &due_ms);
  }
  if (l->phase == TL_LEDGER_JUDGING) due_ms = now_ms;
  if (l->phase == TL_LEDGER_ASKING || l->phase == TL_LEDGER_ORDERING)
    tl_service_sooner(&due_ms, l->deadline_ms);
  return due_ms;
}

static int ledger_start(struct tl_control *c) {
  c->ledger = calloc(1, sizeof(*c->ledger));
  return c->ledger ? 0 : TL_ENOMEM;
}

static void ledger_stop(struct tl_control *c) {
  struct tl_ledger *l = c->ledger;
  struct tl_ledger_wait **lists[] = {&l->waiting, &l->waiting_next};
  for (int i = 0; i < 2; i++)
    for (struct tl_ledger_wait *w; (w = *lists[i]);) {
      *lists[i] = w->next;
      json_decref(w->req.id);
      json_decref(w->result);
      free(w);
    }
  drop_items(l);
  drop_drained(l, true);
  tl_ledger_forget(l);
  tl_conf_unref(l->conf);
  free(l);
  c->ledger = NULL;
}

const struct tl_control_service tl_ledger_service = {
    .name = "ledger", .start = ledger_start, .turn = ledger_turn, .stop = ledger_stop};

int tl_command_ledger(struct tl_control *c, struct tl_request *req, const json_t *params,
                      struct tl_answer *a) {
  const json_t *want = json_object_get(params, "limit");
  const json_int_t limit = want ? json_integer_value(want) : 10000;
  if (limit < 1 || limit > 100000)
    return tl_command_fail(a, TL_RPC_PARAMS, "limit is a number from 1 to 100000");
  if (tl_ledger_wait(c, req, NULL, (size_t)limit))
    return tl_command_fail(a, TL_RPC_NOT_NOW, "out of memory");
  return TL_EAGAIN;
}
