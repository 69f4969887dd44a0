/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For LD_PRELOAD: a process whose kernel refuses the keys of one direction, as it
 * would without memory. TIELINE_KEYS names a file of one struct keys_control, shared
 * with who started the process: how often either direction is refused from now on.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tls.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

struct keys_control {
  _Atomic uint32_t tx, rx; /* still to be refused */
  uint32_t error;          /* errno */
  _Atomic uint32_t refused;
};

static struct keys_control *control;
static int (*real)(int, int, int, const void *, socklen_t);

__attribute__((constructor)) static void open_control(void) {
  const char *file = getenv("TIELINE_KEYS");
  int fd = file ? open(file, O_RDWR | O_CLOEXEC) : -1;
  real = (int (*)(int, int, int, const void *, socklen_t))dlsym(RTLD_NEXT, "setsockopt");
  if (fd < 0) return;
  void *p = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (p != MAP_FAILED) control = p;
  close(fd);
}

/* One of those that are left, if any. */
static int take_one(_Atomic uint32_t *left) {
  uint32_t n = atomic_load(left);
  while (n && !atomic_compare_exchange_weak(left, &n, n - 1)) continue;
  return n > 0;
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t len) {
  if (control && level == SOL_TLS && (name == TLS_TX || name == TLS_RX) &&
      take_one(name == TLS_TX ? &control->tx : &control->rx)) {
    atomic_fetch_add(&control->refused, 1);
    errno = (int)control->error;
    return -1;
  }
  return real(fd, level, name, value, len);
}
