/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log's queue and its writer thread.
 *
 * Any thread claims a slot of a fixed ring, formats its line there and publishes
 * it; the writer alone does the slow part. Text and escaping are in
 * base/log_format.c.
 */
#include "tieline/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/uio.h>
#define SD_JOURNAL_SUPPRESS_LOCATION /* it would always be this file */
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "base/log_format.h"
#include "tieline/err.h"

#define QUEUE_MAX 65536
#define STOP_PATIENCE_MS 1000 /* how long a stalled reader may delay tl_log_stop */
#define JOURNAL_SOCKET "/run/systemd/journal/socket"

struct slot {
  _Atomic uint64_t turn; /* the position whose line it may take; plus one once that line is there */
  size_t len;
};

/* Positions only grow; the low bits of a position are its slot. The turn of a slot tells whether it
 * is free for that position, so a claim is one compare-and-swap and no thread waits for another. */
static struct {
  struct slot *slot;
  char *text;
  uint64_t mask;
  _Atomic uint64_t head; /* next position to claim */
  uint64_t reported;     /* lost lines reported so far, the writer's own */
  uint64_t tail;         /* next to write, the writer's own */
  int waited_ms;         /* for a reader of stderr since stopping began, the writer's own */
  sem_t wake;
  pthread_t thread;
  enum tl_log_target target;
  enum tl_log_format format;
} q;

static _Atomic bool running;   /* lines go to the queue */
static _Atomic bool stopping;  /* the writer ends once the queue is empty */
static _Atomic uint32_t users; /* threads inside the queue */
static _Atomic uint64_t dropped;
static _Atomic(tl_log_tell_fn) tell; /* NULL: nobody has more to say */

uint64_t tl_log_dropped(void) { return atomic_load_explicit(&dropped, memory_order_relaxed); }

/* Waits for room, so that a stuck reader of stderr cannot hold up tl_log_stop for good. */
static bool wait_writable(void) {
  for (;;) {
    struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
    const bool gave_up = q.waited_ms >= STOP_PATIENCE_MS;
    int rc = poll(&p, 1, gave_up ? 0 : 100);
    if (rc > 0 || (rc < 0 && errno != EINTR)) {
      q.waited_ms = 0;
      return true;
    }
    if (gave_up) return false;
    if (atomic_load(&stopping)) q.waited_ms += 100;
  }
}

static void write_stderr(const char *p, size_t n, bool may_wait) {
  while (n > 0) {
    if (may_wait && !wait_writable()) break;
    ssize_t w = write(STDERR_FILENO, p, n);
    if (w >= 0) {
      p += w;
      n -= (size_t)w;
    } else if (errno != EINTR && !(errno == EAGAIN && may_wait)) {
      break;
    }
  }
  if (n > 0) atomic_fetch_add(&dropped, 1);
}

static void write_journal(const char *p, size_t n) {
  struct iovec iov[64];
  int count = 0;
  for (size_t at = 0; at < n && count < 63;) {
    size_t len = strlen(p + at);
    iov[count++] = (struct iovec){(void *)(uintptr_t)(p + at), len};
    at += len + 1;
  }
  static char ident[] = "SYSLOG_IDENTIFIER=tieline";
  iov[count++] = (struct iovec){ident, sizeof(ident) - 1};
  if (sd_journal_sendv(iov, count) < 0) atomic_fetch_add(&dropped, 1);
}

static size_t format_line(const struct tl_log_record *r, char buf[TL_LOG_LINE]) {
  if (q.target == TL_LOG_JOURNAL) return tl_log_format_journal(r, buf);
  return tl_log_format(r, q.format, buf);
}

static void emit_line(const char *p, size_t n) {
  if (q.target == TL_LOG_JOURNAL)
    write_journal(p, n);
  else
    write_stderr(p, n, true);
}

static bool pop_line(void) {
  struct slot *s = &q.slot[q.tail & q.mask];
  if (atomic_load_explicit(&s->turn, memory_order_acquire) != q.tail + 1) return false;
  emit_line(q.text + (q.tail & q.mask) * TL_LOG_LINE, s->len);
  atomic_store_explicit(&s->turn, q.tail + q.mask + 1, memory_order_release);
  q.tail++;
  return true;
}

static void report_lost(void) {
  uint64_t now = tl_log_dropped();
  if (now == q.reported) return;
  const struct tl_field f[] = {TL_FI("lost", now - q.reported), TL_FI("lost_total", now)};
  struct tl_log_record r = {.level = TL_LOG_WARN,
                            .sentence = "Log lines were lost because the log could not keep up.",
                            .field = f,
                            .n = 2};
  char buf[TL_LOG_LINE];
  clock_gettime(CLOCK_REALTIME, &r.at);
  q.reported = now;
  emit_line(buf, format_line(&r, buf));
}

/* Waits until there are lines, or for MS if that is not negative. */
static void wait_for_lines(int ms) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += ms / 1000;
  until.tv_nsec += ms % 1000 * 1000000L;
  if (until.tv_nsec >= 1000000000L) {
    until.tv_sec++;
    until.tv_nsec -= 1000000000L;
  }
  while ((ms < 0 ? sem_wait(&q.wake) : sem_clockwait(&q.wake, CLOCK_MONOTONIC, &until)) < 0 &&
         errno == EINTR)
    continue;
}

static void *run_writer(void *arg) {
  (void)arg;
  pthread_setname_np(pthread_self(), "tl-log");
  for (int wait_ms = -1;;) {
    wait_for_lines(wait_ms);
    /* Read before the last pass: once it is true, no more lines come. */
    const bool last = atomic_load(&stopping);
    const tl_log_tell_fn tell_now = last ? NULL : atomic_load(&tell);
    wait_ms = tell_now ? tell_now() : -1;
    while (pop_line()) continue;
    report_lost();
    if (last) return NULL;
  }
}

/* False: no free slot. */
static bool push_line(const struct tl_log_record *r) {
  uint64_t at = atomic_load_explicit(&q.head, memory_order_relaxed);
  for (;;) {
    struct slot *s = &q.slot[at & q.mask];
    int64_t lag = (int64_t)(atomic_load_explicit(&s->turn, memory_order_acquire) - at);
    if (lag < 0) return false;
    if (lag > 0) {
      at = atomic_load_explicit(&q.head, memory_order_relaxed);
    } else if (atomic_compare_exchange_weak_explicit(&q.head, &at, at + 1, memory_order_relaxed,
                                                     memory_order_relaxed)) {
      s->len = format_line(r, q.text + (at & q.mask) * TL_LOG_LINE);
      atomic_store_explicit(&s->turn, at + 1, memory_order_release);
      sem_post(&q.wake);
      return true;
    }
  }
}

void tl_log_write(enum tl_log_level lvl, const char *sentence, const struct tl_field *f, size_t n) {
  struct tl_log_record r = {.level = lvl, .sentence = sentence, .field = f, .n = n};
  clock_gettime(CLOCK_REALTIME, &r.at);
  atomic_fetch_add(&users, 1);
  if (atomic_load(&running)) {
    if (!push_line(&r)) atomic_fetch_add_explicit(&dropped, 1, memory_order_relaxed);
  } else {
    char buf[TL_LOG_LINE];
    write_stderr(buf, tl_log_format(&r, q.format, buf), false);
  }
  atomic_fetch_sub(&users, 1);
}

void tl_log_wake(tl_log_tell_fn tell_next) {
  atomic_store(&tell, tell_next);
  atomic_fetch_add(&users, 1);
  if (atomic_load(&running)) sem_post(&q.wake);
  atomic_fetch_sub(&users, 1);
}

/* Signals belong to the control thread. */
static int start_thread(void) {
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  int rc = pthread_create(&q.thread, NULL, run_writer, NULL);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  return rc == 0 ? TL_OK : TL_ENOMEM;
}

static void free_queue(void) {
  free(q.slot);
  free(q.text);
  q.slot = NULL;
  q.text = NULL;
}

int tl_log_start(enum tl_log_target target, enum tl_log_format fmt, unsigned queue_lines) {
  if (atomic_load(&running)) return TL_EEXIST;
  if (queue_lines == 0 || queue_lines > QUEUE_MAX) return TL_EINVAL;
  /* sd_journal_sendv is silent when nobody listens; better to learn it now. */
  if (target == TL_LOG_JOURNAL && access(JOURNAL_SOCKET, W_OK) < 0) return TL_ENOTSUP;
  uint64_t cap = 2;
  while (cap < queue_lines) cap *= 2;
  q.slot = calloc(cap, sizeof(*q.slot));
  q.text = malloc(cap * TL_LOG_LINE);
  if (!q.slot || !q.text) {
    free_queue();
    return TL_ENOMEM;
  }
  for (uint64_t i = 0; i < cap; i++) atomic_init(&q.slot[i].turn, i);
  q.mask = cap - 1;
  q.tail = 0;
  q.reported = tl_log_dropped();
  q.waited_ms = 0;
  atomic_store(&q.head, 0);
  q.target = target;
  q.format = fmt;
  sem_init(&q.wake, 0, 0);
  atomic_store(&stopping, false);
  int rc = start_thread();
  if (rc)
    free_queue();
  else
    atomic_store(&running, true);
  return rc;
}

void tl_log_stop(void) {
  if (!atomic_exchange(&running, false)) return;
  while (atomic_load(&users) > 0) usleep(100);
  atomic_store(&stopping, true);
  sem_post(&q.wake);
  pthread_join(q.thread, NULL);
  sem_destroy(&q.wake);
  free_queue();
}
