/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What distinguishes the transports, a row each. Code asks the row for the property that it needs
 * (is it reliable, is it secure, has it connections) and never which transport it is, so that
 * another one is a row here and, if its bytes become messages in a new way, a framer in net.
 *
 * Ownership: constants. Threads: any. Errors: TL_ENOTFOUND for a name that is none of ours.
 */
#pragma once

#include "tieline/counters.h"
#include "tieline/str.h"

enum tl_transport { TL_UDP, TL_TCP, TL_TLS, TL_TRANSPORTS };

/* The names as messages to an operator list them. */
#define TL_TRANSPORT_LIST "udp, tcp or tls"
#define TL_TRANSPORT_CHOICE "udp|tcp|tls"

/* How bytes become messages. */
enum tl_framing {
  TL_FRAMING_NONE,
  TL_FRAMING_DATAGRAM, /* each datagram is one (RFC 3261 18.3); there are no connections */
  TL_FRAMING_STREAM,   /* a head ends with an empty line, a body by Content-Length */
  TL_FRAMINGS
};

#define TL_TRANSPORT_NAME_MAX 8 /* letters of a name and zeros behind them */

/* One cache line, so that finding a row is a shift. */
struct tl_transport_traits {
  _Alignas(64) char via[TL_TRANSPORT_NAME_MAX]; /* token of a Via header, "TLS" */
  char param[TL_TRANSPORT_NAME_MAX];            /* value of a URI's transport parameter, "tls" */
  const char *naptr;                            /* service of a NAPTR record (RFC 3263 4.1) */
  const char *srv;                              /* in front of a domain: where its SRV records are;
                                                   NULL: none are asked for */
  enum tl_counter messages_in, messages_out, bytes_in, bytes_out;
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
