/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One look-up: the walk of RFC 3263 (walk.c), driven without waiting; its
 * answers come from the cache or, later, from name servers. Here are the deadlines,
 * and who gives way where there are too many.
 */
#include <stdlib.h>

#include "dns/resolver.h"
#include "tieline/container.h"

#define DEADLINE_MS 5000
#define DRAINING_MS 500 /* while the daemon ends */
#define JOBS_MAX 1024
#define SHARE_MAX (JOBS_MAX / 8) /* whose stranger has more gives way first */

/* Sends R back to its asker with RC, now or as soon as there is room. */
static void give_back(struct tl_resolver *rs, struct tl_resolve *r, int rc) {
  r->rc = rc;
  if (tl_mail_send(&r->reply, &r->mail) == 0) return;
  tl_count(rs->counters, TL_C_MAIL_FULL);
  r->mail.next = NULL;
  *rs->unanswered_end = &r->mail;
  rs->unanswered_end = &r->mail.next;
}

static void count_job(const struct tl_resolve_job *j, int by) {
  const uint16_t stranger = j->r->client.stranger;
  j->rs->n_jobs += (unsigned)by;
  if (stranger) j->rs->shares[stranger - 1] = (uint16_t)(j->rs->shares[stranger - 1] + by);
}

static void forget_query(struct tl_walk_query *q) { tl_dns_forget(&q->wait); }

/* RC: why it ends before it is over, or 0. */
static void finish_job(struct tl_resolve_job *j, int rc) {
  struct tl_resolver *rs = j->rs;
  tl_walk_end(&j->walk, forget_query);
  const int found_rc = tl_walk_result(&j->walk, &j->r->found);
  if (!rc || !found_rc) rc = found_rc; /* part of an answer in time is an answer */
  cds_list_del(&j->node);
  count_job(j, -1);
  give_back(rs, j->r, rc);
  free(j);
}

static void on_answer(struct tl_dns_wait *w, const struct tl_dns_answer *a) {
  struct tl_walk_query *q = (struct tl_walk_query *)w;
  struct tl_resolve_job *j = (struct tl_resolve_job *)q->walk;
  tl_walk_answer(q, a);
  if (tl_walk_is_over(&j->walk)) finish_job(j, 0);
}

/* Asks, or takes the answer from the cache at once. */
static void ask_query(struct tl_walk_query *q, const char *name) {
  static const struct tl_dns_answer silence = {.status = TL_DNS_FAILED},
                                    no_such_name = {.status = TL_DNS_NONE};
  struct tl_resolve_job *j = (struct tl_resolve_job *)q->walk;
  struct tl_dns *dns = j->rs->dns;
  const struct tl_dns_answer *known = j->r->fresh ? NULL : tl_dns_cached(dns, q->type, name);
  if (known) {
    tl_walk_answer(q, known);
    return;
  }
  q->wait.fn = on_answer;
  q->wait.client = j->r->client;
  int rc = tl_dns_ask(dns, q->type, name, &q->wait);
  if (rc) tl_walk_answer(q, rc == TL_EINVAL ? &no_such_name : &silence);
}

/* The oldest job of a stranger with more than its share, else of any stranger, else of all: a name
 * server that answers at all has answered long before. NULL: all are the configuration's. */
static struct tl_resolve_job *least_wanted(struct tl_resolver *rs) {
  struct tl_resolve_job *j, *found = NULL;
  cds_list_for_each_entry(j, &rs->jobs, node) {
    const struct tl_dns_client *c = &j->r->client;
    if (c->own) continue;
    if (c->stranger && rs->shares[c->stranger - 1] > SHARE_MAX) return j;
    if (!found || (c->stranger && !found->r->client.stranger)) found = j;
  }
  return found;
}

/* Names whose servers are silent keep no other look-up out. */
static void give_way(struct tl_resolver *rs) {
  struct tl_resolve_job *j = least_wanted(rs);
  if (!j) return;
  tl_count(rs->counters, TL_C_DNS_GAVE_WAY);
  finish_job(j, TL_ELIMIT);
}

/* R's host without the dots at its end; false: nothing is left. */
static bool trim_host(struct tl_resolve *r) {
  size_t len = strnlen(r->host, sizeof(r->host));
  if (len == sizeof(r->host)) len = 0;
  while (len && r->host[len - 1] == '.') len--;
  r->host[len] = '\0';
  return len > 0;
}

static struct tl_resolve_job *new_job(struct tl_resolver *rs, struct tl_resolve *r) {
  struct tl_resolve_job *j = calloc(1, sizeof(*j));
  if (!j) return NULL;
  j->rs = rs;
  j->r = r;
  j->deadline_ms = tl_now_ms() + (rs->draining ? DRAINING_MS : DEADLINE_MS);
  cds_list_add_tail(&j->node, &rs->jobs);
  count_job(j, 1);
  return j;
}

void tl_resolve_begin(struct tl_resolver *rs, struct tl_resolve *r) {
  const struct tl_walk_wanted wanted = {.host = r->host,
                                        .port = r->port,
                                        .transport = r->transport,
                                        .any_transport = r->any_transport,
                                        .secure = r->secure};
  r->found.n = 0;
  if (!trim_host(r)) {
    give_back(rs, r, TL_EINVAL);
    return;
  }
  if (tl_walk_at_hand(&wanted, &r->found)) {
    give_back(rs, r, 0);
    return;
  }
  if (rs->n_jobs >= JOBS_MAX) give_way(rs);
  struct tl_resolve_job *j = new_job(rs, r);
  if (!j) {
    give_back(rs, r, TL_ENOMEM);
    return;
  }
  tl_walk_begin(&j->walk, &wanted, ask_query);
  if (tl_walk_is_over(&j->walk)) finish_job(j, 0);
}

void tl_resolve_hurry(struct tl_resolver *rs) {
  uint64_t until_ms = tl_now_ms() + DRAINING_MS;
  rs->draining = true;
  struct tl_resolve_job *j;
  cds_list_for_each_entry(j, &rs->jobs, node) {
    if (j->deadline_ms > until_ms) j->deadline_ms = until_ms;
  }
}

void tl_resolve_expire(struct tl_resolver *rs, uint64_t now_ms, bool all) {
  struct tl_resolve_job *j, *next;
  cds_list_for_each_entry_safe(j, next, &rs->jobs, node) {
    if (all || j->deadline_ms <= now_ms) finish_job(j, TL_ETIMEOUT);
  }
}

void tl_resolve_retry(struct tl_resolver *rs) {
  struct tl_mail **link = &rs->unanswered;
  while (*link) {
    struct tl_mail *next = (*link)->next;
    if (tl_mail_send(&tl_container_of(*link, struct tl_resolve, mail)->reply, *link) == 0)
      *link = next;
    else
      link = &(*link)->next;
  }
  rs->unanswered_end = link;
}
