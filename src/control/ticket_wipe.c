/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wipes expired session-ticket keys even when no handshake comes that would do
 * it. src/tls/ticket_keys.c decides how keys age.
 */
#include "control/control_internal.h"

#define LOOK_MS 600000u /* at least so often: a reload may have shortened a lifetime */
#define LOOK_MS_MIN 1000u

static uint64_t tickets_turn(struct tl_control *c, uint64_t now_ms) {
  if (now_ms < c->tickets_ms) return c->tickets_ms;
  struct tl_conf *conf = tl_runtime_conf(c->rt);
  uint32_t ms = LOOK_MS;
  for (size_t i = 0; i < conf->n_domain; i++) {
    const struct tl_tls_domain *d = conf->domain[i];
    if (!d->ticket_keys) continue;
    tl_tickets_wipe(d->ticket_keys);
    if (d->policy.ticket_lifetime_ms / 2 < ms) ms = d->policy.ticket_lifetime_ms / 2;
  }
  tl_conf_unref(conf);
  c->tickets_ms = now_ms + (ms < LOOK_MS_MIN ? LOOK_MS_MIN : ms);
  return c->tickets_ms;
}

const struct tl_control_service tl_tickets_service = {.name = "ticket keys", .turn = tickets_turn};
