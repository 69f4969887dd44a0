/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handshake thread: its loop, its mail, the change to a new snapshot, drain
 * and stop. Workers never run a handshake; this thread never sees a SIP message.
 */
#include "hs/handshaker.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "tieline/container.h"
#include "tieline/handshaker.h"
#include "tieline/log.h"
#include "tieline/rcu.h"

#define RING_ENTRIES 1024
#define MAILBOX_CAP 65536
#define TURN_MS 1000u

static void arm_mail(struct tl_handshaker *hk) {
  struct io_uring_sqe *sqe = tl_ring_sqe(&hk->ring, &hk->mail_op);
  io_uring_prep_poll_add(sqe, hk->th.mailbox.efd, POLLIN);
  io_uring_sqe_set_data(sqe, &hk->mail_op);
}

/* Behind each order comes a wake-up. */
static void take_orders(struct tl_handshaker *hk) {
  if (atomic_load_explicit(&hk->th.stop, memory_order_acquire)) hk->stopping = true;
  if (hk->draining || !atomic_load_explicit(&hk->th.drain, memory_order_acquire)) return;
  hk->draining = true;
  tl_hk_listeners_close(hk);
}

static void on_mail(struct tl_op *op, int res, uint32_t flags) {
  (void)res, (void)flags;
  struct tl_handshaker *hk = tl_container_of(op, struct tl_handshaker, mail_op);
  tl_mailbox_rearm(&hk->th.mailbox);
  take_orders(hk);
  tl_count_add(&hk->th.counters, TL_C_MAIL_IN, tl_mailbox_deliver(&hk->th.mailbox, hk, UINT32_MAX));
  arm_mail(hk);
}

/* The ULP is attached before the TLS domain is known, so one domain that wants it suffices. */
static bool wants_kernel(const struct tl_conf *c, const struct tl_ktls_caps *caps) {
  bool fast = tl_ktls_any_fast(caps);
  for (size_t i = 0; i < c->n_domain; i++) {
    enum tl_records_mode m = c->domain[i]->policy.records;
    if (m == TL_RECORDS_AUTO) m = c->opt.records;
    if (m == TL_RECORDS_KERNEL || (m == TL_RECORDS_AUTO && fast)) return true;
  }
  return false;
}

static void adopt_view(struct tl_handshaker *hk) {
  uint64_t last = atomic_load_explicit(&hk->th.rt->published, memory_order_acquire);
  if (hk->view->published == last || hk->stopping) return;
  struct tl_view *old = hk->view, *now = tl_runtime_view(hk->th.rt);
  if (!now) return; /* the old one serves for another turn */
  hk->view = now;
  if (now->conf != old->conf) {
    hk->want_kernel = wants_kernel(now->conf, &hk->th.rt->caps);
    tl_hk_listeners_change(hk);
  }
  tl_view_unref(old);
}

/* A burst of handshakes leaves about 20 KB each in the allocator, which an idle process returns. */
static void give_back(struct tl_handshaker *hk, uint64_t *busy_ms) {
  uint64_t now = tl_now_ms();
  if (!cds_list_empty(&hk->conns)) *busy_ms = now;
  if (*busy_ms == 0 || now - *busy_ms < TURN_MS) return;
  malloc_trim(0);
  *busy_ms = 0;
}

static void run_turn(struct tl_handshaker *hk, uint64_t *busy_ms) {
  int rc = tl_ring_wait(&hk->ring, tl_wheel_next_ms(&hk->wheel, TURN_MS));
  if (rc < 0) {
    TL_LOG(TL_LOG_ERROR, "The handshake thread's ring failed.", TL_FC("cause", tl_strerror(rc)));
    hk->stopping = true;
    return;
  }
  tl_count(&hk->th.counters, TL_C_TURNS);
  tl_wheel_advance(&hk->wheel, tl_now_ms(), hk);
  adopt_view(hk);
  tl_ring_run(&hk->ring);
  tl_hk_turn_begin(hk);
  tl_hk_listeners_resume(hk);
  give_back(hk, busy_ms);
}

static int set_up(struct tl_handshaker *hk, char *err, size_t cap) {
  int rc = tl_ring_init(&hk->ring, RING_ENTRIES);
  if (rc) {
    tl_ring_why(rc, err, cap);
    return rc;
  }
  hk->ring_ok = true;
  tl_wheel_init(&hk->wheel, tl_now_ms());
  if (!(hk->view = tl_runtime_view(hk->th.rt))) return TL_ENOMEM;
  hk->want_kernel = wants_kernel(hk->view->conf, &hk->th.rt->caps);
  hk->mail_op.fn = on_mail;
  hk->retry.fn = tl_hk_retry;
  hk->stall.fn = tl_hk_turn_stalled;
  rc = tl_hk_listeners_open(hk, err, cap);
  if (rc == 0) arm_mail(hk);
  return rc;
}

static void tear_down(struct tl_handshaker *hk) {
  hk->stopping = true;
  tl_hk_listeners_close(hk);
  struct tl_hs_conn *c, *next;
  cds_list_for_each_entry_safe(c, next, &hk->conns, node) { tl_hk_conn_abort(c); }
  /* Cancelled operations complete in the next turns. */
  for (int i = 0; i < 1000 && (!cds_list_empty(&hk->conns) || hk->listeners); i++) {
    if (tl_ring_wait(&hk->ring, 10) < 0) break;
    tl_ring_run(&hk->ring);
  }
  tl_mailbox_deliver(&hk->th.mailbox, hk, UINT32_MAX); /* dials: each is answered, refused */
  tl_hk_answers_drop(hk);
  tl_timer_stop(&hk->wheel, &hk->stall);
  tl_ring_exit(&hk->ring);
  tl_hash_free(&hk->sources);
  tl_view_unref(hk->view);
}

static void report_start(struct tl_handshaker *hk, int rc) {
  pthread_mutex_lock(&hk->start_mu);
  hk->start_rc = rc;
  pthread_cond_signal(&hk->start_cv);
  pthread_mutex_unlock(&hk->start_mu);
}

static void *thread_main(void *arg) {
  struct tl_handshaker *hk = arg;
  uint64_t busy_ms = 0;
  char name[16];
  snprintf(name, sizeof(name), "handshake/%u", hk->th.index);
  pthread_setname_np(pthread_self(), name);
  tl_rcu_thread_begin();
  int rc = set_up(hk, hk->start_err, hk->start_cap);
  hk->start_err = NULL;
  if (rc == 0) {
    report_start(hk, 0);
    while (!hk->stopping) run_turn(hk, &busy_ms);
  }
  if (hk->ring_ok) tear_down(hk);
  tl_rcu_thread_end();
  if (rc) report_start(hk, rc);
  return NULL;
}

static void handshaker_free(struct tl_handshaker *hk) {
  tl_mailbox_destroy(&hk->th.mailbox);
  pthread_mutex_destroy(&hk->start_mu);
  pthread_cond_destroy(&hk->start_cv);
  free(hk);
}

static struct tl_handshaker *handshaker_new(void) {
  struct tl_handshaker *hk = calloc(1, sizeof(*hk));
  if (!hk) return NULL;
  CDS_INIT_LIST_HEAD(&hk->conns);
  struct tl_hs_line *lines[] = {&hk->hellos, &hk->turn, &hk->ready, &hk->begun, &hk->dials};
  for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) tl_hs_line_init(lines[i]);
  return hk;
}

int tl_handshaker_start(struct tl_runtime *rt, unsigned index, char *err, size_t cap) {
  struct tl_handshaker *hk = handshaker_new();
  if (!hk) return TL_ENOMEM;
  hk->th.rt = rt;
  hk->th.index = index;
  hk->th.takes = &tl_hk_dial_kind;
  hk->start_rc = 1;
  hk->start_err = err;
  hk->start_cap = cap;
  pthread_mutex_init(&hk->start_mu, NULL);
  pthread_cond_init(&hk->start_cv, NULL);
  int rc = tl_mailbox_init(&hk->th.mailbox, MAILBOX_CAP);
  if (rc == 0 && pthread_create(&hk->th.thread, NULL, thread_main, hk) != 0) rc = TL_ENOMEM;
  if (rc) {
    snprintf(err, cap, "a handshake thread cannot be made: %s", tl_strerror(rc));
    handshaker_free(hk);
    return rc;
  }
  pthread_mutex_lock(&hk->start_mu);
  while (hk->start_rc == 1) pthread_cond_wait(&hk->start_cv, &hk->start_mu);
  rc = hk->start_rc;
  pthread_mutex_unlock(&hk->start_mu);
  if (rc) {
    pthread_join(hk->th.thread, NULL);
    handshaker_free(hk);
    return rc;
  }
  hk->th.started = true;
  atomic_store_explicit(&rt->handshaker[index], &hk->th, memory_order_release);
  return TL_OK;
}

void tl_handshaker_stop(struct tl_runtime *rt, unsigned index) {
  struct tl_handshaker *hk = (struct tl_handshaker *)rt->handshaker[index];
  if (!hk || !hk->th.started) return;
  tl_thread_stop(&hk->th);
  pthread_join(hk->th.thread, NULL);
  hk->th.started = false;
  tl_mailbox_drop(&hk->th.mailbox);
}
