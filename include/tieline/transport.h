/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What distinguishes the transports, a row each. Code asks the row for the property that it needs
 * (is it reliable, is it secure, has it connections) and never which transport it is, so that
 * another one is a row here and, if its bytes become messages in a new way, a framer in net.
 *
 * Ownership: constants. Threads: any. Errors: TL_ENOTFOUND for a name that is none of ours.
 */
#pragma once

#include "tieline/str.h"

/*
 * ROW(ARG, id, param, NAPTR, SRV, port, reliable, secure, framing, secured) for each transport; the
 * fields are those of struct tl_transport_traits below, the id is the token of a Via header. NEXT
 * stands between two rows, LAST before the last one. The enum, the names of the configuration and
 * of messages to an operator, and the counters are made of the rows.
 */
#define TL_TRANSPORT_ROWS(ROW, ARG, NEXT, LAST)                                                    \
  ROW(ARG, UDP, "udp", "SIP+D2U", "_sip._udp.", 5060, false, false, DATAGRAM, TLS)                 \
  NEXT ROW(ARG, TCP, "tcp", "SIP+D2T", "_sip._tcp.", 5060, true, false, STREAM, TLS)               \
  LAST ROW(ARG, TLS, "tls", "SIPS+D2T", "_sips._tcp.", 5061, true, true, STREAM, TLS)

/* ROW(id, name) for each way in which a stream becomes messages: net has the tl_NAME_framer.
 * STREAM: a head ends with an empty line, a body by Content-Length (RFC 3261 18.3). */
#define TL_FRAMING_ROWS(ROW) ROW(STREAM, stream)

#define TL_TRANSPORT_ID(arg, id, ...) TL_##id,
enum tl_transport { TL_TRANSPORT_ROWS(TL_TRANSPORT_ID, , , ) TL_TRANSPORTS };
#undef TL_TRANSPORT_ID

/* The names as messages to an operator list them: "udp, tcp or tls", "udp|tcp|tls"; and with the
 * port where none is written: "udp 5060, tcp 5060 or tls 5061". */
#define TL_TRANSPORT_PARAM(arg, id, param, ...) param
#define TL_TRANSPORT_PORT(arg, id, param, naptr, srv, port, ...) param " " #port
#define TL_TRANSPORT_LIST TL_TRANSPORT_ROWS(TL_TRANSPORT_PARAM, , ", ", " or ")
#define TL_TRANSPORT_CHOICE TL_TRANSPORT_ROWS(TL_TRANSPORT_PARAM, , "|", "|")
#define TL_TRANSPORT_PORTS TL_TRANSPORT_ROWS(TL_TRANSPORT_PORT, , ", ", " or ")

/* How bytes become messages. */
#define TL_FRAMING_ID(id, name) TL_FRAMING_##id,
enum tl_framing {
  TL_FRAMING_NONE,
  TL_FRAMING_DATAGRAM, /* each datagram is one (RFC 3261 18.3); there are no connections */
  TL_FRAMING_ROWS(TL_FRAMING_ID) TL_FRAMINGS
};
#undef TL_FRAMING_ID

#define TL_TRANSPORT_NAME_MAX 8 /* letters of a name padded with zeros */

/* One cache line, so that finding a row is a shift. */
struct tl_transport_traits {
  _Alignas(64) char via[TL_TRANSPORT_NAME_MAX]; /* token of a Via header, "TLS" */
  char param[TL_TRANSPORT_NAME_MAX];            /* value of a URI's transport parameter, "tls" */
  const char *naptr;                            /* service of a NAPTR record (RFC 3263 4.1) */
  const char *srv;                              /* in front of a domain: where its SRV records are;
                                                   NULL: none are asked for */
  uint16_t messages_in, messages_out, bytes_in, bytes_out; /* enum tl_counter */
  uint16_t port;   /* where none is written (RFC 3261 19.1.2) */
  bool reliable;   /* retransmits itself: the timers of RFC 3261 17 that would do so are 0 */
  bool secure;     /* TLS is below it: it has TLS domains, and a sips: URI may use it */
  uint8_t framing; /* enum tl_framing */
  uint8_t secured; /* enum tl_transport: what a sips: URI makes of it (RFC 3261 26.2.2) */
};

/* The last row is of no transport: its names are "?". */
extern const struct tl_transport_traits tl_transports[TL_TRANSPORTS + 1];

static inline bool tl_transport_is_reliable(enum tl_transport t) {
  return tl_transports[t].reliable;
}

static inline bool tl_transport_is_secure(enum tl_transport t) { return tl_transports[t].secure; }

/* Has it no connections? Then a message goes to an address, from a socket. */
static inline bool tl_transport_is_datagram(enum tl_transport t) {
  return tl_transports[t].framing == TL_FRAMING_DATAGRAM;
}

static inline uint16_t tl_transport_port(enum tl_transport t) { return tl_transports[t].port; }

/* What a sips: URI that asks for T is sent by. */
static inline enum tl_transport tl_transport_secured(enum tl_transport t) {
  return (enum tl_transport)tl_transports[t].secured;
}

/* "UDP", "TCP", "TLS": the token of a Via header. */
static inline const char *tl_transport_name(enum tl_transport t) { return tl_transports[t].via; }

/* "udp", "tcp", "tls": the value of a URI's transport parameter. */
static inline const char *tl_transport_param(enum tl_transport t) { return tl_transports[t].param; }

/* The transport whose parameter is S, in any case. TL_ENOTFOUND: it is none of ours. */
int tl_transport_parse(struct tl_str s, enum tl_transport *out);
/* Is PORT what one of them uses where none is written? */
bool tl_transport_is_default_port(uint32_t port);
