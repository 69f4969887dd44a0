/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request of our own inside somebody else's dialog.
 *
 * Ownership: none. Threads: the worker's own. Errors: in the plan's search_rc, as target.h.
 */
#pragma once

struct tl_req;

/* Fills the plan of REQ, which stands for one of the party that opened the dialog, at the address
 * that its origin has: it goes where that party's would go by the token of ours in its Route.
 * search_rc: TL_OK, TL_EAGAIN: a name must be resolved first, else it leads nowhere. */
void tl_identify_own(struct tl_req *req);
