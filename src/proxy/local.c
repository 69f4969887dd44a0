/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Responses generated here, and their way back (RFC 3261 8.2.6, 18.2; RFC 3581).
 */
#include "local.h"

#include <stdio.h>

#include "back.h"
#include "outbound.h"
#include "proxy.h"
#include "saved.h"
#include "tieline/reply.h"
#include "tieline/view.h"
#include "token.h"
#include "top_via.h"
#include "txn.h"

static void count_local(struct tl_proxy *p, unsigned status) {
  struct tl_counters *k = tl_proxy_counters(p);
  tl_count(k, status < 200   ? TL_C_LOCAL_1XX
              : status < 300 ? TL_C_LOCAL_2XX
              : status < 500 ? TL_C_LOCAL_4XX
                             : TL_C_LOCAL_5XX);
}

/* The name alone: which version runs is nobody's to know from outside (RFC 3261 20.35). */
static struct tl_str server_name(struct tl_proxy *p) {
  bool on = tl_net_view(p->net)->conf->opt.server_header;
  return on ? TL_STR("tieline") : (struct tl_str){NULL, 0};
}

static size_t build_reply(struct tl_proxy *p, const struct tl_msg *m, const struct tl_flow *from,
                          unsigned status, struct tl_str reason, struct tl_str extra) {
  char tag[16], via[TL_VIA_TEXT];
  size_t n = 0;
  tl_token_tag(p, m, tag);
  const struct tl_reply reply = {.status = status,
                                 .reason = reason,
                                 .to_tag = {tag, sizeof(tag)},
                                 .top_via = tl_top_via_text(m, from, via, sizeof(via)),
                                 .server = server_name(p),
                                 .extra = extra};
  int rc = tl_reply_build(m, &reply, p->out, sizeof(p->out), &n);
  if (rc) {
    tl_count(tl_proxy_counters(p), TL_C_DROP_NOMEM);
    return 0;
  }
  count_local(p, status);
  return n;
}

void tl_local_answer(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m,
                     unsigned status, struct tl_str reason, struct tl_str extra) {
  if (!tl_msg_answerable(m)) {
    tl_count(tl_proxy_counters(p), TL_C_DROP_PARSE);
    return;
  }
  size_t n = build_reply(p, m, from, status, reason, extra);
  struct tl_flow back = tl_top_via_way_back(m, from);
  if (n) tl_outbound_bytes(p, &back, p->out, n);
}

void tl_local_txn_answer(struct tl_txn *txn, unsigned status, struct tl_str reason,
                         struct tl_str extra) {
  struct tl_proxy *p = txn->proxy;
  struct tl_body body;
  if (txn->user) {
    if (status < 200) return;
    tl_txn_user_ended(txn, status, true);
    tl_txn_free(txn);
    return;
  }
  if (!txn->request) {
    if (status >= 200) tl_txn_free(txn);
    return;
  }
  const struct tl_msg *m = tl_saved_scan(txn->request, &body);
  size_t n = build_reply(p, m, &txn->from, status, reason, extra);
  if (n && !txn->reliable) {
    tl_saved_free(p, txn->reply);
    txn->reply = tl_saved_bytes(p, txn->in_dialog, p->out, n);
  }
  if (n && status >= 200 && tl_back_needed(txn))
    tl_back_bytes(txn, p->out, n);
  else if (n)
    tl_outbound_bytes(p, &txn->from, p->out, n);
  txn->status = (uint16_t)status;
  if (status < 200)
    txn->sent_100 = true;
  else
    tl_txn_finished(txn, status);
}
