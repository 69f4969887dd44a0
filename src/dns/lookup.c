/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of peers to addresses (RFC 3263: NAPTR, SRV, A and AAAA), all at once and
 * within a bound of time: a dead name server must not hold up a reload. A helper
 * thread that is still waiting when time is up finishes on its own, and its answer
 * is discarded.
 *
 * Addresses come from getaddrinfo, which knows more sources than DNS. These are the
 * first addresses of a peer; while the daemon runs, resolver.c keeps them fresh
 * as their TTLs demand.
 */
#include "tieline/lookup.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "tieline/err.h"
#include "tieline/walk.h"

#define HELPERS_MAX 16
#define QUESTION_MS 5000 /* for one question; the caller bounds the whole batch */

struct found {
  struct tl_walk_found addrs;
  const char *why; /* there is none */
};

struct question {
  char *host;
  uint16_t port;
  enum tl_transport transport;
  bool any_transport;
  bool done;
  struct found found;
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
  for (size_t i = 0; i < b->n; i++) free(b->q[i].host);
  pthread_mutex_destroy(&b->mu);
  pthread_cond_destroy(&b->cond);
  free(b);
}

/* ---- in a helper thread ---- */

struct waiting_walk {
  struct tl_walk walk; /* first: its questions lead here */
  struct tl_dns *dns;
  const char *why;
};

static size_t record_addresses(const struct addrinfo *list, struct tl_dns_answer *to) {
  size_t n = 0;
  for (const struct addrinfo *a = list; a; a = a->ai_next) {
    if (a->ai_family != AF_INET && a->ai_family != AF_INET6) continue;
    if (to) memcpy(&to->at[n].addr, a->ai_addr, a->ai_addrlen);
    n++;
  }
  return n;
}

/* Of both families, in the form of a name server's answer. NULL: none, and W says why. */
static struct tl_dns_answer *system_addresses(struct waiting_walk *w, const char *host) {
  const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  struct addrinfo *list = NULL;
  const int rc = getaddrinfo(host, NULL, &hints, &list);
  if (rc) {
    w->why = gai_strerror(rc);
    return NULL;
  }
  const size_t n = record_addresses(list, NULL);
  struct tl_dns_answer *all = calloc(1, sizeof(*all) + n * sizeof(all->at[0]));
  if (all) {
    all->n = record_addresses(list, all);
    all->status = TL_DNS_FOUND;
    all->ttl_s = UINT32_MAX;
  }
  freeaddrinfo(list);
  return all;
}

/* No answer counts as none: getaddrinfo may know a host whose name servers are silent. */
static void ask_and_wait(struct tl_walk_query *q, const char *name) {
  static const struct tl_dns_answer none = {.status = TL_DNS_NONE};
  struct waiting_walk *w = (struct waiting_walk *)q->walk;
  struct tl_dns_answer *all = NULL;
  if (q->type == TL_DNS_A)
    all = system_addresses(w, name);
  else if (q->type != TL_DNS_AAAA)
    all = tl_dns_ask_blocking(w->dns, q->type, name, QUESTION_MS);
  tl_walk_answer(q, all && all->status != TL_DNS_FAILED ? all : &none);
  free(all);
}

static const char *why_none(const struct waiting_walk *w) {
  if (w->walk.no_services) return "the answer of the name server about its services cannot be used";
  return w->walk.service_none ? "its SRV record says that there is no such service" : w->why;
}

/* *DNS is created by the first question that needs it. */
static void answer_question(const struct question *q, struct tl_dns **dns, struct found *f) {
  struct waiting_walk w = {.why = "no address"};
  struct tl_walk_wanted wanted = {.host = q->host,
                                  .port = q->port,
                                  .transport = q->transport,
                                  .any_transport = q->any_transport,
                                  .secure = tl_transport_is_secure(q->transport)};
  if (tl_walk_at_hand(&wanted, &f->addrs)) return;
  wanted.plain = q->port || !tl_locate_servers(tl_dns_resolv_conf());
  if (!wanted.plain && !*dns) *dns = tl_dns_new(tl_dns_resolv_conf());
  wanted.plain |= !*dns;
  w.dns = *dns;
  tl_walk_begin(&w.walk, &wanted, ask_and_wait);
  tl_walk_result(&w.walk, &f->addrs);
  f->why = why_none(&w);
}

static void *helper_main(void *arg) {
  struct batch *b = arg;
  struct tl_dns *dns = NULL;
  pthread_mutex_lock(&b->mu);
  while (b->next < b->n) {
    struct question *q = &b->q[b->next++];
    struct found found;
    pthread_mutex_unlock(&b->mu);
    answer_question(q, &dns, &found);
    pthread_mutex_lock(&b->mu);
    q->found = found;
    q->done = true;
    b->done++;
    pthread_cond_signal(&b->cond);
  }
  pthread_mutex_unlock(&b->mu);
  tl_dns_free(dns);
  batch_drop(b);
  return NULL;
}

static struct batch *batch_new(const struct tl_lookup *l, size_t n) {
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
    b->q[i].transport = l[i].transport;
    b->q[i].any_transport = l[i].any_transport;
    if (!b->q[i].host) {
      batch_drop(b);
      return NULL;
    }
  }
  return b;
}

/* Helpers block all signals: the control thread handles them. */
static unsigned start_helpers(struct batch *b) {
  sigset_t all, old;
  pthread_attr_t attr;
  unsigned n = 0;
  pthread_t t;
  sigfillset(&all);
  pthread_attr_init(&attr);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  pthread_mutex_lock(&b->mu); /* holds the helpers until their references are counted */
  while (n < HELPERS_MAX && n < b->n && pthread_create(&t, &attr, helper_main, b) == 0) n++;
  b->refs += n;
  pthread_mutex_unlock(&b->mu);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  pthread_attr_destroy(&attr);
  return n;
}

/* ---- in the caller's thread ---- */

static int take_answer(const struct question *q, struct tl_lookup *l) {
  const struct found *f = &q->found;
  const size_t n = f->addrs.n;
  if (!q->done || n == 0) {
    l->why = q->done ? f->why : "no answer in time";
    return TL_OK;
  }
  l->addr = malloc(n * sizeof(*l->addr));
  l->via = malloc(n * sizeof(*l->via));
  if (!l->addr || !l->via) return TL_ENOMEM;
  memcpy(l->addr, f->addrs.addr, n * sizeof(*l->addr));
  memcpy(l->via, f->addrs.via, n * sizeof(*l->via));
  l->n = n;
  return TL_OK;
}

int tl_lookup_all(struct tl_lookup *l, size_t n, unsigned timeout_ms) {
  struct timespec until;
  int rc = TL_OK;
  if (n == 0) return TL_OK;
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
  b->next = n; /* no helper begins another question */
  for (size_t i = 0; i < n && !rc; i++) rc = take_answer(&b->q[i], &l[i]);
  pthread_mutex_unlock(&b->mu);
  batch_drop(b);
  return rc;
}
