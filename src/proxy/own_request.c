/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a request of our own begins; from there on the stages carry it out.
 */
#include "own_request.h"

#include "plan.h"
#include "proxy.h"
#include "saved.h"
#include "token.h"

struct tl_txn *tl_own_request_begin(struct tl_req *req, struct tl_str text,
                                    const struct tl_txn_user *user, void *data) {
  static const struct tl_body none;
  struct tl_proxy *p = req->p;
  struct tl_scan_error err;
  struct tl_body kept;
  struct tl_msg m;
  if (!text.n || tl_scan(text.p, text.n, true, TL_SCAN_OWN, &m, &err)) return NULL;
  req->key = tl_token_txn_key(p, &m, 0);
  struct tl_req first = *req; /* until the text is kept */
  first.m = &m;
  struct tl_txn *txn = tl_txn_new(&first);
  if (!txn) return NULL;
  txn->sent_100 = true; /* there is no client to send it to */
  txn->in_dialog = true;
  txn->plan = tl_plan_new(p);
  txn->request = tl_saved_msg(p, true, &m, NULL);
  if (!txn->plan || !txn->request) {
    tl_txn_free(txn);
    return NULL;
  }
  txn->user = user;
  txn->user_data = data;
  tl_plan_clear(txn->plan);
  req->txn = txn;
  req->plan = txn->plan;
  req->m = tl_saved_scan(txn->request, &kept);
  req->body = &none;
  return txn;
}
