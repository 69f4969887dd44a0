/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stopping: the threads are told to drain, and the loop ends when no transaction
 * is left or the drain time is over.
 */
#include <stdlib.h>
#include <systemd/sd-daemon.h>

#include "control/control_internal.h"
#include "tieline/resolve.h"
#include "tieline/worker.h"

#define TICK_MS 20

static void drain_all(struct tl_runtime *rt) {
  tl_resolver_drain();
  for (unsigned i = 0; i < rt->n_handshaker; i++)
    if (rt->handshaker[i]) tl_thread_drain(rt->handshaker[i]);
  for (unsigned i = 0; i < rt->n_worker; i++)
    if (rt->worker[i]) tl_thread_drain(rt->worker[i]);
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
  drain_all(c->rt);
}

static bool is_drained(const struct tl_control *c) {
  bool drained = true;
  for (unsigned i = 0; i < c->rt->n_worker; i++)
    if (c->rt->worker[i]) drained = drained && tl_worker_drained(c->rt, i);
  return drained;
}

static uint64_t drain_turn(struct tl_control *c, uint64_t now_ms) {
  if (c->state != TL_CONTROL_DRAINING) return TL_TIME_NEVER;
  if (is_drained(c)) {
    c->state = TL_CONTROL_STOPPED;
  } else if (now_ms >= c->drain_until_ms) {
    TL_LOG(TL_LOG_WARN, "The drain time is over; what is left is cut off.",
           TL_FI("transactions", tl_runtime_counter(c->rt, TL_C_TXN_NOW)));
    c->state = TL_CONTROL_STOPPED;
  }
  return now_ms + TICK_MS;
}

const struct tl_control_service tl_drain_service = {.name = "drain", .turn = drain_turn};
