/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One look-up: a numeric address, the hosts file, SRV when no port was given
 * (RFC 3263 4.2), then A and AAAA of each target. NAPTR is not asked.
 */
#include <stdlib.h>
#include <unistd.h>

#include "net/resolver.h"

#define DEADLINE_MS 5000
#define JOBS_MAX 1024

static const char *hosts_file = "/etc/hosts";
static const char *resolv_conf_file;

void tl_resolver_files(const char *hosts, const char *resolv_conf) {
  if (hosts) hosts_file = hosts;
  if (resolv_conf) resolv_conf_file = resolv_conf;
}

const char *tl_resolver_resolv_conf(void) { return resolv_conf_file; }

static uint16_t default_port(enum tl_transport t) { return t == TL_TLS ? 5061 : 5060; }

/* Is there a route to A? Connecting a datagram socket asks the kernel and sends nothing. */
static bool routable(const struct tl_addr *a) {
  struct tl_addr to = *a;
  if (!tl_addr_port(&to)) tl_addr_set_port(&to, 9);
  int fd = socket(a->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  bool ok = fd >= 0 && connect(fd, &to.sa, tl_addr_len(&to)) == 0;
  if (fd >= 0) close(fd);
  return ok;
}

static void give(struct tl_resolve *r, const struct tl_addr *a, size_t n, uint16_t port) {
  for (size_t i = 0; i < n && r->n < TL_RESOLVE_MAX; i++) {
    r->addr[r->n] = a[i];
    tl_addr_set_port(&r->addr[r->n++], port);
  }
}

/* IPv6 first where this machine can reach it (RFC 6724 in short), else last. */
static void give_target(struct tl_resolve *r, const struct tl_resolve_target *t) {
  bool six_first = t->n[1] > 0 && routable(&t->addr[1][0]);
  give(r, t->addr[six_first], t->n[six_first], t->port);
  give(r, t->addr[!six_first], t->n[!six_first], t->port);
}

static void detach(struct tl_resolve_query *q) {
  if (q->q) sres_query_bind(q->q, NULL, NULL); /* its answer comes to nobody */
  q->q = NULL;
}

static void finish(struct tl_resolve_job *j, int rc) {
  struct tl_resolver *rs = j->rs;
  detach(&j->srv);
  for (size_t i = 0; i < j->n_target; i++) {
    detach(&j->target[i].a);
    detach(&j->target[i].aaaa);
    give_target(j->r, &j->target[i]);
  }
  if (j->r->n) rc = 0; /* part of an answer in time is an answer */
  *j->link = j->next;
  if (j->next) j->next->link = j->link;
  rs->n_jobs--;
  tl_resolver_answer(rs, j->r, rc);
  free(j);
}

static void on_answer(struct tl_resolve_query *ctx, sres_query_t *q, sres_record_t **answers);
static void handle(struct tl_resolve_query *q, sres_record_t **answers);

/* Asks, or takes the answer from the cache at once. */
static void ask(struct tl_resolve_query *q, struct tl_resolve_target *t, uint16_t type,
                const char *name) {
  struct tl_resolver *rs = q->job->rs;
  q->target = t;
  q->type = type;
  sres_record_t **cached = sres_cached_answers(rs->res, type, name);
  if (cached) {
    handle(q, cached);
    return;
  }
  q->q = sres_query(rs->res, on_answer, q, type, name);
  if (q->q) q->job->pending++;
}

static void ask_addresses(struct tl_resolve_job *j) {
  for (size_t i = 0; i < j->n_target; i++) {
    struct tl_resolve_target *t = &j->target[i];
    t->a.job = t->aaaa.job = j;
    t->n[0] = tl_resolver_hosts(hosts_file, t->host, t->addr[0], TL_RESOLVE_EACH);
    if (t->n[0]) continue; /* both families stand in it as they come */
    ask(&t->a, t, sres_type_a, t->host);
    ask(&t->aaaa, t, sres_type_aaaa, t->host);
  }
}

static void only_target(struct tl_resolve_job *j, uint16_t port) {
  memset(&j->target[0], 0, sizeof(j->target[0]));
  memcpy(j->target[0].host, j->r->host, sizeof(j->target[0].host));
  j->target[0].port = port;
  j->n_target = 1;
}

static void take_address(struct tl_resolve_target *t, const sres_record_t *rr) {
  struct tl_addr a;
  memset(&a, 0, sizeof(a));
  int six = rr->sr_record->r_type == sres_type_aaaa;
  if (t->n[six] >= TL_RESOLVE_EACH) return;
  if (six) {
    a.v6.sin6_family = AF_INET6;
    memcpy(&a.v6.sin6_addr, rr->sr_aaaa->aaaa_addr.u6_addr, sizeof(a.v6.sin6_addr));
  } else {
    a.v4.sin_family = AF_INET;
    a.v4.sin_addr = rr->sr_a->a_addr;
  }
  t->addr[six][t->n[six]++] = a;
}

/* Keeps the best TARGETS records; a target of "." means the service is not there (RFC 2782). */
static void take_srv(struct tl_resolve_job *j, const sres_record_t *rr) {
  const sres_srv_record_t *s = rr->sr_srv;
  size_t at = j->n_target, len = s->srv_target ? strlen(s->srv_target) : 0;
  while (len && s->srv_target[len - 1] == '.') len--;
  if (len == 0 || len >= sizeof(j->target[0].host)) return;
  if (at == TL_RESOLVE_TARGETS) {
    at = 0;
    for (size_t i = 1; i < j->n_target; i++)
      if (j->target[i].priority > j->target[at].priority) at = i;
    if (j->target[at].priority <= s->srv_priority) return;
  } else {
    j->n_target++;
  }
  struct tl_resolve_target *t = &j->target[at];
  memset(t, 0, sizeof(*t));
  memcpy(t->host, s->srv_target, len);
  t->port = s->srv_port;
  t->priority = s->srv_priority;
  t->weight = s->srv_weight;
}

/* Takes ANSWERS over. */
static void handle(struct tl_resolve_query *q, sres_record_t **answers) {
  struct tl_resolve_job *j = q->job;
  struct tl_resolver *rs = j->rs;
  for (size_t i = 0; answers && answers[i]; i++) {
    const sres_record_t *rr = answers[i];
    if (rr->sr_record->r_status == SRES_NAME_ERR || rr->sr_record->r_status == SRES_RECORD_ERR)
      j->name_error = true;
    if (rr->sr_record->r_status != SRES_OK || rr->sr_record->r_type != q->type) continue;
    if (q->type == sres_type_srv)
      take_srv(j, rr);
    else
      take_address(q->target, rr);
  }
  sres_free_answers(rs->res, answers);
  rs->cached++;
  if (q->type != sres_type_srv) return;
  j->name_error = false; /* without SRV records the name itself may still have addresses */
  if (j->n_target)
    tl_resolver_srv_order(j->target, j->n_target);
  else
    only_target(j, default_port(j->r->transport));
  ask_addresses(j);
}

static void on_answer(struct tl_resolve_query *ctx, sres_query_t *q, sres_record_t **answers) {
  (void)q;
  struct tl_resolve_job *j = ctx->job;
  ctx->q = NULL;
  j->pending--;
  handle(ctx, answers);
  if (j->pending == 0) finish(j, j->name_error ? TL_ENOTFOUND : TL_EIO);
}

static void start(struct tl_resolve_job *j) {
  static const char *const service[TL_TRANSPORTS] = {
      [TL_UDP] = "_sip._udp.", [TL_TCP] = "_sip._tcp.", [TL_TLS] = "_sips._tcp."};
  char name[300];
  j->srv.job = j;
  if (j->r->port == 0 && j->r->transport < TL_TRANSPORTS) {
    snprintf(name, sizeof(name), "%s%s", service[j->r->transport], j->r->host);
    ask(&j->srv, NULL, sres_type_srv, name);
    if (j->pending || j->n_target) return;
  }
  only_target(j, j->r->port ? j->r->port : default_port(j->r->transport));
  ask_addresses(j);
}

/* Numeric addresses and the hosts file need no job. */
static bool at_hand(struct tl_resolve *r) {
  struct tl_addr found[TL_RESOLVE_MAX];
  size_t n = 0;
  uint16_t port = r->port ? r->port : default_port(r->transport);
  if (tl_addr_parse(tl_str_c(r->host), port, &found[0]) == 0)
    n = 1;
  else
    n = tl_resolver_hosts(hosts_file, r->host, found, TL_RESOLVE_MAX);
  give(r, found, n, port);
  return n > 0;
}

void tl_resolve_begin(struct tl_resolver *rs, struct tl_resolve *r) {
  size_t len = strnlen(r->host, sizeof(r->host));
  r->n = 0;
  if (len == sizeof(r->host)) len = 0;
  while (len && r->host[len - 1] == '.') len--;
  r->host[len] = '\0';
  if (len == 0 || at_hand(r)) {
    tl_resolver_answer(rs, r, len ? 0 : TL_EINVAL);
    return;
  }
  struct tl_resolve_job *j = rs->n_jobs < JOBS_MAX ? calloc(1, sizeof(*j)) : NULL;
  if (!j) {
    tl_resolver_answer(rs, r, rs->n_jobs < JOBS_MAX ? TL_ENOMEM : TL_ELIMIT);
    return;
  }
  j->rs = rs;
  j->r = r;
  j->deadline_ms = tl_now_ms() + DEADLINE_MS;
  j->next = rs->jobs;
  j->link = &rs->jobs;
  if (j->next) j->next->link = &j->next;
  rs->jobs = j;
  rs->n_jobs++;
  start(j);
  if (j->pending == 0) finish(j, j->name_error ? TL_ENOTFOUND : TL_EIO);
}

void tl_resolve_expire(struct tl_resolver *rs, uint64_t now_ms, bool all) {
  for (struct tl_resolve_job *j = rs->jobs, *next; j; j = next) {
    next = j->next;
    if (all || j->deadline_ms <= now_ms) finish(j, TL_ETIMEOUT);
  }
}
