/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io_uring as the event loop of one thread: operations with a callback each,
 * and a ring of receive buffers.
 *
 * Every submission carries a struct tl_op, part of the object it works for; its
 * callback gets each completion. The object must stay until the last one (no
 * IORING_CQE_F_MORE) has come.
 *
 * Ownership: ring and buffers belong to the thread that made them. Threads: one.
 * Errors: TL_ENOTSUP with errno when the kernel refuses io_uring, TL_ENOMEM when it has no memory
 * for it or may lock no more.
 */
#pragma once

#include <liburing.h>
#include <stdbool.h>

#include "tieline/err.h"

struct tl_op {
  void (*fn)(struct tl_op *op, int res, uint32_t flags);
};

struct tl_ring {
  struct io_uring u;
};

/* ENTRIES submission slots. SINGLE_ISSUER and DEFER_TASKRUN where the kernel has them. Must be
 * called by the thread that will use it. */
int tl_ring_init(struct tl_ring *r, unsigned entries);
void tl_ring_exit(struct tl_ring *r);
/* Why tl_ring_init or tl_bufs_init just failed with RC, and what to do, as text. */
void tl_ring_why(int rc, char *err, size_t cap);
/* A slot for OP; never NULL: a full queue is submitted first. */
struct io_uring_sqe *tl_ring_sqe(struct tl_ring *r, struct tl_op *op);
/* Submits and waits up to TIMEOUT_MS for a completion. TL_EIO when the ring is unusable. */
int tl_ring_wait(struct tl_ring *r, uint32_t timeout_ms);
/* Has more completed meanwhile? Asks the kernel only when it has said so; never waits. */
bool tl_ring_more(struct tl_ring *r);
/* Runs the callbacks of all completions that are there; returns their number. */
int tl_ring_run(struct tl_ring *r);
/* Cancels what OP has in flight; its callback still gets the last completion. */
void tl_ring_cancel(struct tl_ring *r, struct tl_op *op);

/* Receive buffers, handed to the kernel as a group (provided-buffer ring). A buffer that came with
 * a completion belongs to the thread until tl_bufs_put. */
struct tl_bufs {
  struct io_uring_buf_ring *br;
  uint8_t *mem;
  uint32_t n, size; /* n a power of two */
  uint16_t group;
  uint32_t out;   /* buffers the thread holds */
  uint16_t *refs; /* references per buffer */
};
int tl_bufs_init(struct tl_bufs *b, struct tl_ring *r, uint16_t group, uint32_t n, uint32_t size);
void tl_bufs_exit(struct tl_bufs *b, struct tl_ring *r);
static inline uint8_t *tl_bufs_at(const struct tl_bufs *b, uint16_t id) {
  return b->mem + (size_t)id * b->size;
}
/* Takes the buffer of a completion with one reference. */
uint16_t tl_bufs_take(struct tl_bufs *b, uint32_t cqe_flags);
void tl_bufs_hold(struct tl_bufs *b, uint16_t id);
/* Drops a reference; the last gives the buffer back to the kernel. */
void tl_bufs_put(struct tl_bufs *b, uint16_t id);
