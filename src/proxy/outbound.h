/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending: to a flow of this worker or of another one, and opening the flow to a
 * target.
 *
 * Ownership: bytes and edits are copied or sent at once. Threads: the worker's own.
 * Errors: codes of err.h; TL_ECLOSED: the connection has gone.
 */
#pragma once

#include "plan.h"
#include "tieline/edit.h"

struct tl_branch;

/* Sends the N bytes of DATA, a whole message. */
int tl_outbound_bytes(struct tl_proxy *p, const struct tl_flow *flow, const void *data, size_t n);
/* Sends what E makes of a message, and BODY. C: the flow's connection, if it is of this worker. If
 * another worker cannot send it, BRANCH (may be NULL) fails later. */
int tl_outbound_edit(struct tl_proxy *p, const struct tl_flow *flow, struct tl_conn *c,
                     const struct tl_edit *e, const struct tl_body *body,
                     const struct tl_branch *branch);
/* The flow to T. ELSEWHERE: a connection of another worker will do, whose loss only a branch would
 * be told of. *OUT_C: its connection, NULL if it is a datagram's or another worker's. */
int tl_outbound_open(struct tl_proxy *p, const struct tl_plan *plan, const struct tl_target *t,
                     bool elsewhere, struct tl_flow *out, struct tl_conn **out_c);
/* The plan's flow, if it still lives. */
int tl_outbound_flow(struct tl_proxy *p, const struct tl_plan *plan, struct tl_flow *out,
                     struct tl_conn **out_c);
/* May PEER, NULL: not known, be sent what E makes of a message with BODY? If not that is counted.
 */
bool tl_outbound_fits(struct tl_proxy *p, const struct tl_conf_peer *peer, const struct tl_edit *e,
                      const struct tl_body *body);
/* The same for a request that goes to T, NULL: on the plan's flow. TL_ELARGE: it may not. */
int tl_outbound_fits_target(struct tl_proxy *p, const struct tl_plan *plan,
                            const struct tl_target *t, const struct tl_edit *e,
                            const struct tl_body *body);
/* The same for a response that goes to TO. Connections of other workers are not checked. */
bool tl_outbound_fits_back(struct tl_proxy *p, const struct tl_flow *to, const struct tl_edit *e,
                           const struct tl_body *body);
/* RFC 3261 18.1.1: is M, as it will go out, too large for a datagram? */
bool tl_outbound_near_mtu(const struct tl_msg *m, const struct tl_body *body);
/* The status for a request that could not be sent because of RC: 503 asks its sender to go
 * elsewhere, and some then avoid the server altogether, so it is not for what the request itself is
 * to blame for. */
unsigned tl_outbound_status(int rc);
#define TL_TOO_MUCH "Too Much To Rewrite" /* reason phrase of such a 400 */
/* M will not be answered by a transaction of this worker's: its connection, if FROM's is here,
 * waits for the response to pass, should its peer half-close. */
void tl_outbound_await(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m);
