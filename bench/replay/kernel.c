/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel of the replay. It stands in for the functions of liburing and of
 * the C library that reach the kernel: the program's own definitions come before
 * those of the shared libraries. Descriptors are of /dev/null, so that they can
 * be closed; what is sent and received is memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>

#include "replay.h"

#define ENTRIES 1024u
#define CQES 8192u
#define FDS 1024
#define GROUPS 4
#define SENT_MAX (1u << 20)
#define DGRAMS 256
#define DGRAM_MAX 4096

/* What a descriptor stands for, and what is armed on it. */
struct stand_in {
  struct tl_addr local, peer;
  int type; /* SOCK_STREAM or SOCK_DGRAM; 0: not one of ours */
  bool listens, dialed;
  uint64_t recv, accept, poll; /* user_data of the operation, 0: none */
  uint16_t group;
  uint8_t *sent;
  size_t n_sent;
};

struct datagram {
  struct tl_addr to;
  size_t n;
  uint8_t data[DGRAM_MAX];
};

static struct {
  struct io_uring *ring;
  unsigned sq_head, sq_tail, sq_flags, cq_head, cq_tail;
  struct io_uring_sqe sqe[ENTRIES];
  struct io_uring_cqe cqe[CQES];
  struct io_uring_cqe later[CQES]; /* completions of this turn, seen in the next */
  unsigned n_later;
  struct io_uring_buf_ring *bufs[GROUPS];
  unsigned n_buf[GROUPS];
  uint16_t buf_head[GROUPS];
  struct stand_in fd[FDS];
  struct datagram *dgram;
  unsigned n_dgram;
  uint64_t now_ms;
} k = {.now_ms = 1000000};

/* ---- time and chance ---- */

void replay_clock_advance(uint32_t ms) { k.now_ms += ms; }

int clock_gettime(clockid_t id, struct timespec *t) {
  t->tv_sec = (time_t)(k.now_ms / 1000) + (id == CLOCK_MONOTONIC ? 0 : 1800000000);
  t->tv_nsec = (long)(k.now_ms % 1000) * 1000000;
  return 0;
}

ssize_t getrandom(void *p, size_t n, unsigned flags) {
  static uint64_t state = 0x9e3779b97f4a7c15u;
  uint8_t *b = p;
  (void)flags;
  for (size_t i = 0; i < n; i++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    b[i] = (uint8_t)(state >> 56);
  }
  return (ssize_t)n;
}

/* ---- sockets ---- */

static struct stand_in *stand_in_of(int fd) {
  if (fd < 0 || fd >= FDS || !k.fd[fd].type) replay_die("descriptor %d is not a socket", fd);
  return &k.fd[fd];
}

int socket(int domain, int type, int protocol) {
  int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  (void)protocol;
  if (fd < 0 || fd >= FDS) replay_die("too many descriptors");
  memset(&k.fd[fd], 0, sizeof(k.fd[fd]));
  k.fd[fd].type = type & (SOCK_STREAM | SOCK_DGRAM);
  k.fd[fd].local.sa.sa_family = (sa_family_t)domain;
  return fd;
}

int bind(int fd, const struct sockaddr *a, socklen_t n) {
  memcpy(&stand_in_of(fd)->local, a, n);
  return 0;
}

int listen(int fd, int backlog) {
  (void)backlog;
  stand_in_of(fd)->listens = true;
  return 0;
}

int setsockopt(int fd, int level, int name, const void *p, socklen_t n) {
  (void)fd, (void)level, (void)name, (void)p, (void)n;
  return 0;
}

static int copy_name(const struct tl_addr *from, struct sockaddr *a, socklen_t *n) {
  memcpy(a, from, tl_addr_len(from));
  *n = tl_addr_len(from);
  return 0;
}

int getsockname(int fd, struct sockaddr *a, socklen_t *n) {
  return copy_name(&stand_in_of(fd)->local, a, n);
}

int getpeername(int fd, struct sockaddr *a, socklen_t *n) {
  return copy_name(&stand_in_of(fd)->peer, a, n);
}

int replay_socket(const struct tl_addr *peer) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  k.fd[fd].peer = *peer;
  tl_addr_parse(TL_STR("127.0.0.1"), 40000, &k.fd[fd].local);
  k.fd[fd].sent = malloc(SENT_MAX);
  return fd;
}

static int find_socket(int type) {
  for (int fd = 0; fd < FDS; fd++)
    if (k.fd[fd].type == type && (k.fd[fd].listens || type == SOCK_DGRAM)) return fd;
  replay_die("the worker has no listener of that type");
}

int replay_udp_socket(void) { return find_socket(SOCK_DGRAM); }

int replay_dialed(const struct tl_addr *peer) {
  for (int fd = 0; fd < FDS; fd++)
    if (k.fd[fd].dialed && tl_addr_eq(&k.fd[fd].peer, peer)) return fd;
  return -1;
}

/* ---- completions ---- */

static void complete(uint64_t user_data, int res, uint32_t flags) {
  if (k.cq_tail - k.cq_head == CQES) replay_die("the completion queue is full");
  k.cqe[k.cq_tail++ % CQES] =
      (struct io_uring_cqe){.user_data = user_data, .res = res, .flags = flags};
}

static void complete_later(uint64_t user_data, int res) {
  if (k.n_later == CQES) replay_die("too many operations in one turn");
  k.later[k.n_later++] = (struct io_uring_cqe){.user_data = user_data, .res = res};
}

/* The next buffer of GROUP and its number. */
static uint8_t *next_buffer(uint16_t group, size_t n, uint32_t *out_flags) {
  struct io_uring_buf_ring *br = k.bufs[group];
  uint16_t head = k.buf_head[group]++;
  if (head == br->tail) replay_die("no receive buffer is left");
  const struct io_uring_buf *b = &br->bufs[head & (k.n_buf[group] - 1)];
  if (n > b->len) replay_die("%zu bytes do not fit into a receive buffer", n);
  *out_flags =
      IORING_CQE_F_BUFFER | IORING_CQE_F_MORE | (uint32_t)b->bid << IORING_CQE_BUFFER_SHIFT;
  return (uint8_t *)(uintptr_t)b->addr;
}

void replay_receive(int fd, const void *p, size_t n) {
  const struct stand_in *s = stand_in_of(fd);
  uint32_t flags;
  if (!s->recv) replay_die("nothing is received on descriptor %d", fd);
  memcpy(next_buffer(s->group, n, &flags), p, n);
  complete(s->recv, (int)n, flags);
}

void replay_receive_from(const struct tl_addr *from, const void *p, size_t n) {
  const struct stand_in *s = stand_in_of(replay_udp_socket());
  const size_t name_len = sizeof(struct sockaddr_in6), head = sizeof(struct io_uring_recvmsg_out);
  const struct io_uring_recvmsg_out o = {.namelen = tl_addr_len(from), .payloadlen = (uint32_t)n};
  uint32_t flags;
  if (!s->recv) replay_die("nothing is received by UDP");
  uint8_t *b = next_buffer(s->group, head + name_len + n, &flags);
  memcpy(b, &o, head);
  memcpy(b + head, from, o.namelen);
  memcpy(b + head + name_len, p, n);
  complete(s->recv, (int)(head + name_len + n), flags);
}

int replay_connect(const struct tl_addr *client) {
  const struct stand_in *l = stand_in_of(find_socket(SOCK_STREAM));
  int fd = replay_socket(client);
  k.fd[fd].local = l->local;
  complete(l->accept, fd, IORING_CQE_F_MORE);
  return fd;
}

void replay_poll_mail(int efd) {
  if (k.fd[efd].poll) complete(k.fd[efd].poll, 1, 0);
  k.fd[efd].poll = 0;
}

/* ---- what was sent ---- */

static void keep_sent(struct stand_in *s, const void *p, size_t n) {
  if (s->n_sent + n > SENT_MAX) replay_die("too much is sent at once");
  memcpy(s->sent + s->n_sent, p, n);
  s->n_sent += n;
}

static int send_message(struct stand_in *s, const struct msghdr *m) {
  size_t n = 0;
  struct datagram *d = NULL;
  if (s->type == SOCK_DGRAM) {
    if (!k.dgram) k.dgram = calloc(DGRAMS, sizeof(*k.dgram));
    if (k.n_dgram == DGRAMS) replay_die("too many datagrams at once");
    d = &k.dgram[k.n_dgram++];
    memcpy(&d->to, m->msg_name, m->msg_namelen);
  }
  for (size_t i = 0; i < m->msg_iovlen; i++) {
    if (d && n + m->msg_iov[i].iov_len > DGRAM_MAX) replay_die("a datagram is too long");
    if (d)
      memcpy(d->data + n, m->msg_iov[i].iov_base, m->msg_iov[i].iov_len);
    else
      keep_sent(s, m->msg_iov[i].iov_base, m->msg_iov[i].iov_len);
    n += m->msg_iov[i].iov_len;
  }
  if (d) d->n = n;
  return (int)n;
}

size_t replay_take_sent(int fd, uint8_t *p, size_t cap) {
  struct stand_in *s = stand_in_of(fd);
  const size_t n = s->n_sent;
  if (n > cap) replay_die("more was sent than is taken");
  memcpy(p, s->sent, n);
  s->n_sent = 0;
  return n;
}

size_t replay_take_datagram(const struct tl_addr *to, uint8_t *p, size_t cap) {
  for (unsigned i = 0; i < k.n_dgram; i++) {
    const size_t n = k.dgram[i].n;
    if (!tl_addr_eq(&k.dgram[i].to, to)) continue;
    if (n > cap) replay_die("a datagram is too long");
    memcpy(p, k.dgram[i].data, n);
    memmove(&k.dgram[i], &k.dgram[i + 1], (--k.n_dgram - i) * sizeof(*k.dgram));
    return n;
  }
  return 0;
}

/* ---- operations ---- */

static void cancel_operation(uint64_t user_data) {
  for (int fd = 0; fd < FDS; fd++) {
    uint64_t *armed[] = {&k.fd[fd].recv, &k.fd[fd].accept, &k.fd[fd].poll};
    for (int i = 0; i < 3; i++)
      if (*armed[i] == user_data) {
        *armed[i] = 0;
        complete_later(user_data, -ECANCELED);
      }
  }
}

static void begin_connect(const struct io_uring_sqe *q) {
  struct stand_in *s = stand_in_of(q->fd);
  memcpy(&s->peer, (const void *)(uintptr_t)q->addr, (size_t)q->off);
  tl_addr_parse(TL_STR("127.0.0.1"), 40000, &s->local);
  s->dialed = true;
  s->sent = malloc(SENT_MAX);
  complete_later(q->user_data, 0);
}

static void begin_operation(const struct io_uring_sqe *q) {
  const void *at = (const void *)(uintptr_t)q->addr;
  switch (q->opcode) {
  case IORING_OP_POLL_ADD: k.fd[q->fd].poll = q->user_data; break;
  case IORING_OP_ACCEPT: stand_in_of(q->fd)->accept = q->user_data; break;
  case IORING_OP_RECV:
  case IORING_OP_RECVMSG:
    stand_in_of(q->fd)->recv = q->user_data;
    stand_in_of(q->fd)->group = q->buf_group;
    break;
  case IORING_OP_SEND:
    keep_sent(stand_in_of(q->fd), at, q->len);
    complete_later(q->user_data, (int)q->len);
    break;
  case IORING_OP_SENDMSG: complete_later(q->user_data, send_message(stand_in_of(q->fd), at)); break;
  case IORING_OP_CONNECT: begin_connect(q); break;
  case IORING_OP_ASYNC_CANCEL: cancel_operation(q->addr); break;
  default: replay_die("operation %u is not known to the replay", q->opcode);
  }
}

int io_uring_submit(struct io_uring *ring) {
  int n = 0;
  for (; k.sq_head != ring->sq.sqe_tail; k.sq_head++, n++)
    begin_operation(&k.sqe[k.sq_head % ENTRIES]);
  return n;
}

int io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned n,
                                     struct __kernel_timespec *ts, sigset_t *mask) {
  (void)cqe, (void)n, (void)ts, (void)mask;
  for (unsigned i = 0; i < k.n_later; i++) complete(k.later[i].user_data, k.later[i].res, 0);
  k.n_later = 0;
  return io_uring_submit(ring);
}

int io_uring_get_events(struct io_uring *ring) {
  (void)ring;
  return 0;
}

/* ---- the ring ---- */

int io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *p) {
  (void)p;
  if (k.ring || entries > ENTRIES) return -ENOMEM;
  memset(ring, 0, sizeof(*ring));
  ring->sq.khead = &k.sq_head;
  ring->sq.ktail = &k.sq_tail;
  ring->sq.kflags = &k.sq_flags;
  ring->sq.sqes = k.sqe;
  ring->sq.ring_entries = ENTRIES;
  ring->sq.ring_mask = ENTRIES - 1;
  ring->cq.khead = &k.cq_head;
  ring->cq.ktail = &k.cq_tail;
  ring->cq.cqes = k.cqe;
  ring->cq.ring_entries = CQES;
  ring->cq.ring_mask = CQES - 1;
  k.ring = ring;
  return 0;
}

void io_uring_queue_exit(struct io_uring *ring) { (void)ring; }

int io_uring_register_buf_ring(struct io_uring *ring, struct io_uring_buf_reg *reg,
                               unsigned flags) {
  (void)ring, (void)flags;
  if (reg->bgid >= GROUPS) return -EINVAL;
  k.bufs[reg->bgid] = (struct io_uring_buf_ring *)(uintptr_t)reg->ring_addr;
  k.n_buf[reg->bgid] = reg->ring_entries;
  return 0;
}

int io_uring_unregister_buf_ring(struct io_uring *ring, int group) {
  (void)ring;
  k.bufs[group] = NULL;
  return 0;
}
