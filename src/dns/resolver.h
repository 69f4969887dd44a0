/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the files of the resolver: resolver.c (thread, sockets, mail),
 * resolver_job.c (one look-up).
 *
 * Ownership: the thread's. Threads: the resolver's. Errors: as said.
 */
#pragma once

#include "tieline/resolve.h"
#include "tieline/time.h"
#include "tieline/walk.h"

struct tl_resolve_job {
  struct tl_walk walk;       /* first: its questions lead here */
  struct cds_list_head node; /* in its resolver */
  struct tl_resolver *rs;
  struct tl_resolve *r; /* the asker's, goes back with the answer */
  uint64_t deadline_ms;
};

struct tl_resolver {
  struct tl_mailbox *mailbox;
  struct tl_counters *counters;
  struct tl_dns *dns;
  struct tl_dns_counts counted; /* of what it counts */
  bool draining;
  struct cds_list_head jobs; /* the oldest first */
  unsigned n_jobs;
  uint16_t shares[TL_DNS_SHARES]; /* of them, by stranger */
  struct tl_mail *unanswered;     /* of look-ups that found a full mailbox, in order */
  struct tl_mail **unanswered_end;
};

/* resolver_job.c */
void tl_resolve_begin(struct tl_resolver *rs, struct tl_resolve *r);
/* The daemon is stopping: from now on no look-up waits long for a name server. */
void tl_resolve_hurry(struct tl_resolver *rs);
/* Ends the jobs whose time is up; ALL: every job. */
void tl_resolve_expire(struct tl_resolver *rs, uint64_t now_ms, bool all);
/* Sends the answers that found a full mailbox. */
void tl_resolve_retry(struct tl_resolver *rs);
