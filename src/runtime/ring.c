/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io_uring of one thread and its provided-buffer rings. Knows nothing of
 * sockets' meaning; connections and listeners build on it.
 */
#include "tieline/ring.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int tl_ring_init(struct tl_ring *r, unsigned entries) {
  /* Newest first: DEFER_TASKRUN runs completions only when we ask for them (6.1). */
  static const unsigned flags[] = {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                       IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CQSIZE,
                                   IORING_SETUP_COOP_TASKRUN | IORING_SETUP_CQSIZE,
                                   IORING_SETUP_CQSIZE};
  memset(r, 0, sizeof(*r));
  int rc = -EINVAL;
  for (size_t i = 0; i < sizeof(flags) / sizeof(*flags) && rc == -EINVAL; i++) {
    struct io_uring_params p = {.flags = flags[i], .cq_entries = entries * 4};
    rc = io_uring_queue_init_params(entries, &r->u, &p);
  }
  if (rc == 0) return TL_OK;
  errno = -rc;
  return rc == -ENOMEM ? TL_ENOMEM : TL_ENOTSUP;
}

void tl_ring_why(int rc, char *err, size_t cap) {
  if (rc == TL_ENOMEM)
    snprintf(
        err, cap,
        "no memory for io_uring: the limit of locked memory counts for all processes of a user "
        "together; raise it (LimitMEMLOCK= of the unit, or ulimit -l)");
  else
    snprintf(err, cap,
             "the kernel refuses io_uring (%s): set sysctl kernel.io_uring_disabled=0 and allow "
             "io_uring in the seccomp profile",
             strerror(errno));
}

void tl_ring_exit(struct tl_ring *r) { io_uring_queue_exit(&r->u); }

struct io_uring_sqe *tl_ring_sqe(struct tl_ring *r, struct tl_op *op) {
  struct io_uring_sqe *sqe = io_uring_get_sqe(&r->u);
  while (!sqe) {
    io_uring_submit(&r->u);
    sqe = io_uring_get_sqe(&r->u);
  }
  /* The prep functions of liburing 2.3 leave user_data alone. */
  io_uring_sqe_set_data(sqe, op);
  return sqe;
}

int tl_ring_wait(struct tl_ring *r, uint32_t timeout_ms) {
  struct __kernel_timespec ts = {.tv_sec = timeout_ms / 1000,
                                 .tv_nsec = (long long)(timeout_ms % 1000) * 1000000};
  struct io_uring_cqe *cqe;
  int rc = io_uring_submit_and_wait_timeout(&r->u, &cqe, 1, &ts, NULL);
  bool passing = rc >= 0 || rc == -ETIME || rc == -EINTR || rc == -EBUSY || rc == -EAGAIN;
  return passing ? TL_OK : TL_EIO;
}

int tl_ring_run(struct tl_ring *r) {
  struct io_uring_cqe *cqe;
  unsigned head, n = 0;
  io_uring_for_each_cqe(&r->u, head, cqe) {
    struct tl_op *op = io_uring_cqe_get_data(cqe);
    n++;
    if (op) op->fn(op, cqe->res, cqe->flags);
  }
  io_uring_cq_advance(&r->u, n);
  return (int)n;
}

bool tl_ring_more(struct tl_ring *r) {
  if (!(IO_URING_READ_ONCE(*r->u.sq.kflags) & IORING_SQ_TASKRUN)) return false;
  io_uring_get_events(&r->u);
  return io_uring_cq_ready(&r->u) > 0;
}

void tl_ring_cancel(struct tl_ring *r, struct tl_op *op) {
  struct io_uring_sqe *sqe = tl_ring_sqe(r, NULL);
  io_uring_prep_cancel(sqe, op, 0);
  io_uring_sqe_set_data(sqe, NULL);
}

int tl_bufs_init(struct tl_bufs *b, struct tl_ring *r, uint16_t group, uint32_t n, uint32_t size) {
  memset(b, 0, sizeof(*b));
  size_t br_len = n * sizeof(struct io_uring_buf);
  b->n = n;
  b->size = size;
  b->group = group;
  b->refs = calloc(n, sizeof(*b->refs));
  void *m =
      mmap(NULL, br_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  b->br = m == MAP_FAILED ? NULL : m;
  /* Populated now, so that later growth of the process is never the ring's. */
  m = mmap(NULL, (size_t)n * size, PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  b->mem = m == MAP_FAILED ? NULL : m;
  if (!b->refs || !b->br || !b->mem) {
    tl_bufs_exit(b, NULL);
    return TL_ENOMEM;
  }
  struct io_uring_buf_reg reg = {
      .ring_addr = (uint64_t)(uintptr_t)b->br, .ring_entries = n, .bgid = group};
  int rc = io_uring_register_buf_ring(&r->u, &reg, 0);
  if (rc < 0) {
    tl_bufs_exit(b, NULL);
    errno = -rc;
    return rc == -ENOMEM ? TL_ENOMEM : TL_ENOTSUP;
  }
  io_uring_buf_ring_init(b->br);
  for (uint32_t i = 0; i < n; i++)
    io_uring_buf_ring_add(b->br, tl_bufs_at(b, (uint16_t)i), size, (uint16_t)i,
                          io_uring_buf_ring_mask(n), (int)i);
  io_uring_buf_ring_advance(b->br, (int)n);
  return TL_OK;
}

void tl_bufs_exit(struct tl_bufs *b, struct tl_ring *r) {
  if (r && b->br) io_uring_unregister_buf_ring(&r->u, b->group);
  if (b->br) munmap(b->br, b->n * sizeof(struct io_uring_buf));
  if (b->mem) munmap(b->mem, (size_t)b->n * b->size);
  free(b->refs);
  memset(b, 0, sizeof(*b));
}

uint16_t tl_bufs_take(struct tl_bufs *b, uint32_t cqe_flags) {
  uint16_t id = (uint16_t)(cqe_flags >> IORING_CQE_BUFFER_SHIFT);
  b->refs[id] = 1;
  b->out++;
  return id;
}

void tl_bufs_hold(struct tl_bufs *b, uint16_t id) { b->refs[id]++; }

void tl_bufs_put(struct tl_bufs *b, uint16_t id) {
  if (--b->refs[id]) return;
  b->out--;
  io_uring_buf_ring_add(b->br, tl_bufs_at(b, id), b->size, id, io_uring_buf_ring_mask(b->n), 0);
  io_uring_buf_ring_advance(b->br, 1);
}
