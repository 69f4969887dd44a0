/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store of failed handshakes. Handshake threads note, the control thread
 * reads; a worker never comes here.
 */
#include "tieline/failures.h"

#include <pthread.h>
#include <string.h>

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static struct tl_failure kept[TL_FAILURES_KEPT]; /* a ring */
static uint64_t total;
static struct tl_failure_count counts[TL_FAILURE_PEERS];
static size_t n_count;

/* The entry of PEER and CAUSE, or one for a new pair: when the table is full, that of the peer that
 * has been quiet longest. */
static struct tl_failure_count *count_of(const struct tl_addr *peer, int cause) {
  struct tl_failure_count *oldest = &counts[0];
  for (size_t i = 0; i < n_count; i++) {
    if (counts[i].cause == cause && tl_addr_ip_eq(&counts[i].peer, peer)) return &counts[i];
    if (counts[i].last < oldest->last) oldest = &counts[i];
  }
  struct tl_failure_count *c = n_count < TL_FAILURE_PEERS ? &counts[n_count++] : oldest;
  *c = (struct tl_failure_count){.peer = *peer, .cause = cause};
  tl_addr_set_port(&c->peer, 0);
  return c;
}

void tl_failure_note(const struct tl_failure *f) {
  pthread_mutex_lock(&mu);
  struct tl_failure *slot = &kept[total++ % TL_FAILURES_KEPT];
  *slot = *f;
  slot->number = total;
  struct tl_failure_count *c = count_of(&f->peer, (int)f->what.cause);
  if (c->n++ == 0) c->first = f->at.tv_sec;
  c->last = f->at.tv_sec;
  pthread_mutex_unlock(&mu);
}

size_t tl_failures_copy(struct tl_failure *out, size_t cap, uint64_t *out_total) {
  size_t n = 0;
  pthread_mutex_lock(&mu);
  while (n < cap && n < TL_FAILURES_KEPT && n < total) {
    out[n] = kept[(total - 1 - n) % TL_FAILURES_KEPT];
    n++;
  }
  *out_total = total;
  pthread_mutex_unlock(&mu);
  return n;
}

size_t tl_failure_counts(struct tl_failure_count *out, size_t cap) {
  pthread_mutex_lock(&mu);
  size_t n = n_count < cap ? n_count : cap;
  memcpy(out, counts, n * sizeof(*out));
  pthread_mutex_unlock(&mu);
  return n;
}
