/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's network side: set-up, one turn of the loop, mail, and adopting a new
 * view. SIP is the handler's business.
 */
#include "tieline/net.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "net_internal.h"
#include "runtime/watchdog.h"
#include "tieline/container.h"
#include "tieline/time.h"

#define RING_ENTRIES 1024
#define RECV_SIZE 16384u
#define TURN_MS_MAX 1000u
#define EXIT_MS 500u
#define ROUNDS_MAX 4
/* Mails taken in one round: other threads' mail must not starve our own connections. */
#define MAILS_MAX 1024

static void arm_mail(struct tl_net *n) {
  struct io_uring_sqe *sqe = tl_ring_sqe(&n->ring, &n->mail_op);
  io_uring_prep_poll_add(sqe, n->th->mailbox.efd, POLLIN);
  io_uring_sqe_set_data(sqe, &n->mail_op);
}

/* Whoever sets one of these flags wakes the worker afterwards. */
static void take_orders(struct tl_net *n) {
  if (!n->stopping && atomic_load_explicit(&n->th->stop, memory_order_acquire)) n->stopping = true;
  if (n->draining || !atomic_load_explicit(&n->th->drain, memory_order_acquire)) return;
  n->draining = true;
  for (struct tl_listener *l = n->listeners, *next; l; l = next) {
    next = l->next;
    tl_accept_close(l);
  }
}

static void on_mail(struct tl_op *op, int res, uint32_t flags) {
  struct tl_net *n = tl_container_of(op, struct tl_net, mail_op);
  struct tl_mailbox *mb = &n->th->mailbox;
  (void)res;
  (void)flags;
  tl_mailbox_rearm(mb);
  take_orders(n);
  tl_count_add(n->counters, TL_C_MAIL_IN,
               n->stopping ? tl_mailbox_drop(mb) : tl_mailbox_deliver(mb, n, MAILS_MAX));
  if (tl_mailbox_depth(mb)) tl_mailbox_wake(mb); /* the rest */
  arm_mail(n);
}

/* ---- views ---- */

static int open_listener(struct tl_net *n, int i, char *err, size_t cap) {
  enum tl_transport t = n->view->conf->listen[i].transport;
  if (tl_transport_is_datagram(t)) return tl_udp_open(n, i, err, cap);
  /* Handshake threads listen for the secure transports. */
  return tl_transport_is_secure(t) ? TL_OK : tl_accept_open(n, i, err, cap);
}

/* A listener that was taken away may be there again. */
static void renumber_connections(struct tl_net *n, const struct tl_conf *now) {
  for (uint32_t s = 0; s < n->slots.n; s++) {
    struct tl_conn *c = n->slots.at[s].object;
    if (c && !c->view.outgoing)
      c->view.listener = tl_conf_listener_of(now, tl_conn_transport(c), &c->view.local);
  }
}

static bool is_open(const struct tl_net *n, enum tl_transport t, int i) {
  const struct tl_listener *l = n->listeners;
  if (tl_transport_is_secure(t)) return true;
  if (tl_transport_is_datagram(t)) return tl_udp_of(n, i) != NULL;
  while (l && (l->gone || l->index != i)) l = l->next;
  return l != NULL;
}

/* Those that the new snapshot adds, and those that could not be opened before. */
static void open_new_listeners(struct tl_net *n) {
  for (size_t i = 0; i < n->view->conf->n_listen; i++) {
    const struct tl_conf_listen *l = &n->view->conf->listen[i];
    char err[256] = "";
    if (is_open(n, l->transport, (int)i)) continue;
    if (open_listener(n, (int)i, err, sizeof(err)))
      TL_LOG(TL_LOG_ERROR, "A listener of the new configuration could not be opened.",
             TL_FC("listen", l->name), TL_FC("cause", err));
  }
}

/* Opens and closes what differs; connections stay. */
static void adopt_listeners(struct tl_net *n) {
  const struct tl_conf *now = n->view->conf;
  renumber_connections(n, now);
  for (struct tl_listener *l = n->listeners, *next; l; l = next) {
    next = l->next;
    l->index = tl_conf_listener_at(now, l->transport, &l->addr);
    if (l->index < 0 && !l->gone) tl_accept_close(l);
  }
  for (struct tl_udp *u = n->udps, *next; u; u = next) {
    next = u->next;
    u->index = tl_conf_listener_at(now, TL_UDP, &u->addr);
    if (u->index < 0 && !u->gone) tl_udp_close(u);
  }
  if (!n->draining) open_new_listeners(n);
}

/* Takes what has been published since the last turn. Without memory for it the old view serves
 * another turn. */
static void adopt_view(struct tl_net *n) {
  if (atomic_load_explicit(&n->rt->published, memory_order_acquire) == n->view->published) return;
  struct tl_view *old = n->view, *now = tl_runtime_view(n->rt);
  if (!now) return;
  n->view = now;
  if (now->conf != old->conf) adopt_listeners(n);
  tl_view_unref(old);
}

/* ---- set-up ---- */

static int memory_init(struct tl_net *n) {
  n->scratch_cap = (size_t)n->view->conf->limits.max_message + 65536;
  n->scratch = malloc(n->scratch_cap);
  n->send_scratch = calloc(TL_SEND_SCRATCH, sizeof(*n->send_scratch));
  if (!n->scratch || !n->send_scratch) return TL_ENOMEM;
  tl_pool_init(&n->conns, sizeof(struct tl_conn), 0);
  tl_pool_init(&n->chunks, sizeof(struct tl_chunk) + TL_CHUNK_CAP, 0);
  tl_pool_init(&n->refs, sizeof(struct tl_chunk), 0);
  tl_pool_init(&n->stash_small, TL_STASH_SMALL, 0);
  tl_pool_init(&n->stash_mid, TL_STASH_MID, 0);
  tl_pool_init(&n->dgram_small, 2048, 0);
  /* A moment later the same chunks are needed again. */
  n->chunks.keep = n->stash_mid.keep = n->dgram_small.keep = 8;
  return TL_OK;
}

static void memory_exit(struct tl_net *n) {
  free(n->scratch);
  free(n->send_scratch);
  tl_pipes_exit(&n->pipes);
  tl_hash_free(&n->by_key);
  tl_slots_free(&n->slots);
  tl_view_unref(n->view);
}

struct tl_net *tl_net_alloc(void) {
  return calloc(1, sizeof(struct tl_net));
}

int tl_net_init(struct tl_net *n, struct tl_thread *th, const struct tl_net_handler *h, void *proxy,
                char *err, size_t cap) {
  memset(n, 0, sizeof(*n));
  n->th = th;
  n->rt = th->rt;
  n->counters = &th->counters;
  th->takes = &tl_conn_handoff_kind;
  n->handler = h;
  n->proxy = proxy;
  n->view = tl_runtime_view(n->rt);
  if (!n->view) return TL_ENOMEM;
  n->now_ms = tl_now_ms();
  n->next_handshaker = th->index;
  n->mail_op.fn = on_mail;
  CDS_INIT_LIST_HEAD(&n->begun);
  tl_wheel_init(&n->wheel, n->now_ms);
  tl_pipes_init(&n->pipes, n->counters, &n->wheel);
  int rc = memory_init(n);
  if (rc == TL_OK) rc = tl_ring_init(&n->ring, RING_ENTRIES);
  if (rc) {
    tl_ring_why(rc, err, cap);
    memory_exit(n);
    return rc;
  }
  rc = tl_bufs_init(&n->bufs, &n->ring, 1, n->view->conf->limits.recv_buffers, RECV_SIZE);
  if (rc) tl_ring_why(rc, err, cap);
  for (size_t i = 0; i < n->view->conf->n_listen && rc == TL_OK; i++)
    rc = open_listener(n, (int)i, err, cap);
  if (rc == TL_OK)
    arm_mail(n);
  else
    tl_net_exit(n); /* closes the listeners opened before the one that failed */
  return rc;
}

static void end_of_turn(struct tl_net *n) {
  while (n->dirty) {
    struct tl_conn *c = n->dirty;
    n->dirty = c->dirty_next;
    tl_conn_end_of_turn(c);
  }
}

void tl_net_exit(struct tl_net *n) {
  n->draining = n->stopping = true; /* mail is only freed from here on */
  tl_audit_drop(n);
  for (struct tl_listener *l = n->listeners, *next; l; l = next) {
    next = l->next;
    if (!l->gone) tl_accept_close(l);
  }
  for (struct tl_udp *u = n->udps, *next; u; u = next) {
    next = u->next;
    if (!u->gone) tl_udp_close(u);
  }
  /* close_notify to all peers, then a short wait for bytes still on their way out. */
  for (uint32_t i = 0; i < n->slots.n; i++)
    if (n->slots.at[i].object) tl_conn_finish(n->slots.at[i].object);
  end_of_turn(n);
  uint64_t until = tl_now_ms() + EXIT_MS;
  while (n->n_conn && tl_now_ms() < until) tl_net_turn(n);
  for (uint32_t i = 0; i < n->slots.n; i++)
    if (n->slots.at[i].object) tl_conn_abort(n->slots.at[i].object, TL_ECLOSED);
  /* The completions of operations in flight free the rest; a bounded number of turns suffices. */
  for (int i = 0; i < 100 && (n->n_conn || n->dgrams_out || n->listeners || n->udps); i++)
    tl_net_turn(n);
  tl_audit_drop(n);
  tl_alias_exit(n);
  tl_bufs_exit(&n->bufs, &n->ring);
  if (n->dgrams.br) tl_bufs_exit(&n->dgrams, &n->ring);
  tl_ring_exit(&n->ring);
  memory_exit(n);
}

int tl_net_turn(struct tl_net *n) {
  int rc =
      tl_ring_wait(&n->ring, n->audits || n->later ? 0 : tl_wheel_next_ms(&n->wheel, TURN_MS_MAX));
  if (rc) return rc;
  tl_watchdog_turn_begin(n->th->index);
  n->send_scratch_n = 0;
  n->turn++;
  tl_recv_later(n);
  tl_count(n->counters, TL_C_TURNS);
  /* Time first: timers started by the completions must count from now, not from before the wait. */
  n->now_ms = tl_now_ms();
  tl_wheel_advance(&n->wheel, n->now_ms, n);
  adopt_view(n);
  tl_ring_run(&n->ring);
  /* Responses to input that arrived while we worked still leave with this turn's sends; no waiting.
   */
  for (int i = 0; i < ROUNDS_MAX && tl_ring_more(&n->ring); i++) tl_ring_run(&n->ring);
  tl_audit_turn(n);
  tl_unfinished_turn(n);
  end_of_turn(n);
  tl_watchdog_turn_end(n->th->index);
  return TL_OK;
}

int tl_net_listener_for(const struct tl_net *n, enum tl_transport t, const struct tl_addr *addr) {
  int any_of_transport = -1, any = -1;
  for (size_t i = 0; i < n->view->conf->n_listen; i++) {
    const struct tl_conf_listen *l = &n->view->conf->listen[i];
    if (any < 0) any = (int)i;
    if (l->transport != t) continue;
    if (l->addr.sa.sa_family == addr->sa.sa_family) return (int)i;
    if (any_of_transport < 0) any_of_transport = (int)i;
  }
  return any_of_transport >= 0 ? any_of_transport : any;
}
