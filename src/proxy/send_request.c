/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage send: a request leaves with its transaction, whose branches and timers tell what comes
 * of it, or without one.
 */
#include "forward.h"
#include "stage.h"
#include "stateless.h"
#include "txn.h"

enum tl_stage_result tl_stage_send(struct tl_req *req) {
  if (req->txn && !req->txn->ack)
    tl_forward_next(req->txn, req->m, req->body);
  else
    tl_stateless_send(req);
  return TL_STAGE_ANSWERED;
}
