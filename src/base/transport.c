/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of the transports. How their sockets are served is net's. */
#include "tieline/transport.h"

#include <endian.h>

#include "tieline/counters.h"
#include "tieline/err.h"

#define ROW(arg, id, param_, naptr_, srv_, port_, reliable_, secure_, framing_, secured_)          \
  [TL_##id] = {.via = #id,                                                                         \
               .param = param_,                                                                    \
               .naptr = naptr_,                                                                    \
               .srv = srv_,                                                                        \
               .messages_in = TL_C_MSG_IN_##id,                                                    \
               .messages_out = TL_C_MSG_OUT_##id,                                                  \
               .bytes_in = TL_C_BYTES_IN_##id,                                                     \
               .bytes_out = TL_C_BYTES_OUT_##id,                                                   \
               .port = port_,                                                                      \
               .reliable = reliable_,                                                              \
               .secure = secure_,                                                                  \
               .framing = TL_FRAMING_##framing_,                                                   \
               .secured = TL_##secured_},

const struct tl_transport_traits tl_transports[TL_TRANSPORTS + 1] = {
    [TL_TRANSPORTS] = {.via = "?", .param = "?", .secured = TL_TRANSPORTS}, /* none of ours */
    TL_TRANSPORT_ROWS(ROW, , , )};

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
