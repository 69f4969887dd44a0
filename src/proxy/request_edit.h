/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request as it is to be forwarded (RFC 3261 16.6): a list of edits on the scanned
 * message.
 *
 * Ownership: the texts that edits insert are the caller's and must live until the message
 * is written. Threads: the worker's own. Errors: TL_ESYNTAX: too much to be rewritten.
 */
#pragma once

#include "plan.h"
#include "tieline/edit.h"
#include "top_via.h"

/* Texts that the edits insert. */
struct tl_edit_texts {
  char via[TL_VIA_TEXT], own[2304], uri[1024], route[2048], forwards[48], breadth[8];
  char *branch;        /* ours, to be overwritten before the message is written */
  uint64_t sent_by;    /* tl_token_sent_by of our Via */
  struct tl_str below; /* the Via below it, as it goes out */
};
#define TL_BREADTH_MAX 60u
/* How many copies of M may be out at the same time: its Max-Breadth, TL_BREADTH_MAX at most and if
 * it has none that can be read (RFC 5393 5.3.3). */
unsigned tl_request_edit_breadth(const struct tl_msg *m);
/* Edits M as PLAN says, to go from FROM to TO; T NULL: to plan->flow_conn. BRANCH: TL_BRANCH_LEN
 * bytes. */
int tl_request_edit(struct tl_proxy *p, struct tl_edit *e, const struct tl_msg *m,
                    const struct tl_plan *plan, const struct tl_target *t,
                    const struct tl_flow *from, const struct tl_flow *to, const char *branch,
                    struct tl_edit_texts *x);
