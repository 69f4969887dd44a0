/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of peers to addresses (RFC 3263: NAPTR, SRV, A and AAAA), all at once and
 * within a bound of time: a dead name server must not hold up a reload. A helper
 * thread that is still waiting when time is up finishes on its own, and its answer
 * is discarded.
 *
 * Addresses come from getaddrinfo, which knows more sources than DNS. These are the
 * first addresses of a peer; while the daemon runs, net/resolver.c keeps them fresh
 * as their TTLs demand.
 */
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "conf/conf_internal.h"
#include "tieline/dns.h"
#include "tieline/locate.h"

#define HELPERS_MAX 16
#define ADDRS_MAX 8
#define QUESTION_MS 5000 /* for one question; the caller bounds the whole batch */

static const char *hosts_file = "/etc/hosts";
static const char *resolv_conf_file;

void tl_conf_resolve_files(const char *hosts, const char *resolv_conf) {
  if (hosts) hosts_file = hosts;
  if (resolv_conf) resolv_conf_file = resolv_conf;
}

struct found {
  size_t n;
  struct tl_addr addr[ADDRS_MAX];
  uint8_t via[ADDRS_MAX];
  const char *why;
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

static void add_address(struct found *f, const struct tl_addr *a, uint16_t port,
                        enum tl_transport t) {
  if (f->n == ADDRS_MAX) return;
  f->addr[f->n] = *a;
  f->via[f->n] = (uint8_t)t;
  tl_addr_set_port(&f->addr[f->n++], port);
}

static void find_addresses(struct found *f, const char *host, uint16_t port, enum tl_transport t) {
  const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  struct tl_addr listed[ADDRS_MAX], one;
  struct addrinfo *answer = NULL;
  size_t n = tl_locate_hosts(hosts_file, host, listed, ADDRS_MAX);
  for (size_t i = 0; i < n; i++) add_address(f, &listed[i], port, t);
  if (n) return;
  int rc = getaddrinfo(host, NULL, &hints, &answer);
  if (rc) f->why = gai_strerror(rc);
  for (const struct addrinfo *a = rc ? NULL : answer; a; a = a->ai_next) {
    if (a->ai_family != AF_INET && a->ai_family != AF_INET6) continue;
    memset(&one, 0, sizeof(one));
    memcpy(&one, a->ai_addr, a->ai_addrlen);
    add_address(f, &one, port, t);
  }
  if (rc == 0) freeaddrinfo(answer);
}

static bool find_services(struct tl_dns *dns, const struct question *q, struct tl_services *out) {
  struct tl_dns_answer *all = NULL;
  out->n = 0;
  if (q->any_transport) all = tl_dns_ask_blocking(dns, TL_DNS_NAPTR, q->host, QUESTION_MS);
  for (size_t i = 0; all && i < all->n; i++) {
    const struct tl_dns_record *n = &all->at[i];
    const struct tl_naptr r = {.order = n->order,
                               .preference = n->preference,
                               .flags = n->flags,
                               .service = n->service,
                               .regexp = n->rewrites ? "!" : "",
                               .replacement = n->name};
    tl_locate_naptr(out, &r, tl_transport_is_secure(q->transport));
  }
  bool usable = !all || all->status != TL_DNS_BROKEN;
  free(all);
  if (out->n == 0) tl_locate_services(out, q->host, q->any_transport, q->transport);
  return usable;
}

/* False if the answer is unusable: then it does not prove that there is no service. */
static bool find_hosts(struct tl_dns *dns, const char *name, struct tl_srvs *out) {
  struct tl_dns_answer *all = tl_dns_ask_blocking(dns, TL_DNS_SRV, name, QUESTION_MS);
  *out = (struct tl_srvs){.n = 0};
  for (size_t i = 0; all && i < all->n; i++) {
    const struct tl_dns_record *s = &all->at[i];
    tl_locate_srv(out, s->name, s->priority, s->weight, s->port);
  }
  bool usable = !all || all->status != TL_DNS_BROKEN;
  free(all);
  tl_locate_order(out);
  return usable;
}

static void ask_services(struct tl_dns *dns, const struct question *q, struct found *f) {
  struct tl_services services;
  struct tl_srvs srvs;
  bool any = false, usable = find_services(dns, q, &services);
  for (size_t i = 0; i < services.n && usable; i++) {
    enum tl_transport t = services.at[i].transport;
    usable = find_hosts(dns, services.at[i].name, &srvs);
    any |= srvs.n || srvs.none;
    for (size_t k = 0; k < srvs.n; k++) find_addresses(f, srvs.at[k].host, srvs.at[k].port, t);
    if (srvs.none && !srvs.n) f->why = "its SRV record says that there is no such service";
  }
  if (any) return;
  if (!usable) {
    f->why = "the answer of the name server about its services cannot be used";
    return;
  }
  enum tl_transport t = services.at[0].transport;
  find_addresses(f, q->host, tl_transport_port(t), t);
}

/* *DNS is created by the first question that needs it. */
static void answer_question(const struct question *q, struct tl_dns **dns, struct found *f) {
  struct tl_addr listed[2];
  *f = (struct found){.why = "no address"};
  uint16_t port = q->port ? q->port : tl_transport_port(q->transport);
  bool plain = q->port || tl_locate_hosts(hosts_file, q->host, listed, 2);
  plain = plain || !tl_locate_servers(resolv_conf_file);
  if (!plain && !*dns) *dns = tl_dns_new(resolv_conf_file);
  if (plain || !*dns)
    find_addresses(f, q->host, port, q->transport);
  else
    ask_services(*dns, q, f);
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

static int take_answer(const struct question *q, struct tl_conf_lookup *l) {
  const struct found *f = &q->found;
  if (!q->done || f->n == 0) {
    l->why = q->done ? f->why : "no answer in time";
    return 0;
  }
  l->addr = malloc(f->n * sizeof(*l->addr));
  l->via = malloc(f->n * sizeof(*l->via));
  if (!l->addr || !l->via) return TL_ENOMEM;
  memcpy(l->addr, f->addr, f->n * sizeof(*l->addr));
  memcpy(l->via, f->via, f->n * sizeof(*l->via));
  l->n = f->n;
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
  b->next = n; /* no helper begins another question */
  for (size_t i = 0; i < n && !rc; i++) rc = take_answer(&b->q[i], &l[i]);
  pthread_mutex_unlock(&b->mu);
  batch_drop(b);
  return rc;
}
