/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The published snapshot and other state that threads share. A reader takes a reference
 * inside an RCU read section; the publisher drops the old snapshot's reference
 * only after a grace period, so no reader can touch freed memory. Readers take
 * a snapshot once per change, never per message.
 */
#include "tieline/runtime.h"

#include <stdatomic.h>
#include <urcu/urcu-memb.h>

#include "tieline/conf.h"

struct tl_conf *tl_runtime_conf(struct tl_runtime *rt) {
  urcu_memb_read_lock();
  struct tl_conf *c = atomic_load_explicit(&rt->conf, memory_order_acquire);
  if (c) tl_conf_ref(c);
  urcu_memb_read_unlock();
  return c;
}

void tl_runtime_publish(struct tl_runtime *rt, struct tl_conf *c) {
  struct tl_conf *old = atomic_exchange_explicit(&rt->conf, c, memory_order_acq_rel);
  atomic_store_explicit(&rt->generation, c->generation, memory_order_release);
  urcu_memb_synchronize_rcu();
  if (old) tl_conf_unref(old);
  for (unsigned i = 0; i < rt->n_worker; i++)
    if (rt->worker[i]) tl_mailbox_wake(&rt->worker[i]->mailbox);
  for (unsigned i = 0; i < rt->n_handshaker; i++)
    if (rt->handshaker[i]) tl_mailbox_wake(&rt->handshaker[i]->mailbox);
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
