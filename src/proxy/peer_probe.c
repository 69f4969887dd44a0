/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Probes: the first worker asks each address of each peer that is configured for it, by OPTIONS,
 * whether it takes requests, and notes the result for all workers (dest_health.h). It has a
 * deadline of its own, or a silent address would be found out only when the transaction ends. While
 * a name cannot be looked up the peer's last addresses stay, and they go on being asked.
 */
#include "peer_probe.h"

#include <stdlib.h>
#include <sys/random.h>

#include "dest_note.h"
#include "peer_share.h"
#include "probe_request.h"
#include "proxy.h"
#include "tieline/container.h"
#include "tieline/view.h"

#define STEP_MS 20    /* between the first probes of addresses that are new together */
#define LOOKS 4       /* in down_for, at an address that may have gone down */
#define AGAIN_MS 1000 /* until one that could not be sent is tried again, if that is sooner */

struct tl_probe {
  struct tl_probe *next;
  struct tl_probe *sibling; /* the next one of the same peer */
  struct tl_timer timer;    /* the deadline of the one that is out, else when the next is due */
  struct tl_proxy *proxy;
  struct tl_txn *txn;          /* the probe awaiting a response */
  struct tl_peer_state *peer;  /* a reference: whom it asks */
  struct tl_peer_share *share; /* that knows this probe */
  struct tl_dest_state *dest;  /* a reference: where */
  uint32_t interval_ms, cseq;
  uint64_t sent_ms, call_id;
  uint64_t at_ms; /* when the next one is due by the interval */
  bool wanted;
  bool unstarted; /* new, or with another interval: its timer is to be started */
  bool late;      /* its deadline ends it */
};

static const struct tl_conf_peer *peer_of(const struct tl_probe *pr) {
  return tl_view_peer(tl_net_view(pr->proxy->net), pr->peer->id);
}

/* ---- times ---- */

static void start_timer(struct tl_probe *pr, uint64_t at_ms) {
  const uint64_t now = tl_net_now_ms(pr->proxy->net);
  tl_timer_start(tl_net_wheel(pr->proxy->net), &pr->timer,
                 at_ms > now ? (uint32_t)(at_ms - now) : 0);
}

/* By the interval; sooner where one that is suspect or down is to be tried again. */
static uint64_t next_ms(const struct tl_probe *pr) {
  const uint64_t due_ms = tl_dest_due_of(pr->dest->health.word);
  return due_ms > pr->sent_ms && due_ms < pr->at_ms ? due_ms : pr->at_ms;
}

/* Requests of any worker may put it down meanwhile, so it is looked at several times in down_for.
 */
static void wait_for_next(struct tl_probe *pr) {
  const struct tl_conf_peer *peer = peer_of(pr);
  const uint64_t now = tl_net_now_ms(pr->proxy->net), at = next_ms(pr);
  const uint64_t look_ms = peer ? peer->rules.down_for_ms / LOOKS : pr->interval_ms;
  pr->dest->health.probe_at_ms = at > now ? at : now;
  start_timer(pr, at > now + look_ms ? now + look_ms : at);
}

/* It was never sent, which says nothing about the address: we have too much to do, or the handshake
 * threads have not started yet. */
static void wait_to_retry(struct tl_probe *pr) {
  const uint64_t now = tl_net_now_ms(pr->proxy->net);
  tl_dest_unclaim(&pr->dest->health, now);
  pr->at_ms = now + (pr->interval_ms < AGAIN_MS ? pr->interval_ms : AGAIN_MS);
  wait_for_next(pr);
}

/* ---- the outcome ---- */

static void note_outcome(struct tl_probe *pr, bool good, enum tl_dest_cause cause,
                         unsigned status) {
  const struct tl_conf_peer *peer = peer_of(pr);
  const uint64_t now = tl_net_now_ms(pr->proxy->net);
  if (!peer) return;
  tl_dest_happened(pr->dest, peer, good ? TL_DEST_PROBE_GOOD : TL_DEST_PROBE_FAILED, cause, status,
                   now);
  if (status) {
    pr->dest->health.probe_status = status;
    pr->dest->health.probe_rtt_ms = (uint32_t)(now - pr->sent_ms);
  }
  if (!good) tl_count(tl_proxy_counters(pr->proxy), TL_C_PROBES_LOST);
}

static void on_ended(struct tl_txn *txn, unsigned status, bool by_us) {
  struct tl_probe *pr = txn->user_data;
  const struct tl_conf_peer *peer = peer_of(pr);
  pr->txn = NULL;
  if (txn->overload) {
    wait_to_retry(pr);
    return;
  }
  if (by_us)
    note_outcome(pr, false, pr->late ? TL_DEST_BY_SILENCE : TL_DEST_BY_CONNECT, 0);
  else
    note_outcome(pr, peer && tl_status_set_has(&peer->probe_ok, status), TL_DEST_BY_STATUS, status);
  wait_for_next(pr);
}

static void on_gone(struct tl_txn *txn) {
  struct tl_probe *pr = txn->user_data;
  pr->txn = NULL;
}

static const struct tl_txn_user probe_user = {.ended = on_ended, .gone = on_gone};

/* ---- asking ---- */

static void send_probe(struct tl_probe *pr, const struct tl_conf_peer *peer) {
  struct tl_proxy *p = pr->proxy;
  const uint64_t now = tl_net_now_ms(p->net);
  pr->cseq++;
  pr->sent_ms = now;
  pr->at_ms = now + pr->interval_ms;
  tl_dest_claim(&pr->dest->health, &peer->rules, true, now);
  start_timer(pr, now + peer->opt.probe_timeout_ms);
  const struct tl_probe_request r = {.peer = peer,
                                     .dest = pr->dest,
                                     .user = &probe_user,
                                     .user_data = pr,
                                     .txn = &pr->txn,
                                     .call_id = pr->call_id,
                                     .cseq = pr->cseq};
  pr->dest->health.n_probe++;
  if (!tl_probe_request_send(p, &r)) wait_to_retry(pr);
}

static void give_up(struct tl_probe *pr) {
  struct tl_txn *txn = pr->txn;
  pr->late = true;
  tl_txn_user_ended(txn, 0, true);
  tl_txn_free(txn);
  pr->late = false;
}

/* By probe_mode when-down one that is up is left alone, and one that an administrator has put down
 * is in any case. */
static bool is_wanted(const struct tl_probe *pr, const struct tl_conf_peer *peer) {
  return peer && tl_net_view(pr->proxy->net)->conf->n_listen &&
         tl_peer_admin_of(&pr->peer->admin, &pr->dest->addr) != TL_ADMIN_DOWN &&
         (peer->opt.probe_mode == TL_PROBE_ALWAYS || tl_dest_due_of(pr->dest->health.word));
}

static void on_timer(struct tl_timer *t, void *arg) {
  struct tl_probe *pr = tl_container_of(t, struct tl_probe, timer);
  struct tl_proxy *p = pr->proxy;
  (void)arg;
  if (pr->txn) {
    give_up(pr); /* and waits for the next one */
    return;
  }
  if (tl_net_head(p->net)->draining) return;
  const struct tl_conf_peer *peer = peer_of(pr);
  const uint64_t now = tl_net_now_ms(p->net);
  if (now >= next_ms(pr) && is_wanted(pr, peer)) {
    send_probe(pr, peer);
    return;
  }
  if (now >= pr->at_ms) pr->at_ms = now + pr->interval_ms;
  wait_for_next(pr);
}

/* ---- which addresses are probed ---- */

static struct tl_probe **place_of(struct tl_peer_share *share, const struct tl_dest_state *dest) {
  struct tl_probe **at = &share->probe;
  while (*at && (*at)->dest != dest) at = &(*at)->sibling;
  return at;
}

/* Where the peer is no longer asked, what its addresses were found to be must not stay. An address
 * that the peer does not have now may come back, and is then what it was. */
static void forget_findings(struct tl_probe *pr) {
  static const struct tl_dest_rules none;
  const struct tl_conf_peer *peer = peer_of(pr);
  struct tl_dest_health *h = &pr->dest->health;
  h->probe_at_ms = 0;
  h->n_prober--;
  if (peer && !peer->opt.probe_ms)
    tl_dest_note(h, TL_DEST_UNPROBED, TL_DEST_NO_CAUSE, 0, &none, tl_net_now_ms(pr->proxy->net));
}

static void drop_probe(struct tl_proxy *p, struct tl_probe **at) {
  struct tl_probe *pr = *at;
  *at = pr->next;
  if (pr->txn) tl_txn_free(pr->txn);
  forget_findings(pr);
  tl_timer_stop(tl_net_wheel(p->net), &pr->timer);
  *place_of(pr->share, pr->dest) = pr->sibling;
  tl_dest_state_unref(pr->dest);
  tl_peer_state_unref(pr->peer);
  free(pr);
}

static struct tl_probe *probe_new(struct tl_proxy *p, const struct tl_conf_peer *peer,
                                  struct tl_peer_share *share, struct tl_dest_state *dest) {
  struct tl_probe *pr = calloc(1, sizeof(*pr));
  if (!pr) return NULL;
  if (getrandom(&pr->call_id, sizeof(pr->call_id), GRND_NONBLOCK) < 0) pr->call_id = (uintptr_t)pr;
  pr->proxy = p;
  pr->peer = tl_peer_state_ref(peer->state);
  pr->dest = tl_dest_state_ref(dest);
  dest->health.n_prober++;
  pr->timer.fn = on_timer;
  pr->share = share;
  *place_of(share, dest) = pr;
  pr->next = p->probes;
  p->probes = pr;
  return pr;
}

static void want_probe(struct tl_proxy *p, const struct tl_conf_peer *peer,
                       struct tl_dest_state *dest) {
  struct tl_peer_share *share = tl_peer_share_of(p, peer);
  struct tl_probe *pr = share ? *place_of(share, dest) : NULL;
  if (share && !pr) pr = probe_new(p, peer, share, dest);
  if (!pr) return;
  pr->wanted = true;
  pr->unstarted = pr->interval_ms != peer->opt.probe_ms;
  pr->interval_ms = peer->opt.probe_ms;
}

/* An address that is a listener of ours gets no requests. */
static void want_probes(struct tl_proxy *p, const struct tl_peer_table *t, size_t number) {
  const struct tl_conf_peer *peer = &t->peer[number];
  for (size_t k = 0; peer->opt.probe_ms && k < t->addrs[number]->n; k++) {
    struct tl_dest_state *dest = tl_peer_table_dest(t, peer, k);
    if (!tl_conf_is_listener(tl_net_view(p->net)->conf, dest->transport, &dest->addr))
      want_probe(p, peer, dest);
  }
}

/* A few are asked at once; the first probes of many are spread over their interval, and so are all
 * that follow. */
static void start_probes(struct tl_proxy *p) {
  uint64_t n = 0, i = 0;
  for (struct tl_probe *pr = p->probes; pr; pr = pr->next) n += pr->unstarted;
  for (struct tl_probe *pr = p->probes; pr; pr = pr->next) {
    if (!pr->unstarted) continue;
    pr->unstarted = false;
    if (pr->txn) continue; /* the next one comes with the new interval */
    const uint64_t step_ms = i * STEP_MS, share_ms = i * pr->interval_ms / n;
    i++;
    pr->at_ms = tl_net_now_ms(p->net) + (step_ms < share_ms ? step_ms : share_ms);
    start_timer(pr, pr->at_ms);
  }
}

void tl_peer_probe_refresh(struct tl_proxy *p) {
  const struct tl_peer_table *t = tl_net_view(p->net)->peers;
  if (p->th.index != 0 || p->probed_generation == t->generation) return;
  p->probed_generation = t->generation;
  for (struct tl_probe *pr = p->probes; pr; pr = pr->next) pr->wanted = false;
  for (size_t i = 0; i < t->n; i++) want_probes(p, t, i);
  for (struct tl_probe **at = &p->probes; *at;)
    if ((*at)->wanted)
      at = &(*at)->next;
    else
      drop_probe(p, at);
  start_probes(p);
}

void tl_peer_probe_exit(struct tl_proxy *p) {
  while (p->probes) drop_probe(p, &p->probes);
}
