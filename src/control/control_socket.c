/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket as a service: made as root where the daemon begins as root, and given to the
 * user that it becomes. server.c serves it. */
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "control/command.h"
#include "control/control_internal.h"

/* The daemon's user must be able to reach and remove the socket that root created. */
static void give_to_user(const struct tl_server *s, const char *user) {
  const struct passwd *pw = user && geteuid() == 0 ? getpwnam(user) : NULL;
  char dir[sizeof(s->path)];
  if (!pw) return;
  if (lchown(s->path, pw->pw_uid, pw->pw_gid) < 0)
    TL_LOG(TL_LOG_WARN, "The control socket could not be given to the user.", TL_FC("user", user));
  snprintf(dir, sizeof(dir), "%s", s->path);
  char *slash = strrchr(dir, '/');
  if (s->made_dir && slash) {
    *slash = 0;
    if (lchown(dir, pw->pw_uid, pw->pw_gid) < 0)
      TL_LOG(TL_LOG_WARN, "The control socket's directory could not be given to the user.",
             TL_FC("user", user));
  }
}

static int socket_start(struct tl_control *c) {
  struct tl_conf *conf = tl_runtime_conf(c->rt);
  c->server.request = tl_command_line;
  c->server.arg = c;
  int rc = tl_server_open(&c->server, c->event, conf->opt.control_socket, c->problem,
                          sizeof(c->problem));
  if (rc == 0) give_to_user(&c->server, conf->opt.user);
  tl_conf_unref(conf);
  return rc;
}

static uint64_t socket_turn(struct tl_control *c, uint64_t now_ms) {
  return tl_server_expire(&c->server, now_ms);
}

static void socket_stop(struct tl_control *c) { tl_server_close(&c->server); }

const struct tl_control_service tl_socket_service = {
    .name = "control socket", .start = socket_start, .turn = socket_turn, .stop = socket_stop};
