/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIP and SIPS URIs, and name-addr / addr-spec values (RFC 3261 19.1, 25.1).
 *
 * Ownership: slices into the caller's bytes. Threads: any. Errors: TL_ESYNTAX.
 */
#pragma once

#include "tieline/addr.h"
#include "tieline/str.h"
#include "tieline/transport.h"

enum tl_scheme { TL_SCHEME_SIP, TL_SCHEME_SIPS, TL_SCHEME_TEL, TL_SCHEME_OTHER };

struct tl_uri {
  enum tl_scheme scheme;
  struct tl_str whole;
  struct tl_str user; /* escapes as written; n = 0 if absent */
  bool has_user;
  struct tl_str password;
  struct tl_str host;    /* IPv6 with brackets */
  uint16_t port;         /* 0: absent */
  struct tl_str params;  /* from the first ';' up to '?', may be empty */
  struct tl_str headers; /* after '?', may be empty */
  uint32_t param_first;  /* a bit for the low five bits of each parameter's first character */
};

/* Parses all of S. Schemes other than sip, sips and tel give TL_SCHEME_OTHER with only WHOLE set.
 */
int tl_uri_parse(struct tl_str s, struct tl_uri *out);

/* Looks for parameter NAME (case-insensitive) in ";a=b;c" text. True if there; *OUT its value. */
bool tl_param_find(struct tl_str params, struct tl_str name, struct tl_str *out);
/* The same in the parameters of U, a parsed URI: for most names a look at PARAM_FIRST tells that
 * the parameter is absent. NAME begins with a letter. */
bool tl_uri_param_search(const struct tl_uri *u, struct tl_str name, struct tl_str *out);
static inline bool tl_uri_param(const struct tl_uri *u, struct tl_str name, struct tl_str *out) {
  return (u->param_first >> (name.p[0] & 31) & 1) && tl_uri_param_search(u, name, out);
}

/* Does USER begin with PREFIX when escapes are read as the characters that they stand for? */
bool tl_uri_user_starts(struct tl_str user, struct tl_str prefix);
/* USER without its first N characters; an escape counts as one. */
struct tl_str tl_uri_user_behind(struct tl_str user, size_t n);
/* The first characters of USER, at most CAP, with escapes as what they stand for. How many. */
size_t tl_uri_user_chars(struct tl_str user, uint8_t *out, size_t cap);

/* True with the transport parameter's value; false if absent. TL_TRANSPORTS in *OUT: unknown value.
 */
bool tl_uri_transport(const struct tl_uri *u, enum tl_transport *out);

/* One value of From, To, Contact, Route, Record-Route. */
struct tl_nameaddr {
  struct tl_str whole;  /* the value with its parameters, without comma */
  struct tl_str uri;    /* text of the URI, without angle brackets */
  struct tl_str params; /* header parameters, from the first ';' */
};

/* Parses the first value in V; *OUT_USED as in tl_via_parse. */
int tl_nameaddr_parse(struct tl_str v, struct tl_nameaddr *out, size_t *out_used);
