/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections of all workers for one command, within a deadline.
 *
 * Ownership: a gather owns its request and the workers' answers. Threads: the
 * control thread's. Errors: TL_ENOMEM.
 */
#pragma once

#include "control/command.h"
#include "control/service.h"

#define TL_GATHER_MS 2000

/* Turns the workers' answers into a result, or NULL with the error in A. COMPLETE: every worker
 * answered. */
typedef json_t *(*tl_gather_fn)(struct tl_control *c, struct tl_dump *const *dump, size_t n,
                                bool complete, size_t limit, struct tl_answer *a);

/* Asks every worker for at most LIMIT connections that pass FILTER (NULL: all); DONE makes the
 * answer to REQ, which is taken over. On TL_ENOMEM REQ remains the caller's. */
int tl_gather_start(struct tl_control *c, struct tl_request *req, size_t limit,
                    const struct tl_conn_filter *filter, tl_gather_fn done);
/* Answers the gathers past their deadline. */
extern const struct tl_control_service tl_gather_service;
