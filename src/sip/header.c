/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Header name classification: length first, then one comparison, so that a name
 * costs a few instructions whether it is known or not. Values are scan.c's.
 */
#include "header.h"

#include "lex.h"

#define NAME(text, id)                                                                             \
  if (LEX_WORD(((struct tl_str){p, n}), text)) return id

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
