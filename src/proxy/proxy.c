/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The proxy as the network side sees it: messages, ends of connections and mail that come up,
 * and where each goes.
 */
#include "proxy.h"

#include "account.h"
#include "back.h"
#include "branch.h"
#include "call.h"
#include "dest_note.h"
#include "local.h"
#include "merged.h"
#include "peer_share.h"
#include "plan.h"
#include "saved.h"
#include "source.h"
#include "stage.h"
#include "tieline/explain.h"
#include "tieline/view.h"
#include "token.h"
#include "txn.h"
#include "wait_table.h"
#include "xworker_mail.h"

static void on_message(struct tl_net *n, const struct tl_flow *from, struct tl_conn *c,
                       const struct tl_msg *m, const struct tl_body *body) {
  tl_proxy_message(tl_proxy_of(n), &(struct tl_origin){.from = from, .c = c}, m, body);
}

static void on_bad(struct tl_net *n, const struct tl_flow *from, struct tl_conn *c,
                   const struct tl_msg *m, const struct tl_scan_error *err) {
  (void)c;
  tl_local_answer(tl_proxy_of(n), from, m, err->status, tl_str_c(err->reason), TL_STR(""));
}

/* No further response will come on C. */
static void lose_branches(struct tl_net *n, struct tl_conn *c, int rc) {
  struct tl_flow was = {.transport = tl_conn_transport(c), .addr = *tl_conn_peer(c)};
  if (tl_conn_was_open(c)) was.conn = tl_conn_id_of(c);
  struct tl_conn_owner *owner = tl_conn_owner(c);
  if (owner->user) tl_dest_conn_lost(tl_proxy_of(n), c, rc);
  tl_xw_conn_gone(tl_proxy_of(n), c, rc);
  while (owner->user) tl_branch_lost(owner->user, &was, tl_conn_verified(c), rc);
}

static void on_half_closed(struct tl_net *n, struct tl_conn *c) { lose_branches(n, c, TL_ECLOSED); }

static void on_closed(struct tl_net *n, struct tl_conn *c, int rc) {
  tl_source_drop(c);
  lose_branches(n, c, rc);
}

const struct tl_net_handler tl_proxy_handler = {.message = on_message,
                                                .bad = on_bad,
                                                .closed = on_closed,
                                                .half_closed = on_half_closed,
                                                .describe = tl_source_describe};

/* ---- beginning and end ---- */

int tl_proxy_init(struct tl_proxy *p) {
  tl_pool_init(&p->plans, sizeof(struct tl_plan), 0);
  tl_pool_init(&p->tried, sizeof(struct tl_tried), 0);
  p->plans.keep = 16;
  p->stages = tl_request_stages;
  p->xw_kinds = &tl_xw_all_kinds;
  tl_saved_init(p);
  int rc = tl_txn_init(p);
  if (rc == TL_OK) rc = tl_wait_init(p);
  if (rc == TL_OK) rc = tl_branch_init(p);
  if (rc) tl_proxy_exit(p);
  return rc;
}

void tl_proxy_exit(struct tl_proxy *p) {
  tl_txn_exit(p);
  tl_wait_exit(p);
  tl_branch_exit(p);
  tl_source_exit(p);
  tl_account_exit(p);
  tl_call_exit(p);
  tl_peer_share_exit(p);
  tl_merged_exit(p);
  tl_back_exit(p);
  tl_token_exit(p);
  tl_saved_exit(p);
  tl_pool_destroy(&p->plans);
  tl_pool_destroy(&p->tried);
}
