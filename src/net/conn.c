/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a stream connection: made, dialed, adopted from a handshake thread,
 * looked after by its timer, ended with a turn, freed. Bytes are the business of
 * recv.c and send.c, changes of state conn_state.c's, finding it again
 * conn_table.c's.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net_internal.h"
#include "runtime/handoff.h"
#include "runtime/sources.h"
#include "tieline/container.h"
#include "tieline/log_limit.h"
#include "tieline/tls_domain.h"

#define CHECK_MS_MIN 100u
#define POST_HS_MS 5000u /* for a server that sends no session ticket */
/* How often a retiring connection is checked, and how long it must have been silent to count as
 * idle: a message that the peer has just sent is still on its way. */
#define RETIRED_QUIET_MS 1000u

/* ---- timers ---- */

/* How long its peer may go without reading; 0: forever. */
static uint32_t send_ms(const struct tl_conn *c) {
  const struct tl_tls_domain *d = c->kept.tls ? c->view.tls->domain : NULL;
  const uint32_t own = d ? d->policy.send_timeout_ms : 0;
  return own ? own : c->net->view->conf->timeouts.send;
}

/* The same while the connection ends. A peer that has closed and reads nothing may have vanished
 * silently: its window stays shut, and the kernel probes it at growing intervals. */
#define CLOSED_MS 10000u

static uint32_t finish_ms(const struct tl_conn *c) {
  return c->view.peer_ended && (!send_ms(c) || send_ms(c) > CLOSED_MS) ? CLOSED_MS : send_ms(c);
}

static uint32_t check_ms(const struct tl_conn *c) {
  const struct tl_conf_timeouts *t = &c->net->view->conf->timeouts;
  uint32_t ms = send_ms(c) ? send_ms(c) : 60000;
  if (t->idle && t->idle < ms) ms = t->idle;
  ms /= 2;
  if (c->life.retired) return TL_RETIRED_CHECK_MS;
  uint64_t age = c->net->now_ms - c->kept.born_ms;
  if (c->kept.max_age_ms && c->view.state == TL_CONN_OPEN && age + ms > c->kept.max_age_ms)
    ms = c->kept.max_age_ms > age ? (uint32_t)(c->kept.max_age_ms - age) : 0;
  return ms < CHECK_MS_MIN ? CHECK_MS_MIN : ms;
}

static void log_stuck(struct tl_conn *c) {
  char peer[TL_ADDR_STRLEN];
  TL_LOG_FROM(&c->view.peer, NULL, TL_LOG_WARN,
              "Resetting a connection whose peer has stopped reading.",
              TL_FC("peer", tl_addr_format(&c->view.peer, peer)),
              TL_FI("queued_bytes", c->kept.out.bytes), TL_FI("timeout_ms", send_ms(c)));
}

/* Nothing is under way on it in either direction, including the ACK to a last answer. A busy
 * connection may never be quiet: in its last seconds a moment without a transaction is enough. */
static bool at_rest(const struct tl_conn *c) {
  uint64_t now = c->net->now_ms, end = c->life.spared ? tl_conn_spared_until(c) : c->retire_until;
  bool last_chance = c->retire_until && now + 2 * RETIRED_QUIET_MS >= end;
  bool quiet =
      now - c->kept.active_ms >= RETIRED_QUIET_MS && now - c->answered_ms >= TL_RETIRED_ACK_MS;
  return !c->view.owner.user && !c->view.n_open_requests && !c->kept.out.bytes &&
         !c->kept.plain.n && !c->kept.cipher.n && !c->kept.held.n && !c->big &&
         (last_chance || quiet);
}

/* A call being set up is not cut because we would like a new connection. */
static void spare_calls(struct tl_conn *c) {
  uint64_t soon = c->net->now_ms + TL_RETIRE_MS, most = tl_conn_spared_until(c);
  uint64_t until = soon < most ? soon : most;
  /* At every check, so that an answer just before the deadline still leaves time for its ACK. */
  if (!c->retire_until || c->retire_until >= until || !tl_conn_asked(c)) return;
  c->retire_until = until;
  c->life.spared = true;
}

static void check_retired(struct tl_conn *c) {
  uint64_t now = c->net->now_ms;
  if (c->kept.max_age_ms && !c->life.retired && now - c->kept.born_ms >= c->kept.max_age_ms) {
    tl_count(c->net->counters, TL_C_CONN_AGED);
    tl_conn_retire(c, c->net->view->conf->timeouts.retire);
  }
  if (c->life.retired) spare_calls(c);
  if (c->life.retired && (at_rest(c) || (c->retire_until && now >= c->retire_until)))
    tl_conn_finish(c);
}

/* Timers run before the turn's completions, so bytes that the kernel took while this thread was not
 * running are only seen later in this turn: the peer is blamed in a later turn at the earliest. */
static void judge_overdue(struct tl_conn *c) {
  const uint64_t now = c->net->now_ms;
  if (!c->overdue_ms || c->overdue_ms == now) {
    c->overdue_ms = now; /* the wheel may fire again within this turn */
    tl_timer_start(&c->net->wheel, &c->timer, 0);
    return;
  }
  tl_count(c->net->counters, TL_C_CONN_STUCK);
  log_stuck(c);
  tl_conn_abort(c, TL_ETIMEOUT);
}

static void on_timer(struct tl_timer *t, void *arg) {
  struct tl_conn *c = tl_container_of(t, struct tl_conn, timer);
  const struct tl_conf_timeouts *lim = &c->net->view->conf->timeouts;
  uint64_t now = c->net->now_ms;
  (void)arg;
  if (c->view.state == TL_CONN_DIALING) {
    tl_conn_abort(c, TL_ETIMEOUT);
    return;
  }
  if (c->view.state == TL_CONN_FINISHING) {
    bool late = !c->kept.out.bytes || (c->tx.busy && now - c->progress_ms >= finish_ms(c)) ||
                tl_slow_now(c, send_ms(c));
    if (late) {
      tl_conn_abort(c, TL_OK);
      return;
    }
    tl_timer_start(&c->net->wheel, &c->timer, TL_LINGER_MS);
    return;
  }
  /* Bytes queued in this turn have had no chance to leave yet. */
  if (c->kept.out.bytes && c->tx.busy && now - c->progress_ms >= send_ms(c)) {
    judge_overdue(c);
    return;
  }
  if (tl_slow_now(c, send_ms(c))) {
    tl_count(c->net->counters, TL_C_CONN_SLOW);
    tl_slow_log(c);
    tl_conn_abort(c, TL_ETIMEOUT);
    return;
  }
  if (c->view.peer_ended) {
    tl_half_check(c);
    return;
  }
  if (lim->idle && now - c->kept.active_ms >= lim->idle && !c->kept.out.bytes &&
      !tl_conn_asked(c)) {
    tl_count(c->net->counters, TL_C_CONN_IDLE);
    tl_conn_finish(c);
    return;
  }
  tl_keys_check(c);
  if (c->kept.tls && c->kept.tls->post_hs && c->net->now_ms - c->kept.born_ms > POST_HS_MS)
    tl_conn_post_hs_end(c->kept.tls);
  check_retired(c);
  if (c->view.state == TL_CONN_OPEN) tl_timer_start(&c->net->wheel, &c->timer, check_ms(c));
}

/* ---- making and freeing ---- */

struct tl_conn *tl_conn_new(struct tl_net *n, enum tl_transport t, const struct tl_addr *peer) {
  struct tl_conn *c = tl_pool_get(&n->conns);
  if (!c) return NULL;
  memset(c, 0, sizeof(*c));
  if (tl_slots_take(&n->slots, c, &c->slot, &c->gen)) {
    tl_pool_put(&n->conns, c);
    return NULL;
  }
  c->net = n;
  c->framer = tl_framer_of(t);
  c->kept.fd = -1;
  c->view.transport = (uint8_t)t;
  c->view.listener = -1;
  c->view.peer = *peer;
  c->recv_op.fn = tl_recv_done;
  c->send_op.fn = tl_send_done;
  c->timer.fn = on_timer;
  c->pend_tail = &c->pend_head;
  c->kept.born_ms = c->kept.active_ms = c->progress_ms = n->now_ms;
  n->n_conn++;
  tl_count(n->counters, TL_C_CONN_NOW);
  return c;
}

static void tls_free(struct tl_conn_tls *t) {
  if (!t) return;
  tl_record_free(t->record);
  if (t->rekey) {
    explicit_bzero(t->rekey, sizeof(*t->rekey));
    free(t->rekey);
  }
  tl_conn_post_hs_end(t);
  if (t->facts.domain) tl_tls_domain_unref(t->facts.domain);
  tl_identity_unref(t->facts.identity);
  tl_identity_unref(t->facts.own);
  free(t->facts.sni);
  free(t);
}

static void conn_free(struct tl_conn *c) {
  struct tl_net *n = c->net;
  tl_timer_stop(&n->wheel, &c->timer);
  tl_send_drop(c);
  tl_send_drop_pending(c);
  tl_big_drop(c);
  tl_stash_drop(n, &c->kept.cipher);
  tl_stash_drop(n, &c->kept.plain);
  tl_stash_drop(n, &c->kept.held);
  free(c->kept.skipping);
  tl_unfinished_leave(c);
  tl_recv_forget(c);
  if (c->framer->drop) c->framer->drop(c);
  tls_free(c->kept.tls);
  free(c->kept.identity);
  free(c->kept.sni);
  tl_binding_unref(c->kept.binding);
  if (c->kept.fd >= 0) close(c->kept.fd);
  if (c->life.counted) atomic_fetch_sub(&n->rt->connections, 1);
  if (c->life.counted && !c->view.outgoing) tl_conn_source_leave(&c->view.peer);
  tl_slots_give(&n->slots, c->slot);
  n->n_conn--;
  tl_count_sub(n->counters, TL_C_CONN_NOW, 1);
  tl_pool_put(&n->conns, c);
}

/* ---- dialing ---- */

static void on_connected(struct tl_op *op, int res, uint32_t flags) {
  struct tl_conn *c = tl_container_of(op, struct tl_conn, send_op);
  (void)flags;
  c->tx.busy = false;
  c->send_op.fn = tl_send_done;
  tl_conn_mark(c);
  if (c->view.state == TL_CONN_CLOSING) return;
  if (res < 0) {
    char peer[TL_ADDR_STRLEN];
    TL_LOG_FROM(&c->view.peer, NULL, TL_LOG_WARN, "An outgoing connection failed.",
                TL_FC("peer", tl_addr_format(&c->view.peer, peer)),
                TL_FC("transport", tl_transport_name(c->view.transport)),
                TL_FC("cause", strerror(-res)));
    tl_conn_abort(c, TL_EIO);
    return;
  }
  tl_count(c->net->counters, TL_C_CONN_DIALED);
  tl_unreached_forget(c->net, &c->view.peer);
  tl_conn_opened(c);
}

static int dial_tcp(struct tl_conn *c) {
  int one = 1;
  /* Blocking: with O_NONBLOCK io_uring returns EAGAIN instead of waiting for the socket. */
  c->kept.fd = socket(c->view.peer.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (c->kept.fd < 0) return TL_EIO;
  setsockopt(c->kept.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  atomic_fetch_add(&c->net->rt->connections, 1);
  c->life.counted = true;
  c->send_op.fn = on_connected;
  struct io_uring_sqe *sqe = tl_ring_sqe(&c->net->ring, &c->send_op);
  io_uring_prep_connect(sqe, c->kept.fd, &c->view.peer.sa, tl_addr_len(&c->view.peer));
  io_uring_sqe_set_data(sqe, &c->send_op);
  c->tx.busy = true;
  return TL_OK;
}

static uint32_t handshake_ms(const struct tl_net *n, const struct tl_conn_key *k) {
  uint32_t own = k->domain ? k->domain->policy.handshake_timeout_ms : 0;
  return own ? own : n->view->conf->timeouts.handshake;
}

static int dial_tls(struct tl_conn *c, const struct tl_conn_key *k) {
  struct tl_net *n = c->net;
  if (n->rt->n_handshaker == 0 || !k->domain) return TL_ENOTSUP;
  /* Workers start first, so a message may arrive before the handshake threads are up. */
  struct tl_thread *h = atomic_load_explicit(
      &n->rt->handshaker[n->next_handshaker++ % n->rt->n_handshaker], memory_order_acquire);
  if (!h) return TL_EBUSY;
  struct tl_dial *d = calloc(1, sizeof(*d));
  if (!d) return TL_ENOMEM;
  d->worker = n->th->index;
  d->conn = tl_conn_id_of(c);
  d->addr = k->addr;
  d->domain = tl_tls_domain_ref(k->domain);
  strncpy(d->sni, k->sni ? k->sni : "", sizeof(d->sni) - 1);
  strncpy(d->verify_name, k->identity ? k->identity : "", sizeof(d->verify_name) - 1);
  d->connect_timeout_ms = n->view->conf->timeouts.connect;
  d->handshake_timeout_ms = handshake_ms(n, k);
  d->conf_generation = n->view->conf->generation;
  int rc = tl_dial_post(h, d);
  if (rc == TL_OK) return rc;
  tl_count(n->counters, TL_C_MAIL_FULL);
  tl_dial_free(d);
  return rc;
}

struct tl_conn *tl_conn_find(struct tl_net *n, const struct tl_conn_key *k) {
  struct tl_conn *c = tl_conn_keyed(n, k);
  return c ? c : tl_alias_find(n, k);
}

static int dial(struct tl_net *n, const struct tl_conn_key *k, struct tl_conn **out) {
  if (!tl_conn_room(n->view, atomic_load(&n->rt->connections), NULL)) {
    tl_count(n->counters, TL_C_CONN_REFUSED);
    return TL_ELIMIT;
  }
  struct tl_conn *c = tl_conn_new(n, k->transport, &k->addr);
  if (!c) return TL_ENOMEM;
  c->view.outgoing = true;
  c->picked = ++n->n_picked;
  c->kept.max_age_ms = k->max_age_ms;
  c->view.state = TL_CONN_DIALING;
  int rc = TL_OK;
  if (tl_transport_is_secure(k->transport)) {
    c->kept.identity = strdup(k->identity ? k->identity : "");
    c->kept.sni = strdup(k->sni ? k->sni : "");
    c->kept.binding = tl_binding_ref(k->binding);
    c->kept.domain_generation = k->domain ? k->domain->generation : 0;
    rc = c->kept.identity && c->kept.sni ? dial_tls(c, k) : TL_ENOMEM;
  } else {
    rc = dial_tcp(c);
  }
  if (rc) {
    conn_free(c);
    return rc;
  }
  tl_conn_key_add(c);
  uint32_t ms = n->view->conf->timeouts.connect;
  /* The handshake thread has its own deadlines; this one covers only the loss of its answer. */
  if (tl_transport_is_secure(k->transport)) ms += handshake_ms(n, k) + 2000;
  tl_timer_start(&n->wheel, &c->timer, ms);
  *out = c;
  return TL_OK;
}

int tl_conn_open(struct tl_net *n, const struct tl_conn_key *k, struct tl_conn **out) {
  struct tl_conn *another;
  bool more = false;
  *out = k->n_conn ? tl_conn_spread(n, k, &more) : tl_conn_find(n, k);
  if (!*out) return dial(n, k, out);
  /* Who waits for a dial anyway waits for the new one, else it is dialed for those to come. */
  if (more && dial(n, k, &another) == TL_OK && (*out)->view.state == TL_CONN_DIALING)
    *out = another;
  return TL_OK;
}

/* Connections that began together must not end together: 10 % either way. */
static uint32_t jitter_ms(const struct tl_conn *c, uint32_t ms) {
  uint64_t r = (tl_conn_id_of(c) ^ c->kept.born_ms << 20) * 0x9e3779b97f4a7c15u >> 40;
  uint64_t fifth = (uint64_t)ms / 5;
  return (uint32_t)(ms - ms / 10 + (fifth ? r % (fifth + 1) : 0));
}

/* The shorter of the peer's max_age, which came with the key, and the TLS domain's. */
static void set_max_age(struct tl_conn *c) {
  const struct tl_tls_domain *d = c->kept.tls ? c->view.tls->domain : NULL;
  uint32_t peer = c->kept.max_age_ms, domain = d ? d->policy.max_age_ms : 0;
  uint32_t ms = !peer || (domain && domain < peer) ? domain : peer;
  c->kept.max_age_ms = ms ? jitter_ms(c, ms) : 0;
}

void tl_conn_opened(struct tl_conn *c) {
  socklen_t len = sizeof(c->view.local);
  c->view.state = TL_CONN_OPEN;
  c->kept.active_ms = c->progress_ms = c->net->now_ms;
  set_max_age(c);
  if (c->view.local.sa.sa_family == 0) getsockname(c->kept.fd, &c->view.local.sa, &len);
  /* An accepted TLS connection serves no key, see fits_key(). */
  if (!c->life.hashed && (c->view.outgoing || !tl_transport_is_secure(c->view.transport)))
    tl_conn_key_add(c);
  tl_timer_start(&c->net->wheel, &c->timer, check_ms(c));
  tl_relay_arm(c);
  if (tl_send_pending(c)) tl_conn_abort(c, TL_ENOMEM);
}

/* ---- connections that a handshake thread made ---- */

static int take_tls(struct tl_conn *c, struct tl_handoff *h) {
  struct tl_conn_tls *t = calloc(1, sizeof(*t));
  if (!t) return TL_ENOMEM;
  t->record = h->record;
  t->facts.domain = h->domain;
  t->facts.identity = h->identity;
  t->facts.own = h->own;
  t->rekey = h->rekey;
  t->facts.sni = h->sni;
  t->facts.ktls = h->ktls;
  t->facts.version = (uint16_t)h->version;
  t->facts.cipher = (uint8_t)h->cipher;
  t->facts.peer_verified = h->peer_verified;
  t->facts.resumed = h->resumed;
  t->facts.server = h->server;
  c->kept.tls = t;
  c->view.tls = &t->facts;
  c->kept.fd = h->fd;
  c->view.local = h->local;
  c->life.counted = true;
  t->post_hs = h->post_hs;
  h->post_hs = NULL;
  h->record = NULL;
  h->domain = NULL;
  h->identity = h->own = NULL;
  h->rekey = NULL;
  h->sni = NULL;
  h->fd = -1;
  return TL_OK;
}

/* Beyond the TLS domain's trust, a peer may be bound to certain authorities or keys. */
static bool check_peer_binding(struct tl_conn *c) {
  const struct tl_tls_facts *t = c->view.tls;
  char peer[TL_ADDR_STRLEN];
  if (tl_binding_holds(c->kept.binding, t->identity, t->peer_verified)) return true;
  tl_count(c->net->counters, TL_C_CONN_NOT_BOUND);
  TL_LOG_FROM(&c->view.peer, NULL, TL_LOG_WARN,
              "An outgoing TLS connection is not used: its certificate is under none of the peer's "
              "ca_list, or holds none of its spki_sha256 keys.",
              TL_FC("peer", tl_addr_format(&c->view.peer, peer)),
              TL_FC("required_name", c->kept.identity),
              TL_FC("subject", t->identity ? t->identity->subject : ""),
              TL_FC("anchor", t->identity && t->identity->anchor ? t->identity->anchor : ""),
              TL_FC("spki_sha256", t->identity ? t->identity->spki_sha256 : ""));
  return false;
}

void tl_conn_adopt(struct tl_net *n, struct tl_handoff *h) {
  struct tl_conn *c = h->conn ? tl_conn_get(n, h->conn) : NULL;
  if ((h->conn && (!c || c->view.state != TL_CONN_DIALING)) || h->rc) {
    if (c && c->view.state == TL_CONN_DIALING) tl_conn_abort(c, h->rc);
    tl_handoff_free(h);
    return;
  }
  if (!c) {
    c = tl_conn_new(n, h->transport, &h->peer);
    /* A reload may have come between: the number would be that of another. */
    if (c) c->view.listener = tl_conf_listener_of(n->view->conf, h->transport, &h->local);
  }
  if (!c || take_tls(c, h)) {
    if (!h->conn) tl_count(n->counters, TL_C_CONN_REFUSED);
    if (c) tl_conn_abort(c, TL_ENOMEM);
    tl_handoff_free(h);
    return;
  }
  bool ask = h->ocsp_ask;
  tl_handoff_free(h);
  if (!check_peer_binding(c)) {
    tl_conn_reject(c, TL_ALERT_ACCESS_DENIED, TL_EVERIFY);
    return;
  }
  if (ask && tl_park_ask(c)) {
    tl_conn_reject(c, TL_ALERT_CERTIFICATE_UNKNOWN, TL_ELIMIT);
    return;
  }
  tl_conn_opened(c);
  tl_audit_adopted(c);
}

static void deliver_handoff(void *reader, struct tl_mail *m) {
  tl_conn_adopt(reader, (struct tl_handoff *)m);
}

static void drop_handoff(struct tl_mail *m) { tl_handoff_free((struct tl_handoff *)m); }

const struct tl_mail_kind tl_conn_handoff_kind = {"handoff", deliver_handoff, drop_handoff};

/* ---- ending ---- */

static void continue_finishing(struct tl_conn *c) {
  if (c->tx.alert && !tl_alert_in_kernel(c)) return;
  tl_relay_flush(c);
  if (c->kept.out.bytes || c->tx.busy || c->view.state != TL_CONN_FINISHING) return;
  if (c->kept.tls && !c->tx.notify_sent) {
    tl_send_close_notify(c);
    tl_relay_flush(c);
    if (c->kept.out.bytes || c->view.state != TL_CONN_FINISHING) return;
  }
  if (c->view.peer_ended) {
    tl_conn_abort(c, TL_OK);
    return;
  }
  /* Closing with unread input would make the kernel send a reset, which destroys what we have sent:
   * read to the end of the stream. */
  if (!c->tx.fin_sent) {
    c->tx.fin_sent = true;
    shutdown(c->kept.fd, SHUT_WR);
  }
  tl_relay_arm(c);
}

void tl_conn_end_of_turn(struct tl_conn *c) {
  c->life.marked = false;
  if (c->tx.broken) tl_conn_abort(c, c->tx.no_memory ? TL_ENOMEM : TL_EIO);
  switch ((enum tl_conn_state)c->view.state) {
  case TL_CONN_DIALING: break;
  case TL_CONN_OPEN:
    if (c->kept.held.n && !c->rx.paused && !c->rx.later) tl_recv_held(c);
    if (tl_conn_half_closed(c)) tl_half_turn(c);
    if (c->tx.rekey && c->view.state == TL_CONN_OPEN) tl_keys_turn(c);
    if (c->tx.no_reneg && c->view.state == TL_CONN_OPEN) tl_alert_no_reneg(c);
    tl_relay_flush(c);
    tl_keys_check(c);
    if (c->view.state == TL_CONN_OPEN) tl_relay_arm(c);
    break;
  case TL_CONN_FINISHING: continue_finishing(c); break;
  case TL_CONN_CLOSING: break;
  }
  if (c->view.state == TL_CONN_CLOSING && !c->rx.armed && !c->tx.busy && !c->life.marked)
    conn_free(c);
}
