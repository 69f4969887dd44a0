/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage validate: may a new request be forwarded at all (RFC 3261 16.3)? One for the proxy itself
 * is answered here. What the sender is has no part in this.
 */
#include "local.h"
#include "merged.h"
#include "stage.h"
#include "tieline/edit.h"
#include "txn.h"

/* 16.3 step 5: there is no extension that we could be required to support. The lines for the
 * answer, of CAP, in OUT; 0: it requires none. */
static size_t list_unsupported(const struct tl_msg *m, char *out, size_t cap) {
  static const char name[] = "Unsupported: ";
  size_t at = 0, lead = sizeof(name) - 1;
  for (uint16_t i = m->first[TL_H_PROXY_REQUIRE]; i != TL_HDR_NONE; i = m->hdr[i].next) {
    struct tl_str v = tl_hdr_value(m, i);
    if (lead + v.n + 2 > cap - at) break;
    memcpy(out + at, name, lead);
    at += lead + tl_unfold_lines(out + at + lead, v.p, v.n);
    memcpy(out + at, "\r\n", 2);
    at += 2;
  }
  return at;
}

static enum tl_stage_result refuse_extension(struct tl_req *req) {
  char lines[512];
  size_t n = list_unsupported(req->m, lines, sizeof(lines));
  return tl_req_refuse(req, 420, NULL, (struct tl_str){lines, n});
}

/* OPTIONS for the proxy itself, or one whose Max-Forwards ends here (RFC 3261 11, 16.3 step 3). */
static enum tl_stage_result answer_options(struct tl_req *req) {
  req->status = 200;
  req->reason = "OK";
  if (req->silent) return TL_STAGE_ANSWERED;
  enum tl_merged merged = tl_merged_check(req);
  if (merged == TL_MERGED_YES) return tl_req_refuse(req, 482, "Request Merged", TL_STR(""));
  if (merged == TL_MERGED_NO)
    tl_local_answer(req->p, req->origin.from, req->m, 200, TL_STR("OK"),
                    TL_STR("Accept: application/sdp\r\n"));
  return TL_STAGE_ANSWERED;
}

static bool for_us(struct tl_proxy *p, const struct tl_msg *m) {
  return m->method == TL_M_OPTIONS && !tl_msg_has(m, TL_H_ROUTE) && m->uri.n && !m->ruri.has_user &&
         tl_plan_is_local(p, &m->ruri);
}

static bool requires_extension(const struct tl_msg *m) {
  return tl_msg_has(m, TL_H_PROXY_REQUIRE) && m->method != TL_M_CANCEL && m->method != TL_M_ACK;
}

/* Room is kept for existing dialogs: initial requests are refused first, and before they cost
 * anything. Whether a To tag belongs to a dialog of ours, which only our token can show, is checked
 * by admit. */
static bool has_room(const struct tl_proxy *p, const struct tl_msg *m) {
  return m->to_tag.n || m->method == TL_M_ACK || m->method == TL_M_CANCEL ||
         tl_txn_room(p, false, m->head_len + m->body_len);
}

static enum tl_stage_result begin_plan(struct tl_req *req) {
  const struct tl_msg *m = req->m;
  if (!req->plan) {
    req->plan = tl_plan_new(req->p);
    if (!req->plan) return tl_req_refuse_overload(req);
    req->owns_plan = true;
  }
  tl_plan_clear(req->plan);
  if (m->uri.n == 0) return tl_req_refuse(req, 400, NULL, TL_STR(""));
  req->plan->uri = m->ruri;
  if (m->ruri.scheme == TL_SCHEME_OTHER) return tl_req_refuse(req, 416, NULL, TL_STR(""));
  return TL_STAGE_GO_ON;
}

enum tl_stage_result tl_stage_validate(struct tl_req *req) {
  const struct tl_msg *m = req->m;
  if (m->max_forwards == 0)
    return m->method == TL_M_OPTIONS ? answer_options(req)
                                     : tl_req_refuse(req, 483, NULL, TL_STR(""));
  if (for_us(req->p, m)) return answer_options(req);
  if (requires_extension(m)) return refuse_extension(req);
  if (req->loop_status)
    return tl_req_refuse(req, req->loop_status,
                         req->loop_status == 400 ? "Too Many Via Values" : NULL, TL_STR(""));
  if (!has_room(req->p, m)) return tl_req_refuse_overload(req);
  return begin_plan(req);
}
