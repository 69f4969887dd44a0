/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The allocator that can say no; the promises stand in refuse.h. It takes the
 * place of malloc in the program, so that shared libraries come here too, and
 * hands on to AddressSanitizer's. It runs before that is ready, so this file is
 * built without it.
 */
#include "refuse.h"

#include <errno.h>
#include <link.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <sanitizer/common_interface_defs.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#define DEPTH_MAX 4096u
#define PRIME 0x9e3779b97f4a7c15u

static struct {
  _Atomic uint32_t n;         /* allocations of our code since oom_plan */
  _Atomic uint32_t n_refused; /* since oom_plan or oom_begin */
  _Atomic uint32_t n_met;     /* times that SITE was met */
  _Atomic uint32_t countdown; /* of oom_begin; 0: off */
  uint64_t site;
  uint32_t occurrence;
  bool trace;
  _Atomic uint64_t steps, path; /* of the main thread */
  uint64_t sites[OOM_SITES_MAX];
} * state;

/* ---- who runs ---- */

struct frame {
  uint64_t path; /* of our functions from the test's last one to here; 0: the test's */
};
static __thread struct frame stack[DEPTH_MAX];
static __thread uint32_t depth;
static __thread bool is_main;

static uint64_t path_now(void) { return stack[depth < DEPTH_MAX ? depth : DEPTH_MAX - 1].path; }

static void step(void) {
  if (!is_main) return;
  atomic_store_explicit(&state->path, path_now(), memory_order_relaxed);
  atomic_fetch_add_explicit(&state->steps, 1, memory_order_relaxed);
}

static void enter(uint64_t path) {
  if (++depth < DEPTH_MAX) stack[depth].path = path;
  step();
}

static uint64_t mix(uint64_t a, uint64_t b) { return ((a ^ b) * PRIME) ^ (a >> 29); }

/* The compiler's hooks of our code; those of the tests are renamed to the two below. */
void __cyg_profile_func_enter(void *fn, void *from);
void __cyg_profile_func_exit(void *fn, void *from);
void oom_test_enter(void *fn, void *from);
void oom_test_exit(void *fn, void *from);

void __cyg_profile_func_enter(void *fn, void *from) {
  enter(mix(mix(path_now(), (uint64_t)fn), (uint64_t)from) | 1);
}

void __cyg_profile_func_exit(void *fn, void *from) {
  (void)fn, (void)from;
  depth--;
  step();
}

void oom_test_enter(void *fn, void *from) {
  (void)fn, (void)from;
  enter(0);
}

void oom_test_exit(void *fn, void *from) { __cyg_profile_func_exit(fn, from); }

uint64_t oom_steps(bool *out_ours) {
  *out_ours = atomic_load(&state->path) != 0;
  return atomic_load(&state->steps);
}

/* ---- yes or no ---- */

static void say_where(void) {
  fputs("refused here:\n", stderr);
  __sanitizer_print_stack_trace();
}

/* The dynamic linker ends the program when a thread's variables find no memory. */
static struct { uint64_t at, n; } linker;

static int find_linker(struct dl_phdr_info *info, size_t size, void *arg) {
  (void)size, (void)arg;
  if (info->dlpi_addr != getauxval(AT_BASE)) return 0;
  linker.at = info->dlpi_addr;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *p = &info->dlpi_phdr[i];
    if (p->p_type == PT_LOAD) linker.n = p->p_vaddr + p->p_memsz;
  }
  return 1;
}

static bool refuse(uint64_t place) {
  uint64_t path = path_now();
  if (!state || !path || place - linker.at < linker.n) return false;
  uint64_t site = mix(path, place);
  uint32_t n = atomic_fetch_add(&state->n, 1);
  if (n < OOM_SITES_MAX) state->sites[n] = site;
  uint32_t left = atomic_load(&state->countdown);
  bool no = left && atomic_fetch_sub(&state->countdown, 1) == 1;
  if (site == state->site && atomic_fetch_add(&state->n_met, 1) + 1 == state->occurrence) no = true;
  if (!no) return false;
  atomic_fetch_add(&state->n_refused, 1);
  if (state->trace) say_where();
  errno = ENOMEM;
  return true;
}

void oom_trace(bool on) { state->trace = on; }

void oom_plan(uint64_t site, uint32_t occurrence) {
  atomic_store(&state->n, 0);
  atomic_store(&state->n_refused, 0);
  atomic_store(&state->n_met, 0);
  atomic_store(&state->countdown, 0);
  state->site = site;
  state->occurrence = occurrence;
}

const uint64_t *oom_sites(uint32_t *out_n) {
  uint32_t n = atomic_load(&state->n);
  *out_n = n < OOM_SITES_MAX ? n : OOM_SITES_MAX;
  return state->sites;
}

bool oom_refused(void) { return atomic_load(&state->n_refused) > 0; }

bool oom_begin(unsigned n) {
  atomic_store(&state->n_refused, 0);
  atomic_store(&state->countdown, n);
  return true;
}

bool oom_end(void) {
  atomic_store(&state->countdown, 0);
  return oom_refused();
}

/* ---- in the place of the C library's ---- */

#define HERE ((uint64_t)__builtin_return_address(0))

/* AddressSanitizer's; GCC has no header for the first. */
size_t __sanitizer_get_allocated_size(const volatile void *p);
#define REAL(name) __interceptor_##name
void *REAL(malloc)(size_t n);
void *REAL(calloc)(size_t n, size_t size);
void *REAL(realloc)(void *p, size_t n);
void *REAL(memalign)(size_t align, size_t n);
void REAL(free)(void *p);
void *REAL(mmap)(void *at, size_t n, int prot, int flags, int fd, off_t offset);

void *malloc(size_t n) { return refuse(HERE) ? NULL : REAL(malloc)(n); }

void *calloc(size_t n, size_t size) { return refuse(HERE) ? NULL : REAL(calloc)(n, size); }

/* To make something smaller needs no memory: the C library never refuses it. */
static bool grows(const void *p, size_t n) { return !p || n > __sanitizer_get_allocated_size(p); }

void *realloc(void *p, size_t n) {
  return grows(p, n) && refuse(HERE) ? NULL : REAL(realloc)(p, n);
}

void *reallocarray(void *p, size_t n, size_t size) {
  size_t all;
  if (__builtin_mul_overflow(n, size, &all) || (grows(p, all) && refuse(HERE))) return NULL;
  return REAL(realloc)(p, all);
}

void *memalign(size_t align, size_t n) { return refuse(HERE) ? NULL : REAL(memalign)(align, n); }

void *aligned_alloc(size_t align, size_t n) {
  return refuse(HERE) ? NULL : REAL(memalign)(align, n);
}

int posix_memalign(void **p, size_t align, size_t n) {
  void *got = refuse(HERE) ? NULL : REAL(memalign)(align, n);
  if (got) *p = got;
  return got ? 0 : ENOMEM;
}

/* AddressSanitizer has these of its own and would allocate behind our back. */
char *strndup(const char *s, size_t n) {
  size_t len = strnlen(s, n);
  char *p = refuse(HERE) ? NULL : REAL(malloc)(len + 1);
  if (!p) return NULL;
  p[len] = '\0';
  return memcpy(p, s, len);
}

char *strdup(const char *s) {
  size_t n = strlen(s) + 1;
  char *p = refuse(HERE) ? NULL : REAL(malloc)(n);
  return p ? memcpy(p, s, n) : NULL;
}

/* Pools map their memory. */
void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset) {
  if ((flags & MAP_ANONYMOUS) && refuse(HERE)) return MAP_FAILED;
  return REAL(mmap)(at, n, prot, flags, fd, offset);
}

/* OpenSSL tells by name where it allocates: the address would be one for all. */
static uint64_t place_in(const char *file, int line) {
  return mix((uint64_t)file, (uint64_t)line * PRIME);
}

/* Nothing for 0 bytes, as without us. */
static void *ssl_malloc(size_t n, const char *file, int line) {
  return n == 0 || refuse(place_in(file, line)) ? NULL : REAL(malloc)(n);
}

static void *ssl_realloc(void *p, size_t n, const char *file, int line) {
  if (p && n) return grows(p, n) && refuse(place_in(file, line)) ? NULL : REAL(realloc)(p, n);
  REAL(free)(p);
  return ssl_malloc(n, file, line);
}

static void ssl_free(void *p, const char *file, int line) {
  (void)file, (void)line;
  REAL(free)(p);
}

void oom_init(void) {
  void *p = mmap(NULL, sizeof(*state), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED || (!state && !CRYPTO_set_mem_functions(ssl_malloc, ssl_realloc, ssl_free))) {
    perror("oom");
    exit(2);
  }
  dl_iterate_phdr(find_linker, NULL);
  state = p;
  is_main = true;
}
