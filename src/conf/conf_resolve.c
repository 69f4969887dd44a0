/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of peers to addresses, all at once and within a bound of time: a dead
 * name server must not hold up a reload. A helper thread that is still asking
 * when time is up finishes alone and its answer is dropped.
 *
 * A and AAAA only: NAPTR and SRV are not looked up here.
 */
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "conf/internal.h"

#define HELPERS_MAX 16
#define ADDRS_MAX 8

struct question {
  char *host;
  uint16_t port;
  bool done;
  int rc;
  struct addrinfo *answer;
};

struct batch {
  pthread_mutex_t mu;
  pthread_cond_t cond;
  size_t refs, next, done, n;
  struct question q[];
};

static void batch_drop(struct batch *b) {
  pthread_mutex_lock(&b->mu);
  bool last = --b->refs == 0;
  pthread_mutex_unlock(&b->mu);
  if (!last) return;
  for (size_t i = 0; i < b->n; i++) {
    free(b->q[i].host);
    if (b->q[i].answer) freeaddrinfo(b->q[i].answer);
  }
  pthread_mutex_destroy(&b->mu);
  pthread_cond_destroy(&b->cond);
  free(b);
}

static void ask(struct question *q, struct addrinfo **out, int *out_rc) {
  const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  *out_rc = getaddrinfo(q->host, NULL, &hints, out);
  if (*out_rc) *out = NULL;
}

static void *helper(void *arg) {
  struct batch *b = arg;
  pthread_mutex_lock(&b->mu);
  while (b->next < b->n) {
    struct question *q = &b->q[b->next++];
    struct addrinfo *answer = NULL;
    int rc;
    pthread_mutex_unlock(&b->mu);
    ask(q, &answer, &rc);
    pthread_mutex_lock(&b->mu);
    q->answer = answer;
    q->rc = rc;
    q->done = true;
    b->done++;
    pthread_cond_signal(&b->cond);
  }
  pthread_mutex_unlock(&b->mu);
  batch_drop(b);
  return NULL;
}

static struct batch *batch_new(const struct tl_conf_lookup *l, size_t n) {
  pthread_condattr_t attr;
  struct batch *b = calloc(1, sizeof(*b) + n * sizeof(b->q[0]));
  if (!b) return NULL;
  pthread_mutex_init(&b->mu, NULL);
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  pthread_cond_init(&b->cond, &attr);
  pthread_condattr_destroy(&attr);
  b->refs = 1;
  b->n = n;
  for (size_t i = 0; i < n; i++) {
    b->q[i].host = strdup(l[i].host);
    b->q[i].port = l[i].port;
    if (!b->q[i].host) {
      batch_drop(b);
      return NULL;
    }
  }
  return b;
}

/* Helpers take no signal: those are the control thread's. */
static unsigned start_helpers(struct batch *b) {
  sigset_t all, old;
  pthread_attr_t attr;
  unsigned n = 0;
  pthread_t t;
  sigfillset(&all);
  pthread_attr_init(&attr);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  pthread_mutex_lock(&b->mu); /* helpers wait for it, so that their references are counted first */
  while (n < HELPERS_MAX && n < b->n && pthread_create(&t, &attr, helper, b) == 0) n++;
  b->refs += n;
  pthread_mutex_unlock(&b->mu);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  pthread_attr_destroy(&attr);
  return n;
}

static int take_answer(const struct question *q, struct tl_conf_lookup *l) {
  if (!q->done || q->rc) {
    l->why = q->done ? gai_strerror(q->rc) : "no answer in time";
    return 0;
  }
  l->addr = calloc(ADDRS_MAX, sizeof(*l->addr));
  if (!l->addr) return TL_ENOMEM;
  for (const struct addrinfo *a = q->answer; a && l->n < ADDRS_MAX; a = a->ai_next) {
    if (a->ai_family != AF_INET && a->ai_family != AF_INET6) continue;
    memcpy(&l->addr[l->n], a->ai_addr, a->ai_addrlen);
    tl_addr_set_port(&l->addr[l->n++], l->port);
  }
  if (l->n == 0) l->why = "no address";
  return 0;
}

int tl_conf_resolve(struct tl_conf_lookup *l, size_t n, unsigned timeout_ms) {
  struct timespec until;
  int rc = 0;
  if (n == 0) return 0;
  struct batch *b = batch_new(l, n);
  if (!b) return TL_ENOMEM;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += timeout_ms / 1000;
  until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
  if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
  unsigned helpers = start_helpers(b);
  pthread_mutex_lock(&b->mu);
  while (helpers && b->done < n && !rc)
    if (pthread_cond_timedwait(&b->cond, &b->mu, &until) == ETIMEDOUT) break;
  b->next = n; /* nobody begins another question */
  for (size_t i = 0; i < n && !rc; i++) rc = take_answer(&b->q[i], &l[i]);
  pthread_mutex_unlock(&b->mu);
  batch_drop(b);
  return rc;
}
