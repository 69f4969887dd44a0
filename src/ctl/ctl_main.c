/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ctl command: sends one request to a running daemon and prints the answer.
 * ctl_args.c turns words into parameters, ctl_print.c makes the tables.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctl/ctl_args.h"
#include "ctl/ctl_print.h"
#include "tieline/ctl.h"

#define PATIENCE_S 60 /* a reload may wait for name servers */

enum { DONE = 0, FAILED = 1, NO_DAEMON = 2 };

static int connect_socket(const char *path) {
  struct sockaddr_un sun = {.sun_family = AF_UNIX};
  const struct timeval patience = {.tv_sec = PATIENCE_S};
  if (strlen(path) >= sizeof(sun.sun_path)) {
    errno = ENAMETOOLONG;
    return -1;
  }
  memcpy(sun.sun_path, path, strlen(path) + 1);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0) return fd;
  const int saved = errno;
  close(fd);
  errno = saved;
  return -1;
}

static bool send_all(int fd, const char *p, size_t n) {
  while (n > 0) {
    ssize_t w = send(fd, p, n, MSG_NOSIGNAL);
    if (w < 0 && errno == EINTR) continue;
    if (w < 0) return false;
    p += w;
    n -= (size_t)w;
  }
  return true;
}

/* One line, however long; NULL with errno (0: the daemon closed). */
static char *read_line(int fd) {
  size_t n = 0, cap = 65536;
  char *buf = malloc(cap);
  while (buf) {
    if (n == cap) {
      char *more = realloc(buf, cap * 2);
      if (!more) break;
      buf = more;
      cap *= 2;
    }
    ssize_t r = recv(fd, buf + n, cap - n, 0);
    if (r < 0 && errno == EINTR) continue;
    if (r <= 0) {
      if (r == 0) errno = 0;
      break;
    }
    char *nl = memchr(buf + n, '\n', (size_t)r);
    n += (size_t)r;
    if (!nl) continue;
    *nl = 0;
    return buf;
  }
  free(buf);
  return NULL;
}

static char *ask_daemon(const char *path, const char *command, json_t *params, int *status) {
  json_t *req = json_pack("{s:s, s:i, s:s, s:o}", "jsonrpc", "2.0", "id", 1, "method", command,
                          "params", params);
  char *text = req ? json_dumps(req, JSON_COMPACT) : NULL, *line = NULL;
  int fd = text ? connect_socket(path) : -1;
  *status = NO_DAEMON;
  if (fd < 0) {
    fprintf(stderr, "tieline: no daemon answers at %s: %s\n", path, strerror(errno));
  } else if (send_all(fd, text, strlen(text)) && send_all(fd, "\n", 1) && (line = read_line(fd))) {
    *status = DONE;
  } else {
    fprintf(stderr, "tieline: the daemon at %s gave no answer: %s\n", path,
            errno == EAGAIN ? "time is up"
            : errno         ? strerror(errno)
                            : "it closed the connection");
  }
  if (fd >= 0) close(fd);
  free(text);
  json_decref(req);
  return line;
}

static void print_json(const json_t *j) {
  json_dumpf(j, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
  putchar('\n');
}

static int print_reply(const char *command, const char *line, bool all, bool json) {
  json_t *reply = json_loads(line, 0, NULL);
  const json_t *result = json_object_get(reply, "result"), *error = json_object_get(reply, "error");
  int status = DONE;
  if (result && json) {
    print_json(result);
  } else if (result) {
    tl_ctl_print(command, result, all, stdout);
  } else {
    const char *why = json_string_value(json_object_get(error, "message"));
    status = FAILED;
    if (json && error) print_json(error);
    fprintf(stderr, "tieline: %s: %s\n", command, why ? why : "the answer is not JSON-RPC");
    if (!json) tl_ctl_print_problems(error, stderr);
  }
  json_decref(reply);
  return status;
}

int tl_ctl_main(const char *socket, int argc, char **argv, bool json) {
  struct tl_ctl_words w = {.socket = socket, .json = json};
  const char *command = argc > 0 ? argv[0] : "help";
  int status = FAILED;
  json_t *params = tl_ctl_params(argc, argv, &w);
  if (!params) return FAILED;
  char *line = ask_daemon(w.socket, command, params, &status);
  if (line) status = print_reply(command, line, w.all, w.json);
  free(line);
  if (fflush(stdout) == EOF) status = FAILED;
  return status;
}
