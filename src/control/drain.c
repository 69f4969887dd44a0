/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stopping: the threads are told to drain, and the loop ends when no transaction
 * is left or the drain time is over.
 */
#include <stdlib.h>
#include <systemd/sd-daemon.h>

#include "control/control_internal.h"
#include "tieline/worker.h"

static bool post_drain(struct tl_mailbox *to) {
  struct tl_mail *m = calloc(1, sizeof(*m));
  if (!m) return false;
  m->type = TL_MAIL_DRAIN;
  if (tl_mailbox_post(to, m) == 0) return true;
  free(m);
  return false;
}

/* Repeated every tick until each mailbox has accepted it. */
static void post_drain_to_all(struct tl_control *c) {
  struct tl_runtime *rt = c->rt;
  if (rt->resolver.cap && !c->told_resolver) c->told_resolver = post_drain(&rt->resolver);
  for (unsigned i = 0; i < rt->n_handshaker; i++)
    if (rt->handshaker[i] && !c->told_handshaker[i])
      c->told_handshaker[i] = post_drain(&rt->handshaker[i]->mailbox);
  for (unsigned i = 0; i < rt->n_worker; i++)
    if (rt->worker[i] && !c->told_worker[i])
      c->told_worker[i] = post_drain(&rt->worker[i]->mailbox);
}

void tl_control_shutdown(struct tl_control *c) {
  if (c->state != TL_CONTROL_RUNNING) {
    c->state = TL_CONTROL_STOPPED;
    return;
  }
  struct tl_conf *conf = tl_runtime_conf(c->rt);
  c->state = TL_CONTROL_DRAINING;
  c->drain_until_ms = tl_now_ms() + conf->timeouts.drain;
  TL_LOG(TL_LOG_INFO, "Draining: no new connections, transactions may finish.",
         TL_FI("transactions", tl_runtime_counter(c->rt, TL_C_TXN_NOW)),
         TL_FI("connections", c->rt->connections), TL_FI("at_most_ms", conf->timeouts.drain));
  tl_conf_unref(conf);
  sd_notify(0, "STOPPING=1\nSTATUS=Draining");
  post_drain_to_all(c);
}

void tl_control_drain(struct tl_control *c, uint64_t now_ms) {
  bool drained = true;
  if (c->state != TL_CONTROL_DRAINING) return;
  post_drain_to_all(c);
  for (unsigned i = 0; i < c->rt->n_worker; i++)
    if (c->rt->worker[i]) drained = drained && c->told_worker[i] && tl_worker_drained(c->rt, i);
  if (drained) {
    c->state = TL_CONTROL_STOPPED;
  } else if (now_ms >= c->drain_until_ms) {
    TL_LOG(TL_LOG_WARN, "The drain time is over; what is left is cut off.",
           TL_FI("transactions", tl_runtime_counter(c->rt, TL_C_TXN_NOW)));
    c->state = TL_CONTROL_STOPPED;
  }
}
