/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Header name classification: length first, then one comparison, so that a name
 * costs a few instructions whether it is known or not. Values are scan.c's.
 */
#include "header.h"

/*
 * Folds eight letters at once. 0x20 also maps '\r' to '-' and a few signs to
 * others, but a name ends before any CR and the constants hold letters and '-',
 * so only a control character could pose as '-'; those are refused by the caller.
 */
static inline uint64_t fold8(const char *p) {
  uint64_t v;
  memcpy(&v, p, 8);
  return v | UINT64_C(0x2020202020202020);
}

static inline uint32_t fold4(const char *p) {
  uint32_t v;
  memcpy(&v, p, 4);
  return v | 0x20202020u;
}

/* N is a constant at each call, so this becomes two or three compares. LOWER is lower case. */
static inline __attribute__((always_inline)) bool is(const char *p, const char *lower, size_t n) {
  size_t i = 0;
  if (n >= 8) {
    for (; i + 8 <= n; i += 8)
      if (fold8(p + i) != fold8(lower + i)) return false;
    return i == n || fold8(p + n - 8) == fold8(lower + n - 8);
  }
  if (n >= 4) return fold4(p) == fold4(lower) && fold4(p + n - 4) == fold4(lower + n - 4);
  for (; i < n; i++)
    if ((p[i] | 0x20) != lower[i]) return false;
  return true;
}

#define NAME(text, id)                                                                             \
  if (is(p, text, sizeof(text) - 1)) return id

static enum tl_hdr_id compact(char c) {
  switch (c | 0x20) {
  case 'v': return TL_H_VIA;
  case 'f': return TL_H_FROM;
  case 't': return TL_H_TO;
  case 'i': return TL_H_CALL_ID;
  case 'm': return TL_H_CONTACT;
  case 'l': return TL_H_CONTENT_LENGTH;
  case 'c': return TL_H_CONTENT_TYPE;
  case 'k': return TL_H_SUPPORTED;
  case 'y': return TL_H_IDENTITY; /* RFC 8224 */
  default: return TL_H_OTHER;
  }
}

/* One row per length, one test per name. */
enum tl_hdr_id tl_header_id(const char *p, size_t n) {
  switch (n) {
  case 1: return compact(*p);
  case 2: NAME("to", TL_H_TO); break;
  case 3: NAME("via", TL_H_VIA); break;
  case 4:
    NAME("from", TL_H_FROM);
    NAME("cseq", TL_H_CSEQ);
    break;
  case 5: NAME("route", TL_H_ROUTE); break;
  case 7:
    NAME("call-id", TL_H_CALL_ID);
    NAME("contact", TL_H_CONTACT);
    NAME("require", TL_H_REQUIRE);
    NAME("expires", TL_H_EXPIRES);
    break;
  case 8: NAME("identity", TL_H_IDENTITY); break;
  case 9: NAME("supported", TL_H_SUPPORTED); break;
  case 11:
    NAME("retry-after", TL_H_RETRY_AFTER);
    NAME("max-breadth", TL_H_MAX_BREADTH);
    break;
  case 12:
    NAME("max-forwards", TL_H_MAX_FORWARDS);
    NAME("content-type", TL_H_CONTENT_TYPE);
    NAME("record-route", TL_H_RECORD_ROUTE);
    break;
  case 13:
    NAME("authorization", TL_H_AUTHORIZATION);
    NAME("proxy-require", TL_H_PROXY_REQUIRE);
    break;
  case 14: NAME("content-length", TL_H_CONTENT_LENGTH); break;
  case 16: NAME("www-authenticate", TL_H_WWW_AUTHENTICATE); break;
  case 18: NAME("proxy-authenticate", TL_H_PROXY_AUTHENTICATE); break;
  case 19:
    NAME("proxy-authorization", TL_H_PROXY_AUTHORIZATION);
    NAME("p-asserted-identity", TL_H_PAI);
    break;
  default: break;
  }
  return TL_H_OTHER;
}
