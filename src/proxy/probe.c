/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Probes: the first worker asks each peer that wants it, by OPTIONS, whether it
 * is alive, and writes down what it finds for all workers (health.h). A probe is
 * a transaction as any other, failover over the peer's addresses included, with
 * nobody behind it: its answer ends here.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "proxy.h"

#define DOWN_AFTER 3     /* probes in a row that failed */
#define PATIENCE_MS 2000 /* a shorter interval does not mean that answers must be as quick */

struct tl_probe {
  struct tl_probe *next;
  struct tl_timer timer;
  struct tl_proxy *proxy;
  struct tl_txn *txn; /* the probe that is not answered yet */
  struct tl_health *health;
  char *name;
  uint32_t interval_ms, cseq;
  uint64_t sent_ms, call_id;
  bool wanted;
};

/* ---- what came of it ---- */

static void failed(struct tl_probe *pr, unsigned status) {
  struct tl_health *h = pr->health;
  h->status = status;
  h->lost++;
  tl_count(tl_proxy_counters(pr->proxy), TL_C_PROBES_LOST);
  if (++h->failures < DOWN_AFTER || h->down) return;
  h->down = true;
  TL_LOG(TL_LOG_WARN, "A peer does not answer its probes; routes pass it over.",
         TL_FC("peer", pr->name), TL_FI("failures", h->failures), TL_FI("status", status));
}

static void alive(struct tl_probe *pr, unsigned status) {
  struct tl_health *h = pr->health;
  h->status = status;
  h->rtt_ms = (uint32_t)(pr->proxy->net.now_ms - pr->sent_ms);
  h->failures = 0;
  if (!h->down) return;
  h->down = false;
  TL_LOG(TL_LOG_INFO, "A peer answers its probes again; routes use it.", TL_FC("peer", pr->name),
         TL_FI("status", status));
}

void tl_probe_ended(struct tl_txn *txn, unsigned status, bool ours) {
  struct tl_probe *pr = txn->probe;
  if (!pr) return;
  txn->probe = NULL;
  pr->txn = NULL;
  if (txn->overload) return; /* it never left: that says nothing of the peer */
  /* Any answer is a sign of life but the one that asks for no requests (RFC 3261 21.5.4). */
  if (ours || status == 503)
    failed(pr, ours ? 0 : status);
  else
    alive(pr, status);
}

void tl_probe_gone(struct tl_txn *txn) {
  if (txn->probe) txn->probe->txn = NULL;
  txn->probe = NULL;
}

/* ---- asking ---- */

/* Where PEER reaches us: by its own transport if we listen for that. */
static const struct tl_conf_listen *reached_at(const struct tl_conf *conf,
                                               const struct tl_conf_peer *peer) {
  for (size_t i = 0; i < conf->n_listen; i++)
    if (conf->listen[i].transport == peer->transport) return &conf->listen[i];
  return &conf->listen[0];
}

static size_t build(struct tl_probe *pr, const struct tl_conf *conf,
                    const struct tl_conf_peer *peer, struct tl_flow *from, char *out, size_t cap) {
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
                   peer->uri, host, (unsigned long long)pr->call_id, pr->cseq, host, pr->cseq,
                   peer->uri, (unsigned long long)pr->call_id, host, pr->cseq, host,
                   l->advertise_port, tl_transport_param(peer->transport));
  return n > 0 && (size_t)n < cap ? (size_t)n : 0;
}

/* A transaction for the message of N bytes at TEXT; NULL when there is no room for one. */
static struct tl_txn *begin(struct tl_probe *pr, const struct tl_flow *from, const char *text,
                            size_t n) {
  struct tl_proxy *p = pr->proxy;
  struct tl_msg *m = &p->msg2;
  struct tl_scan_error err;
  struct tl_plan *plan = NULL;
  struct tl_txn *txn = NULL;
  if (n == 0 || tl_scan(text, n, true, TL_SCAN_OWN, m, &err)) return NULL;
  if ((plan = tl_pool_get(&p->plans)) == NULL) return NULL;
  p->sender = 0;
  if ((txn = tl_txn_new(p, m, from, tl_token_tx_key(p, m))) == NULL) {
    tl_pool_put(&p->plans, plan);
    return NULL;
  }
  txn->plan = plan;
  txn->sent_100 = true; /* nobody waits for one */
  txn->in_dialog = true;
  if ((txn->request = tl_saved_new(txn, n)) == NULL) {
    tl_txn_free(txn);
    return NULL;
  }
  memcpy(txn->request->data, text, n);
  return txn;
}

static void send_probe(struct tl_probe *pr, const struct tl_conf_peer *peer) {
  struct tl_proxy *p = pr->proxy;
  struct tl_flow from = {.transport = TL_TCP};
  struct tl_body none = {.n = 0};
  char text[2048];
  pr->cseq++;
  pr->sent_ms = p->net.now_ms;
  size_t n = build(pr, p->snap->conf, peer, &from, text, sizeof(text));
  struct tl_txn *txn = begin(pr, &from, text, n);
  if (!txn) return;
  txn->probe = pr;
  pr->txn = txn;
  pr->health->sent++;
  tl_count(tl_proxy_counters(p), TL_C_PROBES);
  if (tl_route_to_peer(p, txn->plan, &p->msg2, peer) == TL_OK) {
    tl_forward_next(txn, &p->msg2, &none);
    return;
  }
  txn->state = TL_TXN_WAITING;
  if (tl_route_resolve(txn)) tl_txn_free(txn); /* the resolver is busy: no fault of the peer */
}

static const struct tl_conf_peer *peer_of(const struct tl_probe *pr) {
  const struct tl_conf *c = pr->proxy->snap->conf;
  for (size_t i = 0; i < c->n_peer; i++)
    if (strcmp(c->peer[i].name, pr->name) == 0) return &c->peer[i];
  return NULL;
}

static void on_timer(struct tl_timer *t, void *arg) {
  struct tl_probe *pr = (struct tl_probe *)((char *)t - offsetof(struct tl_probe, timer));
  struct tl_proxy *p = pr->proxy;
  (void)arg;
  tl_snap_refresh(p);
  if (p->net.draining) return;
  tl_timer_start(&p->net.wheel, &pr->timer, pr->interval_ms);
  if (pr->txn) {
    struct tl_txn *late = pr->txn;
    if (p->net.now_ms - pr->sent_ms < PATIENCE_MS) return;
    tl_probe_ended(late, 0, true);
    tl_txn_free(late);
  }
  const struct tl_conf_peer *peer = peer_of(pr);
  if (peer && p->snap->conf->n_listen) send_probe(pr, peer);
}

/* ---- who is asked ---- */

static void drop(struct tl_proxy *p, struct tl_probe **at) {
  struct tl_probe *pr = *at;
  *at = pr->next;
  if (pr->txn) tl_txn_free(pr->txn);
  /* Nobody looks after it any more: it must not stay passed over. */
  pr->health->down = false;
  pr->health->failures = 0;
  tl_timer_stop(&p->net.wheel, &pr->timer);
  tl_health_unref(pr->health);
  free(pr->name);
  free(pr);
}

static void want(struct tl_proxy *p, const struct tl_conf_peer *peer) {
  struct tl_probe *pr = p->probes;
  while (pr && (strcmp(pr->name, peer->name) != 0 || pr->health != peer->health)) pr = pr->next;
  if (!pr) {
    pr = calloc(1, sizeof(*pr));
    if (!pr || !(pr->name = strdup(peer->name))) {
      free(pr);
      return;
    }
    if (getrandom(&pr->call_id, sizeof(pr->call_id), GRND_NONBLOCK) < 0)
      pr->call_id = (uintptr_t)pr;
    pr->proxy = p;
    pr->timer.fn = on_timer;
    pr->health = tl_health_ref(peer->health);
    pr->next = p->probes;
    p->probes = pr;
  }
  pr->wanted = true;
  if (pr->interval_ms != peer->probe_ms) tl_timer_start(&p->net.wheel, &pr->timer, 0);
  pr->interval_ms = peer->probe_ms;
}

void tl_probe_refresh(struct tl_proxy *p) {
  const struct tl_conf *c = p->net.conf;
  if (p->th.index != 0 || p->probed_generation == c->generation) return;
  p->probed_generation = c->generation;
  for (struct tl_probe *pr = p->probes; pr; pr = pr->next) pr->wanted = false;
  for (size_t i = 0; i < c->n_peer; i++)
    if (c->peer[i].probe_ms && c->peer[i].health) want(p, &c->peer[i]);
  for (struct tl_probe **at = &p->probes; *at;)
    if ((*at)->wanted)
      at = &(*at)->next;
    else
      drop(p, at);
}

void tl_probe_exit(struct tl_proxy *p) {
  while (p->probes) drop(p, &p->probes);
}
