/* SPDX-License-Identifier: Apache-2.0 */
/* No memory for the control socket's clients. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/server.h"
#include "refuse.h"

static struct tl_server server;
static sd_event *event;
static char path[108], dir[64];
static unsigned n_asked;

static void on_request(void *arg, struct tl_client_ref client, const char *line, size_t n) {
  (void)arg, (void)line, (void)n;
  n_asked++;
  tl_server_reply(&server, client, NULL, 0, 1000);
}

static void begin(void) {
  char err[256] = "";
  snprintf(dir, sizeof(dir), "/tmp/tieline-ctl-XXXXXX");
  cr_assert_not_null(mkdtemp(dir));
  snprintf(path, sizeof(path), "%s/sub/sock", dir);
  server.request = on_request;
  cr_assert_geq(sd_event_new(&event), 0);
  cr_assert_eq(tl_server_open(&server, event, path, err, sizeof(err)), 0, "%s", err);
}

static void end(void) {
  char sub[108];
  snprintf(sub, sizeof(sub), "%s/sub", dir);
  tl_server_close(&server);
  sd_event_unref(event);
  rmdir(sub);
  rmdir(dir);
}

TestSuite(oom_control, .init = begin, .fini = end);

/* Rounds of the loop until it would sleep, 100 at most. */
static int rounds(void) {
  int n = 0;
  while (n < 100 && sd_event_run(event, 0) > 0) n++;
  return n;
}

/* What it sent stayed there to be read, and the loop came back to it for ever. */
Test(oom_control, a_client_without_room_for_its_request_is_closed) {
  struct sockaddr_un sun = {.sun_family = AF_UNIX};
  char c;
  strcpy(sun.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  cr_assert_eq(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
  rounds();
  cr_assert_eq(server.n_client, 1);
  cr_assert_eq(send(fd, "x\n", 2, 0), 2);
  oom_begin(1);
  const int n = rounds();
  cr_assert(oom_end());
  cr_expect_lt(n, 10, "it is tried again and again");
  cr_expect_eq(n_asked, 0);
  cr_expect_eq(server.n_client, 0);
  cr_expect(recv(fd, &c, 1, MSG_DONTWAIT) == 0 || errno == ECONNRESET);
  close(fd);
}
