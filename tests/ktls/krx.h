/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An io_uring with one group of receive buffers, as the workers use it, for the
 * kernel-TLS tests.
 *
 * Ownership: krx_exit frees all. Threads: one. Errors: setting up fails the test.
 */
#pragma once

#include <liburing.h>
#include <stdint.h>

#define KRX_BUFS 16
#define KRX_BUF_SIZE 4096

struct krx {
  struct io_uring u;
  struct io_uring_buf_ring *br;
  uint8_t *mem;
};

struct krx_event {
  int res;
  unsigned flags;
  uint8_t data[KRX_BUF_SIZE]; /* with res > 0 and a buffer */
};

void krx_init(struct krx *r);
void krx_exit(struct krx *r);
/* Arms a multishot receive without room for control messages. */
void krx_arm(struct krx *r, int fd);
/* The next completion within MS milliseconds; -ETIME in res if none. Gives the buffer back. */
void krx_next(struct krx *r, int ms, struct krx_event *out);
/* One plain send, waits for it; the result. FLAGS as send(2). */
int krx_send(struct krx *r, int fd, const void *p, size_t n, int flags);
