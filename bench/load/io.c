/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets of the load generator: listen, connect, handshake, read whole
 * messages and hand them on, write what a turn collected. SIP meaning is in
 * caller.c and callee.c.
 */
#include "load.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static int watch_fd(struct conn *c, uint32_t events, bool add) {
  struct epoll_event e = {.events = events, .data.ptr = c};
  return epoll_ctl(L.ep, add ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, c->fd, &e);
}

static void set_want_write(struct conn *c, bool on) {
  if (c->want_write == on) return;
  c->want_write = on;
  watch_fd(c, EPOLLIN | (on ? EPOLLOUT : 0u), false);
}

static void tune(int fd, enum transport tr) {
  int on = 1, room = 8 << 20;
  if (tr == TR_UDP) {
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)))
      setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
  } else {
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  }
}

static void learn_local(struct conn *c) {
  c->local.len = sizeof(c->local.ss);
  getsockname(c->fd, (struct sockaddr *)&c->local.ss, &c->local.len);
  addr_text(&c->local);
}

int io_listen(unsigned server) {
  struct conn *c = &L.listeners[server];
  struct addr a;
  unsigned port = L.o.callee_port ? L.o.callee_port + server : 0;
  if (addr_parse(L.o.callee_host, port, &a)) {
    fprintf(stderr, "load: %s is not an address\n", L.o.callee_host);
    return -1;
  }
  c->tr = L.o.callee_tr;
  c->role = c->tr == TR_UDP ? ROLE_CALLEE : ROLE_LISTEN;
  c->index = server;
  c->state = CONN_OPEN;
  int type = c->tr == TR_UDP ? SOCK_DGRAM : SOCK_STREAM, on = 1;
  c->fd = socket(a.ss.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (c->fd < 0) return -1;
  tune(c->fd, c->tr);
  if (c->tr != TR_UDP) setsockopt(c->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(c->fd, (struct sockaddr *)&a.ss, a.len) || (c->tr != TR_UDP && listen(c->fd, 1024)) ||
      watch_fd(c, EPOLLIN, true)) {
    fprintf(stderr, "load: cannot listen on %s: %s\n", a.text, strerror(errno));
    return -1;
  }
  learn_local(c);
  return 0;
}

int io_connect(struct conn *c) {
  const struct addr *to = L.o.direct ? &L.listeners[c->index % L.o.servers].local : &L.o.proxy;
  int type = c->tr == TR_UDP ? SOCK_DGRAM : SOCK_STREAM;
  c->fd = socket(to->ss.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (c->fd < 0) return -1;
  tune(c->fd, c->tr);
  c->state = CONN_CONNECTING;
  c->want_write = c->tr != TR_UDP;
  L.connecting++;
  if (connect(c->fd, (const struct sockaddr *)&to->ss, to->len) && errno != EINPROGRESS) {
    io_close(c, strerror(errno));
    return -1;
  }
  watch_fd(c, EPOLLIN | (c->want_write ? EPOLLOUT : 0u), true);
  if (c->tr == TR_UDP) {
    learn_local(c);
    L.connecting--;
    L.opened++;
    c->state = CONN_OPEN;
  }
  return 0;
}

void io_close(struct conn *c, const char *why) {
  if (c->state == CONN_CLOSED || c->dead) return;
  bool was_open = c->state == CONN_OPEN;
  tls_close(c);
  close(c->fd);
  c->fd = -1;
  c->state = CONN_CLOSED;
  c->in.off = c->in.len = c->out.off = c->out.len = 0;
  if (c->role == ROLE_CALLEE) {
    c->dead = true; /* freed at the end of the turn */
    return;
  }
  if (was_open)
    L.opened--;
  else
    L.connecting--;
  if (L.phase < PH_END) {
    load_fail(was_open ? "connection closed" : "connect failed", c, NULL, "%s", why);
    L.c.reconnects++;
    caller_lost(c);
  }
}

static void opened(struct conn *c) {
  learn_local(c);
  c->state = CONN_OPEN;
  if (c->ssl) tls_describe(c->ssl, c->role == ROLE_CALLER ? L.caller_tls : L.callee_tls, 64);
  if (c->role == ROLE_CALLER) {
    L.connecting--;
    L.opened++;
  }
}

static const char *tls_reason(SSL *ssl, int rc) {
  static char text[160];
  int e = SSL_get_error(ssl, rc);
  unsigned long q = ERR_peek_error();
  if (q)
    ERR_error_string_n(q, text, sizeof(text));
  else
    snprintf(text, sizeof(text), "%s",
             e == SSL_ERROR_ZERO_RETURN ? "close_notify"
             : errno                    ? strerror(errno)
                                        : "closed");
  ERR_clear_error();
  return text;
}

static void handshake(struct conn *c) {
  errno = 0;
  int rc = SSL_do_handshake(c->ssl);
  if (rc == 1) {
    set_want_write(c, false);
    opened(c);
    return;
  }
  int e = SSL_get_error(c->ssl, rc);
  if (e == SSL_ERROR_WANT_READ)
    set_want_write(c, false);
  else if (e == SSL_ERROR_WANT_WRITE)
    set_want_write(c, true);
  else {
    const char *why = tls_reason(c->ssl, rc);
    if (c->role == ROLE_CALLEE) load_fail("callee handshake", c, NULL, "%s", why);
    io_close(c, why);
  }
}

static int start_tls(struct conn *c) {
  c->ssl = SSL_new(c->role == ROLE_CALLER ? L.ctx_caller : L.ctx_callee);
  if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1) return -1;
  if (c->role == ROLE_CALLER) {
    if (L.o.sni) SSL_set_tlsext_host_name(c->ssl, L.o.sni);
    SSL_set_connect_state(c->ssl);
  } else {
    SSL_set_accept_state(c->ssl);
  }
  c->state = CONN_HANDSHAKE;
  return 0;
}

static void accept_all(struct conn *l) {
  int fd;
  while ((fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
    struct conn *c = calloc(1, sizeof(*c));
    if (!c) exit(3);
    *c = (struct conn){.fd = fd, .role = ROLE_CALLEE, .tr = l->tr, .index = l->index};
    tune(fd, c->tr);
    c->next = L.accepted;
    L.accepted = c;
    watch_fd(c, EPOLLIN, true);
    if (c->tr == TR_TCP)
      opened(c);
    else if (start_tls(c))
      exit(3);
  }
}

static void connected(struct conn *c) {
  int err = 0;
  socklen_t n = sizeof(err);
  getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &n);
  if (err) {
    io_close(c, strerror(err));
    return;
  }
  if (c->tr == TR_TCP) {
    set_want_write(c, false);
    opened(c);
  } else if (start_tls(c)) {
    exit(3);
  } else {
    handshake(c);
  }
}

static void deliver(struct conn *c, const struct msg *m) {
  if (m->request && c->role == ROLE_CALLEE) {
    L.c.requests_in++;
    callee_request(c, m);
  } else if (!m->request && c->role == ROLE_CALLER) {
    L.c.responses_in++;
    caller_response(c, m);
  } else {
    load_fail("wrong direction", c, m, "%s",
              m->request ? "request at a caller" : "response at a callee");
  }
}

/* RFC 5626 4.4.1: two CRLF between messages ask for one back. */
static void skip_keepalive(struct conn *c) {
  unsigned n = 0;
  while (c->in.off < c->in.len && (c->in.p[c->in.off] == '\r' || c->in.p[c->in.off] == '\n')) {
    c->in.off++;
    n++;
  }
  if (n == 4) {
    put_s(&c->out, "\r\n");
    io_dirty(c);
  }
}

static void take_messages(struct conn *c) {
  while (c->state == CONN_OPEN) {
    skip_keepalive(c);
    struct msg m;
    size_t n = c->in.len - c->in.off;
    ssize_t used = n ? msg_parse(c->in.p + c->in.off, n, false, &m) : 0;
    if (used < 0) {
      load_fail("not SIP", c, NULL, "%.60s", c->in.p + c->in.off);
      io_close(c, "the stream is not SIP");
    }
    if (used <= 0) return;
    deliver(c, &m);
    if (c->state == CONN_OPEN) c->in.off += (size_t)used;
  }
}

static ssize_t read_some(struct conn *c, const char **why) {
  buf_room(&c->in, 16384 + 1);
  size_t room = c->in.cap - c->in.len - 1;
  errno = 0;
  if (c->ssl) {
    int rc = SSL_read(c->ssl, c->in.p + c->in.len, (int)room);
    if (rc > 0) return rc;
    int e = SSL_get_error(c->ssl, rc);
    if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE) return -1;
    *why = tls_reason(c->ssl, rc);
    return 0;
  }
  ssize_t n = recv(c->fd, c->in.p + c->in.len, room, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return -1;
  *why = n < 0 ? strerror(errno) : "closed";
  return n < 0 ? 0 : n;
}

static void read_stream(struct conn *c) {
  const char *why = NULL;
  ssize_t n;
  while ((n = read_some(c, &why)) > 0) {
    c->in.len += (size_t)n;
    c->in.p[c->in.len] = 0; /* lets a failure print what it met */
    L.c.bytes_in += (uint64_t)n;
    if (c->in.len - c->in.off > 4 * MSG_MAX) break; /* the rest comes next turn */
  }
  take_messages(c);
  if (!n) io_close(c, why);
}

static void read_datagrams(struct conn *c) {
  static char d[65536];
  for (unsigned i = 0; i < 256; i++) {
    c->peer.len = sizeof(c->peer.ss);
    ssize_t n = recvfrom(c->fd, d, sizeof(d) - 1, 0, (struct sockaddr *)&c->peer.ss, &c->peer.len);
    if (n < 0) return; /* nothing left, or an ICMP error that the resend makes good */
    d[n] = 0;
    L.c.bytes_in += (uint64_t)n;
    struct msg m;
    if (msg_parse(d, (size_t)n, true, &m) > 0)
      deliver(c, &m);
    else
      load_fail("not SIP", c, NULL, "%.60s", d);
  }
}

static void flush_datagram(struct conn *c) {
  bool to = c->role == ROLE_CALLEE;
  sendto(c->fd, c->out.p + c->out.off, c->out.len - c->out.off, 0,
         to ? (struct sockaddr *)&c->peer.ss : NULL, to ? c->peer.len : 0);
  L.c.bytes_sent += c->out.len - c->out.off;
  c->out.off = c->out.len = 0;
}

static ssize_t write_some(struct conn *c, size_t n, const char **why) {
  const char *p = c->out.p + c->out.off;
  errno = 0;
  if (c->ssl) {
    int rc = SSL_write(c->ssl, p, (int)n);
    if (rc > 0) return rc;
    int e = SSL_get_error(c->ssl, rc);
    if (e == SSL_ERROR_WANT_WRITE || e == SSL_ERROR_WANT_READ) return -1;
    *why = tls_reason(c->ssl, rc);
    return 0;
  }
  ssize_t rc = send(c->fd, p, n, MSG_NOSIGNAL);
  if (rc > 0) return rc;
  if (errno == EAGAIN || errno == EINTR) return -1;
  *why = strerror(errno);
  return 0;
}

void io_flush(struct conn *c) {
  if (c->state != CONN_OPEN || c->out.off == c->out.len) return;
  if (c->tr == TR_UDP) {
    flush_datagram(c);
    return;
  }
  while (c->out.off < c->out.len) {
    size_t n = c->out.len - c->out.off;
    /* A write that OpenSSL held back must be repeated at its full length. */
    if (L.o.split && !c->want_write) {
      size_t piece = 1 + next_random() % 1500;
      if (piece < n) n = piece;
    }
    const char *why = NULL;
    ssize_t rc = write_some(c, n, &why);
    if (rc < 0) {
      set_want_write(c, true);
      return;
    }
    if (!rc) {
      io_close(c, why);
      return;
    }
    L.c.bytes_sent += (uint64_t)rc;
    c->out.off += (size_t)rc;
  }
  set_want_write(c, false);
}

/* A message for c is complete in its buffer. */
void io_dirty(struct conn *c) {
  if (c->tr == TR_UDP || L.o.flush_each) {
    io_flush(c);
  } else if (!c->dirty) {
    c->dirty = true;
    c->next_dirty = L.dirty;
    L.dirty = c;
  }
}

static void free_dead(void) {
  for (struct conn **p = &L.accepted; *p;) {
    struct conn *c = *p;
    if (!c->dead) {
      p = &c->next;
      continue;
    }
    *p = c->next;
    free(c->in.p);
    free(c->out.p);
    free(c);
  }
}

void io_flush_all(void) {
  while (L.dirty) {
    struct conn *c = L.dirty;
    L.dirty = c->next_dirty;
    c->dirty = false;
    if (!c->want_write) io_flush(c);
  }
  free_dead();
}

void io_event(struct conn *c, uint32_t events) {
  if (c->state == CONN_CLOSED) return; /* closed earlier in this turn */
  if (c->role == ROLE_LISTEN) {
    accept_all(c);
  } else if (c->state == CONN_CONNECTING) {
    connected(c);
  } else if (c->state == CONN_HANDSHAKE) {
    handshake(c);
    /* The first message may stand in the bytes that the handshake read. */
    if (c->state == CONN_OPEN) read_stream(c);
  } else {
    if (events & EPOLLOUT) io_flush(c);
    if (c->state != CONN_OPEN) return;
    if (c->tr == TR_UDP)
      read_datagrams(c);
    else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
      read_stream(c);
  }
}
