/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Merged requests (RFC 3261 8.2.2.2), for requests that are answered here.
 *
 * Ownership: none. Threads: the worker's own; both copies meet in one worker.
 * Errors: where memory is short nothing counts as merged.
 */
#pragma once

struct tl_proxy;
struct tl_req;

enum tl_merged {
  TL_MERGED_NO,
  TL_MERGED_YES,       /* another copy of it has been answered: 482 */
  TL_MERGED_ELSEWHERE, /* it is with another worker now, which decides */
};
enum tl_merged tl_merged_check(const struct tl_req *req);
void tl_merged_exit(struct tl_proxy *p);
