/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Merged requests (RFC 3261 8.2.2.2): one request that forked before us and came
 * twice, for requests that we answer as their end. Those that we forward are the
 * callee's to judge (16.3 has no such step).
 *
 * Such answers are made without a transaction, so what 8.2.2.2 compares is kept
 * here, in a table that forgets: a request whose place is taken by another is
 * answered twice, which a stateless server may do (8.2.7).
 */
#include "proxy.h"

enum tl_merged tl_merged(struct tl_proxy *p, const struct tl_flow *from, const struct tl_msg *m,
                         const struct tl_body *body) {
  if (m->to_tag.n) return TL_MERGED_NO;
  uint64_t id = tl_token_merge(p, m), key = tl_token_tx_key(p, m);
  unsigned n = p->th.rt->n_worker, worker = n ? (unsigned)(id >> 32) % n : p->th.index;
  if (worker != p->th.index && !p->xw_hops) {
    tl_xw_message(p, worker, from, m, body, n); /* both copies must meet */
    return TL_MERGED_ELSEWHERE;
  }
  struct tl_merge *e = &p->merged[id % TL_MERGE_SLOTS];
  uint64_t kept_ms = 64 * (uint64_t)p->net.conf->timeouts.t1;
  if (e->at_ms && e->id == id && e->key != key && p->net.now_ms - e->at_ms < kept_ms)
    return TL_MERGED_YES;
  /* Timer J of a reliable transport is 0: there the transaction is over with its answer. */
  if (from->transport == TL_UDP) *e = (struct tl_merge){id, key, p->net.now_ms};
  return TL_MERGED_NO;
}
