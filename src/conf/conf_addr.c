/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses as an operator writes them: listeners, host[:port], peers' URIs.
 * Names are not looked up here: dns/lookup.c does.
 */
#include <ctype.h>

#include "conf/conf_internal.h"
#include "tieline/uri.h"

/* RFC 1123 2.1 and RFC 3261 25.1: letters, digits, hyphens and dots; underscores are seen too. */
static bool is_host(struct tl_str h) {
  size_t label = 0;
  if (h.n == 0 || h.n > 253) return false;
  for (size_t i = 0; i < h.n; i++) {
    unsigned char c = (unsigned char)h.p[i];
    if (c == '.') {
      if (label == 0) return false;
      label = 0;
    } else if (!(isalnum(c) || c == '-' || c == '_') || ++label > 63) {
      return false;
    }
  }
  return true;
}

static bool parse_port(struct tl_str s, uint16_t *out) {
  uint64_t v;
  if (tl_str_u64(s, 65535, &v) || v == 0) return false;
  *out = (uint16_t)v;
  return true;
}

int tl_conf_parse_hostport(const char *text, struct tl_str *out_host, uint16_t *out_port) {
  struct tl_str s = tl_str_c(text), host = s, port = {NULL, 0};
  struct tl_addr a;
  *out_port = 0;
  if (s.n && *s.p == '[') {
    const char *end = memchr(s.p, ']', s.n);
    if (!end) return TL_ESYNTAX;
    host.n = (size_t)(end + 1 - s.p);
    if (tl_addr_parse(host, 0, &a)) return TL_ESYNTAX;
    if (host.n < s.n && s.p[host.n] != ':') return TL_ESYNTAX;
    if (host.n < s.n) port = (struct tl_str){end + 2, s.n - host.n - 1};
  } else {
    const char *colon = memchr(s.p, ':', s.n);
    if (colon) {
      host.n = (size_t)(colon - s.p);
      port = (struct tl_str){colon + 1, s.n - host.n - 1};
    }
    if (!is_host(host)) return TL_ESYNTAX;
  }
  if (port.p && !parse_port(port, out_port)) return TL_ESYNTAX;
  *out_host = host;
  return TL_OK;
}

int tl_conf_parse_listen(const char *text, enum tl_transport *out_t, struct tl_addr *out,
                         const char **err) {
  const char *colon = strchr(text, ':');
  struct tl_str host;
  uint16_t port;
  struct tl_str name = {text, colon ? (size_t)(colon - text) : 0};
  if (tl_str_ieq(name, TL_STR("dtls"))) {
    *err = "SIP over DTLS is not offered: use tls";
    return TL_ESYNTAX;
  }
  if (!colon || tl_transport_parse(name, out_t)) {
    *err = "a listener is written \"transport:address[:port]\" with transport " TL_TRANSPORT_LIST;
    return TL_ESYNTAX;
  }
  if (tl_conf_parse_hostport(colon + 1, &host, &port)) {
    *err = "a listener needs a numeric address, IPv6 in brackets, and a port from 1 to 65535";
    return TL_ESYNTAX;
  }
  if (tl_addr_parse(host, port ? port : tl_transport_port(*out_t), out)) {
    *err = "a listener needs a numeric address; a name belongs into advertise";
    return TL_ESYNTAX;
  }
  return TL_OK;
}

int tl_conf_parse_peer_uri(const char *text, struct tl_conf_peer_uri *out, const char **err) {
  struct tl_uri u;
  struct tl_addr a;
  *out = (struct tl_conf_peer_uri){.transport = TL_UDP};
  *err = "a peer's uri is \"sip:host[:port][;transport=" TL_TRANSPORT_CHOICE
         "]\" or \"sips:host[:port]\"";
  if (tl_uri_parse(tl_str_c(text), &u) || (u.scheme != TL_SCHEME_SIP && u.scheme != TL_SCHEME_SIPS))
    return TL_ESYNTAX;
  if (u.has_user || u.password.n || u.headers.n) {
    *err = "a peer's uri has no user and no headers, only host, port and transport";
    return TL_ESYNTAX;
  }
  if (!is_host(u.host) && tl_addr_parse(u.host, 0, &a)) return TL_ESYNTAX;
  bool named = tl_uri_transport(&u, &out->transport);
  if (named && out->transport == TL_TRANSPORTS) {
    *err = "the transport of a peer's uri is " TL_TRANSPORT_LIST;
    return TL_ESYNTAX;
  }
  out->sips = u.scheme == TL_SCHEME_SIPS;
  /* RFC 3261 26.2.2: sips with transport=tcp still means TLS over TCP */
  if (out->sips && named && tl_transport_is_datagram(out->transport)) {
    *err = "a sips uri cannot use udp: it promises TLS";
    return TL_ESYNTAX;
  }
  if (out->sips) out->transport = tl_transport_secured(out->transport);
  out->host = u.host;
  out->port = u.port;
  out->any_transport = !named;
  return TL_OK;
}
