/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How an attempt at a target may end, and sets of such ends, as an operator writes them:
 * codes, classes, and two words for ends that no answer brought.
 *
 * Ownership: a value. Threads: any. Errors: TL_ESYNTAX.
 */
#pragma once

#include "tieline/status_set.h"

/* Ends without an answer, by numbers that no final response has. */
#define TL_OUTCOME_TRANSPORT 101u /* no connection, no handshake, nothing could be sent (16.9) */
#define TL_OUTCOME_SILENCE 102u   /* no answer in time */

struct tl_outcomes {
  bool given; /* by the operator; else what is asked in its place counts */
  struct tl_status_set of;
};

/* TEXT is a code, a class, "transport" or "silence". TL_ESYNTAX: none of these. */
int tl_outcomes_add(struct tl_outcomes *o, const char *text);
