/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an OPTIONS of ours says. Neighbours judge us by it: some want a Contact with the name of our
 * certificate, some read in Allow what we take.
 */
#include "probe_request.h"

#include <stdio.h>

#include "own_request.h"
#include "proxy.h"
#include "stage.h"
#include "target.h"
#include "tieline/view.h"

/* How the peer shall call us, and where it reaches us. */
struct self {
  const char *host;
  uint16_t port;
  struct tl_addr addr; /* that the request comes from */
};

/* The listener at which the peer reaches us: one of the same transport if there is one. */
static const struct tl_conf_listen *reached_at(const struct tl_conf *conf, enum tl_transport t) {
  for (size_t i = 0; i < conf->n_listen; i++)
    if (conf->listen[i].transport == t) return &conf->listen[i];
  return &conf->listen[0];
}

/* With TLS the name that our certificate is checked against comes first, as in Via. */
static struct self self_toward(const struct tl_conf *conf, const struct tl_probe_request *r) {
  const struct tl_dest_state *d = r->dest;
  const struct tl_conf_listen *l = reached_at(conf, d->transport);
  struct self s = {.host = l->advertise_host, .port = l->advertise_port, .addr = l->addr};
  const struct tl_tls_domain *domain = tl_transport_is_secure(d->transport)
                                           ? tl_conf_peer_domain(r->peer, &conf->tls_set, &d->addr)
                                           : NULL;
  struct tl_addr numeric;
  if (domain && domain->advertise_host) s.host = domain->advertise_host;
  if (domain && domain->advertise_port) s.port = domain->advertise_port;
  if (tl_addr_parse(tl_str_c(s.host), 0, &numeric) == TL_OK) s.addr = numeric;
  return s;
}

/* Calls with reliable provisional responses and session timers pass through us. REFER does too, but
 * who transfers calls by it is for the peers to agree on. */
#define CAPABILITIES                                                                               \
  "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, MESSAGE, SUBSCRIBE, NOTIFY\r\n"  \
  "Supported: 100rel, timer\r\n"

static size_t build_options(const struct tl_probe_request *r, const struct tl_conf *conf,
                            const struct self *us, char *out, size_t cap) {
  const char *uri = r->peer->opt.uri;
  const unsigned long long call_id = r->call_id;
  int n = snprintf(out, cap,
                   "OPTIONS %s SIP/2.0\r\n"
                   "Via: SIP/2.0/TCP %s;branch=z9hG4bKprobe%016llx%x\r\n"
                   "Max-Forwards: 70\r\n"
                   "From: <sip:%s>;tag=%08x\r\n"
                   "To: <%s>\r\n"
                   "Call-ID: %016llx@%s\r\n"
                   "CSeq: %u OPTIONS\r\n"
                   "Contact: <sip:%s:%u;transport=%s>\r\n" CAPABILITIES "%s"
                   "Content-Length: 0\r\n\r\n",
                   uri, us->host, call_id, r->cseq, us->host, r->cseq, uri, call_id, us->host,
                   r->cseq, us->host, us->port, tl_transport_param(r->dest->transport),
                   conf->opt.server_header ? "User-Agent: tieline\r\n" : "");
  return n > 0 && (size_t)n < cap ? (size_t)n : 0;
}

bool tl_probe_request_send(struct tl_proxy *p, const struct tl_probe_request *r) {
  struct tl_view *view = tl_net_view(p->net);
  const struct self us = self_toward(view->conf, r);
  struct tl_flow from = {.transport = TL_TCP, .addr = us.addr};
  struct tl_req req = {.p = p, .origin = {.from = &from}, .view = view};
  char text[2560];
  size_t n = build_options(r, view->conf, &us, text, sizeof(text));
  struct tl_txn *txn = tl_own_request_begin(&req, (struct tl_str){text, n}, r->user, r->user_data);
  if (!txn) return false;
  *r->txn = txn;
  tl_count(tl_proxy_counters(p), TL_C_PROBES);
  tl_target_to_address(&req, r->peer, r->dest->transport, &r->dest->addr);
  tl_stages_run(&req, tl_stage_find(p, tl_stage_route));
  return true;
}
