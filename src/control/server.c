/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: permission to connect, lines in, replies out, all without
 * blocking. A client has one request at a time; the next line is read when the
 * reply to the last is out, so a client that does not read delays only itself.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/control_internal.h"
#include "tieline/log_limit.h"

#define ACCEPT_PAUSE_MS 1000 /* when no descriptor is left */

static bool is_live(const char *path, const struct sockaddr_un *sun) {
  struct stat st;
  if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode)) return false;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  bool live = fd >= 0 && (connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) == 0 ||
                          errno == EAGAIN || errno == EACCES);
  if (fd >= 0) close(fd);
  if (!live) unlink(path); /* left by a process that is gone */
  return live;
}

/* Creates one missing directory: /run is empty after a boot. */
static bool make_dir(const struct tl_server *s) {
  char dir[sizeof(s->path)];
  memcpy(dir, s->path, sizeof(dir));
  char *slash = strrchr(dir, '/');
  if (!slash || slash == dir) return false;
  *slash = 0;
  return mkdir(dir, 0755) == 0;
}

int tl_server_open(struct tl_server *s, const char *path, char *err, size_t cap) {
  struct sockaddr_un sun = {.sun_family = AF_UNIX};
  for (int i = 0; i < TL_SERVER_CLIENTS; i++) s->client[i].fd = -1;
  s->fd = -1;
  if (strlen(path) >= sizeof(sun.sun_path)) {
    snprintf(err, cap, "control_socket %s: the name is longer than %zu characters", path,
             sizeof(sun.sun_path) - 1);
    return TL_EINVAL;
  }
  memcpy(sun.sun_path, path, strlen(path) + 1);
  memcpy(s->path, path, strlen(path) + 1);
  s->made_dir = make_dir(s);
  if (is_live(path, &sun)) {
    snprintf(err, cap, "control_socket %s: another process answers there", path);
    return TL_EBUSY;
  }
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const mode_t old = umask(0177); /* the socket is created with mode 0600 */
  int rc = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&sun, sizeof(sun));
  umask(old);
  if (rc < 0 || listen(fd, 16) < 0) {
    snprintf(err, cap, "control_socket %s: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    return TL_EIO;
  }
  s->fd = fd;
  return 0;
}

static void drop_client(struct tl_client *c) {
  close(c->fd);
  free(c->in);
  free(c->out);
  memset(c, 0, sizeof(*c));
  c->fd = -1;
}

void tl_server_close(struct tl_server *s) {
  if (s->fd < 0) return;
  for (int i = 0; i < TL_SERVER_CLIENTS; i++)
    if (s->client[i].fd >= 0) drop_client(&s->client[i]);
  close(s->fd);
  s->fd = -1;
  unlink(s->path);
}

static bool is_permitted(int fd) {
  struct ucred u = {0};
  socklen_t n = sizeof(u);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &u, &n) < 0) return false;
  if (u.uid == 0 || u.uid == geteuid()) return true;
  TL_LOG_FROM(NULL, NULL, TL_LOG_WARN, "A user without permission connected to the control socket.",
              TL_FI("uid", u.uid), TL_FI("pid", u.pid));
  return false;
}

static void refuse_client(int fd, const char *why) {
  size_t n = 0;
  char *line = tl_rpc_error(NULL, TL_RPC_NOT_NOW, why, NULL, &n);
  if (line && send(fd, line, n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) errno = 0; /* nothing to do */
  free(line);
  close(fd);
}

static void accept_clients(struct tl_server *s, uint64_t now_ms) {
  for (;;) {
    int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
        s->accept_after_ms = now_ms + ACCEPT_PAUSE_MS;
      return;
    }
    unsigned i = 0;
    while (i < TL_SERVER_CLIENTS && s->client[i].fd >= 0) i++;
    if (!is_permitted(fd)) {
      refuse_client(fd, "this socket is for root and the daemon's own user");
    } else if (i == TL_SERVER_CLIENTS) {
      refuse_client(fd, "too many clients of the control socket");
    } else {
      s->client[i].fd = fd;
      s->client[i].serial = ++s->next_serial;
    }
  }
}

static void send_some(struct tl_client *c) {
  while (c->out_off < c->out_n) {
    ssize_t w =
        send(c->fd, c->out + c->out_off, c->out_n - c->out_off, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (w < 0 && errno == EINTR) continue;
    if (w < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (w < 0) {
      drop_client(c);
      return;
    }
    c->out_off += (size_t)w;
  }
  free(c->out);
  c->out = NULL;
  c->out_n = c->out_off = 0;
}

/* A client gets room for one request and its newline. */
static bool grow_input(struct tl_client *c) {
  if (c->in_n < c->in_cap) return true;
  size_t cap = c->in_cap ? c->in_cap * 2 : 1024;
  if (cap > TL_SERVER_REQUEST + 1) cap = TL_SERVER_REQUEST + 1;
  char *p = cap > c->in_cap ? realloc(c->in, cap) : NULL;
  if (!p) return false;
  c->in = p;
  c->in_cap = cap;
  return true;
}

static void receive_input(struct tl_client *c) {
  while (!c->eof && grow_input(c)) {
    ssize_t r = recv(c->fd, c->in + c->in_n, c->in_cap - c->in_n, MSG_DONTWAIT);
    if (r > 0) {
      c->in_n += (size_t)r;
    } else if (r == 0) {
      c->eof = true;
    } else if (errno == EINTR) {
      continue;
    } else {
      if (errno != EAGAIN && errno != EWOULDBLOCK) c->eof = true;
      return;
    }
  }
}

void tl_server_reply(struct tl_server *s, struct tl_client_ref who, char *line, size_t n,
                     uint64_t now_ms) {
  struct tl_client *c = &s->client[who.slot];
  if (c->fd < 0 || c->serial != who.serial || !c->busy) {
    free(line); /* it went away meanwhile */
    return;
  }
  c->busy = false;
  c->out = line;
  c->out_n = line ? n : 0;
  c->out_off = 0;
  c->out_since_ms = now_ms;
}

static void too_large(struct tl_server *s, struct tl_client_ref who, uint64_t now_ms) {
  struct tl_client *c = &s->client[who.slot];
  size_t n = 0;
  char *line =
      tl_rpc_error(NULL, TL_RPC_REQUEST, "the request is larger than 65536 bytes", NULL, &n);
  c->closing = true;
  c->busy = true;
  tl_server_reply(s, who, line, n, now_ms);
}

/* Handles the next complete line; false when there is none. */
static bool take_line(struct tl_server *s, unsigned slot, uint64_t now_ms) {
  struct tl_client *c = &s->client[slot];
  const struct tl_client_ref who = {slot, c->serial};
  char *nl = c->in_n ? memchr(c->in, '\n', c->in_n) : NULL;
  if (!nl && c->in_n > TL_SERVER_REQUEST) {
    too_large(s, who, now_ms);
    return true;
  }
  if (!nl && !(c->eof && c->in_n)) return false;
  const size_t len = nl ? (size_t)(nl - c->in) : c->in_n;
  const size_t used = nl ? len + 1 : len;
  size_t n = len;
  if (n && c->in[n - 1] == '\r') n--;
  if (n) {
    c->busy = true;
    s->request(s->arg, who, c->in, n);
  }
  c->in_n -= used;
  memmove(c->in, c->in + used, c->in_n);
  return true;
}

static void pump_client(struct tl_server *s, unsigned slot, uint64_t now_ms) {
  struct tl_client *c = &s->client[slot];
  while (c->fd >= 0) {
    if (c->out) send_some(c);
    if (c->fd < 0 || c->out || c->busy) return;
    if (c->closing) break;
    if (take_line(s, slot, now_ms)) continue;
    if (!c->eof) return;
    break;
  }
  if (c->fd >= 0) drop_client(c);
}

size_t tl_server_poll(struct tl_server *s, struct pollfd *p, uint64_t now_ms, int *timeout_ms) {
  size_t n = 0;
  uint64_t next = UINT64_MAX;
  const bool paused = s->accept_after_ms > now_ms;
  if (paused) next = s->accept_after_ms;
  p[n++] = (struct pollfd){.fd = paused ? -1 : s->fd, .events = POLLIN};
  for (int i = 0; i < TL_SERVER_CLIENTS; i++) {
    const struct tl_client *c = &s->client[i];
    short events = c->out ? POLLOUT : c->busy ? 0 : POLLIN;
    p[n++] = (struct pollfd){.fd = c->fd, .events = events};
    if (c->fd >= 0 && c->out && c->out_since_ms + TL_SERVER_PATIENCE_MS < next)
      next = c->out_since_ms + TL_SERVER_PATIENCE_MS;
  }
  if (next != UINT64_MAX) {
    int wait = next > now_ms ? (int)(next - now_ms) : 0;
    if (*timeout_ms < 0 || wait < *timeout_ms) *timeout_ms = wait;
  }
  return n;
}

void tl_server_turn(struct tl_server *s, const struct pollfd *p, size_t n, uint64_t now_ms) {
  for (unsigned i = 0; i < TL_SERVER_CLIENTS && i + 1 < n; i++) {
    struct tl_client *c = &s->client[i];
    const short got = p[i + 1].fd == c->fd && c->fd >= 0 ? p[i + 1].revents : 0;
    if (got & POLLIN) {
      receive_input(c);
    } else if (got & (POLLHUP | POLLERR) && (c->busy || c->out)) {
      drop_client(c); /* no one is left to answer */
      continue;
    } else if (got & (POLLHUP | POLLERR)) {
      receive_input(c);
    }
    if (c->fd >= 0) pump_client(s, i, now_ms);
    if (c->fd >= 0 && c->out && now_ms >= c->out_since_ms + TL_SERVER_PATIENCE_MS) {
      TL_LOG_FROM(NULL, NULL, TL_LOG_WARN, "A client of the control socket did not read its reply.",
                  TL_FI("bytes_left", c->out_n - c->out_off));
      drop_client(c);
    }
  }
  if (n && p[0].revents & POLLIN) accept_clients(s, now_ms);
}

void tl_server_flush(struct tl_server *s, uint64_t now_ms) {
  for (unsigned i = 0; i < TL_SERVER_CLIENTS; i++)
    if (s->client[i].fd >= 0 && s->client[i].out) pump_client(s, i, now_ms);
}
