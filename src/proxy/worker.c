/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker thread: the network side below, the proxy above, one loop.
 */
#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "peer_probe.h"
#include "proxy.h"
#include "runtime/watchdog.h"
#include "tieline/log.h"
#include "tieline/rcu.h"
#include "tieline/worker.h"
#include "xworker.h"

#define MAILBOX_CAP 65536u

struct start {
  struct tl_proxy *p;
  sem_t ready;
  int rc;
  char *err;
  size_t cap;
};

static void *run_worker(void *arg) {
  struct start *s = arg;
  struct tl_proxy *p = s->p;
  tl_rcu_thread_begin();
  int rc = tl_net_init(p->net, &p->th, &tl_proxy_handler, p, s->err, s->cap);
  if (rc == TL_OK && (rc = tl_proxy_init(p)) != TL_OK) tl_net_exit(p->net);
  bool s_ok = rc == TL_OK;
  s->rc = rc;
  sem_post(&s->ready); /* S no longer exists from here on */
  tl_watchdog_enter(p->th.index);
  while (rc == TL_OK && !tl_net_head(p->net)->stopping) {
    tl_peer_probe_refresh(p);
    rc = tl_net_turn(p->net);
  }
  if (s_ok && rc)
    TL_LOG(TL_LOG_ERROR, "A worker's io_uring failed; the worker ends.",
           TL_FI("worker", p->th.index));
  if (s_ok) {
    tl_peer_probe_exit(p);
    tl_proxy_exit(p); /* first, so that connections that end have nothing left to call back into */
    tl_net_exit(p->net);
  }
  tl_watchdog_leave(p->th.index);
  tl_rcu_thread_end();
  return NULL;
}

int tl_worker_start(struct tl_runtime *rt, unsigned index, char *err, size_t cap) {
  struct tl_proxy *p = calloc(1, sizeof(*p));
  struct start s = {.p = p, .err = err, .cap = cap};
  if (!p) return TL_ENOMEM;
  p->net = tl_net_alloc();
  snprintf(err, cap, "worker %u could not start", index);
  p->th.index = index;
  p->th.rt = rt;
  int rc = tl_mailbox_init(&p->th.mailbox, MAILBOX_CAP);
  if (rc == TL_OK && !p->net) rc = TL_ENOMEM;
  if (rc) goto out;
  atomic_store_explicit(&rt->worker[index], &p->th, memory_order_release);
  sem_init(&s.ready, 0, 0);
  if (pthread_create(&p->th.thread, NULL, run_worker, &s)) {
    rc = TL_ENOMEM;
    goto out;
  }
  char name[16];
  snprintf(name, sizeof(name), "worker-%u", index);
  pthread_setname_np(p->th.thread, name);
  while (sem_wait(&s.ready) && errno == EINTR) {
  }
  sem_destroy(&s.ready);
  rc = s.rc;
  p->th.started = rc == TL_OK;
  if (rc) pthread_join(p->th.thread, NULL);
out:
  if (rc) {
    rt->worker[index] = NULL;
    tl_mailbox_destroy(&p->th.mailbox);
    free(p->net);
    free(p);
  }
  return rc;
}

void tl_worker_stop(struct tl_runtime *rt, unsigned index) {
  struct tl_proxy *p = (struct tl_proxy *)rt->worker[index];
  if (!p || !p->th.started) return;
  tl_thread_stop(&p->th);
  pthread_join(p->th.thread, NULL);
  p->th.started = false;
  tl_mailbox_drop(
      &p->th.mailbox); /* it stays: other threads may post until they are stopped, too */
}

bool tl_worker_drained(const struct tl_runtime *rt, unsigned index) {
  const struct tl_thread *th = rt->worker[index];
  return !th || (tl_count_get(&th->counters, TL_C_TXN_NOW) == 0 &&
                 tl_count_get(&th->counters, TL_C_SENDQ_BYTES) == 0);
}
