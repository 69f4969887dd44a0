/* SPDX-License-Identifier: Apache-2.0 */
/* See krx.h. */
#include "krx.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GROUP 1

static void give(struct krx *r, unsigned id) {
  io_uring_buf_ring_add(r->br, r->mem + (size_t)id * KRX_BUF_SIZE, KRX_BUF_SIZE, (unsigned short)id,
                        io_uring_buf_ring_mask(KRX_BUFS), 0);
  io_uring_buf_ring_advance(r->br, 1);
}

void krx_init(struct krx *r) {
  cr_assert_eq(
      io_uring_queue_init(32, &r->u, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN), 0);
  cr_assert_eq(posix_memalign((void **)&r->br, 4096, 4096), 0);
  cr_assert_eq(posix_memalign((void **)&r->mem, 4096, (size_t)KRX_BUFS * KRX_BUF_SIZE), 0);
  struct io_uring_buf_reg reg = {
      .ring_addr = (uint64_t)(uintptr_t)r->br, .ring_entries = KRX_BUFS, .bgid = GROUP};
  memset(r->br, 0, 4096);
  cr_assert_eq(io_uring_register_buf_ring(&r->u, &reg, 0), 0);
  io_uring_buf_ring_init(r->br);
  for (unsigned i = 0; i < KRX_BUFS; i++) give(r, i);
}

void krx_exit(struct krx *r) {
  io_uring_queue_exit(&r->u);
  free(r->br);
  free(r->mem);
}

void krx_arm(struct krx *r, int fd) {
  struct io_uring_sqe *sqe = io_uring_get_sqe(&r->u);
  io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
  sqe->flags |= IOSQE_BUFFER_SELECT;
  sqe->buf_group = GROUP;
  sqe->user_data = 1;
  io_uring_submit(&r->u);
}

static int wait_cqe(struct krx *r, int ms, struct io_uring_cqe **out) {
  struct __kernel_timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long long)(ms % 1000) * 1000000};
  int rc;
  do rc = io_uring_wait_cqe_timeout(&r->u, out, &t);
  while (rc == -EINTR);
  return rc;
}

void krx_next(struct krx *r, int ms, struct krx_event *out) {
  struct io_uring_cqe *cqe;
  out->flags = 0;
  out->res = wait_cqe(r, ms, &cqe);
  if (out->res < 0) return;
  out->res = cqe->res;
  out->flags = cqe->flags;
  if (cqe->flags & IORING_CQE_F_BUFFER) {
    unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
    if (cqe->res > 0) memcpy(out->data, r->mem + (size_t)id * KRX_BUF_SIZE, (size_t)cqe->res);
    give(r, id);
  }
  io_uring_cqe_seen(&r->u, cqe);
}

int krx_send(struct krx *r, int fd, const void *p, size_t n, int flags) {
  struct io_uring_cqe *cqe;
  struct io_uring_sqe *sqe = io_uring_get_sqe(&r->u);
  io_uring_prep_send(sqe, fd, p, n, flags | MSG_NOSIGNAL);
  sqe->user_data = 2;
  io_uring_submit(&r->u);
  int rc = wait_cqe(r, 5000, &cqe);
  if (rc < 0) return rc;
  rc = cqe->res;
  cr_assert_eq(cqe->user_data, 2);
  io_uring_cqe_seen(&r->u, cqe);
  return rc;
}
