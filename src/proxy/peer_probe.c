/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Probes: the first worker asks each peer that is configured for it, by OPTIONS, whether it is
 * alive, and records the result for all workers (health.h). A probe is a transaction like any
 * other, failover over the peer's addresses included, but without a client: its response ends
 * here.
 */
#include "peer_probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "peer_share.h"
#include "plan.h"
#include "proxy.h"
#include "saved.h"
#include "stage.h"
#include "target.h"
#include "tieline/container.h"
#include "tieline/view.h"
#include "token.h"
#include "txn.h"

#define DOWN_AFTER 3     /* consecutive failed probes */
#define PATIENCE_MS 2000 /* the least time given for a response, however short the interval */
#define STEP_MS 20       /* between the first probes of peers that are new together */

struct tl_probe {
  struct tl_probe *next;
  struct tl_timer timer;
  struct tl_proxy *proxy;
  struct tl_txn *txn;          /* the probe awaiting a response */
  struct tl_peer_state *peer;  /* a reference: whom it asks */
  struct tl_peer_share *share; /* that knows this probe */
  char *uri;                   /* that it asks by */
  uint32_t interval_ms, cseq;
  uint64_t sent_ms, call_id;
  bool wanted;
  bool unstarted; /* new, or with another interval: its timer is to be started */
};

/* ---- the outcome ---- */

static void note_failure(struct tl_probe *pr, unsigned status) {
  struct tl_health *h = &pr->peer->health;
  h->status = status;
  h->lost++;
  tl_count(tl_proxy_counters(pr->proxy), TL_C_PROBES_LOST);
  if (++h->failures < DOWN_AFTER || h->down) return;
  h->down = true;
  TL_LOG(TL_LOG_WARN, "A peer does not answer its probes; routes pass it over.",
         TL_FC("peer", pr->peer->name), TL_FI("failures", h->failures), TL_FI("status", status));
}

static void note_answer(struct tl_probe *pr, unsigned status) {
  struct tl_health *h = &pr->peer->health;
  h->status = status;
  h->rtt_ms = (uint32_t)(tl_net_now_ms(pr->proxy->net) - pr->sent_ms);
  h->failures = 0;
  if (!h->down) return;
  h->down = false;
  TL_LOG(TL_LOG_INFO, "A peer answers its probes again; routes use it.",
         TL_FC("peer", pr->peer->name), TL_FI("status", status));
}

static void on_ended(struct tl_txn *txn, unsigned status, bool by_us) {
  struct tl_probe *pr = txn->user_data;
  pr->txn = NULL;
  if (txn->overload) return; /* it was never sent, which says nothing about the peer */
  /* Any response is a sign of life except the one that asks for no requests (RFC 3261 21.5.4). */
  if (by_us || status == 503)
    note_failure(pr, by_us ? 0 : status);
  else
    note_answer(pr, status);
}

static void on_gone(struct tl_txn *txn) {
  struct tl_probe *pr = txn->user_data;
  pr->txn = NULL;
}

static const struct tl_txn_user probe_user = {.ended = on_ended, .gone = on_gone};

/* ---- asking ---- */

/* The listener at which PEER reaches us: one of its own transport if there is one. */
static const struct tl_conf_listen *reached_at(const struct tl_conf *conf,
                                               const struct tl_conf_peer *peer) {
  for (size_t i = 0; i < conf->n_listen; i++)
    if (conf->listen[i].transport == peer->transport) return &conf->listen[i];
  return &conf->listen[0];
}

static size_t build_options(struct tl_probe *pr, const struct tl_conf *conf,
                            const struct tl_conf_peer *peer, struct tl_flow *from, char *out,
                            size_t cap) {
  const struct tl_conf_listen *l = reached_at(conf, peer);
  const char *host = l->advertise_host;
  if (tl_addr_parse(tl_str_c(host), 0, &from->addr)) from->addr = l->addr;
  int n = snprintf(out, cap,
                   "OPTIONS %s SIP/2.0\r\n"
                   "Via: SIP/2.0/TCP %s;branch=z9hG4bKprobe%016llx%x\r\n"
                   "Max-Forwards: 70\r\n"
                   "From: <sip:%s>;tag=%08x\r\n"
                   "To: <%s>\r\n"
                   "Call-ID: %016llx@%s\r\n"
                   "CSeq: %u OPTIONS\r\n"
                   "Contact: <sip:%s:%u;transport=%s>\r\n"
                   "Content-Length: 0\r\n\r\n",
                   peer->opt.uri, host, (unsigned long long)pr->call_id, pr->cseq, host, pr->cseq,
                   peer->opt.uri, (unsigned long long)pr->call_id, host, pr->cseq, host,
                   l->advertise_port, tl_transport_param(peer->transport));
  return n > 0 && (size_t)n < cap ? (size_t)n : 0;
}

/* A transaction for REQ, whose message of N bytes is at TEXT and is scanned to M; NULL when there
 * is no room for one. */
static struct tl_txn *begin_probe(struct tl_req *req, const char *text, size_t n,
                                  struct tl_msg *m) {
  struct tl_proxy *p = req->p;
  struct tl_scan_error err;
  if (n == 0 || tl_scan(text, n, true, TL_SCAN_OWN, m, &err)) return NULL;
  req->m = m;
  req->key = tl_token_txn_key(p, m, 0);
  struct tl_txn *txn = tl_txn_new(req);
  if (!txn) return NULL;
  txn->sent_100 = true; /* there is no client to send it to */
  txn->in_dialog = true;
  txn->plan = tl_plan_new(p);
  txn->request = tl_saved_msg(p, true, m, NULL);
  if (txn->plan && txn->request) return txn;
  tl_txn_free(txn);
  return NULL;
}

static void send_probe(struct tl_probe *pr, const struct tl_conf_peer *peer) {
  struct tl_proxy *p = pr->proxy;
  struct tl_flow from = {.transport = TL_TCP};
  struct tl_body none;
  struct tl_msg m;
  struct tl_req req = {.p = p, .origin = {.from = &from}, .view = tl_net_view(p->net)};
  char text[2048];
  pr->cseq++;
  pr->sent_ms = tl_net_now_ms(p->net);
  size_t n = build_options(pr, tl_net_view(p->net)->conf, peer, &from, text, sizeof(text));
  struct tl_txn *txn = begin_probe(&req, text, n, &m);
  if (!txn) return;
  txn->user = &probe_user;
  txn->user_data = pr;
  pr->txn = txn;
  pr->peer->health.sent++;
  tl_count(tl_proxy_counters(p), TL_C_PROBES);
  req.txn = txn;
  req.plan = txn->plan;
  req.m = tl_saved_scan(txn->request, &none);
  req.body = &none;
  req.plan->search_rc = tl_target_to_peer(&req, peer);
  tl_stages_run(&req, tl_stage_find(p, tl_stage_route)); /* to be looked up or sent */
}

static const struct tl_conf_peer *peer_of(const struct tl_probe *pr) {
  return tl_view_peer(tl_net_view(pr->proxy->net), pr->peer->id);
}

static void on_timer(struct tl_timer *t, void *arg) {
  struct tl_probe *pr = tl_container_of(t, struct tl_probe, timer);
  struct tl_proxy *p = pr->proxy;
  (void)arg;
  if (tl_net_head(p->net)->draining) return;
  tl_timer_start(tl_net_wheel(p->net), &pr->timer, pr->interval_ms);
  if (pr->txn) {
    struct tl_txn *late = pr->txn;
    if (tl_net_now_ms(p->net) - pr->sent_ms < PATIENCE_MS) return;
    tl_txn_user_ended(late, 0, true);
    tl_txn_free(late);
  }
  const struct tl_conf_peer *peer = peer_of(pr);
  if (peer && tl_net_view(p->net)->conf->n_listen) send_probe(pr, peer);
}

/* ---- which peers are probed ---- */

static void drop_probe(struct tl_proxy *p, struct tl_probe **at) {
  struct tl_probe *pr = *at;
  *at = pr->next;
  if (pr->txn) tl_txn_free(pr->txn);
  /* It is no longer watched, so it must not stay marked as down. */
  pr->peer->health.down = false;
  pr->peer->health.failures = 0;
  tl_timer_stop(tl_net_wheel(p->net), &pr->timer);
  if (pr->share->probe == pr) pr->share->probe = NULL;
  tl_peer_state_unref(pr->peer);
  free(pr->uri);
  free(pr);
}

static struct tl_probe *probe_new(struct tl_proxy *p, const struct tl_conf_peer *peer,
                                  struct tl_peer_share *share) {
  struct tl_probe *pr = calloc(1, sizeof(*pr));
  if (!pr || !(pr->uri = strdup(peer->opt.uri))) {
    free(pr);
    return NULL;
  }
  if (getrandom(&pr->call_id, sizeof(pr->call_id), GRND_NONBLOCK) < 0) pr->call_id = (uintptr_t)pr;
  pr->proxy = p;
  pr->peer = tl_peer_state_ref(peer->state);
  pr->timer.fn = on_timer;
  pr->share = share;
  share->probe = pr;
  pr->next = p->probes;
  p->probes = pr;
  return pr;
}

/* Under another uri it is another probe: the former one goes. */
static void want_probe(struct tl_proxy *p, const struct tl_conf_peer *peer) {
  struct tl_peer_share *share = tl_peer_share_of(p, peer);
  struct tl_probe *pr = share ? share->probe : NULL;
  if (share && (!pr || strcmp(pr->uri, peer->opt.uri) != 0)) pr = probe_new(p, peer, share);
  if (!pr) return;
  pr->wanted = true;
  pr->unstarted = pr->interval_ms != peer->opt.probe_ms;
  pr->interval_ms = peer->opt.probe_ms;
}

/* A few are asked at once; the first probes of many are spread over their interval, and so are all
 * that follow. */
static void start_probes(struct tl_proxy *p) {
  uint64_t n = 0, i = 0;
  for (struct tl_probe *pr = p->probes; pr; pr = pr->next) n += pr->unstarted;
  for (struct tl_probe *pr = p->probes; pr; pr = pr->next) {
    if (!pr->unstarted) continue;
    uint64_t step_ms = i * STEP_MS, share_ms = i * pr->interval_ms / n;
    tl_timer_start(tl_net_wheel(p->net), &pr->timer,
                   (uint32_t)(step_ms < share_ms ? step_ms : share_ms));
    i++;
  }
}

void tl_peer_probe_refresh(struct tl_proxy *p) {
  const struct tl_peer_set *s = tl_net_view(p->net)->peers->set;
  if (p->th.index != 0 || p->probed_generation == s->generation) return;
  p->probed_generation = s->generation;
  for (struct tl_probe *pr = p->probes; pr; pr = pr->next) pr->wanted = pr->unstarted = false;
  for (size_t i = 0; i < s->n; i++)
    if (s->peer[i].opt.probe_ms) want_probe(p, &s->peer[i]);
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
