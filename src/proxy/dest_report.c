/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line for each time that a destination goes down or comes back, not for each failure.
 */
#include "dest_report.h"

#include "tieline/log.h"

void tl_dest_report(const struct tl_conf_peer *peer, const struct tl_dest_state *d,
                    struct tl_dest_change c) {
  char address[TL_ADDR_STRLEN];
  const uint32_t why = d->health.why;
  if (c.is == TL_DEST_DOWN && c.was != TL_DEST_DOWN)
    TL_LOG(TL_LOG_WARN, "An address of a peer is down; routes pass it over.",
           TL_FC("peer", peer->name), TL_FC("address", tl_addr_format(&d->addr, address)),
           TL_FC("transport", tl_transport_param(d->transport)), TL_FC("tls_domain", d->domain),
           TL_FC("cause", tl_dest_cause_name((enum tl_dest_cause)(why >> 16))),
           TL_FI("status", why & 0xffff));
  else if (c.is == TL_DEST_UP && c.was == TL_DEST_DOWN)
    TL_LOG(TL_LOG_INFO, "An address of a peer is up again; routes use it.",
           TL_FC("peer", peer->name), TL_FC("address", tl_addr_format(&d->addr, address)),
           TL_FC("transport", tl_transport_param(d->transport)), TL_FC("tls_domain", d->domain));
}
