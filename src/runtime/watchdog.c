/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The watchdog thread of debug builds. The stack is printed by the worker
 * itself, in the handler of a signal: nothing else can unwind it.
 *
 * TL_WATCHDOG_TRY=sleep or =spin in the environment lets the first worker block
 * for TRY_MS in its TRY_TURN-th turn, for the test that it is found.
 */
#include "runtime/watchdog.h"

#ifdef TL_WATCHDOG

#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tieline/runtime.h"

#define TICK_MS 5
#define FRAMES 64
#define TRY_MS 80
#define TRY_TURN 20
#define WATCHDOG_SIGNAL (SIGRTMIN + 3)

/* A worker as the watchdog sees it. */
struct watched {
  _Atomic uint64_t turn; /* odd: within a turn */
  bool there;
  pthread_t thread;
  pid_t tid;
  /* The watchdog's own. */
  uint64_t seen_turn;
  uint64_t cpu_at_begin_us; /* its processor time when SEEN_TURN was seen first */
  uint64_t cpu_us, look_us; /* at the last look: its processor time, and when that was */
  uint64_t asleep_us;       /* it has slept for so long in that turn */
  bool asleep, reported;
};

static struct watched watched[TL_THREADS_MAX];
static pthread_mutex_t look_mu = PTHREAD_MUTEX_INITIALIZER; /* held while workers are looked at */
static pthread_once_t started = PTHREAD_ONCE_INIT;

static uint64_t clock_us(clockid_t id) {
  struct timespec t;
  if (clock_gettime(id, &t)) return 0;
  return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* ---- in the worker ---- */

static void print_stack(int sig) {
  static const char head[] = "watchdog: stack of the worker:\n";
  void *frame[FRAMES];
  (void)sig;
  int n = backtrace(frame, FRAMES);
  if (write(STDERR_FILENO, head, sizeof(head) - 1) > 0) backtrace_symbols_fd(frame, n, 2);
}

/* Blocks on purpose, once, if the environment asks for it. */
static void try_block(unsigned index, uint64_t turn) {
  const char *how = getenv("TL_WATCHDOG_TRY");
  const struct timespec pause = {.tv_nsec = TRY_MS * 1000000};
  if (index != 0 || turn != 2 * TRY_TURN + 1 || !how) return;
  const uint64_t until = clock_us(CLOCK_THREAD_CPUTIME_ID) + TRY_MS * 1000;
  if (strcmp(how, "sleep") == 0) nanosleep(&pause, NULL);
  while (strcmp(how, "spin") == 0 && clock_us(CLOCK_THREAD_CPUTIME_ID) < until) {
  }
}

void tl_watchdog_turn_begin(unsigned index) {
  try_block(index, atomic_fetch_add_explicit(&watched[index].turn, 1, memory_order_relaxed) + 1);
}

void tl_watchdog_turn_end(unsigned index) {
  atomic_fetch_add_explicit(&watched[index].turn, 1, memory_order_relaxed);
}

/* ---- the watchdog ---- */

/* Is the thread asleep ('S') or waiting for a disk ('D')? */
static bool is_asleep(pid_t tid) {
  char path[64], text[128] = "";
  snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)tid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t n = read(fd, text, sizeof(text) - 1);
  close(fd);
  const char *state = n > 0 ? strrchr(text, ')') : NULL;
  return state && (state[2] == 'S' || state[2] == 'D');
}

static uint64_t cpu_of(const struct watched *w) {
  clockid_t id;
  return pthread_getcpuclockid(w->thread, &id) ? 0 : clock_us(id);
}

/* Asleep at the last look and now, without a microsecond of processor time between: it slept. */
static void count_sleep(struct watched *w, uint64_t now_us, uint64_t cpu_us) {
  const bool asleep = is_asleep(w->tid);
  if (asleep && w->asleep && cpu_us == w->cpu_us) w->asleep_us += now_us - w->look_us;
  w->asleep = asleep;
  w->cpu_us = cpu_us;
  w->look_us = now_us;
}

static void look_at(struct watched *w, unsigned index) {
  const uint64_t turn = atomic_load_explicit(&w->turn, memory_order_relaxed);
  const uint64_t now_us = clock_us(CLOCK_MONOTONIC), cpu_us = cpu_of(w);
  if (turn != w->seen_turn) {
    w->seen_turn = turn;
    w->cpu_at_begin_us = cpu_us;
    w->asleep_us = 0;
    w->asleep = w->reported = false;
  }
  if (turn % 2 == 0 || w->reported) return;
  count_sleep(w, now_us, cpu_us);
  const uint64_t ran_us = cpu_us - w->cpu_at_begin_us;
  if (ran_us + w->asleep_us < TL_WATCHDOG_MS * 1000) return;
  w->reported = true;
  dprintf(STDERR_FILENO, "watchdog: worker %u has not come round: ran %u ms, slept %u ms\n", index,
          (unsigned)(ran_us / 1000), (unsigned)(w->asleep_us / 1000));
  pthread_kill(w->thread, WATCHDOG_SIGNAL);
}

static void *watchdog_main(void *arg) {
  const struct timespec tick = {.tv_nsec = TICK_MS * 1000000};
  (void)arg;
  pthread_setname_np(pthread_self(), "watchdog");
  for (;;) {
    nanosleep(&tick, NULL);
    pthread_mutex_lock(&look_mu);
    for (unsigned i = 0; i < TL_THREADS_MAX; i++)
      if (watched[i].there) look_at(&watched[i], i);
    pthread_mutex_unlock(&look_mu);
  }
  return NULL;
}

/* The first backtrace loads a library, which must not happen in a handler. */
static void start_watchdog(void) {
  struct sigaction act = {.sa_handler = print_stack, .sa_flags = SA_RESTART};
  pthread_t thread;
  void *frame[1];
  backtrace(frame, 1);
  if (sigaction(WATCHDOG_SIGNAL, &act, NULL) || pthread_create(&thread, NULL, watchdog_main, NULL))
    return;
  pthread_detach(thread);
}

void tl_watchdog_enter(unsigned index) {
  struct watched *w = &watched[index];
  pthread_once(&started, start_watchdog);
  pthread_mutex_lock(&look_mu);
  w->thread = pthread_self();
  w->tid = gettid();
  w->there = true;
  pthread_mutex_unlock(&look_mu);
}

void tl_watchdog_leave(unsigned index) {
  pthread_mutex_lock(&look_mu);
  watched[index].there = false;
  pthread_mutex_unlock(&look_mu);
}

#endif
