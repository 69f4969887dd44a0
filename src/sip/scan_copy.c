/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scan of a message for a copy of its head that stands elsewhere: what is an
 * offset stays, the slices move along.
 */
#include "tieline/scan.h"

/* Every slice of a struct tl_msg that may point into the head. */
#define SLICES(X)                                                                                  \
  X(method_name)                                                                                   \
  X(uri)                                                                                           \
  X(ruri.whole)                                                                                    \
  X(ruri.user)                                                                                     \
  X(ruri.password)                                                                                 \
  X(ruri.host)                                                                                     \
  X(ruri.params)                                                                                   \
  X(ruri.headers)                                                                                  \
  X(reason)                                                                                        \
  X(cseq_method)                                                                                   \
  X(call_id)                                                                                       \
  X(from_uri)                                                                                      \
  X(from_tag)                                                                                      \
  X(to_tag)                                                                                        \
  X(via.whole)                                                                                     \
  X(via.transport)                                                                                 \
  X(via.host)                                                                                      \
  X(via.params)                                                                                    \
  X(via.branch)                                                                                    \
  X(via.received)                                                                                  \
  X(via.rport_param)

size_t tl_msg_scan_size(const struct tl_msg *m) {
  return offsetof(struct tl_msg, hdr) + m->n_hdr * sizeof(m->hdr[0]);
}

/* Empty slices move too: where they point says nothing. They are read from M: a processor waits for
 * what a wide store has just left in the copy. */
const struct tl_msg *tl_msg_copy_scan(const struct tl_msg *m, const char *p, void *at) {
  struct tl_msg *dst = at;
  const uintptr_t move = (uintptr_t)p - (uintptr_t)m->p;
  memcpy(dst, m, tl_msg_scan_size(m));
  dst->p = p;
#define MOVE(s) dst->s.p = (const char *)((uintptr_t)m->s.p + move);
  SLICES(MOVE)
  return dst;
}
