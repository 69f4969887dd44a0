/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which parts of io_uring this kernel offers, found by trying each. The event
 * loop itself is src/runtime/ring.c.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ktls/ktls_internal.h"

#define BUF_GROUP 1
#define BUF_SIZE 256
#define PAGE 4096

static int read_sysctl(const char *path) {
  int v = -1;
  FILE *f = fopen(path, "re");
  if (!f) return -1;
  if (fscanf(f, "%d", &v) != 1) v = -1;
  fclose(f);
  return v;
}

/* The next completion within a second, or -ETIME. */
static int wait_cqe(struct io_uring *u, unsigned *out_flags) {
  struct io_uring_cqe *cqe;
  struct __kernel_timespec second = {.tv_sec = 1};
  io_uring_submit(u);
  int rc = io_uring_wait_cqe_timeout(u, &cqe, &second);
  if (rc < 0) return rc;
  rc = cqe->res;
  *out_flags = cqe->flags;
  io_uring_cqe_seen(u, cqe);
  return rc;
}

static bool try_recv_multishot(struct io_uring *u) {
  int fd[2];
  unsigned flags = 0;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0) return false;
  struct io_uring_sqe *sqe = io_uring_get_sqe(u);
  io_uring_prep_recv_multishot(sqe, fd[0], NULL, 0, 0);
  sqe->flags |= IOSQE_BUFFER_SELECT;
  sqe->buf_group = BUF_GROUP;
  io_uring_submit(u);
  bool ok = write(fd[1], "x", 1) == 1 && wait_cqe(u, &flags) == 1 && (flags & IORING_CQE_F_MORE);
  close(fd[0]);
  close(fd[1]);
  return ok;
}

/* MEM: two pages, the ring and its one buffer; the kernel may use them until the ring is closed. */
static void try_buffers(struct io_uring *u, uint8_t *mem, struct tl_uring_caps *out) {
  struct io_uring_buf_ring *br = (struct io_uring_buf_ring *)(void *)mem;
  struct io_uring_buf_reg reg = {
      .ring_addr = (uint64_t)(uintptr_t)br, .ring_entries = 8, .bgid = BUF_GROUP};
  if (io_uring_register_buf_ring(u, &reg, 0) < 0) return;
  out->buf_ring = true;
  io_uring_buf_ring_init(br);
  io_uring_buf_ring_add(br, mem + PAGE, BUF_SIZE, 0, io_uring_buf_ring_mask(8), 0);
  io_uring_buf_ring_advance(br, 1);
  out->recv_multishot = try_recv_multishot(u);
}

static bool try_accept_multishot(struct io_uring *u) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof(a);
  unsigned flags = 0;
  int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int c = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), s = -1;
  if (l < 0 || c < 0 || bind(l, (struct sockaddr *)&a, len) < 0 || listen(l, 1) < 0 ||
      getsockname(l, (struct sockaddr *)&a, &len) < 0)
    goto out;
  io_uring_prep_multishot_accept(io_uring_get_sqe(u), l, NULL, NULL, 0);
  io_uring_submit(u);
  if (connect(c, (struct sockaddr *)&a, len) == 0) s = wait_cqe(u, &flags);
out:
  if (s >= 0) close(s);
  if (c >= 0) close(c);
  if (l >= 0) close(l);
  return s >= 0 && (flags & IORING_CQE_F_MORE);
}

static void probe_ring(struct io_uring *u, struct tl_uring_caps *out) {
  struct io_uring_probe *p = io_uring_get_probe_ring(u);
  if (p) {
    out->msg_ring = io_uring_opcode_supported(p, IORING_OP_MSG_RING);
    io_uring_free_probe(p);
  }
  out->accept_multishot = try_accept_multishot(u);
}

void tl_uring_probe(struct tl_uring_caps *out) {
  struct io_uring u;
  struct io_uring_params wanted = {.flags =
                                       IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
  *out = (struct tl_uring_caps){.disabled = read_sysctl("/proc/sys/kernel/io_uring_disabled")};
  int rc = io_uring_queue_init_params(8, &u, &wanted);
  out->single_issuer = rc == 0;
  if (rc < 0) rc = io_uring_queue_init(8, &u, 0);
  if (rc < 0) {
    out->err_setup = -rc;
    return;
  }
  probe_ring(&u, out);
  uint8_t *mem = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mem != MAP_FAILED) try_buffers(&u, mem, out);
  io_uring_queue_exit(&u);
  if (mem != MAP_FAILED) munmap(mem, 2 * PAGE);
}
