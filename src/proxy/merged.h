/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Merged requests (RFC 3261 8.2.2.2), for requests that are answered here.
 *
 * Ownership: none. Threads: the worker's own; both copies meet in one worker.
 * Errors: where memory is short nothing counts as merged.
 */
#pragma once

#include "tieline/net.h"

struct tl_proxy;

enum tl_merged {
  TL_MERGED_NO,
  TL_MERGED_YES,       /* another copy of M has been answered: 482 */
  TL_MERGED_ELSEWHERE, /* M is with another worker now, which decides */
};
enum tl_merged tl_merged_check(struct tl_proxy *p, const struct tl_flow *from,
                               const struct tl_msg *m, const struct tl_body *body);
void tl_merged_exit(struct tl_proxy *p);
