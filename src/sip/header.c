/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of header names that a proxy knows; header.h looks names up. Two
 * names for one slot are a compile error (-Woverride-init): then choose other
 * factors in HEADER_SLOT.
 */
#include "header.h"

#define NAME(text, first, last, id)                                                                \
  [HEADER_SLOT(first, last, sizeof(text) - 1)] = {text, sizeof(text) - 1, id}

const struct header_name tl_header_names[HEADER_SLOTS] = {
    NAME("via", 'v', 'a', TL_H_VIA),
    NAME("route", 'r', 'e', TL_H_ROUTE),
    NAME("record-route", 'r', 'e', TL_H_RECORD_ROUTE),
    NAME("max-forwards", 'm', 's', TL_H_MAX_FORWARDS),
    NAME("from", 'f', 'm', TL_H_FROM),
    NAME("to", 't', 'o', TL_H_TO),
    NAME("call-id", 'c', 'd', TL_H_CALL_ID),
    NAME("cseq", 'c', 'q', TL_H_CSEQ),
    NAME("contact", 'c', 't', TL_H_CONTACT),
    NAME("proxy-require", 'p', 'e', TL_H_PROXY_REQUIRE),
    NAME("require", 'r', 'e', TL_H_REQUIRE),
    NAME("supported", 's', 'd', TL_H_SUPPORTED),
    NAME("content-length", 'c', 'h', TL_H_CONTENT_LENGTH),
    NAME("content-type", 'c', 'e', TL_H_CONTENT_TYPE),
    NAME("max-breadth", 'm', 'h', TL_H_MAX_BREADTH),
    NAME("proxy-authorization", 'p', 'n', TL_H_PROXY_AUTHORIZATION),
    NAME("authorization", 'a', 'n', TL_H_AUTHORIZATION),
    NAME("proxy-authenticate", 'p', 'e', TL_H_PROXY_AUTHENTICATE),
    NAME("www-authenticate", 'w', 'e', TL_H_WWW_AUTHENTICATE),
    NAME("retry-after", 'r', 'r', TL_H_RETRY_AFTER),
    NAME("identity", 'i', 'y', TL_H_IDENTITY),
    NAME("p-asserted-identity", 'p', 'y', TL_H_PAI),
    NAME("expires", 'e', 's', TL_H_EXPIRES),
    NAME("v", 'v', 'v', TL_H_VIA),
    NAME("f", 'f', 'f', TL_H_FROM),
    NAME("t", 't', 't', TL_H_TO),
    NAME("i", 'i', 'i', TL_H_CALL_ID),
    NAME("m", 'm', 'm', TL_H_CONTACT),
    NAME("l", 'l', 'l', TL_H_CONTENT_LENGTH),
    NAME("c", 'c', 'c', TL_H_CONTENT_TYPE),
    NAME("k", 'k', 'k', TL_H_SUPPORTED),
    NAME("y", 'y', 'y', TL_H_IDENTITY), /* RFC 8224 */
};
