/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between workers: messages whose transaction another worker has, and sends on
 * connections that another worker owns. xworker_post.c posts, xworker.c delivers.
 *
 * Ownership: everything is copied into the mail, which belongs to the worker that takes it.
 * Threads: each function in the worker of its P. Errors: TL_EBUSY: the mailbox is full, which
 * is counted.
 */
#pragma once

#include "tieline/net.h"

struct tl_proxy;
struct tl_edit;
struct tl_origin;
struct tl_req;
struct tl_branch;
struct tl_identity;

/* Lets WORKER handle M. N_SEEN: workers that will have seen it then. False: it was dropped. */
bool tl_xw_message(struct tl_proxy *p, unsigned worker, const struct tl_origin *origin,
                   const struct tl_msg *m, const struct tl_body *body, unsigned n_seen);
/* Lets the next worker in turn handle the request, whose transaction is not here, with BODY; false
 * when all have seen it. *OUT_SENT: it is there, and was not dropped. */
bool tl_xw_onwards(const struct tl_req *req, const struct tl_body *body, bool *out_sent);
/* Does another worker own connection ID? */
bool tl_xw_is_remote(const struct tl_proxy *p, tl_conn_id id);
/* Sends on a connection of another worker. If it cannot, BRANCH (may be NULL) fails later. */
int tl_xw_send(struct tl_proxy *p, tl_conn_id id, const void *data, size_t n);
int tl_xw_send_edit(struct tl_proxy *p, tl_conn_id id, const struct tl_edit *e,
                    const struct tl_body *body, const struct tl_branch *branch);
/* C is going for RC: tells the other workers, whose branches on it are lost. */
void tl_xw_conn_gone(struct tl_proxy *p, const struct tl_conn *c, int rc);
/* Posts MAIL to WORKER; if that fails it stays the caller's. BYTES: of messages that it holds. */
int tl_xw_post(struct tl_proxy *p, unsigned worker, struct tl_mail *mail);
int tl_xw_post_bytes(struct tl_proxy *p, unsigned worker, struct tl_mail *mail, uint32_t bytes);
