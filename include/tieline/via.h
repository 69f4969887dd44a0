/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One Via value (RFC 3261 20.42, RFC 3581, RFC 5923).
 *
 * Ownership: slices into the caller's bytes. Threads: any. Errors: TL_ESYNTAX.
 */
#pragma once

#include "tieline/addr.h"
#include "tieline/str.h"

struct tl_via {
  struct tl_str whole;     /* the value, from "SIP" to its last parameter */
  struct tl_str transport; /* token, as written */
  struct tl_str host;      /* sent-by host, IPv6 with brackets */
  uint16_t port;           /* sent-by port, 0 if absent */
  struct tl_str params;    /* from the first ';' on, may be empty */
  struct tl_str branch;    /* value, empty if absent */
  struct tl_str received;  /* value, empty if absent */
  bool has_rport;
  struct tl_str rport_param; /* ";rport" or ";rport=..." as written, for editing */
  uint16_t rport;            /* value, 0 if empty */
  bool alias;
};

/*
 * Parses the first Via value in V. *OUT_USED is the number of bytes up to and
 * including the comma and white space after it (the start of the next value),
 * or V.n when it was the only one.
 */
int tl_via_parse(struct tl_str v, struct tl_via *out, size_t *out_used);
