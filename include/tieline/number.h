/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Telephone numbers as they stand in URIs (RFC 3966, and the user part of sip: URIs by
 * RFC 3261 19.1.6): what is one number however it is written, and the parameters of it.
 *
 * Ownership: a number holds its characters itself; the parameters are slices of the
 * caller's bytes. Threads: any. Errors: a text that is no number is told as false.
 */
#pragma once

#include "tieline/str.h"

#define TL_NUMBER_MAX 40     /* characters of a number: E.164 has 15, dial strings some more */
#define TL_NUMBER_DIGITS 15u /* of them that are packed */

/* A number without its '+', visual separators and escapes. */
struct tl_number {
  uint64_t digits; /* the leading decimal digits from the top, 4 bits each; the rest is 0 */
  uint8_t n_digit; /* how many those are, at most TL_NUMBER_DIGITS */
  uint8_t n;       /* characters of TEXT */
  bool global;     /* it has a '+' */
  char text[TL_NUMBER_MAX]; /* 0-9 * # A-D, the last four in upper case */
};

/* USER is the user part of a SIP URI, or a tel: URI behind its scheme; a ';' ends the number. Is it
 * a telephone number? It begins with a digit, '*' or '#' behind '+' and visual separators, and has
 * none but those, A-D and separators. */
bool tl_number_read(struct tl_str user, struct tl_number *out);

/* What stands behind the number (RFC 3966, 4694, 4904), as written; n = 0: absent or empty. */
struct tl_number_params {
  struct tl_str rn;            /* routing number of a ported number */
  struct tl_str cic;           /* carrier identification code */
  struct tl_str tgrp;          /* trunk group, which means something in ... */
  struct tl_str trunk_context; /* ... this context */
  struct tl_str phone_context; /* where a local number is valid */
  bool npdi;                   /* the portability database has been asked */
};

/* Those of USER, which is as above. The first of a name counts (RFC 3966 3: once each). */
void tl_number_read_params(struct tl_str user, struct tl_number_params *out);
