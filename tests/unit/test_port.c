/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A claim is a name in the abstract namespace of Unix sockets. The listeners under
 * test open with SO_REUSEPORT, so two tests on one port would share it unnoticed.
 */
#include "test_port.h"

#include <criterion/criterion.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/un.h>
#include <unistd.h>

enum { FIRST = 18000, PORTS = 14000, CLAIMS = 64 };

static int claim[CLAIMS];
static unsigned n_claim;

static bool binds(int fd, const void *addr, socklen_t len) {
  return fd >= 0 && bind(fd, addr, len) == 0;
}

/* The flow tests claim by the same names. */
static int claimed(unsigned port) {
  struct sockaddr_un sun = {.sun_family = AF_UNIX};
  int n = snprintf(sun.sun_path + 1, sizeof(sun.sun_path) - 1, "tieline-test-port-%u", port);
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (binds(fd, &sun, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)))
    return fd;
  if (fd >= 0) close(fd);
  return -1;
}

static bool is_free(const struct tl_addr *a, int type) {
  int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
  const bool ok = binds(fd, &a->sa, tl_addr_len(a));
  if (fd >= 0) close(fd);
  return ok;
}

struct tl_addr test_port(int type) {
  static unsigned next;
  struct tl_addr a;
  if (!next) next = (unsigned)getpid() * 17;
  for (int i = 0; i < PORTS && n_claim < CLAIMS; i++) {
    const unsigned port = FIRST + next++ % PORTS;
    const int fd = claimed(port);
    if (fd < 0) continue;
    cr_assert_eq(tl_addr_parse(TL_STR("127.0.0.1"), (uint16_t)port, &a), 0);
    if (is_free(&a, type)) {
      claim[n_claim++] = fd;
      return a;
    }
    close(fd);
  }
  cr_assert_fail("no port is free");
  return (struct tl_addr){0};
}

void test_ports_release(void) {
  while (n_claim) close(claim[--n_claim]);
}
