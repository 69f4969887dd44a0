/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runs of the ledger: audits out and in, judging in slices so that the
 * control thread never waits long, directives out, and those who wait for the end.
 * ledger_judge.c decides about a chain, ledger_known.c remembers it.
 */
#include "trust/ledger.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tieline/time.h"

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
  if (l->n_item < l->cap_item) return TL_OK;
  size_t cap = l->cap_item ? 2 * l->cap_item : 64;
  struct tl_ledger_item *item = realloc(l->item, cap * sizeof(*item));
  if (!item) return TL_ENOMEM;
  l->item = item;
  l->cap_item = cap;
  return TL_OK;
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
  return TL_OK;
}

static void drop_items(struct tl_ledger *l) {
  for (size_t i = 0; i < l->n_item; i++) tl_conn_class_clear(&l->item[i].key);
  free(l->item);
  tl_index_map_clear(&l->index);
  l->item = NULL;
  l->n_item = l->cap_item = l->at = 0;
}

/* ---- domains that were changed or removed ---- */

static bool trust_only(const struct tl_conf *conf, const struct tl_tls_domain *was) {
  const struct tl_tls_domain *now = tl_conf_domain_named(conf, was->name);
  return now && memcmp(now->core, was->core, sizeof(was->core)) == 0;
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

size_t tl_ledger_reloaded(struct tl_ledger *l, const struct tl_conf *before,
                          const struct tl_conf *after, enum tl_reload_drain mode,
                          uint32_t within_ms) {
  size_t n = 0;
  drop_drained(l, false);
  for (size_t i = 0; i < before->n_domain; i++) {
    struct tl_tls_domain *was = before->domain[i];
    if (tl_conf_has_domain(after, was)) continue;
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

static bool post_audit(struct tl_ledger *l, struct tl_audit *s, unsigned worker) {
  if (!s) return false;
  s->reply = l->reply;
  s->worker = worker;
  s->run = l->run;
  if (tl_audit_ask(l->rt->worker[worker], s)) {
    tl_count(&l->rt->control.counters, TL_C_MAIL_FULL);
    tl_audit_free(s);
    return false;
  }
  l->due++;
  return true;
}

static void judge_begin(struct tl_ledger *l) {
  l->phase = TL_LEDGER_JUDGING;
  l->due = 0;
  l->conf = tl_runtime_conf(l->rt);
  tl_ledger_know(l);
  for (size_t i = 0; i < l->n_item; i++) {
    const struct tl_conn_class *a = &l->item[i].key;
    if (a->verified && a->identity && a->identity->chain_not_after >= time(NULL))
      tl_runtime_expiry(l->rt, a->identity->chain_not_after);
  }
}

static void begin_run(struct tl_ledger *l, uint64_t now_ms) {
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
  atomic_store(&l->rt->reverify_pending, false);
  /* Later expiries are found again by this run, or by the worker that adopts one meanwhile. */
  atomic_store(&l->rt->next_expiry, 0);
  for (unsigned i = 0; i < l->rt->n_worker; i++)
    if (l->rt->worker[i] && !post_audit(l, tl_audit_new(0), i)) l->complete = false;
  if (!l->due) judge_begin(l);
}

/* One mail to every worker that has connections concerned. */
static void give_out(struct tl_ledger *l, const struct tl_directive *orders,
                     const uint64_t *workers, size_t n) {
  for (unsigned w = 0; w < l->rt->n_worker; w++) {
    struct tl_audit *s = tl_audit_new(n);
    if (!s) {
      l->complete = false;
      return;
    }
    for (size_t i = 0; i < n; i++) {
      struct tl_directive *o = &s->directive[s->n];
      if (!(workers[i] >> w & 1)) continue;
      *o = orders[i];
      if (tl_conn_class_copy(&orders[i].key, &o->key)) {
        l->complete = false;
        continue;
      }
      o->domain = orders[i].domain ? tl_tls_domain_ref(orders[i].domain) : NULL;
      s->n++;
    }
    if (!s->n || !l->rt->worker[w])
      tl_audit_free(s);
    else if (!post_audit(l, s, w))
      l->complete = false;
  }
}

#define BATCH 256
static void judge_slice(struct tl_ledger *l) {
  struct tl_directive *order = calloc(BATCH, sizeof(*order));
  uint64_t workers[BATCH], until = tl_now_ms() + SLICE_MS;
  size_t n = 0;
  for (; order && l->at < l->n_item && n < BATCH; l->at++) {
    struct tl_ledger_item *it = &l->item[l->at];
    if (tl_ledger_judge(l, it, &order[n])) {
      it->ordered = true;
      it->action = order[n].action;
      workers[n++] = it->workers;
    }
    if (tl_now_ms() >= until) {
      l->at++;
      break;
    }
  }
  if (n) give_out(l, order, workers, n);
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

static void finish_run(struct tl_ledger *l) {
  l->phase = TL_LEDGER_REST;
  if (l->due) l->complete = false;
  if (!l->complete)
    TL_LOG(TL_LOG_WARN, "Workers did not tell their connections in time, they are asked again.");
  log_end(l);
  for (struct tl_ledger_wait *w; (w = l->waiting);) {
    l->waiting = w->next;
    w->ended(w, l);
  }
  drop_items(l);
  tl_conf_unref(l->conf);
  l->conf = NULL;
  drop_drained(l, false);
  /* Includes answers that expired during the run; without a connection none is asked for. */
  tl_ledger_ocsp(l, tl_ocsp_known_next(l->ocsp_from), false);
  if (!l->complete) tl_ledger_wake(l, l->verify_all);
}

void tl_ledger_take(struct tl_ledger *l, struct tl_audit *s) {
  const bool mine = s->run == l->run && l->phase != TL_LEDGER_REST;
  if (mine && s->inventory && l->phase == TL_LEDGER_ASKING) {
    if (s->rc) l->complete = false;
    for (size_t i = 0; i < s->n; i++)
      if (merge_item(l, &s->item[i], s->worker)) l->complete = false;
    if (--l->due == 0) judge_begin(l);
  } else if (mine && !s->inventory) {
    for (size_t i = 0; i < s->n; i++) {
      struct tl_ledger_item *it = item_of(l, &s->directive[i].key);
      if (it) it->n_applied += s->directive[i].n_applied;
    }
    l->due--;
    if (l->phase == TL_LEDGER_ORDERING && !l->due) finish_run(l);
  }
  tl_audit_free(s);
}

/* ---- when ---- */

void tl_ledger_wait(struct tl_ledger *l, struct tl_ledger_wait *w) {
  struct tl_ledger_wait **last = &l->waiting_next;
  while (*last) last = &(*last)->next;
  *last = w;
  w->next = NULL;
  l->rerun = true;
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
  tl_time_sooner(due_ms, now_ms + left_ms);
  return false;
}

static void check_ends(struct tl_ledger *l, uint64_t now_ms, uint64_t *due_ms) {
  const int64_t expiry = atomic_load(&l->rt->next_expiry), ocsp = l->ocsp_at;
  /* notAfter is the last second that a certificate is valid (RFC 5280 4.1.2.5). */
  if (expiry && is_reached(expiry + 1, now_ms, due_ms)) tl_ledger_wake(l, false);
  if (ocsp && is_reached(ocsp, now_ms, due_ms)) tl_ledger_wake(l, false);
}

static void check_idle(struct tl_ledger *l, uint64_t now_ms, uint64_t *due_ms) {
  check_ends(l, now_ms, due_ms);
  if (atomic_load(&l->rt->reverify_pending)) {
    if (now_ms >= l->started_ms + LOOK_AGAIN_MS)
      l->rerun = true;
    else
      tl_time_sooner(due_ms, l->started_ms + LOOK_AGAIN_MS);
  }
  if (l->rerun) begin_run(l, now_ms);
}

uint64_t tl_ledger_turn(struct tl_ledger *l, uint64_t now_ms) {
  uint64_t due_ms = TL_TIME_NEVER;
  if (l->phase == TL_LEDGER_REST) check_idle(l, now_ms, &due_ms);
  if (l->phase == TL_LEDGER_ASKING && now_ms >= l->deadline_ms) {
    l->complete = false;
    judge_begin(l);
  }
  if (l->phase == TL_LEDGER_JUDGING) judge_slice(l);
  if (l->phase == TL_LEDGER_ORDERING && (!l->due || now_ms >= l->deadline_ms)) {
    finish_run(l);
    check_idle(l, now_ms, &due_ms);
  }
  if (l->phase == TL_LEDGER_JUDGING) due_ms = now_ms;
  if (l->phase == TL_LEDGER_ASKING || l->phase == TL_LEDGER_ORDERING)
    tl_time_sooner(&due_ms, l->deadline_ms);
  return due_ms;
}

struct tl_ledger *tl_ledger_new(struct tl_runtime *rt, const struct tl_mail_kind *audited,
                                struct tl_ocsp_clients *ocsp_client) {
  struct tl_ledger *l = calloc(1, sizeof(*l));
  if (!l) return NULL;
  l->rt = rt;
  l->reply = (struct tl_mail_address){&rt->control.mailbox, audited};
  l->ocsp_client = ocsp_client;
  return l;
}

void tl_ledger_free(struct tl_ledger *l) {
  if (!l) return;
  struct tl_ledger_wait **lists[] = {&l->waiting, &l->waiting_next};
  for (int i = 0; i < 2; i++)
    for (struct tl_ledger_wait *w; (w = *lists[i]);) {
      *lists[i] = w->next;
      w->ended(w, NULL);
    }
  drop_items(l);
  drop_drained(l, true);
  tl_ledger_forget(l);
  tl_conf_unref(l->conf);
  free(l);
}

/* ---- the outcome ---- */

bool tl_ledger_is_complete(const struct tl_ledger *l) { return l->complete; }

void tl_ledger_orders(const struct tl_ledger *l, const char *domain, tl_ledger_fn fn, void *arg) {
  for (size_t i = 0; i < l->n_item; i++) {
    const struct tl_ledger_item *it = &l->item[i];
    if (it->ordered && strcmp(it->key.domain->name, domain) == 0)
      fn(arg, it->action, it->n_applied);
  }
}
