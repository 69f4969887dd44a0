/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resolver thread: look-ups for all workers, over the client of dns.c. Many
 * run at once, so that a dead name server delays only its own answers; each ends
 * within five seconds, and a stop waits for none of them. One look-up is in
 * resolver_job.c.
 */
#include "dns/resolver.h"
#include "tieline/container.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#define MAILBOX_CAP 16384
#define TICK_MS TL_DNS_TICK_MS /* repetitions, deadlines, answers that wait */

static struct {
  struct tl_resolver rs;
  pthread_t thread;
  bool started;
  _Atomic bool draining, stopping;
} self;

static void deliver_question(void *reader, struct tl_mail *m) {
  tl_resolve_begin(reader, (struct tl_resolve *)m);
}

static void drop_question(struct tl_mail *m) {
  struct tl_resolve *r = (struct tl_resolve *)m;
  r->rc = TL_ECLOSED;
  r->found.n = 0;
  tl_mail_return(&r->reply, m);
}

static const struct tl_mail_kind question_kind = {"resolve", deliver_question, drop_question};

int tl_resolve_ask(struct tl_mailbox *resolver, struct tl_resolve *r) {
  r->mail.kind = &question_kind;
  return tl_mailbox_post(resolver, &r->mail);
}

static void take_mail(struct tl_resolver *rs) {
  struct tl_mailbox *mb = rs->mailbox;
  tl_mailbox_rearm(mb);
  tl_count_add(rs->counters, TL_C_MAIL_IN, tl_mailbox_deliver(mb, rs, UINT32_MAX));
}

static void count_queries(struct tl_resolver *rs) {
  const struct tl_dns_counts *now = tl_dns_counted(rs->dns);
  struct tl_counters *c = rs->counters;
  tl_count_add(c, TL_C_DNS_ASKED, now->asked - rs->counted.asked);
  tl_count_add(c, TL_C_DNS_REFUSED, now->refused - rs->counted.refused);
  tl_count_add(c, TL_C_DNS_AGAIN, now->again - rs->counted.again);
  rs->counted = *now;
}

static void *thread_main(void *arg) {
  struct tl_resolver *rs = arg;
  struct pollfd p[] = {{.fd = rs->mailbox->efd, .events = POLLIN},
                       {.fd = tl_dns_fd(rs->dns), .events = POLLIN}};
  pthread_setname_np(pthread_self(), "resolver");
  while (!atomic_load(&self.stopping)) {
    bool busy = rs->n_jobs || rs->unanswered || tl_dns_busy(rs->dns);
    if (poll(p, 2, busy ? TICK_MS : -1) > 0 && p[0].revents) take_mail(rs);
    if (!rs->draining && atomic_load(&self.draining)) tl_resolve_hurry(rs);
    tl_dns_serve(rs->dns);
    count_queries(rs);
    tl_resolve_expire(rs, tl_now_ms(), false);
    tl_resolve_retry(rs);
  }
  tl_resolve_expire(rs, 0, true);
  return NULL;
}

static void clean_up(struct tl_resolver *rs) {
  while (rs->unanswered) {
    struct tl_mail *m = rs->unanswered;
    rs->unanswered = m->next;
    tl_mail_return(&tl_container_of(m, struct tl_resolve, mail)->reply, m);
  }
  tl_dns_free(rs->dns);
  tl_mailbox_destroy(rs->mailbox);
}

int tl_resolver_start(struct tl_mailbox *mailbox, struct tl_counters *counters) {
  struct tl_resolver *rs = &self.rs;
  memset(rs, 0, sizeof(*rs));
  atomic_store(&self.stopping, false);
  atomic_store(&self.draining, false);
  rs->mailbox = mailbox;
  rs->counters = counters;
  rs->unanswered_end = &rs->unanswered;
  CDS_INIT_LIST_HEAD(&rs->jobs);
  int rc = tl_mailbox_init(mailbox, MAILBOX_CAP);
  if (rc) return rc;
  rs->dns = tl_dns_new(tl_dns_resolv_conf());
  if (!rs->dns) rc = TL_ENOMEM;
  if (rc == 0 && pthread_create(&self.thread, NULL, thread_main, rs) != 0) rc = TL_ENOMEM;
  if (rc)
    clean_up(rs);
  else
    self.started = true;
  return rc;
}

void tl_resolver_drain(void) {
  if (!self.started) return;
  atomic_store(&self.draining, true);
  tl_mailbox_wake(self.rs.mailbox);
}

void tl_resolver_stop(void) {
  if (!self.started) return;
  atomic_store(&self.stopping, true);
  tl_mailbox_wake(self.rs.mailbox);
  pthread_join(self.thread, NULL);
  self.started = false;
  clean_up(&self.rs);
}
