/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One look-up as RFC 3263 4 has it: a numeric address, the hosts file; else NAPTR
 * when neither transport nor port was given, SRV when no port was, then A and
 * AAAA of each host. Services, hosts and addresses go back in the order in which
 * they are to be tried.
 */
#include <stdio.h>
#include <stdlib.h>

#include "net/resolver.h"

#define DEADLINE_MS 5000
#define DRAINING_MS 500 /* while the daemon ends */
#define JOBS_MAX 1024
#define HOSTS_TTL_S 30 /* the hosts file is read again so soon */

static const char *hosts_file = "/etc/hosts";
static const char *resolv_conf_file;

void tl_resolver_files(const char *hosts, const char *resolv_conf) {
  if (hosts) hosts_file = hosts;
  if (resolv_conf) resolv_conf_file = resolv_conf;
}

const char *tl_resolver_resolv_conf(void) { return resolv_conf_file; }

static void give_addresses(struct tl_resolve *r, const struct tl_addr *a, size_t n, uint16_t port,
                           enum tl_transport t) {
  for (size_t i = 0; i < n && r->n < TL_RESOLVE_MAX; i++) {
    r->addr[r->n] = a[i];
    r->via[r->n] = (uint8_t)t;
    tl_addr_set_port(&r->addr[r->n++], port);
  }
}

/* IPv6 first where this machine can reach it (RFC 6724 in short), else last. */
static void give_target(struct tl_resolve_job *j, const struct tl_resolve_target *t, size_t group) {
  struct tl_resolve *r = j->r;
  bool six_first = t->n[1] > 0 && tl_locate_routable(&t->addr[1][0]);
  enum tl_transport via = j->services.at[t->service].transport;
  size_t i = r->n;
  give_addresses(r, t->addr[six_first], t->n[six_first], t->port, via);
  give_addresses(r, t->addr[!six_first], t->n[!six_first], t->port, via);
  for (; i < r->n; i++) {
    r->group[i] = (uint8_t)group;
    r->target[i] = (uint8_t)(t - j->target);
    r->weight[i] = t->weight;
  }
}

/* Services in their order; within one, hosts as they were drawn. */
static void give_all(struct tl_resolve_job *j) {
  const struct tl_resolve_target *last = NULL;
  size_t group = 0;
  for (size_t s = 0; s < j->services.n; s++)
    for (size_t i = 0; i < j->n_target; i++) {
      const struct tl_resolve_target *t = &j->target[i];
      if (t->service != s) continue;
      if (last && (last->service != t->service || last->priority != t->priority)) group++;
      give_target(j, t, group);
      last = t;
    }
}

/* Is an answer about services missing? Then the addresses of another service, or of the name
 * itself, must not replace those known before (RFC 3263 4.2: only without SRV records). */
static bool services_silent(const struct tl_resolve_job *j) {
  bool open = j->naptr.wait.q != NULL;
  for (size_t s = 0; s < j->services.n; s++) open |= j->srv[s].wait.q != NULL;
  return open;
}

static void finish_job(struct tl_resolve_job *j, int rc) {
  struct tl_resolver *rs = j->rs;
  j->r->unsure |= services_silent(j);
  tl_dns_forget(&j->naptr.wait);
  for (size_t s = 0; s < j->services.n; s++) tl_dns_forget(&j->srv[s].wait);
  give_all(j);
  j->r->ttl_s = j->ttl_s;
  for (size_t i = 0; i < j->n_target; i++) {
    tl_dns_forget(&j->target[i].a.wait);
    tl_dns_forget(&j->target[i].aaaa.wait);
  }
  if (j->r->n) rc = 0; /* part of an answer in time is an answer */
  *j->link = j->next;
  if (j->next)
    j->next->link = j->link;
  else
    rs->jobs_end = j->link;
  rs->n_jobs--;
  tl_resolver_answer(rs, j->r, rc);
  free(j);
}

static void on_answer(struct tl_dns_wait *w, const struct tl_dns_answer *a);
static void handle_answer(struct tl_resolve_query *q, const struct tl_dns_answer *a);

/* Asks, or takes the answer from the cache at once. */
static void ask_query(struct tl_resolve_job *j, struct tl_resolve_query *q, uint16_t type,
                      size_t at, const char *name) {
  static const struct tl_dns_answer silence = {.status = TL_DNS_FAILED},
                                    no_such_name = {.status = TL_DNS_NONE};
  struct tl_dns *dns = j->rs->dns;
  *q = (struct tl_resolve_query){.wait.fn = on_answer, .job = j, .type = type, .at = (uint8_t)at};
  const struct tl_dns_answer *known = j->r->fresh ? NULL : tl_dns_cached(dns, type, name);
  if (known) {
    handle_answer(q, known);
    return;
  }
  int rc = tl_dns_ask(dns, type, name, &q->wait);
  if (rc == 0)
    j->pending++;
  else
    handle_answer(q, rc == TL_EINVAL ? &no_such_name : &silence);
}

static void add_target(struct tl_resolve_job *j, size_t service, const struct tl_srv *srv) {
  const char *host = srv->host;
  if (j->n_target == TL_RESOLVE_TARGETS) return;
  size_t at = j->n_target++;
  struct tl_resolve_target *t = &j->target[at];
  memset(t, 0, sizeof(*t));
  snprintf(t->host, sizeof(t->host), "%s", host);
  t->port = srv->port;
  t->priority = srv->priority;
  t->weight = srv->weight;
  t->service = (uint8_t)service;
  t->n[0] = tl_locate_hosts(hosts_file, t->host, t->addr[0], TL_RESOLVE_EACH);
  if (t->n[0] && j->ttl_s > HOSTS_TTL_S) j->ttl_s = HOSTS_TTL_S;
  if (t->n[0]) return; /* the file has both families */
  ask_query(j, &t->a, TL_DNS_A, at, t->host);
  ask_query(j, &t->aaaa, TL_DNS_AAAA, at, t->host);
}

/* RFC 3263 4.2: without SRV records the name itself has the addresses. */
static void ask_name_itself(struct tl_resolve_job *j) {
  struct tl_srv itself = {.port = j->r->port ? j->r->port
                                             : tl_transport_port(j->services.at[0].transport)};
  j->name_error = false; /* that was of other names */
  snprintf(itself.host, sizeof(itself.host), "%s", j->r->host);
  add_target(j, 0, &itself);
}

static void ask_services(struct tl_resolve_job *j) {
  j->srv_left = (unsigned)j->services.n; /* answers from the cache come within the loop */
  for (size_t i = 0; i < j->services.n; i++)
    ask_query(j, &j->srv[i], TL_DNS_SRV, i, j->services.at[i].name);
}

static void take_naptr(struct tl_resolve_job *j, const struct tl_dns_record *rr) {
  const struct tl_naptr r = {.order = rr->order,
                             .preference = rr->preference,
                             .flags = rr->flags,
                             .service = rr->service,
                             .regexp = rr->rewrites ? "!" : "",
                             .replacement = rr->name};
  tl_locate_naptr(&j->services, &r, j->r->secure);
}

static void naptr_done(struct tl_resolve_job *j) {
  if (j->services.n == 0) tl_locate_services(&j->services, j->r->host, true, j->r->transport);
  ask_services(j);
}

static void srv_done(struct tl_resolve_job *j, size_t service, struct tl_srvs *found) {
  tl_locate_order(found);
  j->srv_left--;
  j->service_none |= found->none && found->n == 0;
  for (size_t i = 0; i < found->n; i++) add_target(j, service, &found->at[i]);
  if (j->srv_left == 0 && j->n_target == 0 && !j->service_none && !j->no_services)
    ask_name_itself(j);
}

static void take_address(struct tl_resolve_target *t, const struct tl_dns_record *rr) {
  int six = rr->addr.sa.sa_family == AF_INET6;
  if (t->n[six] < TL_RESOLVE_EACH) t->addr[six][t->n[six]++] = rr->addr;
}

static void take_record(struct tl_resolve_query *q, const struct tl_dns_record *rr,
                        struct tl_srvs *srvs) {
  if (q->type == TL_DNS_NAPTR)
    take_naptr(q->job, rr);
  else if (q->type == TL_DNS_SRV)
    tl_locate_srv(srvs, rr->name, rr->priority, rr->weight, rr->port);
  else
    take_address(&q->job->target[q->at], rr);
}

static void handle_answer(struct tl_resolve_query *q, const struct tl_dns_answer *a) {
  struct tl_resolve_job *j = q->job;
  struct tl_srvs srvs = {.n = 0};
  bool services = q->type == TL_DNS_NAPTR || q->type == TL_DNS_SRV;
  bool failed = a->status == TL_DNS_FAILED, broken = a->status == TL_DNS_BROKEN;
  j->name_error |= a->status == TL_DNS_NONE;
  j->r->unsure |= services && (failed || broken);
  j->no_services |= (services && broken) || (q->type == TL_DNS_SRV && failed);
  if (a->status == TL_DNS_FOUND && a->ttl_s < j->ttl_s) j->ttl_s = a->ttl_s;
  for (size_t i = 0; i < a->n; i++) take_record(q, &a->at[i], &srvs);
  if (q->type == TL_DNS_NAPTR &&
      !broken) /* old servers answer NAPTR, and only that, with an error */
    naptr_done(j);
  else if (q->type == TL_DNS_SRV)
    srv_done(j, q->at, &srvs);
}

static int failure_code(const struct tl_resolve_job *j) {
  return !j->no_services && (j->name_error || j->service_none) ? TL_ENOTFOUND : TL_EIO;
}

static void on_answer(struct tl_dns_wait *w, const struct tl_dns_answer *a) {
  struct tl_resolve_query *q = (struct tl_resolve_query *)w;
  struct tl_resolve_job *j = q->job;
  handle_answer(q, a);
  if (--j->pending == 0) finish_job(j, failure_code(j));
}

static void start_job(struct tl_resolve_job *j) {
  const struct tl_resolve *r = j->r;
  if (r->port == 0 && r->any_transport) {
    ask_query(j, &j->naptr, TL_DNS_NAPTR, 0, r->host);
    return;
  }
  tl_locate_services(&j->services, r->host, false, r->transport);
  if (r->port)
    ask_name_itself(j);
  else
    ask_services(j);
}

/* Numeric addresses and the hosts file need no job. */
static bool at_hand(struct tl_resolve *r) {
  struct tl_addr found[TL_RESOLVE_MAX];
  size_t n = 0;
  uint16_t port = r->port ? r->port : tl_transport_port(r->transport);
  if (tl_addr_parse(tl_str_c(r->host), port, &found[0]) == 0)
    n = 1;
  else
    n = tl_locate_hosts(hosts_file, r->host, found, TL_RESOLVE_MAX);
  give_addresses(r, found, n, port, r->transport);
  r->ttl_s = HOSTS_TTL_S;
  return n > 0;
}

/* Ends the oldest job: a name server that answers at all has answered long before, so names whose
 * servers are silent keep no other look-up out. Peers' look-ups stay; the configuration bounds
 * them.
 */
static void give_way(struct tl_resolver *rs) {
  struct tl_resolve_job *j = rs->jobs;
  while (j && j->r->keep) j = j->next;
  if (!j) return;
  tl_count(&rs->rt->resolver_counters, TL_C_DNS_GAVE_WAY);
  finish_job(j, TL_ELIMIT);
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
  if (rs->n_jobs >= JOBS_MAX) give_way(rs);
  struct tl_resolve_job *j = calloc(1, sizeof(*j));
  if (!j) {
    tl_resolver_answer(rs, r, TL_ENOMEM);
    return;
  }
  j->rs = rs;
  j->r = r;
  j->ttl_s = UINT32_MAX;
  j->deadline_ms = tl_now_ms() + (rs->draining ? DRAINING_MS : DEADLINE_MS);
  j->link = rs->jobs_end;
  *j->link = j;
  rs->jobs_end = &j->next;
  rs->n_jobs++;
  j->pending = 1; /* it cannot end within */
  start_job(j);
  if (--j->pending == 0) finish_job(j, failure_code(j));
}

void tl_resolve_hurry(struct tl_resolver *rs) {
  uint64_t until_ms = tl_now_ms() + DRAINING_MS;
  rs->draining = true;
  for (struct tl_resolve_job *j = rs->jobs; j; j = j->next)
    if (j->deadline_ms > until_ms) j->deadline_ms = until_ms;
}

void tl_resolve_expire(struct tl_resolver *rs, uint64_t now_ms, bool all) {
  for (struct tl_resolve_job *j = rs->jobs, *next; j; j = next) {
    next = j->next;
    if (all || j->deadline_ms <= now_ms) finish_job(j, TL_ETIMEOUT);
  }
}
