/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP server for tests; it knows no more of HTTP than they need.
 */
#include "test_fetch_server.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int listener = -1;
static pthread_t acceptor;
static web_fn answer_fn;
static _Atomic unsigned requests, serving;

bool web_send(int fd, const void *p, size_t n) {
  const char *at = p;
  while (n) {
    ssize_t done = send(fd, at, n, MSG_NOSIGNAL);
    if (done <= 0) return false;
    at += done;
    n -= (size_t)done;
  }
  return true;
}

bool web_say(int fd, const char *text) { return web_send(fd, text, strlen(text)); }

void web_answer(int fd, const char *type, const void *p, size_t n) {
  char head[256];
  snprintf(head, sizeof(head), "HTTP/1.0 200 OK\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n",
           type, n);
  web_say(fd, head);
  web_send(fd, p, n);
}

static void header(const char *text, const char *name, char *out, size_t cap) {
  const char *p = strcasestr(text, name);
  out[0] = '\0';
  if (!p) return;
  p += strlen(name);
  snprintf(out, cap, "%.*s", (int)strcspn(p, "\r\n"), p);
}

/* False when the client went away. */
static bool read_request(struct web_request *r) {
  char text[16384], length[16];
  size_t n = 0;
  char *end = NULL;
  while (!end) {
    ssize_t got = recv(r->fd, text + n, sizeof(text) - 1 - n, 0);
    if (got <= 0) return false;
    n += (size_t)got;
    text[n] = '\0';
    end = strstr(text, "\r\n\r\n");
  }
  sscanf(text, "%7s %255s", r->method, r->path);
  header(text, "\nContent-Type: ", r->type, sizeof(r->type));
  header(text, "\nContent-Length: ", length, sizeof(length));
  r->body_n = strtoul(length, NULL, 10);
  if (r->body_n > sizeof(r->body)) return false;
  size_t have = n - (size_t)(end + 4 - text);
  memcpy(r->body, end + 4, have);
  while (have < r->body_n) {
    ssize_t got = recv(r->fd, r->body + have, r->body_n - have, 0);
    if (got <= 0) return false;
    have += (size_t)got;
  }
  return true;
}

static void *serve(void *arg) {
  struct web_request *r = arg;
  if (read_request(r)) {
    atomic_fetch_add(&requests, 1);
    answer_fn(r);
  }
  close(r->fd);
  free(r);
  atomic_fetch_sub(&serving, 1);
  return NULL;
}

static void *accept_all(void *arg) {
  (void)arg;
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) return NULL;
    struct web_request *r = calloc(1, sizeof(*r));
    pthread_t t;
    r->fd = fd;
    atomic_fetch_add(&serving, 1);
    cr_assert_eq(pthread_create(&t, NULL, serve, r), 0);
    pthread_detach(t);
  }
}

unsigned web_open(web_fn fn) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof(a);
  answer_fn = fn;
  atomic_store(&requests, 0);
  listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  cr_assert(listener >= 0 && bind(listener, (struct sockaddr *)&a, len) == 0 &&
            listen(listener, 64) == 0);
  getsockname(listener, (struct sockaddr *)&a, &len);
  cr_assert_eq(pthread_create(&acceptor, NULL, accept_all, NULL), 0);
  return ntohs(a.sin_port);
}

void web_close(void) {
  shutdown(listener, SHUT_RDWR);
  pthread_join(acceptor, NULL);
  close(listener);
  listener = -1;
  while (atomic_load(&serving)) usleep(1000);
}

unsigned web_requests(void) { return atomic_load(&requests); }
