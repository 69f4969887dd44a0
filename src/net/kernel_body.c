/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies that stay in the kernel. A body begins in a pipe. A pipe holds as many pieces as it has
 * slots, a TLS record or a part of a segment each; when it is full, or when the body is wanted more
 * than once, it moves on to a memfd, which costs one copy within the kernel. Leaving the one or the
 * other copies nothing (KTLS-FACTS 28, 29).
 */
#include "net/kernel_body.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "tieline/container.h"

/* 256 slots: what an unprivileged process may ask for (fs.pipe-max-size). With less it works, too,
 * bodies move to a memfd sooner. */
#define PIPE_BYTES (1 << 20)
#define IDLE_MS 1000u
#define PIECE_MIN 4096u /* memory behind a slot of a pipe, however few bytes are in it */

struct tl_kernel_body {
  struct tl_pipes *pipes;
  uint32_t refs;
  uint32_t len;     /* bytes in all */
  uint32_t in_file; /* of those, in the memfd */
  uint32_t in_pipe; /* behind them; the rest has left */
  uint32_t pieces;  /* how often the pipe was filled since it was empty */
  int pipe[2];      /* -1: none */
  int file;         /* -1: none */
  bool given;       /* a connection empties the pipe */
};

/* ---- pipes ---- */

static void close_pipe(int pipe[2]) {
  close(pipe[0]);
  close(pipe[1]);
  pipe[0] = pipe[1] = -1;
}

static void close_idle(struct tl_pipes *s) {
  while (s->n_idle) close_pipe(s->idle[--s->n_idle]);
}

static void on_idle_timer(struct tl_timer *t, void *arg) {
  struct tl_pipes *s = tl_container_of(t, struct tl_pipes, timer);
  (void)arg;
  if (s->used)
    tl_timer_start(s->wheel, t, IDLE_MS);
  else
    close_idle(s);
  s->used = false;
}

void tl_pipes_init(struct tl_pipes *s, struct tl_counters *counters, struct tl_wheel *wheel) {
  *s = (struct tl_pipes){.counters = counters, .wheel = wheel, .timer = {.fn = on_idle_timer}};
}

void tl_pipes_exit(struct tl_pipes *s) {
  tl_timer_stop(s->wheel, &s->timer);
  close_idle(s);
}

static bool take_pipe(struct tl_pipes *s, int pipe[2]) {
  s->used = true;
  if (s->n_idle) {
    memcpy(pipe, s->idle[--s->n_idle], sizeof(s->idle[0]));
    return true;
  }
  if (pipe2(pipe, O_CLOEXEC | O_NONBLOCK)) return false;
  fcntl(pipe[1], F_SETPIPE_SZ, PIPE_BYTES);
  return true;
}

/* Only an empty pipe may serve another body. */
static void leave_pipe(struct tl_kernel_body *k) {
  struct tl_pipes *s = k->pipes;
  if (k->pipe[0] < 0) return;
  if (k->in_pipe || s->n_idle == TL_PIPES_IDLE) {
    close_pipe(k->pipe);
    return;
  }
  memcpy(s->idle[s->n_idle++], k->pipe, sizeof(k->pipe));
  if (!tl_timer_running(&s->timer)) tl_timer_start(s->wheel, &s->timer, IDLE_MS);
  k->pipe[0] = k->pipe[1] = -1;
}

static bool is_pipe_full(const struct tl_kernel_body *k) {
  struct pollfd f = {.fd = k->pipe[1], .events = POLLOUT};
  return poll(&f, 1, 0) == 0;
}

/* ---- its life ---- */

struct tl_kernel_body *tl_kernel_body_new(struct tl_pipes *s) {
  struct tl_kernel_body *k;
  if (s->n_bodies == TL_KERNEL_BODIES_MAX || !(k = calloc(1, sizeof(*k)))) return NULL;
  if (!take_pipe(s, k->pipe)) {
    free(k);
    return NULL;
  }
  s->n_bodies++;
  k->pipes = s;
  k->refs = 1;
  k->file = -1;
  return k;
}

struct tl_kernel_body *tl_kernel_body_hold(struct tl_kernel_body *k) {
  k->refs++;
  return k;
}

void tl_kernel_body_put(struct tl_kernel_body *k) {
  if (!k || --k->refs) return;
  leave_pipe(k);
  if (k->file >= 0) close(k->file);
  k->pipes->n_bodies--;
  free(k);
}

uint32_t tl_kernel_body_len(const struct tl_kernel_body *k) { return k->len; }

uint32_t tl_kernel_body_bytes(const struct tl_kernel_body *k) {
  uint32_t slots = k->pieces * PIECE_MIN;
  return k->in_file + (slots > k->in_pipe ? slots : k->in_pipe);
}

bool tl_kernel_body_in_file(const struct tl_kernel_body *k) { return k->file >= 0; }

/* ---- filling ---- */

/* What the pipe holds, to the memfd. */
static int spill_pipe(struct tl_kernel_body *k) {
  if (k->file < 0) {
    k->file = memfd_create("tieline-body", MFD_CLOEXEC);
    if (k->file < 0) return TL_ENOMEM;
    tl_count(k->pipes->counters, TL_C_SPLICE_KEPT);
  }
  while (k->in_pipe) {
    loff_t at = k->in_file;
    ssize_t n =
        splice(k->pipe[0], NULL, k->file, &at, k->in_pipe, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return TL_ENOMEM;
    k->in_file += (uint32_t)n;
    k->in_pipe -= (uint32_t)n;
  }
  k->pieces = 0;
  return TL_OK;
}

static void count_in(struct tl_kernel_body *k, size_t n) {
  k->len += (uint32_t)n;
  k->in_pipe += (uint32_t)n;
  k->pieces++;
}

/* Whether a splice from or into a socket waits is its file's matter (a TLS socket heeds
 * SPLICE_F_NONBLOCK when it is read), and io_uring's own waiting ends where O_NONBLOCK is set: it
 * is set for this call alone. */
static ssize_t splice_at_once(int from, int to, int sock, size_t max, unsigned flags) {
  ssize_t n;
  if (sock >= 0 && fcntl(sock, F_SETFL, O_NONBLOCK)) return -errno;
  do n = splice(from, NULL, to, NULL, max, SPLICE_F_NONBLOCK | SPLICE_F_MOVE | flags);
  while (n < 0 && errno == EINTR);
  const int err = errno;
  if (sock >= 0) fcntl(sock, F_SETFL, 0);
  return n < 0 ? -err : n;
}

ssize_t tl_kernel_body_pull(struct tl_kernel_body *k, int fd, size_t max, bool plain) {
  for (;;) {
    ssize_t n = splice_at_once(fd, k->pipe[1], plain ? fd : -1, max, 0);
    if (n > 0) count_in(k, (size_t)n);
    /* Either side may have had no room or no bytes. */
    if (n != -EAGAIN || !k->in_pipe || !is_pipe_full(k)) return n;
    if (spill_pipe(k)) return -ENOMEM;
  }
}

int tl_kernel_body_append(struct tl_kernel_body *k, const void *p, size_t n) {
  const uint8_t *from = p;
  while (n) {
    ssize_t did = write(k->pipe[1], from, n);
    if (did > 0) {
      count_in(k, (size_t)did);
      from += did;
      n -= (size_t)did;
    } else if (did == 0 || errno == EAGAIN) {
      if (!k->in_pipe || spill_pipe(k)) return TL_ENOMEM;
    } else if (errno != EINTR) {
      return TL_ENOMEM;
    }
  }
  return TL_OK;
}

int tl_kernel_body_settle(struct tl_kernel_body *k) {
  if (k->given) return TL_EIO;
  int rc = spill_pipe(k);
  if (rc == TL_OK) leave_pipe(k);
  return rc;
}

int tl_kernel_body_done(struct tl_kernel_body *k) {
  return k->file < 0 ? TL_OK : tl_kernel_body_settle(k);
}

/* ---- leaving ---- */

bool tl_kernel_body_gone(const struct tl_kernel_body *k) { return k->given; }

void tl_kernel_body_give(struct tl_kernel_body *k) { k->given = k->file < 0; }

static ssize_t send_file(int file, uint32_t at, size_t max, int fd) {
  off_t from = at;
  ssize_t n;
  if (fcntl(fd, F_SETFL, O_NONBLOCK)) return -errno;
  do n = sendfile(fd, file, &from, max);
  while (n < 0 && errno == EINTR);
  const int err = errno;
  fcntl(fd, F_SETFL, 0);
  return n < 0 ? -err : n;
}

ssize_t tl_kernel_body_push(struct tl_kernel_body *k, uint32_t at, size_t max, int fd, bool more) {
  if (k->file >= 0) return send_file(k->file, at, max, fd);
  ssize_t n = splice_at_once(k->pipe[0], fd, fd, max, more ? SPLICE_F_MORE : 0);
  if (n > 0) k->in_pipe -= (uint32_t)n;
  return n;
}

int tl_kernel_body_read(const struct tl_kernel_body *k, uint32_t at, void *dst, size_t n) {
  uint8_t *to = dst;
  while (n) {
    ssize_t did = pread(k->file, to, n, at);
    if (did < 0 && errno == EINTR) continue;
    if (did <= 0) return TL_EIO;
    to += did;
    at += (uint32_t)did;
    n -= (size_t)did;
  }
  return TL_OK;
}

/* ---- as part of a body ---- */

int tl_body_copy(void *dst, const struct tl_body *b) {
  uint8_t *to = tl_body_copy_pieces(dst, b);
  if (!b || !b->kernel) return TL_OK;
  tl_count(b->kernel->pipes->counters, TL_C_SPLICE_OFF_COPIED);
  int rc = tl_kernel_body_settle(b->kernel);
  return rc ? rc : tl_kernel_body_read(b->kernel, 0, to, b->kernel->len);
}
