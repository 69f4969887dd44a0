/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Branches that are given up: which are kept, for how long, and which of too many are not.
 */
#include "given_up.h"

#include "branch.h"
#include "call.h"
#include "peer_share.h"
#include "proxy.h"
#include "saved.h"
#include "tieline/log_limit.h"
#include "tieline/view.h"
#include "txn.h"

/* The part of max_kept that the worker may have in use while it keeps requests for this. */
#define KEPT_SHARE 2u

static void leave_list(struct tl_branch *b) {
  struct tl_proxy *p = b->txn->proxy;
  cds_list_del(&b->given_up_node);
  p->branches->n_given_up--;
  tl_count_sub(tl_proxy_counters(p), TL_C_GIVEN_UP_NOW, 1);
}

void tl_given_up_leave(struct tl_branch *b) {
  if (b->state != TL_BR_GIVEN_UP) return;
  leave_list(b);
  b->state = TL_BR_COMPLETED;
}

void tl_given_up_forget(struct tl_branch *b) {
  if (b->state != TL_BR_GIVEN_UP) return;
  tl_given_up_leave(b);
  tl_count(tl_proxy_counters(b->txn->proxy), TL_C_GIVEN_UP_DROPPED);
}

static bool is_full(const struct tl_proxy *p) {
  return p->branches->n_given_up >= TL_GIVEN_UP_MAX ||
         p->saved_bytes > tl_net_view(p->net)->conf->limits.max_kept / KEPT_SHARE;
}

/* They are freed by their timer: the caller may be walking over branches. */
static void make_room(struct tl_proxy *p) {
  struct cds_list_head *l = &p->branches->given_up;
  if (!is_full(p) || cds_list_empty(l)) return;
  struct tl_branch *oldest = cds_list_first_entry(l, struct tl_branch, given_up_node);
  tl_given_up_forget(oldest);
  tl_timer_start(tl_net_wheel(p->net), &oldest->timer, 0);
}

/* CANCEL, ACK and BYE take what they need from the head. */
static void drop_body(struct tl_branch *b) {
  struct tl_proxy *p = b->txn->proxy;
  const char *end = memmem(b->sent->data, b->sent->len, "\r\n\r\n", 4);
  const size_t head = end ? (size_t)(end - b->sent->data) + 4 : b->sent->len;
  if (head == b->sent->len && !b->sent->kernel) return;
  struct tl_saved *s = tl_saved_bytes(p, b->txn->in_dialog, b->sent->data, head);
  if (!s) return;
  tl_saved_free(p, b->sent);
  b->sent = s;
}

static void end_repeats(struct tl_branch *b) {
  struct tl_proxy *p = b->txn->proxy;
  tl_timer_stop(tl_net_wheel(p->net), &b->retrans);
  tl_saved_free(p, b->cancel);
  b->cancel = NULL;
  b->cancel_sent = b->cancel_wanted = false; /* who rings after all is told, once more if need be */
}

bool tl_given_up_keep(struct tl_branch *b) {
  struct tl_proxy *p = b->txn->proxy;
  if (!b->invite || !b->sent || tl_net_head(p->net)->stopping) return false;
  make_room(p);
  end_repeats(b);
  tl_peer_share_leave(&b->peer_share);
  tl_call_give_up(p, b->call_slot);
  drop_body(b);
  b->state = TL_BR_GIVEN_UP;
  b->given_up_ms = tl_net_now_ms(p->net);
  cds_list_add_tail(&b->given_up_node, &p->branches->given_up);
  p->branches->n_given_up++;
  tl_count(tl_proxy_counters(p), TL_C_GIVEN_UP_NOW);
  tl_timer_start(tl_net_wheel(p->net), &b->timer, 64 * tl_net_view(p->net)->conf->timeouts.t1);
  return true;
}

void tl_given_up_passed_on(struct tl_branch *b, const struct tl_msg *m) {
  struct tl_proxy *p = b->txn->proxy;
  const struct tl_conf_peer *peer = tl_view_peer(tl_net_view(p->net), b->peer);
  char to[TL_ADDR_STRLEN];
  tl_count(tl_proxy_counters(p), TL_C_LATE_PASSED);
  TL_LOG_FROM(&b->flow.addr, NULL, TL_LOG_INFO,
              "A target answered after it had been given up, and its answer was passed on: the "
              "time it is given may be too short.",
              TL_FC("peer", peer ? peer->name : ""),
              TL_FC("target", tl_addr_format(&b->flow.addr, to)), TL_F("call_id", m->call_id),
              TL_FI("late_ms", tl_net_now_ms(p->net) - b->given_up_ms));
}
