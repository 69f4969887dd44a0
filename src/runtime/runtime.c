/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The published view and other state that threads share. A reader takes references
 * inside an RCU read section; the publisher drops the old view only after a grace
 * period, so no reader can touch freed memory. Readers take a view once per change,
 * never per message.
 */
#include "tieline/runtime.h"

#include <stdatomic.h>

#include "tieline/rcu.h"
#include "tieline/view.h"

struct tl_conf *tl_runtime_conf(struct tl_runtime *rt) {
  tl_rcu_read_begin();
  const struct tl_view *v = atomic_load_explicit(&rt->view, memory_order_acquire);
  struct tl_conf *c = v ? tl_conf_ref(v->conf) : NULL;
  tl_rcu_read_end();
  return c;
}

struct tl_view *tl_runtime_view(struct tl_runtime *rt) {
  tl_rcu_read_begin();
  struct tl_view *v = tl_view_copy(atomic_load_explicit(&rt->view, memory_order_acquire));
  tl_rcu_read_end();
  return v;
}

static void wake_threads(struct tl_runtime *rt) {
  for (unsigned i = 0; i < rt->n_worker; i++)
    if (rt->worker[i]) tl_mailbox_wake(&rt->worker[i]->mailbox);
  for (unsigned i = 0; i < rt->n_handshaker; i++)
    if (rt->handshaker[i]) tl_mailbox_wake(&rt->handshaker[i]->mailbox);
}

void tl_runtime_publish(struct tl_runtime *rt, struct tl_view *v) {
  v->published = atomic_load_explicit(&rt->published, memory_order_relaxed) + 1;
  struct tl_view *old = atomic_exchange_explicit(&rt->view, v, memory_order_acq_rel);
  bool other_conf = !old || old->conf != v->conf;
  atomic_store_explicit(&rt->generation, v->conf->generation, memory_order_release);
  atomic_store_explicit(&rt->published, v->published, memory_order_release);
  tl_rcu_wait();
  tl_view_unref(old);
  if (other_conf) wake_threads(rt);
}

void tl_thread_drain(struct tl_thread *th) {
  atomic_store(&th->drain, true);
  tl_mailbox_wake(&th->mailbox);
}

void tl_thread_stop(struct tl_thread *th) {
  atomic_store(&th->stop, true);
  tl_mailbox_wake(&th->mailbox);
}

bool tl_runtime_expiry(struct tl_runtime *rt, time_t at) {
  int64_t have = atomic_load(&rt->next_expiry);
  if (at <= 0) return false;
  while (have == 0 || at < have)
    if (atomic_compare_exchange_weak(&rt->next_expiry, &have, (int64_t)at)) return true;
  return false;
}

uint64_t tl_runtime_counter(const struct tl_runtime *rt, enum tl_counter id) {
  uint64_t sum = tl_count_get(&rt->control.counters, id) + tl_count_get(&rt->resolver_counters, id);
  for (unsigned i = 0; i < rt->n_worker; i++)
    if (rt->worker[i]) sum += tl_count_get(&rt->worker[i]->counters, id);
  for (unsigned i = 0; i < rt->n_handshaker; i++)
    if (rt->handshaker[i]) sum += tl_count_get(&rt->handshaker[i]->counters, id);
  return sum;
}
