/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Look-ups of names (RFC 3263) by the resolver thread.
 *
 * Ownership: a question is the asker's until tl_resolve_ask returns 0, then the
 * resolver's until it comes back to REPLY. Threads: tl_resolve_ask any, the others
 * the control thread's. Errors: in RC of the answer; TL_ELIMIT and TL_EBUSY when it
 * cannot be asked.
 */
#pragma once

#include "tieline/addr.h"
#include "tieline/counters.h"
#include "tieline/dns.h"
#include "tieline/mailbox.h"
#include "tieline/transport.h"
#include "tieline/walk.h"

/* A name to look up; the same object brings the answer. */
struct tl_resolve {
  struct tl_mail mail;
  struct tl_mail_address reply;
  struct tl_dns_client client; /* own: a peer's name; it never gives way to newer look-ups */
  uint64_t cookie;             /* the asker's */
  uint64_t started_ms;
  enum tl_transport transport;
  bool any_transport; /* none was written: NAPTR decides, TRANSPORT is what is left without */
  bool secure;        /* a sips URI: nothing but TLS */
  char host[256];
  uint16_t port; /* 0: none was written */
  bool fresh;    /* name servers are asked, whatever the cache has */
  int rc;
  struct tl_walk_found found;
};

/* Asks the RESOLVER that has that mailbox; on an error R stays the caller's. */
int tl_resolve_ask(struct tl_mailbox *resolver, struct tl_resolve *r);

/* Starts it; it makes MAILBOX, takes its questions there and counts in COUNTERS. */
int tl_resolver_start(struct tl_mailbox *mailbox, struct tl_counters *counters);
/* The daemon is stopping: no look-up waits long for a name server any more. */
void tl_resolver_drain(void);
/* Stops and joins it; questions left are dropped, that is returned unanswered. */
void tl_resolver_stop(void);
