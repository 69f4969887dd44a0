/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the files of the resolver: resolver.c (thread, sockets, mail),
 * resolver_job.c (one look-up).
 *
 * Ownership: the thread's. Threads: the resolver's; tl_resolver_files before it
 * starts. Errors: as said.
 */
#pragma once

#include "tieline/dns.h"
#include "tieline/locate.h"
#include "tieline/resolve.h"
#include "tieline/time.h"

/* Files to read instead of /etc/hosts and /etc/resolv.conf; NULL leaves one as it is. */
void tl_resolver_files(const char *hosts, const char *resolv_conf);

/* NULL: the system's. */
const char *tl_resolver_resolv_conf(void);

#define TL_RESOLVE_TARGETS (TL_SERVICES_MAX * TL_SRV_MAX) /* hosts followed */
#define TL_RESOLVE_EACH 8 /* addresses of one family kept per host */

struct tl_resolver;
struct tl_resolve_job;

/* One question; its place in the job says which. */
struct tl_resolve_query {
  struct tl_dns_wait wait; /* first: its callback gets it */
  struct tl_resolve_job *job;
  uint16_t type;
  uint8_t at; /* SRV: of which service; addresses: of which target */
};

struct tl_resolve_target {
  char host[256];
  uint16_t port, priority, weight;
  uint8_t service;
  struct tl_resolve_query a, aaaa;
  struct tl_addr addr[2][TL_RESOLVE_EACH]; /* IPv4, IPv6 */
  size_t n[2];
};

struct tl_resolve_job {
  struct tl_resolve_job *next, **link;
  struct tl_resolver *rs;
  struct tl_resolve *r; /* the asker's, goes back with the answer */
  uint64_t deadline_ms;
  unsigned pending;  /* questions without an answer */
  unsigned srv_left; /* of those that look for hosts */
  bool name_error;   /* some answer was "no such name" */
  bool service_none; /* some service is decidedly not there */
  bool
      no_services; /* a question about services failed: silence does not mean that there are none */
  uint32_t ttl_s;  /* shortest so far */
  struct tl_resolve_query naptr, srv[TL_SERVICES_MAX];
  struct tl_services services;
  size_t n_target;
  struct tl_resolve_target target[TL_RESOLVE_TARGETS]; /* of each service in its order */
};

struct tl_resolver {
  struct tl_runtime *rt;
  struct tl_dns *dns;
  struct tl_dns_counts counted; /* of what it counts */
  bool draining;
  struct tl_resolve_job *jobs, **jobs_end; /* the oldest first */
  unsigned n_jobs;
  struct tl_resolve *unanswered; /* found a full mailbox; linked by mail.next */
};

/* resolver.c */
/* Sends R back to its worker with RC, now or as soon as there is room. */
void tl_resolver_answer(struct tl_resolver *rs, struct tl_resolve *r, int rc);

/* resolver_job.c */
void tl_resolve_begin(struct tl_resolver *rs, struct tl_resolve *r);
/* The daemon is stopping: from now on no look-up waits long for a name server. */
void tl_resolve_hurry(struct tl_resolver *rs);
/* Ends the jobs whose time is up; ALL: every job. */
void tl_resolve_expire(struct tl_resolver *rs, uint64_t now_ms, bool all);
