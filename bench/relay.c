/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A blind TLS relay: the floor that a SIP proxy over user-space TLS is held
 * against. It accepts TLS, connects TLS to one fixed target, and pipes bytes
 * between the two with SSL_read and SSL_write; one thread, one epoll set, one
 * upstream connection per accepted one. What one turn read from a side leaves
 * in one write. It knows no SIP and verifies nobody.
 *
 * Usage: relay LISTEN_ADDR:PORT TARGET_ADDR:PORT CERT.pem KEY.pem
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { QUEUE_MAX = 256 * 1024 };

struct pair;

struct side {
  int fd;
  SSL *ssl;
  bool open; /* the handshake is done */
  uint32_t events;
  struct pair *pair;
  struct side *other;
  char *out; /* bytes that wait to go out on this side */
  size_t off, len;
};

struct pair {
  struct side client, server;
  bool dead;
  struct pair *next_dead;
};

static int ep;
static SSL_CTX *accept_ctx, *connect_ctx;
static struct sockaddr_in target;
static struct pair *dead;

static void end_pair(struct pair *p) {
  if (p->dead) return;
  p->dead = true;
  p->next_dead = dead;
  dead = p;
}

static void bury(void) {
  while (dead) {
    struct pair *p = dead;
    struct side *both[2] = {&p->client, &p->server};
    dead = p->next_dead;
    for (int i = 0; i < 2; i++) {
      if (both[i]->open) SSL_shutdown(both[i]->ssl);
      SSL_free(both[i]->ssl);
      close(both[i]->fd);
      free(both[i]->out);
    }
    free(p);
    ERR_clear_error();
  }
}

/* Reads while the other side can take it, writes while something waits. */
static void arm(struct side *s, bool want_write) {
  uint32_t ev = want_write ? EPOLLOUT : 0u;
  if (!s->open || s->other->len - s->other->off < QUEUE_MAX) ev |= EPOLLIN;
  if (ev == s->events) return;
  struct epoll_event e = {.events = ev, .data.ptr = s};
  epoll_ctl(ep, s->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, s->fd, &e);
  s->events = ev;
}

static void flush(struct side *s) {
  bool blocked = false;
  if (!s->open) return;
  while (s->off < s->len && !blocked) {
    int rc = SSL_write(s->ssl, s->out + s->off, (int)(s->len - s->off));
    if (rc > 0) {
      s->off += (size_t)rc;
    } else if (SSL_get_error(s->ssl, rc) == SSL_ERROR_WANT_WRITE) {
      blocked = true;
    } else {
      end_pair(s->pair);
      return;
    }
  }
  if (s->off == s->len) s->off = s->len = 0;
  arm(s, blocked);
  arm(s->other, s->other->events & EPOLLOUT);
}

static void pump(struct side *s) {
  struct side *to = s->other;
  while (to->len < 2 * QUEUE_MAX - 16384) {
    int rc = SSL_read(s->ssl, to->out + to->len, 16384);
    if (rc > 0) {
      to->len += (size_t)rc;
      continue;
    }
    if (SSL_get_error(s->ssl, rc) != SSL_ERROR_WANT_READ) {
      end_pair(s->pair);
      return;
    }
    break;
  }
  flush(to);
}

static void handshake(struct side *s) {
  int rc = SSL_do_handshake(s->ssl);
  if (rc == 1) {
    s->open = true;
    arm(s, false);
    flush(s);
    if (!s->pair->dead) pump(s);
    return;
  }
  int e = SSL_get_error(s->ssl, rc);
  if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
    arm(s, e == SSL_ERROR_WANT_WRITE);
  else
    end_pair(s->pair);
}

static int side_init(struct side *s, struct pair *p, int fd, SSL_CTX *ctx) {
  int on = 1;
  s->fd = fd;
  s->pair = p;
  s->ssl = SSL_new(ctx);
  s->out = malloc(2 * QUEUE_MAX);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return s->ssl && s->out && SSL_set_fd(s->ssl, fd) == 1 ? 0 : -1;
}

static void accept_all(int listener) {
  int fd;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
    struct pair *p = calloc(1, sizeof(*p));
    int up = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (!p || up < 0 || side_init(&p->client, p, fd, accept_ctx) ||
        side_init(&p->server, p, up, connect_ctx))
      exit(3);
    p->client.other = &p->server;
    p->server.other = &p->client;
    SSL_set_accept_state(p->client.ssl);
    SSL_set_connect_state(p->server.ssl);
    if (connect(up, (struct sockaddr *)&target, sizeof(target)) && errno != EINPROGRESS) {
      end_pair(p);
      continue;
    }
    arm(&p->client, false);
    arm(&p->server, true);
  }
}

static void on_event(struct side *s, uint32_t events) {
  if (s->pair->dead) return;
  if (!s->open) {
    handshake(s);
    return;
  }
  if (events & EPOLLOUT) flush(s);
  if (!s->pair->dead && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) pump(s);
}

static int parse(const char *text, struct sockaddr_in *out) {
  char host[32];
  const char *colon = strchr(text, ':');
  if (!colon || (size_t)(colon - text) >= sizeof(host)) return -1;
  memcpy(host, text, (size_t)(colon - text));
  host[colon - text] = 0;
  *out = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(colon + 1))};
  return inet_pton(AF_INET, host, &out->sin_addr) == 1 ? 0 : -1;
}

static SSL_CTX *make_ctx(const SSL_METHOD *method) {
  SSL_CTX *ctx = SSL_CTX_new(method);
  if (!ctx) return NULL;
  SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(ctx, 1);
  SSL_CTX_set_default_read_buffer_len(ctx, 65536);
  return ctx;
}

static int set_up(char **argv) {
  struct sockaddr_in at;
  int on = 1;
  signal(SIGPIPE, SIG_IGN);
  if (parse(argv[1], &at) || parse(argv[2], &target)) return -1;
  accept_ctx = make_ctx(TLS_server_method());
  connect_ctx = make_ctx(TLS_client_method());
  if (!accept_ctx || !connect_ctx) return -1;
  if (SSL_CTX_use_certificate_chain_file(accept_ctx, argv[3]) != 1 ||
      SSL_CTX_use_PrivateKey_file(accept_ctx, argv[4], SSL_FILETYPE_PEM) != 1) {
    ERR_print_errors_fp(stderr);
    return -1;
  }
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 1024)) {
    perror("relay: listen");
    return -1;
  }
  ep = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
  return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) ? -1 : fd;
}

int main(int argc, char **argv) {
  int listener = argc == 5 ? set_up(argv) : -1;
  if (listener < 0) {
    fputs("usage: relay LISTEN_ADDR:PORT TARGET_ADDR:PORT CERT.pem KEY.pem\n", stderr);
    return 2;
  }
  for (;;) {
    struct epoll_event ev[256];
    int n = epoll_wait(ep, ev, 256, -1);
    for (int i = 0; i < n; i++) {
      if (ev[i].data.ptr)
        on_event(ev[i].data.ptr, ev[i].events);
      else
        accept_all(listener);
    }
    bury();
  }
}
