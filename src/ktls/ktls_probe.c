/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this kernel's TLS can do, found by trying every version, cipher and
 * direction on loopback connections with keys that protect nothing.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ktls/ktls_internal.h"

static int pair_from_listener(int listener, int out_fd[2]) {
  struct sockaddr_in a;
  socklen_t len = sizeof(a);
  if (listen(listener, 1) < 0 || getsockname(listener, (struct sockaddr *)&a, &len) < 0)
    return TL_EIO;
  int c = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (c < 0) return TL_EIO;
  int s =
      connect(c, (struct sockaddr *)&a, len) < 0 ? -1 : accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  if (s < 0) {
    close(c);
    return TL_EIO;
  }
  out_fd[0] = c;
  out_fd[1] = s;
  return TL_OK;
}

int tl_tcp_pair(int out_fd[2]) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener < 0) return TL_EIO;
  int rc = bind(listener, (struct sockaddr *)&a, sizeof(a)) < 0
               ? TL_EIO
               : pair_from_listener(listener, out_fd);
  int err = errno;
  close(listener);
  errno = err;
  return rc;
}

static void probe_one(int fd, enum tl_tls_version v, enum tl_cipher c, struct tl_ktls_caps *out) {
  struct tl_tls_keys k = {.version = v, .cipher = c};
  int is_13 = v == TL_TLS_1_3;
  k.key_len = c == TL_AES_128_GCM ? 16 : 32;
  out->tx[is_13][c] = tl_ktls_set_keys(fd, &k, true) == 0;
  out->rx[is_13][c] = tl_ktls_set_keys(fd, &k, false) == 0;
  if (!is_13 || !out->tx[1][c] || !out->rx[1][c]) return;
  if (tl_ktls_set_no_pad(fd)) out->expect_no_pad = true;
  /* The kernel that takes a second key takes it in both directions. */
  if (tl_ktls_set_keys(fd, &k, true) == 0) out->rekey = true;
}

/* Returns false when no other cipher need be tried. */
static bool probe_pair(enum tl_tls_version v, enum tl_cipher c, struct tl_ktls_caps *out) {
  int fd[2];
  if (tl_tcp_pair(fd) < 0) {
    out->err_ulp = errno ? errno : EIO;
    return false;
  }
  errno = 0;
  int rc = tl_ktls_attach(fd[0]);
  if (rc < 0)
    out->err_ulp = errno ? errno : EIO;
  else
    probe_one(fd[0], v, c, out);
  close(fd[0]);
  close(fd[1]);
  return rc == 0;
}

int tl_ktls_probe(struct tl_ktls_caps *out) {
  memset(out, 0, sizeof(*out));
  for (int v = 0; v < 2; v++)
    for (int c = 0; c < TL_CIPHERS; c++)
      if (!probe_pair(v ? TL_TLS_1_3 : TL_TLS_1_2, (enum tl_cipher)c, out)) return TL_ENOTSUP;
  out->ulp = true;
  tl_ktls_find_drivers(out);
  return TL_OK;
}
