/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of the transports. How their sockets are served is net's. */
#include "tieline/transport.h"

#include <endian.h>

#include "tieline/err.h"

#define COUNTERS(T) TL_C_MSG_IN_##T, TL_C_MSG_OUT_##T, TL_C_BYTES_IN_##T, TL_C_BYTES_OUT_##T

const struct tl_transport_traits tl_transports[TL_TRANSPORTS + 1] = {
    /*         via    param  NAPTR       SRV            counters */
    [TL_UDP] = {"UDP", "udp", "SIP+D2U", "_sip._udp.", COUNTERS(UDP), 5060, false, false,
                TL_FRAMING_DATAGRAM, TL_TLS},
    [TL_TCP] = {"TCP", "tcp", "SIP+D2T", "_sip._tcp.", COUNTERS(TCP), 5060, true, false,
                TL_FRAMING_STREAM, TL_TLS},
    [TL_TLS] = {"TLS", "tls", "SIPS+D2T", "_sips._tcp.", COUNTERS(TLS), 5061, true, true,
                TL_FRAMING_STREAM, TL_TLS},
    [TL_TRANSPORTS] = {.via = "?", .param = "?", .secured = TL_TRANSPORTS},
};

/* It runs for every message: the letters make one number, as they do in the rows. */
int tl_transport_parse(struct tl_str s, enum tl_transport *out) {
  uint64_t name = 0, of_row;
  if (s.n >= sizeof(name)) return TL_ENOTFOUND;
  for (size_t i = s.n; i-- > 0;) name = name << 8 | (unsigned char)(s.p[i] | 0x20);
  for (enum tl_transport t = 0; t < TL_TRANSPORTS; t++) {
    memcpy(&of_row, tl_transports[t].param, sizeof(of_row));
    if (le64toh(of_row) != name) continue;
    *out = t;
    return TL_OK;
  }
  return TL_ENOTFOUND;
}

bool tl_transport_is_default_port(uint32_t port) {
  for (enum tl_transport t = 0; t < TL_TRANSPORTS; t++)
    if (tl_transports[t].port == port) return true;
  return false;
}
