/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For LD_PRELOAD: a process in which one allocation in EVERY fails, by chance.
 * TIELINE_OOM names a file of one struct oom_control, shared with who started
 * the process: while EVERY is 0 nothing fails.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct oom_control {
  _Atomic uint64_t every, seed;
  _Atomic uint64_t asked, refused; /* while EVERY was set */
};

static struct oom_control *control;
static __thread uint64_t state __attribute__((tls_model("initial-exec")));

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);

__attribute__((constructor)) static void open_control(void) {
  const char *file = getenv("TIELINE_OOM");
  int fd = file ? open(file, O_RDWR | O_CLOEXEC) : -1;
  if (fd < 0) return;
  void *p = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (p != MAP_FAILED) control = p;
  close(fd);
}

/* Xorshift, another sequence for each thread. */
static uint64_t next_random(void) {
  if (!state) state = atomic_fetch_add(&control->seed, 0x9e3779b97f4a7c15u) | 1;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

static int refused(void) {
  uint64_t every = control ? atomic_load_explicit(&control->every, memory_order_relaxed) : 0;
  if (!every) return 0;
  atomic_fetch_add_explicit(&control->asked, 1, memory_order_relaxed);
  if (next_random() % every) return 0;
  atomic_fetch_add(&control->refused, 1);
  errno = ENOMEM;
  return 1;
}

void *malloc(size_t n) { return refused() ? NULL : __libc_malloc(n); }

void *calloc(size_t n, size_t size) { return refused() ? NULL : __libc_calloc(n, size); }

void *realloc(void *p, size_t n) { return refused() ? NULL : __libc_realloc(p, n); }

void *reallocarray(void *p, size_t n, size_t size) {
  size_t all;
  if (__builtin_mul_overflow(n, size, &all)) {
    errno = ENOMEM;
    return NULL;
  }
  return realloc(p, all);
}

void *memalign(size_t align, size_t n) { return refused() ? NULL : __libc_memalign(align, n); }

void *aligned_alloc(size_t align, size_t n) { return memalign(align, n); }

int posix_memalign(void **p, size_t align, size_t n) {
  void *got = memalign(align, n);
  if (!got) return ENOMEM;
  *p = got;
  return 0;
}
