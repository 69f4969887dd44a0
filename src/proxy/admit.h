/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Admission of a request that waits before its turn at the stage admit.
 *
 * Ownership: the transaction takes the plan. Threads: the worker's own. Errors: a request that is
 * not admitted is refused.
 */
#pragma once

#include "stage.h"

/* Starts the transaction in which the request, which has none, is to wait. TL_STAGE_GO_ON: it has
 * it now. */
enum tl_stage_result tl_admit_waiting(struct tl_req *req);
