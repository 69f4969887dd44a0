/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: permission to connect, lines in, replies out, all without
 * blocking. A client has one request at a time; the next line is read when the
 * reply to the last is out, so a client that does not read delays only itself.
 */
#include "control/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/rpc.h"
#include "tieline/err.h"
#include "tieline/log.h"
#include "tieline/log_limit.h"
#include "tieline/time.h"

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

/* A new socket that listens at SUN, with mode 0600, or -1 with errno. */
static int listen_at(const struct sockaddr_un *sun) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const mode_t old = umask(0177); /* the file is created with mode 0600 */
  int rc = fd < 0 ? -1 : bind(fd, (const struct sockaddr *)sun, sizeof(*sun));
  umask(old);
  if (rc == 0 && listen(fd, 16) == 0) return fd;
  const int cause = errno;
  if (fd >= 0) close(fd);
  errno = cause;
  return -1;
}

static int on_connect(sd_event_source *source, int fd, uint32_t events, void *arg);
static int on_client(sd_event_source *source, int fd, uint32_t events, void *arg);

int tl_server_open(struct tl_server *s, sd_event *event, const char *path, char *err, size_t cap) {
  struct sockaddr_un sun = {.sun_family = AF_UNIX};
  s->fd = -1;
  s->event = event;
  s->io = NULL;
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
  s->fd = listen_at(&sun);
  int rc = s->fd < 0 ? -errno : sd_event_add_io(event, &s->io, s->fd, EPOLLIN, on_connect, s);
  if (rc >= 0) return 0;
  snprintf(err, cap, "control_socket %s: %s", path, strerror(-rc));
  tl_server_close(s);
  return rc == -ENOMEM ? TL_ENOMEM : TL_EIO;
}

static void drop_client(struct tl_client *c) {
  struct tl_server *s = c->server;
  sd_event_source_unref(c->io);
  close(c->fd);
  tl_slots_give(&s->clients, c->name.slot);
  s->n_client--;
  free(c->in);
  free(c->out);
  free(c);
}

void tl_server_close(struct tl_server *s) {
  if (s->fd < 0) return;
  for (uint32_t i = 0; i < s->clients.n; i++)
    if (s->clients.at[i].object) drop_client(s->clients.at[i].object);
  tl_slots_free(&s->clients);
  s->io = sd_event_source_unref(s->io);
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

/* Takes FD over; on TL_ENOMEM it remains the caller's. */
static int new_client(struct tl_server *s, int fd) {
  struct tl_client *c = calloc(1, sizeof(*c));
  if (!c) return TL_ENOMEM;
  c->server = s;
  c->fd = fd;
  if (tl_slots_take(&s->clients, c, &c->name.slot, &c->name.gen)) {
    free(c);
    return TL_ENOMEM;
  }
  if (sd_event_add_io(s->event, &c->io, fd, EPOLLIN, on_client, c) < 0) {
    tl_slots_give(&s->clients, c->name.slot);
    free(c);
    return TL_ENOMEM;
  }
  s->n_client++;
  return 0;
}

/* Takes FD over. */
static void admit_client(struct tl_server *s, int fd) {
  if (!is_permitted(fd))
    refuse_client(fd, "this socket is for root and the daemon's own user");
  else if (s->n_client == TL_SERVER_CLIENTS)
    refuse_client(fd, "too many clients of the control socket");
  else if (new_client(s, fd))
    refuse_client(fd, "out of memory");
}

static int on_connect(sd_event_source *source, int listener, uint32_t events, void *arg) {
  struct tl_server *s = arg;
  int fd;
  (void)events;
  while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
    admit_client(s, fd);
  if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
    s->accept_after_ms = tl_now_ms() + ACCEPT_PAUSE_MS;
    sd_event_source_set_enabled(source, SD_EVENT_OFF);
  }
  return 0;
}

/* What can be sent now; false: C is gone. */
static bool send_some(struct tl_client *c) {
  while (c->out_off < c->out_n) {
    ssize_t w =
        send(c->fd, c->out + c->out_off, c->out_n - c->out_off, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (w < 0 && errno == EINTR) continue;
    if (w < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return true;
    if (w < 0) {
      drop_client(c);
      return false;
    }
    c->out_off += (size_t)w;
  }
  free(c->out);
  c->out = NULL;
  c->out_n = c->out_off = 0;
  return true;
}

/* A client gets room for one request and its newline. Without memory for it the client goes: what
 * it sends would be there to be read for ever. */
static bool grow_input(struct tl_client *c) {
  if (c->in_n < c->in_cap) return true;
  if (c->in_cap == TL_SERVER_REQUEST + 1) return false;
  size_t cap = c->in_cap ? c->in_cap * 2 : 1024;
  if (cap > TL_SERVER_REQUEST + 1) cap = TL_SERVER_REQUEST + 1;
  char *p = realloc(c->in, cap);
  c->closing |= p == NULL;
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

void tl_server_reply(struct tl_server *s, struct tl_client_ref client, char *line, size_t n,
                     uint64_t now_ms) {
  struct tl_client *c = tl_slots_get(&s->clients, client.slot, client.gen);
  if (!c || !c->busy) {
    free(line); /* it went away meanwhile */
    return;
  }
  c->busy = false;
  c->out = line;
  c->out_n = line ? n : 0;
  c->out_off = 0;
  c->out_since_ms = now_ms;
  sd_event_source_set_io_events(c->io, EPOLLOUT); /* on_client goes on */
}

void tl_server_give_up(struct tl_server *s, struct tl_client_ref client, uint64_t now_ms) {
  struct tl_client *c = tl_slots_get(&s->clients, client.slot, client.gen);
  if (c) c->closing = true;
  tl_server_reply(s, client, NULL, 0, now_ms);
}

static void too_large(struct tl_client *c) {
  size_t n = 0;
  char *line =
      tl_rpc_error(NULL, TL_RPC_REQUEST, "the request is larger than 65536 bytes", NULL, &n);
  c->closing = true;
  c->busy = true;
  tl_server_reply(c->server, c->name, line, n, tl_now_ms());
}

/* Handles the next complete line; false when there is none. */
static bool take_line(struct tl_client *c) {
  const struct tl_server *s = c->server;
  char *nl = c->in_n ? memchr(c->in, '\n', c->in_n) : NULL;
  if (!nl && c->in_n > TL_SERVER_REQUEST) {
    too_large(c);
    return true;
  }
  if (!nl && !(c->eof && c->in_n)) return false;
  const size_t len = nl ? (size_t)(nl - c->in) : c->in_n;
  const size_t used = nl ? len + 1 : len;
  size_t n = len;
  if (n && c->in[n - 1] == '\r') n--;
  if (n) {
    c->busy = true;
    s->request(s->arg, c->name, c->in, n);
  }
  c->in_n -= used;
  memmove(c->in, c->in + used, c->in_n);
  return true;
}

/* Does for C what can be done now; it may be gone then. */
static void pump_client(struct tl_client *c) {
  for (;;) {
    if (c->out && !send_some(c)) return;
    if (c->out || c->busy) break;
    if (!c->closing && take_line(c)) continue;
    if (!c->closing && !c->eof) break;
    drop_client(c);
    return;
  }
  sd_event_source_set_io_events(c->io, c->out ? EPOLLOUT : c->busy ? 0 : EPOLLIN);
}

static int on_client(sd_event_source *source, int fd, uint32_t events, void *arg) {
  struct tl_client *c = arg;
  (void)source, (void)fd;
  if (!(events & EPOLLIN) && events & (EPOLLHUP | EPOLLERR) && (c->busy || c->out)) {
    drop_client(c); /* no one is left to answer */
    return 0;
  }
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive_input(c);
  pump_client(c);
  return 0;
}

uint64_t tl_server_expire(struct tl_server *s, uint64_t now_ms) {
  uint64_t due_ms = UINT64_MAX;
  if (s->accept_after_ms && now_ms >= s->accept_after_ms) {
    s->accept_after_ms = 0;
    sd_event_source_set_enabled(s->io, SD_EVENT_ON);
  }
  if (s->accept_after_ms) due_ms = s->accept_after_ms;
  for (uint32_t i = 0; i < s->clients.n; i++) {
    struct tl_client *c = s->clients.at[i].object;
    if (!c || !c->out) continue;
    const uint64_t end_ms = c->out_since_ms + TL_SERVER_PATIENCE_MS;
    if (now_ms >= end_ms) {
      TL_LOG_FROM(NULL, NULL, TL_LOG_WARN, "A client of the control socket did not read its reply.",
                  TL_FI("bytes_left", c->out_n - c->out_off));
      drop_client(c);
    } else if (end_ms < due_ms) {
      due_ms = end_ms;
    }
  }
  return due_ms;
}

void tl_server_flush(struct tl_server *s) {
  for (uint32_t i = 0; i < s->clients.n; i++) {
    struct tl_client *c = s->clients.at[i].object;
    if (c && c->out) pump_client(c);
  }
}
