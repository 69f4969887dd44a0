/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the threads of one process share: the published view, each other's
 * mailboxes, and the kernel's capabilities. Payloads of mails are declared by the
 * files that own them.
 *
 * Ownership: one struct tl_runtime, made by main, alive until all threads have
 * joined. Threads: as said at each field. Errors: as said at each function.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "tieline/counters.h"
#include "tieline/ktls.h"
#include "tieline/mailbox.h"

#define TL_THREADS_MAX 64

struct tl_conf;
struct tl_view;
struct tl_runtime;

/* A connection's name across threads: worker, slot and generation of the slot. 0 = none. */
typedef uint64_t tl_conn_id;

#define TL_INVITE_SLOTS 0x10000u

struct tl_thread {
  pthread_t thread;
  bool started;
  unsigned index;
  struct tl_runtime *rt;
  struct tl_mailbox mailbox;
  const struct tl_mail_kind *takes; /* what threads of the other kind post to it: a worker takes
                                       handoffs, a handshake thread dials; set before either can */
  struct tl_counters counters;      /* written by its thread only */
  /* Orders of the control thread, looked at in every turn; set once. */
  _Atomic bool drain, stop;
  /* A worker's INVITE transactions by their key, written by it only: 0 says for certain that it has
   * none of that key. */
  _Atomic uint16_t invites[TL_INVITE_SLOTS];
};

struct tl_runtime {
  struct tl_ktls_caps caps; /* constant after start */
  uint8_t secret[32];       /* keys branches and hashes; constant */
  uint64_t incarnation;     /* names the process in tokens that outlive it, not 0; constant */
  unsigned n_worker, n_handshaker;
  _Atomic(struct tl_thread *) worker[TL_THREADS_MAX]; /* constant after start */
  _Atomic(struct tl_thread *) handshaker[TL_THREADS_MAX];
  struct tl_thread control; /* control's mailbox and counters; its thread is main's */
  struct tl_mailbox resolver;
  struct tl_counters resolver_counters;
  struct tl_mail_address ocsp_questions; /* struct tl_ocsp_ask; TO is NULL: nobody answers them */
  _Atomic(struct tl_view *) view;        /* published: the control thread's */
  _Atomic uint64_t published;            /* how many views have been */
  _Atomic uint64_t generation;           /* of the published configuration */
  _Atomic uint32_t connections;          /* stream connections of the whole process */
  _Atomic uint32_t open_calls;           /* toward all peers that have max_calls */
  _Atomic int64_t next_expiry;   /* earliest notAfter that verified connections rest on, 0: none */
  _Atomic bool reverify_pending; /* a connection came that was made under a former TLS domain */
};

/* The published configuration with a reference for the caller. Takes no lock. */
struct tl_conf *tl_runtime_conf(struct tl_runtime *rt);
/* A view of the caller's own of what is published; NULL when memory is short. Takes no lock. */
struct tl_view *tl_runtime_view(struct tl_runtime *rt);
/* The published view itself, until the caller publishes another one. Control thread only. */
static inline const struct tl_view *tl_runtime_published(struct tl_runtime *rt) {
  return atomic_load_explicit(&rt->view, memory_order_relaxed);
}
/* Publishes V (takes the caller's reference, the only one), waits until no reader can still be
 * taking the old one, drops it, and tells every thread if the configuration is another. Control
 * thread only. */
void tl_runtime_publish(struct tl_runtime *rt, struct tl_view *v);
/* A verified connection rests on something that ends AT (0: unknown). True when that is the next
 * such moment, so that the control thread must be woken. Any thread. */
bool tl_runtime_expiry(struct tl_runtime *rt, time_t at);
/* Sum of counter ID over all threads. */
uint64_t tl_runtime_counter(const struct tl_runtime *rt, enum tl_counter id);

/* Any thread, and nothing can fail: TH accepts no more and finishes what is there; or ends its
 * loop.
 */
void tl_thread_drain(struct tl_thread *th);
void tl_thread_stop(struct tl_thread *th);
