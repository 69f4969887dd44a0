/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a walk asks, and what it makes of the answers. Services, hosts and
 * addresses come out in the order in which they are to be tried. Who asks, and how
 * long that may take, is the driver's business: resolver_job.c has
 * patience, lookup.c waits.
 */
#include "tieline/walk.h"

#include <stdio.h>
#include <string.h>

#include "tieline/err.h"

#define HOSTS_TTL_S 30 /* the hosts file is read again so soon */

/* ---- what was found ---- */

static void give_addresses(struct tl_walk_found *f, const struct tl_addr *a, size_t n,
                           uint16_t port, enum tl_transport t) {
  for (size_t i = 0; i < n && f->n < TL_WALK_ADDRS; i++) {
    f->addr[f->n] = a[i];
    f->via[f->n] = (uint8_t)t;
    tl_addr_set_port(&f->addr[f->n++], port);
  }
}

/* IPv6 first where this machine can reach it (RFC 6724 in short), else last. */
static void give_target(const struct tl_walk *k, const struct tl_walk_target *t, size_t group,
                        struct tl_walk_found *f) {
  bool six_first = t->n[1] > 0 && tl_locate_routable(&t->addr[1][0]);
  enum tl_transport via = k->services.at[t->service].transport;
  size_t i = f->n;
  give_addresses(f, t->addr[six_first], t->n[six_first], t->port, via);
  give_addresses(f, t->addr[!six_first], t->n[!six_first], t->port, via);
  for (; i < f->n; i++) {
    f->group[i] = (uint8_t)group;
    f->target[i] = (uint8_t)(t - k->target);
    f->weight[i] = t->weight;
  }
}

/* Services in their order; within one, hosts as they were drawn. */
int tl_walk_result(const struct tl_walk *k, struct tl_walk_found *out) {
  const struct tl_walk_target *last = NULL;
  size_t group = 0;
  *out = (struct tl_walk_found){.ttl_s = k->ttl_s, .unsure = k->unsure};
  for (size_t s = 0; s < k->services.n; s++)
    for (size_t i = 0; i < k->n_target; i++) {
      const struct tl_walk_target *t = &k->target[i];
      if (t->service != s) continue;
      if (last && (last->service != t->service || last->priority != t->priority)) group++;
      give_target(k, t, group, out);
      last = t;
    }
  if (out->n) return TL_OK;
  return !k->no_services && (k->name_error || k->service_none) ? TL_ENOTFOUND : TL_EIO;
}

bool tl_walk_at_hand(const struct tl_walk_wanted *w, struct tl_walk_found *out) {
  struct tl_addr found[TL_WALK_ADDRS];
  size_t n = 1;
  uint16_t port = w->port ? w->port : tl_transport_port(w->transport);
  *out = (struct tl_walk_found){.ttl_s = HOSTS_TTL_S};
  if (tl_addr_parse(tl_str_c(w->host), port, &found[0]))
    n = tl_locate_hosts(tl_dns_hosts_file(), w->host, found, TL_WALK_ADDRS);
  give_addresses(out, found, n, port, w->transport);
  return n > 0;
}

/* ---- asking ---- */

static void ask_query(struct tl_walk *k, struct tl_walk_query *q, uint16_t type, size_t at,
                      const char *name) {
  *q = (struct tl_walk_query){.walk = k, .open = true, .type = type, .at = (uint8_t)at};
  k->n_open++;
  k->ask(q, name);
}

static void add_target(struct tl_walk *k, size_t service, const struct tl_srv *srv) {
  if (k->n_target == TL_WALK_TARGETS) return;
  size_t at = k->n_target++;
  struct tl_walk_target *t = &k->target[at];
  memset(t, 0, sizeof(*t));
  snprintf(t->host, sizeof(t->host), "%s", srv->host);
  t->port = srv->port;
  t->priority = srv->priority;
  t->weight = srv->weight;
  t->service = (uint8_t)service;
  t->n[0] = tl_locate_hosts(tl_dns_hosts_file(), t->host, t->addr[0], TL_WALK_EACH);
  if (t->n[0] && k->ttl_s > HOSTS_TTL_S) k->ttl_s = HOSTS_TTL_S;
  if (t->n[0]) return; /* the file has both families */
  ask_query(k, &t->a, TL_DNS_A, at, t->host);
  ask_query(k, &t->aaaa, TL_DNS_AAAA, at, t->host);
}

/* RFC 3263 4.2: without SRV records the name itself has the addresses. */
static void ask_name_itself(struct tl_walk *k) {
  const uint16_t port = k->wanted.port;
  struct tl_srv itself = {.port = port ? port : tl_transport_port(k->services.at[0].transport)};
  k->name_error = false; /* that was of other names */
  snprintf(itself.host, sizeof(itself.host), "%s", k->wanted.host);
  add_target(k, 0, &itself);
}

static void ask_services(struct tl_walk *k) {
  k->srv_left = (unsigned)k->services.n; /* answers may come within the loop */
  for (size_t i = 0; i < k->services.n; i++)
    ask_query(k, &k->srv[i], TL_DNS_SRV, i, k->services.at[i].name);
}

void tl_walk_begin(struct tl_walk *k, const struct tl_walk_wanted *w, tl_walk_ask_fn ask) {
  memset(k, 0, sizeof(*k));
  k->wanted = *w;
  k->ask = ask;
  k->ttl_s = UINT32_MAX;
  k->n_open = 1; /* it cannot end within */
  if (!w->port && !w->plain && w->any_transport) {
    ask_query(k, &k->naptr, TL_DNS_NAPTR, 0, w->host);
  } else {
    tl_locate_services(&k->services, w->host, false, w->transport);
    if (w->port || w->plain)
      ask_name_itself(k);
    else
      ask_services(k);
  }
  k->n_open--;
}

/* ---- answers ---- */

static void naptr_done(struct tl_walk *k) {
  if (k->services.n == 0)
    tl_locate_services(&k->services, k->wanted.host, true, k->wanted.transport);
  ask_services(k);
}

static void srv_done(struct tl_walk *k, size_t service, struct tl_srvs *found) {
  tl_locate_order(found);
  k->srv_left--;
  k->service_none |= found->none && found->n == 0;
  for (size_t i = 0; i < found->n; i++) add_target(k, service, &found->at[i]);
  if (k->srv_left == 0 && k->n_target == 0 && !k->service_none && !k->no_services)
    ask_name_itself(k);
}

static void take_naptr(struct tl_walk *k, const struct tl_dns_record *rr) {
  const struct tl_naptr r = {.order = rr->order,
                             .preference = rr->preference,
                             .flags = rr->flags,
                             .service = rr->service,
                             .regexp = rr->rewrites ? "!" : "",
                             .replacement = rr->name};
  tl_locate_naptr(&k->services, &r, k->wanted.secure);
}

static void take_address(struct tl_walk_target *t, const struct tl_dns_record *rr) {
  int six = rr->addr.sa.sa_family == AF_INET6;
  if (t->n[six] < TL_WALK_EACH) t->addr[six][t->n[six]++] = rr->addr;
}

static void take_record(struct tl_walk_query *q, const struct tl_dns_record *rr,
                        struct tl_srvs *srvs) {
  if (q->type == TL_DNS_NAPTR)
    take_naptr(q->walk, rr);
  else if (q->type == TL_DNS_SRV)
    tl_locate_srv(srvs, rr->name, rr->priority, rr->weight, rr->port);
  else
    take_address(&q->walk->target[q->at], rr);
}

static void note_status(struct tl_walk *k, uint16_t type, enum tl_dns_status status) {
  const bool services = type == TL_DNS_NAPTR || type == TL_DNS_SRV;
  const bool failed = status == TL_DNS_FAILED, broken = status == TL_DNS_BROKEN;
  k->name_error |= status == TL_DNS_NONE;
  k->unsure |= services && (failed || broken);
  k->no_services |= (services && broken) || (type == TL_DNS_SRV && failed);
}

void tl_walk_answer(struct tl_walk_query *q, const struct tl_dns_answer *a) {
  struct tl_walk *k = q->walk;
  struct tl_srvs srvs = {.n = 0};
  q->open = false;
  note_status(k, q->type, a->status);
  if (a->status == TL_DNS_FOUND && a->ttl_s < k->ttl_s) k->ttl_s = a->ttl_s;
  for (size_t i = 0; i < a->n; i++) take_record(q, &a->at[i], &srvs);
  /* Old servers answer NAPTR, and only that, with an error. */
  if (q->type == TL_DNS_NAPTR && a->status != TL_DNS_BROKEN)
    naptr_done(k);
  else if (q->type == TL_DNS_SRV)
    srv_done(k, q->at, &srvs);
  k->n_open--;
}

static void end_query(struct tl_walk_query *q, void (*forget)(struct tl_walk_query *q)) {
  if (!q->open) return;
  q->open = false;
  forget(q);
}

void tl_walk_end(struct tl_walk *k, void (*forget)(struct tl_walk_query *q)) {
  /* Is an answer about services missing? Then the addresses of another service, or of the name
   * itself, must not replace those known before (RFC 3263 4.2: only without SRV records). */
  k->unsure |= k->naptr.open;
  for (size_t s = 0; s < k->services.n; s++) k->unsure |= k->srv[s].open;
  end_query(&k->naptr, forget);
  for (size_t s = 0; s < k->services.n; s++) end_query(&k->srv[s], forget);
  for (size_t i = 0; i < k->n_target; i++) {
    end_query(&k->target[i].a, forget);
    end_query(&k->target[i].aaaa, forget);
  }
  k->n_open = 0;
}
