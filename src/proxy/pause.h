/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers that ask for a pause (RFC 3261 21.5.4).
 *
 * Ownership: none; the pause is published in health.h. Threads: the worker's own. Errors: none.
 */
#pragma once

#include "tieline/scan.h"

struct tl_branch;

/* The final response M came for B; a 503 may ask for a pause. */
void tl_pause_asked(struct tl_branch *b, const struct tl_msg *m);
