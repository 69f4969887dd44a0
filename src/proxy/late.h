/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 2xx to an INVITE whose client has another final response already, a refusal: the client would
 * not take it, and its sender would wait for an ACK and hold a call that nobody has. It is ended in
 * the client's name by ACK and BYE (RFC 3261 13.2.2.4, 15.1.1). Inside a dialog the parties know
 * the call and may go on with it: there the ACK is all.
 *
 * Ownership: what has been ended is kept with its branch, so that a repeated 2xx gets its ACK
 * again. Threads: the worker's own. Errors: counted, and logged within bounds.
 */
#pragma once

struct tl_branch;
struct tl_flow;
struct tl_msg;

/* M, a 2xx to B, has come from FROM. B is given up from here on if it was not. */
void tl_late_end(struct tl_branch *b, const struct tl_msg *m, const struct tl_flow *from);
