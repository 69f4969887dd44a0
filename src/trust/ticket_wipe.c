/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wipes expired session-ticket keys even when no handshake comes that would do
 * it. src/tls/ticket_keys.c decides how keys age.
 */
#include "trust/ticket_wipe.h"

#define LOOK_MS 600000u /* at least so often: a reload may have shortened a lifetime */
#define LOOK_MS_MIN 1000u

uint64_t tl_tickets_look(const struct tl_conf *conf, uint64_t now_ms) {
  uint32_t ms = LOOK_MS;
  for (size_t i = 0; i < conf->n_domain; i++) {
    const struct tl_tls_domain *d = conf->domain[i];
    if (!d->ticket_keys) continue;
    tl_tickets_wipe(d->ticket_keys);
    if (d->policy.ticket_lifetime_ms / 2 < ms) ms = d->policy.ticket_lifetime_ms / 2;
  }
  return now_ms + (ms < LOOK_MS_MIN ? LOOK_MS_MIN : ms);
}
