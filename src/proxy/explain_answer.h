/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `ctl explain request`, answered in the worker.
 *
 * Ownership: the question is the control thread's. Threads: the worker's own. Errors: in the
 * answer.
 */
#pragma once

struct tl_proxy;
struct tl_explain;

/* Answers E and posts it back. */
void tl_explain_answer(struct tl_proxy *p, struct tl_explain *e);
