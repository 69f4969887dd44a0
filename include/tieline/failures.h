/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS handshakes that failed: the last ones with all that is known, and how
 * often each peer failed for which cause.
 *
 * Ownership: values are copied in and out; one store for the process, of fixed
 * size. Threads: any but workers, under a mutex held for a copy. Errors: none:
 * when it is full the oldest entry goes.
 */
#pragma once

#include <time.h>

#include "tieline/addr.h"
#include "tieline/tls_handshake.h"

#define TL_FAILURES_KEPT 256
#define TL_FAILURE_PEERS 256 /* pairs of address and cause */

struct tl_failure {
  uint64_t number; /* counted from 1; set when it is noted */
  struct timespec at;
  bool outgoing;
  struct tl_addr peer, local; /* local: sa_family 0 if not known */
  struct tl_hs_failure what;
  char required_name[256]; /* outgoing: what the certificate had to carry */
  uint64_t took_ms;        /* since accept or connect */
};

struct tl_failure_count {
  struct tl_addr peer; /* port 0 */
  int cause;
  uint64_t n;
  time_t first, last;
};

void tl_failure_note(const struct tl_failure *f);
/* Newest first, at most CAP. Gives how many; *OUT_TOTAL counts all since the start. */
size_t tl_failures_copy(struct tl_failure *out, size_t cap, uint64_t *out_total);
/* In no order, at most CAP. */
size_t tl_failure_counts(struct tl_failure_count *out, size_t cap);
