/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Binds sockets for listeners. Accepting and receiving are their owners' work.
 */
#include "tieline/listen.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>

/* Connections that wait while handshakes are at their budget; the kernel caps it at somaxconn. */
#define BACKLOG 4096

static const char *bind_hint(int err) {
  switch (err) {
  case EADDRINUSE: return " (another process listens there)";
  case EADDRNOTAVAIL: return " (no interface of this machine has that address)";
  case EACCES: return " (ports below 1024 need CAP_NET_BIND_SERVICE)";
  default: return "";
  }
}

int tl_listen_socket(const struct tl_addr *a, enum tl_transport t, char *err, size_t cap) {
  int on = 1, family = a->sa.sa_family;
  bool stream = !tl_transport_is_datagram(t);
  int fd = socket(family, (stream ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
  int bad = fd < 0;
  if (!bad) bad = setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
  /* A UDP socket with SO_REUSEADDR would let any later one steal its datagrams. */
  if (!bad && stream) bad = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (!bad && family == AF_INET6) bad = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
  if (!bad && stream) bad = setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  if (!bad) bad = bind(fd, &a->sa, tl_addr_len(a));
  if (!bad && stream) bad = listen(fd, BACKLOG);
  if (!bad) return fd;
  int e = errno;
  char text[TL_ADDR_STRLEN];
  snprintf(err, cap, "cannot listen on %s:%s: %s%s", tl_transport_param(t), tl_addr_format(a, text),
           strerror(e), bind_hint(e));
  if (fd >= 0) close(fd);
  return TL_EIO;
}
