/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resolver thread: look-ups for all workers, over Sofia-SIP's asynchronous
 * DNS client. Many run at once, so one dead name server delays nobody else's
 * answer; each ends within five seconds. What one look-up does is in
 * resolver_job.c.
 */
#include "net/resolver.h"

#include <poll.h>
#include <stdlib.h>
#include <time.h>

#define MAILBOX_CAP 16384
#define SOCKETS_MAX 16
#define TICK_MS 200        /* retransmissions, deadlines, answers that wait */
#define CACHE_ANSWERS 8192 /* a peer that makes us ask for names must not fill our memory */

struct sres_async_s {
  struct pollfd pfd[SOCKETS_MAX + 1]; /* 0 is the mailbox */
  nfds_t n;
};

static struct {
  struct tl_resolver rs;
  struct sres_async_s async;
  pthread_t thread;
  bool started;
  _Atomic bool stopping;
} self;

/* Sofia opens and closes sockets as name servers come and go. */
static int on_sockets(sres_async_t *async, sres_socket_t fd_new, sres_socket_t fd_old) {
  struct sres_async_s *a = async;
  for (nfds_t i = 1; i < a->n; i++)
    if (a->pfd[i].fd == fd_old) a->pfd[i--] = a->pfd[--a->n];
  if (fd_new < 0) return 0;
  if (a->n > SOCKETS_MAX) return -1;
  a->pfd[a->n++] = (struct pollfd){.fd = fd_new, .events = POLLIN};
  return 0;
}

static int post(struct tl_resolver *rs, struct tl_resolve *r) {
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
  if (post(rs, r) == 0) return;
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
    if (m->type == TL_MAIL_STOP) atomic_store(&self.stopping, true);
    free(m);
  }
}

static void serve_sockets(struct tl_resolver *rs, struct sres_async_s *a) {
  for (nfds_t i = a->n; i-- > 1;) {
    if (i >= a->n || !a->pfd[i].revents) continue; /* a handler may have closed some */
    if (a->pfd[i].revents & POLLERR)
      sres_resolver_error(rs->res, a->pfd[i].fd);
    else
      sres_resolver_receive(rs->res, a->pfd[i].fd);
  }
}

static void bound_cache(struct tl_resolver *rs) {
  if (rs->cached < CACHE_ANSWERS) return;
  sres_cache_clean(rs->cache, time(NULL) + 366L * 86400);
  rs->cached = 0;
}

static void *run(void *arg) {
  struct tl_resolver *rs = arg;
  struct sres_async_s *a = &self.async;
  uint64_t next_tick = 0;
  pthread_setname_np(pthread_self(), "resolver");
  while (!atomic_load(&self.stopping)) {
    bool busy = rs->n_jobs || rs->unanswered;
    if (poll(a->pfd, a->n, busy ? TICK_MS : -1) > 0) {
      if (a->pfd[0].revents) take_mail(rs);
      serve_sockets(rs, a);
    }
    uint64_t now = tl_now_ms();
    if (now < next_tick) continue;
    next_tick = now + TICK_MS;
    sres_resolver_timer(rs->res, 0);
    tl_resolve_expire(rs, now, false);
    retry_answers(rs);
    bound_cache(rs);
  }
  tl_resolve_expire(rs, 0, true);
  return NULL;
}

static int make_client(struct tl_resolver *rs) {
  rs->cache = sres_cache_new(0);
  if (!rs->cache) return TL_ENOMEM;
  rs->res = sres_resolver_new_with_cache(tl_resolver_resolv_conf(), rs->cache, NULL);
  if (!rs->res) return TL_ENOMEM;
  return sres_resolver_set_async(rs->res, on_sockets, &self.async, 1) ? 0 : TL_ENOMEM;
}

static void clean_up(struct tl_resolver *rs) {
  while (rs->unanswered) {
    struct tl_resolve *r = rs->unanswered;
    rs->unanswered = (struct tl_resolve *)r->mail.next;
    free(r);
  }
  if (rs->res) sres_resolver_unref(rs->res);
  if (rs->cache) sres_cache_unref(rs->cache);
  tl_mailbox_destroy(&rs->rt->resolver);
}

int tl_resolver_start(struct tl_runtime *rt) {
  struct tl_resolver *rs = &self.rs;
  memset(rs, 0, sizeof(*rs));
  atomic_store(&self.stopping, false);
  rs->rt = rt;
  int rc = tl_mailbox_init(&rt->resolver, MAILBOX_CAP);
  if (rc) return rc;
  self.async.pfd[0] = (struct pollfd){.fd = rt->resolver.efd, .events = POLLIN};
  self.async.n = 1;
  rc = make_client(rs);
  if (rc == 0 && pthread_create(&self.thread, NULL, run, rs) != 0) rc = TL_ENOMEM;
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
