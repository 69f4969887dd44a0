/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Merged requests (RFC 3261 8.2.2.2): a request that forked upstream and arrived twice, for
 * requests that are answered here as their final destination. Merging of forwarded requests is for
 * the callee to detect (16.3 has no such step).
 *
 * Such answers are given without a transaction, so the values that 8.2.2.2 compares are kept here,
 * in a table that overwrites: a request whose entry has been taken by another is answered twice,
 * as a stateless server may do (8.2.7).
 */
#include "merged.h"

#include <stdlib.h>

#include "outbound.h"
#include "proxy.h"
#include "stage.h"
#include "token.h"
#include "xworker.h"

#define SLOTS 1024u

struct tl_merge_table {
  struct merge {
    uint64_t id, key;
    uint64_t at_ms; /* 0: free */
  } slot[SLOTS];
};

enum tl_merged tl_merged_check(const struct tl_req *req) {
  struct tl_proxy *p = req->p;
  const struct tl_msg *m = req->m;
  const struct tl_flow *from = req->origin.from;
  if (m->to_tag.n) return TL_MERGED_NO;
  uint64_t id = tl_token_merge(p, m), key = req->key;
  unsigned n = p->th.rt->n_worker, worker = n ? (unsigned)(id >> 32) % n : p->th.index;
  if (worker != p->th.index && !tl_req_n_seen(req)) {
    /* Both copies must meet in one worker. */
    if (tl_xw_message(p, worker, &req->origin, m, req->body, n)) tl_outbound_await(p, from, m);
    return TL_MERGED_ELSEWHERE;
  }
  if (!p->merged && !(p->merged = calloc(1, sizeof(*p->merged)))) return TL_MERGED_NO;
  struct merge *e = &p->merged->slot[id % SLOTS];
  uint64_t kept_ms = 64 * (uint64_t)tl_net_view(p->net)->conf->timeouts.t1;
  if (e->at_ms && e->id == id && e->key != key && tl_net_now_ms(p->net) - e->at_ms < kept_ms)
    return TL_MERGED_YES;
  /* Timer J of a reliable transport is 0: the transaction ends with its answer. */
  if (!tl_transport_is_reliable(from->transport))
    *e = (struct merge){id, key, tl_net_now_ms(p->net)};
  return TL_MERGED_NO;
}

void tl_merged_exit(struct tl_proxy *p) {
  free(p->merged);
  p->merged = NULL;
}
