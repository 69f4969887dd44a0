/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Method names, and the first guess at what a stream carries before there is
 * enough of it to scan.
 */
#include "lex.h"
#include "tieline/scan.h"

static const struct tl_str names[TL_METHODS] = {
    [TL_M_OTHER] = {"OTHER", 5},       [TL_M_INVITE] = {"INVITE", 6},
    [TL_M_ACK] = {"ACK", 3},           [TL_M_BYE] = {"BYE", 3},
    [TL_M_CANCEL] = {"CANCEL", 6},     [TL_M_OPTIONS] = {"OPTIONS", 7},
    [TL_M_REGISTER] = {"REGISTER", 8}, [TL_M_MESSAGE] = {"MESSAGE", 7},
    [TL_M_PRACK] = {"PRACK", 5},       [TL_M_UPDATE] = {"UPDATE", 6},
    [TL_M_REFER] = {"REFER", 5},       [TL_M_SUBSCRIBE] = {"SUBSCRIBE", 9},
    [TL_M_NOTIFY] = {"NOTIFY", 6},     [TL_M_INFO] = {"INFO", 4},
    [TL_M_PUBLISH] = {"PUBLISH", 7},
};

const char *tl_method_name(enum tl_method m) {
  return (unsigned)m < TL_METHODS ? names[m].p : names[TL_M_OTHER].p;
}

enum tl_method tl_method_parse(struct tl_str s) {
  for (unsigned m = TL_M_OTHER + 1; m < TL_METHODS; m++)
    if (s.n == names[m].n && s.p[0] == names[m].p[0] && memcmp(s.p, names[m].p, s.n) == 0)
      return (enum tl_method)m;
  return TL_M_OTHER;
}

/* OPTIONS is left out on purpose: SIP has it too, and the request line decides. */
static const struct tl_str http_starts[] = {
    {"GET ", 4},   {"POST ", 5},    {"HEAD ", 5},  {"PUT ", 4},   {"DELETE ", 7},
    {"PATCH ", 6}, {"CONNECT ", 8}, {"TRACE ", 6}, {"PRI * ", 6}, {"HTTP/", 5},
};

enum tl_looks tl_looks_like(const char *p, size_t n) {
  if (n == 0) return TL_LOOKS_UNKNOWN;
  /* a TLS handshake record: type 22, major version 3 (RFC 8446 5.1) */
  if (p[0] == 0x16 && (n == 1 || p[1] == 0x03)) return TL_LOOKS_TLS;
  if (p[0] == '\r' || p[0] == '\n') return TL_LOOKS_UNKNOWN; /* keep-alive, RFC 5626 3.5.1 */
  struct tl_str s = {p, n};
  for (unsigned i = 0; i < sizeof(http_starts) / sizeof(http_starts[0]); i++)
    if (tl_str_starts(s, http_starts[i])) return TL_LOOKS_HTTP;
  /* A method, or "SIP/2.0": token characters up to the first space. */
  for (size_t i = 0; i < n && i < 8; i++) {
    if (p[i] == ' ' && i > 0) break;
    if (!lex_is(p[i], LEX_TOKEN) && !(p[i] == '/' && i == 3 && strncasecmp(p, "SIP", 3) == 0))
      return TL_LOOKS_GARBAGE;
  }
  return TL_LOOKS_UNKNOWN;
}
