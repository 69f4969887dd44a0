/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resolver thread: look-ups for all workers, over the DNS client of base. Many
 * run at once, so that a dead name server delays only its own answers; each ends
 * within five seconds, and a stop waits for none of them. One look-up is in
 * resolver_job.c.
 */
#include "net/resolver.h"

#include <poll.h>
#include <stdlib.h>

#define MAILBOX_CAP 16384
#define TICK_MS TL_DNS_TICK_MS /* repetitions, deadlines, answers that wait */

static struct {
  struct tl_resolver rs;
  pthread_t thread;
  bool started;
  _Atomic bool stopping;
} self;

static int post_answer(struct tl_resolver *rs, struct tl_resolve *r) {
  struct tl_thread *w = NULL;
  if (r->worker == TL_RESOLVE_FOR_CONTROL)
    w = &rs->rt->control;
  else if (r->worker < rs->rt->n_worker)
    w = rs->rt->worker[r->worker];
  if (!w) {
    free(r);
    return 0;
  }
  return tl_mailbox_post(&w->mailbox, &r->mail);
}

void tl_resolver_answer(struct tl_resolver *rs, struct tl_resolve *r, int rc) {
  r->rc = rc;
  r->mail.type = TL_MAIL_RESOLVE;
  if (post_answer(rs, r) == 0) return;
  tl_count(&rs->rt->resolver_counters, TL_C_MAIL_FULL);
  r->mail.next = rs->unanswered ? &rs->unanswered->mail : NULL;
  rs->unanswered = r;
}

static void retry_answers(struct tl_resolver *rs) {
  struct tl_resolve *r = rs->unanswered;
  rs->unanswered = NULL;
  while (r) {
    struct tl_resolve *next = (struct tl_resolve *)r->mail.next;
    tl_resolver_answer(rs, r, r->rc);
    r = next;
  }
}

static void take_mail(struct tl_resolver *rs) {
  struct tl_mailbox *mb = &rs->rt->resolver;
  struct tl_mail *m;
  tl_mailbox_rearm(mb);
  while ((m = tl_mailbox_take(mb))) {
    tl_count(&rs->rt->resolver_counters, TL_C_MAIL_IN);
    if (m->type == TL_MAIL_RESOLVE) {
      tl_resolve_begin(rs, (struct tl_resolve *)m);
      continue;
    }
    if (m->type == TL_MAIL_DRAIN) tl_resolve_hurry(rs);
    if (m->type == TL_MAIL_STOP) atomic_store(&self.stopping, true);
    free(m);
  }
}

static void count_queries(struct tl_resolver *rs) {
  const struct tl_dns_counts *now = tl_dns_counted(rs->dns);
  struct tl_counters *c = &rs->rt->resolver_counters;
  tl_count_add(c, TL_C_DNS_ASKED, now->asked - rs->counted.asked);
  tl_count_add(c, TL_C_DNS_REFUSED, now->refused - rs->counted.refused);
  tl_count_add(c, TL_C_DNS_AGAIN, now->again - rs->counted.again);
  rs->counted = *now;
}

static void *thread_main(void *arg) {
  struct tl_resolver *rs = arg;
  struct pollfd p[] = {{.fd = rs->rt->resolver.efd, .events = POLLIN},
                       {.fd = tl_dns_fd(rs->dns), .events = POLLIN}};
  pthread_setname_np(pthread_self(), "resolver");
  while (!atomic_load(&self.stopping)) {
    bool busy = rs->n_jobs || rs->unanswered || tl_dns_busy(rs->dns);
    if (poll(p, 2, busy ? TICK_MS : -1) > 0 && p[0].revents) take_mail(rs);
    tl_dns_serve(rs->dns);
    count_queries(rs);
    tl_resolve_expire(rs, tl_now_ms(), false);
    retry_answers(rs);
  }
  tl_resolve_expire(rs, 0, true);
  return NULL;
}

static void clean_up(struct tl_resolver *rs) {
  while (rs->unanswered) {
    struct tl_resolve *r = rs->unanswered;
    rs->unanswered = (struct tl_resolve *)r->mail.next;
    free(r);
  }
  tl_dns_free(rs->dns);
  tl_mailbox_destroy(&rs->rt->resolver);
}

int tl_resolver_start(struct tl_runtime *rt) {
  struct tl_resolver *rs = &self.rs;
  memset(rs, 0, sizeof(*rs));
  atomic_store(&self.stopping, false);
  rs->rt = rt;
  rs->jobs_end = &rs->jobs;
  int rc = tl_mailbox_init(&rt->resolver, MAILBOX_CAP);
  if (rc) return rc;
  rs->dns = tl_dns_new(tl_resolver_resolv_conf());
  if (!rs->dns) rc = TL_ENOMEM;
  if (rc == 0 && pthread_create(&self.thread, NULL, thread_main, rs) != 0) rc = TL_ENOMEM;
  if (rc)
    clean_up(rs);
  else
    self.started = true;
  return rc;
}

void tl_resolver_stop(struct tl_runtime *rt) {
  if (!self.started) return;
  struct tl_mail *m = calloc(1, sizeof(*m));
  if (m) m->type = TL_MAIL_STOP;
  if (!m || tl_mailbox_post(&rt->resolver, m)) {
    free(m);
    atomic_store(&self.stopping, true); /* the mailbox is full or memory is out */
    tl_mailbox_wake(&rt->resolver);
  }
  pthread_join(self.thread, NULL);
  self.started = false;
  clean_up(&self.rs);
}
