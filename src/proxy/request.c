/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way of a request: the table of stages, which stage.c runs.
 *
 *   recv.c, scan.c
 *      |
 *   absorb ----- repeated, cancels, acknowledges ---------------> its transaction
 *      |
 *   validate --- malformed, looped, for us, no room ------------> answered
 *      |
 *   identify     our Route values, the sender, its dialog
 *      |
 *   authorise -- claims another's identity ---------------------> 403
 *      |
 *   route ------ no way leads there ----------------------------> 403, 404, 416, 480, 503
 *      |   \____ a name must be looked up --> waits, then goes on with admit
 *      |
 *   admit ------ no room ---------------------------------------> 503
 *      |         a transaction, unless ACK or stateless route
 *      |
 *   rewrite ---- more copies than it may have ------------------> 440
 *      |
 *   send ------- edited for each target (request_edit.c) -------> forward.c or stateless.c,
 *                                                                 outbound.c, send.c
 *
 * Any stage after validate may wait (wait.h). A new stage is a file and a row of TL_STAGES in
 * stage.h.
 */
#include "request.h"

#include "stage.h"
#include "token.h"

#define ROW(name) {#name, tl_stage_##name},
const struct tl_stage tl_request_stages[] = {TL_STAGES(ROW)};
#undef ROW

static const enum tl_counter by_method[TL_METHODS] = {
    [TL_M_OTHER] = TL_C_REQ_OTHER,       [TL_M_INVITE] = TL_C_REQ_INVITE,
    [TL_M_ACK] = TL_C_REQ_ACK,           [TL_M_BYE] = TL_C_REQ_BYE,
    [TL_M_CANCEL] = TL_C_REQ_CANCEL,     [TL_M_OPTIONS] = TL_C_REQ_OPTIONS,
    [TL_M_REGISTER] = TL_C_REQ_REGISTER, [TL_M_MESSAGE] = TL_C_REQ_MESSAGE,
    [TL_M_PRACK] = TL_C_REQ_OTHER,       [TL_M_UPDATE] = TL_C_REQ_OTHER,
    [TL_M_REFER] = TL_C_REQ_OTHER,       [TL_M_SUBSCRIBE] = TL_C_REQ_OTHER,
    [TL_M_NOTIFY] = TL_C_REQ_OTHER,      [TL_M_INFO] = TL_C_REQ_OTHER,
    [TL_M_PUBLISH] = TL_C_REQ_OTHER};

void tl_req_init(struct tl_req *req, struct tl_proxy *p, const struct tl_origin *origin,
                 const struct tl_msg *m, const struct tl_body *body) {
  struct tl_source *source = tl_source_of(p, origin);
  *req = (struct tl_req){.p = p,
                         .origin = *origin,
                         .m = m,
                         .body = body,
                         .view = tl_net_view(p->net),
                         .source = source,
                         .sender = tl_source_sender(p, source, origin)};
  req->key = tl_token_txn_key(p, m, req->sender);
}

/* ---- the table ---- */

int tl_stages_plan(struct tl_req *req) {
  const struct tl_stage *at = tl_stage_find(req->p, tl_stage_validate);
  enum tl_stage_result r = TL_STAGE_GO_ON;
  req->silent = true;
  for (; r == TL_STAGE_GO_ON && at->run != tl_stage_admit; at++) {
    req->stage = at;
    r = at->run(req);
  }
  return r == TL_STAGE_GO_ON ? TL_OK : r == TL_STAGE_WAIT ? TL_EAGAIN : TL_ENOTFOUND;
}

void tl_request_handle(struct tl_proxy *p, const struct tl_origin *origin, const struct tl_msg *m,
                       const struct tl_body *body) {
  struct tl_req req;
  if (!origin->passed_on) tl_count(tl_proxy_counters(p), by_method[m->method]);
  tl_req_init(&req, p, origin, m, body);
  const struct tl_conf_peer *peer = req.source ? req.source->peer : NULL;
  if (peer && peer->opt.heard_within_ms) tl_peer_state_heard(peer->state, tl_net_now_ms(p->net));
  tl_stages_run(&req, p->stages);
  tl_req_done(&req);
}
