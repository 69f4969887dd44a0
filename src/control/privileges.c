/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The privileges of the process. However it was started (root, root with `user`,
 * a plain user, a service manager), its memory cannot be read or dumped, and of
 * root's capabilities only CAP_NET_BIND_SERVICE stays, because threads bind their
 * listeners after this and a reload may add one.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tieline/control.h"

/* A core file that is written in spite of the limit contains no memory (core(5), coredump_filter).
 */
static int empty_core_files(void) {
  int fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT ? 0 : -1; /* /proc may be hidden from a service */
  int rc = write(fd, "0", 1) == 1 ? 0 : -1;
  close(fd);
  return rc;
}

/* Private keys are in this memory. Changing the user resets the flag to fs.suid_dumpable, so it
 * must be set again then. */
static int hide_memory(void) { return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); }

/* Drops every capability but binding low ports, for the calling thread and those it creates. The
 * bounding set goes first, while CAP_SETPCAP is there; without it there is nothing to bound. */
static int keep_bind_only(void) {
  struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
  const uint32_t bind_only = 1u << CAP_NET_BIND_SERVICE;
  for (unsigned long c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
    if (c != CAP_NET_BIND_SERVICE && prctl(PR_CAPBSET_DROP, c, 0, 0, 0) < 0) break;
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (syscall(SYS_capget, &head, data) < 0) return -1;
  const uint32_t keep = data[0].permitted & bind_only;
  memset(data, 0, sizeof(data));
  data[0].effective = data[0].permitted = keep;
  return (int)syscall(SYS_capset, &head, data);
}

static int set_error(const char *what, char *err, size_t cap) {
  snprintf(err, cap, "%s: %s", what, strerror(errno));
  return TL_EPERM;
}

int tl_privileges_harden(char *err, size_t cap) {
  const struct rlimit none = {0, 0};
  if (setrlimit(RLIMIT_CORE, &none) < 0) return set_error("no core files", err, cap);
  if (empty_core_files() < 0) return set_error("empty core files", err, cap);
  if (hide_memory() < 0) return set_error("hidden memory", err, cap);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return set_error("no new privileges", err, cap);
  return 0;
}

int tl_privileges_bind_only(char *err, size_t cap) {
  return keep_bind_only() < 0 ? set_error("capabilities", err, cap) : 0;
}

static int set_user_error(const char *what, const char *user, char *err, size_t cap) {
  snprintf(err, cap, "user %s: %s: %s", user, what, strerror(errno));
  return TL_EPERM;
}

int tl_privileges_drop(const char *user, char *err, size_t cap) {
  errno = 0;
  const struct passwd *pw = getpwnam(user);
  if (!pw) {
    int rc = errno == ENOMEM ? TL_ENOMEM : TL_ENOTFOUND;
    snprintf(err, cap, "user %s: %s", user,
             rc == TL_ENOMEM ? tl_strerror(rc) : "there is no such user");
    return rc;
  }
  if (geteuid() == pw->pw_uid && getuid() == pw->pw_uid) return tl_privileges_bind_only(err, cap);
  if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0) return set_user_error("capabilities", user, err, cap);
  if (initgroups(user, pw->pw_gid) < 0) return set_user_error("groups", user, err, cap);
  if (setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0)
    return set_user_error("group", user, err, cap);
  if (setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0)
    return set_user_error("user", user, err, cap);
  if (keep_bind_only() < 0) return set_user_error("capabilities", user, err, cap);
  if (hide_memory() < 0) return set_user_error("hidden memory", user, err, cap);
  return 0;
}
